//! Meta's WhatsApp Cloud API: webhooks are batches, signed with HMAC-SHA256 over the raw body; a sender may have a user
//! id (BSUID) instead of a phone number.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    ButtonMessage, CodeMessage, Gateway, Handshake, IgnoreReason, Malformed, ReceiptStatus, SampleMessage,
    SampleSender, SendResult, Unauthenticated, Webhook, WebhookAuth, WebhookEvent, WebhookRequest,
    addressee::Addressee,
    answers::{self, Answer, GATEWAY_ERROR, NOT_ON_WHATSAPP, PERMANENT, RATE_LIMITED, UNAUTHORIZED, WINDOW_CLOSED},
    auth_scheme::{self, AuthScheme},
    cloud_message::{button_body, contact_request_body, recipient_of, text_body},
    cloud_template::{self, AuthenticationTemplate, ListFormat},
    config_reader::{ConfigReader, path_segment},
    json::{self, items_at, text_at, time_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
    sender_ids::SenderIds,
};
use crate::domain::{Language, Phone, Subject};

/// The newest documented version of the Graph API: developers.facebook.com/docs/graph-api/changelog.
const GRAPH_VERSION: u32 = 26;
const GRAPH_URL: &str = "https://graph.facebook.com/v";

fn default_url() -> String {
    format!("{GRAPH_URL}{GRAPH_VERSION}.0")
}

/// A warning if `url` has an older version. Meta ends each about two years after its release.
fn old_version(url: &str) -> Option<String> {
    let version = url.strip_prefix(GRAPH_URL)?.split(['.', '/']).next()?.parse::<u32>().ok()?;
    (version < GRAPH_VERSION).then(|| format!("{url} is older than v{GRAPH_VERSION}.0"))
}

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "cloud-api",
    build,
    preset: None,
    group: KindGroup::Official,
    proof: "HMAC-SHA256 of the body",
    ban_risk: BanRisk::None,
    sms: false,
    codes: CodeDelivery::Template,
    delivery_reports: "yes",
    compared: "`phone_number_id`",
    several_numbers: "Meta has one callback URL per app. Set it to the webhook URL of any one instance: messages to another number go to the instance with that `phone_number_id`, if its `webhook_secret` (the app secret) authenticates them, too. Or set `override_callback_uri` per number",
    issues_webhook_secret: true,
    shared_secrets: &[],
    setup: r#"Meta's WhatsApp Cloud API. At <https://developers.facebook.com>, in your app:

1. *WhatsApp → API Setup*: note the **phone number id**; in *Business settings → System users* create a permanent token
   with `whatsapp_business_messaging`.
2. *App settings → Basic*: the **app secret** is `webhook_secret`.
3. *WhatsApp → Configuration*: callback URL = the webhook URL, verify token = `verify_token`; then subscribe to the
   field **messages** (and to `standby` if Meta's own agent answers on this number).

```toml
[instance.gateway]
kind = "cloud-api"
phone_number_id = "100000000000777"
access_token = "EAAG-a-system-users-token"
webhook_secret = "0123456789abcdef0123456789abcdef"       # the app secret
verify_token = "a-word-of-your-own-for-the-handshake"
# template = "login_code"                                 # the approved authentication template that carries codes
# template_lang = "en_US"                                 # default: the language of the verification
# business_account_id = "100000000000555"                 # with it, `doctor` checks the template in every language
# request_contact_info = false                            # do not ask users who hide their number to share it
```

Codes need an approved template of the category *Authentication* (*WhatsApp Manager → Message templates*), in each language of
your users; its button may be *Copy code*, *One-tap autofill* or *Zero-tap*. Without `template`, codes are sent as text, which
arrives only within 24 hours of the user's last message.

A user whose number is hidden, but needed, gets a message with the button *Share contact info*. One tap continues the login; a
contact that the user picks from the address book does not.
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    let app_secrets = reader.webhook_secrets();
    let verify_token = reader.table.secret("verify_token");
    Arc::new(CloudApi {
        scheme: AuthScheme::hub_sha256(),
        verify_token: verify_token.or_else(|| app_secrets.first().cloned()).unwrap_or_default(),
        app_secrets,
        access_token: reader.sending_secret("access_token", "a system user's token, to send replies"),
        phone_number_id: reader.identifier("phone_number_id", "the id of the sending number"),
        url: reader.base_url(Some(&default_url())),
        template: AuthenticationTemplate::read(reader),
        business_account_id: reader.text("business_account_id"),
        button: reader.button(),
        request_contact_info: reader.request_contact_info(),
    })
}

