//! From a decision to one atomic change, and from the change to the worker beside us.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{CONFLICTS, Instance, Service, ServiceError, callback, deed};
use crate::{
    domain::{
        Command, Decision, Effect, Event, InstanceId, LookUp, Partition, State, Subject, Verdict, Verification,
        VerificationId, decide, decide::Reply,
    },
    jobs::{
        payload::{self, JobPayload},
        permits::{Permit, StartableJob},
    },
    metrics::label::{ByFinalState, ByResult, InstanceLabel},
    store::{Change, CommitOutcome, Index, Job, JobId, Lane, Leased, RecordChange, StoreError, record},
};

/// The message that a decision answers.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    /// What its stable id is found by.
    pub(super) id: LookUp,
    /// What the reply is addressed to.
    pub(super) chat_id: String,
    pub(super) subject: Option<Subject>,
    /// The sender's budget of such replies is not used up. The first success is always answered.
    pub(super) may_reply: bool,
}

/// What came of a command.
pub(super) struct Applied {
    pub(super) verdict: Verdict,
    /// As it is now.
    pub(super) record: Verification,
    /// The message had been answered before; nothing was done.
    pub(super) duplicate: bool,
}

impl Service {
    /// Load, decide, commit. `loaded`, a record and its version, spares the first load.
    pub(super) async fn apply(
        &self,
        instance: &Instance,
        id: VerificationId,
        mut loaded: Option<(u64, Verification)>,
        command: Command,
        incoming: Option<&Incoming>,
    ) -> Result<Applied, ServiceError> {
        deed::done_to(id);
        let mut late = None;
        for _ in 0..CONFLICTS {
            let (version, before) = match loaded.take() {
                Some(loaded) => loaded,
                None => self.load(id).await.map(|(stored, record)| (stored.version, record))?,
            };
            let now = late.take().unwrap_or_else(|| self.now());
            let mut decision = decide(&before, command.clone(), now);
            if incoming.is_some_and(|incoming| !incoming.may_reply) && decision.verdict != Verdict::Verified {
                decision.effects.retain(|effect| !matches!(effect, Effect::Reply(_)));
            }
            if let Some(next) = &mut decision.next {
                deed::sign(next, before.timeline.len());
            }
            let Decision { next, effects, verdict, .. } = &decision;
            if next.is_none() && effects.is_empty() {
                return Ok(Applied { verdict: *verdict, record: before, duplicate: false });
            }
            let change = self.change(instance, &before, version, &decision, incoming, now);
            let after = next.as_ref().unwrap_or(&before);
            match self.send_with(change, Some(after), now).await? {
                CommitOutcome::Applied { .. } => {
                    let record = decision.next.unwrap_or_else(|| before.clone());
                    if before.ended_at().is_none() {
                        self.count(&record);
                    }
                    self.count_completion(&record, decision.verdict);
                    return Ok(Applied { verdict: decision.verdict, record, duplicate: false });
                }
                CommitOutcome::Duplicate => {
                    return Ok(Applied { verdict: Verdict::Unchanged, record: before, duplicate: true });
                }
                CommitOutcome::Conflict | CommitOutcome::Collision => {}
                CommitOutcome::Late(now) => late = Some(now),
            }
        }
        Err(StoreError::Unavailable("too many conflicting changes".to_owned()).into())
    }

    /// Commits; jobs for which there is a permit start here, at once.
    pub(super) async fn send(&self, change: Change, now: Timestamp) -> Result<CommitOutcome, StoreError> {
        self.send_with(change, None, now).await
    }

