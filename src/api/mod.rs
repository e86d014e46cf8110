//! The wire: what callers and receivers are sent, and the limits of what they may send. It decides nothing.
//!
//! A struct is declared by `wire!` in [`schema`], which derives its serialisation and its JSON Schema from the same lines: the
//! contract at `/openapi.json` cannot describe another answer than the one that is sent. `decisions::wire_schemas`
//! says why it is a macro of our own.

#[macro_use]
pub mod schema;

pub mod callback;
pub mod explanation;
pub mod limits;
pub mod problem;
pub mod record;
pub mod verification;
pub mod wawp;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::domain::time::rfc3339;

/// A moment as the wire writes it: RFC 3339 in whole seconds with an explicit offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Time(pub Timestamp);

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

wire! {
    pub struct Warning {
        /// `unknown_field`, `unknown_placeholder`, `unknown_language`, `unbound_completion`, …
        pub code: &'static str,
        /// What was accepted and may surprise.
        pub detail: String,
    } as "Warning"
}
