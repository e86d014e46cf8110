//! Scopes of API tokens: what a token may do.

use std::fmt;

macro_rules! scopes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)*) => {
        /// A permission of an API token.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Scope { $($(#[doc = $doc])+ $variant,)* }

        impl Scope {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

scopes! {
    /// Create login links.
    Mint = "mint",
    /// Send codes, and send them again; ask for approvals.
    Send = "send",
    /// Check the codes that people typed; read the answers to requests for an approval.
    Validate = "validate",
    /// Read requests, callbacks and the outcome of messages.
    Read = "read",
    /// With `read`: also read the codes and links of requests.
    ReadSecrets = "read_secrets",
    /// Exchange redeem tokens and reply codes for the person's identity.
    Redeem = "redeem",
    /// Cancel and erase requests, replay callbacks and send test callbacks.
    Admin = "admin",
}

impl Scope {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The set of scopes that one token has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// The scopes of a token without configured scopes: all of them, including those that later versions add.
    pub const EVERY: Self = Self(u8::MAX);

    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

/// Space-separated words, as in a `scope` parameter.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let granted: Vec<&str> =
            Scope::ALL.iter().filter(|scope| self.contains(**scope)).map(|scope| scope.as_str()).collect();
        f.write_str(&granted.join(" "))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_what_it_was_given_and_one_without_scopes_everything() {
        for scope in Scope::ALL {
            let alone: Scopes = [*scope].into_iter().collect();
            let granted: Vec<&Scope> = Scope::ALL.iter().filter(|other| alone.contains(**other)).collect();
            assert_eq!((granted, alone.to_string().as_str()), (vec![scope], scope.as_str()));
            assert!(Scopes::EVERY.contains(*scope));
        }
    }
}
