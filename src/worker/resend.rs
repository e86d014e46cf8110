//! Whether a message that was not accepted is sent again: only while it is of use, and only once when it may have
//! arrived.

use std::time::Duration;

use jiff::Timestamp;

use super::Worker;
use crate::{
    jobs::retry::Schedule,
    random,
    service::ServiceError,
    store::{Leased, Settlement},
};

/// How the note of a job begins that may have been sent.
pub(super) const PERHAPS_SENT: &str = "perhaps sent";

/// An attempt after which another may follow.
pub(super) struct FailedAttempt {
    pub(super) why: &'static str,
    /// The gateway's wish.
    pub(super) after: Option<Duration>,
    /// It may have arrived.
    pub(super) unknown: bool,
    /// A second one would be the same message.
    pub(super) repeatable: bool,
}

pub(super) enum NextAttempt {
    Again(Settlement),
    /// The next attempt would come after the message's use.
    TooLate {
        unknown: bool,
    },
    Spent {
        unknown: bool,
    },
}

/// `useful_until` is the first instant at which the message helps nobody.
pub(super) async fn next_attempt(
    worker: &Worker,
    leased: &Leased,
    FailedAttempt { why, after, unknown, repeatable }: FailedAttempt,
    useful_until: Timestamp,
) -> Result<NextAttempt, ServiceError> {
    let before = was_unknown(worker, leased).await?;
    if unknown && before && !repeatable {
        return Ok(NextAttempt::Spent { unknown });
    }
    let unknown = unknown || before;
    let Some(delay) = Schedule::REPLY.next_delay(leased.attempts + 1, random::fraction(), after) else {
        return Ok(NextAttempt::Spent { unknown });
    };
    let at = worker.service.now() + delay;
    if at >= useful_until {
        return Ok(NextAttempt::TooLate { unknown });
    }
    let note = if unknown { format!("{PERHAPS_SENT}: {why}") } else { why.to_owned() };
    Ok(NextAttempt::Again(Settlement::Retry { at, note }))
}

/// What an earlier attempt has noted.
async fn was_unknown(worker: &Worker, leased: &Leased) -> Result<bool, ServiceError> {
    if leased.attempts == 0 {
        return Ok(false);
    }
    let job = worker.service.store.job(leased.instance, leased.partition, &leased.id).await?;
    Ok(job.is_some_and(|job| job.note.starts_with(PERHAPS_SENT)))
}
