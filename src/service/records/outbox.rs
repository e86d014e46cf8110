//! The jobs that are queued together with a commit (callbacks and replies), and the lanes in which they wait.

use jiff::Timestamp;

use super::callback;
use crate::{
    domain::{Event, Kind, LookUp, Request, Subject, Verification, VerificationId, decision::Reply},
    jobs::payload::{self, CallbackJob, CodeJob, JobPayload, ReplyJob},
    service::{Instance, Service},
    store::{Index, Job, JobId, Lane},
};

/// The gateway message that a decision answers.
#[derive(Clone, Debug)]
pub(in crate::service) struct InboundMessage {
    /// Look-up of the gateway's message id.
    pub(in crate::service) id: LookUp,
    /// Address of the reply.
    pub(in crate::service) chat_id: String,
    pub(in crate::service) subject: Option<Subject>,
}

impl Service {
    /// `None` if no callback URL is configured for this event.
    pub(super) fn callback_job<K: Kind>(
        &self,
        instance: &Instance,
        record: &Verification<K>,
        event: Event,
        id: JobId,
        send: u32,
        now: Timestamp,
    ) -> Option<Job> {
        let url = Self::callback_url(instance, &record.request, event)?.to_owned();
        let work = JobPayload::Callback(CallbackJob {
            event,
            verification: Some(record.id),
            webhook_id: self.keys.event_id(record.key, record.id, event.as_str(), send),
            body: callback::body(event, record, now),
            url: url.clone(),
        });
        Some(self.job(instance, id, self.callback_lane(instance, &url), None, &work))
    }

    pub(in crate::service) fn callback_url<'a>(
        instance: &'a Instance,
        request: &'a Request,
        event: Event,
    ) -> Option<&'a str> {
        request.callbacks.url(event).or(instance.config.callback_url.as_ref().map(url::Url::as_str))
    }

    pub(in crate::service) fn job(
        &self,
        instance: &Instance,
        id: JobId,
        lane: Lane,
        due: Option<Timestamp>,
        work: &JobPayload,
    ) -> Job {
        let body = work.seal(&self.keys, instance.config.id, &id);
        Job { id, instance: instance.config.id, lane, due, body, lease: false }
    }

    /// The lane of a callback receiver. Receivers are distinguished by instance, scheme, host and port.
    pub(in crate::service) fn callback_lane(&self, instance: &Instance, url: &str) -> Lane {
        let origin = url::Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        let id = instance.config.id;
        Lane::callbacks(id, self.keys.permanent_digest("origin", id, origin.as_bytes()))
    }

    /// The lane of test callbacks to a receiver. It is separate, so that a test runs while other callbacks to the
    /// origin are held back.
    pub(in crate::service) fn test_lane(&self, instance: &Instance, url: &str) -> Lane {
        let (id, Lane(origin)) = (instance.config.id, self.callback_lane(instance, url));
        Lane::callbacks(id, self.keys.permanent_digest("test", id, origin.as_bytes()))
    }

    /// Identifies the group of replies to one chat. They are sent in order, and one process never sends two at once.
    pub(in crate::service) fn chat_look_up(&self, instance: &Instance, chat_id: &str) -> LookUp {
        self.keys.look_up("chat", instance.config.id, chat_id.as_bytes())
    }

    pub(in crate::service) fn chat_indexes(&self, instance: &Instance, subject: &Subject) -> Vec<Index> {
        Index::by("chat", self.keys.look_up("chat", instance.config.id, subject.canonical().as_bytes()))
    }

    /// The job of a message, in the lane of the number that carries its channel.
    pub(in crate::service) fn code_job<K: Kind>(
        &self,
        instance: &Instance,
        record: &Verification<K>,
        message: usize,
    ) -> Job {
        let channel =
            record.as_code().and_then(|code| code.delivery.messages.get(message)).map(|message| message.channel);
        let carrier = channel.and_then(|channel| self.instances.carrier_id(instance, channel));
        let work = JobPayload::Code(CodeJob { verification: record.id, message });
        let lane = Lane::codes(carrier.unwrap_or(instance.config.id));
        self.job(instance, payload::code_id(record.id, message), lane, None, &work)
    }

    pub(in crate::service) fn reply_job(
        &self,
        instance: &Instance,
        about: Option<VerificationId>,
        incoming: &InboundMessage,
        reply: Reply,
    ) -> Job {
        let (chat_id, subject) = (incoming.chat_id.clone(), incoming.subject.clone());
        let id = payload::reply_id(self.chat_look_up(instance, &chat_id).current(), incoming.id.current());
        let work = JobPayload::Reply(ReplyJob { verification: about, reply, chat_id, subject });
        self.job(instance, id, reply_lane(instance, reply), None, &work)
    }
}

/// Replies for which a person is waiting have a lane of their own, so that others cannot delay them.
fn reply_lane(instance: &Instance, reply: Reply) -> Lane {
    let number = instance.config.id;
    if reply.is_expected() { Lane::replies(number) } else { Lane::notices(number) }
}
