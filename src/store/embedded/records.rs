//! Implements [`Records`]; the queries are in `query` and `commit`.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{EmbeddedStore, admit, commit, query};
use crate::store::{
    BucketRequest, Change, ChangeNotifier, CommitOutcome, FindResult, Index, Locator, Position, RecordId, Records,
    StoreError, StoredRecord,
};

#[async_trait]
impl Records for EmbeddedStore {
    fn now(&self) -> Timestamp {
        self.time.now()
    }

    fn changes(&self) -> &Arc<ChangeNotifier> {
        &self.changes
    }

    async fn load(&self, id: RecordId) -> Result<Option<StoredRecord>, StoreError> {
        let now = self.time.millis();
        self.lookups.run(move |connection| query::record(connection, now, id)).await
    }

    async fn find(&self, peek: Option<&BucketRequest>, locators: &[Locator]) -> Result<FindResult, StoreError> {
        let now = self.time.millis();
        let (peek, locators) = (peek.cloned(), locators.to_vec());
        self.lookups
            .run(move |connection| {
                let allowance = peek.map(|take| admit::peek(connection, now, &take)).transpose()?;
                let records = locators.iter().map(|locator| query::kept_at(connection, now, *locator));
                Ok(FindResult { allowance, records: records.collect::<rusqlite::Result<_>>()? })
            })
            .await
    }

    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        if !change.finishing {
            self.writer.has_room()?;
        }
        let change = change.clone();
        let changed = change.changed();
        let committed = self.writer.run(move |connection, now| commit::commit(connection, now, &change)).await?;
        if let CommitOutcome::Applied { .. } = &committed {
            for id in changed {
                self.changes.notify(id);
            }
        }
        Ok(committed)
    }

    async fn list(
        &self,
        lists: &[Index],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let now = self.time.millis();
        let (lists, after) = (lists.to_vec(), after.cloned());
        self.readers.run(move |connection| query::list(connection, now, &lists, after.as_ref(), limit)).await
    }
}
