//! The number a webhook is for. One gateway account, and so one secret, may serve several numbers; a valid signature
//! therefore does not prove that a message was sent to this instance's number.

use serde_json::Value;

use super::{IgnoreReason, WebhookEvent};
use crate::domain::{Phone, phone_input, subject::phone_from_jid};

/// The recipient of an event, collected from the fields that name it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Addressee {
    /// This instance's number as the webhook writes it.
    phone: Option<Phone>,
    /// A field names another account or number than the configured one.
    other_number: bool,
}

impl Addressee {
    /// Compares an account, session or device id with the configured one. An absent or empty side matches anything.
    pub(super) fn check_id(mut self, named: Option<&Value>, configured: &str) -> Self {
        let named = named.and_then(|value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        self.other_number |= named.is_some_and(|id| !id.is_empty() && !configured.is_empty() && id != configured);
        self
    }

    /// Records the recipient's number: digits, E.164 or a JID. A LID contains no number.
    pub(super) fn with_phone(mut self, named: Option<&str>) -> Self {
        let read = |named: &str| {
            if named.contains('@') { phone_from_jid(named) } else { phone_input::parse_phone(named).ok() }
        };
        let phone = named.and_then(read);
        self.phone = self.phone.or(phone);
        self
    }

    /// Compares the recipient's number with the configured one.
    pub(super) fn check_phone(mut self, named: Option<&str>, configured: Option<&str>) -> Self {
        let (named, configured) =
            (Self::default().with_phone(named).phone, Self::default().with_phone(configured).phone);
        self.other_number |= named.zip(configured).is_some_and(|(named, configured)| named != configured);
        self
    }
}

impl WebhookEvent {
    /// Sets the recipient. An event for another number verifies nothing.
    pub(super) fn addressed_to(mut self, addressee: &Addressee) -> Self {
        if addressee.other_number {
            self.ignored = self.ignored.or(Some(IgnoreReason::AnotherNumber));
            self.receipt = None;
        }
        self.to = addressee.phone.clone();
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_present_and_different_id_means_another_number() {
        let ours =
            |named: Value, configured: &str| !Addressee::default().check_id(Some(&named), configured).other_number;
        assert!(ours(json!("main"), "main") && ours(json!(1_100_000_777), "1100000777"));
        assert!(ours(json!(""), "main") && ours(Value::Null, "main") && ours(json!("main"), ""));
        assert!(!ours(json!("marketing"), "main") && !ours(json!(2), "1"));
        let phone = |named: &str| Addressee::default().with_phone(Some(named)).phone.map(|phone| phone.e164());
        assert_eq!(phone("12025550142:7@s.whatsapp.net").as_deref(), Some("+12025550142"));
        assert_eq!(phone("+1 202-555-0142").as_deref(), Some("+12025550142"));
        assert_eq!(phone("190000000000331@lid"), None, "a LID contains no number");
        let is = |named, configured| !Addressee::default().check_phone(Some(named), Some(configured)).other_number;
        assert!(is("551187654321", "+5511987654321") && is("whatever", "+5511987654321"));
        assert!(!is("12025550143", "+12025550142"));
    }
}
