//! The look-up keys: how the store holds them, and how one replaces another.
//!
//! The store's meta holds them as `look-up.N`, of which the highest number is current, and `permanent`, which never
//! changes. One replica writes an entry, sealed with its current master key, and the entry stays as it is until its key
//! is forgotten. A replica with another current master key adds a sealed copy as `look-up.N:FINGERPRINT`. Each step is
//! one write that takes effect once, so a process may crash between any two.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{super::retention, KeyState, Meta};
use crate::{
    domain::{
        KeyRing,
        chat_state::FAILURES_RETENTION,
        look_up::{LookUpKey, LookUpKeys},
    },
    random,
    store::{MESSAGE_ID_RETENTION, StoreError},
};

const PERMANENT: &str = "permanent";
const NUMBERED: &str = "look-up.";
/// Field of the only look-up key in earlier builds, which could not change it.
const LEGACY_FIELD: &str = "look-up";
/// How much later than the others a replica may learn of a change.
const REPLICA_LAG: SignedDuration = SignedDuration::from_hours(24);

#[derive(Serialize, Deserialize)]
struct MetaEntry {
    at: Timestamp,
    /// Until then, the previous key is used as well.
    until: Timestamp,
    name: String,
    /// Fingerprint of the master key that opens `sealed`.
    master: String,
    /// Base64.
    sealed: String,
}

/// The current look-up key, as last read by this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::service) struct CurrentLookUpKey {
    pub(in crate::service) number: u32,
    pub(in crate::service) since: Timestamp,
    /// Until then, the previous key is used as well; `None` if it no longer is.
    pub(in crate::service) until: Option<Timestamp>,
}

/// A look-up key that none of this process's master keys opens.
struct MissingLookUpKey {
    field: String,
    number: u32,
    at: Timestamp,
    masters: Vec<String>,
}

impl MissingLookUpKey {
    fn message(&self) -> String {
        let masters: Vec<&str> = self.masters.iter().map(|one| super::short_fingerprint(one)).collect();
        let masters = masters.join(", ");
        format!(
            "the key {} is sealed with master keys that key_file does not have here (fingerprints {masters})",
            self.field
        )
    }
}

impl KeyState {
    /// Reads the look-up keys from the store and uses them. Creates missing ones first, and the next one if the
    /// configuration asks for it.
    pub(super) async fn load_look_up_keys(&self) -> Result<Meta, StoreError> {
        let meta = self.create_missing_entries(self.store.meta().await?).await?;
        match self.read_look_up_keys(&meta) {
            Ok((keys, known)) => {
                self.keys.set_look_up_keys(&keys);
                self.seal_look_up_keys(&self.keys, &meta).await?;
                self.delete_former(&meta, &known).await?;
                self.adopt_look_up_key(known);
            }
            Err(lacking) => self.handle_missing_key(&lacking)?,
        }
        Ok(meta)
    }

    /// Writes missing entries. Returns the meta as stored afterwards.
    async fn create_missing_entries(&self, meta: Meta) -> Result<Meta, StoreError> {
        let (now, own) = (self.store.now(), self.look_ups.load_full());
        let in_use = self.keys.look_up_keys();
        let mut made: Vec<(String, Arc<LookUpKey>, Timestamp)> = Vec::new();
        if !meta.contains_key(PERMANENT) {
            let key = if own.is_some() { Arc::clone(&in_use.permanent) } else { self.first_key(&meta)? };
            made.push((PERMANENT.to_owned(), key, now));
        }
        let asked = self.requested();
        match (entries(&meta).next_back(), own) {
            (None, None) => made.push((field(asked), self.first_key(&meta)?, now)),
            (None, Some(own)) => made.push((field(own.number), in_use.current, now)),
            // The store was restored to a state before the change.
            (Some((number, _)), Some(own)) if own.number > number => {
                made.push((field(own.number), in_use.current, now + self.look_up_lifetime()));
            }
            (Some((number, entry)), _) if asked > number && now >= entry.until => {
                let key = Arc::new(LookUpKey::new(random::bytes()));
                made.push((field(asked), key, now + self.look_up_lifetime()));
            }
            (Some(_), _) => {}
        }
        if made.is_empty() {
            return Ok(meta);
        }
        for (field, key, until) in made {
            let (master, sealed) = seal(&self.keys, &field, &key);
            let entry = MetaEntry { at: now, until, name: key.name(), master, sealed };
            let entry = serde_json::to_string(&entry).expect("an entry has only string keys");
            self.store.set_meta(&field, &entry, false).await?;
        }
        // If several replicas wrote an entry, only the first write took effect.
        self.store.meta().await
    }

