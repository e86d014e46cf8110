//! Twilio, for WhatsApp and SMS: webhooks are forms, signed with HMAC-SHA1 over the URL and every parameter.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    ButtonMessage, CodeMessage, Gateway, IgnoreReason, Malformed, ReceiptStatus, SampleMessage, SampleSender,
    SendResult, Webhook, WebhookAuth, WebhookEvent, WebhookRequest,
    addressee::Addressee,
    answers::{self, Answer, NOT_ON_WHATSAPP, PERMANENT, QUOTA, RATE_LIMITED, UNAUTHORIZED, WINDOW_CLOSED},
    auth_scheme::AuthScheme,
    config_reader::{self, ConfigReader, Purpose, basic_auth},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
    sender_ids::SenderIds,
};
use crate::domain::{Channel, Subject};

/// The prefix of WhatsApp numbers; SMS numbers have none.
const WHATSAPP: &str = "whatsapp:";

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "twilio",
    build,
    preset: None,
    group: KindGroup::Official,
    proof: "HMAC-SHA1 of URL and parameters",
    ban_risk: BanRisk::None,
    sms: true,
    codes: CodeDelivery::TemplateOrSms,
    delivery_reports: "status callback URL",
    compared: "`account_sid`, `messaging_service_sid`, `from` (without it `number`)",
    several_numbers: "a webhook URL per sender",
    issues_webhook_secret: true,
    shared_secrets: &[],
    setup: r#"*Messaging → Senders → WhatsApp senders* (for SMS: *Phone numbers*) → the number → *When a message comes in*: the webhook
URL, **HTTP POST**. Twilio signs the URL as entered there; if it differs from `public_url` and path, repeat it in
`webhook_url`; connection overrides (`#rc=…`) are cut off, as Twilio does. `webhook_secret` is the **auth token**; with
Webhook Rules, add the **shared key** to it: `webhook_secret = ["<auth token>", "<shared key>"]`, the auth token first. `channel` is `whatsapp` if `from` begins with `whatsapp:`, and
otherwise `sms`; [SMS verifies nothing](#sms-and-other-channels) by default.

Codes on WhatsApp are sent as text, which arrives only within 24 hours of the user's last message. With `content_sid`, they are
sent with an approved content template of type *WhatsApp authentication*, whose variable `{{1}}` is the code. For replies with a
[button](#buttons), create a content template of type *Call to action* with the body `{{1}}` and one button *Visit website* with
the URL `https://wa.example.org/{{2}}`, your `public_url` without its path; it needs no approval, because it is only sent to users
who have just written. Its SID is `button_content_sid`.

```toml
[instance.gateway]
kind = "twilio"
account_sid = "AC0123456789abcdef0123456789abcdef"
webhook_secret = "0123456789abcdef0123456789abcdef"       # the auth token
from = "whatsapp:+12025550142"
# webhook_url = "https://wa.example.org/webhooks/5f0c2a90-0000-4000-8000-000000000001"
# content_sid = "HX0123456789abcdef0123456789abcdef"           # the content template of codes
# button_content_sid = "HX0123456789abcdef0123456789abcdef"    # the content template of replies with a link
```
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    let auth_tokens = reader.webhook_secrets();
    let account_sid = reader.identifier("account_sid", "the account SID, AC…, to send replies");
    let from = reader.text("from");
    let messaging_service_sid = reader.text("messaging_service_sid");
    if from.is_none() && messaging_service_sid.is_none() && reader.purpose != Purpose::Inspect {
        reader.table.fault("from", "is missing: the sending number, or messaging_service_sid");
    }
    let on_whatsapp = from.as_deref().is_some_and(|from| from.starts_with(WHATSAPP));
    let channels = [("whatsapp", Channel::WhatsApp), ("sms", Channel::Sms)];
    let channel = reader.table.choice("channel", &channels);
    let channel = channel.unwrap_or(if on_whatsapp { Channel::WhatsApp } else { Channel::Sms });
    let sms_verifies = reader.sms_verifies(channel);
    let api_key = reader.text("api_key");
    let code_content = content_sid(reader, "content_sid");
    let button_content = content_sid(reader, "button_content_sid");
    let authorization = match &api_key {
        Some(key) => basic_auth(key, &reader.sending_secret("api_secret", "the secret of api_key")),
        None => basic_auth(&account_sid, &auth_tokens.first().cloned().unwrap_or_default()),
    };
    Arc::new(Twilio {
        scheme: AuthScheme::Twilio { url: reader.webhook_url() },
        auth_tokens,
        url: reader.base_url(Some("https://api.twilio.com")),
        authorization: authorization.into(),
        account_sid,
        from,
        messaging_service_sid,
        channel,
        sms_verifies,
        code_content,
        button_content,
        button: reader.button(),
    })
}

/// Reads the SID of a content template.
fn content_sid(reader: &mut ConfigReader<'_>, name: &str) -> Option<String> {
    let sid = reader.text(name);
    let is_sid = |sid: &String| {
        sid.strip_prefix("HX").is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    if sid.as_ref().is_some_and(|sid| !is_sid(sid)) {
        reader.table.fault(name, "expected the SID of a content template: HX and 32 hex digits");
    }
    sid
}

/// twilio.com/docs/api/errors.
const ANSWERS: &[Answer] = &[
    // Credentials; the account is suspended; the sender is not this account's, or Meta has disabled it.
    Answer::value("/code", &["20003", "20005", "63007", "63051", "63112"], UNAUTHORIZED),
    Answer::value("/code", &["63003", "63024"], NOT_ON_WHATSAPP),
    Answer::value("/code", &["63016"], WINDOW_CLOSED),
    Answer::value("/code", &["20429", "63017", "63018"], RATE_LIMITED),
    Answer::value("/code", &["63038"], QUOTA),
    Answer::value("/code", &["21211", "21610", "21614"], PERMANENT),
];

struct Twilio {
    scheme: AuthScheme,
    auth_tokens: Vec<SecretString>,
    url: String,
    authorization: SecretString,
    account_sid: String,
    from: Option<String>,
    messaging_service_sid: Option<String>,
    /// The channel of codes; replies use the channel of the message they answer.
    channel: Channel,
    sms_verifies: bool,
    /// The SID of the approved content template that carries codes on WhatsApp. `{{1}}` is the code.
    code_content: Option<String>,
    /// The SID of the content template of replies with a link. `{{1}}` is the text, `{{2}}` the link without its origin.
    button_content: Option<String>,
    button: bool,
}

impl Twilio {
    /// The request that sends a message to `to`, with these fields for its content.
    fn message(&self, to: &str, content: &[(&str, &str)]) -> Request<Vec<u8>> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("To", to);
        match (&self.messaging_service_sid, &self.from) {
            (Some(service), _) => {
                form.append_pair("MessagingServiceSid", service);
            }
            (None, from) => {
                let number = from.as_deref().unwrap_or_default();
                let number = number.strip_prefix(WHATSAPP).unwrap_or(number);
                let prefix = if to.starts_with(WHATSAPP) { WHATSAPP } else { "" };
                form.append_pair("From", &format!("{prefix}{number}"));
            }
        }
        form.extend_pairs(content);
        Request::post(format!("{}/2010-04-01/Accounts/{}/Messages.json", self.url, self.account_sid))
            .header("authorization", self.authorization.expose_secret())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.finish().into_bytes())
            .expect("the URL and the credentials were validated when the configuration was loaded")
    }

    /// The same with a content template: twilio.com/docs/content/send-templates-created-with-the-content-template-builder.
    fn content_message(&self, to: &str, sid: &str, variables: &Value) -> Request<Vec<u8>> {
        self.message(to, &[("ContentSid", sid), ("ContentVariables", &variables.to_string())])
    }
}

