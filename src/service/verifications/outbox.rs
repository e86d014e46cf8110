//! The jobs that are queued together with a commit (callbacks and replies), the lanes in which they wait, and the commit
//! itself, which hands jobs that can start now to the worker of this process.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::callback;
use crate::{
    domain::{
        Event, InstanceId, KeyRing, Kind, LookUp, Request, StateMachine, Subject, Verification, VerificationId,
        decision::Reply, link::Link,
    },
    jobs::{
        payload::{self, ApprovalJob, CallbackJob, CodeJob, JobPayload, ReplyJob},
        permits::{LocalDispatch, Permit, StartableJob},
    },
    service::{Environment, Instance, Instances, RequestContext},
    store::{Change, CommitOutcome, Job, JobId, Lane, LeasedJob, StoreError},
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

/// Commits changes, and hands those of their jobs that can start now to the worker of this process.
pub struct Outbox {
    keys: Arc<KeyRing>,
    instances: Arc<Instances>,
    local_dispatch: LocalDispatch,
}

impl Outbox {
    pub(in crate::service) fn new(env: &Environment) -> Self {
        Self {
            keys: Arc::clone(&env.keys),
            instances: Arc::clone(&env.instances),
            local_dispatch: env.local_dispatch.clone(),
        }
    }

    /// Commits a change. Jobs that get a permit start in this process at once.
    pub(in crate::service) async fn commit(
        &self,
        cx: &RequestContext,
        change: Change,
        now: Timestamp,
    ) -> Result<CommitOutcome, StoreError> {
        self.commit_with_record(cx, change, None::<&Verification<Link>>, now).await
    }

    /// As [`Self::commit`]. Jobs that start at once receive `record`, as this change writes it, and need not load it.
    pub(in crate::service) async fn commit_with_record<K: StateMachine>(
        &self,
        cx: &RequestContext,
        mut change: Change,
        record: Option<&Verification<K>>,
        now: Timestamp,
    ) -> Result<CommitOutcome, StoreError> {
        let permits = &self.local_dispatch.permits;
        let taken: Vec<Option<Permit>> = change
            .jobs
            .iter_mut()
            .map(|job| {
                let paced = self.send_rate(&job.lane).is_some();
                let permit =
                    job.due.is_none().then(|| permits.try_claim_new(&job.lane, job.id.group(), paced)).flatten();
                job.lease = permit.is_some();
                permit
            })
            .collect();
        let committed = cx.store.commit(&change).await?;
        if let CommitOutcome::Applied { leased } = &committed {
            let record = record.filter(|_| leased.contains(&true)).map(|record| Arc::new(record.clone().into_any()));
            for ((job, permit), leased) in change.jobs.into_iter().zip(taken).zip(leased) {
                let partition = change.partition;
                match permit {
                    Some(permit) if *leased => {
                        let Job { id, instance, lane, body, .. } = job;
                        let (since, fence) = (now, 1);
                        let leased = LeasedJob {
                            partition,
                            id,
                            instance,
                            lane,
                            fence,
                            attempts: 0,
                            expired_leases: 0,
                            since,
                            body,
                        };
                        self.local_dispatch.dispatch(StartableJob { leased, permit, record: record.clone() });
                    }
                    None if job.due.is_none() => permits.record_due(&job.lane, partition, now),
                    Some(_) | None => {}
                }
            }
        }
        Ok(committed)
    }

    /// Most messages per second that a lane may send; `None` for lanes without messages, and if the operator set no
    /// limit.
    pub fn send_rate(&self, lane: &Lane) -> Option<u32> {
        let number = lane.instance().filter(|_| lane.kind().is_message())?;
        self.instances.get(number)?.config.limits.replies_per_second
    }

    /// How long the oldest waiting reply or code of this number has been due.
    pub fn message_delay(&self, number: InstanceId, now: Timestamp) -> Duration {
        let oldest = [Lane::replies(number), Lane::codes(number)]
            .iter()
            .filter_map(|lane| self.local_dispatch.permits.oldest_due(lane))
            .min();
        oldest.map_or(Duration::ZERO, |oldest| Duration::try_from(now.duration_since(oldest)).unwrap_or_default())
    }

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
        let url = callback_url(instance, &record.request, event)?.to_owned();
        let work = JobPayload::Callback(CallbackJob {
            event,
            verification: Some(record.id),
            webhook_id: self.keys.event_id(record.key, record.id, event.as_str(), send),
            body: callback::body(event, record, now),
            url: url.clone(),
        });
        Some(self.job(instance, id, self.callback_lane(instance, &url), None, &work))
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

    /// The job that asks for an approval. It waits with the codes, because it starts a conversation as they do.
    pub(in crate::service) fn approval_job(&self, instance: &Instance, id: VerificationId) -> Job {
        let work = JobPayload::Approval(ApprovalJob { verification: id });
        self.job(instance, payload::approval_id(id), Lane::codes(instance.config.id), None, &work)
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

pub(in crate::service) fn callback_url<'a>(
    instance: &'a Instance,
    request: &'a Request,
    event: Event,
) -> Option<&'a str> {
    request.callbacks.url(event).or(instance.config.callback_url.as_ref().map(url::Url::as_str))
}

/// Replies for which a person is waiting have a lane of their own, so that others cannot delay them.
fn reply_lane(instance: &Instance, reply: Reply) -> Lane {
    let number = instance.config.id;
    if reply.is_expected() { Lane::replies(number) } else { Lane::notices(number) }
}
