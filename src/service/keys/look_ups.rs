//! The keys of look-ups: which of them the store names, and how one takes the place of another.
//!
//! The store's meta holds each as `look-up.N`, of which the highest is current, and the one that never changes as
//! `permanent`. An entry is written whole by one replica and never changed: when it was made, until when the one before it
//! is used as well, its name, and its secret, sealed with the master key that this replica makes with. One that makes with
//! another adds `look-up.N:FINGERPRINT`. Each step is one write that takes effect once, so a process may die between any two.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    super::{Service, timers},
    Meta,
};
use crate::{
    domain::{
        KeyRing,
        look_up::{LookUpKey, LookUpKeys},
        target::FAILURES_KEPT,
    },
    random,
    store::{MESSAGE_ID_RETENTION, StoreError},
};

const PERMANENT: &str = "permanent";
const NUMBERED: &str = "look-up.";
/// What the key of all look-ups was stored under by builds that could not change it.
const FORMER: &str = "look-up";
/// How much later than the others a replica may learn of a change.
const LATE: SignedDuration = SignedDuration::from_hours(24);

#[derive(Serialize, Deserialize)]
struct Entry {
    at: Timestamp,
    /// Until then the key before this one is used as well.
    until: Timestamp,
    name: String,
    /// Fingerprint of the master key that opens `sealed`.
    master: String,
    /// In base64.
    sealed: String,
}

/// The current key, as this process last read of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::service) struct Known {
    pub(in crate::service) number: u32,
    pub(in crate::service) since: Timestamp,
    /// The key before it is used as well until then; `None` when it is not any more.
    pub(in crate::service) until: Option<Timestamp>,
}

/// A key that none of this process' master keys opens.
struct Lacking {
    field: String,
    number: u32,
    at: Timestamp,
    masters: Vec<String>,
}

impl Lacking {
    fn words(&self) -> String {
        let masters: Vec<&str> = self.masters.iter().map(|one| super::short(one)).collect();
        let masters = masters.join(", ");
        format!(
            "the key {} is sealed with master keys that key_file does not have here (fingerprints {masters})",
            self.field
        )
    }
}

impl Service {
    /// Reads which keys look-ups are made with, and uses them. Makes those that are missing, and the next one when the
    /// configuration asks for it.
    pub(super) async fn learn_look_ups(&self) -> Result<Meta, StoreError> {
        let meta = self.begin(self.store.meta().await?).await?;
        match self.read_look_ups(&meta) {
            Ok((keys, known)) => {
                self.keys.use_look_ups(&keys);
                self.seal_look_ups(&self.keys, &meta).await?;
                self.forget_former(&meta, &known).await?;
                self.note_look_ups(known);
            }
            Err(lacking) => self.lack_look_ups(&lacking)?,
        }
        Ok(meta)
    }

    /// Writes the entries that have to be there.
    async fn begin(&self, meta: Meta) -> Result<Meta, StoreError> {
        let (now, own) = (self.now(), self.key_state.look_ups.load_full());
        let in_use = self.keys.look_ups();
        let mut made: Vec<(String, Arc<LookUpKey>, Timestamp)> = Vec::new();
        if !meta.contains_key(PERMANENT) {
            let key = if own.is_some() { Arc::clone(&in_use.permanent) } else { self.first_key(&meta)? };
            made.push((PERMANENT.to_owned(), key, now));
        }
        let asked = self.key_state.asked();
        match (entries(&meta).next_back(), own) {
            (None, None) => made.push((field(asked), self.first_key(&meta)?, now)),
            (None, Some(own)) => made.push((field(own.number), in_use.current, now)),
            // The store went back to a time before the change.
            (Some((number, _)), Some(own)) if own.number > number => {
                made.push((field(own.number), in_use.current, now + self.look_up_life()));
            }
            (Some((number, entry)), _) if asked > number && now >= entry.until => {
                let key = Arc::new(LookUpKey::new(random::bytes()));
                made.push((field(asked), key, now + self.look_up_life()));
            }
            (Some(_), _) => {}
        }
        if made.is_empty() {
            return Ok(meta);
        }
        for (field, key, until) in made {
            let (master, sealed) = seal(&self.keys, &field, &key);
            let entry = Entry { at: now, until, name: key.name(), master, sealed };
            let entry = serde_json::to_string(&entry).expect("an entry has only string keys");
            self.store.set_meta(&field, &entry, false).await?;
        }
        // Where several replicas began, one has written the entry that counts.
        self.store.meta().await
    }

