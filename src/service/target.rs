//! The record of one chat: which of its codes counts, and how often somebody was wrong.

use jiff::Timestamp;

use super::{Instance, RequestContext, Service, ServiceError};
use crate::{
    domain::{
        Partition, Subject,
        keys::{Digest, Unsealable},
        target::Target,
    },
    random,
    store::{RecordChange, RecordId, StoreError, StoredRecord},
};

/// A chat as it was read. Whoever writes it has compared the versions.
pub(super) struct Aimed {
    pub(super) target: Target,
    places: Vec<Place>,
}

/// A place that the chat's record is kept in: one, and while the look-up key is being changed two.
struct Place {
    digest: Digest,
    id: RecordId,
    version: u64,
}

impl Service {
    /// Where everything about one chat's codes is kept, so that one commit can write it.
    pub(super) fn target_partition(&self, instance: &Instance, subject: &Subject) -> Partition {
        self.keys.subject_partition(instance.config.id, subject)
    }

    /// A chat that nobody has sent a code to is an empty one. Of two records the one that was written last counts: a
    /// replica that knows one look-up key writes one of them.
    pub(super) async fn target(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        subject: &Subject,
    ) -> Result<Aimed, ServiceError> {
        let whose = self.keys.look_up("target", instance.config.id, subject.canonical().as_bytes());
        let partition = self.target_partition(instance, subject);
        let (mut target, mut last, mut places) = (Target::default(), 0, Vec::new());
        for digest in whose.all() {
            let id = RecordId::new(*digest.as_bytes()).within(partition);
            let stored = cx.store.load(id).await?;
            let version = stored.as_ref().map_or(0, |stored| stored.version);
            if let Some(stored) = stored.filter(|stored| stored.version > last) {
                (target, last) = (self.read_target(cx, instance, digest, &stored).await?, version);
            }
            places.push(Place { digest, id, version });
        }
        Ok(Aimed { target, places })
    }

    async fn read_target(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        digest: Digest,
        stored: &StoredRecord,
    ) -> Result<Target, StoreError> {
        match self.keys.open(&context(digest), &stored.bytes) {
            Ok(json) => {
                serde_json::from_slice(&json).map_err(|error| StoreError::Corrupt(format!("a chat's record: {error}")))
            }
            // What a removed key made is lost, and the codes it speaks of with it.
            Err(Unsealable) => {
                self.all_keys_known(cx).await?;
                self.unreadable(instance, "record", &StoreError::Sealed("a chat's record".to_owned()));
                Ok(Target::default())
            }
        }
    }

    /// What `aimed` has become. It is kept as long as the record it points to, and as long as a guess counts.
    pub(super) fn target_changes(&self, aimed: Aimed, retain_until: Timestamp, now: Timestamp) -> Vec<RecordChange> {
        let json = serde_json::to_vec(&aimed.target).expect("a target has only string keys");
        let until = retain_until.max(aimed.target.matters_until(now));
        let change = |Place { digest, id, version }| {
            RecordChange::new(id, version, self.keys.seal(&context(digest), &json, random::bytes()), until)
        };
        aimed.places.into_iter().map(change).collect()
    }
}

fn context(digest: Digest) -> String {
    format!("target:{}", digest.hex())
}
