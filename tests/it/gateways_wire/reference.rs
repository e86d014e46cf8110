//! The request that each gateway's reference documents for sending a text.

use serde_json::{Value, json};

use super::{PERSON, basic};
use crate::every_gateway::secret;

pub(super) struct ReferenceRequest {
    pub(super) path: &'static str,
    /// Without those that every HTTP client sends.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: ReferenceBody,
}

pub(super) enum ReferenceBody {
    Json(Value),
    Fields(Vec<(String, String)>),
}

#[expect(clippy::too_many_lines, reason = "one table of requests, to be read from top to bottom")]
pub(super) fn request(kind: &str, variant: &str, index: usize, text: &str) -> ReferenceRequest {
    const KEY: &str = "key-of-the-gateway";
    let (bearer, jid, cus) = (format!("Bearer {KEY}"), format!("{PERSON}@s.whatsapp.net"), format!("{PERSON}@c.us"));
    let (authorization, plain) = ("authorization", KEY.to_owned());
    let meta = || {
        json!({ "messaging_product": "whatsapp", "recipient_type": "individual", "to": PERSON, "type": "text",
                "text": { "preview_url": false, "body": text } })
    };
    let json = |path, headers, body| ReferenceRequest { path, headers, body: ReferenceBody::Json(body) };
    let form = |path, headers, fields: &[(&str, &str)]| {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ReferenceRequest { path, headers, body: ReferenceBody::Fields(fields) }
    };
    match (kind, variant) {
        ("cloud-api", _) => json("/777/messages", vec![(authorization, bearer)], meta()),
        ("360dialog", _) => json("/messages", vec![("d360-api-key", plain)], meta()),
        ("gupshup-v3", _) => json("/partner/app/app-1/v3/message", vec![(authorization, plain)], meta()),
        ("twilio", variant) => {
            let by = if variant == "sms" { basic("SK1", "pass") } else { basic("AC1", &secret(kind, index)) };
            let over = if variant == "sms" { "" } else { "whatsapp:" };
            let (to, from) = (format!("{over}+{PERSON}"), format!("{over}+12025550142"));
            let fields = [("To", to.as_str()), ("From", from.as_str()), ("Body", text)];
            form("/2010-04-01/Accounts/AC1/Messages.json", vec![(authorization, by)], &fields)
        }
        ("vonage", variant) => {
            let channel = if variant == "sms" { "sms" } else { "whatsapp" };
            let message = json!({ "message_type": "text", "text": text, "to": PERSON, "from": "12025550142",
                                  "channel": channel });
            json("/v1/messages", vec![(authorization, basic("key", "pass"))], message)
        }
        ("bird", _) => {
            let contact = json!({ "identifierKey": "phonenumber", "identifierValue": format!("+{PERSON}") });
            let message = json!({ "receiver": { "contacts": [contact] },
                                  "body": { "type": "text", "text": { "text": text } } });
            let key = vec![(authorization, format!("AccessKey {KEY}"))];
            json("/workspaces/w/channels/c/messages", key, message)
        }
        ("chatwoot", _) => {
            let message = json!({ "content": text, "message_type": "outgoing" });
            json("/api/v1/accounts/1/conversations/42/messages", vec![("api_access_token", plain)], message)
        }
        ("waha", _) => {
            let message = json!({ "session": "default", "chatId": cus, "text": text, "linkPreview": false });
            json("/api/sendText", vec![("x-api-key", plain)], message)
        }
        ("hypersender", _) => {
            let message = json!({ "chatId": cus, "text": text, "link_preview": false });
            json("/i-1/send-text", vec![(authorization, bearer)], message)
        }
        ("wawp", _) => {
            let message = json!({ "instance_id": "i-1", "access_token": KEY, "chatId": cus, "message": text });
            json("/v2/send/text", vec![], message)
        }
        ("evolution", _) => {
            let message = json!({ "number": jid, "text": text, "linkPreview": false });
            json("/message/sendText/main", vec![("apikey", plain)], message)
        }
        ("evolution-go", _) => json("/send/text", vec![("apikey", plain)], json!({ "number": PERSON, "text": text })),
        ("gowa", _) => {
            let message = json!({ "phone": jid, "message": text });
            json("/send/message", vec![(authorization, basic("user", "pass"))], message)
        }
        ("wppconnect", _) => {
            let message = json!({ "phone": PERSON, "isGroup": false, "isNewsletter": false, "isLid": false,
                                  "message": text });
            json("/api/main/send-message", vec![(authorization, bearer)], message)
        }
        ("wuzapi", _) => {
            let message = json!({ "Phone": PERSON, "Body": text, "LinkPreview": false });
            json("/chat/send/text", vec![("token", plain)], message)
        }
        ("green-api", _) => {
            let message = json!({ "chatId": cus, "message": text, "linkPreview": false });
            json("/waInstance1100000777/sendMessage/key-of-the-gateway", vec![], message)
        }
        ("whapi", _) => {
            let message = json!({ "to": jid, "body": text, "no_link_preview": true });
            json("/messages/text", vec![(authorization, bearer)], message)
        }
        ("gupshup", _) => {
            let message = json!({ "type": "text", "text": text }).to_string();
            let fields = [
                ("channel", "whatsapp"),
                ("source", "12025550142"),
                ("destination", PERSON),
                ("src.name", "app"),
                ("message", message.as_str()),
            ];
            form("/wa/api/v1/msg", vec![("apikey", plain)], &fields)
        }
        ("infobip", _) => {
            let message = json!({ "from": "12025550142", "to": PERSON, "content": { "text": text } });
            json("/whatsapp/1/message/text", vec![(authorization, format!("App {KEY}"))], message)
        }
        ("ultramsg", _) => {
            let fields = [("token", KEY), ("to", PERSON), ("body", text)];
            form("/instance777/messages/chat", vec![], &fields)
        }
        ("z-api", _) => {
            let message = json!({ "phone": PERSON, "message": text });
            let token = vec![("client-token", "client-token".to_owned())];
            json("/instances/i-1/token/token-1/send-text", token, message)
        }
        ("generic", _) => {
            let message = json!({ "to": PERSON, "content": { "text": text } });
            json("/accounts/harbour/messages", vec![(authorization, bearer)], message)
        }
        other => panic!("{other:?} has no reference"),
    }
}