    /// The first look-up key of a store: the one of an earlier build if there is one, else a new one.
    fn first_key(&self, meta: &Meta) -> Result<Arc<LookUpKey>, StoreError> {
        let Some(name) = meta.get(LEGACY_FIELD) else { return Ok(Arc::new(LookUpKey::new(random::bytes()))) };
        let sealed = meta.iter().filter(|(field, _)| field.starts_with("look-up:")).map(|(_, text)| text);
        let opened =
            sealed.filter_map(|text| self.keys.open_key(LEGACY_FIELD, &STANDARD.decode(text).ok()?).map(Arc::new));
        let known = opened.chain([self.keys.look_up_keys().current]).find(|key| key.name() == *name);
        known
            .ok_or_else(|| super::unknown_keys_error(super::recorded_masters(meta).map(|(fingerprint, _)| fingerprint)))
    }

    fn read_look_up_keys(&self, meta: &Meta) -> Result<(LookUpKeys, CurrentLookUpKey), MissingLookUpKey> {
        let mut all = entries(meta);
        let (Some((number, entry)), Some(permanent)) = (all.next_back(), read(meta, PERMANENT)) else {
            let masters = Vec::new();
            return Err(MissingLookUpKey { field: PERMANENT.to_owned(), number: 0, at: self.store.now(), masters });
        };
        let until = Some(entry.until).filter(|until| self.store.now() < *until);
        let previous = all.next_back().filter(|_| until.is_some());
        let keys = LookUpKeys {
            permanent: self.open_entry(meta, PERMANENT, 0, &permanent)?,
            current: self.open_entry(meta, &field(number), number, &entry)?,
            previous: match &previous {
                Some((former, previous)) => Some(self.open_entry(meta, &field(*former), number, previous)?),
                None => None,
            },
        };
        Ok((keys, CurrentLookUpKey { number, since: entry.at, until: previous.and(until) }))
    }

    fn open_entry(
        &self,
        meta: &Meta,
        field: &str,
        number: u32,
        entry: &MetaEntry,
    ) -> Result<Arc<LookUpKey>, MissingLookUpKey> {
        let LookUpKeys { permanent, current, previous } = self.keys.look_up_keys();
        let in_use = [Some(permanent), Some(current), previous];
        if let Some(known) = in_use.into_iter().flatten().find(|key| key.name() == entry.name) {
            return Ok(known);
        }
        let added = sealed_copies(meta, field).map(|(_, sealed)| sealed);
        let opened = std::iter::once(entry.sealed.as_str()).chain(added).find_map(|sealed| {
            self.keys.open_key(field, &STANDARD.decode(sealed).ok()?).filter(|key| key.name() == entry.name)
        });
        opened.map(Arc::new).ok_or_else(|| {
            let masters = std::iter::once(entry.master.as_str())
                .chain(self::sealed_copies(meta, field).map(|(master, _)| master));
            let masters = masters.map(str::to_owned).collect();
            MissingLookUpKey { field: field.to_owned(), number, at: entry.at, masters }
        })
    }

    /// Adds copies sealed with the current key of `ring`, so that every replica that has this key can read the look-up
    /// keys.
    pub(super) async fn seal_look_up_keys(&self, ring: &KeyRing, meta: &Meta) -> Result<(), StoreError> {
        let LookUpKeys { permanent, current, previous } = self.keys.look_up_keys();
        let in_use: Vec<Arc<LookUpKey>> = [permanent, current].into_iter().chain(previous).collect();
        let numbered = entries(meta).map(|(number, entry)| (field(number), entry));
        let permanent = read(meta, PERMANENT).map(|entry| (PERMANENT.to_owned(), entry));
        for (field, entry) in permanent.into_iter().chain(numbered) {
            let Some(key) = in_use.iter().find(|key| key.name() == entry.name) else { continue };
            let (master, sealed) = seal(ring, &field, key);
            let copy = format!("{field}:{master}");
            if entry.master != master && !meta.contains_key(&copy) {
                self.store.set_meta(&copy, &sealed, false).await?;
            }
        }
        Ok(())
    }

