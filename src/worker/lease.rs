//! Looking for due work, and leasing as much of it as can start now.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::{
    domain::{Partition, quota::Quota},
    jobs::permits::{Permit, StartableJob},
    random,
    store::{DrawnTokens, Lane, LaneKind, Leased, StoreError, TokenRequest},
};

/// How often each replica looks at all partitions, before jitter.
const POLL_INTERVAL: Duration = Duration::from_millis(800);
/// Between two looks, however many retries come due.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// After a lease that failed.
const RETRY_DELAY: Duration = Duration::from_millis(200);

impl Worker {
    /// Looks once a round, whatever happens in between, and leases whenever a permit is free for what is known to wait.
    pub(super) async fn run_leasing(self: &Arc<Self>, draining: &CancellationToken) {
        let mut next_look = tokio::time::Instant::now();
        let mut looked = next_look;
        let mut next_draw: Option<tokio::time::Instant> = None;
        loop {
            let wake = next_draw.map_or(next_look, |draw| draw.min(next_look));
            tokio::select! {
                biased;
                // Only here: what is leased must reach its attempt.
                () = draining.cancelled() => return,
                () = tokio::time::sleep_until(wake) => {}
                () = self.permits.changed() => {}
            }
            self.mark_step();
            if let Some(due) = self.permits.next_retry() {
                next_look = next_look.min(due.max(looked + MIN_POLL_INTERVAL));
            }
            if tokio::time::Instant::now() >= next_look {
                looked = tokio::time::Instant::now();
                next_look = tokio::time::Instant::now() + POLL_INTERVAL.mul_f64(0.75 + 0.5 * random::fraction());
                if let Err(error) = self.refresh_due().await {
                    tracing::warn!(%error, "looking for due work failed");
                    continue;
                }
            }
            self.mark_step();
            next_draw = match self.lease_ready().await {
                Ok(next_draw) => next_draw.map(tokio::time::Instant::from_std),
                Err(error) => {
                    tracing::warn!(%error, "due work could not be leased");
                    tokio::time::sleep(RETRY_DELAY).await;
                    None
                }
            };
        }
    }

    /// Starts what is due and has a permit.
    pub async fn poll(self: &Arc<Self>) -> Result<(), StoreError> {
        self.refresh_due().await?;
        self.lease_ready().await.map(drop)
    }

    async fn refresh_due(&self) -> Result<(), StoreError> {
        let mark = self.permits.due_version();
        let due = self.service.store.due().await?;
        self.permits.update_due(mark, due);
        self.update_metrics();
        Ok(())
    }

    /// Leases of all lanes at once. `Some`: a lane waits for permission to send, which it may draw at that time.
    async fn lease_ready(self: &Arc<Self>) -> Result<Option<Instant>, StoreError> {
        let ready = self.permits.ready();
        let draws = join_all(ready.iter().map(|lane| self.draw_send_tokens(lane))).await;
        if draws.iter().any(|draw| draw.backlog) {
            // The other replicas serve the number as well: the oldest work is where nobody has taken it since.
            self.refresh_due().await?;
        }
        let requests = ready.iter().flat_map(|lane| self.permits.request(lane, self.service.rate(lane).is_some()));
        let (requests, permits): (Vec<_>, Vec<_>) = requests.unzip();
        if !requests.is_empty() {
            let granted = self.service.store.lease(&requests).await?;
            let mut jobs = Vec::new();
            for ((request, granted), permits) in requests.iter().zip(granted).zip(permits) {
                jobs.extend(self.permits.granted(request, granted, permits));
            }
            for group in group_in_order(jobs) {
                self.start(group.into_iter().map(StartableJob::from).collect());
            }
        }
        Ok(draws.into_iter().filter_map(|draw| draw.next).min())
    }

    /// Draws permission to send for a lane that needs it.
    async fn draw_send_tokens(&self, lane: &Lane) -> DrawOutcome {
        let Some(rate) = self.service.rate(lane) else { return DrawOutcome::default() };
        let units = self.permits.units_to_draw(lane, rate);
        if units > 0 {
            match self.service.store.draw(&buckets(lane, rate), units).await {
                Ok(drawn) => self.permits.add_send_tokens(lane, drawn),
                Err(error) => {
                    tracing::warn!(%error, %lane, "no permission to send could be drawn");
                    self.permits.add_send_tokens(lane, DrawnTokens { units: 0, wait: POLL_INTERVAL });
                }
            }
        }
        DrawOutcome { next: self.permits.next_draw(lane), backlog: units > 0 && self.permits.has_backlog(lane) }
    }

    /// What this replica knows of queues.
    fn update_metrics(&self) {
        let metrics = &self.service.metrics;
        let held = self.permits.held();
        for kind in [LaneKind::Replies, LaneKind::Callbacks] {
            let count = held.get(&kind).copied().unwrap_or_default();
            metrics
                .lanes_held
                .get_or_create(&crate::metrics::label::ByKind { kind: kind.as_str() })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for instance in self.service.instances.all() {
            let id = instance.config.id;
            let delay = self.service.message_delay(id);
            let label = crate::metrics::label::ByInstance { instance: crate::metrics::label::InstanceLabel(id) };
            if delay > Duration::ZERO || metrics.message_delay_seconds.get(&label).is_some() {
                metrics.message_delay_seconds.get_or_create(&label).set(delay.as_secs_f64());
            }
        }
    }
}

/// What came of a draw.
#[derive(Default)]
struct DrawOutcome {
    /// When the next one makes sense.
    next: Option<Instant>,
    /// There is permission now, and work in several partitions.
    backlog: bool,
}

/// The buckets from which a number's lane draws. What nobody asked for gets half of the rate, so that strangers who
/// send rubbish cannot keep the replies of others waiting.
fn buckets(lane: &Lane, rate: u32) -> Vec<TokenRequest> {
    let Some(number) = lane.instance() else { return Vec::new() };
    let partition = Partition::of(number.as_bytes()[15]);
    let take = |name: &str, rate| {
        let bucket = format!("{name}:{}", number.simple());
        TokenRequest { partition, bucket, quota: Quota::sustained(rate, rate) }
    };
    match lane.kind() {
        LaneKind::Notices => vec![take("slow", rate.div_ceil(2)), take("pace", rate)],
        _ => vec![take("pace", rate)],
    }
}

/// Jobs of one group one after the other, the oldest first; all others for themselves.
fn group_in_order(mut jobs: Vec<(Leased, Permit)>) -> Vec<Vec<(Leased, Permit)>> {
    jobs.sort_by_key(|(leased, _)| leased.since);
    let mut groups: Vec<Vec<(Leased, Permit)>> = Vec::new();
    let mut places: HashMap<(Lane, String), usize> = HashMap::new();
    for job in jobs {
        let Some(group) = job.0.id.group() else {
            groups.push(vec![job]);
            continue;
        };
        let place = *places.entry((job.0.lane.clone(), group.to_owned())).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(job),
            None => groups.push(vec![job]),
        }
    }
    groups
}
