//! The request bodies of Meta's messages, which some providers relay unchanged.

use serde_json::{Value, json};

use super::ButtonMessage;
use crate::domain::{Sender, Subject};

/// The recipient for a subject that may not have written: digits, or the user id.
pub(super) fn recipient_of(subject: &Subject) -> String {
    match subject {
        Subject::Phone(phone) => phone.digits().to_owned(),
        other => other.chat_id(),
    }
}

/// The request body of a text message.
pub(super) fn text_body(chat_id: &str, subject: Option<&Subject>, text: &str) -> Value {
    addressed(chat_id, subject, "text", &json!({ "preview_url": false, "body": text }))
}

/// The request body of a message whose button shares the phone number of a person who hides it; `None` if the person's
/// number is known. Source: developers.facebook.com/docs/whatsapp/business-scoped-user-ids.
pub(super) fn contact_request_body(chat_id: &str, subject: Option<&Subject>, text: &str) -> Option<Value> {
    let interactive = json!({
        "type": "request_contact_info",
        "body": { "text": text },
        "action": { "name": "request_contact_info" },
    });
    let hidden = matches!(subject, Some(Subject::Bsuid(_))) && text.chars().count() <= MAX_BODY;
    hidden.then(|| addressed(chat_id, subject, "interactive", &interactive))
}

/// The request body of a message with a button; `None` if the text is too long for one. Source:
/// developers.facebook.com/docs/whatsapp/cloud-api/messages/interactive-cta-url-messages.
pub(super) fn button_body(chat_id: &str, subject: Option<&Subject>, message: &ButtonMessage<'_>) -> Option<Value> {
    let interactive = json!({
        "type": "cta_url",
        "body": { "text": message.text },
        "action": { "name": "cta_url", "parameters": { "display_text": message.label, "url": message.url } },
    });
    let fits = message.text.chars().count() <= MAX_BODY;
    fits.then(|| addressed(chat_id, subject, "interactive", &interactive))
}

/// The maximum length of the body of an interactive message, in characters.
const MAX_BODY: usize = 1024;

fn addressed(chat_id: &str, subject: Option<&Subject>, kind: &str, content: &Value) -> Value {
    let mut message = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "type": kind,
        kind: content,
    });
    // A chat that began while the number was hidden keeps the user id.
    let hidden = match subject {
        Some(Subject::Bsuid(id)) => Some(id.as_str()),
        _ => Some(chat_id).filter(|id| Sender::new(None, None, Some(id)).bsuid().is_some()),
    };
    match hidden {
        Some(id) => message["recipient"] = json!(id),
        None => message["to"] = json!(chat_id),
    }
    message
}
