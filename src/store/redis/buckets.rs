//! Rate-limit buckets: takes units and peeks.
//!
//! Concurrent requests for the same buckets share round trips: the first is sent at once, and those that arrive while
//! it is in flight are batched into the next one. No artificial delay is added.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{Cmd, Value};
use tokio::{sync::oneshot, time::timeout};

use super::{
    connection::{RedisConnection, RuntimeThread},
    key,
    parse::from_value,
    script,
    time::ServerClockEstimate,
};
use crate::{
    domain::quota::Allowance,
    store::{BucketRequest, DrawnTokens, StoreError, time_budget::OF_A_REQUEST},
};

/// By how much our estimate of the store's time may be behind.
const MAX_CLOCK_LAG: Duration = Duration::from_millis(10);

type ReplySender = oneshot::Sender<Result<Vec<Allowance>, StoreError>>;

/// Takes from buckets in batches. Clones share the batches.
#[derive(Clone)]
pub(super) struct Buckets {
    connection: RedisConnection,
    time: Arc<ServerClockEstimate>,
    batches: Arc<Mutex<HashMap<BatchKey, Vec<ReplySender>>>>,
}

/// Requests with the same key are batched. Each worker has its own, because connections are per worker.
#[derive(Clone, PartialEq, Eq, Hash)]
struct BatchKey {
    worker: RuntimeThread,
    /// All in one partition.
    keys: Vec<String>,
    /// Interval in microseconds and burst of each bucket; a reload may change them.
    quotas: Vec<(i64, u32)>,
}

impl Buckets {
    pub(super) fn new(connection: RedisConnection, time: Arc<ServerClockEstimate>) -> Self {
        Self { connection, time, batches: Arc::default() }
    }

