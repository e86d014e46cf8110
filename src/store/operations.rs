//! Health and status of a store.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;

use super::{
    Background, Backlog, LastStoreError, ReplicaHeartbeat, Store, StoreDescription, StoreError, time_budget::TimeBudget,
};
use crate::config::TlsConfig;

/// What operators and the process itself need to know about a store.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// The store's own tasks and threads.
    fn background(&self) -> &Background;

    /// How far this host's clock is ahead of the store's, in milliseconds.
    fn skew_millis(&self) -> i64;

    /// The store's metadata by name. Writes the format on first use; a different format is
    /// [`StoreError::Misconfigured`].
    async fn meta(&self) -> Result<HashMap<String, String>, StoreError>;

    /// Stores a metadata value that never expires. Keeps an existing one unless `replace`.
    async fn set_meta(&self, name: &str, value: &str, replace: bool) -> Result<(), StoreError>;

    /// An error for a store that would lose logins silently, and warnings for a configuration that is unwise.
    async fn preflight(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// Waiting work by kind of lane; kinds without any are left out. Reads a bounded number of lanes and only the ends
    /// of their queues, so with very much work the depth is a lower bound, and the oldest is the oldest of those read.
    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError>;

    /// Replaces the heartbeat of a replica, kept for [`REPLICA_RETENTION`](super::REPLICA_RETENTION).
    async fn publish_heartbeat(&self, replica: &str, body: &str) -> Result<(), StoreError>;

    /// Heartbeats of all replicas, newest first.
    async fn heartbeats(&self) -> Result<Vec<ReplicaHeartbeat>, StoreError>;

    /// Product, role, size and addresses of the store.
    async fn describe(&self) -> Result<StoreDescription, StoreError>;

    /// The last failed operation of this process, where it is recorded.
    fn last_error(&self) -> Option<LastStoreError> {
        None
    }

    /// A view of this store whose calls take no longer than `budget` together, and name the cause when they run out of
    /// time. `None` if a call that is cut off has no cause to name; then the caller can cut it off itself.
    fn within(&self, _budget: &Arc<TimeBudget>) -> Option<Arc<dyn Store>> {
        None
    }

    /// Uses the credentials in `url`, which must name this same store, and the certificates in `tls` for new connections.
    fn reload_credentials(&self, _url: &str, _tls: &TlsConfig) -> Result<(), StoreError> {
        Ok(())
    }

    /// Sends a write like those that finish accepted work once to every master. Fails only if no master took it: it
    /// tests this process' connections.
    async fn probe(&self) -> Result<(), StoreError>;

    /// Sends a confirmed write like those of new work to every master. Fails if any of them refuses.
    async fn check_writes(&self) -> Result<(), StoreError>;
}
