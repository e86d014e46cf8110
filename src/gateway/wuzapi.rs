//! `WuzAPI`: webhooks are signed with HMAC-SHA256 over the raw body, which is JSON or a form with a JSON field.

use std::{collections::BTreeMap, sync::Arc};

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    Gateway, IgnoreReason, Malformed, ReceiptStatus, SampleMessage, SampleSender, SendResult, Unauthenticated, Webhook,
    WebhookAuth, WebhookEvent, WebhookRequest,
    addressee::Addressee,
    answers::{self, Answer, CLIENT_ANSWERS, NOT_CONNECTED, NOT_SENT},
    auth_scheme::{AuthScheme, Encoding, Hash},
    config_reader::ConfigReader,
    jid::{self, Content, MessageFields, texts_at},
    json::{self, text_at, time_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
    multipart,
};
use crate::domain::Subject;

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "wuzapi",
    build,
    preset: None,
    group: KindGroup::Unofficial,
    proof: "HMAC-SHA256 of the body",
    ban_risk: BanRisk::Yes,
    sms: false,
    codes: CodeDelivery::Text,
    delivery_reports: "event `ReadReceipt`",
    compared: "the token, in releases that post it",
    several_numbers: "a webhook per user",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"`POST /webhook` with `{"webhookURL": "<webhook URL>", "events": ["Message"]}`, then `POST /session/hmac/config` with
`{"hmac_key": "<webhook_secret>"}`: 32 characters or more. JSON mode, form mode and pictures work, in every release with
HMAC. For releases without HMAC, set
`webhook_auth = "url-secret"`, and append `?token=<webhook_secret>` to the webhook URL.

```toml
[instance.gateway]
kind = "wuzapi"
url = "http://wuzapi:8080"
api_key = "the-users-token"
webhook_secret = "0123456789abcdef0123456789abcdef"
```

Messages are sent with an `Id` that is the same in every attempt, so that retrying after a lost response does not create a
second message.
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    let hmac = AuthScheme::BodyHmac {
        header: "x-hmac-signature".to_owned(),
        prefix: String::new(),
        hash: Hash::Sha256,
        encoding: Encoding::Hex,
    };
    let url_secret = AuthScheme::UrlSecret { param: "token".to_owned() };
    Arc::new(Wuzapi {
        scheme: reader.scheme(&[("hmac", hmac), ("url-secret", url_secret)]),
        secrets: reader.webhook_secrets(),
        url: reader.base_url(None),
        api_key: reader.sending_secret("api_key", "the WuzAPI user's token, to send replies"),
    })
}

/// github.com/asternic/wuzapi, handlers.go: every failure of WhatsApp is a 500 whose text names the reason.
const ANSWERS: &[Answer] =
    &[Answer::contains("no session", NOT_CONNECTED), Answer::value("/success", &["false"], NOT_SENT).at(200)];

struct Wuzapi {
    scheme: AuthScheme,
    secrets: Vec<SecretString>,
    url: String,
    api_key: SecretString,
}

impl Gateway for Wuzapi {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    /// Releases differ in what they sign: the raw body, or the text fields of a form as JSON. The first release with
    /// HMAC does the latter in form mode, and every release for files, which are posted as multipart.
    fn authenticate(&self, webhook: &Webhook<'_>) -> Result<(), Unauthenticated> {
        self.scheme.verify(webhook, &self.secrets).or_else(|why| match (&self.scheme, fields_as_json(webhook)) {
            (AuthScheme::BodyHmac { .. }, Some(signed)) => {
                let webhook = webhook.with_body(signed.as_bytes(), webhook.now);
                self.scheme.verify(&webhook, &self.secrets).map_err(|_| why)
            }
            _ => Err(why),
        })
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        if content_type(webhook).starts_with("multipart/") {
            // The webhook contains a file.
            return Ok(vec![WebhookEvent::ignored(IgnoreReason::NonText)]);
        }
        let body = read_body(webhook.body)?;
        let event = match text_at(&body, "/type").ok_or_else(|| Malformed("no type".to_owned()))? {
            "Message" => read_message(&body["event"])?,
            "ReadReceipt" => {
                let ids = json::items_at(&body, "/event/MessageIDs").filter_map(Value::as_str);
                return Ok(WebhookEvent::statuses(ids, text_at(&body, "/state").and_then(ReceiptStatus::from_word)));
            }
            _ => WebhookEvent::ignored(IgnoreReason::Event),
        };
        // Releases before 2025 include the user's token.
        let addressee = Addressee::default().check_id(body.get("token"), self.api_key.expose_secret());
        Ok(vec![event.addressed_to(&addressee)])
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let message = json!({ "Phone": jid::recipient(chat_id, subject, ""), "Body": text, "LinkPreview": false });
        Request::post(format!("{}/chat/send/text", self.url))
            .header("token", self.api_key.expose_secret())
            .header("content-type", "application/json")
            .body(message.to_string().into_bytes())
            .expect("the URL and the credentials were validated when the configuration was loaded")
    }

