//! The jobs of one lane that are leased to this process, and the rate at which its attempts end.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::share::{LaneConfidence, PermitOwner};

/// Window over which the ended attempts of a lane are counted.
const SPAN: Duration = Duration::from_millis(100);
/// Maximum number of jobs of one lane that wait in hand.
const MAX_SURPLUS: usize = 256;

/// Jobs in hand: attempts in flight, and jobs that wait for one of them to end.
pub(super) struct InHand {
    jobs: usize,
    /// Start times of the attempts in flight.
    begun: Vec<Instant>,
    groups: HashMap<String, Group>,
    pub(super) owner: PermitOwner,
    /// Confidence under which the jobs are currently counted.
    pub(super) confidence: LaneConfidence,
}

#[derive(Default)]
struct Group {
    jobs: usize,
    begun: bool,
}

/// Result of beginning the attempt of a job in hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    Begun,
    /// Another job of its group is being attempted.
    GroupBusy,
    /// The party behind the lane has as many attempts in flight as it takes.
    Full,
}

impl InHand {
    pub(super) fn new(owner: PermitOwner, confidence: LaneConfidence) -> Self {
        Self { jobs: 0, begun: Vec::new(), groups: HashMap::new(), owner, confidence }
    }

    pub(super) fn add(&mut self) {
        self.jobs += 1;
    }

    /// Adds a job in hand to its group.
    pub(super) fn join(&mut self, group: &str) {
        match self.groups.get_mut(group) {
            Some(known) => known.jobs += 1,
            None => drop(self.groups.insert(group.to_owned(), Group { jobs: 1, begun: false })),
        }
    }

    pub(super) fn begin(&mut self, group: Option<&str>, width: usize, now: Instant) -> Begin {
        if self.begun.len() >= width {
            return Begin::Full;
        }
        if let Some(group) = group.and_then(|group| self.groups.get_mut(group)) {
            if group.begun {
                return Begin::GroupBusy;
            }
            group.begun = true;
        }
        self.begun.push(now);
        Begin::Begun
    }

    /// Removes a job; `begun` is the start time of its attempt, if it began.
    pub(super) fn remove(&mut self, group: Option<&str>, begun: Option<Instant>) {
        self.jobs -= 1;
        if let Some(place) = begun.and_then(|begun| self.begun.iter().position(|since| *since == begun)) {
            self.begun.swap_remove(place);
        }
        let Some((name, group)) = group.and_then(|name| Some((name, self.groups.get_mut(name)?))) else { return };
        group.jobs -= 1;
        if begun.is_some() {
            group.begun = false;
        }
        if group.jobs == 0 {
            self.groups.remove(name);
        }
    }

    pub(super) fn jobs(&self) -> usize {
        self.jobs
    }

    pub(super) fn in_flight(&self) -> usize {
        self.begun.len()
    }

    /// Jobs that wait for an attempt to end, or whose lease or commit is not confirmed yet.
    pub(super) fn waiting(&self) -> usize {
        self.jobs - self.begun.len()
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.begun.iter().min().copied()
    }

    pub(super) fn has_group(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &String> {
        self.groups.keys()
    }
}

/// Number of attempts of a lane that ended recently.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    began: Instant,
    before: usize,
    now: usize,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, before: 0, now: 0 }
    }

    pub(super) fn record(&mut self, now: Instant) {
        let passed = now.duration_since(self.began);
        if passed >= SPAN {
            let before = if passed < 2 * SPAN { self.now } else { 0 };
            *self = Self { began: now, before, now: 0 };
        }
        self.now += 1;
    }

    /// How many jobs may be taken in hand beyond those that can be attempted now: as many as the lane completed
    /// recently.
    pub(super) fn surplus(&self, now: Instant) -> usize {
        let lately = if now.duration_since(self.began) < 2 * SPAN { self.before.max(self.now) } else { 0 };
        lately.min(MAX_SURPLUS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Lane;

    #[test]
    fn of_a_group_one_attempt_is_in_flight() {
        let now = Instant::now();
        let mut hand = InHand::new(PermitOwner::of(&Lane::timer()), LaneConfidence::Proven);
        for group in ["a", "a", "b"] {
            hand.add();
            hand.join(group);
        }
        assert_eq!(hand.begin(Some("a"), 9, now), Begin::Begun);
        assert_eq!(hand.begin(Some("a"), 9, now), Begin::GroupBusy);
        assert_eq!(hand.begin(Some("b"), 1, now), Begin::Full);
        assert_eq!((hand.in_flight(), hand.waiting()), (1, 2));
        hand.remove(Some("a"), Some(now));
        assert_eq!(hand.begin(Some("a"), 1, now), Begin::Begun);
        hand.remove(Some("a"), Some(now));
        assert!(!hand.has_group("a") && hand.has_group("b"));
    }

    #[test]
    fn the_surplus_is_what_was_sent_in_the_last_moment() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for _ in 0..30 {
            pace.record(start);
        }
        pace.record(start + SPAN);
        assert_eq!(pace.surplus(start + SPAN), 30);
        pace.record(start + 2 * SPAN);
        assert_eq!(pace.surplus(start + 2 * SPAN), 1);
        assert_eq!(pace.surplus(start + 5 * SPAN), 0, "it is long ago");
        for _ in 0..10 * MAX_SURPLUS {
            pace.record(start + 2 * SPAN);
        }
        assert_eq!(pace.surplus(start + 2 * SPAN), MAX_SURPLUS);
    }
}
