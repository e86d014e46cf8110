//! Records: reading, listing, and the commit that writes them.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use redis::{Cmd, Value};

use super::{
    RedisStore, key, millis,
    parse::{self, from_value},
    retries::ResendPolicy,
    script,
};
use crate::{
    domain::{LookUp, Partition, time::from_millis},
    store::{
        BucketRequest, Change, ChangeNotifier, CommitOutcome, FindResult, Index, LEASE_DURATION, Locator, MAX_HOLD,
        MESSAGE_ID_RETENTION, Position, RecordId, Records, StoreError, StoredRecord,
    },
};

/// More than the records that one partition creates within a millisecond.
const SAME_MILLISECOND: usize = 64;

#[async_trait]
impl Records for RedisStore {
    fn now(&self) -> Timestamp {
        self.time.now()
    }

    fn changes(&self) -> &Arc<ChangeNotifier> {
        self.pubsub.changes()
    }

    async fn load(&self, id: RecordId) -> Result<Option<StoredRecord>, StoreError> {
        let mut values = self.connection.read_confirmed(vec![parse::read_record(&key::record(id.locator()))]).await?;
        let value = from_value(values.pop().unwrap_or(Value::Nil))?;
        Ok(self.read(id.locator(), value)?.filter(|stored| stored.id == id))
    }

    async fn find(&self, peek: Option<&BucketRequest>, locators: &[Locator]) -> Result<FindResult, StoreError> {
        let record = |locator: &Locator| parse::read_record(&key::record(*locator));
        let bucket = |take: &BucketRequest| redis::Cmd::get(key::bucket(take.partition, &take.bucket));
        let cmds = locators.iter().map(record).chain(peek.map(bucket)).collect();
        let mut values = self.connection.read_confirmed(cmds).await?;
        let allowance = match peek {
            Some(take) => Some(self.buckets.decode_peek(take, values.pop().unwrap_or(Value::Nil))?),
            None => None,
        };
        let records = locators.iter().zip(values).map(|(locator, value)| self.read(*locator, from_value(value)?));
        let records = records.collect::<Result<_, _>>()?;
        Ok(FindResult { allowance, records })
    }

    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        let answer: Vec<Value> = self.write_confirmed(self.commit_script(change), ResendPolicy::Marked).await?;
        let mut answer = answer.into_iter();
        let word: String = from_value(answer.next().unwrap_or(Value::Nil))?;
        let now: i64 = from_value(answer.next().unwrap_or(Value::Nil))?;
        self.time.observe(now);
        match word.as_str() {
            "applied" => {
                for id in change.changed() {
                    self.pubsub.publish(id);
                }
                let leased = answer
                    .skip(1)
                    .map(from_value::<i64>)
                    .map(|flag| Ok(flag? == 1))
                    .collect::<Result<_, StoreError>>()?;
                Ok(CommitOutcome::Applied { leased })
            }
            "conflict" => Ok(CommitOutcome::Conflict),
            "duplicate" => Ok(CommitOutcome::Duplicate),
            "collision" => Ok(CommitOutcome::Collision),
            "lost" => Err(StoreError::Unavailable(
                "the write was not confirmed: its answer was lost, and something was written since".to_owned(),
            )),
            "late" => Ok(CommitOutcome::Late(from_millis(now))),
            other => Err(StoreError::Corrupt(format!("commit.lua returned {other}"))),
        }
    }

    /// Merges the newest entries of all partitions. Entries whose record no longer exists are skipped.
    async fn list(
        &self,
        lists: &[Index],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let bound = after.map_or("+inf".to_owned(), |position| position.created_at.as_millisecond().to_string());
        let mut pipeline = redis::pipe();
        for (partition, index) in Partition::all().flat_map(|partition| lists.iter().map(move |list| (partition, list)))
        {
            pipeline
                .cmd("ZREVRANGEBYSCORE")
                .arg(key::index(partition, index))
                .arg(&bound)
                .arg("-inf")
                .arg("WITHSCORES");
            // Entries of the same millisecond may come before the bound; they are few, and removed below.
            pipeline.arg("LIMIT").arg(0).arg(limit.saturating_add(SAME_MILLISECOND));
        }
        let values = self.connection.run(&mut pipeline).await?;
        let mut entries: Vec<(i64, Locator)> = Vec::new();
        for value in values {
            for (member, score) in from_value::<Vec<(Vec<u8>, f64)>>(value)? {
                #[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit 53 bits")]
                entries.extend(Locator::from_slice(&member).map(|locator| (score as i64, locator)));
            }
        }
        // Newest first. A record can be in two of the lists.
        entries.sort_by(|a, b| b.cmp(a));
        entries.dedup();
        let mut found = Vec::new();
        let mut rest = entries.as_slice();
        // Every partition has returned up to `limit` entries, of which most are too old. Records that have expired are
        // the reason for a further round.
        while found.len() < limit
            && let Some((oldest, _)) = rest.get(limit.min(rest.len()).saturating_sub(1))
        {
            // Whole milliseconds, within which the id decides the order.
            let (newer, older) = rest.split_at(rest.partition_point(|(created, _)| created >= oldest));
            rest = older;
            let record = |(_, locator): &(i64, Locator)| parse::read_record(&key::record(*locator));
            let values = self.connection.read_confirmed(newer.iter().map(record).collect()).await?;
            for (&(created, locator), value) in newer.iter().zip(values) {
                if let Some(stored) = parse::stored(locator, from_value(value)?, self.time.now())? {
                    found.push((Position { created_at: from_millis(created), id: stored.id }, stored));
                }
            }
            found.retain(|(position, _)| after.is_none_or(|after| position < after));
        }
        found.sort_by(|(a, _), (b, _)| b.cmp(a));
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, stored)| stored).collect())
    }
}