struct CloudApi {
    scheme: AuthScheme,
    app_secrets: Vec<SecretString>,
    verify_token: SecretString,
    access_token: SecretString,
    phone_number_id: String,
    url: String,
    template: Option<AuthenticationTemplate>,
    /// Owns the templates; `None`: they cannot be checked.
    business_account_id: Option<String>,
    button: bool,
    request_contact_info: bool,
}

impl Gateway for CloudApi {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.app_secrets }
    }

    fn authenticate(&self, webhook: &Webhook<'_>) -> Result<(), Unauthenticated> {
        if webhook.method == Method::GET {
            let token = auth_scheme::query_parameter(webhook.query, "hub.verify_token")
                .ok_or(Unauthenticated("no verify token"))?;
            let genuine = auth_scheme::query_parameter(webhook.query, "hub.mode").as_deref() == Some("subscribe")
                && auth_scheme::same_secret(&token, &self.verify_token);
            return if genuine { Ok(()) } else { Err(Unauthenticated("wrong verify token")) };
        }
        self.webhook_auth().verify(webhook)
    }

    fn handshake(&self, webhook: &Webhook<'_>) -> Option<Handshake> {
        let challenge = auth_scheme::query_parameter(webhook.query, "hub.challenge").unwrap_or_default();
        let echoed = challenge.len() <= 256 && challenge.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let status = if echoed { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        Some(Handshake { status, body: if echoed { challenge } else { String::new() } })
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        parse_body(webhook.body)
    }

    fn number_id(&self) -> Option<&str> {
        Some(&self.phone_number_id)
    }

    fn api_warning(&self) -> Option<String> {
        old_version(&self.url)
    }

    fn recipient(&self, subject: &Subject) -> String {
        recipient_of(subject)
    }

    fn code_message(&self, message: &CodeMessage<'_>) -> Option<Request<Vec<u8>>> {
        let Some(template) = &self.template else {
            return Some(self.text_message(&recipient_of(message.subject), Some(message.subject), message.text));
        };
        Some(self.post(&template.message(message)))
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        self.post(&text_body(chat_id, subject, text))
    }

    fn button_message(
        &self,
        chat_id: &str,
        subject: Option<&Subject>,
        message: &ButtonMessage<'_>,
    ) -> Option<Request<Vec<u8>>> {
        button_body(chat_id, subject, message).filter(|_| self.button).map(|body| self.post(&body))
    }

    fn template_list(&self) -> Option<Request<Vec<u8>>> {
        let (template, account) = (self.template.as_ref()?, path_segment(self.business_account_id.as_ref()?));
        let query = "fields=name,language,status,category,components&limit=100";
        Request::get(format!("{}/{account}/message_templates?name={}&{query}", self.url, template.name()))
            .header("authorization", format!("Bearer {}", self.access_token.expose_secret()))
            .body(Vec::new())
            .ok()
    }

    fn check_template(&self, response: &Response<Vec<u8>>, languages: &[Language]) -> Result<String, String> {
        let Some(template) = &self.template else { return Ok(String::new()) };
        template.find_in(&cloud_template::list(response, ListFormat::Meta)?, languages)
    }

    fn contact_request(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Option<Request<Vec<u8>>> {
        let body = contact_request_body(chat_id, subject, text).filter(|_| self.request_contact_info)?;
        Some(self.post(&body))
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        Some(compose_body(sample, &self.phone_number_id))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, IDS, &[ANSWERS])
    }
}

impl CloudApi {
    fn post(&self, message: &Value) -> Request<Vec<u8>> {
        let bearer = format!("Bearer {}", self.access_token.expose_secret());
        let url = format!("{}/{}/messages", self.url, self.phone_number_id);
        json::post(&url, &[("authorization", &bearer)], message)
    }
}

