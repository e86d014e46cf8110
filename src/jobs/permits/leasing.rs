//! Due jobs that wait in the store, and which of them to lease.

use std::{sync::Arc, time::Instant};

use jiff::Timestamp;

use super::{ClaimedJobs, Permit, Permits, join_group};
use crate::{
    domain::Partition,
    store::{DrawnTokens, DueLane, Lane, LeaseGrant, LeaseRequest, LeasedJob},
};

impl Permits {
    /// Records a committed job for which there was no permit.
    pub fn record_due(&self, lane: &Lane, partition: Partition, since: Timestamp) {
        let mut state = self.state();
        state.backlog.add(lane, partition, since);
        // Otherwise the end of an attempt notifies.
        let low = state.needs_refill(lane, Instant::now());
        drop(state);
        if low {
            self.changed.notify_one();
        }
    }

    /// Whether a lane has due jobs in several partitions.
    pub fn spans_partitions(&self, lane: &Lane) -> bool {
        self.state().backlog.partitions(lane) > 1
    }

    /// Version of the known due work, to be passed to [`Permits::update_due`] with the result of a poll that begins
    /// afterwards.
    pub fn due_version(&self) -> u64 {
        self.state().backlog.version()
    }

    /// Replaces the known due work by the result of a poll that began at `version`.
    pub fn update_due(&self, version: u64, due: Vec<DueLane>) {
        self.state().backlog.replace(version, due);
    }

    /// Lanes with due jobs and capacity for them, longest waiting first. Records whether a lane lacks capacity.
    pub fn refresh_ready_lanes(&self) -> Vec<Lane> {
        let (mut state, now) = (self.state(), Instant::now());
        let claimed_lanes: Vec<Lane> = state.claimed.keys().cloned().collect();
        for lane in claimed_lanes {
            state.refresh_confidence(&lane, now);
        }
        let mut lanes = state.backlog.lanes();
        lanes.retain(|lane| state.needs_refill(lane, now));
        let (ready, starved): (Vec<Lane>, Vec<Lane>) =
            lanes.into_iter().partition(|lane| state.capacity(lane, now) > 0);
        state.starved = !starved.is_empty();
        ready
    }

    /// How many send tokens to draw for a rate-limited lane. Other replicas cannot use tokens that were drawn here, so
    /// only jobs known to be due count.
    pub fn tokens_to_draw(&self, lane: &Lane, rate: u32) -> u32 {
        let (mut state, now) = (self.state(), Instant::now());
        let wanted = state.capacity(lane, now).min(state.backlog.min_due(lane));
        state.send_tokens.tokens_to_draw(lane, u32::try_from(wanted).unwrap_or(u32::MAX), rate, now)
    }

    pub fn add_send_tokens(&self, lane: &Lane, drawn: DrawnTokens) {
        self.state().send_tokens.add(lane, drawn, Instant::now());
    }

    /// When a lane whose bucket is empty can draw again.
    pub fn next_draw(&self, lane: &Lane) -> Option<Instant> {
        self.state().send_tokens.next_draw(lane)
    }

    /// Builds one lease request per partition, and reserves a permit for each job that it may return. Permits without a
    /// job return their send tokens.
    pub fn prepare_leases(self: &Arc<Self>, lane: &Lane, rate_limited: bool) -> Vec<(LeaseRequest, Vec<Permit>)> {
        let mut state = self.state();
        let now = Instant::now();
        let mut room = state.capacity(lane, now);
        if rate_limited {
            let taken = state.send_tokens.take(lane, u32::try_from(room).unwrap_or(u32::MAX), now);
            room = taken as usize;
        }
        let busy_groups: Arc<[String]> =
            state.claimed.get(lane).into_iter().flat_map(ClaimedJobs::groups).cloned().collect();
        let mut requests = Vec::new();
        for (partition, limit) in state.backlog.split_by_partition(lane, room) {
            let permits = (0..limit).map(|_| self.issue_permit(&mut state, lane, now, rate_limited)).collect();
            requests.push((
                LeaseRequest { partition, lane: lane.clone(), limit, busy_groups: Arc::clone(&busy_groups) },
                permits,
            ));
        }
        requests
    }

    /// Records the result of a lease, and assigns a permit to each job. Surplus permits are released.
    pub fn record_grant(
        &self,
        request: &LeaseRequest,
        granted: LeaseGrant,
        permits: Vec<Permit>,
    ) -> Vec<(LeasedJob, Permit)> {
        let mut state = self.state();
        let count = granted.jobs.len();
        let blocked = count < request.limit && granted.oldest_left.is_some();
        let mut permits = permits.into_iter();
        let mut jobs = Vec::with_capacity(count);
        for (leased, mut permit) in granted.jobs.into_iter().zip(&mut permits) {
            join_group(&mut state, &mut permit, leased.id.group());
            jobs.push((leased, permit));
        }
        state.backlog.record_grant(&request.lane, request.partition, count, granted.oldest_left, blocked);
        // Dropping a permit locks the state.
        drop(state);
        drop(permits);
        jobs
    }

    /// Due time of the oldest job of this lane that waits in the store.
    pub fn oldest_due(&self, lane: &Lane) -> Option<Timestamp> {
        self.state().backlog.oldest_due(lane)
    }
}
