//! The way from a commit to the worker beside it.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Permit, Permits};
use crate::{domain::Verification, store::Leased};

/// A job in hand: to be attempted at once if its permit has begun, else in its turn.
pub struct StartableJob {
    pub leased: Leased,
    pub permit: Permit,
    /// What it is about, where that was written with it.
    pub record: Option<Arc<Verification>>,
}

impl From<(Leased, Permit)> for StartableJob {
    fn from((leased, permit): (Leased, Permit)) -> Self {
        Self { leased, permit, record: None }
    }
}

/// Gives committed jobs to the worker of this process.
#[derive(Clone)]
pub struct LocalDispatch {
    pub permits: Arc<Permits>,
    sender: mpsc::UnboundedSender<StartableJob>,
}

impl LocalDispatch {
    /// The worker's end comes with it.
    pub fn new(permits: Arc<Permits>) -> (Self, mpsc::UnboundedReceiver<StartableJob>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { permits, sender }, receiver)
    }

    /// Never waits, and is bounded by the permits. When the worker is gone the lease runs out and another replica
    /// takes the job.
    pub fn give(&self, job: StartableJob) {
        let _ = self.sender.send(job);
    }
}
