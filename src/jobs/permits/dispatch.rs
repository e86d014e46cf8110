//! Passes jobs from a commit to the worker of the same process.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Permit, Permits};
use crate::{domain::Verification, store::LeasedJob};

/// A claimed job: attempted at once if its permit has started, otherwise queued.
pub struct StartableJob {
    pub leased: LeasedJob,
    pub permit: Permit,
    /// The record that the job is about, if both were written together.
    pub record: Option<Arc<Verification>>,
}

impl From<(LeasedJob, Permit)> for StartableJob {
    fn from((leased, permit): (LeasedJob, Permit)) -> Self {
        Self { leased, permit, record: None }
    }
}

/// Passes committed jobs to the worker of this process.
#[derive(Clone)]
pub struct LocalDispatch {
    pub permits: Arc<Permits>,
    sender: mpsc::UnboundedSender<StartableJob>,
}

impl LocalDispatch {
    /// Also returns the worker's end of the channel.
    pub fn new(permits: Arc<Permits>) -> (Self, mpsc::UnboundedReceiver<StartableJob>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { permits, sender }, receiver)
    }

    /// Never waits: the number of permits bounds the channel. If the worker has stopped, the lease expires and another
    /// replica attempts the job.
    pub fn dispatch(&self, job: StartableJob) {
        let _ = self.sender.send(job);
    }
}