    /// Of a store that has none.
    fn first_key(&self, meta: &Meta) -> Result<Arc<LookUpKey>, StoreError> {
        let Some(name) = meta.get(FORMER) else { return Ok(Arc::new(LookUpKey::new(random::bytes()))) };
        let sealed = meta.iter().filter(|(field, _)| field.starts_with("look-up:")).map(|(_, text)| text);
        let opened = sealed.filter_map(|text| self.keys.open_key(FORMER, &STANDARD.decode(text).ok()?).map(Arc::new));
        let known = opened.chain([self.keys.look_ups().current]).find(|key| key.name() == *name);
        known.ok_or_else(|| super::other_keys(super::makers(meta).map(|(fingerprint, _)| fingerprint)))
    }

    fn read_look_ups(&self, meta: &Meta) -> Result<(LookUpKeys, Known), Lacking> {
        let mut all = entries(meta);
        let (Some((number, entry)), Some(permanent)) = (all.next_back(), read(meta, PERMANENT)) else {
            let masters = Vec::new();
            return Err(Lacking { field: PERMANENT.to_owned(), number: 0, at: self.now(), masters });
        };
        let until = Some(entry.until).filter(|until| self.now() < *until);
        let previous = all.next_back().filter(|_| until.is_some());
        let keys = LookUpKeys {
            permanent: self.open_entry(meta, PERMANENT, 0, &permanent)?,
            current: self.open_entry(meta, &field(number), number, &entry)?,
            previous: match &previous {
                Some((former, previous)) => Some(self.open_entry(meta, &field(*former), number, previous)?),
                None => None,
            },
        };
        Ok((keys, Known { number, since: entry.at, until: previous.and(until) }))
    }

    fn open_entry(&self, meta: &Meta, field: &str, number: u32, entry: &Entry) -> Result<Arc<LookUpKey>, Lacking> {
        let LookUpKeys { permanent, current, previous } = self.keys.look_ups();
        let in_use = [Some(permanent), Some(current), previous];
        if let Some(known) = in_use.into_iter().flatten().find(|key| key.name() == entry.name) {
            return Ok(known);
        }
        let added = added(meta, field).map(|(_, sealed)| sealed);
        let opened = std::iter::once(entry.sealed.as_str()).chain(added).find_map(|sealed| {
            self.keys.open_key(field, &STANDARD.decode(sealed).ok()?).filter(|key| key.name() == entry.name)
        });
        opened.map(Arc::new).ok_or_else(|| {
            let masters =
                std::iter::once(entry.master.as_str()).chain(self::added(meta, field).map(|(master, _)| master));
            let masters = masters.map(str::to_owned).collect();
            Lacking { field: field.to_owned(), number, at: entry.at, masters }
        })
    }

    /// Lets those who make with the same key as `ring` read what is read here.
    pub(super) async fn seal_look_ups(&self, ring: &KeyRing, meta: &Meta) -> Result<(), StoreError> {
        let LookUpKeys { permanent, current, previous } = self.keys.look_ups();
        let in_use: Vec<Arc<LookUpKey>> = [permanent, current].into_iter().chain(previous).collect();
        let numbered = entries(meta).map(|(number, entry)| (field(number), entry));
        let permanent = read(meta, PERMANENT).map(|entry| (PERMANENT.to_owned(), entry));
        for (field, entry) in permanent.into_iter().chain(numbered) {
            let Some(key) = in_use.iter().find(|key| key.name() == entry.name) else { continue };
            let (master, sealed) = seal(ring, &field, key);
            let place = format!("{field}:{master}");
            if entry.master != master && !meta.contains_key(&place) {
                self.store.set_meta(&place, &sealed, false).await?;
            }
        }
        Ok(())
    }

