//! Looking back: jobs by how they stand, notes, removal.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use redis::{Cmd, Value};

use super::{
    RedisStore, key, millis,
    parse::{self, Kept, reply},
    script,
};
use crate::{
    domain::{InstanceId, Partition, time::from_millis},
    store::{
        DEAD_MEMORY, Destination, JobId, StoreError,
        archive::{
            Archive, DELIVERED_MEMORY, Journal, KnownJob, Mark, NOTE_MEMORY, NOTES_KEPT, Note, Removal, Standing,
        },
    },
};

/// Destinations looked at per partition.
const DESTINATIONS: usize = 1_000;
/// Jobs of one queue that may have the same time, to the millisecond, and still be told apart by pages.
const TIES: usize = 1_000;
/// Jobs forgotten per partition at once.
const TIDIED: usize = 500;

/// A job's place, before it is read.
struct Place {
    partition: Partition,
    id: String,
    at: i64,
}

impl Place {
    /// As Redis orders one set, and then by partition.
    fn order(&self) -> (i64, u8, &str) {
        (self.at, self.partition.index(), &self.id)
    }
}

#[async_trait]
impl Archive for RedisStore {
    async fn jobs_after(
        &self,
        instance: InstanceId,
        standing: Standing,
        mark: Option<&Mark>,
        limit: usize,
    ) -> Result<Vec<KnownJob>, StoreError> {
        let mut places = match standing {
            Standing::Waiting => self.on_their_way(instance, mark, limit).await?,
            Standing::Delivered | Standing::Dead => self.ended(instance, standing, mark, limit).await?,
        };
        places.sort_by(|one, other| one.order().cmp(&other.order()));
        if standing != Standing::Waiting {
            places.reverse();
        }
        if let Some(mark) = mark {
            let last = (mark.at.as_millisecond(), mark.partition.index(), mark.id.0.as_str());
            places.retain(|place| match standing {
                Standing::Waiting => place.order() > last,
                Standing::Delivered | Standing::Dead => place.order() < last,
            });
        }
        places.truncate(limit);
        let mut pipeline = redis::Pipeline::with_capacity(places.len());
        for place in &places {
            pipeline.add_command(read_job(place.partition, &place.id));
        }
        let values = self.connection.run(&mut pipeline).await?;
        let mut jobs = Vec::with_capacity(places.len());
        for (place, value) in places.into_iter().zip(values) {
            // Gone since it was listed, or never whole.
            let job = known(place, standing, reply(value)?).filter(|(_, of)| *of == instance);
            jobs.extend(job.map(|(job, _)| job));
        }
        Ok(jobs)
    }

    async fn job(
        &self,
        instance: InstanceId,
        partition: Partition,
        id: &JobId,
    ) -> Result<Option<KnownJob>, StoreError> {
        let fields: Fields = self.one(&read_job(partition, &id.0)).await?;
        let Some(Kept { instance: of, destination, .. }) = fields.0.clone().and_then(parse::read_job) else {
            return Ok(None);
        };
        let sets = [
            (Standing::Waiting, key::queue(partition, &destination)),
            (Standing::Delivered, key::delivered(partition, of)),
            (Standing::Dead, key::dead(partition, of)),
        ];
        let mut pipeline = redis::pipe();
        for (_, set) in &sets {
            pipeline.cmd("ZSCORE").arg(set).arg(&id.0);
        }
        let values = self.connection.run(&mut pipeline).await?;
        for ((standing, _), value) in sets.into_iter().zip(values) {
            let Some(score) = reply::<Option<f64>>(value)? else { continue };
            let place = Place { partition, id: id.0.clone(), at: score_millis(score) };
            let alive = from_millis(place.at) > self.forgotten(standing);
            return Ok(known(place, standing, fields).filter(|(_, of)| *of == instance && alive).map(|(job, _)| job));
        }
        Ok(None)
    }

    async fn tidy(&self, instance: InstanceId) -> Result<(), StoreError> {
        for standing in [Standing::Delivered, Standing::Dead] {
            let over = self.forgotten(standing).as_millisecond();
            let mut pipeline = redis::pipe();
            for partition in Partition::all() {
                let set = ended_set(partition, instance, standing);
                pipeline.cmd("ZRANGEBYSCORE").arg(set).arg("-inf").arg(over).arg("LIMIT").arg(0).arg(TIDIED);
            }
            let values = self.connection.run(&mut pipeline).await?;
            // What is past its time cannot be replayed, so nobody wants it back meanwhile.
            let mut pipeline = redis::pipe();
            for (partition, value) in Partition::all().zip(values) {
                for id in reply::<Vec<String>>(value)? {
                    pipeline.cmd("ZREM").arg(ended_set(partition, instance, standing)).arg(&id);
                    pipeline.cmd("HDEL").arg(key::jobs(partition)).arg(fields_of(&id).as_slice());
                }
            }
            self.connection.run(&mut pipeline).await?;
        }
        Ok(())
    }

