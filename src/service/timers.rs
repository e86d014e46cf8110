//! What happens by itself, on time.

use jiff::Timestamp;

use super::{Instance, Service, ServiceError};
use crate::{
    domain::{Command, Verification},
    jobs::payload::About,
};

impl Service {
    /// Does what is due: a pending verification ends, the person's data of an ended one is erased. `Some`: when
    /// the timer must ring again. It always follows from the record as it was read, so a timer that was set
    /// anew meanwhile, or rings too early, does no harm.
    pub async fn tick(&self, instance: &Instance, about: About) -> Result<Option<Timestamp>, ServiceError> {
        let record = match self.load(about.into()).await {
            Ok((_, record)) => record,
            Err(ServiceError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (command, due) = next(instance, &record);
        if self.now() < due {
            return Ok(Some(due));
        }
        let forgets = matches!(command, Command::Forget);
        match self.apply(instance, about.into(), None, command, None).await {
            Ok(applied) => Ok((!forgets).then(|| next(instance, &applied.record).1)),
            Err(ServiceError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn next(instance: &Instance, record: &Verification) -> (Command, Timestamp) {
    match record.ended_at() {
        None => (Command::Expire, record.expires_at),
        Some(at) => (Command::Forget, at + instance.config.erase_after),
    }
}
