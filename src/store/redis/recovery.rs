//! Errors of Redis, and how to recover from each.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::{
    endpoint,
    error_hint::{self, describe, store_error},
};
use crate::store::StoreError;

/// Why a write is not reported as applied.
#[derive(Clone)]
pub(super) enum WriteError {
    /// Redis did not apply it.
    Refused(RedisError),
    /// It may have been applied.
    Broken(RedisError),
    /// It was applied, but is not confirmed.
    Unconfirmed(String),
}

impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        let unconfirmed = |why: &str| Self::Unavailable(format!("the write was not confirmed: {why}"));
        match error {
            WriteError::Refused(error) if error.code() == Some("OOM") => Self::Full,
            WriteError::Refused(error) => store_error(&error, describe(&error)),
            WriteError::Broken(error) => unconfirmed(&describe(&error)),
            WriteError::Unconfirmed(why) => unconfirmed(&why),
        }
    }
}

/// How to recover from an error.
pub(super) enum Recovery {
    LoadScripts,
    Reconnect,
    Backoff,
    GiveUp(StoreError),
}

pub(super) fn classify(error: &RedisError) -> Recovery {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoScript) => Recovery::LoadScripts,
        // A demoted master keeps answering reads; only a new connection finds its successor.
        ErrorKind::Server(ServerErrorKind::ReadOnly) | ErrorKind::Io => Recovery::Reconnect,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown,
        ) => Recovery::Backoff,
        _ if endpoint::has_no_master(error) => Recovery::Backoff,
        _ if is_access_denied(error) => Recovery::GiveUp(StoreError::Unavailable(error_hint::describe(error))),
        _ if error.is_unrecoverable_error() || error.is_timeout() || error.is_connection_dropped() => {
            Recovery::Reconnect
        }
        _ => match error.code() {
            Some("OOM") => Recovery::GiveUp(StoreError::Full),
            Some("NOREPLICAS" | "MISCONF" | "BUSY" | "UNKILLABLE") => Recovery::Backoff,
            _ => Recovery::GiveUp(StoreError::Corrupt(error_hint::describe(error))),
        },
    }
}

/// Lasts until an operator changes a password or a permission.
fn is_access_denied(error: &RedisError) -> bool {
    matches!(error_hint::code(error), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
}
