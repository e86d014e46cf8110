//! Permits for attempts, what is known to wait for them, and the way from a commit to the worker beside it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};

use super::{
    due_work::DueWork,
    health::{AttemptOutcome, Health},
    send_tokens::SendTokens,
    share::{self, LaneConfidence, PermitOwner, PermitUsage},
};
use crate::{
    domain::{Partition, Verification},
    store::{DrawnTokens, DueLane, Lane, LaneKind, LeaseGrant, LeaseRequest, Leased},
};

/// Parties that are remembered while nothing is in flight to them.
const MAX_HEALTH_ENTRIES: usize = 10_000;
/// By how much the store's clock may be behind what this process knows of it.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(20);
/// Times of retries that are remembered; beyond them the round finds what is due.
const MAX_RETRY_TIMES: usize = 1_000;

/// The permits of this process.
#[derive(Default)]
pub struct Permits {
    state: Mutex<PermitState>,
    changed: Notify,
}

#[derive(Default)]
struct PermitState {
    in_flight: HashMap<Lane, LaneAttempts>,
    usage: PermitUsage,
    /// Due work of a lane waits for permits of others.
    starved: bool,
    health: HashMap<Lane, Health>,
    send_tokens: SendTokens,
    backlog: DueWork,
    /// When jobs come due that were settled here.
    retries: BTreeSet<Instant>,
}

/// Attempts of one lane.
struct LaneAttempts {
    since: Vec<Instant>,
    groups: Vec<String>,
    owner: PermitOwner,
    /// As they are counted.
    confidence: LaneConfidence,
}

/// Permission for one attempt; dropping it gives it back.
pub struct Permit {
    permits: Arc<Permits>,
    lane: Lane,
    since: Instant,
    group: Option<String>,
    /// It holds a unit of the number's rate that is not used yet.
    paced: AtomicBool,
    spent: AtomicBool,
}

impl PermitState {
    fn health(&self, lane: &Lane) -> Option<&Health> {
        if lane.kind().is_message() { self.health.get(&health_lane(lane)) } else { self.health.get(lane) }
    }

    fn confidence(&self, lane: &Lane, now: Instant) -> LaneConfidence {
        let oldest = self.in_flight.get(lane).and_then(|attempts| attempts.since.iter().min().copied());
        share::confidence(lane, self.health(lane), oldest, now)
    }

    /// Counts the attempts of a lane as it stands now.
    fn recount(&mut self, lane: &Lane, now: Instant) {
        let standing = self.confidence(lane, now);
        let Some(attempts) = self.in_flight.get_mut(lane).filter(|attempts| attempts.confidence != standing) else {
            return;
        };
        let before = std::mem::replace(&mut attempts.confidence, standing);
        self.usage.remove(attempts.owner, before, attempts.since.len());
        self.usage.add(attempts.owner, standing, attempts.since.len());
    }

    /// How many more attempts the party behind a lane takes.
    fn lane_room(&self, lane: &Lane) -> usize {
        let unknown = Health::default();
        let width = self.health(lane).unwrap_or(&unknown).width(lane.kind());
        width.saturating_sub(self.in_flight.get(lane).map_or(0, |attempts| attempts.since.len()))
    }

    fn room(&mut self, lane: &Lane, now: Instant) -> usize {
        self.recount(lane, now);
        let (owner, standing) = match self.in_flight.get(lane) {
            Some(attempts) => (attempts.owner, attempts.confidence),
            None => (PermitOwner::of(lane), self.confidence(lane, now)),
        };
        self.lane_room(lane).min(self.usage.room(owner, standing))
    }
}

impl Permits {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// For a job that is about to be committed. `None` where it has to wait for its turn: its lane is busy or has work
    /// that came before, its group has a job in hand, or, of a lane that is `paced`, there is no permission to send.
    pub fn try_take(self: &Arc<Self>, lane: &Lane, group: Option<&str>, paced: bool) -> Option<Permit> {
        let mut state = self.state();
        let now = Instant::now();
        let attempts = state.in_flight.get(lane);
        let busy = group.is_some_and(|group| attempts.is_some_and(|one| one.groups.iter().any(|other| other == group)));
        if busy || state.backlog.oldest(lane).is_some() || state.room(lane, now) == 0 {
            return None;
        }
        if paced && state.send_tokens.take(lane, 1, now) == 0 {
            return None;
        }
        let mut permit = self.permit(&mut state, lane, now, paced);
        join(&mut state, &mut permit, group);
        Some(permit)
    }

    /// A job was committed that no permit was found for.
    pub fn record_waiting(&self, lane: &Lane, partition: Partition, since: Timestamp) {
        self.state().backlog.add(lane, partition, since);
        self.changed.notify_one();
    }