impl Gateway for Twilio {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.auth_tokens }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let form = Form(form_urlencoded::parse(webhook.body).into_owned().collect());
        Ok(vec![self.read(&form)?])
    }

    /// Twilio would send any other text to the sender as a reply.
    fn acknowledgement(&self) -> (&'static str, &'static str) {
        ("text/xml", "<Response/>")
    }

    fn channel(&self) -> Channel {
        self.channel
    }

    fn sender_warning(&self) -> Option<&'static str> {
        self.sms_verifies.then_some(config_reader::SMS_WARNING)
    }

    fn recipient(&self, subject: &Subject) -> String {
        let to = match subject {
            Subject::Phone(phone) => phone.e164(),
            other => other.chat_id(),
        };
        if self.channel == Channel::WhatsApp { format!("{WHATSAPP}{to}") } else { to }
    }

    fn text_message(&self, chat_id: &str, _subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        self.message(chat_id, &[("Body", text)])
    }

    fn code_message(&self, message: &CodeMessage<'_>) -> Option<Request<Vec<u8>>> {
        let to = self.recipient(message.subject);
        Some(match &self.code_content {
            Some(sid) if to.starts_with(WHATSAPP) => self.content_message(&to, sid, &json!({ "1": message.code })),
            _ => self.text_message(&to, Some(message.subject), message.text),
        })
    }

    /// The button's words are those of the content template.
    fn button_message(
        &self,
        chat_id: &str,
        _subject: Option<&Subject>,
        message: &ButtonMessage<'_>,
    ) -> Option<Request<Vec<u8>>> {
        let sid = self.button_content.as_ref().filter(|_| self.button && chat_id.starts_with(WHATSAPP))?;
        let (_, rest) = message.url.split_once("://")?;
        let (_, path) = rest.split_once('/')?;
        Some(self.content_message(chat_id, sid, &json!({ "1": message.text, "2": path })))
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        let sms = self.channel == Channel::Sms;
        let number = |digits: &str| format!("{}+{digits}", if sms { "" } else { WHATSAPP });
        let own = self.from.as_deref().unwrap_or(&sample.to).trim_start_matches(WHATSAPP).trim_start_matches('+');
        let sid = format!("SM{:0>32}", sample.id.to_lowercase());
        let from = match sample.sender {
            SampleSender::Group => return None,
            // Sent messages are reported as statuses only.
            SampleSender::OwnNumber => {
                return Some(WebhookRequest::form(&[
                    ("MessageSid", &sid),
                    ("MessageStatus", "delivered"),
                    ("SmsStatus", "delivered"),
                    ("From", &number(own)),
                    ("To", &number(&sample.phone)),
                ]));
            }
            SampleSender::HiddenNumber if sms => return None,
            SampleSender::HiddenNumber => format!("{WHATSAPP}{}", sample.bsuid()),
            SampleSender::Person => number(&sample.phone),
        };
        let to = number(own);
        let mut fields = vec![
            ("SmsMessageSid", sid.as_str()),
            ("MessageSid", &sid),
            ("NumMedia", "0"),
            ("SmsStatus", "received"),
            ("From", &from),
            ("To", &to),
            ("Body", &sample.text),
        ];
        if !sms {
            fields.extend([("ProfileName", SampleMessage::PUSH_NAME), ("MessageType", "text")]);
        }
        Some(WebhookRequest::form(&fields))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/sid"], &[ANSWERS])
    }
}