    /// As [`Service::send`]. Jobs about `record` need not load what this change writes.
    pub(super) async fn send_with(
        &self,
        mut change: Change,
        record: Option<&Verification>,
        now: Timestamp,
    ) -> Result<CommitOutcome, StoreError> {
        let permits = &self.handoff.permits;
        let taken: Vec<Option<Permit>> = change
            .jobs
            .iter_mut()
            .map(|job| {
                let paced = self.rate(&job.lane).is_some();
                let permit = job.due.is_none().then(|| permits.try_take(&job.lane, job.id.group(), paced)).flatten();
                job.lease = permit.is_some();
                permit
            })
            .collect();
        let committed = self.store.commit(&change).await?;
        if let CommitOutcome::Applied { leased } = &committed {
            let record = record.filter(|_| leased.contains(&true)).map(|record| Arc::new(record.clone()));
            for ((job, permit), leased) in change.jobs.into_iter().zip(taken).zip(leased) {
                let partition = change.partition;
                match permit {
                    Some(permit) if *leased => {
                        let Job { id, instance, lane, body, .. } = job;
                        let (since, fence) = (now, 1);
                        let leased =
                            Leased { partition, id, instance, lane, fence, attempts: 0, lapsed: 0, since, body };
                        self.handoff.give(StartableJob { leased, permit, record: record.clone() });
                    }
                    None if job.due.is_none() => permits.record_waiting(&job.lane, partition, now),
                    _ => {}
                }
            }
        }
        Ok(committed)
    }

    /// Messages a second that a lane may send; `None` for lanes that send none, and where the operator set no limit.
    pub fn rate(&self, lane: &Lane) -> Option<u32> {
        let number = lane.instance().filter(|_| lane.kind().is_message())?;
        self.instances.get(number)?.config.limits.replies_per_second
    }

    /// How long the oldest message of this number that somebody waits for has been due.
    pub fn message_delay(&self, number: InstanceId) -> Duration {
        let oldest = [Lane::replies(number), Lane::codes(number)]
            .iter()
            .filter_map(|lane| self.handoff.permits.oldest(lane))
            .min();
        oldest
            .map_or(Duration::ZERO, |oldest| Duration::try_from(self.now().duration_since(oldest)).unwrap_or_default())
    }

