//! What a command of a cluster runs into, and whether it is worth another try.

use redis::RedisError;

use super::{
    connection::{Cure, cure},
    remedy,
    seeds::Address,
};
use crate::store::StoreError;

/// Worth another try.
pub(super) struct Trouble {
    pub(super) error: RedisError,
    at: Option<Address>,
}

impl Trouble {
    pub(super) fn new(error: RedisError, at: Option<&Address>) -> Result<Self, StoreError> {
        let trouble = Self { error, at: at.cloned() };
        if trouble.error.redirect_node().is_some() {
            return Ok(trouble);
        }
        match cure(&trouble.error) {
            Cure::GiveUp(StoreError::Unavailable(_)) => Err(StoreError::Unavailable(trouble.told())),
            Cure::GiveUp(StoreError::Broken(_)) => Err(StoreError::Broken(trouble.told())),
            Cure::GiveUp(error) => Err(error),
            Cure::LoadScripts | Cure::Reconnect | Cure::Wait => Ok(trouble),
        }
    }

    pub(super) fn needs_no_time(&self) -> bool {
        self.error.redirect_node().is_some() || matches!(cure(&self.error), Cure::LoadScripts)
    }

    /// While a slot moves, and while a master lacks something, it is still the right one.
    pub(super) fn is_elsewhere(&self) -> bool {
        !matches!(
            self.error.code(),
            Some("ASK" | "TRYAGAIN" | "NOSCRIPT" | "LOADING" | "BUSY" | "MISCONF" | "NOREPLICAS")
        )
    }

    pub(super) fn given_up(&self) -> StoreError {
        remedy::given_up(&self.error, self.told())
    }

    pub(super) fn told(&self) -> String {
        let told = remedy::told(&self.error);
        self.at.as_ref().map_or_else(|| told.clone(), |at| format!("{told} (at {at})"))
    }
}
