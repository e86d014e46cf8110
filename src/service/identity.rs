//! The phone behind a LID, asked of the gateway: bounded in time, remembered for a day.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::Instance;
use crate::domain::{InstanceId, Phone, Sender, keys::Digest};

/// A person waits for the answer to their message.
const PATIENCE: Duration = Duration::from_secs(2);
const MEMORY: Duration = Duration::from_hours(24);
/// A gateway that could not tell may know a little later.
const DOUBT: Duration = Duration::from_mins(1);
const MOST: usize = 10_000;

/// What gateways have told. Only in this process; another one asks again.
#[derive(Default)]
pub struct Phones(Mutex<HashMap<(InstanceId, Digest), Told>>);

#[derive(Clone)]
struct Told {
    at: Instant,
    /// `None`: the gateway does not know either.
    phone: Option<Phone>,
}

impl Phones {
    /// `sender` with the phone that its LID stands for, where the gateway can tell. A LID that stays unknown
    /// stays a LID; its digits are never a number.
    pub(super) async fn resolve(&self, instance: &Instance, sender: &Sender, lid_digest: Digest) -> Sender {
        let (None, Some(lid)) = (&sender.phone, sender.lid()) else { return sender.clone() };
        let Some(request) = instance.gateway.who_is(lid) else { return sender.clone() };
        let key = (instance.config.id, lid_digest);
        let phone = match self.known(key) {
            Some(told) => told.phone,
            None => {
                let answer = tokio::time::timeout(PATIENCE, instance.sending.send(request)).await;
                let told = match answer {
                    Ok(Ok(response)) if response.status().is_success() => instance.gateway.phone_behind(&response),
                    _ => None,
                };
                self.remember(key, told.clone());
                told
            }
        };
        match phone {
            Some(phone) => Sender::new(Some(phone), Some(lid), sender.bsuid()),
            None => sender.clone(),
        }
    }

    /// The person wants to be forgotten.
    pub(super) fn forget(&self, phone: &Phone) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, told| told.phone.as_ref() != Some(phone));
    }

    fn known(&self, key: (InstanceId, Digest)) -> Option<Told> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = known.get(&key)?;
        let memory = if told.phone.is_some() { MEMORY } else { DOUBT };
        (told.at.elapsed() < memory).then(|| told.clone())
    }

    fn remember(&self, key: (InstanceId, Digest), phone: Option<Phone>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, told| told.at.elapsed() < DOUBT);
        }
        known.insert(key, Told { at: Instant::now(), phone });
    }
}
