//! Identities of WhatsApp users: phone number, LID or BSUID. A LID or BSUID is never converted into a phone number.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    phone::Phone,
    phone_input::{self, PhoneInputError},
};

/// One proved identity of a person.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "lowercase")]
pub enum Subject {
    Phone(Phone),
    /// WhatsApp's per-account id that hides the phone number, without `@lid`.
    Lid(String),
    /// Meta's business-scoped user id, such as `GB.10000000000001`.
    Bsuid(String),
}

impl Subject {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Phone(_) => "phone",
            Self::Lid(_) => "lid",
            Self::Bsuid(_) => "bsuid",
        }
    }

    /// The form used in the API and in callbacks: E.164 according to the current numbering plan, or the bare id.
    pub fn value(&self) -> String {
        match self {
            Self::Phone(phone) => phone.current(),
            Self::Lid(id) | Self::Bsuid(id) => id.clone(),
        }
    }

    /// The value as the gateway reported it.
    pub fn reported(&self) -> String {
        match self {
            Self::Phone(phone) => phone.e164(),
            Self::Lid(id) | Self::Bsuid(id) => id.clone(),
        }
    }

    /// The chat id that clients of the old API expect: `<digits>@c.us`, `…@lid` or the BSUID.
    pub fn chat_id(&self) -> String {
        match self {
            Self::Phone(phone) => format!("{}@c.us", phone.digits()),
            Self::Lid(id) => format!("{id}@lid"),
            Self::Bsuid(id) => id.clone(),
        }
    }

    /// Equal for all spellings of one account. For keyed digests only, never for display.
    pub fn canonical(&self) -> String {
        match self {
            Self::Phone(phone) => ["phone:", &phone.canonical()].concat(),
            Self::Lid(id) => format!("lid:{id}"),
            Self::Bsuid(id) => format!("bsuid:{id}"),
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phone(phone) => phone.fmt(f),
            Self::Lid(_) => f.write_str("lid:•"),
            Self::Bsuid(_) => f.write_str("bsuid:•"),
        }
    }
}

/// A chat as a caller names it: a phone number in any common notation, `…@c.us`, `…@s.whatsapp.net`, `…@lid` or a
/// BSUID.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Chat {
    given: String,
    subject: Subject,
}

/// Why a text is not a chat.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidChat {
    #[error("expected <digits>@c.us, an international phone number, <id>@lid or a business-scoped user id")]
    Format,
    #[error(transparent)]
    Phone(#[from] PhoneInputError),
}

impl Chat {
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The text exactly as the caller wrote it, to be returned unchanged.
    pub fn as_given(&self) -> &str {
        &self.given
    }
}

impl FromStr for Chat {
    type Err = InvalidChat;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let text = given.trim();
        let subject = match text.split_once('@') {
            Some((user, server)) => match server.to_ascii_lowercase().as_str() {
                "c.us" | "s.whatsapp.net" => Subject::Phone(phone_input::parse_phone(without_device(user))?),
                "lid" => Subject::Lid(lid(user).ok_or(InvalidChat::Format)?),
                _ => return Err(InvalidChat::Format),
            },
            None => match bsuid(text) {
                Some(id) => Subject::Bsuid(id),
                None => Subject::Phone(phone_input::parse_phone(text)?),
            },
        };
        Ok(Self { given: given.to_owned(), subject })
    }
}

impl TryFrom<String> for Chat {
    type Error = InvalidChat;

    /// Stored records may hold chats that are no longer accepted in new requests.
    fn try_from(given: String) -> Result<Self, Self::Error> {
        given.parse().or_else(|error| {
            let phone = phone_from_jid(&given).or_else(|| given.parse().ok()).ok_or(error)?;
            Ok(Self { given, subject: Subject::Phone(phone) })
        })
    }
}

impl From<Chat> for String {
    fn from(chat: Chat) -> Self {
        chat.given
    }
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subject.fmt(f)
    }
}

/// All identities of a message's sender.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Sender {
    pub phone: Option<Phone>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bsuid: Option<String>,
}

impl Sender {
    /// Accepts `lid_text` with or without `@lid`. Malformed ids are dropped.
    pub fn new(phone: Option<Phone>, lid_text: Option<&str>, bsuid_text: Option<&str>) -> Self {
        let lid = lid_text.and_then(|text| lid(text.split('@').next().unwrap_or_default()));
        Self { phone, lid, bsuid: bsuid_text.and_then(bsuid) }
    }

