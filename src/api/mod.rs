//! The wire format: the bodies that API callers and callback receivers get, and the limits of what callers may send.
//! This module makes no decisions.
//!
//! Structs are declared with `wire!` in [`schema`], which derives both the serialization and the JSON Schema from one
//! declaration, so the contract at `/openapi.json` always matches the actual responses. `decisions::wire_schemas`
//! explains why this is a macro of our own.

#[macro_use]
pub mod schema;

pub mod callback;
pub mod explanation;
pub mod limits;
pub mod oidc;
pub mod problem;
pub mod record;
pub mod verification;
pub mod wawp;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::domain::time::rfc3339;

/// A timestamp on the wire: RFC 3339 in whole seconds with an explicit offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rfc3339Time(pub Timestamp);

impl From<Timestamp> for Rfc3339Time {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl Serialize for Rfc3339Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

wire! {
    pub struct Warning {
        /// `unknown_field`, `unknown_placeholder`, `unknown_language`, `unbound_completion`, …
        pub code: &'static str,
        /// What was accepted although the result may be unexpected.
        pub detail: String,
    } as "Warning"
}