/// Meta's error codes: developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes.
pub(super) const ANSWERS: &[Answer] = &[
    // The token, its permissions, or the account: expired, revoked, restricted, locked or unpaid, or the number is not
    // registered.
    Answer::value(
        CODE,
        &["0", "3", "10", "33", "190", "200", "368", "131005", "131031", "131037", "131042", "131045", "133010"],
        UNAUTHORIZED,
    ),
    Answer::value(CODE, &["4", "80007", "130429", "131048", "131056"], RATE_LIMITED),
    Answer::value(CODE, &["131026"], NOT_ON_WHATSAPP),
    Answer::value(CODE, &["131047"], WINDOW_CLOSED),
    // 131049 and 130472: WhatsApp chose not to deliver it. 132xxx: the template.
    Answer::value(
        CODE,
        &[
            "100", "130472", "131008", "131009", "131021", "131049", "131051", "132000", "132001", "132005", "132007",
            "132012", "132015", "132016",
        ],
        PERMANENT,
    ),
    Answer::value(CODE, &["1", "2", "131000", "131016", "131057", "133004"], GATEWAY_ERROR),
];
const CODE: &str = "/error/code";

/// Where a response has the id of the sent message.
pub(super) const IDS: &[&str] = &["/messages/0/id"];

/// The events of a webhook body.
pub(super) fn parse_body(body: &[u8]) -> Result<Vec<WebhookEvent>, Malformed> {
    let body = json::parse(body)?;
    let mut events = Vec::new();
    for change in items_at(&body, "/entry").flat_map(|entry| items_at(entry, "/changes")) {
        let first = events.len();
        match text_at(change, "/field") {
            // While Meta's own agent handles a conversation, messages arrive as `standby`.
            Some("messages" | "standby") => read_value(&change["value"], &mut events),
            Some("smb_message_echoes") => events.extend(items_at(&change["value"], "/message_echoes").map(read_echo)),
            Some(_) => events.push(WebhookEvent::ignored(IgnoreReason::Event)),
            None => return Err(Malformed("a change without a field".to_owned())),
        }
        let to = Addressee::default().with_phone(text_at(change, "/value/metadata/display_phone_number"));
        let id = text_at(change, "/value/metadata/phone_number_id");
        let added = events.split_off(first).into_iter();
        events.extend(added.map(|event| WebhookEvent { number_id: id.map(str::to_owned), ..event.addressed_to(&to) }));
    }
    if events.is_empty() && body.get("entry").is_none() {
        return Err(Malformed("no entry".to_owned()));
    }
    Ok(events)
}

fn read_value(value: &Value, events: &mut Vec<WebhookEvent>) {
    events.extend(items_at(value, "/statuses").map(read_status));
    events.extend(items_at(value, "/messages").map(|message| read_message(message, value)));
    if value.get("statuses").is_none() && value.get("messages").is_none() {
        events.push(WebhookEvent::ignored(IgnoreReason::Event));
    }
}

fn read_status(status: &Value) -> WebhookEvent {
    let progress = text_at(status, "/status").and_then(ReceiptStatus::from_word);
    let why = json::id_text_at(status, "/errors/0/code");
    WebhookEvent::status(text_at(status, "/id"), progress.map(|progress| progress.with_code(ANSWERS, why.as_deref())))
}