    fn set_message_id(&self, message: &mut Request<Vec<u8>>, id: &str) -> bool {
        json::insert_field(message, "Id", id)
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        let event = compose_event(sample);
        let body = json!({ "type": "Message", "event": event, "instanceName": "doctor", "userID": "1" });
        Some(WebhookRequest::json(&body))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/data/Id"], &[CLIENT_ANSWERS, ANSWERS])
    }
}

fn content_type<'a>(webhook: &'a Webhook<'_>) -> &'a str {
    webhook.header("content-type").unwrap_or_default()
}

/// The text fields of a form, as Go writes a map of them: sorted, and with HTML's special characters escaped. `None`:
/// the body is not a form, or two fields have one name.
fn fields_as_json(webhook: &Webhook<'_>) -> Option<String> {
    let kind = content_type(webhook);
    let fields: Vec<(String, String)> = if kind.starts_with("application/x-www-form-urlencoded") {
        form_urlencoded::parse(webhook.body).into_owned().collect()
    } else {
        multipart::text_fields(kind, webhook.body)?
    };
    let count = fields.len();
    let fields: BTreeMap<String, String> = fields.into_iter().collect();
    let json = serde_json::to_string(&fields).ok().filter(|_| fields.len() == count)?;
    let special =
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    Some(special.into_iter().fold(json, |json, (special, escape)| json.replace(special, escape)))
}

/// In form mode, the event is in the field `jsonData`.
fn read_body(body: &[u8]) -> Result<Value, Malformed> {
    if matches!(body, [b'{', ..] | [0xef, 0xbb, 0xbf, b'{', ..]) {
        return json::parse(body);
    }
    let field = form_urlencoded::parse(body).find(|(name, _)| name == "jsonData");
    let (_, event) = field.ok_or_else(|| Malformed("neither JSON nor a form with jsonData".to_owned()))?;
    json::parse(event.as_bytes())
}

/// Parses whatsmeow's `events.Message`. Also for Evolution Go.
pub(super) fn read_message(event: &Value) -> Result<WebhookEvent, Malformed> {
    let info = &event["Info"];
    let id = text_at(info, "/ID").ok_or_else(|| Malformed("a message has no id".to_owned()))?;
    let chat = text_at(info, "/Chat").ok_or_else(|| Malformed("a message has no chat id".to_owned()))?;
    if !event["SourceWebMsg"].is_null() {
        // From the phone's history sync.
        return Ok(WebhookEvent::ignored(IgnoreReason::Event));
    }
    let is_true = |pointer: &str| event.pointer(pointer).and_then(Value::as_bool).unwrap_or_default();
    let group = is_true("/Info/IsGroup");
    let edited = is_true("/IsEdit") || text_at(info, "/Edit").is_some();
    let senders: &[&str] = if group { &["/Sender", "/SenderAlt"] } else { &["/Sender", "/SenderAlt", "/Chat"] };
    let message = MessageFields {
        id,
        dedupe_key: None,
        chat,
        from_me: is_true("/Info/IsFromMe") || !info["DeviceSentMeta"].is_null(),
        group,
        senders: texts_at(info, senders),
        content: if edited { Content::Edit } else { Content::from_message(&event["Message"]) },
        push_name: text_at(info, "/PushName"),
        timestamp: time_at(info, "/Timestamp"),
    };
    Ok(message.into_event())
}

/// A message as whatsmeow, the library of several gateways, writes it.
pub(super) fn compose_event(sample: &SampleMessage) -> Value {
    let chat = sample.chat("@s.whatsapp.net");
    let info = json!({
        "ID": sample.id, "Sender": sample.author("@s.whatsapp.net").unwrap_or_else(|| chat.clone()), "Chat": chat,
        "IsFromMe": sample.is_from_me(), "IsGroup": sample.sender == SampleSender::Group,
        "PushName": SampleMessage::PUSH_NAME, "Timestamp": sample.rfc3339(),
    });
    json!({ "Info": info, "Message": { "conversation": sample.text } })
}