impl Twilio {
    fn read(&self, form: &Form) -> Result<WebhookEvent, Malformed> {
        if form.one("MessageStatus").is_some() || form.one("SmsStatus") != Some("received") {
            let progress = form.one("MessageStatus").and_then(ReceiptStatus::from_word);
            let progress = progress.map(|progress| progress.with_code(ANSWERS, form.one("ErrorCode")));
            return Ok(WebhookEvent::status(form.one("MessageSid"), progress));
        }
        let missing = |name: &str| Malformed(format!("not exactly one {name}"));
        let id = form.one("MessageSid").ok_or_else(|| missing("MessageSid"))?;
        let from = form.one("From").ok_or_else(|| missing("From"))?;
        let on_whatsapp = from.strip_prefix(WHATSAPP);
        if on_whatsapp.is_none() && !self.sms_verifies {
            return Ok(WebhookEvent::ignored(IgnoreReason::Sms));
        }
        let number = on_whatsapp.unwrap_or(from);
        let phone = number.starts_with('+').then(|| number.parse().ok()).flatten();
        let is_text = form.one("NumMedia").is_none_or(|count| count == "0")
            && form.one("MessageType").is_none_or(|kind| kind == "text");
        let body = form.one("Body").filter(|_| is_text);
        let bare = |number: &str| number.strip_prefix(WHATSAPP).unwrap_or(number).to_owned();
        let (to, ours) = (form.one("To").map(bare), self.from.as_deref().map(bare));
        let value = |name: &str| form.one(name).map(Value::from);
        let service = self.messaging_service_sid.as_deref().unwrap_or_default();
        let addressee = Addressee::default()
            .check_id(value("AccountSid").as_ref(), &self.account_sid)
            .check_id(value("MessagingServiceSid").as_ref(), service)
            .check_phone(to.as_deref(), ours.as_deref());
        let addressee = if ours.is_some() { addressee } else { addressee.with_phone(to.as_deref()) };
        let wa_id = form.one("WaId").filter(|_| on_whatsapp.is_some());
        let user = form.one("ExternalUserId").filter(|_| on_whatsapp.is_some());
        let ids = SenderIds::default().phone(phone).phone(wa_id.and_then(|digits| digits.parse().ok()));
        let event = WebhookEvent {
            ignored: body.is_none().then_some(IgnoreReason::NonText),
            message_id: Some(id.to_owned()),
            chat_id: Some(from.to_owned()),
            forgeable: on_whatsapp.is_none(),
            push_name: form.one("ProfileName").map(str::to_owned),
            text: body.map(str::to_owned),
            ..WebhookEvent::default()
        };
        Ok(event.with_sender(ids.bsuid(on_whatsapp).bsuid(user)).addressed_to(&addressee))
    }
}

/// The parameters of a form, decoded.
struct Form(Vec<(String, String)>);

impl Form {
    /// The value of a parameter that occurs exactly once and is not empty.
    fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next()?;
        (values.next().is_none() && !value.is_empty()).then_some(value)
    }
}
