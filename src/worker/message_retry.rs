//! Decides whether a message that was not accepted is sent again: only while it is useful. If it may have arrived, it
//! is sent again once; a second uncertain result is final unless the gateway deduplicates.

use std::{fmt, time::Duration};

use jiff::Timestamp;

use super::Worker;
use crate::{
    domain::DeliveryFailure,
    jobs::retry::Schedule,
    random,
    service::ServiceError,
    store::{LeasedJob, Settlement},
};

/// Reason of a failed attempt, as stored with the job.
pub(super) struct AttemptNote<'a> {
    /// The message may have arrived nevertheless.
    pub(super) possibly_sent: bool,
    pub(super) cause: &'a str,
}

const POSSIBLY_SENT: &str = "perhaps sent: ";

impl<'a> AttemptNote<'a> {
    /// Parses the output of `Display`.
    fn parse(text: &'a str) -> Self {
        match text.strip_prefix(POSSIBLY_SENT) {
            Some(cause) => Self { possibly_sent: true, cause },
            None => Self { possibly_sent: false, cause: text },
        }
    }
}

impl fmt::Display for AttemptNote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.possibly_sent { POSSIBLY_SENT } else { "" }, self.cause)
    }
}

/// A failed attempt that may be followed by another one.
pub(super) struct FailedSend {
    pub(super) failure: DeliveryFailure,
    /// Delay requested by the gateway.
    pub(super) retry_after: Option<Duration>,
    /// The message may have arrived.
    pub(super) possibly_sent: bool,
    /// The gateway deduplicates, so sending again is safe.
    pub(super) is_deduplicated: bool,
}

pub(super) enum NextAttempt {
    Retry(Settlement),
    /// The next attempt would come when the message is no longer useful.
    TooLate {
        possibly_sent: bool,
    },
    Exhausted {
        possibly_sent: bool,
    },
}

/// Decides what follows a failed attempt. From `useful_until` on, the message is useless.
pub(super) async fn next_attempt(
    worker: &Worker,
    leased: &LeasedJob,
    FailedSend { failure, retry_after, possibly_sent, is_deduplicated }: FailedSend,
    useful_until: Timestamp,
) -> Result<NextAttempt, ServiceError> {
    let before = was_unknown(worker, leased).await?;
    if possibly_sent && before && !is_deduplicated {
        return Ok(NextAttempt::Exhausted { possibly_sent });
    }
    let possibly_sent = possibly_sent || before;
    let Some(delay) = Schedule::REPLY.next_delay(leased.attempts + 1, random::fraction(), retry_after) else {
        return Ok(NextAttempt::Exhausted { possibly_sent });
    };
    let at = worker.services.env.store.now() + delay;
    if at >= useful_until {
        return Ok(NextAttempt::TooLate { possibly_sent });
    }
    let note = AttemptNote { possibly_sent, cause: failure.as_str() };
    Ok(NextAttempt::Retry(Settlement::Retry { at, note: note.to_string() }))
}

/// Whether an earlier attempt noted that the message may have been sent.
async fn was_unknown(worker: &Worker, leased: &LeasedJob) -> Result<bool, ServiceError> {
    if leased.attempts == 0 {
        return Ok(false);
    }
    let job = worker.services.env.store.job(leased.instance, leased.partition, &leased.id).await?;
    Ok(job.is_some_and(|job| AttemptNote::parse(&job.note).possibly_sent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_leads_back_to_what_it_was_made_from() {
        for (perhaps_sent, text) in [(true, "perhaps sent: timeout"), (false, "timeout")] {
            let note = AttemptNote { possibly_sent: perhaps_sent, cause: "timeout" };
            assert_eq!(note.to_string(), text);
            let read = AttemptNote::parse(text);
            assert_eq!((read.possibly_sent, read.cause), (perhaps_sent, "timeout"));
        }
    }
}
