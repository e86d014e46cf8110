//! How a command ends when it fails.

use crate::{config::Faults, store::StoreError};

/// `EX_CONFIG` of sysexits.h.
pub const BAD_CONFIGURATION: u8 = 78;

/// Why a command failed, and what the shell is told.
#[derive(Debug)]
pub struct Failure {
    pub status: u8,
    pub error: anyhow::Error,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let unfit = error.downcast_ref().is_some_and(|error| matches!(error, StoreError::Unfit(_)));
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