    async fn note(&self, notes: &[Note]) -> Result<(), StoreError> {
        let now = self.time.now().as_millisecond();
        let mut pipeline = redis::pipe();
        let last = -1 - i64::try_from(NOTES_KEPT).unwrap_or(i64::MAX);
        let mut journals: BTreeMap<String, Vec<(usize, &[u8])>> = BTreeMap::new();
        for (place, note) in notes.iter().enumerate() {
            journals.entry(key::journal(note.partition, &note.journal)).or_default().push((place, &note.bytes));
        }
        for (journal, notes) in journals {
            pipeline.cmd("ZADD").arg(&journal);
            for (place, bytes) in notes {
                // They keep their order: a score holds parts of a millisecond, down to 1/4096.
                pipeline.arg(format!("{now}.{:03}", place.min(999))).arg(bytes);
            }
            pipeline.cmd("ZREMRANGEBYSCORE").arg(&journal).arg("-inf").arg(now - millis(NOTE_MEMORY));
            pipeline.cmd("ZREMRANGEBYRANK").arg(&journal).arg(0).arg(last);
            pipeline.cmd("PEXPIRE").arg(&journal).arg(millis(NOTE_MEMORY));
        }
        self.connection.run(&mut pipeline).await.map(drop)
    }

    async fn notes(&self, journal: &Journal, limit: usize) -> Result<Vec<(Timestamp, Note)>, StoreError> {
        let oldest = self.time.now().as_millisecond() - millis(NOTE_MEMORY);
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            let name = key::journal(partition, journal);
            pipeline.cmd("ZREVRANGEBYSCORE").arg(name).arg("+inf").arg(format!("({oldest}")).arg("WITHSCORES");
            pipeline.arg("LIMIT").arg(0).arg(limit);
        }
        let values = self.connection.run(&mut pipeline).await?;
        let mut notes = Vec::new();
        for (partition, value) in Partition::all().zip(values) {
            let rows: Vec<(Vec<u8>, f64)> = reply(value)?;
            let note = |bytes| Note { partition, journal: journal.clone(), bytes };
            notes.extend(rows.into_iter().map(|(bytes, score)| (score, note(bytes))));
        }
        notes.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        notes.truncate(limit);
        Ok(notes.into_iter().map(|(score, note)| (from_millis(score_millis(score)), note)).collect())
    }

    async fn remove(&self, removal: &Removal) -> Result<(), StoreError> {
        let Removal { partition, instance, .. } = *removal;
        let mut keys = vec![key::jobs(partition), key::dead(partition, instance), key::delivered(partition, instance)];
        keys.extend(removal.queues.iter().map(|destination| key::queue(partition, destination)));
        let mut locator = String::new();
        if let Some((at, indexes)) = &removal.record {
            locator = match at.code {
                Some(code) => code.hex(),
                None => self.locators(at.id).await?,
            };
            keys.extend([key::record(partition, &locator), key::uuid(at.id)]);
            keys.extend(indexes.iter().map(|index| key::index(partition, index)));
        }
        let mut cmd = script::REMOVE.call(&keys);
        cmd.arg(locator).arg(removal.queues.len());
        for id in &removal.jobs {
            cmd.arg(&id.0);
        }
        self.confirmed::<Value>(cmd).await?;
        let mut pipeline = redis::pipe();
        for (journal, bytes) in &removal.notes {
            pipeline.cmd("ZREM").arg(key::journal(partition, journal)).arg(bytes);
        }
        self.connection.run(&mut pipeline).await.map(drop)
    }
}

impl RedisStore {
    /// What ended before this is no longer there.
    fn forgotten(&self, standing: Standing) -> Timestamp {
        match standing {
            Standing::Waiting => Timestamp::MIN,
            Standing::Delivered => self.time.now() - DELIVERED_MEMORY,
            Standing::Dead => self.time.now() - DEAD_MEMORY,
        }
    }

