//! The delivery log: callbacks that are waiting, delivered or given up.

use std::{fmt, str::FromStr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    api::callback::{CallbackData, CallbackEntry, CallbackStatus, TestEvent},
    domain::{Event, KeyRing, Partition, Verification, VerificationId, redirect},
    jobs::{
        payload::{self, CallbackJob, JobPayload},
        permits::LocalDispatch,
    },
    random,
    service::{
        Environment, Instance, Limited, ReplicaHealth, RequestContext, ServiceError, Shared,
        limits::Limits,
        receiver_responses::{ReceiverResponse, ReceiverResponses},
        verifications::{Admissions, Outbox, envelope},
    },
    store::{Change, CommitOutcome, JobId, JobInfo, JobState, LaneKind, StoreError, archive::JobCursor},
};

/// Dead jobs read at a time.
const DEAD_BATCH: usize = 100;
/// Reads for a count: there may be many dead replies among few dead callbacks.
const MAX_COUNTED_BATCHES: usize = 5;

/// The status of a callback whose job is in this state.
const fn callback_status(state: JobState) -> CallbackStatus {
    match state {
        JobState::Waiting => CallbackStatus::Pending,
        JobState::Delivered => CallbackStatus::Delivered,
        JobState::Dead => CallbackStatus::Dead,
    }
}

/// Inverse of [`callback_status`].
const fn job_state(status: CallbackStatus) -> JobState {
    match status {
        CallbackStatus::Pending => JobState::Waiting,
        CallbackStatus::Delivered => JobState::Delivered,
        CallbackStatus::Dead => JobState::Dead,
    }
}

/// End of a page of callbacks. Its text form is opaque.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallbackCursor {
    status: CallbackStatus,
    position: JobCursor,
}

impl fmt::Display for CallbackCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JobCursor { at, partition, id } = &self.position;
        let text = format!("{}.{}.{}.{}", self.status, at.as_millisecond(), partition.index(), id.0);
        f.write_str(&URL_SAFE_NO_PAD.encode(text))
    }
}

impl CallbackCursor {
    pub fn parse(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = text.splitn(4, '.');
        let mut part = || parts.next();
        let status = CallbackStatus::parse(part()?)?;
        let at = Timestamp::from_millisecond(part()?.parse().ok()?).ok()?;
        let partition = Partition::from_byte(part()?.parse().ok()?);
        Some(Self { status, position: JobCursor { at, partition, id: JobId(part()?.to_owned()) } })
    }
}

/// The callbacks of all instances: listed, replayed, tested.
pub struct CallbackLog {
    keys: Arc<KeyRing>,
    health: Arc<ReplicaHealth>,
    local_dispatch: LocalDispatch,
    limits: Arc<Limits>,
    admissions: Arc<Admissions>,
    outbox: Arc<Outbox>,
    responses: Arc<ReceiverResponses>,
}

impl CallbackLog {
    pub(in crate::service) fn new(env: &Environment, shared: &Shared) -> Self {
        Self {
            keys: Arc::clone(&env.keys),
            health: Arc::clone(&env.health),
            local_dispatch: env.local_dispatch.clone(),
            limits: Arc::clone(&shared.limits),
            admissions: Arc::clone(&shared.admissions),
            outbox: Arc::clone(&shared.outbox),
            responses: Arc::clone(&shared.responses),
        }
    }
}

impl CallbackLog {
    /// A page of an instance's callbacks after `cursor`, and the cursor of the next page. Waiting callbacks come first,
    /// by next attempt; then delivered ones, then those given up, each by end, newest first. `status` selects one
    /// status.
    pub async fn list(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        status: Option<CallbackStatus>,
        cursor: Option<&CallbackCursor>,
        limit: usize,
    ) -> Result<(Vec<CallbackEntry>, Option<CallbackCursor>), ServiceError> {
        let (mut callbacks, mut room) = (Vec::new(), limit);
        let before = |listed: &CallbackStatus| cursor.is_some_and(|cursor| cursor.status != *listed);
        let all = CallbackStatus::ALL.iter().copied().skip_while(before);
        for listed in all.filter(|listed| status.is_none_or(|wanted| wanted == *listed)) {
            let after = cursor.filter(|cursor| cursor.status == listed).map(|cursor| &cursor.position);
            let jobs = cx.store.jobs_after(instance.config.id, job_state(listed), after, room).await?;
            for job in &jobs {
                callbacks.extend(self.readable_entry(instance, job));
            }
            // Ended jobs include replies, which are not listed, so a full page may show fewer callbacks.
            room -= jobs.len();
            if room == 0 {
                return Ok((
                    callbacks,
                    jobs.last().map(|job| CallbackCursor { status: listed, position: job.cursor() }),
                ));
            }
        }
        Ok((callbacks, None))
    }