/// The response of a gateway that accepted a message.
pub(super) fn accepted(kind: &str) -> Value {
    match kind {
        "cloud-api" | "360dialog" | "gupshup-v3" => json!({ "messages": [{ "id": "wamid.A" }] }),
        "twilio" => json!({ "sid": "SM1", "status": "queued" }),
        "vonage" => json!({ "message_uuid": "u" }),
        "waha" | "wawp" => json!({ "id": { "_serialized": "true_1@c.us_A" } }),
        "hypersender" => json!({ "queued": true, "queued_request_uuid": "u" }),
        "evolution" => json!({ "key": { "id": "A" }, "status": "PENDING" }),
        "evolution-go" => json!({ "message": "success", "data": { "Info": { "ID": "A" } } }),
        "gowa" => json!({ "code": "SUCCESS", "results": { "message_id": "A" } }),
        "wppconnect" => json!({ "status": "success", "response": [{ "id": "A" }] }),
        "wuzapi" => json!({ "code": 200, "data": { "Details": "Sent", "Id": "A" }, "success": true }),
        "green-api" => json!({ "idMessage": "A" }),
        "whapi" => json!({ "sent": true, "message": { "id": "A" } }),
        "gupshup" => json!({ "status": "submitted", "messageId": "A" }),
        "infobip" => json!({ "messageId": "A", "status": { "groupName": "PENDING" } }),
        "ultramsg" => json!({ "sent": "true", "message": "ok", "id": 7 }),
        "z-api" => json!({ "zaapId": "A", "messageId": "A", "id": "A" }),
        _ => json!({ "id": "A" }),
    }
}
