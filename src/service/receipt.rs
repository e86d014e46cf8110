//! Delivery receipts of gateways: when a gateway accepts a code, its message id is stored, so that later receipts can
//! be matched to the verification.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Instance, Outcome, RequestContext, Service, ServiceError};
use crate::{
    domain::{InstanceId, VerificationId, keys::Digest, sent_code::DeliveryReport},
    gateway::{DeliveryReceipt, IgnoreReason, ReceiptStatus, stable_id},
    random,
    store::{Change, RecordChange, RecordId, StoreError},
};

/// Receipts may arrive a little after the code has expired.
const SLACK: Duration = Duration::from_mins(10);
/// Delays between look-ups: a fast gateway sends its receipt before the message id is stored.
const PATIENCE: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(850)];

/// The leg of a code that a message carries, stored under the message's id.
#[derive(Serialize, Deserialize)]
pub struct SentLeg {
    pub instance: InstanceId,
    pub about: VerificationId,
    pub leg: usize,
}

impl Service {
    /// Stores which leg a message carries. `carrier` is the instance whose gateway accepted the message.
    pub async fn remember_message(
        &self,
        cx: &RequestContext,
        carrier: &Instance,
        message_id: &str,
        sent: &SentLeg,
        expires_at: Timestamp,
    ) -> Result<(), ServiceError> {
        let json = serde_json::to_vec(sent).expect("a sent leg has only string keys");
        let until = expires_at.max(self.now()) + SLACK;
        let places = self.places_of_message(carrier, message_id);
        let mut change = Change::new(places[0].1.partition());
        change.records.extend(places.into_iter().map(|(digest, id)| {
            RecordChange::new(id, 0, self.keys.seal(&context(digest), &json, random::bytes()), until)
        }));
        // If the message id is stored already, it keeps its first value.
        let _ = cx.store.commit(&change).await?;
        Ok(())
    }

    /// Applies a receipt to the code it belongs to. Receipts for replies, and for messages that others sent from this
    /// number, match nothing and are ignored.
    pub(super) async fn report(
        &self,
        cx: &RequestContext,
        carrier: &Instance,
        receipt: &DeliveryReceipt,
    ) -> Result<Outcome, ServiceError> {
        let ignored = Outcome::Ignored(IgnoreReason::Status);
        let mut found = self.sent_leg(cx, carrier, &receipt.message_id).await?;
        for pause in PATIENCE {
            if found.is_some() || self.codes_on_their_way() == 0 {
                break;
            }
            tokio::time::sleep(pause).await;
            found = self.sent_leg(cx, carrier, &receipt.message_id).await?;
        }
        let Some(SentLeg { instance, about, leg }) = found else { return Ok(ignored) };
        let Some(owner) = self.instances.get(instance) else { return Ok(ignored) };
        let report = match receipt.status {
            ReceiptStatus::Accepted => DeliveryReport::Accepted,
            ReceiptStatus::Delivered => DeliveryReport::Delivered,
            ReceiptStatus::Failed(refusal) => DeliveryReport::Undelivered(refusal.into()),
        };
        self.fared(cx, &owner, about, leg, report).await?;
        Ok(ignored)
    }

    /// Where a message id is stored: all in one partition, independent of the look-up keys in use.
    fn places_of_message(&self, carrier: &Instance, message_id: &str) -> Vec<(Digest, RecordId)> {
        let (id, message) = (carrier.config.id, stable_id(message_id));
        let at = |digest: Digest| RecordId::new(*digest.as_bytes());
        let partition = at(self.keys.permanent("sent", id, message.as_bytes())).partition();
        let whose = self.keys.look_up("sent", id, message.as_bytes());
        whose.all().map(|digest| (digest, at(digest).within(partition))).collect()
    }

    async fn sent_leg(
        &self,
        cx: &RequestContext,
        carrier: &Instance,
        message_id: &str,
    ) -> Result<Option<SentLeg>, ServiceError> {
        for (digest, id) in self.places_of_message(carrier, message_id) {
            let Some(stored) = cx.store.load(id).await? else { continue };
            let Ok(json) = self.keys.open(&context(digest), &stored.bytes) else {
                self.all_keys_known(cx).await?;
                self.unreadable(carrier, "record", &StoreError::Sealed("the record of a sent message".to_owned()));
                continue;
            };
            let broken = |error| StoreError::Corrupt(format!("the record of a sent message: {error}"));
            return Ok(Some(serde_json::from_slice(&json).map_err(broken)?));
        }
        Ok(None)
    }
}

fn context(digest: Digest) -> String {
    format!("sent:{}", digest.hex())
}
