//! One message to a gateway: paced, over one of the number's sockets, with the number's circuit in mind.

use std::time::{Duration, Instant};

use http::Request;
use jiff::{SignedDuration, Timestamp};

use super::Worker;
use crate::{
    domain::{
        Partition,
        quota::{Allowance, Quota},
    },
    egress::EgressError,
    gateway::{Refusal, Sent},
    jobs::{number::Busy, retry::retry_after},
    metrics::label::{ByInstance, Of},
    service::{Instance, ServiceError},
    store::{JobId, Take},
    trace::{self, Context},
};

/// Whether somebody waits for the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Haste {
    Awaited,
    /// Has to fit into half of the rate, so that strangers who send rubbish cannot keep anybody's message waiting.
    Unasked,
}

/// What came of it.
pub(super) enum Spoken {
    Answer(Answer),
    /// Nothing was sent: the number has sent as much as it may.
    Later(Timestamp),
    /// Nothing was sent: the gateway refuses this number's credentials, and is left alone until then.
    Silent(Timestamp),
}

/// What the gateway said.
pub(super) struct Answer {
    pub(super) sent: Sent,
    /// Its `Retry-After`.
    pub(super) after: Option<Duration>,
    /// The message has an id under which the gateway sends it once.
    pub(super) repeatable: bool,
}

/// `number` is the instance whose gateway carries the message of this job.
pub(super) async fn speak(
    worker: &Worker,
    number: &Instance,
    job: &JobId,
    mut request: Request<Vec<u8>>,
    haste: Haste,
) -> Result<Spoken, ServiceError> {
    let service = &worker.service;
    let id = number.config.id;
    if let Some(at) = pace(worker, number, haste).await? {
        return Ok(Spoken::Later(at));
    }
    let _socket = match worker.lines.enter(id, service.now()).await {
        Ok(socket) => socket,
        Err(Busy::Silent(until)) => return Ok(Spoken::Silent(until)),
        Err(Busy::Full) => return Ok(Spoken::Later(service.now() + SignedDuration::from_secs(1))),
    };
    if let Some(traceparent) = trace::current().and_then(Context::header)
        && let Ok(value) = traceparent.parse()
    {
        request.headers_mut().insert("traceparent", value);
    }
    let repeatable = number.gateway.identify(&mut request, &service.message_id(id, job));
    let start = Instant::now();
    let (sent, after) = match number.sending.send(request).await {
        Ok(response) => (number.gateway.sent(&response), retry_after(response.headers(), service.now())),
        Err(EgressError { cause, written: false }) => (Sent::NotSent { why: cause.word() }, None),
        Err(EgressError { cause, written: true }) => (Sent::Unknown { why: cause.word() }, None),
    };
    service.metrics.reply_seconds.observe(start.elapsed().as_secs_f64());
    if matches!(sent, Sent::Accepted { .. } | Sent::Refused(_)) {
        let refused_us = matches!(sent, Sent::Refused(Refusal::Unauthorized));
        if worker.lines.note(id, service.now(), refused_us) {
            tracing::error!(instance = %id, "the gateway refuses us: the number may be logged out or banned");
        }
        let open = ByInstance { instance: Of(id) };
        service.metrics.numbers_refused.get_or_create(&open).set(i64::from(refused_us));
    }
    Ok(Spoken::Answer(Answer { sent, after, repeatable }))
}

/// When this number may send again, if it has sent as much as it may.
async fn pace(worker: &Worker, number: &Instance, haste: Haste) -> Result<Option<Timestamp>, ServiceError> {
    let service = &worker.service;
    let Some(rate) = number.config.limits.replies_per_second else { return Ok(None) };
    let id = number.config.id;
    let partition = Partition::of(id.as_bytes()[15]);
    let take = |lane: &str, rate| {
        let bucket = format!("{lane}:{}", id.simple());
        Take { partition, bucket, quota: Quota::sustained(rate, rate) }
    };
    let lanes = match haste {
        Haste::Awaited => vec![take("pace", rate)],
        Haste::Unasked => vec![take("slow", rate.div_ceil(2)), take("pace", rate)],
    };
    for lane in lanes {
        let admission = service.store.admit(&[lane], None).await?;
        if let [Allowance::Exhausted { retry_after }] = admission.allowances[..] {
            return Ok(Some(service.now() + retry_after));
        }
    }
    Ok(None)
}
