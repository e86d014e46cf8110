//! Permit for one claimed job.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{PermitState, Permits};
use crate::{jobs::claimed::Throughput, store::Lane};

/// Permission to claim one job and, once started, to attempt it. Dropping the permit returns it.
pub struct Permit {
    permits: Arc<Permits>,
    pub(super) lane: Lane,
    pub(super) group: Option<String>,
    claimed_at: Instant,
    pub(super) started_at: Option<Instant>,
    /// Holds a send token that has not been used.
    holds_send_token: AtomicBool,
    sending_started: AtomicBool,
    returned: bool,
}

impl Permit {
    /// Not started, and in no group.
    pub(super) fn new(permits: &Arc<Permits>, lane: &Lane, taken: Instant, rate_limited: bool) -> Self {
        Self {
            permits: Arc::clone(permits),
            lane: lane.clone(),
            group: None,
            claimed_at: taken,
            started_at: None,
            holds_send_token: AtomicBool::new(rate_limited),
            sending_started: AtomicBool::default(),
            returned: false,
        }
    }

    /// Marks the send token as used: a message is being sent.
    pub fn mark_sending(&self) {
        self.holds_send_token.store(false, Ordering::Relaxed);
        self.sending_started.store(true, Ordering::Relaxed);
    }

    /// Whether a message may have been sent under this permit.
    pub fn may_have_sent(&self) -> bool {
        self.sending_started.load(Ordering::Relaxed)
    }

    pub fn has_started(&self) -> bool {
        self.started_at.is_some()
    }

    /// Time since the attempt started. For a job committed here, this includes waiting for the store and for a thread.
    pub fn attempt_age(&self) -> Duration {
        self.started_at.map_or(Duration::ZERO, |begun| begun.elapsed())
    }

    /// Time since the permit was issued; its job cannot have been leased earlier.
    pub fn claim_age(&self) -> Duration {
        self.claimed_at.elapsed()
    }

    /// Returns the permit. The caller must start the jobs that wait for it.
    pub fn end(mut self) {
        self.give_back();
    }

    /// Returns whether claimed jobs may wait for this permit.
    fn give_back(&mut self) -> bool {
        if std::mem::replace(&mut self.returned, true) {
            return false;
        }
        let now = Instant::now();
        let mut guard = self.permits.state();
        let state = &mut *guard;
        if self.started_at.is_some() {
            state.record_completion(&self.lane, now);
        }
        let mut waits = false;
        if let Some(lane_jobs) = state.claimed.get_mut(&self.lane) {
            lane_jobs.remove(self.group.as_deref(), self.started_at);
            state.usage.remove(lane_jobs.owner, lane_jobs.confidence, 1);
            waits = lane_jobs.waiting() > 0;
            if lane_jobs.jobs() == 0 {
                state.claimed.remove(&self.lane);
            }
        }
        if *self.holds_send_token.get_mut() {
            state.send_tokens.put_back(&self.lane);
        }
        if self.group.is_some() {
            state.backlog.unblock(&self.lane);
        }
        let more =
            state.starved || (state.backlog.oldest_due(&self.lane).is_some() && state.needs_refill(&self.lane, now));
        drop(guard);
        if more {
            self.permits.changed.notify_one();
        }
        waits
    }
}

impl PermitState {
    /// Records that an attempt of the lane has ended.
    fn record_completion(&mut self, lane: &Lane, now: Instant) {
        match self.throughputs.get_mut(lane) {
            Some(throughput) => throughput.record(now),
            None => {
                let mut throughput = Throughput::new(now);
                throughput.record(now);
                self.throughputs.insert(lane.clone(), throughput);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.give_back() {
            self.permits.changed.notify_one();
        }
    }
}
