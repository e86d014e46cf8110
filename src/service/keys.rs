//! The keys of a fleet: which of them a store knows, and what a process must not conclude that lacks one.
//!
//! The store's meta names every key that makes (`key:FINGERPRINT`, with the time it last did, to the minute), and the
//! key of look-ups (`look-up`), which it holds sealed with every other key (`look-up:ID`).

use std::{collections::HashMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};

use super::Service;
use crate::{
    domain::{KeyRing, Verification, time::rfc3339},
    random,
    store::{StoreError, StoredRecord, other_keys},
};

const MAKES: &str = "key:";
const LOOK_UP: &str = "look-up";
/// How often a key is marked as one that makes, at least.
const MARK: SignedDuration = SignedDuration::from_mins(1);
/// What a key made may come back so long after its end: the slack of gateways.
const SLACK: SignedDuration = SignedDuration::from_mins(10);

impl Service {
    /// Makes the keys of this process known to all, and learns the key of look-ups. A store made with other keys is
    /// [`StoreError::Misconfigured`].
    pub async fn prepare_keys(&self) -> Result<(), StoreError> {
        self.announce_keys(&self.keys).await
    }

    /// Takes up other keys: they read at once, and make when every replica can know of it.
    pub async fn take_up_keys(&self, next: &KeyRing) -> Result<(), StoreError> {
        self.keys.read_with(next);
        // Also those of the key that is about to go: what is sealed now is opened with what stays.
        self.announce_keys(&self.keys).await?;
        self.announce_keys(next).await?;
        self.keys.replace(next);
        Ok(())
    }

    async fn announce_keys(&self, ring: &KeyRing) -> Result<(), StoreError> {
        let meta = self.store.meta().await?;
        let name = match meta.get(LOOK_UP) {
            Some(name) => name.clone(),
            None => {
                self.store.set_meta(LOOK_UP, &ring.look_up_name(), false).await?;
                // Whoever was first has named it.
                self.store.meta().await?.remove(LOOK_UP).unwrap_or_default()
            }
        };
        let sealed = meta.iter().filter(|(field, _)| field.starts_with("look-up:"));
        let known = ring.look_up_name() == name
            || sealed
                .filter_map(|(_, text)| STANDARD.decode(text).ok())
                .any(|sealed| ring.open_look_up(&name, &sealed));
        if !known {
            return Err(other_keys(makers(&meta).map(|(fingerprint, _)| fingerprint)));
        }
        for (id, sealed) in ring.sealed_look_up(random::bytes) {
            let field = format!("{LOOK_UP}:{id:?}");
            if !meta.contains_key(&field) {
                self.store.set_meta(&field, &STANDARD.encode(&sealed), false).await?;
            }
        }
        self.mark(ring, &meta).await
    }

    /// Notes that the current key makes.
    async fn mark(&self, ring: &KeyRing, meta: &HashMap<String, String>) -> Result<(), StoreError> {
        let Some(current) = ring.fingerprints().into_iter().next() else { return Ok(()) };
        let known = makers(meta).find(|(fingerprint, _)| *fingerprint == current).map(|(_, at)| at);
        if known.is_some_and(|at| self.now().duration_since(at) < MARK) {
            return Ok(());
        }
        let marked = self.store.set_meta(&format!("{MAKES}{current}"), &rfc3339(self.now()), true).await;
        // While no write is taken nothing is made either.
        if known.is_some() { Ok(()) } else { marked }
    }

    /// Marks the current key again when it is time, and counts the keys that others make with and this process lacks.
    pub(super) async fn watch_keys(&self) -> Result<(), StoreError> {
        let meta = self.store.meta().await?;
        self.mark(&self.keys, &meta).await?;
        let lacks = self.lacking(&meta).count();
        self.metrics.keys_missing.set(i64::try_from(lacks).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Before something is called unknown: fails while a key that this process lacks may have made it.
    pub(super) async fn all_keys_known(&self) -> Result<(), StoreError> {
        // Rare, and every request would carry it.
        Box::pin(self.compare_keys()).await
    }

    async fn compare_keys(&self) -> Result<(), StoreError> {
        let meta = self.store.meta().await?;
        match self.lacking(&meta).next() {
            None => Ok(()),
            Some(fingerprint) => Err(StoreError::Unavailable(format!(
                "other replicas make with a key (fingerprint {}) that key_file does not have here",
                fingerprint.get(..8).unwrap_or(fingerprint)
            ))),
        }
    }

    fn lacking<'a>(&self, meta: &'a HashMap<String, String>) -> impl Iterator<Item = &'a str> {
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
    pub(super) async fn read(&self, stored: &StoredRecord) -> Result<Verification, StoreError> {
        match self.decode(stored) {
            Ok(record) => Ok(record),
            Err(error) => {
                self.all_keys_known().await?;
                Err(error)
            }
        }
    }
}

/// Keys that have made something, by fingerprint, and when they last did.
fn makers(meta: &HashMap<String, String>) -> impl Iterator<Item = (&str, Timestamp)> {
    meta.iter().filter_map(|(name, at)| Some((name.strip_prefix(MAKES)?, at.parse().ok()?)))
}