    /// The callbacks of one verification that are still kept, newest first.
    pub async fn of_record(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        record: &Verification,
    ) -> Result<Vec<CallbackEntry>, ServiceError> {
        let mut callbacks = Vec::new();
        for id in payload::callback_ids(record) {
            if let Some(job) = cx.store.job(instance.config.id, record.id.partition(), &id).await? {
                callbacks.extend(self.readable_entry(instance, &job));
            }
        }
        callbacks.sort_by_key(|callback| std::cmp::Reverse(callback.created_at));
        Ok(callbacks)
    }

    /// As [`Self::of_record`], oldest first, each with its kept failed attempts, oldest first.
    pub async fn attempts_of(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        record: &Verification,
    ) -> Result<Vec<(CallbackEntry, Vec<(Timestamp, ReceiverResponse)>)>, ServiceError> {
        let (mut jobs, mut receivers, mut attempts) = (Vec::new(), Vec::new(), Vec::new());
        for id in payload::callback_ids(record) {
            jobs.extend(cx.store.job(instance.config.id, record.id.partition(), &id).await?);
        }
        for job in &jobs {
            if !receivers.contains(&&job.lane) {
                receivers.push(&job.lane);
                attempts.extend(self.responses.failed_attempts(cx, &job.lane).await?);
            }
        }
        let with_attempts = |job: &JobInfo| {
            let of_job = attempts.iter().filter(|(_, attempt)| attempt.job == job.id.0);
            Some((self.readable_entry(instance, job)?, of_job.cloned().collect()))
        };
        let mut callbacks: Vec<(CallbackEntry, Vec<_>)> = jobs.iter().filter_map(with_attempts).collect();
        callbacks.sort_by_key(|(callback, _)| callback.created_at);
        Ok(callbacks)
    }

    /// One callback with its body, and the latest kept response that was not a success.
    pub async fn get(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        id: &str,
    ) -> Result<(CallbackEntry, Value, Option<(Timestamp, ReceiverResponse)>), ServiceError> {
        let (partition, job) = decode_job(id).ok_or(ServiceError::NotFound)?;
        let job = cx.store.job(instance.config.id, partition, &job).await?.ok_or(ServiceError::NotFound)?;
        let (view, body) = self.entry(instance, &job)?.ok_or(ServiceError::NotFound)?;
        let answer = self.responses.last(cx, &job).await?;
        Ok((view, Value::from_str(&body).unwrap_or_default(), answer))
    }

    /// Queues a delivered or given-up callback again, under the same `webhook-id`.
    pub async fn replay(&self, cx: &RequestContext, instance: &Instance, id: &str) -> Result<(), ServiceError> {
        let (partition, job) = decode_job(id).ok_or(ServiceError::NotFound)?;
        // Ended jobs include replies, which are useless when they are late.
        let known = cx.store.job(instance.config.id, partition, &job).await?.ok_or(ServiceError::NotFound)?;
        if self.entry(instance, &known)?.is_none() || !cx.store.replay(instance.config.id, partition, &job).await? {
            return Err(ServiceError::NotFound);
        }
        cx.set_replayed(id);
        self.local_dispatch.permits.record_due(&known.lane, partition, cx.now());
        Ok(())
    }

    /// The number of an instance's dead callbacks up to `limit`, and whether that are all.
    pub async fn count_dead(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        limit: usize,
    ) -> Result<(usize, bool), ServiceError> {
        let (mut count, mut after) = (0, None);
        for _ in 0..MAX_COUNTED_BATCHES {
            let jobs = cx.store.jobs_after(instance.config.id, JobState::Dead, after.as_ref(), DEAD_BATCH).await?;
            count += jobs.iter().filter(|job| job.lane.kind() == LaneKind::Callbacks).count();
            if count >= limit {
                return Ok((limit, false));
            }
            let Some(last) = jobs.last().filter(|_| jobs.len() == DEAD_BATCH) else { return Ok((count, true)) };
            after = Some(last.cursor());
        }
        Ok((count, false))
    }

    /// Queues dead callbacks of an instance again, newest first and at most `limit`. Returns how many, and whether that
    /// were all.
    pub async fn replay_dead(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        limit: usize,
    ) -> Result<(usize, bool), ServiceError> {
        cx.set_replayed("all");
        let (mut replayed, mut after) = (0, None);
        loop {
            let jobs = cx.store.jobs_after(instance.config.id, JobState::Dead, after.as_ref(), DEAD_BATCH).await?;
            for job in &jobs {
                if replayed == limit {
                    return Ok((replayed, false));
                }
                // Dead jobs include replies, which are useless when they are late.
                if self.readable_entry(instance, job).is_some()
                    && cx.store.replay(instance.config.id, job.partition, &job.id).await?
                {
                    self.local_dispatch.permits.record_due(&job.lane, job.partition, cx.now());
                    replayed += 1;
                }
            }
            let Some(last) = jobs.last().filter(|_| jobs.len() == DEAD_BATCH) else { return Ok((replayed, true)) };
            after = Some(last.cursor());
        }
    }