    fn adopt_look_up_key(&self, known: CurrentLookUpKey) {
        let ends = known.until.map_or(0, Timestamp::as_second);
        self.metrics.look_up_change_ends_timestamp_seconds.set(ends);
        let before = self.look_ups.swap(Some(Arc::new(known)));
        if before.is_some_and(|before| *before != known) {
            let CurrentLookUpKey { number, since, until } = known;
            let until = until.map(tracing::field::display);
            tracing::info!(number, %since, until, "another look-up key is in use; if `until` is set, the previous one is used as well until then");
        }
        self.gate.open();
    }

    /// Closes the gate if another replica uses the missing key, or may use it by now. Before that, look-ups with the
    /// previous key are correct, because all replicas still use it.
    fn handle_missing_key(&self, lacking: &MissingLookUpKey) -> Result<(), StoreError> {
        let Some(own) = self.look_ups.load_full() else {
            return Err(super::unknown_keys_error(lacking.masters.iter().map(String::as_str)));
        };
        let now = self.store.now();
        if self.health.is_used_by_others(lacking.number, now) || now >= lacking.at + REPLICA_LAG {
            self.gate.close(lacking.message());
        } else {
            tracing::warn!(number = own.number, "{}; the previous look-up key stays in use", lacking.message());
        }
        Ok(())
    }

    /// Deletes the secrets of look-up keys that are no longer used.
    async fn delete_former(&self, meta: &Meta, known: &CurrentLookUpKey) -> Result<(), StoreError> {
        let used = 1 + usize::from(known.until.is_some());
        for (number, _) in entries(meta).rev().skip(used) {
            let own = field(number);
            let more = format!("{own}:");
            for former in meta.keys().filter(|name| **name == own || name.starts_with(&more)) {
                self.store.set_meta(former, "", true).await?;
            }
            tracing::info!(number, "a replaced look-up key is no longer needed and was deleted from the store");
        }
        Ok(())
    }

    /// How long a value that was stored under a single look-up key may still be looked up.
    pub(super) fn look_up_lifetime(&self) -> SignedDuration {
        let whole = |duration: Duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        let instances = self.instances.all();
        let of_instances = instances.iter().map(|instance| {
            let config = &instance.config;
            let stays = whole(config.longest_life() + config.retention.max(config.retention_unused))
                + retention::MAX_TIMER_DELAY;
            stays.max(config.codes.locked_for.unwrap_or_default())
        });
        of_instances.fold(whole(MESSAGE_ID_RETENTION).max(FAILURES_RETENTION), SignedDuration::max) + REPLICA_LAG
    }
}

/// Seals `key` with the current master key of `ring`. Returns the fingerprint of that master key, and the sealed key in
/// base64.
fn seal(ring: &KeyRing, field: &str, key: &LookUpKey) -> (String, String) {
    let master = ring.fingerprints().swap_remove(0);
    (master, STANDARD.encode(ring.seal_key(field, key, random::bytes())))
}

fn field(number: u32) -> String {
    format!("{NUMBERED}{number}")
}

/// `None` also for a forgotten entry, which is empty.
fn read(meta: &Meta, field: &str) -> Option<MetaEntry> {
    serde_json::from_str(meta.get(field)?).ok()
}

/// Entries by number, the current one last.
fn entries(meta: &Meta) -> impl DoubleEndedIterator<Item = (u32, MetaEntry)> {
    let numbered = |name: &String| Some((name.strip_prefix(NUMBERED)?.parse().ok()?, read(meta, name)?));
    let all: BTreeMap<u32, MetaEntry> = meta.keys().filter_map(numbered).collect();
    all.into_iter()
}

/// Copies added by replicas with other master keys: fingerprint and sealed key.
fn sealed_copies<'a>(meta: &'a Meta, field: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let prefix = format!("{field}:");
    meta.iter().filter_map(move |(name, sealed)| Some((name.strip_prefix(&prefix)?, sealed.as_str())))
}
