//! One process, one directory, one SQLite database: nothing else to run.
//!
//! SQLite because it recovers by itself from a full disk and has decades of crash tests behind it. All writes
//! pass one thread (`writer.rs`), which makes each of them atomic and many of them one fsync; reads go beside.

mod admit;
mod archive;
mod backlog;
mod ballast;
mod claim;
mod commit;
mod disk;
mod error;
mod query;
mod queue;
mod reader;
mod time;
mod timers;
mod trim;
mod upkeep;
mod writer;

use std::{collections::HashMap, fs::File, path::Path, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{
    clock::Clock,
    domain::{InstanceId, Partition},
};

use super::{
    Admission, Announced, Background, Backlog, Change, Changes, Committed, Description, Drawn, DueLane, Found, Granted,
    Index, JobId, Lane, LeaseRequest, Leased, Locator, Position, RecordId, Reserve, Settlement, Store, StoreError,
    Stored, Take,
};

use self::{ballast::Ballast, disk::Disk, reader::Readers, time::Time, writer::Writer};

/// Dropping it finishes what is queued and closes the database.
///
/// Fields drop in this order: the writer's connection is the last to close, because only it can move the log into
/// the database, and the lock outlives both.
pub struct EmbeddedStore {
    readers: Readers,
    writer: Writer,
    time: Arc<Time>,
    changes: Arc<Changes>,
    background: Background,
    _lock: File,
}

impl EmbeddedStore {
    /// Opens the store in `directory`, which is made if missing. Whatever a former process had leased is due
    /// again at once.
    pub fn open(directory: &Path, clock: Clock) -> Result<Self, StoreError> {
        let time = Arc::new(Time::new(clock));
        let disk = Disk::open(directory)?;
        let connection = disk.writer()?;
        queue::void_leases(&connection, time.millis())?;
        let readers = Readers::new([disk.reader()?, disk.reader()?]);
        let background = Background::default();
        let writer = Writer::start(
            connection,
            Arc::clone(&time),
            Ballast::open(directory),
            background.running("store's writer"),
        )
        .map_err(|error| StoreError::Unavailable(format!("cannot start a thread: {error}")))?;
        Ok(Self { readers, writer, time, changes: Arc::default(), background, _lock: disk.into_lock() })
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn now(&self) -> Timestamp {
        self.time.now()
    }

    fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    fn background(&self) -> &Background {
        &self.background
    }

    fn skew_millis(&self) -> i64 {
        self.time.skew_millis()
    }

    async fn load(&self, id: RecordId) -> Result<Option<Stored>, StoreError> {
        let now = self.time.millis();
        self.readers.run(move |connection| query::record(connection, now, id)).await
    }

    async fn find(&self, peek: Option<&Take>, places: &[Locator]) -> Result<Found, StoreError> {
        let now = self.time.millis();
        let (peek, places) = (peek.cloned(), places.to_vec());
        self.readers
            .run(move |connection| {
                let allowance = peek.map(|take| admit::peek(connection, now, &take)).transpose()?;
                let records = places.iter().map(|place| query::kept_at(connection, now, *place));
                Ok(Found { allowance, records: records.collect::<rusqlite::Result<_>>()? })
            })
            .await
    }

    async fn admit(&self, takes: &[Take], reserve: Option<&Reserve>) -> Result<Admission, StoreError> {
        let (takes, reserve) = (takes.to_vec(), reserve.cloned());
        // Whoever claims a key is about to begin something.
        if reserve.is_some() {
            self.writer.has_room()?;
        }
        self.writer
            .run(move |connection, now| {
                let allowances = admit::take(connection, now, &takes)?;
                let reservation = reserve.map(|wanted| admit::reserve(connection, now, &wanted)).transpose()?;
                Ok(Admission { allowances, reservation })
            })
            .await
    }

    async fn draw(&self, takes: &[Take], units: u32) -> Result<Drawn, StoreError> {
        let takes = takes.to_vec();
        self.writer.run(move |connection, now| Ok(admit::draw(connection, now, &takes, units)?)).await
    }

    async fn commit(&self, change: &Change) -> Result<Committed, StoreError> {
        if !change.finishing {
            self.writer.has_room()?;
        }
        let change = change.clone();
        let changed = change.changed();
        let committed = self.writer.run(move |connection, now| commit::commit(connection, now, &change)).await?;
        if let Committed::Applied { .. } = &committed {
            for id in changed {
                self.changes.ring(id);
            }
        }
        Ok(committed)
    }

    async fn due(&self) -> Result<Vec<DueLane>, StoreError> {
        let now = self.time.millis();
        self.readers.run(move |connection| query::due(connection, now)).await
    }

    async fn lease(&self, requests: &[LeaseRequest]) -> Result<Vec<Granted>, StoreError> {
        let requests = requests.to_vec();
        self.writer
            .run(move |connection, now| requests.iter().map(|request| queue::lease(connection, now, request)).collect())
            .await
    }

    async fn settle(&self, leased: &Leased, settlement: &Settlement) -> Result<bool, StoreError> {
        let (leased, settlement) = (leased.clone(), settlement.clone());
        self.writer.run(move |connection, now| Ok(queue::settle(connection, now, &leased, &settlement)?)).await
    }

    async fn hold(&self, lane: &Lane, until: Timestamp) -> Result<(), StoreError> {
        let lane = lane.clone();
        self.writer.run(move |connection, _| Ok(queue::hold(connection, &lane, until)?)).await
    }

    async fn list(&self, index: &Index, after: Option<&Position>, limit: usize) -> Result<Vec<Stored>, StoreError> {
        let now = self.time.millis();
        let (index, after) = (index.clone(), after.cloned());
        self.readers.run(move |connection| query::list(connection, now, &index, after.as_ref(), limit)).await
    }

    async fn replay(&self, instance: InstanceId, partition: Partition, id: &JobId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.writer.run(move |connection, now| Ok(queue::replay(connection, now, instance, partition, &id)?)).await
    }

    async fn meta(&self) -> Result<HashMap<String, String>, StoreError> {
        let mut meta = self.readers.run(claim::meta).await?;
        if claim::lacks_format(&mut meta)? {
            self.set_meta("format", claim::FORMAT, false).await?;
        }
        Ok(meta)
    }

    async fn set_meta(&self, name: &str, value: &str, replace: bool) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.writer.run(move |connection, _| claim::set(connection, &name, &value, replace)).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        let now = self.time.millis();
        self.readers.run(move |connection| backlog::waiting(connection, now)).await
    }

    async fn announce(&self, replica: &str, words: &str) -> Result<(), StoreError> {
        let (replica, words) = (replica.to_owned(), words.to_owned());
        self.writer.run(move |connection, now| Ok(backlog::announce(connection, now, &replica, &words)?)).await
    }

    async fn announced(&self) -> Result<Vec<Announced>, StoreError> {
        let now = self.time.millis();
        self.readers.run(move |connection| backlog::announced(connection, now)).await
    }

    async fn describe(&self) -> Result<Description, StoreError> {
        self.readers.run(backlog::describe).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.writer.run(|connection, _| Ok(claim::probe(connection)?)).await
    }

    async fn trial(&self) -> Result<(), StoreError> {
        self.writer.has_room()?;
        self.probe().await
    }
}
