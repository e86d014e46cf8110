//! The stored timeline of a record: for each entry the milliseconds since creation, the event and the reason. Actors
//! are stored separately with the index of their entry, because few entries have one.

use jiff::Timestamp;

use super::{
    fields::{put_bytes, put_number, take_bytes, take_number},
    unzigzag, word, zigzag,
};
use crate::domain::{Verification, time::from_millis, verification::Entry};

/// The timeline of a record to which nothing has happened.
pub(super) fn default(created_at: Timestamp) -> Vec<Entry> {
    vec![Entry::new(created_at, "created", None)]
}

pub(super) fn is_default(record: &Verification) -> bool {
    matches!(record.timeline.as_slice(), [Entry { at, what, reason: None, .. }] if *at == record.created_at && what == "created")
}

pub(super) fn write(record: &Verification) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Entry { at, what, reason, .. } in &record.timeline {
        put_number(&mut bytes, zigzag(at.as_millisecond() - record.created_at.as_millisecond()));
        put_bytes(&mut bytes, what.as_bytes());
        put_bytes(&mut bytes, reason.map_or("", |reason| reason.as_str()).as_bytes());
    }
    bytes
}

pub(super) fn read(mut bytes: &[u8], created_at: Timestamp) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let at = created_at.as_millisecond().checked_add(unzigzag(take_number(&mut bytes)?))?;
        let what = String::from_utf8_lossy(take_bytes(&mut bytes)?).into_owned();
        let reason = match take_bytes(&mut bytes)? {
            [] => None,
            reason => Some(word(std::str::from_utf8(reason).ok()?)?),
        };
        entries.push(Entry::new(from_millis(at), what, reason));
    }
    Some(entries)
}

/// Empty if no entry has an actor.
pub(super) fn write_names(record: &Verification) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, entry) in record.timeline.iter().enumerate() {
        if let Some(by) = &entry.by {
            put_number(&mut bytes, place as u64);
            put_bytes(&mut bytes, by.as_bytes());
        }
    }
    bytes
}

pub(super) fn read_names(mut bytes: &[u8], entries: &mut [Entry]) -> Option<()> {
    while !bytes.is_empty() {
        let place = usize::try_from(take_number(&mut bytes)?).ok()?;
        let by = String::from_utf8_lossy(take_bytes(&mut bytes)?).into_owned();
        entries.get_mut(place)?.by = Some(by);
    }
    Some(())
}
