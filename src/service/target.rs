//! The record of one chat: which of its codes counts, and how often somebody was wrong.

use jiff::Timestamp;

use super::{Instance, Service, ServiceError};
use crate::{
    domain::{
        Partition, Subject,
        keys::{Digest, Unsealable},
        target::Target,
    },
    random,
    store::{RecordChange, RecordId, StoreError},
};

/// A chat as it was read. Whoever writes it has compared the version.
pub(super) struct Aimed {
    pub(super) target: Target,
    digest: Digest,
    id: RecordId,
    version: u64,
}

impl Service {
    fn target_digest(&self, instance: &Instance, subject: &Subject) -> Digest {
        self.keys.look_up("target", instance.config.id, subject.canonical().as_bytes())
    }

    /// Where everything about one chat's codes is kept, so that one commit can write it.
    pub(super) fn target_partition(&self, instance: &Instance, subject: &Subject) -> Partition {
        self.keys.subject_partition(instance.config.id, subject)
    }

    /// A chat that nobody has sent a code to is an empty one.
    pub(super) async fn target(&self, instance: &Instance, subject: &Subject) -> Result<Aimed, ServiceError> {
        let digest = self.target_digest(instance, subject);
        let partition = self.target_partition(instance, subject);
        let id = RecordId::new(*digest.as_bytes()).within(partition);
        let Some(stored) = self.store.load(id).await? else {
            return Ok(Aimed { target: Target::default(), digest, id, version: 0 });
        };
        let target = match self.keys.open(&context(digest), &stored.bytes) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|error| StoreError::Corrupt(format!("a chat's record: {error}")))?,
            // What a removed key made is lost, and the codes it speaks of with it.
            Err(Unsealable) => {
                self.all_keys_known().await?;
                self.unreadable(instance, "record", &StoreError::Sealed("a chat's record".to_owned()));
                Target::default()
            }
        };
        Ok(Aimed { target, digest, id, version: stored.version })
    }

    /// What `aimed` has become. It is kept as long as the record it points to, and as long as a guess counts.
    pub(super) fn target_change(&self, aimed: Aimed, retain_until: Timestamp, now: Timestamp) -> RecordChange {
        let Aimed { target, digest, id, version } = aimed;
        let json = serde_json::to_vec(&target).expect("a target has only string keys");
        let bytes = self.keys.seal(&context(digest), &json, random::bytes());
        RecordChange::new(id, version, bytes, retain_until.max(target.matters_until(now)))
    }
}

fn context(digest: Digest) -> String {
    format!("target:{}", digest.hex())
}
