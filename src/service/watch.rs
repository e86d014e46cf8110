//! Waiting for a verification to change, wherever the change happens.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Service, ServiceError};
use crate::{
    domain::{Verification, VerificationId},
    random,
    store::{StoreError, WatchError, Watcher},
};

/// Waiters look by themselves this often, whether or not anybody rang.
const LOOK: Duration = Duration::from_secs(5);

/// A record that somebody follows. Dropping it ends the wait.
pub struct Watched {
    service: Arc<Service>,
    watch: Watcher,
    record: Verification,
    version: u64,
    status: &'static str,
    /// Somebody has rung, and the record was not read since.
    rung: bool,
}

impl Service {
    /// Follows a record from now on; also one that has ended. Places are few: [`ServiceError::Crowded`].
    pub async fn watch(self: &Arc<Self>, id: VerificationId) -> Result<Watched, ServiceError> {
        let watch = self.store.changes().watch(id.into()).map_err(|busy| match busy {
            WatchError::Full => ServiceError::Crowded,
            WatchError::Closed => stopping(),
        })?;
        let (stored, record) = self.load(id).await?;
        let status = record.status(self.now());
        Ok(Watched { service: Arc::clone(self), watch, record, version: stored.version, status, rung: false })
    }
}

impl Watched {
    /// As it was last seen.
    pub fn record(&self) -> &Verification {
        &self.record
    }

    /// As a reader sees it now: a pending record past its time is expired.
    pub fn status(&self) -> &'static str {
        self.record.status(self.service.now())
    }

    /// Whether nothing more will come of the verification itself.
    pub fn has_ended(&self) -> bool {
        self.record.ended_at().is_some() || self.service.now() >= self.record.expires_at
    }

    /// Waits until the record has been written again, or its time is over. A store that is away for a while
    /// only makes it take longer. An error ends the wait: the record is gone, or the process is stopping.
    ///
    /// Cancel safe: a change that came while nobody waited is found by the next call.
    pub async fn changed(&mut self) -> Result<(), ServiceError> {
        loop {
            let now = self.service.now();
            if self.record.status(now) != self.status {
                self.status = self.record.status(now);
                return Ok(());
            }
            if !self.rung && !self.wait(now).await {
                return Err(stopping());
            }
            self.rung = true;
            // Boxed: thousands wait, and few of them read at the same time.
            match Box::pin(self.service.load(self.record.id)).await {
                Ok((stored, record)) if stored.version != self.version => {
                    self.rung = false;
                    self.status = record.status(self.service.now());
                    (self.version, self.record) = (stored.version, record);
                    return Ok(());
                }
                Ok(_)
                | Err(ServiceError::Store(StoreError::Unavailable(_) | StoreError::Full | StoreError::Refused(_))) => {
                    self.rung = false;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Until somebody rings or it is time to look. `false`: the process is ending.
    async fn wait(&mut self, now: Timestamp) -> bool {
        let mut patience = LOOK.mul_f64(0.9 + 0.2 * random::fraction());
        if matches!(self.status, "pending" | "sent")
            && let Ok(left) = Duration::try_from(self.record.expires_at.duration_since(now))
        {
            // A little late rather than a little early, which would mean to look twice.
            patience = patience.min(left + Duration::from_millis(5));
        }
        tokio::time::timeout(patience, self.watch.changed()).await.unwrap_or(true)
    }
}

fn stopping() -> ServiceError {
    StoreError::Unavailable("this process is stopping".to_owned()).into()
}