    /// Sends a signed test event through the real queue, in one attempt, even while other callbacks to this receiver
    /// are held. Requests with the same `repeat` key send it once.
    pub async fn send_test(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        url: &str,
        repeat: Option<&str>,
    ) -> Limited<CallbackEntry> {
        let limit = self.limits.test_limit(instance);
        let Limited { outcome, limit_statuses } = self.admissions.admit(cx, instance, limit.as_slice(), None).await;
        let outcome = match outcome {
            Ok(_) => self.queue_test(cx, instance, url, repeat).await,
            Err(refused) => Err(refused),
        };
        Limited { outcome, limit_statuses }
    }

    async fn queue_test(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        url: &str,
        repeat: Option<&str>,
    ) -> Result<CallbackEntry, ServiceError> {
        let seed = match repeat {
            Some(key) => key.as_bytes().to_vec(),
            None => random::bytes::<16>().to_vec(),
        };
        let (now, owner) = (cx.now(), instance.config.id);
        let (partition, seed) = (
            self.keys.partition_for("test callback", owner, &seed),
            self.keys.permanent_digest("test callback", owner, &seed),
        );
        let id = payload::test_id(seed);
        let data = CallbackData::Test(TestEvent::new(instance.config.id));
        let work = JobPayload::Callback(CallbackJob {
            event: Event::Test,
            verification: None,
            webhook_id: format!("msg_{}", seed.hex()),
            body: envelope(Event::Test, now, data),
            url: url.to_owned(),
        });
        let job = self.outbox.job(instance, id.clone(), self.outbox.test_lane(instance, url), None, &work);
        let change = Change::new(partition).job(job).starting();
        match self.outbox.commit(cx, change, now).await? {
            CommitOutcome::Applied { .. } => {}
            other @ (CommitOutcome::Conflict
            | CommitOutcome::Duplicate
            | CommitOutcome::Collision
            | CommitOutcome::Late(_)) => {
                tracing::error!(
                    ?other,
                    "the store refused to add a test callback, although the change has no conditions"
                );
            }
        }
        let known = cx.store.job(instance.config.id, partition, &id).await?.ok_or(ServiceError::NotFound)?;
        match JobPayload::open(&self.keys, instance.config.id, &known.id, &known.body)? {
            JobPayload::Callback(first) if first.url != url => Err(ServiceError::KeyReused),
            JobPayload::Callback(_) | JobPayload::Reply(_) | JobPayload::Code(_) | JobPayload::Approval(_) => {
                self.entry(instance, &known)?.map(|(view, _)| view).ok_or(ServiceError::NotFound)
            }
        }
    }

    /// As [`Self::entry`], for lists: a job that cannot be read here is reported and left out.
    fn readable_entry(&self, instance: &Instance, job: &JobInfo) -> Option<CallbackEntry> {
        match self.entry(instance, job) {
            Ok(view) => view.map(|(view, _)| view),
            Err(error) => {
                self.health.report_unreadable(instance, "job", &error);
                None
            }
        }
    }

    /// `None` for a job that is not a callback.
    fn entry(&self, instance: &Instance, job: &JobInfo) -> Result<Option<(CallbackEntry, String)>, StoreError> {
        let JobPayload::Callback(payload) = JobPayload::open(&self.keys, instance.config.id, &job.id, &job.body)?
        else {
            return Ok(None);
        };
        let CallbackJob { event, verification, webhook_id, url, body } = payload;
        let waits = job.state == JobState::Waiting;
        let view = CallbackEntry {
            id: encode_job(job.partition, &job.id),
            webhook_id,
            event: event.as_str(),
            uuid: verification.as_ref().map(VerificationId::to_string),
            url: redirect::parse(&url).map(|url| url.origin().ascii_serialization()).unwrap_or_default(),
            status: callback_status(job.state),
            attempts: job.attempts,
            created_at: job.since.into(),
            next_attempt_at: waits.then(|| job.at.into()),
            ended_at: (!waits).then(|| job.at.into()),
            last_error: (!job.note.is_empty()).then(|| job.note.clone()),
        };
        Ok(Some((view, body)))
    }
}

fn encode_job(partition: Partition, id: &JobId) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", partition.index(), id.0))
}

fn decode_job(id: &str) -> Option<(Partition, JobId)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
    let (partition, job) = text.split_once('.')?;
    Some((Partition::from_byte(partition.parse().ok()?), JobId(job.to_owned())))
}
