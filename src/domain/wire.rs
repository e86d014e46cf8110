//! Closed lists whose members have a word each: in JSON, in the store, in logs and in metric labels.

/// An enum of words. Each variant has its documentation, which is also shown to people, and its word.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[doc = $doc])+ #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// All of them, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its word, as it is serialized.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The one with this word.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }

            /// What it means, for people.
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
        Channel, DeliveryFailure, Event, Mode, OtpType, Reason, Status, binding::Place, link::Reached,
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
        check!(Channel, DeliveryFailure, Event, Mode, OtpType, Place, Reached, Reason, Status);
    }
}
