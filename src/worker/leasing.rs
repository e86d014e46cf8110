//! Polls the store for due work, and leases as much of it as can start now.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::{
    domain::{Partition, quota::Quota},
    jobs::permits::StartableJob,
    random,
    store::{BucketRequest, DrawnTokens, Lane, LaneKind, StoreError},
};

/// How often each replica polls all partitions, before jitter.
const POLL_INTERVAL: Duration = Duration::from_millis(800);
/// Minimum time between two polls, however many retries come due.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Delay after a failed lease.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// Leased jobs that have waited this long without starting are returned to the store: another replica may be faster.
const RELEASE_AFTER: Duration = Duration::from_secs(1);

impl Worker {
    /// Polls once per interval, and leases whenever a permit is free for work that is known to be due.
    pub(super) async fn run_leasing(self: &Arc<Self>, draining: &CancellationToken) {
        let mut next_poll = tokio::time::Instant::now();
        let mut last_poll = next_poll;
        let mut next_draw: Option<tokio::time::Instant> = None;
        loop {
            let wake = next_draw.map_or(next_poll, |draw| draw.min(next_poll));
            tokio::select! {
                biased;
                // Cancellation takes effect only here: a job that is leased must reach its attempt.
                () = draining.cancelled() => return,
                () = tokio::time::sleep_until(wake) => {}
                () = self.permits.changed() => {}
            }
            self.mark_step();
            self.start_waiting();
            if let Some(due) = self.permits.take_next_poll() {
                next_poll = next_poll.min(due.max(last_poll + MIN_POLL_INTERVAL));
            }
            if tokio::time::Instant::now() >= next_poll {
                last_poll = tokio::time::Instant::now();
                next_poll = tokio::time::Instant::now() + POLL_INTERVAL.mul_f64(0.75 + 0.5 * random::fraction());
                if let Err(error) = self.refresh_due().await {
                    tracing::warn!(%error, "due jobs could not be listed; trying again");
                    continue;
                }
            }
            self.mark_step();
            next_draw = match self.lease_ready().await {
                Ok(next_draw) => next_draw.map(tokio::time::Instant::from_std),
                Err(error) => {
                    tracing::warn!(%error, "due jobs could not be leased; trying again");
                    tokio::time::sleep(RETRY_DELAY).await;
                    None
                }
            };
        }
    }

    /// Polls once, then leases and starts due jobs that get a permit.
    pub async fn poll(self: &Arc<Self>) -> Result<(), StoreError> {
        self.refresh_due().await?;
        self.lease_ready().await.map(drop)
    }

    async fn refresh_due(self: &Arc<Self>) -> Result<(), StoreError> {
        self.spawn_release(self.waiting.take_older_than(RELEASE_AFTER));
        let version = self.permits.due_version();
        let due = self.services.env.store.due().await?;
        self.permits.update_due(version, due);
        self.update_metrics();
        Ok(())
    }

    /// Leases from all ready lanes at once. Returns the time at which the first lane without send tokens can draw
    /// again.
    async fn lease_ready(self: &Arc<Self>) -> Result<Option<Instant>, StoreError> {
        let ready = self.permits.refresh_ready_lanes();
        let draws = join_all(ready.iter().map(|lane| self.draw_send_tokens(lane))).await;
        if draws.iter().any(|draw| draw.backlog) {
            // Other replicas draw from the same bucket and may have leased some of this work since: find the oldest
            // that is left.
            self.refresh_due().await?;
        }
        let requests = ready
            .iter()
            .flat_map(|lane| self.permits.prepare_leases(lane, self.services.shared.outbox.send_rate(lane).is_some()));
        let (requests, permits): (Vec<_>, Vec<_>) = requests.unzip();
        if !requests.is_empty() {
            let granted = self.services.env.store.lease(&requests).await?;
            let mut lanes: BTreeMap<&Lane, Vec<StartableJob>> = BTreeMap::new();
            for ((request, granted), permits) in requests.iter().zip(granted).zip(permits) {
                let jobs = self.permits.record_grant(request, granted, permits).into_iter().map(StartableJob::from);
                lanes.entry(&request.lane).or_default().extend(jobs);
            }
            for jobs in lanes.into_values() {
                self.accept_jobs(jobs);
            }
        }
        Ok(draws.into_iter().filter_map(|draw| draw.next).min())
    }

    /// Draws send tokens for a lane that needs them.
    async fn draw_send_tokens(&self, lane: &Lane) -> DrawOutcome {
        let Some(rate) = self.services.shared.outbox.send_rate(lane) else { return DrawOutcome::default() };
        let units = self.permits.tokens_to_draw(lane, rate);
        if units > 0 {
            match self.services.env.store.draw(&buckets(lane, rate), units).await {
                Ok(drawn) => self.permits.add_send_tokens(lane, drawn),
                Err(error) => {
                    tracing::warn!(%error, %lane, "send tokens could not be drawn from the store; trying again");
                    self.permits.add_send_tokens(lane, DrawnTokens { units: 0, wait: POLL_INTERVAL });
                }
            }
        }
        let next = self.permits.next_draw(lane);
        DrawOutcome { next, backlog: units > 0 && next.is_some() && self.permits.spans_partitions(lane) }
    }

    /// Updates the gauges of held lanes and of message delays.
    fn update_metrics(&self) {
        let metrics = &self.services.env.metrics;
        let held = self.permits.held_lanes_by_kind();
        for kind in [LaneKind::Replies, LaneKind::Callbacks] {
            let count = held.get(&kind).copied().unwrap_or_default();
            metrics
                .lanes_held
                .get_or_create(&crate::metrics::label::ByKind { kind: kind.as_str() })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for instance in self.services.env.instances.all() {
            let id = instance.config.id;
            let delay = self.services.shared.outbox.message_delay(id, self.services.env.store.now());
            let label = crate::metrics::label::ByInstance { instance: crate::metrics::label::InstanceLabel(id) };
            if delay > Duration::ZERO || metrics.message_delay_seconds.get(&label).is_some() {
                metrics.message_delay_seconds.get_or_create(&label).set(delay.as_secs_f64());
            }
        }
    }
}

/// Result of drawing send tokens.
#[derive(Default)]
struct DrawOutcome {
    /// When to draw again, if the bucket is empty.
    next: Option<Instant>,
    /// The bucket was emptied by this draw, and work is due in several partitions.
    backlog: bool,
}

/// The token buckets from which a number's lane draws. Replies to unsolicited messages get half of the rate, so that
/// strangers who send meaningless messages cannot delay the replies that other people expect.
fn buckets(lane: &Lane, rate: u32) -> Vec<BucketRequest> {
    let Some(number) = lane.instance() else { return Vec::new() };
    let partition = Partition::from_byte(number.as_bytes()[15]);
    let bucket_request = |name: &str, rate| {
        let bucket = format!("{name}:{}", number.simple());
        BucketRequest { partition, bucket, quota: Quota::sustained(rate, rate) }
    };
    match lane.kind() {
        LaneKind::Notices => vec![bucket_request("slow", rate.div_ceil(2)), bucket_request("pace", rate)],
        _ => vec![bucket_request("pace", rate)],
    }
}
