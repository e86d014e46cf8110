//! Meta's authentication templates: the only messages that may start a conversation with a code.

use http::Response;
use serde_json::{Value, json};

use super::{CodeMessage, cloud_message::recipient_of, config_reader::ConfigReader, json};
use crate::domain::{Language, Subject};

/// An authentication template. Its button may copy the code, or fill it into an Android app with one tap or none: the
/// message is the same (developers.facebook.com/docs/whatsapp/business-management-api/authentication-templates).
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

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The name of the language in which codes of `language` are sent.
    fn language_of(&self, language: Language) -> String {
        self.language.clone().unwrap_or_else(|| language.tag().replace('-', "_"))
    }

    /// Whether `list` has this template for codes in `language`: approved, of the category for authentication, and with
    /// a button. The result says what was found.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub(super) fn find_in(&self, list: &Value, language: Language) -> Result<String, String> {
        let wanted = self.language_of(language);
        let all = list.as_array().ok_or("the answer has no list of templates")?;
        let named: Vec<&Value> = all.iter().filter(|one| one["name"] == self.name.as_str()).collect();
        let languages: Vec<&str> = named.iter().filter_map(|one| one["language"].as_str()).collect();
        let Some(found) = named.iter().find(|one| one["language"] == wanted.as_str()) else {
            return Err(match languages.as_slice() {
                [] => format!("there is no template {}", self.name),
                known => format!("{} is not in {wanted}, but in {}", self.name, known.join(", ")),
            });
        };
        let (category, status) = (upper(found, "category"), upper(found, "status"));
        let components = found["components"].as_array().map(Vec::as_slice).unwrap_or_default();
        let has_button = components.iter().any(|component| upper(component, "type") == "BUTTONS");
        if category != "AUTHENTICATION" {
            return Err(format!("{} in {wanted} has the category {category}", self.name));
        }
        if status != "APPROVED" {
            return Err(format!("{} in {wanted} has the status {status}", self.name));
        }
        if !has_button {
            return Err(format!("{} in {wanted} has no button for the code", self.name));
        }
        Ok(format!("approved in {}", languages.join(", ")))
    }

    /// The request body. The template contains the code in its text and in its copy button.
    pub(super) fn message(&self, message: &CodeMessage<'_>) -> Value {
        let parameter = json!([{ "type": "text", "text": message.code }]);
        let language = self.language_of(message.language);
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

/// Providers that relay Meta's format differ in the case of its words.
fn upper(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_ascii_uppercase()
}

/// The list of templates in a response, by the name of its member.
pub(super) fn list(response: &Response<Vec<u8>>, member: &str) -> Result<Value, String> {
    let mut body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    if response.status().is_success() {
        return Ok(body[member].take());
    }
    let why = json::text_at(&body, "/error/message").unwrap_or_default();
    Err(format!("the list of templates cannot be read: {} {why}", response.status().as_u16()).trim_end().to_owned())
}