    fn note_look_ups(&self, known: Known) {
        let ends = known.until.map_or(0, Timestamp::as_second);
        self.metrics.look_up_change_ends_timestamp_seconds.set(ends);
        let before = self.key_state.look_ups.swap(Some(Arc::new(known)));
        if before.as_deref() != Some(&known) {
            let Known { number, since, until } = known;
            let until = until.map(tracing::field::display);
            tracing::info!(number, %since, until, "the key of look-ups; `until` then the one before it is used as well");
        }
        self.key_state.gate.open();
    }

    /// While no other replica uses a key that is lacking here, what this one finds and writes under the one before is
    /// right: all do, for some time yet.
    fn lack_look_ups(&self, lacking: &Lacking) -> Result<(), StoreError> {
        let Some(own) = self.key_state.look_ups.load_full() else {
            return Err(super::other_keys(lacking.masters.iter().map(String::as_str)));
        };
        if self.is_used_by_others(lacking.number) || self.now() >= lacking.at + LATE {
            self.key_state.gate.shut(lacking.words());
        } else {
            tracing::warn!(number = own.number, "{}; look-ups go on with the one before", lacking.words());
        }
        Ok(())
    }

    /// Drops the secrets of keys that nothing is found by any more.
    async fn forget_former(&self, meta: &Meta, known: &Known) -> Result<(), StoreError> {
        let used = 1 + usize::from(known.until.is_some());
        for (number, _) in entries(meta).rev().skip(used) {
            let own = field(number);
            let more = format!("{own}:");
            for former in meta.keys().filter(|name| **name == own || name.starts_with(&more)) {
                self.store.set_meta(former, "", true).await?;
            }
            tracing::info!(number, "this key of look-ups is used no more, and is forgotten");
        }
        Ok(())
    }

    /// How long something may be looked for that was stored under one key alone.
    pub(super) fn look_up_life(&self) -> SignedDuration {
        let whole = |duration: Duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        let instances = self.instances.all();
        let of_instances = instances.iter().map(|instance| {
            let config = &instance.config;
            let stays = whole(config.longest_life() + config.retention.max(config.retention_unused)) + timers::LATEST;
            stays.max(config.codes.locked_for.unwrap_or_default())
        });
        of_instances.fold(whole(MESSAGE_ID_RETENTION).max(FAILURES_KEPT), SignedDuration::max) + LATE
    }
}

/// With the key that makes, whose fingerprint comes first; in base64.
fn seal(ring: &KeyRing, field: &str, key: &LookUpKey) -> (String, String) {
    let master = ring.fingerprints().swap_remove(0);
    (master, STANDARD.encode(ring.seal_key(field, key, random::bytes())))
}

fn field(number: u32) -> String {
    format!("{NUMBERED}{number}")
}

/// What is forgotten leaves an empty text.
fn read(meta: &Meta, field: &str) -> Option<Entry> {
    serde_json::from_str(meta.get(field)?).ok()
}

/// By number, the current one last.
fn entries(meta: &Meta) -> impl DoubleEndedIterator<Item = (u32, Entry)> {
    let numbered = |name: &String| Some((name.strip_prefix(NUMBERED)?.parse().ok()?, read(meta, name)?));
    let all: BTreeMap<u32, Entry> = meta.keys().filter_map(numbered).collect();
    all.into_iter()
}

/// What replicas with other master keys have added, by master key.
fn added<'a>(meta: &'a Meta, field: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let prefix = format!("{field}:");
    meta.iter().filter_map(move |(name, sealed)| Some((name.strip_prefix(&prefix)?, sealed.as_str())))
}
