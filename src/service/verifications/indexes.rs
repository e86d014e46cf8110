//! The change that writes a record, and the lists that name the record.

use super::Verifications;
use crate::{
    domain::{Chat, Kind, Subject, Verification},
    service::{Instance, retention},
    store::{Change, Index, RecordChange, record},
};

impl Verifications {
    /// The change that writes `record` over `version`; version 0 creates it.
    pub(super) fn record_change<K: Kind>(
        &self,
        instance: &Instance,
        record: &Verification<K>,
        version: u64,
    ) -> RecordChange {
        let retain_until = retention::removed_at(instance, record) + retention::MAX_TIMER_DELAY;
        let bytes = record::encode(&self.keys, record);
        RecordChange { created_at: record.created_at, ..RecordChange::new(record.id, version, bytes, retain_until) }
    }

    pub(in crate::service) fn creation_change<K: Kind>(&self, instance: &Instance, record: &Verification<K>) -> Change {
        let mut change = self.record_change(instance, record, 0);
        change.timer = Some(record.expires_at);
        change.indexes = self.indexes(instance, record);
        Change::of(change).starting()
    }

    /// The lists that contain a record. After erasure the record no longer yields the lists of its chat and client
    /// reference.
    pub(in crate::service) fn indexes<K: Kind>(&self, instance: &Instance, record: &Verification<K>) -> Vec<Index> {
        let requested_chat = record.request.chat.as_ref().map(Chat::subject);
        let chat = requested_chat.or_else(|| record.proof().map(|proof| &proof.subject));
        let client_ref = record.request.client_ref.as_ref();
        [Index::all(instance.config.id)]
            .into_iter()
            .chain(chat.into_iter().flat_map(|chat| self.chat_indexes(instance, chat)))
            .chain(client_ref.into_iter().flat_map(|client_ref| self.ref_indexes(instance, client_ref)))
            .collect()
    }

    pub(super) fn ref_indexes(&self, instance: &Instance, client_ref: &str) -> Vec<Index> {
        Index::by("ref", self.keys.look_up("ref", instance.config.id, client_ref.as_bytes()))
    }

    pub(in crate::service) fn chat_indexes(&self, instance: &Instance, subject: &Subject) -> Vec<Index> {
        Index::by("chat", self.keys.look_up("chat", instance.config.id, subject.canonical().as_bytes()))
    }
}
