//! Waiting for a verification to change, on whichever replica the change is made.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    domain::{AnyKind, Kind, Status, Verification, VerificationId},
    random,
    service::{RequestContext, ServiceError, verifications::Verifications},
    store::{StoreError, WatchError, Watcher},
};

/// Polling interval of waiters, in case a notification is lost.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// A watched record. Dropping it ends the watch.
pub struct VerificationWatch<K = AnyKind> {
    verifications: Arc<Verifications>,
    /// Each store call has a time budget of its own.
    cx: RequestContext,
    watch: Watcher,
    record: Verification<K>,
    version: u64,
    status: Status,
    /// A notification arrived or the polling interval ended, and the record has not been read since.
    notified: bool,
}

impl Verifications {
    /// Watches a record, including one that has ended. Fails with [`ServiceError::TooManyWatchers`] if all watch slots are
    /// taken.
    pub async fn watch<K: Kind>(
        self: &Arc<Self>,
        cx: &RequestContext,
        id: VerificationId,
    ) -> Result<VerificationWatch<K>, ServiceError> {
        let watch = self.store.changes().watch(id.into()).map_err(|busy| match busy {
            WatchError::Full => ServiceError::TooManyWatchers,
            WatchError::Closed => stopping(),
        })?;
        let (version, record): (u64, Verification<K>) = self.load_as(cx, id).await?;
        let status = record.status(cx.now());
        let (verifications, cx) = (Arc::clone(self), RequestContext::background(&self.store));
        Ok(VerificationWatch { verifications, cx, watch, record, version, status, notified: false })
    }
}

impl<K: Kind> VerificationWatch<K> {
    /// The record as last read.
    pub fn record(&self) -> &Verification<K> {
        &self.record
    }

    /// The effective status now: a pending record past its expiry counts as expired.
    pub fn status(&self) -> Status {
        self.record.status(self.cx.now())
    }

    /// Whether the verification itself has ended.
    pub fn has_ended(&self) -> bool {
        self.record.ended_at().is_some() || self.cx.now() >= self.record.expires_at
    }

    /// Waits until the record changes or expires. A temporary outage of the store only prolongs the wait. An error ends
    /// it: the record is gone, or the process is stopping.
    ///
    /// Cancel safe: a change between two calls is found by the next call.
    pub async fn changed(&mut self) -> Result<(), ServiceError> {
        loop {
            let now = self.cx.now();
            if self.record.status(now) != self.status {
                self.status = self.record.status(now);
                return Ok(());
            }
            if !self.notified && !self.wait(now).await {
                return Err(stopping());
            }
            self.notified = true;
            // Boxed to keep this future small: thousands wait, but only a few read at the same time.
            match Box::pin(self.verifications.load_as(&self.cx, self.record.id)).await {
                Ok((version, record)) if version != self.version => {
                    self.notified = false;
                    self.status = record.status(self.cx.now());
                    (self.version, self.record) = (version, record);
                    return Ok(());
                }
                Ok(_)
                | Err(ServiceError::Store(StoreError::Unavailable(_) | StoreError::Full | StoreError::Refused(_))) => {
                    self.notified = false;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a notification or the polling interval. Returns `false` if the process is stopping.
    async fn wait(&mut self, now: Timestamp) -> bool {
        let mut pause = POLL_INTERVAL.mul_f64(0.9 + 0.2 * random::fraction());
        if self.status.is_open()
            && let Ok(left) = Duration::try_from(self.record.expires_at.duration_since(now))
        {
            // Wake slightly late: waking early would require a second read.
            pause = pause.min(left + Duration::from_millis(5));
        }
        tokio::time::timeout(pause, self.watch.changed()).await.unwrap_or(true)
    }
}

fn stopping() -> ServiceError {
    StoreError::Unavailable("this process is stopping".to_owned()).into()
}
