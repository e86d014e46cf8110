//! How a command ends when it fails.

use std::io::{self, ErrorKind};

use crate::{reader::Faults, store::StoreError};

/// `EX_CONFIG` of sysexits.h: the operator has to change something.
pub const BAD_CONFIGURATION: u8 = 78;
/// `EX_TEMPFAIL` of sysexits.h: it may succeed later without any change.
pub const TEMPORARY: u8 = 75;

/// Why a command failed, and its exit status.
#[derive(Debug)]
pub struct Failure {
    pub status: u8,
    pub error: anyhow::Error,
}

impl Failure {
    /// The daemon could not start, or ended by itself.
    pub fn of_daemon(error: anyhow::Error) -> Self {
        let status = error.chain().find_map(|cause| {
            let store = cause.downcast_ref().and_then(of_store);
            store.or_else(|| cause.downcast_ref().and_then(of_system))
        });
        Self { status: status.unwrap_or(1), error }
    }
}

fn of_store(error: &StoreError) -> Option<u8> {
    match error {
        StoreError::Misconfigured(_) => Some(BAD_CONFIGURATION),
        StoreError::Unavailable(_) | StoreError::Full | StoreError::Refused(_) => Some(TEMPORARY),
        StoreError::Sealed(_) | StoreError::Corrupt(_) => None,
    }
}

fn of_system(error: &io::Error) -> Option<u8> {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::NotFound => Some(BAD_CONFIGURATION),
        ErrorKind::AddrInUse
        // An interface that is not up yet.
        | ErrorKind::AddrNotAvailable
        | ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::OutOfMemory
        | ErrorKind::ResourceBusy
        | ErrorKind::WouldBlock => Some(TEMPORARY),
        // EMFILE and ENFILE have no kind of their own.
        _ => matches!(error.raw_os_error(), Some(23 | 24)).then_some(TEMPORARY),
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let unfit = error.downcast_ref().is_some_and(|error| matches!(error, StoreError::Misconfigured(_)));
        Self { status: if unfit { BAD_CONFIGURATION } else { 1 }, error }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        let error =
            anyhow::anyhow!("the configuration has faults:\n{faults}`countersign print-config` shows every key");
        Self { status: BAD_CONFIGURATION, error }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn temporary_trouble_is_told_from_what_the_operator_must_change() {
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
            let failure = Failure::of_daemon(error);
            assert_eq!(failure.status, status, "{:#}", failure.error);
        }
    }
}
