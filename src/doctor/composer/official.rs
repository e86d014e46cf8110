//! Webhooks of gateways that use WhatsApp's official API.

use serde_json::json;

use super::{ComposedBody, Table};
use crate::gateway::{SampleMessage, SampleSender};

const PUSH_NAME: &str = "countersign doctor";

/// The user id of a person who hides the phone number.
fn bsuid(sample: &SampleMessage) -> String {
    format!("GB.{}", sample.lid)
}

fn rfc3339(sample: &SampleMessage) -> String {
    jiff::Timestamp::from_second(sample.timestamp).unwrap_or_default().to_string()
}

#[expect(clippy::unnecessary_wraps, reason = "one signature for all composers")]
pub(super) fn meta(table: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    let id = table.text("phone_number_id").unwrap_or_else(|| "100000000000777".to_owned());
    let metadata = json!({ "display_phone_number": sample.to, "phone_number_id": id });
    let mut message = json!({
        "id": format!("wamid.{}", sample.id), "timestamp": sample.timestamp.to_string(), "type": "text",
        "text": { "body": sample.text },
    });
    let mut contact = json!({ "profile": { "name": PUSH_NAME } });
    if sample.sender == SampleSender::HiddenNumber {
        message["from_user_id"] = json!(bsuid(sample));
        contact["user_id"] = json!(bsuid(sample));
    } else {
        message["from"] = json!(sample.phone);
        contact["wa_id"] = json!(sample.phone);
    }
    let (field, value) = match sample.sender {
        SampleSender::OwnNumber => {
            message["to"] = message["from"].take();
            message["from"] = json!(sample.to);
            let value = json!({ "messaging_product": "whatsapp", "metadata": metadata, "message_echoes": [message] });
            ("smb_message_echoes", value)
        }
        _ => {
            if sample.sender == SampleSender::Group {
                message["group_id"] = json!("120363000000000017");
            }
            let value = json!({
                "messaging_product": "whatsapp", "metadata": metadata, "contacts": [contact], "messages": [message],
            });
            ("messages", value)
        }
    };
    Some(ComposedBody::Json(json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": "100000000000555", "changes": [{ "value": value, "field": field }] }],
    })))
}

/// The receiving number: `from` of the table, else the instance's number.
fn receiving_number(table: &Table, sample: &SampleMessage) -> String {
    let from = table.text("from").unwrap_or_else(|| sample.to.clone());
    from.trim_start_matches("whatsapp:").trim_start_matches('+').to_owned()
}

pub(super) fn twilio(table: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    let sid = format!("SM{:0>32}", sample.id.to_lowercase());
    let from = table.text("from").unwrap_or_default();
    let sms = table.text("channel").map_or(!from.starts_with("whatsapp:"), |channel| channel == "sms");
    let number = |digits: &str| format!("{}+{digits}", if sms { "" } else { "whatsapp:" });
    let to = number(&receiving_number(table, sample));
    let from = match sample.sender {
        SampleSender::Group => return None,
        // Sent messages are reported as statuses only.
        SampleSender::OwnNumber => {
            let status = |name| (name, "delivered".to_owned());
            let (us, them) = (("From", to), ("To", number(&sample.phone)));
            return Some(ComposedBody::Form(vec![
                ("MessageSid", sid),
                status("MessageStatus"),
                status("SmsStatus"),
                us,
                them,
            ]));
        }
        SampleSender::HiddenNumber if sms => return None,
        SampleSender::HiddenNumber => format!("whatsapp:{}", bsuid(sample)),
        SampleSender::Person => number(&sample.phone),
    };
    let mut fields = vec![
        ("SmsMessageSid", sid.clone()),
        ("MessageSid", sid),
        ("NumMedia", "0".to_owned()),
        ("SmsStatus", "received".to_owned()),
        ("From", from),
        ("To", to),
        ("Body", sample.text.clone()),
    ];
    if !sms {
        fields.extend([("ProfileName", PUSH_NAME.to_owned()), ("MessageType", "text".to_owned())]);
    }
    Some(ComposedBody::Form(fields))
}

pub(super) fn vonage(table: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    let channel = table.text("channel").unwrap_or_else(|| "whatsapp".to_owned());
    let tail = sample.id.get(sample.id.len().saturating_sub(12)..).unwrap_or_default().to_lowercase();
    let uuid = format!("00000000-0000-4000-8000-{tail:0>12}");
    let from = match sample.sender {
        SampleSender::HiddenNumber if channel == "whatsapp" => bsuid(sample),
        SampleSender::Group | SampleSender::HiddenNumber => return None,
        SampleSender::OwnNumber => {
            let status = json!({
                "message_uuid": uuid, "status": "delivered", "channel": channel, "timestamp": rfc3339(sample),
                "to": sample.phone, "from": receiving_number(table, sample),
            });
            return Some(ComposedBody::Json(status));
        }
        SampleSender::Person => sample.phone.clone(),
    };
    Some(ComposedBody::Json(json!({
        "channel": channel, "message_uuid": uuid, "to": receiving_number(table, sample), "from": from, "timestamp": rfc3339(sample),
        "message_type": "text", "text": sample.text, "profile": { "name": PUSH_NAME },
    })))
}

pub(super) fn bird(_: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    let (key, value) = match sample.sender {
        SampleSender::Group => return None,
        SampleSender::HiddenNumber => ("whatsappusername", "doctor".to_owned()),
        _ => ("phonenumber", format!("+{}", sample.phone)),
    };
    let contact = json!({ "identifierKey": key, "identifierValue": value, "annotations": { "name": PUSH_NAME } });
    let mut extra = json!({ "timestamp": sample.timestamp.to_string() });
    if sample.sender == SampleSender::HiddenNumber {
        extra["whatsappbsuid"] = json!(bsuid(sample));
    }
    let own = sample.sender == SampleSender::OwnNumber;
    let mut payload = json!({
        "id": sample.id, "body": { "type": "text", "text": { "text": sample.text } },
        "meta": { "extraInformation": extra }, "createdAt": rfc3339(sample),
        "direction": if own { "outgoing" } else { "incoming" },
    });
    if own {
        payload["receiver"] = json!({ "contacts": [contact] });
    } else {
        payload["sender"] = json!({ "contact": contact });
    }
    let event = if own { "whatsapp.outbound" } else { "whatsapp.inbound" };
    Some(ComposedBody::Json(json!({ "service": "channels", "event": event, "payload": payload })))
}

pub(super) fn chatwoot(table: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    let inbox = table.text("inbox_id").and_then(|id| id.parse().ok()).unwrap_or(1_i64);
    let account = table.text("account_id").and_then(|id| id.parse().ok()).unwrap_or(1_i64);
    let (own, hidden) = (sample.sender == SampleSender::OwnNumber, sample.sender == SampleSender::HiddenNumber);
    if sample.sender == SampleSender::Group {
        return None;
    }
    let source = if hidden { bsuid(sample) } else { sample.phone.clone() };
    let phone = (!hidden).then(|| format!("+{}", sample.phone));
    Some(ComposedBody::Json(json!({
        "event": "message_created", "id": 501, "source_id": format!("wamid.{}", sample.id), "content": sample.text,
        "content_type": "text", "message_type": if own { "outgoing" } else { "incoming" }, "private": false,
        "created_at": rfc3339(sample), "account": { "id": account }, "inbox": { "id": inbox },
        "conversation": { "id": 42, "channel": "Channel::Whatsapp", "contact_inbox": { "source_id": source } },
        "sender": { "type": if own { "user" } else { "contact" }, "name": PUSH_NAME, "phone_number": phone },
    })))
}