impl RedisStore {
    fn commit_script(&self, change: &Change) -> Cmd {
        let partition = change.partition;
        let messages = change.answers.into_iter().flat_map(LookUp::all);
        let mut keys: Vec<String> = messages.map(|message| key::message(partition, message)).collect();
        let message_keys = keys.len();
        keys.extend([key::lanes(partition), key::jobs(partition), key::timers(partition), key::leases(partition)]);
        for record in &change.records {
            keys.push(key::record(record.id.locator()));
            keys.extend(record.indexes.iter().map(|index| key::index(partition, index)));
        }
        keys.extend(change.jobs.iter().map(|job| key::queue(partition, &job.lane)));
        if change.jobs.iter().any(|job| job.due.is_none()) {
            keys.extend(change.jobs.iter().map(|job| key::hold(partition, &job.lane)));
        }
        let script = if change.finishing { &script::COMMIT_OLD } else { &script::COMMIT_NEW };
        let mut cmd = script.call(&keys);
        cmd.arg(self.time.test_offset_millis())
            .arg(millis(LEASE_DURATION))
            .arg(message_keys)
            .arg(millis(MESSAGE_ID_RETENTION))
            .arg(change.valid_until.map_or(0, Timestamp::as_millisecond))
            .arg(millis(MAX_HOLD))
            .arg(change.records.len())
            .arg(change.jobs.len());
        for record in &change.records {
            cmd.arg(parse::head(record.id, record.expected))
                .arg(record.id.locator().as_bytes())
                .arg(parse::write_record(record))
                .arg(record.retain_until.as_millisecond());
            match record.timer {
                Some(due) => cmd.arg(due.as_millisecond()),
                None => cmd.arg(""),
            };
            cmd.arg(record.created_at.as_millisecond()).arg(record.indexes.len());
        }
        for job in &change.jobs {
            cmd.arg(&job.id.0)
                .arg(&job.lane.0)
                .arg(job.due.map_or(0, Timestamp::as_millisecond))
                .arg(parse::write_job(job, self.time.now()));
        }
        cmd
    }

    fn read(&self, locator: Locator, value: Option<Vec<u8>>) -> Result<Option<StoredRecord>, StoreError> {
        parse::stored(locator, value, self.time.now())
    }
}
