//! Delivery receipts of gateways: when a gateway accepts a code, its message id is stored, so that later receipts can
//! be matched to the verification.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        InstanceId, KeyRing, VerificationId,
        keys::Digest,
        sent_code::{CodeCommand, DeliveryReport, SentCode},
    },
    gateway::{DeliveryReceipt, ReceiptStatus, stable_id},
    random,
    service::{
        Environment, Instance, Instances, ReplicaHealth, RequestContext, ServiceError,
        keys::KeyState,
        verifications::{Loaded, Verifications},
    },
    store::{Change, RecordChange, RecordId, StoreError},
};

/// Receipts may arrive a little after the code has expired.
const RECEIPT_TOLERANCE: Duration = Duration::from_mins(10);
/// Delays between look-ups: a fast gateway sends its receipt before the message id is stored.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(850)];

/// The message of a code that a message carries, stored under the message's id.
#[derive(Serialize, Deserialize)]
pub struct SentMessage {
    pub instance: InstanceId,
    #[serde(rename = "about")]
    pub verification: VerificationId,
    #[serde(rename = "leg")]
    pub message: usize,
}

/// The delivery of codes, as gateways report it.
pub struct Deliveries {
    keys: Arc<KeyRing>,
    key_state: Arc<KeyState>,
    instances: Arc<Instances>,
    health: Arc<ReplicaHealth>,
    verifications: Arc<Verifications>,
    /// Number of codes that this process is currently handing to a gateway.
    in_flight: AtomicUsize,
}

/// A code is being handed to a gateway.
pub struct CodeInFlight<'a>(&'a AtomicUsize);

impl Drop for CodeInFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Deliveries {
    pub(super) fn new(env: &Environment, key_state: Arc<KeyState>, verifications: Arc<Verifications>) -> Self {
        Self {
            keys: Arc::clone(&env.keys),
            key_state,
            instances: Arc::clone(&env.instances),
            health: Arc::clone(&env.health),
            verifications,
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Records a delivery report. Ignored if the code no longer exists.
    pub async fn record_report(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        about: VerificationId,
        message: usize,
        report: DeliveryReport,
    ) -> Result<(), ServiceError> {
        let applied = async {
            let (version, record) = self.verifications.load_as(cx, about).await?;
            let loaded = Loaded { instance: Arc::clone(instance), record, version };
            self.verifications.apply::<SentCode>(cx, loaded, CodeCommand::Report { message, report }, None).await
        };
        match applied.await {
            Ok(_) | Err(ServiceError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Counts a code as being handed to a gateway, until the result is dropped.
    pub fn begin(&self) -> CodeInFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        CodeInFlight(&self.in_flight)
    }

    /// Stores which code a message carries. `carrier` is the instance whose gateway accepted the message.
    pub async fn store_sent_message(
        &self,
        cx: &RequestContext,
        carrier: &Instance,
        message_id: &str,
        sent: &SentMessage,
        expires_at: Timestamp,
    ) -> Result<(), ServiceError> {
        let json = serde_json::to_vec(sent).expect("a sent message has only string keys");
        let until = expires_at.max(cx.now()) + RECEIPT_TOLERANCE;
        let locations = self.sent_message_ids(carrier, message_id);
        let mut change = Change::new(locations[0].1.partition());
        change.records.extend(locations.into_iter().map(|(digest, id)| {
            RecordChange::new(id, 0, self.keys.seal(&context(digest), &json, random::bytes()), until)
        }));
        // If the message id is stored already, it keeps its first value.
        let _ = cx.store.commit(&change).await?;
        Ok(())
    }

    /// Applies a receipt to the code it belongs to. Receipts for replies, and for messages that others sent from this
    /// number, match nothing and are ignored.
    pub(super) async fn apply_receipt(
        &self,
        cx: &RequestContext,
        carrier: &Instance,
        receipt: &DeliveryReceipt,
    ) -> Result<(), ServiceError> {
        let mut found = self.sent_message(cx, carrier, &receipt.message_id).await?;
        for pause in RETRY_DELAYS {
            if found.is_some() || self.in_flight.load(Ordering::Relaxed) == 0 {
                break;
            }
            tokio::time::sleep(pause).await;
            found = self.sent_message(cx, carrier, &receipt.message_id).await?;
        }
        let Some(SentMessage { instance, verification: about, message }) = found else { return Ok(()) };
        let Some(owner) = self.instances.get(instance) else { return Ok(()) };
        let report = match receipt.status {
            ReceiptStatus::Accepted => DeliveryReport::Accepted,
            ReceiptStatus::Delivered => DeliveryReport::Delivered,
            ReceiptStatus::Failed(refusal) => DeliveryReport::Undelivered(refusal.into()),
        };
        self.record_report(cx, &owner, about, message, report).await
    }

    /// Where a message id is stored: all in one partition, independent of the look-up keys in use.
    fn sent_message_ids(&self, carrier: &Instance, message_id: &str) -> Vec<(Digest, RecordId)> {
        let (id, message) = (carrier.config.id, stable_id(message_id));
        let at = |digest: Digest| RecordId::new(*digest.as_bytes());
        let partition = at(self.keys.permanent_digest("sent", id, message.as_bytes())).partition();
        let owner = self.keys.look_up("sent", id, message.as_bytes());
        owner.all().map(|digest| (digest, at(digest).within(partition))).collect()
    }

    async fn sent_message(
        &self,
        cx: &RequestContext,
        carrier: &Instance,
        message_id: &str,
    ) -> Result<Option<SentMessage>, ServiceError> {
        for (digest, id) in self.sent_message_ids(carrier, message_id) {
            let Some(stored) = cx.store.load(id).await? else { continue };
            let Ok(json) = self.keys.open(&context(digest), &stored.bytes) else {
                self.key_state.check_complete(cx).await?;
                self.health.report_unreadable(
                    carrier,
                    "record",
                    &StoreError::Sealed("the record of a sent message".to_owned()),
                );
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
