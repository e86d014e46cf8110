//! What a gateway tells of a code it took: from the message's id to the verification it was for.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Instance, Outcome, Service, ServiceError};
use crate::{
    domain::{Command, InstanceId, VerificationId, decide_code::CodeCommand, keys::Digest},
    gateway::{DeliveryReceipt, ReceiptStatus, stable_id},
    random,
    store::{Change, RecordChange, RecordId, StoreError},
};

/// Reports come a little later than the code lives.
const SLACK: Duration = Duration::from_mins(10);
/// A quick gateway reports before we have noted the message's id.
const PATIENCE: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(850)];

/// What a message's id leads to.
#[derive(Serialize, Deserialize)]
struct Pointer {
    instance: InstanceId,
    about: VerificationId,
    leg: usize,
}

impl Service {
    /// Remembers which message carries a leg. `carrier` is the instance whose gateway took it.
    pub async fn remember_message(
        &self,
        carrier: &Instance,
        message_id: &str,
        instance: InstanceId,
        about: VerificationId,
        leg: usize,
        expires_at: Timestamp,
    ) -> Result<(), ServiceError> {
        let digest = self.message_key(carrier, message_id);
        let pointer = Pointer { instance, about, leg };
        let json = serde_json::to_vec(&pointer).expect("a pointer has only string keys");
        let now = self.now();
        let bytes = self.keys.seal(&context(digest), &json, random::bytes());
        let record = RecordChange::new(digest_id(digest), 0, bytes, expires_at.max(now) + SLACK);
        // A message that is known already leads where it did.
        let _ = self.store.commit(&Change::of(record)).await?;
        Ok(())
    }

    /// Moves a code on. Reports about replies, and about what others sent from this number, lead nowhere.
    pub(super) async fn report(&self, carrier: &Instance, receipt: &DeliveryReceipt) -> Result<Outcome, ServiceError> {
        let ignored = Outcome::Ignored("status");
        let digest = self.message_key(carrier, &receipt.message_id);
        let mut found = self.pointer(carrier, digest).await?;
        for pause in PATIENCE {
            if found.is_some() || self.codes_on_their_way() == 0 {
                break;
            }
            tokio::time::sleep(pause).await;
            found = self.pointer(carrier, digest).await?;
        }
        let Some(Pointer { instance, about, leg }) = found else { return Ok(ignored) };
        let Some(owner) = self.instances.get(instance) else { return Ok(ignored) };
        let command = match receipt.status {
            ReceiptStatus::Accepted => CodeCommand::Accepted { leg },
            ReceiptStatus::Delivered => CodeCommand::Delivered { leg },
            ReceiptStatus::Failed(refusal) => CodeCommand::Undelivered { leg, why: refusal.as_str() },
        };
        match self.apply(&owner, about, None, Command::Code(command), None).await {
            Ok(_) | Err(ServiceError::NotFound) => Ok(ignored),
            Err(error) => Err(error),
        }
    }

    fn message_key(&self, carrier: &Instance, message_id: &str) -> Digest {
        self.keys.look_up("sent", carrier.config.id, stable_id(message_id).as_bytes())
    }

    async fn pointer(&self, carrier: &Instance, digest: Digest) -> Result<Option<Pointer>, ServiceError> {
        let Some(stored) = self.store.load(digest_id(digest)).await? else { return Ok(None) };
        let Ok(json) = self.keys.open(&context(digest), &stored.bytes) else {
            self.all_keys_known().await?;
            self.unreadable(carrier, "record", &StoreError::Sealed("the record of a sent message".to_owned()));
            return Ok(None);
        };
        let broken = |error| StoreError::Corrupt(format!("the record of a sent message: {error}"));
        Ok(Some(serde_json::from_slice(&json).map_err(broken)?))
    }
}

fn digest_id(digest: Digest) -> RecordId {
    RecordId::new(*digest.as_bytes())
}

fn context(digest: Digest) -> String {
    format!("sent:{}", digest.hex())
}
