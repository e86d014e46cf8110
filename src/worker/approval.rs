//! One attempt to send the message that asks for an approval.

use super::{Worker, reply};
use crate::{
    domain::{Chat, TypedVerification, Verification},
    jobs::{payload::ApprovalJob, permits::Permit},
    service::{Instance, ServiceError},
    store::{LeasedJob, Settlement},
};

pub(super) async fn send(
    worker: &Worker,
    instance: &Instance,
    leased: &LeasedJob,
    permit: &Permit,
    ApprovalJob { verification }: ApprovalJob,
    known: Option<&Verification>,
) -> Result<Settlement, ServiceError> {
    let services = &worker.services;
    let found = services.shared.verifications.record(&worker.cx, verification, known).await;
    let record = match found.map(Verification::into_typed) {
        Ok(TypedVerification::Link(record)) if record.status(services.env.store.now()).is_open() => record,
        // It has ended or was erased, so there is nothing to ask.
        Ok(TypedVerification::Link(_) | TypedVerification::Code(_)) | Err(ServiceError::NotFound) => {
            return Ok(Settlement::Done);
        }
        Err(error) => return Err(error),
    };
    let subject = record.request.chat.as_ref().map(Chat::subject);
    let text = record.link_code(&services.env.keys).and_then(|code| instance.question(&record, &code));
    // Without the key that derived the code, no answer can match.
    let (Some(subject), Some(text)) = (subject, text) else { return Ok(Settlement::Done) };
    let request = instance.gateway.text_message(&instance.gateway.recipient(subject), Some(subject), &text);
    reply::deliver(worker, instance, leased, permit, request, record.expires_at).await
}
