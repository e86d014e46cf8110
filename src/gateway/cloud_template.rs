//! Meta's authentication template: the only message that may open a conversation with a code.

use serde_json::{Value, json};

use super::{CodeMessage, cloud_api::digits, credentials::Reader};
use crate::domain::Subject;

/// An approved template, by name.
pub(super) struct AuthenticationTemplate {
    name: String,
    /// The language it was approved in; else that of the verification.
    language: Option<String>,
}

impl AuthenticationTemplate {
    /// `template` and `template_lang`. Without them codes are texts, which reach only those who wrote within a day.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (name, language) = (reader.text("template"), reader.text("template_lang"));
        if name.is_none() && language.is_some() {
            reader.table.fault("template_lang", "has no meaning without template");
        }
        let shaped = |name: &String| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if name.as_ref().is_some_and(|name| !shaped(name)) {
            reader.table.fault("template", "expected lower-case letters, digits and _");
        }
        name.map(|name| Self { name, language })
    }

    /// The code stands in the body and in the button that copies it.
    pub(super) fn message(&self, message: &CodeMessage<'_>) -> Value {
        let parameter = json!([{ "type": "text", "text": message.code }]);
        let language = self.language.clone().unwrap_or_else(|| message.language.tag().replace('-', "_"));
        let mut body = json!({
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "type": "template",
            "template": {
                "name": self.name,
                "language": { "code": language },
                "components": [
                    { "type": "body", "parameters": parameter },
                    { "type": "button", "sub_type": "url", "index": "0", "parameters": parameter },
                ],
            },
        });
        let member = if matches!(message.subject, Subject::Bsuid(_)) { "recipient" } else { "to" };
        body[member] = json!(digits(message.subject));
        body
    }
}