    async fn ended(
        &self,
        instance: InstanceId,
        standing: Standing,
        mark: Option<&Mark>,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        let over = self.forgotten(standing).as_millisecond();
        let newest = mark.map_or_else(|| "+inf".to_owned(), |mark| mark.at.as_millisecond().to_string());
        let limit = with_ties(mark, limit);
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            let set = ended_set(partition, instance, standing);
            pipeline.cmd("ZREVRANGEBYSCORE").arg(set).arg(&newest).arg(format!("({over}")).arg("WITHSCORES");
            pipeline.arg("LIMIT").arg(0).arg(limit);
        }
        let values = self.connection.run(&mut pipeline).await?;
        places(Partition::all().zip(values))
    }

    /// Receivers belong to one instance each; the first job of each tells to which.
    async fn on_their_way(
        &self,
        instance: InstanceId,
        mark: Option<&Mark>,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            pipeline.cmd("ZRANGE").arg(key::destinations(partition)).arg(0).arg(DESTINATIONS);
        }
        let mut queues = Vec::new();
        for (partition, value) in Partition::all().zip(self.connection.run(&mut pipeline).await?) {
            let destinations = reply::<Vec<String>>(value)?.into_iter().map(Destination);
            queues.extend(destinations.filter(|to| to.kind() == "callback").map(|to| (partition, to)));
        }
        let first = mark.map_or_else(|| "-inf".to_owned(), |mark| mark.at.as_millisecond().to_string());
        let limit = with_ties(mark, limit);
        let mut pipeline = redis::pipe();
        for (partition, destination) in &queues {
            pipeline.cmd("ZRANGEBYSCORE").arg(key::queue(*partition, destination)).arg(&first).arg("+inf");
            pipeline.arg("WITHSCORES").arg("LIMIT").arg(0).arg(limit);
        }
        let values = self.connection.run(&mut pipeline).await?;
        let queues = queues.into_iter().zip(values);
        let queues = queues.map(|((partition, _), value)| places(std::iter::once((partition, value))));
        let queues: Vec<Vec<Place>> =
            queues.filter(|places| !matches!(places, Ok(places) if places.is_empty())).collect::<Result<_, _>>()?;
        let mut pipeline = redis::pipe();
        for queue in &queues {
            pipeline.cmd("HGET").arg(key::jobs(queue[0].partition)).arg(&queue[0].id);
        }
        let heads = self.connection.run(&mut pipeline).await?;
        let mut ours = Vec::new();
        for (queue, head) in queues.into_iter().zip(heads) {
            let first: Option<Vec<u8>> = reply(head)?;
            if first.and_then(parse::read_job).is_some_and(|first| first.instance == instance) {
                ours.extend(queue);
            }
        }
        Ok(ours)
    }
}

/// What has the time of the mark itself is read again.
fn with_ties(mark: Option<&Mark>, limit: usize) -> usize {
    if mark.is_some() { limit + TIES } else { limit }
}

fn ended_set(partition: Partition, instance: InstanceId, standing: Standing) -> String {
    match standing {
        Standing::Delivered => key::delivered(partition, instance),
        Standing::Waiting | Standing::Dead => key::dead(partition, instance),
    }
}

fn places(values: impl Iterator<Item = (Partition, Value)>) -> Result<Vec<Place>, StoreError> {
    let mut places = Vec::new();
    for (partition, value) in values {
        let rows: Vec<(String, f64)> = reply(value)?;
        places.extend(rows.into_iter().map(|(id, score)| Place { partition, id, at: score_millis(score) }));
    }
    Ok(places)
}

/// The job, and its state once it was leased.
type Fields = (Option<Vec<u8>>, Option<String>);

fn fields_of(id: &str) -> [String; 2] {
    [id.to_owned(), format!("{id}|s")]
}

fn read_job(partition: Partition, id: &str) -> Cmd {
    let mut cmd = redis::cmd("HMGET");
    cmd.arg(key::jobs(partition)).arg(fields_of(id).as_slice());
    cmd
}

fn known(place: Place, standing: Standing, (job, state): Fields) -> Option<(KnownJob, InstanceId)> {
    let Kept { since, instance, destination, body } = parse::read_job(job?)?;
    let state = state.unwrap_or_else(|| "0 0 ".to_owned());
    let mut words = state.splitn(3, ' ').skip(1);
    let attempts = words.next()?.parse().ok()?;
    let note = words.next().unwrap_or_default().to_owned();
    let Place { partition, id, at } = place;
    let at = from_millis(at);
    Some((KnownJob { partition, id: JobId(id), destination, standing, attempts, since, at, note, body }, instance))
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit a double's 53 bits")]
fn score_millis(score: f64) -> i64 {
    score as i64
}
