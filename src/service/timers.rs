//! What happens by itself, on time.

use jiff::Timestamp;

use super::{Instance, Service, ServiceError, job::About};
use crate::domain::{Command, State};

impl Service {
    /// Lets a pending verification end. One that ended otherwise, or is gone, needs nothing. `Some`: the timer
    /// rang early, by this store's clock, and must ring again then.
    pub async fn expire(&self, instance: &Instance, about: About) -> Result<Option<Timestamp>, ServiceError> {
        self.tick(instance, about, Command::Expire).await
    }

    /// Erases the person's data of a verification that ended.
    pub async fn forget(&self, instance: &Instance, about: About) -> Result<Option<Timestamp>, ServiceError> {
        self.tick(instance, about, Command::Forget).await
    }

    async fn tick(
        &self,
        instance: &Instance,
        about: About,
        command: Command,
    ) -> Result<Option<Timestamp>, ServiceError> {
        match self.apply(instance, about.into(), None, command, None).await {
            Ok(applied) => Ok(matches!(applied.record.state, State::Pending).then_some(applied.record.expires_at)),
            Err(ServiceError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
