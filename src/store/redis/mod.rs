//! Any number of replicas on one Redis.
//!
//! Every change is one script on one partition, whose keys share a hash tag, so that a cluster is as good as one
//! master. Scripts report the time they ran at, from which each replica learns the store's clock.

mod archive;
mod backlog;
mod bucket;
mod cluster;
mod confirmed_writer;
mod connection;
mod errand;
mod key;
mod line;
mod listen;
mod map;
mod master;
mod node;
mod parse;
mod places;
mod posture;
mod queue;
mod remedy;
mod script;
mod seeds;
mod slot;
mod source;
mod time;
mod trouble;
mod wake;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use redis::{Cmd, Value};

pub use confirmed_writer::Durability;
pub use connection::addresses;

use self::{bucket::Buckets, connection::Connection, parse::reply, time::StoreTime, wake::Wake};
use super::{
    Admission, Announced, Background, Backlog, Change, Changes, Committed, Description, Drawn, DueLane, Found, Granted,
    Index, JobId, LEASE, Lane, LeaseRequest, Leased, Locator, MESSAGE_MEMORY, Position, RecordId, Reserve, Settlement,
    Store, StoreError, Stored, Take, by_partition,
};
use crate::{
    clock::Clock,
    domain::{InstanceId, Partition, quota::Allowance},
};

const RESERVATION_MEMORY: Duration = Duration::from_hours(24);
const FORMAT: &str = "2";

/// A [`Store`] on Redis 7 or Valkey 8.
pub struct RedisStore {
    connection: Arc<Connection>,
    durability: Durability,
    time: Arc<StoreTime>,
    buckets: Buckets,
    wake: Wake,
    background: Background,
}

impl RedisStore {
    /// Does not connect yet: a store that is away must not stop the process from starting.
    pub fn new(url: &str, durability: Durability, clock: Clock) -> Result<Self, StoreError> {
        let background = Background::default();
        let connection = Arc::new(Connection::new(url, durability, &background)?);
        let wake = Wake::new(Arc::clone(&connection), background.clone());
        let time = Arc::new(StoreTime::new(clock));
        let buckets = Buckets::new(Arc::clone(&connection), Arc::clone(&time));
        Ok(Self { connection, durability, time, buckets, wake, background })
    }

    async fn one<T: redis::FromRedisValue>(&self, cmd: &Cmd) -> Result<T, StoreError> {
        let mut pipeline = redis::Pipeline::with_capacity(1);
        let mut values = self.connection.run(pipeline.add_command(cmd.clone())).await?;
        reply(values.pop().unwrap_or(Value::Nil))
    }

    /// For writes whose loss would break a promise.
    async fn confirmed<T: redis::FromRedisValue>(&self, cmd: Cmd) -> Result<T, StoreError> {
        reply(self.connection.confirm(cmd).await?)
    }

    fn read(&self, locator: Locator, value: Option<Vec<u8>>) -> Result<Option<Stored>, StoreError> {
        parse::stored(locator, value, self.time.now())
    }
}

#[async_trait]
impl Store for RedisStore {
    fn now(&self) -> Timestamp {
        self.time.now()
    }

    fn changes(&self) -> &Arc<Changes> {
        self.wake.changes()
    }

    fn background(&self) -> &Background {
        &self.background
    }

    fn skew_millis(&self) -> i64 {
        self.time.skew_millis()
    }

    fn take_up(&self, url: &str) -> Result<(), StoreError> {
        self.connection.take_up(url)
    }

    async fn load(&self, id: RecordId) -> Result<Option<Stored>, StoreError> {
        let mut values = self.connection.read(vec![parse::read_record(&key::record(id.locator()))]).await?;
        let value = reply(values.pop().unwrap_or(Value::Nil))?;
        Ok(self.read(id.locator(), value)?.filter(|stored| stored.id == id))
    }

