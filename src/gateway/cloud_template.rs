//! Meta's authentication templates: the only messages that may start a conversation with a code.

use serde_json::{Value, json};

use super::{CodeMessage, cloud_api::recipient_of, config_reader::ConfigReader};
use crate::domain::Subject;

/// An approved authentication template.
pub(super) struct AuthenticationTemplate {
    name: String,
    /// The language it is approved in; `None`: the language of the verification.
    language: Option<String>,
}

impl AuthenticationTemplate {
    /// Reads `template` and `template_lang`. Without `template`, codes are sent as text, which WhatsApp delivers only
    /// within 24 hours of the recipient's last message.
    pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Self> {
        let (name, language) = (reader.text("template"), reader.text("template_lang"));
        if name.is_none() && language.is_some() {
            reader.table.fault("template_lang", "is used only together with template");
        }
        let shaped = |name: &String| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if name.as_ref().is_some_and(|name| !shaped(name)) {
            reader.table.fault("template", "expected lower-case letters, digits and _");
        }
        name.map(|name| Self { name, language })
    }

    /// The request body. The template contains the code in its text and in its copy button.
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
        body[member] = json!(recipient_of(message.subject));
        body
    }
}
