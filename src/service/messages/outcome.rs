//! The result of handling one webhook event, for metrics, the API and the message log.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    domain::{Reason, VerificationId, wire::wire_enum},
    gateway::IgnoreReason,
};

/// The result of handling one webhook event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    Verified,
    /// A verified person sent the code again; the success reply is repeated.
    Repeated,
    /// The message was answered before, possibly by another replica.
    Duplicate,
    /// The message matches a record that it does not change.
    Unchanged,
    Failed(Reason),
    Unmatched(Unmatched),
    Ignored(IgnoreReason),
}

wire_enum! {
    /// Why a message matched no verification.
    Unmatched {
        /// No verification has the code in the message.
        CodeUnknown = "code_unknown",
        /// The message contains nothing that looks like a code.
        NoCode = "no_code",
    }
}

/// The outcome of an event, and the record that it matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::service) struct ReceiveResult {
    pub(in crate::service) outcome: Outcome,
    pub(in crate::service) record: Option<VerificationId>,
}

impl From<Outcome> for ReceiveResult {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, record: None }
    }
}

impl Outcome {
    /// Every possible outcome.
    pub fn all() -> impl Iterator<Item = Self> {
        let failures = Reason::ALL.iter().filter(|reason| **reason != Reason::CodeUnknown);
        [Self::Verified, Self::Repeated, Self::Duplicate, Self::Unchanged]
            .into_iter()
            .chain(failures.copied().map(Self::Failed))
            .chain(Unmatched::ALL.iter().copied().map(Self::Unmatched))
            .chain(IgnoreReason::ALL.iter().copied().map(Self::Ignored))
    }

    /// The identifier in metrics, in the API and in the message log; unique for each outcome.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Repeated => "repeated",
            Self::Duplicate => "duplicate",
            Self::Unchanged => "unchanged",
            Self::Failed(reason) => reason.as_str(),
            Self::Unmatched(unmatched) => unmatched.as_str(),
            Self::Ignored(reason) => reason.as_str(),
        }
    }

    /// The reason why a message that contains something like a code did not verify its chat.
    pub const fn failure(self) -> Option<Reason> {
        match self {
            Self::Failed(reason) => Some(reason),
            Self::Unmatched(Unmatched::CodeUnknown) => Some(Reason::CodeUnknown),
            Self::Unmatched(Unmatched::NoCode)
            | Self::Verified
            | Self::Repeated
            | Self::Duplicate
            | Self::Unchanged
            | Self::Ignored(_) => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Self::all().find(|outcome| outcome.as_str() == word).ok_or_else(|| D::Error::custom("no such outcome"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_outcome_has_a_word_of_its_own_which_leads_back() {
        let of_reasons = Reason::ALL.iter().filter(|reason| **reason != Reason::CodeUnknown);
        let outcomes: Vec<Outcome> = [Outcome::Verified, Outcome::Repeated, Outcome::Duplicate, Outcome::Unchanged]
            .into_iter()
            .chain(of_reasons.map(|reason| Outcome::Failed(*reason)))
            .chain([Unmatched::CodeUnknown, Unmatched::NoCode].map(Outcome::Unmatched))
            .chain(IgnoreReason::ALL.iter().map(|reason| Outcome::Ignored(*reason)))
            .collect();
        let words: HashSet<&str> = outcomes.iter().map(|outcome| outcome.as_str()).collect();
        assert_eq!(words.len(), outcomes.len(), "two outcomes share a word");
        for outcome in outcomes {
            let json = serde_json::to_string(&outcome).unwrap();
            assert_eq!(serde_json::from_str::<Outcome>(&json).ok(), Some(outcome), "{json}");
        }
        assert!(serde_json::from_str::<Outcome>("\"nothing\"").is_err());
    }
}
