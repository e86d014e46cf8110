//! The record of one chat: which of its codes is active, and how many wrong codes were tried.
//!
//! Validation writes it in the same commit as the code's record, so both live in the chat's partition.

use jiff::Timestamp;

use crate::{
    domain::{
        Partition, Subject,
        chat_state::ChatState,
        keys::{Digest, OpenError},
    },
    random,
    service::{Codes, Instance, RequestContext, ServiceError},
    store::{RecordChange, RecordId, StoreError, StoredRecord},
};

/// A chat's record as it was read. Its versions make a write fail after a concurrent change.
pub(super) struct VersionedChatState {
    pub(in crate::service) state: ChatState,
    copies: Vec<StoredCopy>,
}

/// A location of a chat's record: there is one, or two while the look-up key is being rotated.
struct StoredCopy {
    digest: Digest,
    id: RecordId,
    version: u64,
}

impl Codes {
    /// The partition of all records about a chat's codes, so that one commit can write them.
    pub(super) fn chat_partition(&self, instance: &Instance, subject: &Subject) -> Partition {
        self.keys.subject_partition(instance.config.id, subject)
    }

    /// Reads a chat's record; a chat without one gets an empty record. If there are two, the one written last counts,
    /// because a replica that knows only one look-up key writes only one of them.
    pub(super) async fn load_chat_state(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        subject: &Subject,
    ) -> Result<VersionedChatState, ServiceError> {
        let owner = self.keys.look_up("target", instance.config.id, subject.canonical().as_bytes());
        let partition = self.chat_partition(instance, subject);
        let (mut state, mut last, mut copies) = (ChatState::default(), 0, Vec::new());
        for digest in owner.all() {
            let id = RecordId::new(*digest.as_bytes()).within(partition);
            let stored = cx.store.load(id).await?;
            let version = stored.as_ref().map_or(0, |stored| stored.version);
            if let Some(stored) = stored.filter(|stored| stored.version > last) {
                (state, last) = (self.read_chat_state(cx, instance, digest, &stored).await?, version);
            }
            copies.push(StoredCopy { digest, id, version });
        }
        Ok(VersionedChatState { state, copies })
    }

    async fn read_chat_state(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        digest: Digest,
        stored: &StoredRecord,
    ) -> Result<ChatState, StoreError> {
        match self.keys.open(&context(digest), &stored.bytes) {
            Ok(json) => {
                serde_json::from_slice(&json).map_err(|error| StoreError::Corrupt(format!("a chat's record: {error}")))
            }
            // A record sealed with a removed key is lost, and the codes it refers to are lost with it.
            Err(OpenError) => {
                self.key_state.check_complete(cx).await?;
                self.health.report_unreadable(instance, "record", &StoreError::Sealed("a chat's record".to_owned()));
                Ok(ChatState::default())
            }
        }
    }

    /// The writes that store `versioned`. It is kept as long as the code's record, and as long as wrong codes count.
    pub(super) fn chat_state_changes(
        &self,
        versioned: VersionedChatState,
        retain_until: Timestamp,
        now: Timestamp,
    ) -> Vec<RecordChange> {
        let json = serde_json::to_vec(&versioned.state).expect("a chat state has only string keys");
        let until = retain_until.max(versioned.state.retain_until(now));
        let change = |StoredCopy { digest, id, version }| {
            RecordChange::new(id, version, self.keys.seal(&context(digest), &json, random::bytes()), until)
        };
        versioned.copies.into_iter().map(change).collect()
    }
}

fn context(digest: Digest) -> String {
    format!("target:{}", digest.hex())
}
