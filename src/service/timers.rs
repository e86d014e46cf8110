//! What happens by itself, on time.

use super::{Instance, Service, ServiceError, job::About};
use crate::domain::{Command, State};

impl Service {
    /// Lets a pending verification end. One that ended otherwise, or is gone, needs nothing.
    pub async fn expire(&self, instance: &Instance, about: About) -> Result<(), ServiceError> {
        self.tick(instance, about, Command::Expire).await
    }

    /// Erases the person's data of a verification that ended.
    pub async fn forget(&self, instance: &Instance, about: About) -> Result<(), ServiceError> {
        self.tick(instance, about, Command::Forget).await
    }

    async fn tick(&self, instance: &Instance, about: About, command: Command) -> Result<(), ServiceError> {
        match self.apply(instance, about.into(), None, command, None).await {
            Ok(_) | Err(ServiceError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the record is still waiting for its person.
    pub fn is_pending(&self, record: &crate::domain::Verification) -> bool {
        matches!(record.state, State::Pending) && self.now() < record.expires_at
    }
}
