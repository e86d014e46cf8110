//! The jobs that are queued together with a commit (callbacks and replies), and the lanes in which they wait.

use jiff::Timestamp;

use super::{Instance, RequestContext, Service, callback, commit::InboundMessage};
use crate::{
    domain::{Event, Kind, LookUp, Partition, Request, Subject, Verification, VerificationId, decision::Reply},
    jobs::payload::{self, CallbackJob, JobPayload, ReplyJob},
    store::{Change, CommitOutcome, Index, Job, JobId, Lane, StoreError},
};

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

    pub(super) fn callback_url<'a>(instance: &'a Instance, request: &'a Request, event: Event) -> Option<&'a str> {
        request.callbacks.url(event).or(instance.config.callback_url.as_ref().map(url::Url::as_str))
    }

    pub(super) fn job(
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
    pub(super) fn callback_lane(&self, instance: &Instance, url: &str) -> Lane {
        let origin = url::Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        let id = instance.config.id;
        Lane::callbacks(id, self.keys.permanent_digest("origin", id, origin.as_bytes()))
    }

    /// The lane of test callbacks to a receiver. It is separate, so that a test runs while other callbacks to the
    /// origin are held back.
    pub(super) fn test_lane(&self, instance: &Instance, url: &str) -> Lane {
        let (id, Lane(origin)) = (instance.config.id, self.callback_lane(instance, url));
        Lane::callbacks(id, self.keys.permanent_digest("test", id, origin.as_bytes()))
    }

    /// Identifies the group of replies to one chat. They are sent in order, and one process never sends two at once.
    pub(super) fn chat_look_up(&self, instance: &Instance, chat_id: &str) -> LookUp {
        self.keys.look_up("chat", instance.config.id, chat_id.as_bytes())
    }

    pub(super) fn chat_indexes(&self, instance: &Instance, subject: &Subject) -> Vec<Index> {
        Index::by("chat", self.keys.look_up("chat", instance.config.id, subject.canonical().as_bytes()))
    }

    pub(super) fn reply_job(
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

    /// Queues a reply that concerns no record, in the sender's partition.
    pub(super) async fn reply_without_record(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        partition: Partition,
        incoming: &InboundMessage,
        reply: Reply,
    ) -> Result<CommitOutcome, StoreError> {
        let job = self.reply_job(instance, None, incoming, reply);
        self.commit(cx, Change::new(partition).answers(incoming.id).job(job), self.now()).await
    }
}

/// Replies for which a person is waiting have a lane of their own, so that others cannot delay them.
fn reply_lane(instance: &Instance, reply: Reply) -> Lane {
    let number = instance.config.id;
    if reply.is_expected() { Lane::replies(number) } else { Lane::notices(number) }
}
