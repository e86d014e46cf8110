//! Keys shared by all replicas: which ones the store names, and which of them this process lacks. A process that lacks
//! a key must not report a value as unknown that may have been made with that key.
//!
//! The store's meta names every master key that has been current (`key:FINGERPRINT`, with the time of its last use, to
//! the minute), and holds the look-up keys ([`look_ups`]).

mod look_ups;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use self::look_ups::CurrentLookUpKey;
use super::{Environment, Instances, ReplicaHealth, RequestContext};
use crate::{
    domain::{KeyRing, time::rfc3339},
    metrics::Metrics,
    store::{KeyGate, Store, StoreError},
};

const MASTER_PREFIX: &str = "key:";
/// Resolution of the recorded last use of a master key: a mark older than this is refreshed.
const USE_RESOLUTION: SignedDuration = SignedDuration::from_mins(1);
/// Margin for gateways that deliver late: a value made with a key may come back this long after its end.
const LATE_DELIVERY_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

type Meta = HashMap<String, String>;

/// The keys of this process, and what it knows about those that the store names.
pub struct KeyState {
    store: Arc<dyn Store>,
    keys: Arc<KeyRing>,
    instances: Arc<Instances>,
    metrics: Arc<Metrics>,
    health: Arc<ReplicaHealth>,
    /// Closed while this process lacks a look-up key, because it would then miss records.
    gate: KeyGate,
    /// Number of the look-up key that the configuration asks for.
    requested: AtomicU32,
    look_ups: ArcSwapOption<CurrentLookUpKey>,
    masters: ArcSwap<Vec<(String, Timestamp)>>,
}

/// The keys that the store names, as last read by this replica.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct KeysStatus {
    /// Number of the current look-up key; 0 while it is unknown.
    pub look_up: u32,
    pub look_up_since: Option<String>,
    /// Until then, the previous look-up key is used as well; `null` if no change is in progress.
    pub previous_until: Option<String>,
    /// `look_up_key_number` of the configuration.
    pub requested: u32,
    /// Which key is missing in `key_file`, so that this replica can find nothing; `null` if none is.
    pub missing: Option<String>,
    /// By last use, the latest first.
    pub masters: Vec<MasterStatus>,
}

/// A master key that is or was in use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MasterStatus {
    pub fingerprint: String,
    /// It is the current key of this replica.
    pub current: bool,
    /// It is in `key_file`.
    pub present: bool,
    /// Until then, values made with it may be requested.
    pub needed_until: String,
    /// That time has passed: the key can be removed.
    pub removable: bool,
}

impl KeyState {
    pub(super) fn new(env: &Environment, gate: KeyGate) -> Self {
        Self {
            store: Arc::clone(&env.store),
            keys: Arc::clone(&env.keys),
            instances: Arc::clone(&env.instances),
            metrics: Arc::clone(&env.metrics),
            health: Arc::clone(&env.health),
            gate,
            requested: AtomicU32::new(0),
            look_ups: ArcSwapOption::empty(),
            masters: ArcSwap::default(),
        }
    }

    /// Sets the number of the look-up key to use. A number above the store's creates a new key; a lower one has no
    /// effect.
    pub fn request_look_up_key(&self, number: u32) {
        self.requested.store(number, Ordering::Relaxed);
    }

    fn requested(&self) -> u32 {
        self.requested.load(Ordering::Relaxed)
    }

