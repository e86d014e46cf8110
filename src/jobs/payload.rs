//! What is in a job: references and what must be kept whole, sealed for its place in the queue.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{Event, KeyRing, Subject, Verification, VerificationId, decide::Reply, keys::Digest},
    random,
    store::{JobId, Leased, StoreError},
    trace_context::{self, TraceContext},
};

/// How ids of test events begin.
const TEST_PREFIX: &str = "test:";

/// Work for the worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum JobPayload {
    /// Deliver a body that was built once.
    Callback { event: Event, verification: Option<VerificationId>, webhook_id: String, url: String, body: String },
    /// Answer in a chat; the text is rendered when it is sent.
    Reply { about: Option<VerificationId>, reply: Reply, chat_id: String, subject: Option<Subject> },
    /// Send the code, as this leg of the record says; the text is rendered when it is sent.
    Code { about: VerificationId, leg: usize },
}

impl JobPayload {
    /// What a trace calls it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Callback { .. } => "callback",
            Self::Reply { .. } => "reply",
            Self::Code { .. } => "code",
        }
    }

    /// What sends something out remembers the trace that it belongs to.
    pub fn seal(&self, keys: &KeyRing, id: &JobId) -> Vec<u8> {
        let kept = TracedPayload { work: self, trace: trace_context::current().and_then(TraceContext::traceparent) };
        let json = serde_json::to_vec(&kept).expect("work has only string keys");
        keys.seal(&context(id), &json, random::bytes())
    }

    pub fn open(keys: &KeyRing, id: &JobId, sealed: &[u8]) -> Result<Self, StoreError> {
        Self::open_traced(keys, id, sealed).map(|kept| kept.work)
    }

    fn open_traced(keys: &KeyRing, id: &JobId, sealed: &[u8]) -> Result<TracedPayload<Self>, StoreError> {
        let json = keys.open(&context(id), sealed).map_err(|_| StoreError::Sealed(format!("job {}", id.0)))?;
        serde_json::from_slice(&json).map_err(|error| StoreError::Corrupt(format!("job {}: {error}", id.0)))
    }

    /// With the trace that it goes on; a new one where nobody is told of it.
    pub fn open_leased(keys: &KeyRing, leased: &Leased) -> Result<(Self, Option<TraceContext>), StoreError> {
        let TracedPayload { work, trace } = Self::open_traced(keys, &leased.id, &leased.body)?;
        Ok((work, trace.and_then(|header| header.parse().ok())))
    }
}

/// Work and the `traceparent` of what caused it.
#[derive(Serialize, Deserialize)]
struct TracedPayload<W> {
    #[serde(flatten)]
    work: W,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
}

fn context(id: &JobId) -> String {
    format!("job:{}", id.0)
}

pub fn callback_id(id: VerificationId, event: Event) -> JobId {
    JobId(format!("{}:{}", id.simple(), event.as_str()))
}

/// For what is told once for each send.
pub fn callback_of_send_id(id: VerificationId, event: Event, send: u16) -> JobId {
    JobId(format!("{}:{}:{send}", id.simple(), event.as_str()))
}

pub fn code_id(id: VerificationId, leg: usize) -> JobId {
    JobId(format!("{}:code:{leg}", id.simple()))
}

/// Of the callbacks that this verification can have had, all.
pub fn callback_ids(record: &Verification) -> Vec<JobId> {
    let events = |prefix: &'static str| Event::ALL.iter().filter(move |event| event.as_str().starts_with(prefix));
    let Some(otp) = &record.otp else {
        return events("link.").map(|event| callback_id(record.id, *event)).collect();
    };
    let sends = otp.legs.iter().map(|leg| leg.send).max().unwrap_or_default();
    let each = |event| (0..=sends).map(move |send| callback_of_send_id(record.id, event, send));
    let once = events("code.").map(|event| callback_id(record.id, *event));
    once.chain([Event::CodeSent, Event::CodeDelivered].into_iter().flat_map(each)).collect()
}

pub fn test_id(seed: Digest) -> JobId {
    JobId(format!("{TEST_PREFIX}{}", seed.hex()))
}

/// A test event is about nothing and belongs to nobody.
pub fn is_test(id: &JobId) -> bool {
    id.0.starts_with(TEST_PREFIX)
}

/// Replies to one chat are a group.
pub fn reply_id(chat: Digest, message: Digest) -> JobId {
    JobId(format!("{}/{}:reply", chat.hex(), message.hex()))
}
