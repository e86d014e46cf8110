//! Buckets: taking from them and looking into them.
//!
//! All who want the same buckets at the same moment share one round trip: whoever comes first goes at once, and those
//! who come meanwhile go together after him. Nobody waits for anybody who is not yet there.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{Cmd, Value};
use tokio::{sync::oneshot, time::timeout};

use super::{
    connection::{Connection, RuntimeThread},
    key,
    parse::reply,
    script,
    time::StoreTime,
};
use crate::{
    domain::quota::Allowance,
    store::{DrawnTokens, StoreError, TokenRequest, patience},
};

/// So far may the store's time as we know it be behind.
const MAX_CLOCK_LAG: Duration = Duration::from_millis(10);

type ReplySender = oneshot::Sender<Result<Vec<Allowance>, StoreError>>;

/// The way to all buckets.
#[derive(Clone)]
pub(super) struct Buckets {
    connection: Arc<Connection>,
    time: Arc<StoreTime>,
    batches: Arc<Mutex<HashMap<BatchKey, Vec<ReplySender>>>>,
}

/// Where a crowd gathers. One for each worker, for a connection belongs to one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct BatchKey {
    worker: RuntimeThread,
    /// In one partition.
    keys: Vec<String>,
    /// Intervals in microseconds and bursts. A reload may change them.
    quotas: Vec<(i64, u32)>,
}

impl Buckets {
    pub(super) fn new(connection: Arc<Connection>, time: Arc<StoreTime>) -> Self {
        Self { connection, time, batches: Arc::default() }
    }

