//! Decides how many jobs of each lane this process may claim, and tracks the due jobs for which it has no capacity.
//!
//! A job is first claimed (leased, or committed with a lease, under a [`Permit`]), and then started when the
//! concurrency limit of its lane and its group allow it. From lanes with a high throughput the process claims more jobs
//! than it can start and starts them as attempts end, because leasing jobs in batches is much cheaper for the store.

mod dispatch;
mod leasing;
mod permit;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::Notify;

pub use self::{
    dispatch::{LocalDispatch, StartableJob},
    permit::Permit,
};
pub use super::claimed::StartResult;
use super::{
    claimed::{ClaimedJobs, Throughput},
    due_work::DueWork,
    health::{AttemptOutcome, Health},
    send_tokens::SendTokens,
    share::{self, LaneConfidence, PermitOwner, PermitUsage},
};
use crate::store::{Lane, LaneKind};

/// Maximum number of lanes whose health and throughput are kept. Above it, lanes without claimed jobs are forgotten.
const MAX_HEALTH_ENTRIES: usize = 10_000;
/// How far the store's clock may lag behind this process's estimate of it.
const STORE_CLOCK_LAG: Duration = Duration::from_millis(20);
/// Maximum number of scheduled polls; other retries are found by the regular poll.
const MAX_RETRY_TIMES: usize = 1_000;

/// The permits of this process.
#[derive(Default)]
pub struct Permits {
    state: Mutex<PermitState>,
    changed: Notify,
}

#[derive(Default)]
struct PermitState {
    claimed: HashMap<Lane, ClaimedJobs>,
    throughputs: HashMap<Lane, Throughput>,
    usage: PermitUsage,
    /// A lane has due jobs but no capacity, because other lanes hold the permits.
    starved: bool,
    health: HashMap<Lane, Health>,
    send_tokens: SendTokens,
    backlog: DueWork,
    /// When jobs that were settled here come due.
    retries: BTreeSet<Instant>,
}

impl PermitState {
    fn health(&self, lane: &Lane) -> Option<&Health> {
        if lane.kind().is_message() { self.health.get(&health_lane(lane)) } else { self.health.get(lane) }
    }

    fn confidence(&self, lane: &Lane, now: Instant) -> LaneConfidence {
        let oldest = self.claimed.get(lane).and_then(ClaimedJobs::oldest_start);
        share::confidence(lane, self.health(lane), oldest, now)
    }

    /// Updates the confidence in a lane, and the counts that depend on it.
    fn refresh_confidence(&mut self, lane: &Lane, now: Instant) -> LaneConfidence {
        let confidence = self.confidence(lane, now);
        if let Some(lane_jobs) = self.claimed.get_mut(lane).filter(|lane_jobs| lane_jobs.confidence != confidence) {
            let before = std::mem::replace(&mut lane_jobs.confidence, confidence);
            self.usage.remove(lane_jobs.owner, before, lane_jobs.jobs());
            self.usage.add(lane_jobs.owner, confidence, lane_jobs.jobs());
        }
        confidence
    }

    /// Maximum number of concurrent attempts of a lane.
    fn max_concurrency(&self, lane: &Lane) -> usize {
        self.health(lane).map_or_else(
            || Health::default().max_concurrency(lane.kind()),
            |health| health.max_concurrency(lane.kind()),
        )
    }

    fn jobs(&self, lane: &Lane) -> usize {
        self.claimed.get(lane).map_or(0, ClaimedJobs::jobs)
    }

    /// How many jobs may be claimed beyond the concurrency limit. 0 unless recent attempts of the lane succeeded
    /// quickly.
    fn prefetch_limit(&self, lane: &Lane, now: Instant) -> usize {
        let proven = || self.confidence(lane, now) == LaneConfidence::Proven;
        self.throughputs.get(lane).filter(|_| proven()).map_or(0, |throughput| throughput.prefetch_limit(now))
    }

    /// Whether fewer than half of the prefetched jobs remain, so that the next batch is worth a lease.
    fn needs_refill(&self, lane: &Lane, now: Instant) -> bool {
        let (jobs, concurrency) = (self.jobs(lane), self.max_concurrency(lane));
        jobs < concurrency || 2 * (jobs - concurrency) < self.prefetch_limit(lane, now)
    }

    /// How many more jobs of a lane may be claimed. Prefetched jobs use at most half of the capacity that is left after
    /// the jobs that can start at once; the rest is for other lanes.
    fn capacity(&mut self, lane: &Lane, now: Instant) -> usize {
        let confidence = self.refresh_confidence(lane, now);
        let owner = self.claimed.get(lane).map_or_else(|| PermitOwner::of(lane), |lane_jobs| lane_jobs.owner);
        let (jobs, concurrency) = (self.jobs(lane), self.max_concurrency(lane));
        let room = self.usage.room(owner, confidence);
        let at_once = concurrency.saturating_sub(jobs).min(room);
        let surplus = (concurrency + self.prefetch_limit(lane, now)).saturating_sub(jobs.max(concurrency));
        at_once + surplus.min((room - at_once) / 2)
    }
}

impl Permits {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Claims a job that is about to be committed, and starts it if no other claimed job of the lane waits. Returns
    /// `None` if the job must wait in the store: its lane has no capacity or has older jobs there, a job of its group
    /// is claimed, or the lane is `rate_limited` and has no send token.
    pub fn try_claim_new(self: &Arc<Self>, lane: &Lane, group: Option<&str>, rate_limited: bool) -> Option<Permit> {
        let mut state = self.state();
        let now = Instant::now();
        let busy =
            group.is_some_and(|group| state.claimed.get(lane).is_some_and(|lane_jobs| lane_jobs.has_group(group)));
        if busy || state.backlog.oldest_due(lane).is_some() || state.capacity(lane, now) == 0 {
            return None;
        }
        if rate_limited && state.send_tokens.take(lane, 1, now) == 0 {
            return None;
        }
        let mut permit = self.issue_permit(&mut state, lane, now, rate_limited);
        join_group(&mut state, &mut permit, group);
        // Start at once only if no other claimed job waits; the count includes this one.
        if state.claimed.get(lane).is_some_and(|lane_jobs| lane_jobs.waiting() == 1) {
            try_start(&mut state, &mut permit, now);
        }
        Some(permit)
    }