    /// Takes one unit from each bucket. All buckets must lie in one partition.
    pub(super) async fn take(&self, requests: &[BucketRequest]) -> Result<Vec<Allowance>, StoreError> {
        let key = BatchKey {
            worker: RuntimeThread::here(),
            keys: requests.iter().map(|request| key::bucket(request.partition, &request.bucket)).collect(),
            quotas: requests.iter().map(|request| (request.quota.interval_micros(), request.quota.burst())).collect(),
        };
        let (sender, answer) = oneshot::channel();
        if let Some(first) = self.enqueue(&key, sender) {
            // A task of its own: the first caller may be dropped before the others have their reply.
            tokio::spawn(self.clone().serve(key, first));
        }
        // A failing round trip returns its cause before this timeout, so callers in the next batch do not wait twice.
        match timeout(OF_A_REQUEST, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError::Unavailable("the process is ending".to_owned())),
            Err(_) => Err(StoreError::Unavailable("Redis does not answer in time".to_owned())),
        }
    }

    /// Returns the sender if no batch is running for this key; otherwise queues it for the next batch.
    fn enqueue(&self, key: &BatchKey, reply: ReplySender) -> Option<ReplySender> {
        let mut batches = self.batches();
        if let Some(batch) = batches.get_mut(key) {
            batch.push(reply);
            return None;
        }
        batches.insert(key.clone(), Vec::new());
        Some(reply)
    }

    /// Decodes a peek: what [`Buckets::take`] would return, counting a unit due within [`MAX_CLOCK_LAG`].
    pub(super) fn decode_peek(&self, request: &BucketRequest, value: Value) -> Result<Allowance, StoreError> {
        let tat: Option<i64> = from_value(value)?;
        let now = (self.time.now() + MAX_CLOCK_LAG).as_millisecond().saturating_mul(1000);
        Ok(request.quota.take(tat.unwrap_or(0), now).1)
    }

    /// The command that takes `units` from each bucket, or as many as the emptiest of them has; a negative number gives
    /// units back. All must lie in one partition.
    pub(super) fn take_command(&self, requests: &[&BucketRequest], units: i64) -> Cmd {
        let keys: Vec<String> =
            requests.iter().map(|request| key::bucket(request.partition, &request.bucket)).collect();
        let mut cmd = script::TAKE.call(&keys);
        cmd.arg(self.time.test_offset_millis()).arg(units);
        for request in requests {
            cmd.arg(request.quota.interval_micros()).arg(request.quota.burst());
        }
        cmd
    }

    /// Decodes the reply to [`Buckets::take_command`] for any number of units.
    pub(super) fn decode_drawn(&self, value: Value) -> Result<DrawnTokens, StoreError> {
        let (taken, buckets) = self.decode(value)?;
        let wait = buckets.iter().map(|bucket| bucket.wait_micros.unsigned_abs()).max().unwrap_or_default();
        Ok(DrawnTokens { units: u32::try_from(taken).unwrap_or_default(), wait: Duration::from_micros(wait) })
    }

    /// Decodes the reply to [`Buckets::take_command`] for one unit.
    pub(super) fn decode_taken(&self, value: Value) -> Result<Vec<Allowance>, StoreError> {
        let (taken, buckets) = self.decode(value)?;
        Ok(buckets.into_iter().map(|bucket| bucket.allowance(taken, 0)).collect())
    }

    async fn serve(self, key: BatchKey, first: ReplySender) {
        let mut batch = BatchGuard { buckets: &self, key: &key, finished: false };
        let mut waiting = vec![first];
        while !waiting.is_empty() {
            match self.take_batch(&key, waiting.len()).await {
                Ok((taken, buckets)) => {
                    for (index, waiting) in (0..).zip(waiting) {
                        let allowances = buckets.iter().map(|bucket| bucket.allowance(taken, index)).collect();
                        // The caller may have been dropped.
                        let _ = waiting.send(Ok(allowances));
                    }
                }
                Err(error) => waiting.into_iter().for_each(|waiting| drop(waiting.send(Err(error.clone())))),
            }
            waiting = batch.next();
        }
    }

    async fn take_batch(&self, key: &BatchKey, count: usize) -> Result<(i64, Vec<BucketReply>), StoreError> {
        let mut cmd = script::TAKE.call(&key.keys);
        cmd.arg(self.time.test_offset_millis()).arg(count);
        for (interval_micros, burst) in &key.quotas {
            cmd.arg(interval_micros).arg(burst);
        }
        let mut values = self.connection.run(redis::Pipeline::with_capacity(1).add_command(cmd)).await?;
        let (taken, buckets) = self.decode(values.pop().unwrap_or(Value::Nil))?;
        if buckets.len() != key.keys.len() {
            return Err(StoreError::Corrupt("take.lua returned other buckets".to_owned()));
        }
        Ok((taken, buckets))
    }

    fn decode(&self, value: Value) -> Result<(i64, Vec<BucketReply>), StoreError> {
        let numbers: Vec<i64> = from_value(value)?;
        let [now, taken, buckets @ ..] = numbers.as_slice() else {
            return Err(StoreError::Corrupt("take.lua returned too few values".to_owned()));
        };
        self.time.observe(*now);
        let (pairs, _) = buckets.as_chunks::<2>();
        Ok((*taken, pairs.iter().map(|&[units, wait_micros]| BucketReply { units, wait_micros }).collect()))
    }

    fn batches(&self) -> MutexGuard<'_, HashMap<BatchKey, Vec<ReplySender>>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reply of take.lua for one bucket.
#[derive(Clone, Copy)]
struct BucketReply {
    /// Units before the take.
    units: i64,
    /// Microseconds after the take until another unit is available.
    wait_micros: i64,
}

impl BucketReply {
    /// The result for the request at `index` in a batch that got `taken` units.
    fn allowance(self, taken: i64, index: i64) -> Allowance {
        let left = if index < taken { self.units - index - 1 } else { self.units - taken };
        if index < taken || left > 0 {
            Allowance::Allowed { remaining: u32::try_from(left).unwrap_or(u32::MAX) }
        } else {
            Allowance::Exhausted { retry_after: Duration::from_micros(self.wait_micros.unsigned_abs()) }
        }
    }
}

/// Ends the batching of a key however its task ends, so that the next request starts a new batch.
struct BatchGuard<'a> {
    buckets: &'a Buckets,
    key: &'a BatchKey,
    finished: bool,
}

impl BatchGuard<'_> {
    /// The requests queued meanwhile that still have a caller. When there are none, batching ends.
    fn next(&mut self) -> Vec<ReplySender> {
        let mut batches = self.buckets.batches();
        let mut waiting = batches.get_mut(self.key).map(mem::take).unwrap_or_default();
        waiting.retain(|waiting| !waiting.is_closed());
        if waiting.is_empty() {
            batches.remove(self.key);
            self.finished = true;
        }
        waiting
    }
}

impl Drop for BatchGuard<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.buckets.batches().remove(self.key);
        }
    }
}
