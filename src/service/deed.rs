//! Who acts in the request that is being answered, and on what: for the log, timelines and the audit stream.

use std::{cell::RefCell, fmt};

use crate::domain::{InstanceId, Verification, VerificationId};

tokio::task_local! {
    static DEED: RefCell<Deed>;
}

/// Whoever has proved who he is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum By {
    /// An API token. `named`: its id was given by the operator.
    Token { id: String, named: bool },
    /// Somebody at the operator's page.
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

/// What one request was about.
#[derive(Clone, Default, Debug)]
pub struct Deed {
    /// `None`: nobody has proved who he is.
    pub by: Option<By>,
    pub instance: Option<InstanceId>,
    pub about: Option<VerificationId>,
    /// The callback that was queued again.
    pub replayed: Option<String>,
}

/// Runs the work of one request, and says what was done in it.
pub async fn doing<F: Future>(work: F) -> (F::Output, Deed) {
    let deed = RefCell::default();
    DEED.scope(deed, async {
        let output = work.await;
        (output, DEED.with(RefCell::take))
    })
    .await
}

/// Notes who acts. Outside of [`doing`] nobody asks.
pub fn done_by(by: By, instance: Option<InstanceId>) {
    let _ = DEED.try_with(|deed| {
        let mut deed = deed.borrow_mut();
        (deed.by, deed.instance) = (Some(by), instance);
    });
}

/// Notes what is acted on.
pub fn done_to(id: VerificationId) {
    let _ = DEED.try_with(|deed| deed.borrow_mut().about = Some(id));
}

pub(super) fn replayed(callback: &str) {
    let _ = DEED.try_with(|deed| deed.borrow_mut().replayed = Some(callback.to_owned()));
}

/// Signs what was added to a record's timeline, from the entry at `from` on. A token that was given no id is not worth
/// its room in every record.
pub(super) fn sign<K>(record: &mut Verification<K>, from: usize) {
    let by = DEED.try_with(|deed| deed.borrow().by.clone()).ok().flatten();
    if let Some(by) = by.filter(|by| !matches!(by, By::Token { named: false, .. })) {
        record.sign(from, &by.to_string());
    }
}
