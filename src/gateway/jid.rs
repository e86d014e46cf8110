//! Shared parsing for gateways that use WhatsApp's client protocol: JIDs (ids whose server names their kind), nested
//! messages, and chats identified by a LID instead of a phone number.

use serde_json::Value;

use super::{IgnoreReason, LidLookup, WebhookEvent, json::text_at, sender_ids::SenderIds};
use crate::domain::{
    Phone, Subject,
    subject::{lid_from_jid, phone_from_jid},
};

/// Nested messages deeper than this are not read.
const MAX_NESTING: usize = 5;
/// Message types that wrap another message and only change how it is displayed.
const WRAPPERS: &[&str] = &[
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
];

/// The content of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content<'a> {
    Text(&'a str),
    Edit,
    Other,
}

impl<'a> Content<'a> {
    /// For gateways that extract the text themselves.
    pub(super) fn from_text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Other, Self::Text)
    }

    /// From a message object of the client protocol. Quoted messages are not read.
    pub(super) fn from_message(mut message: &'a Value) -> Self {
        let edits = ["/editedMessage", "/protocolMessage/editedMessage"];
        for _ in 0..=MAX_NESTING {
            if edits.iter().any(|pointer| message.pointer(pointer).is_some_and(Value::is_object)) {
                return Self::Edit;
            }
            if let Some(words) = text_at(message, "/conversation").or(text_at(message, "/extendedTextMessage/text")) {
                return Self::Text(words);
            }
            let inner = WRAPPERS.iter().find_map(|wrapper| message.get(wrapper)?.get("message"));
            let Some(inner) = inner else { break };
            message = inner;
        }
        Self::Other
    }
}

/// The fields of a message, before [`MessageFields::into_event`] decides whether it is ignored.
pub(super) struct MessageFields<'a> {
    pub(super) id: &'a str,
    pub(super) dedupe_key: Option<&'a str>,
    pub(super) chat: &'a str,
    pub(super) from_me: bool,
    /// The gateway marks it as a group message, in addition to what the chat's id says.
    pub(super) group: bool,
    /// JIDs of the author, the most trusted first.
    pub(super) senders: Vec<&'a str>,
    pub(super) content: Content<'a>,
    pub(super) push_name: Option<&'a str>,
    pub(super) timestamp: Option<i64>,
}

impl MessageFields<'_> {
    pub(super) fn into_event(self) -> WebhookEvent {
        let broadcast = self.chat.ends_with("@broadcast") || self.chat.ends_with("@newsletter");
        let group = !broadcast && (self.group || is_group(self.chat));
        let ignored = match self.content {
            _ if self.from_me => Some(IgnoreReason::FromMe),
            _ if broadcast => Some(IgnoreReason::Broadcast),
            _ if group => Some(IgnoreReason::Group),
            Content::Text(_) => None,
            Content::Edit => Some(IgnoreReason::Edit),
            Content::Other => Some(IgnoreReason::NonText),
        };
        let event = WebhookEvent {
            ignored,
            message_id: Some(self.id.to_owned()),
            dedupe_key: self.dedupe_key.map(str::to_owned),
            chat_id: Some(self.chat.to_owned()),
            push_name: self.push_name.map(str::to_owned),
            text: if let Content::Text(text) = self.content { Some(text.to_owned()) } else { None },
            timestamp: self.timestamp,
            from_me: self.from_me,
            group,
            ..WebhookEvent::default()
        };
        event.with_sender(self.senders.iter().fold(SenderIds::default(), |ids, id| ids.jid(id)))
    }
}

pub(super) fn is_group(chat: &str) -> bool {
    chat.ends_with("@g.us")
}

/// The non-empty texts at `pointers`, in this order.
pub(super) fn texts_at<'a>(value: &'a Value, pointers: &[&str]) -> Vec<&'a str> {
    pointers.iter().filter_map(|pointer| text_at(value, pointer)).collect()
}

/// The recipient of a reply: `<digits><suffix>` if the phone is known, because some gateway releases cannot reply to a
/// LID, else `<id>@lid`. A chat on the phone server whose digits are those of the LID is a LID too.
pub(super) fn recipient(chat_id: &str, subject: Option<&Subject>, suffix: &str) -> String {
    let chat = phone_from_jid(chat_id).or_else(|| chat_id.parse().ok());
    let at = |phone: &Phone| format!("{}{suffix}", phone.digits());
    match (&chat, subject) {
        (Some(phone), Some(hidden @ Subject::Lid(id))) if phone.digits() == id => hidden.chat_id(),
        (Some(phone), _) | (_, Some(Subject::Phone(phone))) => at(phone),
        _ => lid_from_jid(chat_id).map_or_else(|| chat_id.to_owned(), |id| Subject::Lid(id).chat_id()),
    }
}

/// Parses the JID that a gateway returns as the phone of a LID; some return the LID itself.
pub(super) fn parse_lookup_jid(jid: &str) -> LidLookup {
    let hidden = || lid_from_jid(jid).map_or(LidLookup::Failed, |_| LidLookup::NotResolvable);
    phone_from_jid(jid).map_or_else(hidden, LidLookup::Resolved)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_messages_are_read_up_to_the_maximum_depth() {
        let wrapped = |times: usize| {
            (0..times).fold(
                json!({ "conversation": "x" }),
                |inner, level| json!({ WRAPPERS[level % WRAPPERS.len()]: { "message": inner } }),
            )
        };
        for depth in 0..=MAX_NESTING {
            assert_eq!(Content::from_message(&wrapped(depth)), Content::Text("x"));
        }
        assert_eq!(Content::from_message(&wrapped(MAX_NESTING + 1)), Content::Other);
    }

    #[test]
    fn edits_are_recognised_and_quotes_are_not_read() {
        let inner = json!({ "message": { "conversation": "x" } });
        for edit in [
            json!({ "editedMessage": inner }),
            json!({ "ephemeralMessage": { "message": { "editedMessage": inner } } }),
            json!({ "protocolMessage": { "editedMessage": { "conversation": "x" } } }),
        ] {
            assert_eq!(Content::from_message(&edit), Content::Edit);
        }
        let quoted = json!({ "quotedMessage": { "conversation": "[CODE]" } });
        let reply = json!({ "extendedTextMessage": { "text": "hello", "contextInfo": quoted } });
        assert_eq!(Content::from_message(&reply), Content::Text("hello"));
        assert_eq!(Content::from_message(&json!({ "imageMessage": { "contextInfo": quoted } })), Content::Other);
    }

    #[test]
    fn a_reply_goes_to_the_phone_if_it_is_known() {
        let phone = Subject::Phone("447700900123".parse().unwrap());
        let address = |chat: &str, subject| super::recipient(chat, subject, "@s.whatsapp.net");
        assert_eq!(address("447700900123:7@c.us", None), "447700900123@s.whatsapp.net");
        assert_eq!(address("190000000000117@lid", Some(&phone)), "447700900123@s.whatsapp.net");
        assert_eq!(address("190000000000117:2@lid", None), "190000000000117@lid");
        assert_eq!(address("whatever", None), "whatever");
        assert_eq!(address("447700900123:99@hosted", None), "447700900123@s.whatsapp.net");
        let hidden = Subject::Lid("190000000000117".to_owned());
        assert_eq!(address("190000000000117@c.us", Some(&hidden)), "190000000000117@lid");
    }
}
