//! wppconnect-server: webhooks are authenticated by a secret in the URL only; the fields of a message are at the top
//! level.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Behind, Event, Gateway, Ignored, Malformed, Progress, Proof, Refusal, Sent, Webhook,
    addressee::Addressee,
    credentials::{Reader, segment},
    jid::{self, Content, Message, texts},
    json::{self, seconds, text},
    scheme::Scheme,
    sent_by_status,
};
use crate::domain::Subject;

pub(super) fn build(reader: &mut Reader<'_>) -> Arc<dyn Gateway> {
    Arc::new(Wppconnect {
        scheme: reader.scheme(&[("url-secret", Scheme::UrlSecret { param: "token".to_owned() })]),
        secrets: reader.webhook_secrets(),
        url: reader.base_url(None),
        api_key: reader.sending("api_key", "the session's bearer token, to send replies"),
        session: reader.sending("session", "the name of the session").expose_secret().to_owned(),
    })
}

struct Wppconnect {
    scheme: Scheme,
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
        "wppconnect"
    }

    fn proof(&self) -> Proof<'_> {
        Proof { scheme: &self.scheme, secrets: &self.secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<Event>, Malformed> {
        let body = json::parse(webhook.body)?;
        let event = match text(&body, "/event").ok_or_else(|| Malformed("no event".to_owned()))? {
            "onmessage" => read_message(&body, false)?,
            "onselfmessage" => read_message(&body, true)?,
            "onack" => {
                let progress = Progress::of_ack(body["ack"].as_i64());
                let id = text(&body, "/id/_serialized").or(text(&body, "/id")).filter(|_| is_from_me(&body));
                Event { from_me: is_from_me(&body), ..Event::status(id, progress) }
            }
            "onrevokedmessage" => Event::ignored(Ignored::Edit),
            "onreactionmessage" => Event::ignored(Ignored::NonText),
            // Among them `unreadmessages`, which repeats old messages at start.
            _ => Event::ignored(Ignored::Event),
        };
        let addressee = Addressee::default()
            .id(body.get("session"), &self.session)
            .phone(text(&body, "/to").filter(|_| event.ignored.is_none()));
        Ok(vec![event.to(&addressee)])
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let address = jid::address(chat_id, subject, "");
        let (phone, is_lid) = address.strip_suffix("@lid").map_or((address.as_str(), false), |id| (id, true));
        let message = json!({
            "phone": phone, "isGroup": false, "isNewsletter": false, "isLid": is_lid, "message": text,
        });
        Request::post(format!("{}/api/{}/send-message", self.url, segment(&self.session)))
            .header("authorization", self.bearer())
            .header("content-type", "application/json")
            .body(message.to_string().into_bytes())
            .expect("a checked URL and printable credentials make a request")
    }

    fn sent(&self, response: &Response<Vec<u8>>) -> Sent {
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        match (response.status(), text(&body, "/status")) {
            (StatusCode::BAD_REQUEST, Some("Connected")) => Sent::Refused(Refusal::NotOnWhatsApp),
            (StatusCode::NOT_FOUND, Some("Disconnected")) => Sent::NotSent { why: "not_connected" },
            (status, _) => match sent_by_status(status) {
                Sent::Accepted { .. } => {
                    let ids = texts(&body, &["/response/0/id/_serialized", "/response/0/id"]);
                    Sent::Accepted { id: ids.first().map(|id| (*id).to_owned()) }
                }
                other => other,
            },
        }
    }

    fn who_is(&self, lid: &str) -> Option<Request<Vec<u8>>> {
        let lid = segment(lid.strip_suffix("@lid").unwrap_or(lid));
        Request::get(format!("{}/api/{}/contact/pn-lid/{lid}@lid", self.url, segment(&self.session)))
            .header("authorization", self.bearer())
            .body(Vec::new())
            .ok()
    }

    fn phone_behind(&self, response: &Response<Vec<u8>>) -> Behind {
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        match (response.status().is_success() && body.is_object(), text(&body, "/phoneNumber/_serialized")) {
            (true, Some(jid)) => jid::behind(jid),
            (true, None) if body["phoneNumber"].is_null() => Behind::Unknown,
            _ => Behind::Failed,
        }
    }

    /// wppconnect-server posts each event once.
    fn repeats(&self) -> bool {
        false
    }
}

/// `fromMe` is in the id in acknowledgements.
fn is_from_me(body: &Value) -> bool {
    ["/fromMe", "/id/fromMe"].iter().any(|pointer| json::at(body, pointer).and_then(Value::as_bool) == Some(true))
}

fn read_message(body: &Value, own: bool) -> Result<Event, Malformed> {
    let id = texts(body, &["/id", "/id/_serialized"]).first().copied();
    let id = id.ok_or_else(|| Malformed("a message without an id".to_owned()))?;
    // <fromMe>_<chat>_<HEX>[_<author>]
    let parts: Vec<&str> = id.split('_').collect();
    let chat = texts(body, &["/chatId", "/chatId/_serialized", "/from"]).first().copied();
    let chat = chat.or(parts.get(1).copied()).unwrap_or_default();
    let group = body["isGroupMsg"] == true || parts.get(1).is_some_and(|chat| jid::is_group(chat));
    let edited = text(body, "/subtype") == Some("message_edit");
    let message = Message {
        id,
        dedupe_key: parts.get(2).copied(),
        chat,
        from_me: own || is_from_me(body) || parts.first() == Some(&"true"),
        group,
        senders: if group { texts(body, &["/author"]) } else { texts(body, &["/from", "/chatId"]) },
        // The body of an image may be its base64.
        content: match text(body, "/type") {
            _ if edited => Content::Edit,
            Some("chat") => Content::of(text(body, "/body")),
            _ => Content::Other,
        },
        push_name: text(body, "/notifyName").or(text(body, "/sender/pushname")),
        timestamp: seconds(body, "/t").or_else(|| seconds(body, "/timestamp")),
    };
    Ok(message.event())
}
