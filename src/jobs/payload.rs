//! Payload of a job: references, and data that must be kept as it is. It is encrypted and bound to the id and the
//! instance of its job, so that a party that can write to the store cannot have another instance's gateway send it.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{Event, InstanceId, KeyRing, Subject, Verification, VerificationId, decision::Reply, keys::Digest},
    random,
    store::{JobId, LeasedJob, StoreError},
    trace_context::{self, TraceContext},
};

/// Prefix of the ids of test events.
const TEST_PREFIX: &str = "test:";

/// Work for the worker to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum JobPayload {
    Callback(CallbackJob),
    Reply(ReplyJob),
    Code(CodeJob),
    Approval(ApprovalJob),
}

/// Deliver a body that is built once, when the event occurs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CallbackJob {
    pub event: Event,
    pub verification: Option<VerificationId>,
    pub webhook_id: String,
    pub url: String,
    pub body: String,
}

/// Send a reply in a chat; the text is rendered when it is sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplyJob {
    #[serde(rename = "about")]
    pub verification: Option<VerificationId>,
    pub reply: Reply,
    pub chat_id: String,
    pub subject: Option<Subject>,
}

/// Send the code over the channel of this message; the text is rendered when it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CodeJob {
    #[serde(rename = "about")]
    pub verification: VerificationId,
    #[serde(rename = "leg")]
    pub message: usize,
}

/// Ask for this approval; the text is rendered when it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApprovalJob {
    #[serde(rename = "about")]
    pub verification: VerificationId,
}

impl JobPayload {
    /// Name in traces and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Callback(_) => "callback",
            Self::Reply(_) => "reply",
            Self::Code(_) => "code",
            Self::Approval(_) => "approval",
        }
    }

    /// Encrypts the payload, together with the current trace context, which the attempt continues.
    pub fn seal(&self, keys: &KeyRing, instance: InstanceId, id: &JobId) -> Vec<u8> {
        let kept = TracedPayload { work: self, trace: trace_context::current().and_then(TraceContext::traceparent) };
        let json = serde_json::to_vec(&kept).expect("work has only string keys");
        keys.seal(&context(instance, id), &json, random::bytes())
    }

    pub fn open(keys: &KeyRing, instance: InstanceId, id: &JobId, sealed: &[u8]) -> Result<Self, StoreError> {
        Self::open_traced(keys, instance, id, sealed).map(|kept| kept.work)
    }

    fn open_traced(
        keys: &KeyRing,
        instance: InstanceId,
        id: &JobId,
        sealed: &[u8],
    ) -> Result<TracedPayload<Self>, StoreError> {
        let json =
            keys.open(&context(instance, id), sealed).map_err(|_| StoreError::Sealed(format!("job {}", id.0)))?;
        serde_json::from_slice(&json).map_err(|error| StoreError::Corrupt(format!("job {}: {error}", id.0)))
    }

    /// Also returns the trace context to continue, if the payload contains one.
    pub fn open_leased(keys: &KeyRing, leased: &LeasedJob) -> Result<(Self, Option<TraceContext>), StoreError> {
        let TracedPayload { work, trace } = Self::open_traced(keys, leased.instance, &leased.id, &leased.body)?;
        Ok((work, trace.and_then(|header| header.parse().ok())))
    }
}

/// Payload and the `traceparent` of its cause.
#[derive(Serialize, Deserialize)]
struct TracedPayload<W> {
    #[serde(flatten)]
    work: W,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
}

fn context(instance: InstanceId, id: &JobId) -> String {
    format!("job:{}:{}", instance.simple(), id.0)
}

pub fn callback_id(id: VerificationId, event: Event) -> JobId {
    JobId(format!("{}:{}", id.simple(), event.as_str()))
}

/// Id of a callback that is sent once for each send of a code.
pub fn callback_of_send_id(id: VerificationId, event: Event, send: u16) -> JobId {
    JobId(format!("{}:{}:{send}", id.simple(), event.as_str()))
}

pub fn code_id(id: VerificationId, message: usize) -> JobId {
    JobId(format!("{}:code:{message}", id.simple()))
}

pub fn approval_id(id: VerificationId) -> JobId {
    JobId(format!("{}:approval", id.simple()))
}

/// Ids of all callbacks that this verification can have had.
pub fn callback_ids(record: &Verification) -> Vec<JobId> {
    let its_type = Some(record.otp_type());
    let once =
        Event::ALL.iter().filter(|event| event.otp_type() == its_type).map(|event| callback_id(record.id, *event));
    let Some(code) = record.as_code() else { return once.collect() };
    let sends = code.delivery.messages.iter().map(|message| message.send).max().unwrap_or_default();
    let each = |event| (0..=sends).map(move |send| callback_of_send_id(record.id, event, send));
    once.chain([Event::CodeSent, Event::CodeDelivered].into_iter().flat_map(each)).collect()
}

pub fn test_id(seed: Digest) -> JobId {
    JobId(format!("{TEST_PREFIX}{}", seed.hex()))
}

/// Whether the job is a test event, which belongs to no verification.
pub fn is_test(id: &JobId) -> bool {
    id.0.starts_with(TEST_PREFIX)
}

/// Replies to one chat form a group.
pub fn reply_id(chat: Digest, message: Digest) -> JobId {
    JobId([&chat.hex(), "/", &message.hex(), ":reply"].concat())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_waits_in_a_queue_is_read_by_every_version() {
        let about = VerificationId::from_bytes([7; 16]);
        let id = about.to_string();
        let callback = CallbackJob {
            event: Event::Test,
            verification: None,
            webhook_id: "msg_1".to_owned(),
            url: "https://app.example.org".to_owned(),
            body: "{}".to_owned(),
        };
        let reply =
            ReplyJob { verification: Some(about), reply: Reply::Success, chat_id: "1@c.us".to_owned(), subject: None };
        for (payload, stored) in [
            (
                JobPayload::Callback(callback),
                json!({
                    "do": "callback", "event": "callback.test", "verification": null, "webhook_id": "msg_1",
                    "url": "https://app.example.org", "body": "{}",
                }),
            ),
            (
                JobPayload::Reply(reply),
                json!({ "do": "reply", "about": id, "reply": "success", "chat_id": "1@c.us", "subject": null }),
            ),
            (
                JobPayload::Code(CodeJob { verification: about, message: 2 }),
                json!({ "do": "code", "about": id, "leg": 2 }),
            ),
            (JobPayload::Approval(ApprovalJob { verification: about }), json!({ "do": "approval", "about": id })),
        ] {
            assert_eq!(serde_json::to_value(&payload).unwrap(), stored);
            assert_eq!(serde_json::from_value::<JobPayload>(stored).unwrap(), payload);
        }
    }
}
