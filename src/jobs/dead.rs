//! Why a job was given up, as metrics and alerts tell it apart.

use super::payload;
use crate::{domain::Reason, store::JobId};

/// The class in the note of a receiver that answered 410.
pub const GONE: &str = "gone";

/// How the note of a job begins whose leases ran out one after the other.
pub const POISON: &str = "poison";
/// How the note of a job begins that no configured key opens.
pub const UNREADABLE: &str = "unreadable";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeadReason {
    InstanceRemoved,
    /// The receiver wants no more of these.
    Gone,
    /// No callback may go to this address.
    ForbiddenTarget,
    /// A test event, which is tried once.
    Test,
    /// It ended the processes that attempted it.
    Poison,
    /// No replica had its key.
    Unreadable,
    /// Every attempt failed.
    GivenUp,
}

impl DeadReason {
    /// Notes of callbacks read `host: class: cause`.
    pub fn of(job: &JobId, note: &str) -> Self {
        match note.split(": ").nth(1) {
            _ if note == Reason::InstanceRemoved.as_str() => Self::InstanceRemoved,
            _ if payload::is_test(job) => Self::Test,
            _ if note.starts_with(POISON) => Self::Poison,
            _ if note.starts_with(UNREADABLE) => Self::Unreadable,
            Some(GONE) => Self::Gone,
            Some("forbidden_target") => Self::ForbiddenTarget,
            _ => Self::GivenUp,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InstanceRemoved => "instance_removed",
            Self::Gone => "gone",
            Self::ForbiddenTarget => "forbidden_target",
            Self::Test => "test",
            Self::Poison => POISON,
            Self::Unreadable => UNREADABLE,
            Self::GivenUp => "given_up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_the_note_tells_the_reason() {
        let job = JobId("0:link.verified".to_owned());
        for (note, reason) in [
            ("instance_removed", DeadReason::InstanceRemoved),
            ("app.example.org: gone: status 410", DeadReason::Gone),
            ("[::1]:8080: forbidden_target: not open", DeadReason::ForbiddenTarget),
            ("poison: 8 leases in a row ended without an outcome", DeadReason::Poison),
            ("unreadable: job x: no configured key opens it", DeadReason::Unreadable),
            ("app.example.org: status 500", DeadReason::GivenUp),
            ("reply_undeliverable: permanent", DeadReason::GivenUp),
            ("", DeadReason::GivenUp),
        ] {
            assert_eq!(DeadReason::of(&job, note), reason, "{note}");
        }
        assert_eq!(DeadReason::of(&JobId("test:0".to_owned()), "x: gone"), DeadReason::Test);
    }
}
