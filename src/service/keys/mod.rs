//! The keys of a fleet: which of them a store knows, and what a process must not conclude that lacks one.
//!
//! The store's meta names every master key that makes (`key:FINGERPRINT`, with the time it last did, to the minute), and
//! holds the keys of look-ups ([`look_ups`]).

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

use self::look_ups::Known;
use super::{RequestContext, Service};
use crate::{
    domain::{KeyRing, Verification, time::rfc3339},
    store::{KeyGate, StoreError, StoredRecord},
};

const MAKES: &str = "key:";
/// How often a key is marked as one that makes, at least.
const MARK: SignedDuration = SignedDuration::from_mins(1);
/// What a key made may come back so long after its end: the slack of gateways.
const SLACK: SignedDuration = SignedDuration::from_mins(10);

type Meta = HashMap<String, String>;

/// What this process knows of the keys that the store names.
#[derive(Default)]
pub struct KeyState {
    /// Shut while this process lacks a key that it needs to find anything.
    pub gate: KeyGate,
    /// The number of the look-up key that the configuration asks for.
    asked: AtomicU32,
    pub(super) look_ups: ArcSwapOption<Known>,
    makers: ArcSwap<Vec<(String, Timestamp)>>,
}

/// The keys that the store names, as this replica last read of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct KeysStatus {
    /// The number of the look-up key in use; 0 while it is not known.
    pub look_up: u32,
    pub look_up_since: Option<String>,
    /// The key before it is used as well until then; `null` when no change is under way.
    pub previous_until: Option<String>,
    /// `look_up_key_number` of the configuration.
    pub asked: u32,
    /// What is missing in `key_file`, so that this replica can find nothing.
    pub lacks: Option<String>,
    /// The latest first.
    pub masters: Vec<MasterStatus>,
}

/// A master key that has made something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MasterStatus {
    pub fingerprint: String,
    /// Of this replica.
    pub makes: bool,
    /// It is in `key_file`.
    pub here: bool,
    /// What it made can be asked for until then.
    pub needed_until: String,
    /// That time is over: it can be removed.
    pub over: bool,
}

impl KeyState {
    /// Asks for the look-up key of this number. A higher one than the store's is made; nothing follows from a lower one.
    pub fn ask_for(&self, number: u32) {
        self.asked.store(number, Ordering::Relaxed);
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Service {
    /// Makes the keys of this process known to all, and learns the keys of look-ups. A store made with other keys is
    /// [`StoreError::Misconfigured`].
    pub async fn prepare_keys(&self) -> Result<(), StoreError> {
        let meta = self.learn_look_ups().await?;
        self.mark(&self.keys, &meta).await?;
        let lacks = self.masters(makers(&meta)).into_iter().filter(|master| !master.here && !master.over);
        for MasterStatus { fingerprint, needed_until, .. } in lacks {
            tracing::warn!(fingerprint, needed_until, "key_file lacks a key; what it made is lost");
        }
        Ok(())
    }

    /// Takes up other keys: they read at once, and make when every replica can know of it.
    pub async fn take_up_keys(&self, next: &KeyRing) -> Result<(), StoreError> {
        self.keys.read_with(next);
        // With all of them, also with the key that is about to go: what it opens is sealed now with one that stays.
        let meta = self.learn_look_ups().await?;
        self.seal_look_ups(next, &meta).await?;
        self.mark(next, &meta).await?;
        self.keys.replace(next);
        Ok(())
    }

    /// Notes that the current key makes.
    async fn mark(&self, ring: &KeyRing, meta: &Meta) -> Result<(), StoreError> {
        let Some(current) = ring.fingerprints().into_iter().next() else { return Ok(()) };
        let known = makers(meta).find(|(fingerprint, _)| *fingerprint == current).map(|(_, at)| at);
        if known.is_some_and(|at| self.now().duration_since(at) < MARK) {
            return Ok(());
        }
        let marked = self.store.set_meta(&format!("{MAKES}{current}"), &rfc3339(self.now()), true).await;
        // While no write is taken nothing is made either.
        if known.is_some() { Ok(()) } else { marked }
    }

    /// Learns of changed keys, marks the current one again when it is time, and counts those that this process lacks.
    pub(crate) async fn watch_keys(&self) -> Result<(), StoreError> {
        let meta = self.learn_look_ups().await?;
        self.mark(&self.keys, &meta).await?;
        self.key_state.makers.store(Arc::new(makers(&meta).map(|(one, at)| (one.to_owned(), at)).collect()));
        let lacks = self.lacking(&meta).count() + usize::from(self.key_state.gate.lacks().is_some());
        self.metrics.keys_missing.set(i64::try_from(lacks).unwrap_or(i64::MAX));
        Ok(())
    }

    /// For operators.
    pub(crate) fn keys_status(&self) -> KeysStatus {
        let known = self.key_state.look_ups.load();
        KeysStatus {
            look_up: known.as_ref().map_or(0, |known| known.number),
            look_up_since: known.as_ref().map(|known| rfc3339(known.since)),
            previous_until: known.as_ref().and_then(|known| known.until).map(rfc3339),
            asked: self.key_state.asked(),
            lacks: self.lacks_key(),
            masters: self.masters(self.key_state.makers.load().iter().map(|(one, at)| (one.as_str(), *at))),
        }
    }

    /// The master keys that make, or made.
    fn masters<'a>(&self, makers: impl Iterator<Item = (&'a str, Timestamp)>) -> Vec<MasterStatus> {
        let (ours, now, life) = (self.keys.fingerprints(), self.now(), self.look_up_life());
        let status = |(fingerprint, at): (&str, Timestamp)| MasterStatus {
            fingerprint: short(fingerprint).to_owned(),
            makes: ours.first().is_some_and(|own| own == fingerprint),
            here: ours.iter().any(|own| own == fingerprint),
            needed_until: rfc3339(at + life),
            over: now >= at + life,
        };
        let mut masters: Vec<(Timestamp, MasterStatus)> = makers.map(|maker| (maker.1, status(maker))).collect();
        masters.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        masters.into_iter().map(|(_, master)| master).collect()
    }

