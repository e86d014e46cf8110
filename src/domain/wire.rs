//! Enums whose variants have a fixed word each, used in JSON, in the store, in logs and in metric labels.

/// Declares such an enum. Each variant has a word and a doc comment, which the API documentation also shows.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[doc = $doc])+ #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// All variants, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word of this variant, as it is serialized.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The variant with this word.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }

            /// The variant's doc comment, for the API documentation.
            pub fn about(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(crate) use wire_enum;

#[cfg(test)]
mod tests {
    use crate::domain::{
        Channel, DeliveryFailure, Event, Mode, OtpType, Reason, Status, binding::WhatsAppDevice, link::LoginProgress,
    };

    #[test]
    fn a_word_is_the_serialized_name_and_leads_back() {
        macro_rules! check {
            ($($list:ident),*) => {$(
                for one in $list::ALL {
                    assert_eq!(serde_json::to_string(one).unwrap(), format!("\"{one}\""));
                    assert_eq!($list::parse(one.as_str()), Some(*one));
                }
                assert_eq!($list::parse("nothing"), None);
            )*};
        }
        check!(Channel, DeliveryFailure, Event, Mode, OtpType, WhatsAppDevice, LoginProgress, Reason, Status);
    }
}
