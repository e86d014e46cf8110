//! Which SQLite errors are temporary.

use rusqlite::{Error, ErrorCode, ffi};

use crate::store::StoreError;

pub(super) fn is_full(error: &Error) -> bool {
    let Error::SqliteFailure(error, _) = error else { return false };
    // The shared-memory file is on the same disk; SQLite reports its failure to grow as an I/O error.
    error.code == ErrorCode::DiskFull || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE
}

/// A full disk, or a lock held by another program. Nothing was written, and a later attempt may succeed.
pub(super) fn passes(error: &Error) -> bool {
    is_full(error) || matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        if is_full(&error) {
            Self::Full
        } else if passes(&error) || error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) {
            Self::Unavailable(error.to_string())
        } else {
            Self::Corrupt(error.to_string())
        }
    }
}