    /// One unit of each bucket; they lie in one partition.
    pub(super) async fn take(&self, takes: &[TokenRequest]) -> Result<Vec<Allowance>, StoreError> {
        let door = BatchKey {
            worker: RuntimeThread::here(),
            keys: takes.iter().map(|take| key::bucket(take.partition, &take.bucket)).collect(),
            quotas: takes.iter().map(|take| (take.quota.interval_micros(), take.quota.burst())).collect(),
        };
        let (sender, answer) = oneshot::channel();
        if let Some(first) = self.enqueue(&door, sender) {
            // A task of its own: whoever came first may be gone before the others have their answer.
            tokio::spawn(self.clone().serve(door, first));
        }
        // A round trip that fails says why before that; whoever came meanwhile does not wait for a second one.
        match timeout(patience::BUDGET, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError::Unavailable("the process is ending".to_owned())),
            Err(_) => Err(StoreError::Unavailable("Redis does not answer in time".to_owned())),
        }
    }

    /// Gives the newcomer back if nobody is being served, and lets those gather who come after him.
    fn enqueue(&self, door: &BatchKey, newcomer: ReplySender) -> Option<ReplySender> {
        let mut crowds = self.batches();
        if let Some(crowd) = crowds.get_mut(door) {
            crowd.push(newcomer);
            return None;
        }
        crowds.insert(door.clone(), Vec::new());
        Some(newcomer)
    }

    /// What [`Buckets::take`] would say, but for a unit that comes within [`MAX_CLOCK_LAG`].
    pub(super) fn decode_peek(&self, take: &TokenRequest, value: Value) -> Result<Allowance, StoreError> {
        let tat: Option<i64> = reply(value)?;
        let now = (self.time.now() + MAX_CLOCK_LAG).as_millisecond().saturating_mul(1000);
        Ok(take.quota.take(tat.unwrap_or(0), now).1)
    }

    /// Of each of `takes`, which lie in one partition, as many units as are wanted, or as the shortest has.
    pub(super) fn take_command(&self, takes: &[&TokenRequest], units: u32) -> Cmd {
        let keys: Vec<String> = takes.iter().map(|take| key::bucket(take.partition, &take.bucket)).collect();
        let mut cmd = script::TAKE.call(&keys);
        cmd.arg(self.time.shift()).arg(units);
        for take in takes {
            cmd.arg(take.quota.interval_micros()).arg(take.quota.burst());
        }
        cmd
    }

    /// The answer to [`Buckets::take_command`] of any number of units.
    pub(super) fn decode_drawn(&self, value: Value) -> Result<DrawnTokens, StoreError> {
        let (taken, buckets) = self.decode(value)?;
        let wait = buckets.iter().map(|bucket| bucket.wait_micros.unsigned_abs()).max().unwrap_or_default();
        Ok(DrawnTokens { units: u32::try_from(taken).unwrap_or_default(), wait: Duration::from_micros(wait) })
    }

    /// The answer to [`Buckets::take_command`] of one.
    pub(super) fn decode_taken(&self, value: Value) -> Result<Vec<Allowance>, StoreError> {
        let (taken, buckets) = self.decode(value)?;
        Ok(buckets.into_iter().map(|bucket| bucket.allowance(taken, 0)).collect())
    }

    async fn serve(self, door: BatchKey, first: ReplySender) {
        let mut crowd = BatchGuard { buckets: &self, door: &door, finished: false };
        let mut waiting = vec![first];
        while !waiting.is_empty() {
            match self.take_batch(&door, waiting.len()).await {
                Ok((taken, buckets)) => {
                    for (place, waiting) in (0..).zip(waiting) {
                        let allowances = buckets.iter().map(|bucket| bucket.allowance(taken, place)).collect();
                        // Somebody who has gone away needs no answer.
                        let _ = waiting.send(Ok(allowances));
                    }
                }
                Err(error) => waiting.into_iter().for_each(|waiting| drop(waiting.send(Err(error.clone())))),
            }
            waiting = crowd.next();
        }
    }

    async fn take_batch(&self, door: &BatchKey, count: usize) -> Result<(i64, Vec<BucketReply>), StoreError> {
        let mut cmd = script::TAKE.call(&door.keys);
        cmd.arg(self.time.shift()).arg(count);
        for (interval_micros, burst) in &door.quotas {
            cmd.arg(interval_micros).arg(burst);
        }
        let mut values = self.connection.run(redis::Pipeline::with_capacity(1).add_command(cmd)).await?;
        let (taken, buckets) = self.decode(values.pop().unwrap_or(Value::Nil))?;
        if buckets.len() != door.keys.len() {
            return Err(StoreError::Corrupt("take.lua named other buckets".to_owned()));
        }
        Ok((taken, buckets))
    }

    fn decode(&self, value: Value) -> Result<(i64, Vec<BucketReply>), StoreError> {
        let numbers: Vec<i64> = reply(value)?;
        let [now, taken, buckets @ ..] = numbers.as_slice() else {
            return Err(StoreError::Corrupt("take.lua said too little".to_owned()));
        };
        self.time.observe(*now);
        let (pairs, _) = buckets.as_chunks::<2>();
        Ok((*taken, pairs.iter().map(|&[units, wait_micros]| BucketReply { units, wait_micros }).collect()))
    }

    fn batches(&self) -> MutexGuard<'_, HashMap<BatchKey, Vec<ReplySender>>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What take.lua says of one bucket.
#[derive(Clone, Copy)]
struct BucketReply {
    /// Before anything was taken.
    units: i64,
    /// After it was.
    wait_micros: i64,
}

impl BucketReply {
    /// For the one at `place` in a crowd that got `taken` units together.
    fn allowance(self, taken: i64, place: i64) -> Allowance {
        let left = if place < taken { self.units - place - 1 } else { self.units - taken };
        if place < taken || left > 0 {
            Allowance::Allowed { remaining: u32::try_from(left).unwrap_or(u32::MAX) }
        } else {
            Allowance::Exhausted { retry_after: Duration::from_micros(self.wait_micros.unsigned_abs()) }
        }
    }
}

/// Whoever is served together. However serving ends, the next one to come is a first one again.
struct BatchGuard<'a> {
    buckets: &'a Buckets,
    door: &'a BatchKey,
    finished: bool,
}

impl BatchGuard<'_> {
    /// Those who came meanwhile and are still there. When there is none the crowd is over.
    fn next(&mut self) -> Vec<ReplySender> {
        let mut crowds = self.buckets.batches();
        let mut waiting = crowds.get_mut(self.door).map(mem::take).unwrap_or_default();
        waiting.retain(|waiting| !waiting.is_closed());
        if waiting.is_empty() {
            crowds.remove(self.door);
            self.finished = true;
        }
        waiting
    }
}

impl Drop for BatchGuard<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.buckets.batches().remove(self.door);
        }
    }
}