    pub(super) fn change(
        &self,
        instance: &Instance,
        before: &Verification,
        version: u64,
        decision: &Decision,
        incoming: Option<&Incoming>,
        now: Timestamp,
    ) -> Change {
        let after = decision.next.as_ref().unwrap_or(before);
        let ends = before.ended_at().is_none() && after.ended_at().is_some();
        let jobs: Vec<Job> = decision
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Callback(event) => {
                    let id = payload::callback_id(before.id, *event);
                    self.callback_job(instance, after, *event, id, 0, now)
                }
                Effect::CallbackOfSend { event, send } => {
                    let id = payload::callback_of_send_id(before.id, *event, *send);
                    self.callback_job(instance, after, *event, id, u32::from(*send), now)
                }
                Effect::Code { leg } => Some(self.code_job(instance, after, *leg)),
                Effect::Reply(reply) => incoming.map(|incoming| {
                    let work = JobPayload::Reply {
                        about: Some(before.id),
                        reply: *reply,
                        chat_id: incoming.chat_id.clone(),
                        subject: incoming.subject.clone(),
                    };
                    let id = self.reply_id(instance, incoming);
                    self.job(instance, id, reply_lane(instance, *reply), None, &work)
                }),
            })
            .collect();
        let mut record = self.record_change(instance, after, version);
        if decision.next.is_none() {
            record.bytes = None;
        }
        record.indexes = match after.proof() {
            Some(proof) if ends && after.request.chat.is_none() => self.chat_indexes(instance, &proof.subject),
            _ => Vec::new(),
        };
        if ends {
            record.timer = Some(super::timers::after_end(instance, after, now));
        }
        Change::of(record).answers(incoming.map(|incoming| incoming.id)).jobs(jobs).valid_until(decision.valid_until)
    }

    /// Writes `record` over `version`; 0 creates it.
    pub(super) fn record_change(&self, instance: &Instance, record: &Verification, version: u64) -> RecordChange {
        let retain_until = super::timers::removed_at(instance, record) + super::timers::LATEST;
        let bytes = record::encode(&self.keys, record);
        RecordChange { created_at: record.created_at, ..RecordChange::new(record.id, version, bytes, retain_until) }
    }

    /// `None` when nobody wants to hear of this event.
    fn callback_job(
        &self,
        instance: &Instance,
        record: &Verification,
        event: Event,
        id: JobId,
        send: u32,
        now: Timestamp,
    ) -> Option<Job> {
        let url = Self::callback_url(instance, record, event)?.to_owned();
        let work = JobPayload::Callback {
            event,
            verification: Some(record.id),
            webhook_id: self.keys.event_id(record.key, record.id, event.as_str(), send),
            body: callback::body(event, record, now),
            url: url.clone(),
        };
        Some(self.job(instance, id, self.callback_lane(instance, &url), None, &work))
    }

    pub(super) fn callback_url<'a>(instance: &'a Instance, record: &'a Verification, event: Event) -> Option<&'a str> {
        record.callback_url(event).or(instance.config.callback_url.as_ref().map(url::Url::as_str))
    }

    pub(super) fn job(
        &self,
        instance: &Instance,
        id: JobId,
        lane: Lane,
        due: Option<Timestamp>,
        work: &JobPayload,
    ) -> Job {
        let body = work.seal(&self.keys, &id);
        Job { id, instance: instance.config.id, lane, due, body, lease: false }
    }

    /// Receivers are told apart by instance, scheme, host and port.
    pub(super) fn callback_lane(&self, instance: &Instance, url: &str) -> Lane {
        let origin = url::Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        let id = instance.config.id;
        Lane::callbacks(id, self.keys.permanent("origin", id, origin.as_bytes()))
    }

    /// Beside the other callbacks to this origin: what holds those does not hold a test.
    pub(super) fn test_lane(&self, instance: &Instance, url: &str) -> Lane {
        let (id, Lane(origin)) = (instance.config.id, self.callback_lane(instance, url));
        Lane::callbacks(id, self.keys.permanent("test", id, origin.as_bytes()))
    }

    /// A chat's replies keep their order, and never two are on their way from one process.
    pub(super) fn chat_of(&self, instance: &Instance, chat_id: &str) -> LookUp {
        self.keys.look_up("chat", instance.config.id, chat_id.as_bytes())
    }

    fn reply_id(&self, instance: &Instance, incoming: &Incoming) -> JobId {
        payload::reply_id(self.chat_of(instance, &incoming.chat_id).current(), incoming.id.current())
    }

    pub(super) fn chat_indexes(&self, instance: &Instance, subject: &Subject) -> Vec<Index> {
        Index::by("chat", self.keys.look_up("chat", instance.config.id, subject.canonical().as_bytes()))
    }

    /// A reply about no record, in the sender's own partition.
    pub(super) async fn reply_without_record(
        &self,
        instance: &Instance,
        partition: Partition,
        incoming: &Incoming,
        reply: Reply,
    ) -> Result<CommitOutcome, StoreError> {
        let work = JobPayload::Reply {
            about: None,
            reply,
            chat_id: incoming.chat_id.clone(),
            subject: incoming.subject.clone(),
        };
        let id = self.reply_id(instance, incoming);
        let job = self.job(instance, id, reply_lane(instance, reply), None, &work);
        self.send(Change::new(partition).answers(incoming.id).job(job), self.now()).await
    }

    /// Counts a verification that has just ended.
    pub(super) fn count(&self, record: &Verification) {
        let result = match record.state {
            State::Pending | State::Sent { .. } => return,
            State::Validated { .. } => "validated",
            State::Verified { .. } => "verified",
            State::Failed { .. } => "failed",
            State::Expired { .. } => "expired",
            State::Canceled { .. } => "canceled",
        };
        let ended = ByFinalState { instance: InstanceLabel(record.instance), otp_type: record.otp_type(), result };
        self.metrics.verifications.get_or_create(&ended).inc();
        if let State::Verified { at, .. } = record.state {
            let elapsed = Duration::try_from(at.duration_since(record.created_at)).unwrap_or_default();
            self.metrics.time_to_verification_seconds.observe(elapsed.as_secs_f64());
        }
    }

    /// Counts what became of the link in the reply.
    fn count_completion(&self, record: &Verification, verdict: Verdict) {
        let result = match verdict {
            Verdict::Completed => "completed",
            Verdict::Redeemed => "redeemed",
            Verdict::Disputed => "disputed",
            _ => return,
        };
        self.metrics.completions.get_or_create(&ByResult { instance: InstanceLabel(record.instance), result }).inc();
    }
}

/// What nobody waits for never delays what somebody does.
fn reply_lane(instance: &Instance, reply: Reply) -> Lane {
    let number = instance.config.id;
    if reply.is_expected() { Lane::replies(number) } else { Lane::notices(number) }
}
