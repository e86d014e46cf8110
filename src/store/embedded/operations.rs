//! Implements [`Operations`]; the queries are in `meta` and `backlog`.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{EmbeddedStore, backlog, meta};
use crate::store::{Background, Backlog, Operations, ReplicaHeartbeat, StoreDescription, StoreError};

#[async_trait]
impl Operations for EmbeddedStore {
    fn background(&self) -> &Background {
        &self.background
    }

    fn skew_millis(&self) -> i64 {
        self.time.skew_millis()
    }

    async fn meta(&self) -> Result<HashMap<String, String>, StoreError> {
        let mut meta = self.readers.run(meta::meta).await?;
        if meta::lacks_format(&mut meta)? {
            self.set_meta("format", meta::FORMAT, false).await?;
        }
        Ok(meta)
    }

    async fn set_meta(&self, name: &str, value: &str, replace: bool) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.writer.run(move |connection, _| meta::set(connection, &name, &value, replace)).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        let now = self.time.millis();
        self.readers.run(move |connection| backlog::waiting(connection, now)).await
    }

    async fn publish_heartbeat(&self, replica: &str, body: &str) -> Result<(), StoreError> {
        let (replica, body) = (replica.to_owned(), body.to_owned());
        self.writer.run(move |connection, now| Ok(backlog::announce(connection, now, &replica, &body)?)).await
    }

    async fn heartbeats(&self) -> Result<Vec<ReplicaHeartbeat>, StoreError> {
        let now = self.time.millis();
        self.readers.run(move |connection| backlog::announced(connection, now)).await
    }

    async fn describe(&self) -> Result<StoreDescription, StoreError> {
        self.readers.run(backlog::describe).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.writer.run(|connection, _| Ok(meta::probe(connection)?)).await
    }

    async fn check_writes(&self) -> Result<(), StoreError> {
        self.writer.has_room()?;
        self.probe().await
    }
}
