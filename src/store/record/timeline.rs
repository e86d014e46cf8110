//! The stored timeline of a record: for each entry the milliseconds since creation, the event and the reason. Actors
//! are stored separately with the index of their entry, because few entries have one.

use jiff::Timestamp;

use super::{
    fields::{put_bytes, put_number, take_bytes, take_number},
    unzigzag, word, zigzag,
};
use crate::domain::{
    Verification,
    time::from_millis,
    timeline::{TimelineEntry, TimelineEvent},
};

/// The timeline of a record to which nothing has happened.
pub(super) fn default(created_at: Timestamp) -> Vec<TimelineEntry> {
    vec![TimelineEntry::new(created_at, TimelineEvent::Created, None)]
}

pub(super) fn is_default<K>(record: &Verification<K>) -> bool {
    matches!(
        record.timeline.as_slice(),
        [TimelineEntry { at, event: TimelineEvent::Created, reason: None, .. }] if *at == record.created_at
    )
}

pub(super) fn write<K>(record: &Verification<K>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for TimelineEntry { at, event, reason, .. } in &record.timeline {
        put_number(&mut bytes, zigzag(at.as_millisecond() - record.created_at.as_millisecond()));
        put_bytes(&mut bytes, event.text().as_bytes());
        put_bytes(&mut bytes, reason.map_or("", |reason| reason.as_str()).as_bytes());
    }
    bytes
}

pub(super) fn read(mut bytes: &[u8], created_at: Timestamp) -> Option<Vec<TimelineEntry>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let at = created_at.as_millisecond().checked_add(unzigzag(take_number(&mut bytes)?))?;
        let event = TimelineEvent::parse(&String::from_utf8_lossy(take_bytes(&mut bytes)?));
        let reason = match take_bytes(&mut bytes)? {
            [] => None,
            reason => Some(word(std::str::from_utf8(reason).ok()?)?),
        };
        entries.push(TimelineEntry::new(from_millis(at), event, reason));
    }
    Some(entries)
}

/// Empty if no entry has an actor.
pub(super) fn write_names<K>(record: &Verification<K>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, entry) in record.timeline.iter().enumerate() {
        if let Some(by) = &entry.by {
            put_number(&mut bytes, place as u64);
            put_bytes(&mut bytes, by.as_bytes());
        }
    }
    bytes
}

pub(super) fn read_names(mut bytes: &[u8], entries: &mut [TimelineEntry]) -> Option<()> {
    while !bytes.is_empty() {
        let place = usize::try_from(take_number(&mut bytes)?).ok()?;
        let by = String::from_utf8_lossy(take_bytes(&mut bytes)?).into_owned();
        entries.get_mut(place)?.by = Some(by);
    }
    Some(())
}
