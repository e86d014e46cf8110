//! Meta's authentication templates: the only messages that may start a conversation with a code.

use std::collections::BTreeSet;

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

    /// Whether this template can carry codes in each of `languages`: approved, of the category for authentication, and
    /// with a button. The result says what was found.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub(super) fn find_in(&self, list: &[ListedTemplate], languages: &[Language]) -> Result<String, String> {
        let named: Vec<&ListedTemplate> = list.iter().filter(|one| one.name == self.name).collect();
        let known = named.iter().map(|one| one.language.as_str()).collect::<Vec<_>>().join(", ");
        if known.is_empty() {
            return Err(format!("there is no template {}", self.name));
        }
        let wanted: BTreeSet<String> = languages.iter().map(|language| self.language_of(*language)).collect();
        let faults = wanted.iter().filter_map(|wanted| match named.iter().find(|one| one.language == *wanted) {
            Some(found) => Some(format!("{} in {wanted} has {}", self.name, found.fault()?)),
            None => Some(format!("{} is not in {wanted}, but in {known}", self.name)),
        });
        let faults: Vec<String> = faults.collect();
        if faults.is_empty() { Ok(format!("approved in {known}")) } else { Err(faults.join("; ")) }
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

/// A template as its gateway lists it.
pub(super) struct ListedTemplate {
    name: String,
    language: String,
    /// In capitals, as the status.
    category: String,
    status: String,
    has_button: bool,
}

impl ListedTemplate {
    /// Why it cannot carry codes.
    fn fault(&self) -> Option<String> {
        if self.category != "AUTHENTICATION" {
            Some(format!("the category {}", self.category))
        } else if self.status != "APPROVED" {
            Some(format!("the status {}", self.status))
        } else {
            (!self.has_button).then(|| "no button for the code".to_owned())
        }
    }

    /// As Meta lists it, and 360dialog.
    fn read_meta(value: &Value) -> Self {
        let components = value["components"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            name: text(value, "name"),
            language: text(value, "language"),
            category: upper(value, "category"),
            status: upper(value, "status"),
            has_button: components.iter().any(|component| upper(component, "type") == "BUTTONS"),
        }
    }

    /// As Gupshup lists it (partner-docs.gupshup.io, "Get Templates"). Its list does not show all buttons; Meta approves no
    /// authentication template without one.
    fn read_gupshup(value: &Value) -> Self {
        Self {
            name: text(value, "elementName"),
            language: text(value, "languageCode"),
            category: upper(value, "category"),
            status: upper(value, "status"),
            has_button: true,
        }
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// Providers that relay Meta's format differ in the case of its words.
fn upper(value: &Value, name: &str) -> String {
    text(value, name).to_ascii_uppercase()
}

/// The format of a gateway's list of templates.
#[derive(Clone, Copy)]
pub(super) enum ListFormat {
    Meta,
    Dialog360,
    Gupshup,
}

/// The templates in a response.
///
/// # Errors
///
/// The gateway refused, or the response has no list.
pub(super) fn list(response: &Response<Vec<u8>>, format: ListFormat) -> Result<Vec<ListedTemplate>, String> {
    let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let (member, read): (_, fn(&Value) -> ListedTemplate) = match format {
        ListFormat::Meta => ("data", ListedTemplate::read_meta),
        ListFormat::Dialog360 => ("waba_templates", ListedTemplate::read_meta),
        ListFormat::Gupshup => ("templates", ListedTemplate::read_gupshup),
    };
    if response.status().is_success() {
        let all = body[member].as_array().ok_or("the answer has no list of templates")?;
        return Ok(all.iter().map(read).collect());
    }
    let why = ["/error/message", "/message"].into_iter().find_map(|pointer| json::text_at(&body, pointer));
    let why = why.unwrap_or_default();
    Err(format!("the list of templates cannot be read: {} {why}", response.status().as_u16()).trim_end().to_owned())
}
