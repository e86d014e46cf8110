//! Resolves LIDs to phone numbers at the gateway, within a time budget. Numbers are cached for a day.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    domain::{InstanceId, Phone, Sender, keys::Digest},
    gateway::LidLookup,
    service::{Instance, RequestContext, ServiceError},
};

/// How long look-ups are repeated after the first answer, while no answer is final.
const RETRY_WINDOW: Duration = Duration::from_secs(2);
/// Pause between look-ups: WhatsApp announces a new LID to a gateway with the first message or shortly after it.
const RETRY_INTERVAL: Duration = Duration::from_millis(600);
const PHONE_TTL: Duration = Duration::from_hours(24);
/// How long a hidden number is cached; it may become visible later.
const HIDDEN_TTL: Duration = Duration::from_mins(1);
const MAX_ENTRIES: usize = 10_000;

/// Cache of final answers from gateways, local to this process.
#[derive(Default)]
pub(super) struct LidResolver(Mutex<HashMap<(InstanceId, Digest), CachedAnswer>>);

#[derive(Clone)]
struct CachedAnswer {
    at: Instant,
    /// `None` if the number is hidden.
    phone: Option<Phone>,
}

impl LidResolver {
    /// Adds the phone number that the sender's LID stands for, if the gateway has it. If the gateway has no number, the
    /// LID stays the identity. A failed look-up must not have this effect, because the person would get a second
    /// identity: the message is refused if the gateway retries webhooks, and the sender stays unidentified if it does
    /// not.
    pub(in crate::service) async fn resolve(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        sender: &Sender,
        lid_digest: Digest,
    ) -> Result<Sender, ServiceError> {
        let (None, Some(lid)) = (&sender.phone, sender.lid()) else { return Ok(sender.clone()) };
        if instance.gateway.lid_lookup(lid).is_none() {
            return Ok(sender.clone());
        }
        let key = (instance.config.id, lid_digest);
        let answer = match self.cached(key) {
            Some(known) => known.phone.map_or(LidLookup::NotResolvable, LidLookup::Resolved),
            None => self.ask_gateway(cx, instance, lid, key).await,
        };
        match answer {
            LidLookup::Resolved(phone) => Ok(Sender::new(Some(phone), Some(lid), sender.bsuid())),
            LidLookup::NotResolvable | LidLookup::Pending => Ok(sender.clone()),
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

    async fn ask_gateway(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        lid: &str,
        key: (InstanceId, Digest),
    ) -> LidLookup {
        let left = cx.lid_look_ups.left();
        let answer = cx.lid_look_ups.spend(ask_until_final(instance, lid, left)).await.unwrap_or(LidLookup::Failed);
        match &answer {
            LidLookup::Resolved(phone) => self.cache(key, Some(phone.clone())),
            LidLookup::NotResolvable => self.cache(key, None),
            LidLookup::Pending | LidLookup::Failed => {}
        }
        answer
    }

    /// Removes a phone number from the cache, for an erasure.
    pub(in crate::service) fn remove(&self, phone: &Phone) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| known.phone.as_ref() != Some(phone));
    }

    fn cached(&self, key: (InstanceId, Digest)) -> Option<CachedAnswer> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = known.get(&key)?;
        let memory = if one.phone.is_some() { PHONE_TTL } else { HIDDEN_TTL };
        (one.at.elapsed() < memory).then(|| one.clone())
    }

    fn cache(&self, key: (InstanceId, Digest), phone: Option<Phone>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_ENTRIES {
            known.retain(|_, one| one.at.elapsed() < HIDDEN_TTL);
        }
        known.insert(key, CachedAnswer { at: Instant::now(), phone });
    }
}

/// Repeats the look-up until the answer is final or the time is over. The first one gets at most half the time, so that
/// a slow gateway is asked twice.
async fn ask_until_final(instance: &Instance, lid: &str, left: Duration) -> LidLookup {
    let start = tokio::time::Instant::now();
    let end = start + left;
    let (mut retry_until, mut attempt_ends) = (None, start + left.saturating_sub(RETRY_INTERVAL) / 2);
    loop {
        let Some(request) = instance.gateway.lid_lookup(lid) else { return LidLookup::NotResolvable };
        let answer = match tokio::time::timeout_at(attempt_ends, instance.gateway_egress.send(request)).await {
            Ok(Ok(response)) => match instance.gateway.parse_lid_lookup(&response) {
                // The gateway returned the LID itself instead of a number.
                LidLookup::Resolved(phone) if phone.digits() == lid => LidLookup::NotResolvable,
                answer @ (LidLookup::Resolved(_)
                | LidLookup::NotResolvable
                | LidLookup::Pending
                | LidLookup::Failed) => answer,
            },
            Ok(Err(_)) | Err(_) => LidLookup::Failed,
        };
        let next = tokio::time::Instant::now() + RETRY_INTERVAL;
        let retry_until = *retry_until.get_or_insert_with(|| end.min(next - RETRY_INTERVAL + RETRY_WINDOW));
        if next >= retry_until || matches!(answer, LidLookup::Resolved(_) | LidLookup::NotResolvable) {
            return answer;
        }
        attempt_ends = end;
        tokio::time::sleep_until(next).await;
    }
}
