//! People whose phone number is hidden, and who were asked to share it. Which link they wrote for is kept until the link
//! expires, so that their answer, which holds no code, continues it.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{Subject, TypedVerification, Verification, VerificationId, keys::Digest, link::Link},
    gateway::WebhookEvent,
    random,
    service::{Inbound, Instance, RequestContext, ServiceError},
    store::{Change, RecordChange, RecordId},
};

/// The link that a person wrote for.
#[derive(Serialize, Deserialize)]
struct AwaitedNumber {
    verification: VerificationId,
    /// Whether the message differed from the prefilled text.
    text_changed: bool,
}

impl Inbound {
    /// Remembers the link if the gateway can ask this person to share the number.
    pub(super) async fn await_number(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        event: &WebhookEvent,
        record: &Verification<Link>,
        text_changed: bool,
    ) -> Result<(), ServiceError> {
        let Some(bsuid) = event.sender.bsuid() else { return Ok(()) };
        let (chat, subject) = (event.chat_id.as_deref().unwrap_or_default(), Subject::Bsuid(bsuid.to_owned()));
        if instance.gateway.contact_request(chat, Some(&subject), "").is_none() {
            return Ok(());
        }
        let awaited = AwaitedNumber { verification: record.id, text_changed };
        let json = serde_json::to_vec(&awaited).expect("an awaited number has only string keys");
        let (digest, id) = self.awaited_number_id(instance, bsuid);
        let version = cx.store.load(id).await?.map_or(0, |stored| stored.version);
        let bytes = self.keys.seal(&context(digest), &json, random::bytes());
        let mut change = Change::new(id.partition());
        change.records.push(RecordChange::new(id, version, bytes, record.expires_at));
        // Of two messages at once, either may be the one that the answer continues.
        let _ = cx.store.commit(&change).await?;
        Ok(())
    }

    /// The message that `event` continues: the prefilled text of the link for which the number was asked.
    pub(super) async fn continued_message(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        event: &WebhookEvent,
    ) -> Result<Option<WebhookEvent>, ServiceError> {
        let Some(bsuid) = event.sender.bsuid().filter(|_| event.shared_number) else { return Ok(None) };
        let (digest, id) = self.awaited_number_id(instance, bsuid);
        let Some(stored) = cx.store.load(id).await? else { return Ok(None) };
        let awaited = self.keys.open(&context(digest), &stored.bytes).ok();
        let awaited = awaited.and_then(|json| serde_json::from_slice::<AwaitedNumber>(&json).ok());
        let Some(AwaitedNumber { verification, text_changed }) = awaited else { return Ok(None) };
        let record = match self.verifications.record(cx, verification, None).await.map(Verification::into_typed) {
            Ok(TypedVerification::Link(record)) => record,
            Ok(TypedVerification::Code(_)) | Err(ServiceError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(code) = record.link_code(&self.keys) else { return Ok(None) };
        let text = if text_changed { format!("[{}]", code.as_str()) } else { instance.prefilled(&record, &code) };
        Ok(Some(WebhookEvent { ignored: None, text: Some(text), ..event.clone() }))
    }

    fn awaited_number_id(&self, instance: &Instance, bsuid: &str) -> (Digest, RecordId) {
        let digest = self.keys.permanent_digest("awaited-number", instance.config.id, bsuid.as_bytes());
        (digest, RecordId::new(*digest.as_bytes()))
    }
}

fn context(digest: Digest) -> String {
    format!("awaited-number:{}", digest.hex())
}
