//! What gateways on a phone's own protocol have in common: ids that tell their kind by a suffix, messages inside
//! messages, and chats that hide the number.

use serde_json::Value;

use super::{
    Behind, Event, Ignored,
    ids::Ids,
    json::{self, text},
};
use crate::domain::{
    Phone, Subject,
    subject::{lid_of_jid, phone_of_jid},
};

/// How deep messages stand in each other.
const DEEPEST: usize = 5;
/// What only says how a message is shown.
const WRAPPERS: &[&str] = &[
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
];

/// What a message holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content<'a> {
    Text(&'a str),
    Edit,
    Other,
}

impl<'a> Content<'a> {
    /// Of gateways that give the text, or nothing.
    pub(super) fn of(text: Option<&'a str>) -> Self {
        text.map_or(Self::Other, Self::Text)
    }

    /// Of a message as the protocol has it. Quoted messages are never looked at.
    pub(super) fn unwrap(mut message: &'a Value) -> Self {
        let edits = ["/editedMessage", "/protocolMessage/editedMessage"];
        for _ in 0..=DEEPEST {
            if edits.iter().any(|pointer| json::at(message, pointer).is_some_and(Value::is_object)) {
                return Self::Edit;
            }
            if let Some(words) = text(message, "/conversation").or(text(message, "/extendedTextMessage/text")) {
                return Self::Text(words);
            }
            let inner = WRAPPERS.iter().find_map(|wrapper| message.get(wrapper)?.get("message"));
            let Some(inner) = inner else { break };
            message = inner;
        }
        Self::Other
    }
}

/// A message, before it is decided whether it may verify anything.
pub(super) struct Message<'a> {
    pub(super) id: &'a str,
    pub(super) dedupe_key: Option<&'a str>,
    pub(super) chat: &'a str,
    pub(super) from_me: bool,
    /// Besides what the chat's id tells.
    pub(super) group: bool,
    /// Ids of the person who wrote, the most trusted first.
    pub(super) senders: Vec<&'a str>,
    pub(super) content: Content<'a>,
    pub(super) push_name: Option<&'a str>,
    pub(super) timestamp: Option<i64>,
}

impl Message<'_> {
    pub(super) fn event(self) -> Event {
        let broadcast = self.chat.ends_with("@broadcast") || self.chat.ends_with("@newsletter");
        let group = !broadcast && (self.group || is_group(self.chat));
        let ignored = match self.content {
            _ if self.from_me => Some(Ignored::FromMe),
            _ if broadcast => Some(Ignored::Broadcast),
            _ if group => Some(Ignored::Group),
            Content::Text(_) => None,
            Content::Edit => Some(Ignored::Edit),
            Content::Other => Some(Ignored::NonText),
        };
        let event = Event {
            ignored,
            message_id: Some(self.id.to_owned()),
            dedupe_key: self.dedupe_key.map(str::to_owned),
            chat_id: Some(self.chat.to_owned()),
            push_name: self.push_name.map(str::to_owned),
            text: if let Content::Text(text) = self.content { Some(text.to_owned()) } else { None },
            timestamp: self.timestamp,
            from_me: self.from_me,
            group,
            ..Event::default()
        };
        event.sent_by(self.senders.iter().fold(Ids::default(), |ids, id| ids.jid(id)))
    }
}

pub(super) fn is_group(chat: &str) -> bool {
    chat.ends_with("@g.us")
}

/// The texts that are there, in this order.
pub(super) fn texts<'a>(value: &'a Value, pointers: &[&str]) -> Vec<&'a str> {
    pointers.iter().filter_map(|pointer| text(value, pointer)).collect()
}

/// Whom a reply goes to: `<digits><suffix>` where a phone is known, for not every release can answer a LID,
/// else `<id>@lid`, also where the LID's digits came on the phones' server.
pub(super) fn address(chat_id: &str, subject: Option<&Subject>, suffix: &str) -> String {
    let chat = phone_of_jid(chat_id).or_else(|| chat_id.parse().ok());
    let at = |phone: &Phone| format!("{}{suffix}", phone.digits());
    match (&chat, subject) {
        (Some(phone), Some(hidden @ Subject::Lid(id))) if phone.digits() == id => hidden.chat_id(),
        (Some(phone), _) | (_, Some(Subject::Phone(phone))) => at(phone),
        _ => lid_of_jid(chat_id).map_or_else(|| chat_id.to_owned(), |id| Subject::Lid(id).chat_id()),
    }
}

/// What a gateway gives as the phone behind a LID; some give the LID itself.
pub(super) fn behind(jid: &str) -> Behind {
    let hidden = || lid_of_jid(jid).map_or(Behind::Failed, |_| Behind::Hidden);
    phone_of_jid(jid).map_or_else(hidden, Behind::Phone)
}

/// WhatsApp's lock against accounts that write first: the person would have to write again.
pub(super) fn is_reach_out_lock(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains("error 463")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wrappers_open_up_to_a_depth() {
        let wrapped = |times: usize| {
            (0..times).fold(
                json!({ "conversation": "x" }),
                |inner, level| json!({ WRAPPERS[level % WRAPPERS.len()]: { "message": inner } }),
            )
        };
        for depth in 0..=DEEPEST {
            assert_eq!(Content::unwrap(&wrapped(depth)), Content::Text("x"));
        }
        assert_eq!(Content::unwrap(&wrapped(DEEPEST + 1)), Content::Other);
    }

    #[test]
    fn edits_are_told_and_quotes_are_not_read() {
        let inner = json!({ "message": { "conversation": "x" } });
        for edit in [
            json!({ "editedMessage": inner }),
            json!({ "ephemeralMessage": { "message": { "editedMessage": inner } } }),
            json!({ "protocolMessage": { "editedMessage": { "conversation": "x" } } }),
        ] {
            assert_eq!(Content::unwrap(&edit), Content::Edit);
        }
        let quoted = json!({ "quotedMessage": { "conversation": "[CODE]" } });
        let reply = json!({ "extendedTextMessage": { "text": "hello", "contextInfo": quoted } });
        assert_eq!(Content::unwrap(&reply), Content::Text("hello"));
        assert_eq!(Content::unwrap(&json!({ "imageMessage": { "contextInfo": quoted } })), Content::Other);
    }

    #[test]
    fn a_reply_goes_to_the_phone_where_one_is_known() {
        let phone = Subject::Phone("447700900123".parse().unwrap());
        let address = |chat: &str, subject| super::address(chat, subject, "@s.whatsapp.net");
        assert_eq!(address("447700900123:7@c.us", None), "447700900123@s.whatsapp.net");
        assert_eq!(address("190000000000117@lid", Some(&phone)), "447700900123@s.whatsapp.net");
        assert_eq!(address("190000000000117:2@lid", None), "190000000000117@lid");
        assert_eq!(address("whatever", None), "whatever");
        assert_eq!(address("447700900123:99@hosted", None), "447700900123@s.whatsapp.net");
        let hidden = Subject::Lid("190000000000117".to_owned());
        assert_eq!(address("190000000000117@c.us", Some(&hidden)), "190000000000117@lid");
    }
}
