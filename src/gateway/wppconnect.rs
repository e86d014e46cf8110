//! wppconnect-server: webhooks are authenticated by a secret in the URL only; the fields of a message are at the top
//! level.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Gateway, IgnoreReason, LidLookup, Malformed, ReceiptStatus, SampleMessage, SampleSender, SendResult, Webhook,
    WebhookAuth, WebhookEvent, WebhookRequest,
    addressee::Addressee,
    answers::{self, Answer, CLIENT_ANSWERS, NOT_CONNECTED, NOT_ON_WHATSAPP},
    auth_scheme::AuthScheme,
    config_reader::{ConfigReader, path_segment},
    jid::{self, Content, MessageFields},
    json::{self, id_at, text_at, time_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
};
use crate::domain::Subject;

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "wppconnect",
    build,
    preset: None,
    group: KindGroup::Unofficial,
    proof: "the URL (weak)",
    ban_risk: BanRisk::Yes,
    sms: false,
    codes: CodeDelivery::Text,
    delivery_reports: "`webhook.listenAcks = true`",
    compared: "`session`, its own number",
    several_numbers: "all sessions share one `webhook.url`: use one server per number",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"wppconnect-server can authenticate only by its URL: in `config.ts`, set `webhook.url = "<webhook URL>/<webhook_secret>"`,
`webhook.autoDownload = false`, and no `mapper`. `api_key` is the token that `generate-token` returned for the session.

```toml
[instance.gateway]
kind = "wppconnect"
url = "http://wppconnect:21465"
session = "main"
api_key = "the-sessions-token"
webhook_secret = "0123456789abcdef0123456789abcdef"
```
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    Arc::new(Wppconnect {
        scheme: reader.scheme(&[("url-secret", AuthScheme::UrlSecret { param: "token".to_owned() })]),
        secrets: reader.webhook_secrets(),
        url: reader.base_url(None),
        api_key: reader.sending_secret("api_key", "the session's bearer token, to send replies"),
        session: reader.sending_secret("session", "the name of the session").expose_secret().to_owned(),
    })
}

/// github.com/wppconnect-team/wppconnect-server, src/middleware: `status` is the state of the session.
const ANSWERS: &[Answer] = &[
    Answer::value("/status", &["Connected"], NOT_ON_WHATSAPP).at(400),
    Answer::value("/status", &["Disconnected"], NOT_CONNECTED).at(404),
];

struct Wppconnect {
    scheme: AuthScheme,
    secrets: Vec<SecretString>,
    url: String,
    api_key: SecretString,
    session: String,
}

impl Wppconnect {
    fn bearer(&self) -> String {
        format!("Bearer {}", self.api_key.expose_secret())
    }
}

impl Gateway for Wppconnect {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        let event = match text_at(&body, "/event").ok_or_else(|| Malformed("no event".to_owned()))? {
            "onmessage" => read_message(&body, false)?,
            "onselfmessage" => read_message(&body, true)?,
            "onack" => {
                let progress = ReceiptStatus::from_ack(body["ack"].as_i64());
                let id = id_at(&body, "/id").filter(|_| is_from_me(&body));
                WebhookEvent { from_me: is_from_me(&body), ..WebhookEvent::status(id, progress) }
            }
            "onrevokedmessage" => WebhookEvent::ignored(IgnoreReason::Edit),
            "onreactionmessage" => WebhookEvent::ignored(IgnoreReason::NonText),
            // Among them `unreadmessages`, which repeats old messages at start.
            _ => WebhookEvent::ignored(IgnoreReason::Event),
        };
        let addressee = Addressee::default()
            .check_id(body.get("session"), &self.session)
            .with_phone(text_at(&body, "/to").filter(|_| event.ignored.is_none()));
        Ok(vec![event.addressed_to(&addressee)])
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let address = jid::recipient(chat_id, subject, "");
        let (phone, is_lid) = address.strip_suffix("@lid").map_or((address.as_str(), false), |id| (id, true));
        let message = json!({
            "phone": phone, "isGroup": false, "isNewsletter": false, "isLid": is_lid, "message": text,
        });
        Request::post(format!("{}/api/{}/send-message", self.url, path_segment(&self.session)))
            .header("authorization", self.bearer())
            .header("content-type", "application/json")
            .body(message.to_string().into_bytes())
            .expect("the URL and the credentials were validated when the configuration was loaded")
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        let (chat, own) = (sample.chat("@c.us"), sample.is_from_me());
        Some(WebhookRequest::json(&json!({
            "event": if own { "onselfmessage" } else { "onmessage" }, "session": self.session,
            "id": sample.long_id(), "type": "chat", "body": sample.text, "from": chat, "chatId": chat,
            "author": sample.author("@c.us"), "fromMe": own, "isGroupMsg": sample.sender == SampleSender::Group,
            "t": sample.timestamp, "notifyName": SampleMessage::PUSH_NAME,
        })))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/response/0/id"], &[CLIENT_ANSWERS, ANSWERS])
    }

    fn lid_lookup(&self, lid: &str) -> Option<Request<Vec<u8>>> {
        let lid = path_segment(lid.strip_suffix("@lid").unwrap_or(lid));
        Request::get(format!("{}/api/{}/contact/pn-lid/{lid}@lid", self.url, path_segment(&self.session)))
            .header("authorization", self.bearer())
            .body(Vec::new())
            .ok()
    }

    fn parse_lid_lookup(&self, response: &Response<Vec<u8>>) -> LidLookup {
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        match (response.status().is_success() && body.is_object(), id_at(&body, "/phoneNumber")) {
            (true, Some(jid)) => jid::parse_lookup_jid(jid),
            (true, None) if body["phoneNumber"].is_null() => LidLookup::Pending,
            _ => LidLookup::Failed,
        }
    }

    /// wppconnect-server posts each event once.
    fn retries_webhooks(&self) -> bool {
        false
    }
}

/// `fromMe` is in the id in acknowledgements.
fn is_from_me(body: &Value) -> bool {
    ["/fromMe", "/id/fromMe"].iter().any(|pointer| body.pointer(pointer).and_then(Value::as_bool) == Some(true))
}

fn read_message(body: &Value, own: bool) -> Result<WebhookEvent, Malformed> {
    let id = json::id_at(body, "/id").ok_or_else(|| Malformed("a message has no id".to_owned()))?;
    // <fromMe>_<chat>_<HEX>[_<author>]
    let parts: Vec<&str> = id.split('_').collect();
    let chat = ["/chatId", "/from", "/id/remote"].iter().find_map(|pointer| json::id_at(body, pointer));
    let chat = chat.or(parts.get(1).copied()).unwrap_or_default();
    let group = body["isGroupMsg"] == true || parts.get(1).is_some_and(|chat| jid::is_group(chat));
    let authors: &[&str] = if group { &["/author"] } else { &["/from", "/chatId"] };
    let edited = text_at(body, "/subtype") == Some("message_edit");
    let message = MessageFields {
        id,
        dedupe_key: parts.get(2).copied(),
        chat,
        from_me: own || is_from_me(body) || parts.first() == Some(&"true"),
        group,
        senders: authors.iter().filter_map(|pointer| json::id_at(body, pointer)).collect(),
        // The body of an image may be its base64.
        content: match text_at(body, "/type") {
            _ if edited => Content::Edit,
            Some("chat") => Content::from_text(text_at(body, "/body")),
            _ => Content::Other,
        },
        push_name: text_at(body, "/notifyName").or(text_at(body, "/sender/pushname")),
        timestamp: time_at(body, "/t").or_else(|| time_at(body, "/timestamp")),
    };
    Ok(message.into_event())
}