    /// Which key this process lacks so that it can find nothing while others can.
    pub fn lacks_key(&self) -> Option<String> {
        self.key_state.gate.lacks().map(|why| why.as_str().to_owned())
    }

    /// Before something is called unknown: fails while a key that this process lacks may have made it.
    pub(super) async fn all_keys_known(&self, cx: &RequestContext) -> Result<(), StoreError> {
        // Rare, and every request would carry it.
        Box::pin(self.compare_keys(cx)).await
    }

    async fn compare_keys(&self, cx: &RequestContext) -> Result<(), StoreError> {
        let meta = cx.store.meta().await?;
        match self.lacking(&meta).next() {
            None => Ok(()),
            Some(fingerprint) => Err(StoreError::Unavailable(format!(
                "other replicas make with a key (fingerprint {}) that key_file does not have here",
                short(fingerprint)
            ))),
        }
    }

    fn lacking<'a>(&self, meta: &'a Meta) -> impl Iterator<Item = &'a str> {
        let ours = self.keys.fingerprints();
        let instances = self.instances.all();
        let longest = instances.iter().map(|instance| instance.config.longest_life()).max();
        let longest = SignedDuration::try_from(longest.unwrap_or(Duration::ZERO)).unwrap_or(SignedDuration::MAX);
        let since = self.now() - MARK - SLACK - longest;
        makers(meta)
            .filter(move |(fingerprint, at)| *at > since && !ours.iter().any(|own| own == fingerprint))
            .map(|(fingerprint, _)| fingerprint)
    }

    /// As [`Service::decode`]. What a key has sealed that this process lacks can be read later, or elsewhere.
    pub(super) async fn read(&self, cx: &RequestContext, stored: &StoredRecord) -> Result<Verification, StoreError> {
        match self.decode(stored) {
            Ok(record) => Ok(record),
            Err(error) => {
                self.all_keys_known(cx).await?;
                Err(error)
            }
        }
    }
}

/// Keys that have made something, by fingerprint, and when they last did.
fn makers(meta: &Meta) -> impl Iterator<Item = (&str, Timestamp)> {
    meta.iter().filter_map(|(name, at)| Some((name.strip_prefix(MAKES)?, at.parse().ok()?)))
}

/// As much of a fingerprint as people are shown.
fn short(fingerprint: &str) -> &str {
    fingerprint.get(..8).unwrap_or(fingerprint)
}

/// A store whose keys are sealed with master keys that this process does not have.
fn other_keys<'a>(masters: impl Iterator<Item = &'a str>) -> StoreError {
    let known: Vec<&str> = masters.map(short).collect();
    StoreError::Misconfigured(format!(
        "this store was made with other keys (fingerprints {}): none of them is in key or key_file. Add one of them as a \
         further line of key_file, or start with an empty store",
        known.join(", ")
    ))
}
