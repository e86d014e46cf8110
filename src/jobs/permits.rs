//! Permits for jobs in hand, and what is known to wait for them.
//!
//! A party takes so many attempts at once. Of a lane that sends fast some more jobs are taken in hand, which begin when
//! those have ended: leasing them together costs the store a fraction of leasing each when its turn has come.

mod handoff;
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
    handoff::{LocalDispatch, StartableJob},
    permit::Permit,
};
pub use super::in_hand::Begin;
use super::{
    due_work::DueWork,
    health::{AttemptOutcome, Health},
    in_hand::{InHand, Pace},
    send_tokens::SendTokens,
    share::{self, LaneConfidence, PermitOwner, PermitUsage},
};
use crate::{
    domain::Partition,
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
    in_hand: HashMap<Lane, InHand>,
    paces: HashMap<Lane, Pace>,
    usage: PermitUsage,
    /// Due work of a lane waits for permits of others.
    starved: bool,
    health: HashMap<Lane, Health>,
    send_tokens: SendTokens,
    backlog: DueWork,
    /// When jobs come due that were settled here.
    retries: BTreeSet<Instant>,
}

impl PermitState {
    fn health(&self, lane: &Lane) -> Option<&Health> {
        if lane.kind().is_message() { self.health.get(&health_lane(lane)) } else { self.health.get(lane) }
    }

    fn confidence(&self, lane: &Lane, now: Instant) -> LaneConfidence {
        let oldest = self.in_hand.get(lane).and_then(InHand::oldest);
        share::confidence(lane, self.health(lane), oldest, now)
    }

    /// Counts the jobs of a lane as it stands now.
    fn recount(&mut self, lane: &Lane, now: Instant) -> LaneConfidence {
        let confidence = self.confidence(lane, now);
        if let Some(hand) = self.in_hand.get_mut(lane).filter(|hand| hand.confidence != confidence) {
            let before = std::mem::replace(&mut hand.confidence, confidence);
            self.usage.remove(hand.owner, before, hand.jobs());
            self.usage.add(hand.owner, confidence, hand.jobs());
        }
        confidence
    }

    /// Attempts that the party behind a lane takes at once.
    fn width(&self, lane: &Lane) -> usize {
        self.health(lane).map_or_else(|| Health::default().width(lane.kind()), |health| health.width(lane.kind()))
    }

    fn jobs(&self, lane: &Lane) -> usize {
        self.in_hand.get(lane).map_or(0, InHand::jobs)
    }

    /// Jobs that may be in hand beyond those that are attempted.
    fn surplus(&self, lane: &Lane, now: Instant) -> usize {
        let proven = || self.confidence(lane, now) == LaneConfidence::Proven;
        self.paces.get(lane).filter(|_| proven()).map_or(0, |pace| pace.surplus(now))
    }

    /// Whether less waits in hand than is worth the next lease.
    fn is_low(&self, lane: &Lane, now: Instant) -> bool {
        let (jobs, width) = (self.jobs(lane), self.width(lane));
        jobs < width || 2 * (jobs - width) < self.surplus(lane, now)
    }

    /// How many jobs more of a lane may be in hand. Those that only wait leave half of what there is to the others.
    fn room(&mut self, lane: &Lane, now: Instant) -> usize {
        let confidence = self.recount(lane, now);
        let owner = self.in_hand.get(lane).map_or_else(|| PermitOwner::of(lane), |hand| hand.owner);
        let (jobs, width) = (self.jobs(lane), self.width(lane));
        let room = self.usage.room(owner, confidence);
        let at_once = width.saturating_sub(jobs).min(room);
        let surplus = (width + self.surplus(lane, now)).saturating_sub(jobs.max(width));
        at_once + surplus.min((room - at_once) / 2)
    }
}

impl Permits {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// For a job that is about to be committed. `None` where it has to wait for its turn in the store: its lane is busy
    /// or has work there that came before, its group has a job in hand, or, of a lane that is `paced`, there is no
    /// permission to send.
    pub fn try_take(self: &Arc<Self>, lane: &Lane, group: Option<&str>, paced: bool) -> Option<Permit> {
        let mut state = self.state();
        let now = Instant::now();
        let busy = group.is_some_and(|group| state.in_hand.get(lane).is_some_and(|hand| hand.has_group(group)));
        if busy || state.backlog.oldest(lane).is_some() || state.room(lane, now) == 0 {
            return None;
        }
        if paced && state.send_tokens.take(lane, 1, now) == 0 {
            return None;
        }
        let mut permit = self.permit(&mut state, lane, now, paced);
        join(&mut state, &mut permit, group);
        // Not before one that waits.
        if state.in_hand.get(lane).is_some_and(|hand| hand.waiting() == 1) {
            begin(&mut state, &mut permit, now);
        }
        Some(permit)
    }