    async fn find(&self, peek: Option<&Take>, places: &[Locator]) -> Result<Found, StoreError> {
        let record = |place: &Locator| parse::read_record(&key::record(*place));
        let bucket = |take: &Take| redis::Cmd::get(key::bucket(take.partition, &take.bucket));
        let cmds = places.iter().map(record).chain(peek.map(bucket)).collect();
        let mut values = self.connection.read(cmds).await?;
        let allowance = match peek {
            Some(take) => Some(self.buckets.look(take, values.pop().unwrap_or(Value::Nil))?),
            None => None,
        };
        let records = places.iter().zip(values).map(|(place, value)| self.read(*place, reply(value)?));
        let records = records.collect::<Result<_, _>>()?;
        Ok(Found { allowance, records })
    }

    async fn admit(&self, takes: &[Take], reserve: Option<&Reserve>) -> Result<Admission, StoreError> {
        let groups = by_partition(takes);
        if let ([_], None) = (groups.as_slice(), reserve) {
            return Ok(Admission { allowances: self.buckets.take(takes).await?, reservation: None });
        }
        let mut pipeline = redis::Pipeline::with_capacity(groups.len() + 1);
        for group in &groups {
            let group: Vec<&Take> = group.iter().map(|&index| &takes[index]).collect();
            pipeline.add_command(self.buckets.take_all(&group, 1));
        }
        if let Some(reserve) = reserve {
            let mut cmd = script::RESERVE.call(&[key::reservation(reserve.partition, reserve.key)]);
            let gives_way = reserve.replaces.as_ref().map(|claim| parse::write_claim(reserve.fingerprint, claim));
            cmd.arg(self.time.shift())
                .arg(parse::write_claim(reserve.fingerprint, &reserve.claim))
                .arg(millis(RESERVATION_MEMORY))
                .arg(gives_way.unwrap_or_default());
            pipeline.add_command(cmd);
        }
        let mut values = self.connection.run(&mut pipeline).await?;
        let reservation = match reserve {
            Some(_) => {
                let (now, holder): (i64, Vec<u8>) = reply(values.pop().unwrap_or(Value::Nil))?;
                self.time.observe(now);
                Some(parse::read_claim(&holder)?)
            }
            None => None,
        };
        let mut allowances = vec![Allowance::Allowed { remaining: 0 }; takes.len()];
        for (group, value) in groups.iter().zip(values) {
            for (&index, allowance) in group.iter().zip(self.buckets.taken(value)?) {
                allowances[index] = allowance;
            }
        }
        Ok(Admission { allowances, reservation })
    }

    async fn draw(&self, takes: &[Take], units: u32) -> Result<Drawn, StoreError> {
        let takes: Vec<&Take> = takes.iter().collect();
        self.buckets.drawn(self.one(&self.buckets.take_all(&takes, units)).await?)
    }

    async fn commit(&self, change: &Change) -> Result<Committed, StoreError> {
        let answer: Vec<Value> = self.confirmed(self.commit_script(change)).await?;
        let mut answer = answer.into_iter();
        let word: String = reply(answer.next().unwrap_or(Value::Nil))?;
        let now: i64 = reply(answer.next().unwrap_or(Value::Nil))?;
        self.time.observe(now);
        match word.as_str() {
            "applied" => {
                for id in change.changed() {
                    self.wake.tell(id);
                }
                let leased =
                    answer.skip(1).map(reply::<i64>).map(|flag| Ok(flag? == 1)).collect::<Result<_, StoreError>>()?;
                Ok(Committed::Applied { leased })
            }
            "conflict" => Ok(Committed::Conflict),
            "duplicate" => Ok(Committed::Duplicate),
            "collision" => Ok(Committed::Collision),
            "late" => Ok(Committed::Late(crate::domain::time::from_millis(now))),
            other => Err(StoreError::Broken(format!("commit.lua said {other}"))),
        }
    }

    async fn due(&self) -> Result<Vec<DueLane>, StoreError> {
        self.due_everywhere().await
    }

    async fn lease(&self, requests: &[LeaseRequest]) -> Result<Vec<Granted>, StoreError> {
        self.lease_all(requests).await
    }

