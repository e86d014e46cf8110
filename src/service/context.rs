//! The context of one request: its time budgets for the store and the gateway, who acts, and on which verification.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    domain::{InstanceId, Verification, VerificationId},
    store::{
        Store,
        time_budget::{OF_A_REQUEST, TimeBudget},
    },
};

/// Budget for all LID look-ups of one request at a gateway. It is short because a person waits for the reply to their
/// message.
const LID_LOOK_UP_BUDGET: Duration = Duration::from_secs(3);

/// Created where a request enters, and passed to every use case.
pub struct RequestContext {
    /// The store, limited by the time budget of the request.
    pub(super) store: Arc<dyn Store>,
    /// Time budget for LID look-ups at gateways.
    pub(super) lid_look_ups: TimeBudget,
    action: Mutex<Action>,
    counts_apart: AtomicBool,
}

impl RequestContext {
    /// Context of a request: all its store calls share [`OF_A_REQUEST`].
    pub fn new(store: &Arc<dyn Store>) -> Self {
        let budget = Arc::new(TimeBudget::new(OF_A_REQUEST));
        Self::over(store.within(&budget).unwrap_or_else(|| Arc::clone(store)))
    }

    /// Context of background work and of operators: each store call has a time limit of its own.
    pub fn background(store: &Arc<dyn Store>) -> Self {
        Self::over(Arc::clone(store))
    }

    fn over(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            lid_look_ups: TimeBudget::new(LID_LOOK_UP_BUDGET),
            action: Mutex::default(),
            counts_apart: AtomicBool::new(false),
        }
    }

    /// The store's time.
    pub(super) fn now(&self) -> Timestamp {
        self.store.now()
    }

    /// The request is one of `doctor`: it must not look like traffic or like an attack.
    pub fn count_apart(&self) {
        self.counts_apart.store(true, Ordering::Relaxed);
    }

    pub fn counts_apart(&self) -> bool {
        self.counts_apart.load(Ordering::Relaxed)
    }

    /// Records the caller.
    pub fn set_actor(&self, by: Actor, instance: Option<InstanceId>) {
        let mut action = self.lock();
        (action.actor, action.instance) = (Some(by), instance);
    }

    /// Records the verification that is acted on.
    pub(super) fn set_verification(&self, id: VerificationId) {
        self.lock().verification = Some(id);
    }

    pub(super) fn set_replayed(&self, callback: &str) {
        self.lock().replayed = Some(callback.to_owned());
    }

    /// Signs the entries of a record's timeline from index `from` on with the id of the caller. A token without a
    /// configured id is left out, to save space in every record.
    pub(super) fn attribute<K>(&self, record: &mut Verification<K>, from: usize) {
        match &self.lock().actor {
            None | Some(Actor::Token { named: false, .. }) => {}
            Some(by) => record.attribute(from, &by.to_string()),
        }
    }

    /// What the request has done so far.
    pub fn action(&self) -> Action {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Action> {
        self.action.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An authenticated caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Actor {
    /// An API token. `named`: the operator configured its id.
    Token { id: String, named: bool },
    /// A user of the operator page.
    Operator { name: String },
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { id, .. } => write!(f, "token:{id}"),
            Self::Operator { name } => write!(f, "operator:{name}"),
        }
    }
}

/// What one request did, for the log and the audit stream.
#[derive(Clone, Default, Debug)]
pub struct Action {
    /// `None` while the caller is not authenticated.
    pub actor: Option<Actor>,
    pub instance: Option<InstanceId>,
    pub verification: Option<VerificationId>,
    /// The callback that was queued again.
    pub replayed: Option<String>,
}