    /// Whether the attempt of a job in hand may begin.
    pub fn begin(&self, permit: &mut Permit) -> Begin {
        begin(&mut self.state(), permit, Instant::now())
    }

    /// A job was committed that no permit was found for.
    pub fn record_waiting(&self, lane: &Lane, partition: Partition, since: Timestamp) {
        let mut state = self.state();
        state.backlog.add(lane, partition, since);
        // Else the end of an attempt notifies.
        let low = state.is_low(lane, Instant::now());
        drop(state);
        if low {
            self.changed.notify_one();
        }
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
        let in_hand: Vec<Lane> = state.in_hand.keys().cloned().collect();
        for lane in in_hand {
            state.recount(&lane, now);
        }
        let mut lanes = state.backlog.lanes();
        lanes.retain(|lane| state.is_low(lane, now));
        let (ready, starved): (Vec<Lane>, Vec<Lane>) = lanes.into_iter().partition(|lane| state.room(lane, now) > 0);
        state.starved = !starved.is_empty();
        ready
    }

    /// Of a paced lane: how much permission to draw from its bucket. What is drawn without need is lost to the other
    /// replicas, so no more than what is known to be due.
    pub fn units_to_draw(&self, lane: &Lane, rate: u32) -> u32 {
        let (mut state, now) = (self.state(), Instant::now());
        let wanted = state.room(lane, now).min(state.backlog.least(lane));
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
        let busy: Arc<[String]> = state.in_hand.get(lane).into_iter().flat_map(InHand::groups).cloned().collect();
        let mut requests = Vec::new();
        for (partition, limit) in state.backlog.spread(lane, room) {
            let permits = (0..limit).map(|_| self.permit(&mut state, lane, now, paced)).collect();
            requests.push((LeaseRequest { partition, lane: lane.clone(), limit, busy: Arc::clone(&busy) }, permits));
        }
        requests
    }

    /// Notes what a request was answered, and gives each job its permit.
    pub fn granted(&self, request: &LeaseRequest, granted: LeaseGrant, permits: Vec<Permit>) -> Vec<(Leased, Permit)> {
        let mut state = self.state();
        let count = granted.jobs.len();
        let blocked = count < request.limit && granted.more.is_some();
        let mut permits = permits.into_iter();
        let mut jobs = Vec::with_capacity(count);
        for (leased, mut permit) in granted.jobs.into_iter().zip(&mut permits) {
            join(&mut state, &mut permit, leased.id.group());
            jobs.push((leased, permit));
        }
        state.backlog.record_grant(&request.lane, request.partition, count, granted.more, blocked);
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
            let in_hand = &state.in_hand;
            state.health.retain(|lane, _| in_hand.contains_key(lane));
        }
        if state.paces.len() > MAX_HEALTH_ENTRIES {
            let in_hand = &state.in_hand;
            state.paces.retain(|lane, _| in_hand.contains_key(lane));
        }
        let health = state.health.entry(health_lane(lane)).or_default();
        let in_flight = state.in_hand.get(lane).map_or(0, InHand::in_flight);
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

    /// Jobs in the hands of this process.
    pub fn in_hand(&self) -> usize {
        self.state().in_hand.values().map(InHand::jobs).sum()
    }

    fn permit(self: &Arc<Self>, state: &mut PermitState, lane: &Lane, now: Instant, paced: bool) -> Permit {
        if !state.in_hand.contains_key(lane) {
            let hand = InHand::new(PermitOwner::of(lane), state.confidence(lane, now));
            state.in_hand.insert(lane.clone(), hand);
        }
        if let Some(hand) = state.in_hand.get_mut(lane) {
            hand.add();
            state.usage.add(hand.owner, hand.confidence, 1);
        }
        Permit::new(self, lane, now, paced)
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
    if let Some(hand) = state.in_hand.get_mut(&permit.lane) {
        hand.join(group);
    }
}

fn begin(state: &mut PermitState, permit: &mut Permit, now: Instant) -> Begin {
    let width = state.width(&permit.lane);
    let Some(hand) = state.in_hand.get_mut(&permit.lane) else { return Begin::Full };
    let outcome = hand.begin(permit.group.as_deref(), width, now);
    if outcome == Begin::Begun {
        permit.begun = Some(now);
    }
    outcome
}
