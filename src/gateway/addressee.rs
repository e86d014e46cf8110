//! Whom a webhook is for. A signature proves who sent it, and one account may serve several numbers.

use serde_json::Value;

use super::{Event, Ignored};
use crate::domain::{Phone, subject::phone_of_jid, written};

/// What events name as the number that they came to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Addressee {
    phone: Option<Phone>,
    elsewhere: bool,
}

impl Addressee {
    /// A name or an id of ours, beside the configured one. Where either is unknown, nothing can be said.
    pub(super) fn id(mut self, named: Option<&Value>, configured: &str) -> Self {
        let named = named.and_then(|value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        self.elsewhere |= named.is_some_and(|id| !id.is_empty() && !configured.is_empty() && id != configured);
        self
    }

    /// Our number as digits, E.164 or a WhatsApp id. A LID tells no number.
    pub(super) fn phone(mut self, named: Option<&str>) -> Self {
        let phone = named.and_then(|named| match named.contains('@') {
            true => phone_of_jid(named),
            false => written::phone(named).ok(),
        });
        self.phone = self.phone.or(phone);
        self
    }

    /// Our number beside another one that is configured.
    pub(super) fn is(mut self, named: Option<&str>, configured: Option<&str>) -> Self {
        let (named, configured) = (Self::default().phone(named).phone, Self::default().phone(configured).phone);
        self.elsewhere |= named.zip(configured).is_some_and(|(named, configured)| named != configured);
        self
    }
}

impl Event {
    /// Says whom it was for; what was for somebody else verifies nobody.
    pub(super) fn to(mut self, addressee: &Addressee) -> Self {
        if addressee.elsewhere {
            self.ignored = self.ignored.or(Some(Ignored::AnotherNumber));
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
    fn only_what_is_named_and_differs_is_elsewhere() {
        let ours = |named: Value, configured: &str| !Addressee::default().id(Some(&named), configured).elsewhere;
        assert!(ours(json!("main"), "main") && ours(json!(1_100_000_777), "1100000777"));
        assert!(ours(json!(""), "main") && ours(Value::Null, "main") && ours(json!("main"), ""));
        assert!(!ours(json!("marketing"), "main") && !ours(json!(2), "1"));
        let phone = |named: &str| Addressee::default().phone(Some(named)).phone.map(|phone| phone.e164());
        assert_eq!(phone("12025550142:7@s.whatsapp.net").as_deref(), Some("+12025550142"));
        assert_eq!(phone("+1 202-555-0142").as_deref(), Some("+12025550142"));
        assert_eq!(phone("190000000000331@lid"), None, "our own LID tells no number");
        let is = |named, configured| !Addressee::default().is(Some(named), Some(configured)).elsewhere;
        assert!(is("551187654321", "+5511987654321") && is("whatever", "+5511987654321"));
        assert!(!is("12025550143", "+12025550142"));
    }
}
