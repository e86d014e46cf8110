//! The exit status of a command that fails.

use std::{
    fmt,
    io::{self, ErrorKind},
};

use crate::{reader::Faults, store::StoreError, telemetry::stdout::OutputError};

/// The arguments cannot be used, as with arguments that clap refuses.
pub const EX_ARGUMENTS: u8 = 2;
/// sysexits.h: the operator has to change something. A restart does not help.
pub const EX_CONFIG: u8 = 78;
/// sysexits.h: it may succeed later without any change.
pub const EX_TEMPFAIL: u8 = 75;

/// The error of a command, and its exit status.
#[derive(Debug)]
pub struct CommandError {
    pub status: u8,
    pub error: anyhow::Error,
}

impl CommandError {
    /// For arguments that are well-formed, but cannot be used.
    pub fn arguments(why: impl fmt::Display) -> Self {
        Self { status: EX_ARGUMENTS, error: anyhow::anyhow!("{why}") }
    }

    /// The reader of the output has closed it, which is no failure.
    pub fn is_closed_pipe(&self) -> bool {
        self.error.downcast_ref().is_some_and(OutputError::is_closed_pipe)
    }

    /// For a daemon that could not start, or that ended without being asked to.
    pub fn from_daemon_error(error: anyhow::Error) -> Self {
        let status = error.chain().find_map(|cause| {
            let store = cause.downcast_ref().and_then(store_error_status);
            store.or_else(|| cause.downcast_ref().and_then(io_error_status))
        });
        Self { status: status.unwrap_or(1), error }
    }
}

fn store_error_status(error: &StoreError) -> Option<u8> {
    match error {
        StoreError::Misconfigured(_) => Some(EX_CONFIG),
        StoreError::Unavailable(_) | StoreError::Full | StoreError::Refused(_) => Some(EX_TEMPFAIL),
        StoreError::Sealed(_) | StoreError::Corrupt(_) => None,
    }
}

fn io_error_status(error: &io::Error) -> Option<u8> {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::NotFound => Some(EX_CONFIG),
        ErrorKind::AddrInUse
        // The network interface may not be up yet.
        | ErrorKind::AddrNotAvailable
        | ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::OutOfMemory
        | ErrorKind::ResourceBusy
        | ErrorKind::WouldBlock => Some(EX_TEMPFAIL),
        // ENFILE (23) and EMFILE (24) have no `ErrorKind`.
        _ => matches!(error.raw_os_error(), Some(23 | 24)).then_some(EX_TEMPFAIL),
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        let unfit = error.downcast_ref().is_some_and(|error| matches!(error, StoreError::Misconfigured(_)));
        Self { status: if unfit { EX_CONFIG } else { 1 }, error }
    }
}

impl From<OutputError> for CommandError {
    fn from(error: OutputError) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<Faults> for CommandError {
    fn from(faults: Faults) -> Self {
        let error =
            anyhow::anyhow!("the configuration has faults:\n{faults}`countersign print-config` shows every key");
        Self { status: EX_CONFIG, error }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn temporary_errors_and_configuration_errors_have_different_statuses() {
        let system = |kind: ErrorKind| anyhow::Error::from(io::Error::from(kind)).context("cannot listen");
        let store = |error: StoreError| anyhow::Error::from(error).context("the readiness probe failed");
        let table = [
            (system(ErrorKind::AddrInUse), 75),
            (system(ErrorKind::StorageFull), 75),
            (system(ErrorKind::PermissionDenied), 78),
            (io::Error::from_raw_os_error(24).into(), 75),
            (store(StoreError::Unavailable("locked".to_owned())), 75),
            (store(StoreError::Full), 75),
            (store(StoreError::Misconfigured("other keys".to_owned())), 78),
            (store(StoreError::Corrupt("no number".to_owned())), 1),
            (Err::<(), _>(anyhow!("it panicked")).context("the worker failed").unwrap_err(), 1),
        ];
        for (error, status) in table {
            let failure = CommandError::from_daemon_error(error);
            assert_eq!(failure.status, status, "{:#}", failure.error);
        }
    }
}
