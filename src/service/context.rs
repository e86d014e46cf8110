//! The context of one request: how long it may take of others' time, who acts in it, and on what.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::Service;
use crate::{
    domain::{InstanceId, Verification, VerificationId},
    store::{
        Store,
        time_budget::{OF_A_REQUEST, TimeBudget},
    },
};

/// For all questions of one request which phone a LID stands for: a person waits for the answer to their message.
const LOOK_UPS: Duration = Duration::from_secs(3);

/// Made where a request comes in, and passed to every use case.
pub struct RequestContext {
    /// The store, as far as this request may use it.
    pub(super) store: Arc<dyn Store>,
    /// For questions to gateways.
    pub(super) look_ups: TimeBudget,
    deed: Mutex<Deed>,
}

impl Service {
    /// For a request: all its calls of the store share [`OF_A_REQUEST`].
    pub fn request(&self) -> RequestContext {
        let budget = Arc::new(TimeBudget::new(OF_A_REQUEST));
        RequestContext::over(self.store.within(&budget).unwrap_or_else(|| Arc::clone(&self.store)))
    }

    /// For work that belongs to no request, and for operators: each call of the store has its own time.
    pub fn background(&self) -> RequestContext {
        RequestContext::over(Arc::clone(&self.store))
    }
}

impl RequestContext {
    fn over(store: Arc<dyn Store>) -> Self {
        Self { store, look_ups: TimeBudget::new(LOOK_UPS), deed: Mutex::default() }
    }

    /// Notes who acts.
    pub fn acts_as(&self, by: By, instance: Option<InstanceId>) {
        let mut deed = self.lock();
        (deed.by, deed.instance) = (Some(by), instance);
    }

    /// Notes what is acted on.
    pub(super) fn acts_on(&self, id: VerificationId) {
        self.lock().about = Some(id);
    }

    pub(super) fn replays(&self, callback: &str) {
        self.lock().replayed = Some(callback.to_owned());
    }

    /// Signs what was added to a record's timeline, from the entry at `from` on. A token that was given no id is not
    /// worth its room in every record.
    pub(super) fn sign<K>(&self, record: &mut Verification<K>, from: usize) {
        match &self.lock().by {
            None | Some(By::Token { named: false, .. }) => {}
            Some(by) => record.sign(from, &by.to_string()),
        }
    }

    /// What was done so far.
    pub fn deed(&self) -> Deed {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Deed> {
        self.deed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller who has proved who they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum By {
    /// An API token. `named`: its id was given by the operator.
    Token { id: String, named: bool },
    /// Of the operator's page.
    Operator { name: String },
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { id, .. } => write!(f, "token:{id}"),
            Self::Operator { name } => write!(f, "operator:{name}"),
        }
    }
}

/// What one request was about, for the log and the audit stream.
#[derive(Clone, Default, Debug)]
pub struct Deed {
    /// `None`: the caller has not proved who they are.
    pub by: Option<By>,
    pub instance: Option<InstanceId>,
    pub about: Option<VerificationId>,
    /// The callback that was queued again.
    pub replayed: Option<String>,
}
