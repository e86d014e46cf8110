//! Records: reading, listing, and the commit that writes them.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use redis::{Cmd, Value};

use super::{
    RedisStore, key, millis,
    parse::{self, from_value, score_millis},
    retries::ResendPolicy,
    script,
};
use crate::{
    domain::{LookUp, PARTITIONS, Partition, time::from_millis},
    store::{
        BucketRequest, Change, ChangeNotifier, CommitOutcome, FindResult, Index, LEASE_DURATION, Locator, MAX_HOLD,
        MESSAGE_ID_RETENTION, Position, RecordId, Records, StoreError, StoredRecord,
    },
};

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

    /// Merges the lists of all partitions, newest first. Entries whose record no longer exists are skipped.
    ///
    /// Each round reads a few entries of every partition, because a page holds about as many of each. Where a partition
    /// may have more, only the entries that are newer than its last one are used, and the next round starts there.
    async fn list(
        &self,
        lists: &[Index],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let mut from = after.map(|position| position.created_at.as_millisecond());
        // Twice an even share, and a few for small pages.
        let mut share = limit.div_ceil(usize::from(PARTITIONS)) * 2 + 8;
        let mut found = Vec::new();
        loop {
            let (entries, rest) = self.entries(lists, from, share).await?;
            let complete = entries.partition_point(|(created, _)| rest.is_none_or(|rest| *created > rest));
            let mut entries = &entries[..complete];
            while found.len() < limit && !entries.is_empty() {
                // Whole milliseconds, within which the id decides the order.
                let oldest = entries[entries.len().min(limit) - 1].0;
                let (newer, older) = entries.split_at(entries.partition_point(|(created, _)| *created >= oldest));
                entries = older;
                let record = |(_, locator): &(i64, Locator)| parse::read_record(&key::record(*locator));
                let values = self.connection.read_confirmed(newer.iter().map(record).collect()).await?;
                for (&(created, locator), value) in newer.iter().zip(values) {
                    if let Some(stored) = parse::stored(locator, from_value(value)?, self.time.now())? {
                        found.push((Position { created_at: from_millis(created), id: stored.id }, stored));
                    }
                }
                found.retain(|(position, _)| after.is_none_or(|after| position < after));
            }
            if found.len() >= limit || rest.is_none() {
                break;
            }
            from = rest;
            // Also past a millisecond in which one partition has more entries than this.
            share *= 4;
        }
        found.sort_by(|(a, _), (b, _)| b.cmp(a));
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, stored)| stored).collect())
    }
}

impl RedisStore {
    /// The newest entries of these lists, newest first, up to `share` of each list in each partition, from this
    /// millisecond on. With them, the millisecond from which on a partition has more.
    async fn entries(
        &self,
        lists: &[Index],
        from: Option<i64>,
        share: usize,
    ) -> Result<(Vec<(i64, Locator)>, Option<i64>), StoreError> {
        let from = from.map_or("+inf".to_owned(), |millis| millis.to_string());
        let mut pipeline = redis::pipe();
        for (partition, index) in Partition::all().flat_map(|partition| lists.iter().map(move |list| (partition, list)))
        {
            let list = key::index(partition, index);
            pipeline.cmd("ZREVRANGEBYSCORE").arg(list).arg(&from).arg("-inf").arg("WITHSCORES");
            pipeline.arg("LIMIT").arg(0).arg(share);
        }
        let (mut entries, mut rest): (Vec<(i64, Locator)>, Option<i64>) = (Vec::new(), None);
        for value in self.connection.run(&mut pipeline).await? {
            let members = from_value::<Vec<(Vec<u8>, f64)>>(value)?;
            if let Some((_, score)) = members.last().filter(|_| members.len() == share) {
                rest = rest.max(Some(score_millis(*score)));
            }
            for (member, score) in members {
                entries.extend(Locator::from_slice(&member).map(|locator| (score_millis(score), locator)));
            }
        }
        entries.sort_by(|a, b| b.cmp(a));
        // A record can be in two of the lists.
        entries.dedup();
        Ok((entries, rest))
    }

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