    /// Loads the look-up keys, and records in the store that the current master key of this process is in use. Fails
    /// with [`StoreError::Misconfigured`] if the store was made with other keys.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let meta = self.load_look_up_keys().await?;
        self.record_key_use(&self.keys, &meta).await?;
        let missing = self
            .master_statuses(recorded_masters(&meta))
            .into_iter()
            .filter(|master| !master.present && !master.removable);
        for MasterStatus { fingerprint, needed_until, .. } in missing {
            tracing::warn!(
                fingerprint,
                needed_until,
                "key_file lacks a key that is still needed: what was encrypted with it cannot be read; restore the key"
            );
        }
        Ok(())
    }

    /// Switches to the keys of `next`: reads with them at once, and makes values with them once the store names them.
    pub async fn switch(&self, next: &KeyRing) -> Result<(), StoreError> {
        self.keys.add_for_verification(next);
        // Both the old and the new keys are active here. Look-up keys that only a removed key opens are sealed again
        // with a key that stays.
        let meta = self.load_look_up_keys().await?;
        self.seal_look_up_keys(next, &meta).await?;
        self.record_key_use(next, &meta).await?;
        self.keys.replace_master_keys(next);
        Ok(())
    }

    /// Records in the store that the current key of `ring` is in use.
    async fn record_key_use(&self, ring: &KeyRing, meta: &Meta) -> Result<(), StoreError> {
        let Some(current) = ring.fingerprints().into_iter().next() else { return Ok(()) };
        let known = recorded_masters(meta).find(|(fingerprint, _)| *fingerprint == current).map(|(_, at)| at);
        if known.is_some_and(|at| self.store.now().duration_since(at) < USE_RESOLUTION) {
            return Ok(());
        }
        let marked = self.store.set_meta(&format!("{MASTER_PREFIX}{current}"), &rfc3339(self.store.now()), true).await;
        // A failed refresh is harmless: while the store takes no writes, no values are made either.
        if known.is_some() { Ok(()) } else { marked }
    }

    /// Reloads the look-up keys, refreshes the recorded use of the current master key, and counts keys that this
    /// process lacks.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let meta = self.load_look_up_keys().await?;
        self.record_key_use(&self.keys, &meta).await?;
        self.masters.store(Arc::new(recorded_masters(&meta).map(|(one, at)| (one.to_owned(), at)).collect()));
        let missing = self.missing_masters(&meta).count() + usize::from(self.gate.missing_key().is_some());
        self.metrics.keys_missing.set(i64::try_from(missing).unwrap_or(i64::MAX));
        Ok(())
    }

    /// State of the keys, for operators.
    pub(crate) fn status(&self) -> KeysStatus {
        let known = self.look_ups.load();
        KeysStatus {
            look_up: known.as_ref().map_or(0, |known| known.number),
            look_up_since: known.as_ref().map(|known| rfc3339(known.since)),
            previous_until: known.as_ref().and_then(|known| known.until).map(rfc3339),
            requested: self.requested(),
            missing: self.missing_key(),
            masters: self.master_statuses(self.masters.load().iter().map(|(one, at)| (one.as_str(), *at))),
        }
    }

    /// Status of the master keys, by last use, the latest first.
    fn master_statuses<'a>(&self, makers: impl Iterator<Item = (&'a str, Timestamp)>) -> Vec<MasterStatus> {
        let (ours, now, life) = (self.keys.fingerprints(), self.store.now(), self.look_up_lifetime());
        let status = |(fingerprint, at): (&str, Timestamp)| MasterStatus {
            fingerprint: short_fingerprint(fingerprint).to_owned(),
            current: ours.first().is_some_and(|own| own == fingerprint),
            present: ours.iter().any(|own| own == fingerprint),
            needed_until: rfc3339(at + life),
            removable: now >= at + life,
        };
        let mut masters: Vec<(Timestamp, MasterStatus)> = makers.map(|maker| (maker.1, status(maker))).collect();
        masters.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        masters.into_iter().map(|(_, master)| master).collect()
    }

    /// The number of the look-up key that this process uses; 0 if none is loaded yet.
    pub(crate) fn look_up_number(&self) -> u32 {
        self.look_ups.load().as_ref().map_or(0, |known| known.number)
    }

    /// Which key this process lacks, so that it can find nothing while other replicas can.
    pub fn missing_key(&self) -> Option<String> {
        self.gate.missing_key().map(|why| why.as_str().to_owned())
    }

    /// Fails while this process lacks a key that may have made the value. To be called before a value is reported as
    /// unknown.
    pub(super) async fn check_complete(&self, cx: &RequestContext) -> Result<(), StoreError> {
        // Boxed because it is rare, and would otherwise enlarge the future of every request.
        Box::pin(self.compare_with_store(cx)).await
    }

    async fn compare_with_store(&self, cx: &RequestContext) -> Result<(), StoreError> {
        let meta = cx.store.meta().await?;
        match self.missing_masters(&meta).next() {
            None => Ok(()),
            Some(fingerprint) => Err(StoreError::Unavailable(format!(
                "other replicas make with a key (fingerprint {}) that key_file does not have here",
                short_fingerprint(fingerprint)
            ))),
        }
    }

    fn missing_masters<'a>(&self, meta: &'a Meta) -> impl Iterator<Item = &'a str> {
        let ours = self.keys.fingerprints();
        let instances = self.instances.all();
        let longest = instances.iter().map(|instance| instance.config.longest_life()).max();
        let longest = SignedDuration::try_from(longest.unwrap_or(Duration::ZERO)).unwrap_or(SignedDuration::MAX);
        let since = self.store.now() - USE_RESOLUTION - LATE_DELIVERY_TOLERANCE - longest;
        recorded_masters(meta)
            .filter(move |(fingerprint, at)| *at > since && !ours.iter().any(|own| own == fingerprint))
            .map(|(fingerprint, _)| fingerprint)
    }
}

/// Master keys that are or were in use, by fingerprint, with the time of their last recorded use.
fn recorded_masters(meta: &Meta) -> impl Iterator<Item = (&str, Timestamp)> {
    meta.iter().filter_map(|(name, at)| Some((name.strip_prefix(MASTER_PREFIX)?, at.parse().ok()?)))
}

/// The part of a fingerprint that is shown to people.
fn short_fingerprint(fingerprint: &str) -> &str {
    fingerprint.get(..8).unwrap_or(fingerprint)
}

/// Error for a store whose keys are sealed with master keys that this process does not have.
fn unknown_keys_error<'a>(masters: impl Iterator<Item = &'a str>) -> StoreError {
    let known: Vec<&str> = masters.map(short_fingerprint).collect();
    StoreError::Misconfigured(format!(
        "this store was made with other keys (fingerprints {}): none of them is in key or key_file. Add one of them as a \
         further line of key_file, or start with an empty store",
        known.join(", ")
    ))
}