    async fn settle(&self, leased: &Leased, settlement: &Settlement) -> Result<bool, StoreError> {
        self.settle_one(leased, settlement).await
    }

    async fn hold(&self, lane: &Lane, until: Timestamp) -> Result<(), StoreError> {
        self.hold_everywhere(lane, until).await
    }

    async fn list(&self, index: &Index, after: Option<&Position>, limit: usize) -> Result<Vec<Stored>, StoreError> {
        self.page(index, after, limit).await
    }

    async fn replay(&self, instance: InstanceId, partition: Partition, id: &JobId) -> Result<bool, StoreError> {
        self.replay_one(instance, partition, id).await
    }

    async fn meta(&self) -> Result<HashMap<String, String>, StoreError> {
        let mut meta: HashMap<String, String> = self.one(redis::cmd("HGETALL").arg(key::META)).await?;
        match meta.remove("format") {
            Some(format) if format == FORMAT => {}
            Some(format) => {
                return Err(StoreError::Unfit(format!("the store has format {format}, this version reads {FORMAT}")));
            }
            None => self.set_meta("format", FORMAT, false).await?,
        }
        Ok(meta)
    }

    async fn set_meta(&self, name: &str, value: &str, replace: bool) -> Result<(), StoreError> {
        let mut cmd = redis::cmd(if replace { "HSET" } else { "HSETNX" });
        cmd.arg(key::META).arg(name).arg(value);
        self.confirmed::<Value>(cmd).await.map(drop)
    }

    async fn posture(&self) -> Result<Vec<String>, StoreError> {
        posture::judge_all(&self.infos().await?, self.durability)
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.waiting().await
    }

    async fn announce(&self, replica: &str, words: &str) -> Result<(), StoreError> {
        self.announce_one(replica, words).await
    }

    async fn announced(&self) -> Result<Vec<Announced>, StoreError> {
        self.every_replica().await
    }

    async fn describe(&self) -> Result<Description, StoreError> {
        let infos = self.infos().await?;
        let mut addresses = posture::addresses(&infos);
        addresses.extend(self.connection.reached());
        Ok(Description { addresses, ..posture::describe_all(infos, self.durability)? })
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        for partition in self.one_of_each_master().await? {
            let mut cmd = script::TAKE.call(&[key::canary(partition)]);
            cmd.arg(self.time.shift()).arg(1).arg(1).arg(1_000_000);
            pipeline.add_command(cmd);
        }
        for value in self.connection.run_partly(&mut pipeline).await?.into_iter().flatten() {
            self.buckets.taken(value)?;
        }
        Ok(())
    }

    async fn trial(&self) -> Result<(), StoreError> {
        let write = |partition| {
            let mut cmd = redis::cmd("SET");
            cmd.arg(key::trial(partition)).arg(1).arg("EX").arg(60);
            self.confirmed::<Value>(cmd)
        };
        try_join_all(self.one_of_each_master().await?.into_iter().map(write)).await.map(drop)
    }
}

impl RedisStore {
    /// A partition, for a write that concerns its master.
    async fn one_of_each_master(&self) -> Result<Vec<Partition>, StoreError> {
        let random = usize::from(crate::entropy::bytes::<1>()[0]);
        let homes = self.connection.homes(false).await?;
        Ok(homes
            .iter()
            .filter_map(|home| home.partitions.get(random % home.partitions.len().max(1)).copied())
            .collect())
    }

    fn commit_script(&self, change: &Change) -> Cmd {
        let partition = change.partition;
        let mut keys = vec![
            key::message(partition, change.answers),
            key::lanes(partition),
            key::jobs(partition),
            key::timers(partition),
        ];
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
        cmd.arg(self.time.shift())
            .arg(millis(LEASE))
            .arg(if change.answers.is_some() { millis(MESSAGE_MEMORY) } else { 0 })
            .arg(change.valid_until.map_or(0, Timestamp::as_millisecond))
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
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