fn read_message(message: &Value, value: &Value) -> WebhookEvent {
    let from = text_at(message, "/from");
    let user = text_at(message, "/from_user_id");
    let contact = items_at(value, "/contacts").find(|contact| {
        (from.is_some() && text_at(contact, "/wa_id") == from)
            || (user.is_some() && text_at(contact, "/user_id") == user)
    });
    let group = text_at(message, "/group_id");
    let (ignored, body) = match text_at(message, "/type") {
        _ if group.is_some() => (Some(IgnoreReason::Group), text_at(message, "/text/body")),
        Some("text") => (None, text_at(message, "/text/body")),
        Some("system") => (Some(IgnoreReason::Event), None),
        Some("edit" | "revoke") => (Some(IgnoreReason::Edit), None),
        _ => (Some(IgnoreReason::NonText), None),
    };
    let of_contact = |pointer: &str| contact.and_then(|contact| text_at(contact, pointer));
    // If a person hides the phone number, the user id may be in its field.
    let phones = [from, of_contact("/wa_id")].into_iter().flatten();
    let bsuids = [user, from, of_contact("/user_id")];
    let ids = phones.fold(SenderIds::default(), |ids, digits| ids.phone(digits.parse().ok()));
    let ids = bsuids.into_iter().fold(ids, SenderIds::bsuid);
    let shared = shared_number(message).filter(|_| ignored == Some(IgnoreReason::NonText));
    let ids = ids.phone(shared.clone());
    let event = WebhookEvent {
        ignored: if ignored.is_none() && body.is_none() { Some(IgnoreReason::NonText) } else { ignored },
        message_id: text_at(message, "/id").map(str::to_owned),
        chat_id: group.or(from).or(user).map(str::to_owned),
        push_name: of_contact("/profile/name").map(str::to_owned),
        text: body.map(str::to_owned),
        shared_number: shared.is_some(),
        timestamp: time_at(message, "/timestamp"),
        group: group.is_some(),
        ..WebhookEvent::default()
    };
    event.with_sender(ids)
}

/// The sender's own number, in the answer to a request for it. Contacts that a person picks from the address book have
/// another `origin`, and are other people's.
fn shared_number(message: &Value) -> Option<Phone> {
    let [contact] = message["contacts"].as_array()?.as_slice() else { return None };
    let [phone] = contact["phones"].as_array()?.as_slice() else { return None };
    // A contact that names another person is not the sender's.
    let names_another = [(contact, "/user_id"), (phone, "/user_id")].iter().any(|(value, pointer)| {
        text_at(value, pointer).is_some_and(|id| text_at(message, "/from_user_id").is_some_and(|sender| sender != id))
    });
    let own = text_at(message, "/type") == Some("contacts") && text_at(contact, "/origin") == Some("contact_request");
    // `phone` is what the address book has; `wa_id` is the account.
    text_at(phone, "/wa_id")?.parse().ok().filter(|_| own && !names_another)
}

/// A message that the business sent from its own phone. It must not verify anything.
fn read_echo(echo: &Value) -> WebhookEvent {
    WebhookEvent {
        message_id: text_at(echo, "/id").map(str::to_owned),
        chat_id: text_at(echo, "/to").map(str::to_owned),
        text: text_at(echo, "/text/body").map(str::to_owned),
        timestamp: time_at(echo, "/timestamp"),
        ..WebhookEvent::ignored(IgnoreReason::FromMe)
    }
}

/// A webhook with a message, also for providers that relay Meta's format. `number_id` may be empty.
pub(super) fn compose_body(sample: &SampleMessage, number_id: &str) -> WebhookRequest {
    let number_id = if number_id.is_empty() { "100000000000777" } else { number_id };
    let metadata = json!({ "display_phone_number": sample.to, "phone_number_id": number_id });
    let mut message = json!({
        "id": format!("wamid.{}", sample.id), "timestamp": sample.timestamp.to_string(), "type": "text",
        "text": { "body": sample.text },
    });
    let mut contact = json!({ "profile": { "name": SampleMessage::PUSH_NAME } });
    if sample.sender == SampleSender::HiddenNumber {
        message["from_user_id"] = json!(sample.bsuid());
        contact["user_id"] = json!(sample.bsuid());
    } else {
        message["from"] = json!(sample.phone);
        contact["wa_id"] = json!(sample.phone);
    }
    if sample.sender == SampleSender::Group {
        message["group_id"] = json!("120363000000000017");
    }
    let mut value = json!({ "messaging_product": "whatsapp", "metadata": metadata });
    let field = if sample.is_from_me() {
        message["to"] = message["from"].take();
        message["from"] = json!(sample.to);
        value["message_echoes"] = json!([message]);
        "smb_message_echoes"
    } else {
        value["contacts"] = json!([contact]);
        value["messages"] = json!([message]);
        "messages"
    };
    WebhookRequest::json(&json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": "100000000000555", "changes": [{ "value": value, "field": field }] }],
    }))
}
