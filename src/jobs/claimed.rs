//! The claimed jobs of one lane, and the rate at which its attempts end.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::share::{LaneConfidence, PermitOwner};

/// Length of a window in which the ended attempts of a lane are counted.
const WINDOW: Duration = Duration::from_millis(100);
/// Maximum number of prefetched jobs of one lane.
const MAX_PREFETCH: usize = 256;

/// Claimed jobs of one lane: attempts in flight, and jobs that wait for one of them to end.
pub(super) struct ClaimedJobs {
    jobs: usize,
    /// Start times of the attempts in flight.
    started: Vec<Instant>,
    groups: HashMap<String, Group>,
    pub(super) owner: PermitOwner,
    /// Confidence under which the jobs are currently counted.
    pub(super) confidence: LaneConfidence,
}

#[derive(Default)]
struct Group {
    jobs: usize,
    in_flight: bool,
}

/// Result of starting a claimed job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartResult {
    Started,
    /// Another job of its group is being attempted.
    GroupBusy,
    /// The lane has as many attempts in flight as its concurrency limit allows.
    AtLimit,
}

impl ClaimedJobs {
    pub(super) fn new(owner: PermitOwner, confidence: LaneConfidence) -> Self {
        Self { jobs: 0, started: Vec::new(), groups: HashMap::new(), owner, confidence }
    }

    pub(super) fn add(&mut self) {
        self.jobs += 1;
    }

    /// Adds a claimed job to its group, of which one job at a time is attempted.
    pub(super) fn join_group(&mut self, group: &str) {
        match self.groups.get_mut(group) {
            Some(known) => known.jobs += 1,
            None => drop(self.groups.insert(group.to_owned(), Group { jobs: 1, in_flight: false })),
        }
    }

    pub(super) fn try_start(&mut self, group: Option<&str>, concurrency: usize, now: Instant) -> StartResult {
        if self.started.len() >= concurrency {
            return StartResult::AtLimit;
        }
        if let Some(group) = group.and_then(|group| self.groups.get_mut(group)) {
            if group.in_flight {
                return StartResult::GroupBusy;
            }
            group.in_flight = true;
        }
        self.started.push(now);
        StartResult::Started
    }

    /// Removes a job; `started_at` is the start time of its attempt, if it has started.
    pub(super) fn remove(&mut self, group: Option<&str>, started_at: Option<Instant>) {
        self.jobs -= 1;
        if let Some(index) =
            started_at.and_then(|started_at| self.started.iter().position(|since| *since == started_at))
        {
            self.started.swap_remove(index);
        }
        let Some((name, group)) = group.and_then(|name| Some((name, self.groups.get_mut(name)?))) else { return };
        group.jobs -= 1;
        if started_at.is_some() {
            group.in_flight = false;
        }
        if group.jobs == 0 {
            self.groups.remove(name);
        }
    }

    pub(super) fn jobs(&self) -> usize {
        self.jobs
    }

    pub(super) fn in_flight(&self) -> usize {
        self.started.len()
    }

    /// Jobs that wait for an attempt to end, or whose lease or commit is not confirmed yet.
    pub(super) fn waiting(&self) -> usize {
        self.jobs - self.started.len()
    }

    pub(super) fn oldest_start(&self) -> Option<Instant> {
        self.started.iter().min().copied()
    }

    pub(super) fn has_group(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &String> {
        self.groups.keys()
    }
}

/// Number of attempts of a lane that ended in the current and in the previous window.
#[derive(Clone, Copy)]
pub(super) struct Throughput {
    window_start: Instant,
    previous_window: usize,
    current_window: usize,
}

impl Throughput {
    pub(super) fn new(now: Instant) -> Self {
        Self { window_start: now, previous_window: 0, current_window: 0 }
    }

    pub(super) fn record(&mut self, now: Instant) {
        let passed = now.duration_since(self.window_start);
        if passed >= WINDOW {
            let before = if passed < 2 * WINDOW { self.current_window } else { 0 };
            *self = Self { window_start: now, previous_window: before, current_window: 0 };
        }
        self.current_window += 1;
    }

    /// How many jobs may be claimed beyond those that can be attempted now: as many as ended in the fuller of the last
    /// two windows.
    pub(super) fn prefetch_limit(&self, now: Instant) -> usize {
        let lately = if now.duration_since(self.window_start) < 2 * WINDOW {
            self.previous_window.max(self.current_window)
        } else {
            0
        };
        lately.min(MAX_PREFETCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Lane;

    #[test]
    fn one_job_of_a_group_is_attempted_at_a_time() {
        let now = Instant::now();
        let mut lane_jobs = ClaimedJobs::new(PermitOwner::of(&Lane::timer()), LaneConfidence::Proven);
        for group in ["a", "a", "b"] {
            lane_jobs.add();
            lane_jobs.join_group(group);
        }
        assert_eq!(lane_jobs.try_start(Some("a"), 9, now), StartResult::Started);
        assert_eq!(lane_jobs.try_start(Some("a"), 9, now), StartResult::GroupBusy);
        assert_eq!(lane_jobs.try_start(Some("b"), 1, now), StartResult::AtLimit);
        assert_eq!((lane_jobs.in_flight(), lane_jobs.waiting()), (1, 2));
        lane_jobs.remove(Some("a"), Some(now));
        assert_eq!(lane_jobs.try_start(Some("a"), 1, now), StartResult::Started);
        lane_jobs.remove(Some("a"), Some(now));
        assert!(!lane_jobs.has_group("a") && lane_jobs.has_group("b"));
    }

    #[test]
    fn the_prefetch_limit_is_the_recent_throughput() {
        let start = Instant::now();
        let mut throughput = Throughput::new(start);
        for _ in 0..30 {
            throughput.record(start);
        }
        throughput.record(start + WINDOW);
        assert_eq!(throughput.prefetch_limit(start + WINDOW), 30);
        throughput.record(start + 2 * WINDOW);
        assert_eq!(throughput.prefetch_limit(start + 2 * WINDOW), 1);
        assert_eq!(throughput.prefetch_limit(start + 5 * WINDOW), 0, "attempts of old windows do not count");
        for _ in 0..10 * MAX_PREFETCH {
            throughput.record(start + 2 * WINDOW);
        }
        assert_eq!(throughput.prefetch_limit(start + 2 * WINDOW), MAX_PREFETCH);
    }
}
