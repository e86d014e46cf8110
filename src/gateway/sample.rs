//! Sample messages, from which gateways compose webhooks for `doctor`.

use serde_json::Value;
use url::form_urlencoded;

use super::WebhookRequest;

/// Who a sample message is from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SampleSender {
    /// A person in a direct chat, identified by phone number.
    Person,
    /// A person in a group.
    Group,
    /// This instance's own number.
    OwnNumber,
    /// A person in a direct chat, identified by a LID or BSUID instead of a phone number.
    HiddenNumber,
}

/// A text message to compose a webhook from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SampleMessage {
    pub sender: SampleSender,
    /// The message id: upper-case hex digits.
    pub id: String,
    pub text: String,
    /// Unix seconds.
    pub timestamp: i64,
    /// The sender's phone number, digits only.
    pub phone: String,
    /// The receiving number, digits only.
    pub to: String,
    /// The sender's LID, digits only.
    pub lid: String,
}

impl SampleMessage {
    /// The sender's name in the chat.
    pub(super) const PUSH_NAME: &'static str = "countersign doctor";

    pub(super) fn is_from_me(&self) -> bool {
        self.sender == SampleSender::OwnNumber
    }

    /// The chat's JID. `suffix` is the gateway's server for phone numbers.
    pub(super) fn chat(&self, suffix: &str) -> String {
        match self.sender {
            SampleSender::Group => "120363000000000017@g.us".to_owned(),
            SampleSender::HiddenNumber => format!("{}@lid", self.lid),
            SampleSender::Person | SampleSender::OwnNumber => format!("{}{suffix}", self.phone),
        }
    }

    /// The author's JID, for a message in a group.
    pub(super) fn author(&self, suffix: &str) -> Option<String> {
        (self.sender == SampleSender::Group).then(|| format!("{}{suffix}", self.phone))
    }

    /// `<fromMe>_<chat>_<HEX>[_<author>]`
    pub(super) fn long_id(&self) -> String {
        let (from_me, chat, hex) = (self.is_from_me(), self.chat("@c.us"), &self.id);
        let author = self.author("@c.us").map(|author| format!("_{author}")).unwrap_or_default();
        format!("{from_me}_{chat}_{hex}{author}")
    }

    /// The business-scoped user id of a person who hides the phone number.
    pub(super) fn bsuid(&self) -> String {
        format!("GB.{}", self.lid)
    }

    pub(super) fn rfc3339(&self) -> String {
        jiff::Timestamp::from_second(self.timestamp).unwrap_or_default().to_string()
    }
}

impl WebhookRequest {
    /// An unsigned request with a JSON body.
    pub(super) fn json(body: &Value) -> Self {
        Self::with_body("application/json", body.to_string())
    }

    /// An unsigned request with a form.
    pub(super) fn form(fields: &[(&str, &str)]) -> Self {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        Self::with_body("application/x-www-form-urlencoded", form)
    }

    fn with_body(content_type: &str, body: String) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { headers, body: body.into_bytes(), ..Self::default() }
    }
}