    /// The strongest known identity: phone, then LID, then BSUID.
    pub fn subject(&self) -> Option<Subject> {
        let lid = || self.lid.clone().map(Subject::Lid);
        let bsuid = || self.bsuid.clone().map(Subject::Bsuid);
        self.phone.clone().map(Subject::Phone).or_else(lid).or_else(bsuid)
    }

    /// The sender's identity of the same kind as `subject`.
    pub fn same_kind(&self, subject: &Subject) -> Option<Subject> {
        match subject {
            Subject::Phone(_) => self.phone.clone().map(Subject::Phone),
            Subject::Lid(_) => self.lid.clone().map(Subject::Lid),
            Subject::Bsuid(_) => self.bsuid.clone().map(Subject::Bsuid),
        }
    }

    /// Whether `subject` is one of the sender's identities. `None` if the message has no identity of that kind, so the
    /// question cannot be answered.
    pub fn matches(&self, subject: &Subject) -> Option<bool> {
        match subject {
            Subject::Phone(phone) => self.phone.as_ref().map(|mine| mine == phone),
            Subject::Lid(id) => self.lid.as_ref().map(|mine| mine == id),
            Subject::Bsuid(id) => self.bsuid.as_ref().map(|mine| mine == id),
        }
    }

    pub fn lid(&self) -> Option<&str> {
        self.lid.as_deref()
    }

    pub fn bsuid(&self) -> Option<&str> {
        self.bsuid.as_deref()
    }
}

/// The phone of a WhatsApp id `<user>[.<agent>][:<device>]@c.us|s.whatsapp.net|hosted`; `None` for other ids.
pub fn phone_from_jid(jid: &str) -> Option<Phone> {
    let (user, server) = jid.split_once('@')?;
    let is_phones = matches!(server, "c.us" | "s.whatsapp.net" | "hosted");
    is_phones.then(|| without_device(user).parse().ok())?
}

/// The digits of a hidden id `<user>[.<agent>][:<device>]@lid|hosted.lid`; `None` for other ids.
pub fn lid_from_jid(jid: &str) -> Option<String> {
    let (user, server) = jid.split_once('@')?;
    if matches!(server, "lid" | "hosted.lid") { lid(user) } else { None }
}

/// The `<user>` part of `<user>[.<agent>][:<device>]`.
fn without_device(user: &str) -> &str {
    user.split(['.', ':']).next().unwrap_or_default()
}

fn lid(text: &str) -> Option<String> {
    let user = without_device(text);
    let shaped = (1..=32).contains(&user.len()) && user.bytes().all(|byte| byte.is_ascii_digit());
    shaped.then(|| user.to_owned())
}

fn bsuid(text: &str) -> Option<String> {
    let (country, rest) = text.split_once('.')?;
    let shaped = country.len() == 2
        && country.bytes().all(|byte| byte.is_ascii_uppercase())
        && (1..=128).contains(&rest.len())
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    shaped.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_spellings_are_one_chat() {
        let subjects = [
            "447700900123",
            "+447700900123",
            "447700900123@c.us",
            "447700900123@C.US",
            "447700900123:7@s.whatsapp.net",
        ]
        .map(|text| text.parse::<Chat>().unwrap().subject().clone());
        assert!(subjects.iter().all(|subject| *subject == subjects[0]));
        assert_eq!(subjects[0].chat_id(), "447700900123@c.us");
    }

    #[test]
    fn the_digits_of_a_lid_or_bsuid_never_become_a_phone() {
        let lid: Chat = "190000000000117@lid".parse().unwrap();
        assert_eq!(lid.subject(), &Subject::Lid("190000000000117".into()));
        let bsuid: Chat = "GB.10000000000001".parse().unwrap();
        assert_eq!(bsuid.subject().kind(), "bsuid");
        assert_eq!(phone_from_jid("190000000000117@lid"), None);
        let sender = Sender::new(None, Some("190000000000117@lid"), None);
        assert_eq!(sender.matches(&Subject::Phone("190000000000117".parse().unwrap())), None);
    }

    #[test]
    fn groups_and_nonsense_are_no_chat() {
        for bad in ["120363000000000017@g.us", "@c.us", "abc", "", "447700900123@evil", "gb.1", "GB."] {
            assert!(bad.parse::<Chat>().is_err(), "{bad}");
        }
    }
}
