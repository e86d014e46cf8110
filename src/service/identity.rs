//! The phone behind a LID, asked of the gateway: bounded in time, remembered for a day.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Instance, ServiceError};
use crate::{
    domain::{InstanceId, Phone, Sender, keys::Digest},
    gateway::LidLookup,
};

/// For all that one request asks: a person waits for the answer to their message.
const BUDGET: Duration = Duration::from_secs(3);
/// For an answer other than that the gateway does not know yet.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between questions: WhatsApp tells a gateway of a new LID with the first message or shortly after it.
const PAUSE: Duration = Duration::from_millis(600);
const MEMORY: Duration = Duration::from_hours(24);
/// A number that is hidden now may be shown later.
const DOUBT: Duration = Duration::from_mins(1);
const MOST: usize = 10_000;

tokio::task_local! {
    /// What the questions of this request have left.
    static LEFT: Cell<Duration>;
}

/// Runs the work of one request.
pub(super) async fn of_one_request<T>(work: impl Future<Output = T>) -> T {
    LEFT.scope(Cell::new(BUDGET), work).await
}

/// What gateways have answered for good. Only in this process; another one asks again.
#[derive(Default)]
pub struct Phones(Mutex<HashMap<(InstanceId, Digest), Known>>);

#[derive(Clone)]
struct Known {
    at: Instant,
    /// `None`: hidden.
    phone: Option<Phone>,
}

impl Phones {
    /// `sender` with the phone that its LID stands for, where the gateway can tell. A LID stays one only when the
    /// gateway has no phone for it: what it could not tell this time would be a second identity of one person, so the
    /// message has to come again. Where gateways repeat nothing, the sender stays unidentified.
    pub(super) async fn resolve(
        &self,
        instance: &Instance,
        sender: &Sender,
        lid_digest: Digest,
    ) -> Result<Sender, ServiceError> {
        let (None, Some(lid)) = (&sender.phone, sender.lid()) else { return Ok(sender.clone()) };
        if instance.gateway.lid_lookup(lid).is_none() {
            return Ok(sender.clone());
        }
        let key = (instance.config.id, lid_digest);
        let answer = match self.known(key) {
            Some(known) => known.phone.map_or(LidLookup::Unavailable, LidLookup::Phone),
            None => self.ask(instance, lid, key).await,
        };
        match answer {
            LidLookup::Phone(phone) => Ok(Sender::new(Some(phone), Some(lid), sender.bsuid())),
            LidLookup::Unavailable | LidLookup::NotYetKnown => Ok(sender.clone()),
            LidLookup::Failed => {
                let (id, gateway) = (instance.config.id, instance.gateway.kind());
                tracing::warn!(instance = %id, gateway, "the gateway did not answer which phone a LID stands for");
                if instance.gateway.retries_webhooks() {
                    Err(ServiceError::NotIdentified)
                } else {
                    Ok(Sender::default())
                }
            }
        }
    }

    async fn ask(&self, instance: &Instance, lid: &str, key: (InstanceId, Digest)) -> LidLookup {
        let answer = ask(instance, lid).await;
        match &answer {
            LidLookup::Phone(phone) => self.remember(key, Some(phone.clone())),
            LidLookup::Unavailable => self.remember(key, None),
            LidLookup::NotYetKnown | LidLookup::Failed => {}
        }
        answer
    }

    /// The person wants to be forgotten.
    pub(super) fn forget(&self, phone: &Phone) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| known.phone.as_ref() != Some(phone));
    }

    fn known(&self, key: (InstanceId, Digest)) -> Option<Known> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = known.get(&key)?;
        let memory = if one.phone.is_some() { MEMORY } else { DOUBT };
        (one.at.elapsed() < memory).then(|| one.clone())
    }

    fn remember(&self, key: (InstanceId, Digest), phone: Option<Phone>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, one| one.at.elapsed() < DOUBT);
        }
        known.insert(key, Known { at: Instant::now(), phone });
    }
}

/// Asks within what the request has left.
async fn ask(instance: &Instance, lid: &str) -> LidLookup {
    let start = Instant::now();
    let left = LEFT.try_with(Cell::get).unwrap_or(BUDGET);
    let answer = ask_for(instance, lid, left).await;
    let _ = LEFT.try_with(|all| all.set(left.saturating_sub(start.elapsed())));
    answer
}

/// Asks until there is an answer for good, or patience ends. However slow the gateway is, it is asked twice.
async fn ask_for(instance: &Instance, lid: &str, left: Duration) -> LidLookup {
    let start = tokio::time::Instant::now();
    let end = start + left;
    let (mut patience, mut until) = (None, start + left.saturating_sub(PAUSE) / 2);
    loop {
        let Some(request) = instance.gateway.lid_lookup(lid) else { return LidLookup::Unavailable };
        let answer = match tokio::time::timeout_at(until, instance.sending.send(request)).await {
            Ok(Ok(response)) => match instance.gateway.parse_lid_lookup(&response) {
                // The gateway has nothing but the LID itself.
                LidLookup::Phone(phone) if phone.digits() == lid => LidLookup::Unavailable,
                answer => answer,
            },
            Ok(Err(_)) | Err(_) => LidLookup::Failed,
        };
        let next = tokio::time::Instant::now() + PAUSE;
        let patience = *patience.get_or_insert_with(|| end.min(next - PAUSE + PATIENCE));
        if next >= patience || matches!(answer, LidLookup::Phone(_) | LidLookup::Unavailable) {
            return answer;
        }
        until = end;
        tokio::time::sleep_until(next).await;
    }
}
