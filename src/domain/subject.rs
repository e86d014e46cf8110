//! Who a message is from. A LID or BSUID never turns into a phone.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    phone::Phone,
    written::{self, Misdialled},
};

/// One identity of a person, as proved.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "lowercase")]
pub enum Subject {
    Phone(Phone),
    /// WhatsApp's per-account id that hides the number, without `@lid`.
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

    /// As the API and callbacks write it: E.164 in the form of today's numbering plan, or the bare id.
    pub fn value(&self) -> String {
        match self {
            Self::Phone(phone) => phone.current(),
            Self::Lid(id) | Self::Bsuid(id) => id.clone(),
        }
    }

    /// As the gateway spelled it.
    pub fn reported(&self) -> String {
        match self {
            Self::Phone(phone) => phone.e164(),
            Self::Lid(id) | Self::Bsuid(id) => id.clone(),
        }
    }

    /// The chat id that the old API's clients expect: `<digits>@c.us`, `…@lid` or the BSUID.
    pub fn chat_id(&self) -> String {
        match self {
            Self::Phone(phone) => format!("{}@c.us", phone.digits()),
            Self::Lid(id) => format!("{id}@lid"),
            Self::Bsuid(id) => id.clone(),
        }
    }

    /// Equal for all spellings of one account; for keyed digests, never for showing.
    pub fn canonical(&self) -> String {
        match self {
            Self::Phone(phone) => format!("phone:{}", phone.canonical()),
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

/// A chat as a caller names it: a phone number as people write it, `…@c.us`, `…@s.whatsapp.net`, `…@lid` or a BSUID.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Chat {
    given: String,
    subject: Subject,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidChat {
    #[error("expected <digits>@c.us, an international phone number, <id>@lid or a business-scoped user id")]
    Kind,
    #[error(transparent)]
    Phone(#[from] Misdialled),
}

impl Chat {
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Exactly as the caller wrote it, to be echoed.
    pub fn as_given(&self) -> &str {
        &self.given
    }
}

impl FromStr for Chat {
    type Err = InvalidChat;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let text = given.trim();
        let subject = match text.split_once('@') {
            Some((user, "c.us" | "s.whatsapp.net")) => Subject::Phone(written::phone(without_device(user))?),
            Some((id, "lid")) => Subject::Lid(lid(id).ok_or(InvalidChat::Kind)?),
            Some(_) => return Err(InvalidChat::Kind),
            None => match bsuid(text) {
                Some(id) => Subject::Bsuid(id),
                None => Subject::Phone(written::phone(text)?),
            },
        };
        Ok(Self { given: given.to_owned(), subject })
    }
}

impl TryFrom<String> for Chat {
    type Error = InvalidChat;

    /// Records may hold what was accepted before it was refused.
    fn try_from(given: String) -> Result<Self, Self::Error> {
        given.parse().or_else(|why| {
            let phone = phone_of_jid(&given).or_else(|| given.parse().ok()).ok_or(why)?;
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

/// Everything one message tells about who sent it.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Sender {
    pub phone: Option<Phone>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bsuid: Option<String>,
}

impl Sender {
    /// `lid` with or without `@lid`; ids that do not look like one are dropped.
    pub fn new(phone: Option<Phone>, lid_text: Option<&str>, bsuid_text: Option<&str>) -> Self {
        let lid = lid_text.and_then(|text| lid(text.split('@').next().unwrap_or_default()));
        Self { phone, lid, bsuid: bsuid_text.and_then(bsuid) }
    }

    /// The strongest identity there is: phone, else LID, else BSUID.
    pub fn subject(&self) -> Option<Subject> {
        let lid = || self.lid.clone().map(Subject::Lid);
        let bsuid = || self.bsuid.clone().map(Subject::Bsuid);
        self.phone.clone().map(Subject::Phone).or_else(lid).or_else(bsuid)
    }

    /// The identity of the same kind as `subject`.
    pub fn same_kind(&self, subject: &Subject) -> Option<Subject> {
        match subject {
            Subject::Phone(_) => self.phone.clone().map(Subject::Phone),
            Subject::Lid(_) => self.lid.clone().map(Subject::Lid),
            Subject::Bsuid(_) => self.bsuid.clone().map(Subject::Bsuid),
        }
    }

    /// Whether `subject` is one of the identities in this message. `None` when the message does not carry
    /// that kind of identity, so that nothing can be said.
    pub fn is(&self, subject: &Subject) -> Option<bool> {
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

/// The phone of a WhatsApp id `<user>[.<agent>][:<device>]@c.us|s.whatsapp.net|hosted`, else nothing.
pub fn phone_of_jid(jid: &str) -> Option<Phone> {
    let (user, server) = jid.split_once('@')?;
    let is_phones = matches!(server, "c.us" | "s.whatsapp.net" | "hosted");
    is_phones.then(|| without_device(user).parse().ok())?
}

/// The digits of a hidden id `<user>[.<agent>][:<device>]@lid|hosted.lid`, else nothing.
pub fn lid_of_jid(jid: &str) -> Option<String> {
    let (user, server) = jid.split_once('@')?;
    if matches!(server, "lid" | "hosted.lid") { lid(user) } else { None }
}

/// The user of `<user>[.<agent>][:<device>]`.
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
    fn four_spellings_are_one_chat() {
        let subjects = ["447700900123", "+447700900123", "447700900123@c.us", "447700900123:7@s.whatsapp.net"]
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
        assert_eq!(phone_of_jid("190000000000117@lid"), None);
        let sender = Sender::new(None, Some("190000000000117@lid"), None);
        assert_eq!(sender.is(&Subject::Phone("190000000000117".parse().unwrap())), None);
    }

    #[test]
    fn groups_and_nonsense_are_no_chat() {
        for bad in ["120363000000000017@g.us", "@c.us", "abc", "", "447700900123@evil", "gb.1", "GB."] {
            assert!(bad.parse::<Chat>().is_err(), "{bad}");
        }
    }
}
