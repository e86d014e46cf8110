//! Operations: what a store says about itself, and what is asked of it to see that it works.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{Background, Backlog, ReplicaHeartbeat, StoreDescription, StoreError, StoreRefusal};

/// What operators and the process itself need to know.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// Its own tasks and threads.
    fn background(&self) -> &Background;

    /// How far this host's clock is ahead of the store's, in milliseconds.
    fn skew_millis(&self) -> i64;

    /// What the store remembers about itself, by name. Writes the format on first use; another format is
    /// [`StoreError::Unfit`].
    async fn meta(&self) -> Result<HashMap<String, String>, StoreError>;

    /// Remembers something about the store for ever, unless it is known already and `replace` is false.
    async fn set_meta(&self, name: &str, value: &str, replace: bool) -> Result<(), StoreError>;

    /// Refuses a store that would lose logins silently, and returns what is merely unwise.
    async fn preflight(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// What waits, by kind of lane; kinds with nothing are left out. Looks at a bounded number of
    /// lanes and only at the ends of their queues, so that it stays cheap: with very much work the depth is
    /// a lower bound, and the oldest is the oldest of those seen.
    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError>;

    /// Remembers what a replica says of itself, for [`REPLICA_MEMORY`](super::REPLICA_MEMORY); what it said before is forgotten.
    async fn publish_heartbeat(&self, replica: &str, words: &str) -> Result<(), StoreError>;

    /// What replicas said of themselves, newest first.
    async fn heartbeats(&self) -> Result<Vec<ReplicaHeartbeat>, StoreError>;

    /// What this store is, its role, its size.
    async fn describe(&self) -> Result<StoreDescription, StoreError>;

    /// The last request that failed here, where somebody keeps count.
    fn last_refusal(&self) -> Option<StoreRefusal> {
        None
    }

    /// Uses the credentials in `url`, the address of this same store, for connections that are opened from now on.
    fn reload_credentials(&self, _url: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// A write of the kind that finishes old work, sent once to every master, and to none again. It fails when none of
    /// them took it: about this process' way to the store.
    async fn probe(&self) -> Result<(), StoreError>;

    /// A write of the kind that begins new work, at every master, and confirmed as commits are. It fails where they do.
    async fn check_writes(&self) -> Result<(), StoreError>;
}