    /// Starts a claimed job, if its lane and group allow it.
    pub fn try_start(&self, permit: &mut Permit) -> StartResult {
        try_start(&mut self.state(), permit, Instant::now())
    }

    /// Waits for a change, since the last call, that may allow a job to start.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Schedules a poll for the time at which a job settled here comes due, instead of waiting for the regular poll.
    pub fn schedule_poll_in(&self, delay: Duration) {
        let mut state = self.state();
        if state.retries.len() < MAX_RETRY_TIMES {
            state.retries.insert(Instant::now() + delay + STORE_CLOCK_LAG);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// The time of the next scheduled poll. Removes those that have passed.
    pub fn take_next_poll(&self) -> Option<tokio::time::Instant> {
        let mut state = self.state();
        let next = state.retries.first().copied();
        let later = state.retries.split_off(&Instant::now());
        state.retries = later;
        next.map(tokio::time::Instant::from_std)
    }

    /// Records the outcome of an attempt. Returns the end of the hold if the outcome puts the lane on hold.
    pub fn record_outcome(&self, lane: &Lane, now: Timestamp, outcome: AttemptOutcome) -> Option<Timestamp> {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.health.len() > MAX_HEALTH_ENTRIES {
            let claimed_lanes = &state.claimed;
            state.health.retain(|lane, _| claimed_lanes.contains_key(lane));
        }
        if state.throughputs.len() > MAX_HEALTH_ENTRIES {
            let claimed_lanes = &state.claimed;
            state.throughputs.retain(|lane, _| claimed_lanes.contains_key(lane));
        }
        let health = state.health.entry(health_lane(lane)).or_default();
        let in_flight = state.claimed.get(lane).map_or(0, ClaimedJobs::in_flight);
        let hold = health.record(lane.kind(), now, outcome, in_flight, crate::random::fraction());
        state.refresh_confidence(lane, Instant::now());
        hold
    }

    /// End of the hold on a lane whose last attempt was refused for our credentials.
    pub fn refused_until(&self, lane: &Lane) -> Option<Timestamp> {
        self.state()
            .health(lane)
            .filter(|health| health.last() == Some(AttemptOutcome::Refused))
            .and_then(Health::held_until)
    }

    /// Number of lanes that this replica holds, by kind.
    pub fn held_lanes_by_kind(&self) -> HashMap<LaneKind, usize> {
        let mut held = HashMap::new();
        for (lane, _) in self.state().health.iter().filter(|(_, health)| health.is_held()) {
            *held.entry(lane.kind()).or_default() += 1;
        }
        held
    }

    /// Forgets the health of all message lanes. Returns the lanes whose hold must also end in the store.
    pub fn forget_message_health(&self) -> Vec<Lane> {
        let mut state = self.state();
        let mut held = Vec::new();
        state.health.retain(|lane, health| {
            if lane.kind().is_message() && health.is_held() {
                held.push(lane.clone());
            }
            !lane.kind().is_message()
        });
        held
    }

    /// Number of jobs that this process has claimed.
    pub fn claimed_jobs(&self) -> usize {
        self.state().claimed.values().map(ClaimedJobs::jobs).sum()
    }

    fn issue_permit(
        self: &Arc<Self>,
        state: &mut PermitState,
        lane: &Lane,
        now: Instant,
        rate_limited: bool,
    ) -> Permit {
        if !state.claimed.contains_key(lane) {
            let lane_jobs = ClaimedJobs::new(PermitOwner::of(lane), state.confidence(lane, now));
            state.claimed.insert(lane.clone(), lane_jobs);
        }
        if let Some(lane_jobs) = state.claimed.get_mut(lane) {
            lane_jobs.add();
            state.usage.add(lane_jobs.owner, lane_jobs.confidence, 1);
        }
        Permit::new(self, lane, now, rate_limited)
    }

    /// No panic can occur halfway through an update, so the state is consistent even if the lock is poisoned.
    ///
    /// A [`Permit`] must not be dropped while this is held: its drop locks the state.
    fn state(&self) -> MutexGuard<'_, PermitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lane under which health is recorded. All message lanes of an instance share one entry, because they use the same
/// gateway.
pub fn health_lane(lane: &Lane) -> Lane {
    match lane.instance() {
        Some(number) if lane.kind().is_message() => Lane::replies(number),
        _ => lane.clone(),
    }
}

fn join_group(state: &mut PermitState, permit: &mut Permit, group: Option<&str>) {
    let Some(group) = group else { return };
    permit.group = Some(group.to_owned());
    if let Some(lane_jobs) = state.claimed.get_mut(&permit.lane) {
        lane_jobs.join_group(group);
    }
}

fn try_start(state: &mut PermitState, permit: &mut Permit, now: Instant) -> StartResult {
    let concurrency = state.max_concurrency(&permit.lane);
    let Some(lane_jobs) = state.claimed.get_mut(&permit.lane) else { return StartResult::AtLimit };
    let outcome = lane_jobs.try_start(permit.group.as_deref(), concurrency, now);
    if outcome == StartResult::Started {
        permit.started_at = Some(now);
    }
    outcome
}
