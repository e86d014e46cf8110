//! Errors of cluster commands that are worth a retry.

use redis::RedisError;

use super::{
    error_hint,
    recovery::{Recovery, classify},
    seed_nodes::NodeAddress,
};
use crate::store::StoreError;

/// An error that a retry may get around.
pub(super) struct RetryableError {
    pub(super) error: RedisError,
    at: Option<NodeAddress>,
}

impl RetryableError {
    pub(super) fn new(error: RedisError, at: Option<&NodeAddress>) -> Result<Self, StoreError> {
        let retryable = Self { error, at: at.cloned() };
        if retryable.error.redirect_node().is_some() {
            return Ok(retryable);
        }
        match classify(&retryable.error) {
            Recovery::GiveUp(StoreError::Unavailable(_)) => Err(StoreError::Unavailable(retryable.describe())),
            Recovery::GiveUp(StoreError::Corrupt(_)) => Err(StoreError::Corrupt(retryable.describe())),
            Recovery::GiveUp(error) => Err(error),
            Recovery::LoadScripts | Recovery::Reconnect | Recovery::Backoff => Ok(retryable),
        }
    }

    pub(super) fn is_immediate(&self) -> bool {
        self.error.redirect_node().is_some() || matches!(classify(&self.error), Recovery::LoadScripts)
    }

    /// Whether the slot map may be stale. A migrating slot, or a master that lacks scripts or replicas, is no sign of
    /// it.
    pub(super) fn means_stale_map(&self) -> bool {
        !matches!(
            self.error.code(),
            Some("ASK" | "TRYAGAIN" | "NOSCRIPT" | "LOADING" | "BUSY" | "MISCONF" | "NOREPLICAS")
        )
    }

    pub(super) fn to_store_error(&self) -> StoreError {
        error_hint::store_error(&self.error, self.describe())
    }

    pub(super) fn describe(&self) -> String {
        let text = error_hint::describe(&self.error);
        self.at.as_ref().map_or_else(|| text.clone(), |at| format!("{text} (at {at})"))
    }
}
