//! Which troubles of SQLite pass by themselves.

use rusqlite::{Error, ErrorCode, ffi};

use crate::store::StoreError;

/// A full disk or a lock that somebody else holds. Nothing was written, and a later try may succeed.
pub(super) fn passes(error: &Error) -> bool {
    // The shared-memory file is on the same disk; SQLite calls its failure to grow an I/O error.
    let Error::SqliteFailure(error, _) = error else { return false };
    matches!(error.code, ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        if passes(&error) || error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) {
            Self::Unavailable(error.to_string())
        } else {
            Self::Broken(error.to_string())
        }
    }
}
