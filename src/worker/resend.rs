//! Whether a message that was not accepted is sent again: only while it is of use, and only once when it may have
//! arrived.

use std::{fmt, time::Duration};

use jiff::Timestamp;

use super::Worker;
use crate::{
    domain::DeliveryFailure,
    jobs::retry::Schedule,
    random,
    service::ServiceError,
    store::{Leased, Settlement},
};

/// Why an attempt failed, as it is kept with the job.
pub(super) struct AttemptNote<'a> {
    /// The message may have arrived all the same.
    pub(super) perhaps_sent: bool,
    pub(super) cause: &'a str,
}

const PERHAPS_SENT: &str = "perhaps sent: ";

impl<'a> AttemptNote<'a> {
    /// Reverses what is displayed.
    fn parse(text: &'a str) -> Self {
        match text.strip_prefix(PERHAPS_SENT) {
            Some(cause) => Self { perhaps_sent: true, cause },
            None => Self { perhaps_sent: false, cause: text },
        }
    }
}

impl fmt::Display for AttemptNote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.perhaps_sent { PERHAPS_SENT } else { "" }, self.cause)
    }
}

/// An attempt after which another may follow.
pub(super) struct FailedAttempt {
    pub(super) why: DeliveryFailure,
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
    let note = AttemptNote { perhaps_sent: unknown, cause: why.as_str() };
    Ok(NextAttempt::Again(Settlement::Retry { at, note: note.to_string() }))
}

/// What an earlier attempt has noted.
async fn was_unknown(worker: &Worker, leased: &Leased) -> Result<bool, ServiceError> {
    if leased.attempts == 0 {
        return Ok(false);
    }
    let job = worker.service.store.job(leased.instance, leased.partition, &leased.id).await?;
    Ok(job.is_some_and(|job| AttemptNote::parse(&job.note).perhaps_sent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_leads_back_to_what_it_was_made_from() {
        for (perhaps_sent, text) in [(true, "perhaps sent: timeout"), (false, "timeout")] {
            let note = AttemptNote { perhaps_sent, cause: "timeout" };
            assert_eq!(note.to_string(), text);
            let read = AttemptNote::parse(text);
            assert_eq!((read.perhaps_sent, read.cause), (perhaps_sent, "timeout"));
        }
    }
}
