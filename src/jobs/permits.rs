//! Permits for jobs in hand, and the due work that waits for them.
//!
//! Each party takes a limited number of attempts at once, its width. For a lane that sends fast, some more jobs are
//! taken in hand, which begin as attempts end: leasing them together costs the store a fraction of leasing each one
//! when its turn comes.

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

/// Lanes whose health and pace are remembered. Above this number, lanes without jobs in hand are forgotten.
const MAX_HEALTH_ENTRIES: usize = 10_000;
/// How far the store's clock may be behind this process's estimate of it.
const STORE_CLOCK_LAG: Duration = Duration::from_millis(20);
/// Retry times that are remembered; retries beyond them are found by the regular poll.
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
    /// A lane has due work but no room, because other lanes hold the permits.
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
        if let Some(hand) = self.claimed.get_mut(lane).filter(|hand| hand.confidence != confidence) {
            let before = std::mem::replace(&mut hand.confidence, confidence);
            self.usage.remove(hand.owner, before, hand.jobs());
            self.usage.add(hand.owner, confidence, hand.jobs());
        }
        confidence
    }

    /// Attempts that the party behind a lane takes at once.
    fn max_concurrency(&self, lane: &Lane) -> usize {
        self.health(lane).map_or_else(
            || Health::default().max_concurrency(lane.kind()),
            |health| health.max_concurrency(lane.kind()),
        )
    }

    fn jobs(&self, lane: &Lane) -> usize {
        self.claimed.get(lane).map_or(0, ClaimedJobs::jobs)
    }

    /// Jobs that may be in hand beyond those being attempted.
    fn prefetch_limit(&self, lane: &Lane, now: Instant) -> usize {
        let proven = || self.confidence(lane, now) == LaneConfidence::Proven;
        self.throughputs.get(lane).filter(|_| proven()).map_or(0, |pace| pace.prefetch_limit(now))
    }

    /// Whether so few jobs wait in hand that the next lease is worthwhile.
    fn needs_refill(&self, lane: &Lane, now: Instant) -> bool {
        let (jobs, width) = (self.jobs(lane), self.max_concurrency(lane));
        jobs < width || 2 * (jobs - width) < self.prefetch_limit(lane, now)
    }

    /// How many more jobs of a lane may be in hand. Jobs that would only wait leave half of the remaining room to other
    /// lanes.
    fn capacity(&mut self, lane: &Lane, now: Instant) -> usize {
        let confidence = self.refresh_confidence(lane, now);
        let owner = self.claimed.get(lane).map_or_else(|| PermitOwner::of(lane), |hand| hand.owner);
        let (jobs, width) = (self.jobs(lane), self.max_concurrency(lane));
        let room = self.usage.room(owner, confidence);
        let at_once = width.saturating_sub(jobs).min(room);
        let surplus = (width + self.prefetch_limit(lane, now)).saturating_sub(jobs.max(width));
        at_once + surplus.min((room - at_once) / 2)
    }
}

impl Permits {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Takes a permit for a job that is about to be committed. Returns `None` if the job must wait in the store: its
    /// lane has no room or has older work there, its group has a job in hand, or the lane is `paced` and has no send
    /// token.
    pub fn try_claim_new(self: &Arc<Self>, lane: &Lane, group: Option<&str>, paced: bool) -> Option<Permit> {
        let mut state = self.state();
        let now = Instant::now();
        let busy = group.is_some_and(|group| state.claimed.get(lane).is_some_and(|hand| hand.has_group(group)));
        if busy || state.backlog.oldest_due(lane).is_some() || state.capacity(lane, now) == 0 {
            return None;
        }
        if paced && state.send_tokens.take(lane, 1, now) == 0 {
            return None;
        }
        let mut permit = self.issue_permit(&mut state, lane, now, paced);
        join_group(&mut state, &mut permit, group);
        // Does not overtake a job that waits.
        if state.claimed.get(lane).is_some_and(|hand| hand.waiting() == 1) {
            try_start(&mut state, &mut permit, now);
        }
        Some(permit)
    }

    /// Begins the attempt of a job in hand, if possible.
    pub fn try_start(&self, permit: &mut Permit) -> StartResult {
        try_start(&mut self.state(), permit, Instant::now())
    }

    /// Waits for a change, since the last call, that may allow work to begin.
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

    /// When the next scheduled retry comes due. Retries that are already due are forgotten after this call.
    pub fn take_next_poll(&self) -> Option<tokio::time::Instant> {
        let mut state = self.state();
        let next = state.retries.first().copied();
        let later = state.retries.split_off(&Instant::now());
        state.retries = later;
        next.map(tokio::time::Instant::from_std)
    }

    /// Records the outcome of an attempt. Returns the end of the hold if one begins now.
    pub fn record_outcome(&self, lane: &Lane, now: Timestamp, outcome: AttemptOutcome) -> Option<Timestamp> {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.health.len() > MAX_HEALTH_ENTRIES {
            let in_hand = &state.claimed;
            state.health.retain(|lane, _| in_hand.contains_key(lane));
        }
        if state.throughputs.len() > MAX_HEALTH_ENTRIES {
            let in_hand = &state.claimed;
            state.throughputs.retain(|lane, _| in_hand.contains_key(lane));
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

    /// Number of jobs in hand in this process.
    pub fn claimed_jobs(&self) -> usize {
        self.state().claimed.values().map(ClaimedJobs::jobs).sum()
    }

    fn issue_permit(self: &Arc<Self>, state: &mut PermitState, lane: &Lane, now: Instant, paced: bool) -> Permit {
        if !state.claimed.contains_key(lane) {
            let hand = ClaimedJobs::new(PermitOwner::of(lane), state.confidence(lane, now));
            state.claimed.insert(lane.clone(), hand);
        }
        if let Some(hand) = state.claimed.get_mut(lane) {
            hand.add();
            state.usage.add(hand.owner, hand.confidence, 1);
        }
        Permit::new(self, lane, now, paced)
    }

    /// Every change is complete before anything can panic, so a poisoned lock still guards consistent data.
    fn state(&self) -> MutexGuard<'_, PermitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lane under which health is recorded: all messages of a number go through one gateway.
pub fn health_lane(lane: &Lane) -> Lane {
    match lane.instance() {
        Some(number) if lane.kind().is_message() => Lane::replies(number),
        _ => lane.clone(),
    }
}

fn join_group(state: &mut PermitState, permit: &mut Permit, group: Option<&str>) {
    let Some(group) = group else { return };
    permit.group = Some(group.to_owned());
    if let Some(hand) = state.claimed.get_mut(&permit.lane) {
        hand.join_group(group);
    }
}

fn try_start(state: &mut PermitState, permit: &mut Permit, now: Instant) -> StartResult {
    let width = state.max_concurrency(&permit.lane);
    let Some(hand) = state.claimed.get_mut(&permit.lane) else { return StartResult::AtLimit };
    let outcome = hand.try_start(permit.group.as_deref(), width, now);
    if outcome == StartResult::Started {
        permit.started_at = Some(now);
    }
    outcome
}