    /// Waits until something has changed since the last call that may let work begin.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A job comes due after `delay` whose attempt has ended here: the store is looked at then, not a round later.
    pub fn retry_in(&self, delay: Duration) {
        let mut state = self.state();
        if state.retries.len() < MAX_RETRY_TIMES {
            state.retries.insert(Instant::now() + delay + CLOCK_TOLERANCE);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// When the next of them comes due. What is due already is forgotten after this.
    pub fn next_retry(&self) -> Option<tokio::time::Instant> {
        let mut state = self.state();
        let next = state.retries.first().copied();
        let later = state.retries.split_off(&Instant::now());
        state.retries = later;
        next.map(tokio::time::Instant::from_std)
    }

    /// Whether a lane has due work in several partitions.
    pub fn has_backlog(&self, lane: &Lane) -> bool {
        self.state().backlog.partitions(lane) > 1
    }

    /// To be given to [`Permits::update_due`] with what the store says after this.
    pub fn due_version(&self) -> u64 {
        self.state().backlog.version()
    }

    /// What the store says is due.
    pub fn update_due(&self, mark: u64, due: Vec<DueLane>) {
        self.state().backlog.replace(mark, due);
    }

    /// Lanes with due work and room for it, that which waits longest first.
    pub fn ready(&self) -> Vec<Lane> {
        let (mut state, now) = (self.state(), Instant::now());
        let in_flight: Vec<Lane> = state.in_flight.keys().cloned().collect();
        for lane in in_flight {
            state.recount(&lane, now);
        }
        let mut lanes = state.backlog.lanes();
        lanes.retain(|lane| state.lane_room(lane) > 0);
        let (ready, starved): (Vec<Lane>, Vec<Lane>) = lanes.into_iter().partition(|lane| state.room(lane, now) > 0);
        state.starved = !starved.is_empty();
        ready
    }

    /// Of a paced lane: how much permission to draw from its bucket. Each partition with work has one job at least, and
    /// what is drawn without need is lost to the other replicas.
    pub fn units_to_draw(&self, lane: &Lane, rate: u32) -> u32 {
        let (mut state, now) = (self.state(), Instant::now());
        let wanted = state.room(lane, now).min(state.backlog.partitions(lane));
        state.send_tokens.units_to_draw(lane, u32::try_from(wanted).unwrap_or(u32::MAX), rate, now)
    }

    pub fn add_send_tokens(&self, lane: &Lane, drawn: DrawnTokens) {
        self.state().send_tokens.add(lane, drawn, Instant::now());
    }

    /// When a lane that has used up its permission can draw again.
    pub fn next_draw(&self, lane: &Lane) -> Option<Instant> {
        self.state().send_tokens.next_draw(lane)
    }

    /// What to lease of a lane, with a permit for each job.
    pub fn request(self: &Arc<Self>, lane: &Lane, paced: bool) -> Vec<(LeaseRequest, Vec<Permit>)> {
        let mut state = self.state();
        let now = Instant::now();
        let mut room = state.room(lane, now);
        if paced {
            let taken = state.send_tokens.take(lane, u32::try_from(room).unwrap_or(u32::MAX), now);
            room = taken as usize;
        }
        let busy = state.in_flight.get(lane).map(|attempts| attempts.groups.clone()).unwrap_or_default();
        let mut requests = Vec::new();
        for (partition, limit) in state.backlog.spread(lane, room) {
            let permits = (0..limit).map(|_| self.permit(&mut state, lane, now, paced)).collect();
            requests.push((LeaseRequest { partition, lane: lane.clone(), limit, busy: busy.clone() }, permits));
        }
        requests
    }

    /// Notes what a request was answered, and gives each job its permit.
    pub fn granted(&self, request: &LeaseRequest, granted: LeaseGrant, permits: Vec<Permit>) -> Vec<(Leased, Permit)> {
        let mut state = self.state();
        let blocked = granted.jobs.len() < request.limit && granted.more.is_some();
        let mut permits = permits.into_iter();
        let mut jobs = Vec::with_capacity(granted.jobs.len());
        for (leased, mut permit) in granted.jobs.into_iter().zip(&mut permits) {
            join(&mut state, &mut permit, leased.id.group());
            jobs.push((leased, permit));
        }
        state.backlog.record_grant(&request.lane, request.partition, granted.more, blocked);
        // A permit that is given back looks at the state.
        drop(state);
        drop(permits);
        jobs
    }

    /// Notes how an attempt ended. `Some`: the lane is to be left alone until then.
    pub fn record_outcome(&self, lane: &Lane, now: Timestamp, outcome: AttemptOutcome) -> Option<Timestamp> {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.health.len() > MAX_HEALTH_ENTRIES {
            let in_flight = &state.in_flight;
            state.health.retain(|lane, _| in_flight.contains_key(lane));
        }
        let health = state.health.entry(health_lane(lane)).or_default();
        let in_flight = state.in_flight.get(lane).map_or(0, |attempts| attempts.since.len());
        let hold = health.record(lane.kind(), now, outcome, in_flight, crate::random::fraction());
        state.recount(lane, Instant::now());
        hold
    }

    /// Until when the party behind a lane is left alone because it refuses our credentials.
    pub fn refused_until(&self, lane: &Lane) -> Option<Timestamp> {
        self.state()
            .health(lane)
            .filter(|health| health.last() == Some(AttemptOutcome::Refused))
            .and_then(Health::held_until)
    }

    /// Lanes that this replica holds back, by kind.
    pub fn held(&self) -> HashMap<LaneKind, usize> {
        let mut held = HashMap::new();
        for (lane, _) in self.state().health.iter().filter(|(_, health)| health.is_held()) {
            *held.entry(lane.kind()).or_default() += 1;
        }
        held
    }

    /// Forgets why messages are held back. The lanes whose hold has to end in the store.
    pub fn reset_message_holds(&self) -> Vec<Lane> {
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

    /// Since when work of this lane has been due that waits for its turn.
    pub fn oldest(&self, lane: &Lane) -> Option<Timestamp> {
        self.state().backlog.oldest(lane)
    }

    pub fn in_flight(&self) -> usize {
        self.state().in_flight.values().map(|attempts| attempts.since.len()).sum()
    }

    fn permit(self: &Arc<Self>, state: &mut PermitState, lane: &Lane, since: Instant, paced: bool) -> Permit {
        let standing = state.confidence(lane, since);
        let new = || LaneAttempts {
            since: Vec::new(),
            groups: Vec::new(),
            owner: PermitOwner::of(lane),
            confidence: standing,
        };
        let attempts = state.in_flight.entry(lane.clone()).or_insert_with(new);
        attempts.since.push(since);
        state.usage.add(attempts.owner, attempts.confidence, 1);
        Permit {
            permits: Arc::clone(self),
            lane: lane.clone(),
            since,
            group: None,
            paced: AtomicBool::new(paced),
            spent: AtomicBool::default(),
        }
    }

    /// Every change of the state is whole before anything can panic.
    fn state(&self) -> MutexGuard<'_, PermitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose health counts: all that a number sends goes through one gateway.
pub fn health_lane(lane: &Lane) -> Lane {
    match lane.instance() {
        Some(number) if lane.kind().is_message() => Lane::replies(number),
        _ => lane.clone(),
    }
}

fn join(state: &mut PermitState, permit: &mut Permit, group: Option<&str>) {
    let Some(group) = group else { return };
    permit.group = Some(group.to_owned());
    if let Some(attempts) = state.in_flight.get_mut(&permit.lane) {
        attempts.groups.push(group.to_owned());
    }
}

impl Permit {
    /// The unit of the number's rate is used: something is being sent.
    pub fn spend(&self) {
        self.paced.store(false, Ordering::Relaxed);
        self.spent.store(true, Ordering::Relaxed);
    }

    /// How long ago it was taken: with the wait for the store and for a processor.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether a message may have been sent under it.
    pub fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut guard = self.permits.state();
        let state = &mut *guard;
        if let Some(attempts) = state.in_flight.get_mut(&self.lane) {
            if let Some(place) = attempts.since.iter().position(|since| *since == self.since) {
                attempts.since.swap_remove(place);
                state.usage.remove(attempts.owner, attempts.confidence, 1);
            }
            if let Some(place) = attempts.groups.iter().position(|group| Some(group) == self.group.as_ref()) {
                attempts.groups.swap_remove(place);
            }
            if attempts.since.is_empty() {
                state.in_flight.remove(&self.lane);
            }
        }
        if *self.paced.get_mut() {
            state.send_tokens.put_back(&self.lane);
        }
        if self.group.is_some() {
            state.backlog.unblock(&self.lane);
        }
        let waits = state.starved || state.backlog.oldest(&self.lane).is_some();
        drop(guard);
        if waits {
            self.permits.changed.notify_one();
        }
    }
}

/// A job to be attempted now.
pub struct StartableJob {
    pub leased: Leased,
    pub permit: Permit,
    /// What it is about, where that was written with it.
    pub record: Option<Arc<Verification>>,
}

impl From<(Leased, Permit)> for StartableJob {
    fn from((leased, permit): (Leased, Permit)) -> Self {
        Self { leased, permit, record: None }
    }
}

/// Gives committed jobs to the worker of this process.
#[derive(Clone)]
pub struct LocalDispatch {
    pub permits: Arc<Permits>,
    sender: mpsc::UnboundedSender<StartableJob>,
}

impl LocalDispatch {
    /// The worker's end comes with it.
    pub fn new(permits: Arc<Permits>) -> (Self, mpsc::UnboundedReceiver<StartableJob>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { permits, sender }, receiver)
    }

    /// Never waits, and is bounded by the permits. When the worker is gone the lease runs out and another replica
    /// takes the job.
    pub fn give(&self, job: StartableJob) {
        let _ = self.sender.send(job);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::domain::{InstanceId, time::from_millis};

    fn lane() -> Lane {
        Lane::replies(InstanceId::from_random([1; 16]))
    }

    fn has_changed(permits: &Permits) -> bool {
        permits.changed().now_or_never().is_some()
    }

    #[test]
    fn a_commit_does_not_overtake_what_is_due() {
        let (permits, lane, here) = (Permits::new(), lane(), Partition::of(1));
        assert!(permits.try_take(&lane, None, false).is_some());
        permits.record_waiting(&lane, here, from_millis(1));
        assert!(has_changed(&permits));
        assert!(permits.try_take(&lane, None, false).is_none());
        assert!(permits.try_take(&Lane::timer(), None, false).is_some(), "other lanes do not wait");
        let (request, held) = permits.request(&lane, false).remove(0);
        assert_eq!((request.partition, request.limit, held.len()), (here, 8, 8));
        assert!(permits.granted(&request, LeaseGrant::default(), held).is_empty());
        assert!(permits.try_take(&lane, None, false).is_some(), "there is no more");
        assert_eq!(permits.in_flight(), 0);
    }

    #[test]
    fn a_group_has_one_job_in_hand() {
        let (permits, lane) = (Permits::new(), lane());
        let held = permits.try_take(&lane, Some("chat"), false);
        assert!(held.is_some());
        assert!(permits.try_take(&lane, Some("chat"), false).is_none());
        assert!(permits.try_take(&lane, Some("other"), false).is_some());
        permits.record_waiting(&lane, Partition::of(1), from_millis(1));
        let (request, unused) = permits.request(&lane, false).remove(0);
        assert_eq!(request.busy, ["chat"]);
        let blocked = LeaseGrant { jobs: Vec::new(), more: Some(from_millis(1)) };
        assert!(permits.granted(&request, blocked, unused).is_empty());
        assert!(permits.ready().is_empty(), "all that is due waits for the job in hand");
        while has_changed(&permits) {}
        drop(held);
        assert!(has_changed(&permits));
        assert_eq!(permits.ready(), [lane]);
    }

    #[test]
    fn permission_to_send_comes_back_unless_something_was_sent() {
        let (permits, lane) = (Permits::new(), lane());
        assert!(permits.try_take(&lane, None, true).is_none(), "there is none in hand");
        permits.add_send_tokens(&lane, DrawnTokens { units: 1, wait: Duration::from_secs(1) });
        drop(permits.try_take(&lane, None, true).unwrap());
        let permit = permits.try_take(&lane, None, true).unwrap();
        permit.spend();
        drop(permit);
        assert!(permits.try_take(&lane, None, true).is_none());
        assert_eq!(permits.units_to_draw(&lane, 5), 0, "nothing is due");
    }

    #[test]
    fn the_store_is_looked_at_when_a_retry_comes_due() {
        let permits = Permits::new();
        assert_eq!(permits.next_retry(), None);
        permits.retry_in(Duration::from_secs(60));
        assert!(has_changed(&permits));
        permits.retry_in(Duration::ZERO);
        let first = permits.next_retry().unwrap();
        assert!(first < tokio::time::Instant::now() + Duration::from_secs(1));
        std::thread::sleep(CLOCK_TOLERANCE);
        assert_eq!(permits.next_retry(), Some(first), "due now, and forgotten");
        assert!(permits.next_retry().unwrap() > first);
    }

    #[test]
    fn what_a_number_sends_has_one_party_behind_it() {
        let (permits, number) = (Permits::new(), InstanceId::from_random([1; 16]));
        let now = from_millis(0);
        assert!(permits.record_outcome(&Lane::codes(number), now, AttemptOutcome::Refused).is_some());
        assert!(permits.refused_until(&Lane::replies(number)).is_some());
        assert_eq!(permits.held(), HashMap::from([(LaneKind::Replies, 1)]));
        assert_eq!(permits.reset_message_holds(), [Lane::replies(number)]);
        assert_eq!(permits.held(), HashMap::new());
    }
}
