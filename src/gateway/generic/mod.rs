//! Gateways defined by configuration: `mapping` says where a JSON webhook has each field, `send` is a template of the
//! request that sends a text. Presets are such configurations, built in.

mod auth;
mod compose;
mod mapping;
mod read;
mod response;
mod send;
mod source;
mod table_reader;
mod template;

use std::sync::Arc;

use http::{Request, Response};

use self::{auth::GenericAuth, mapping::Mapping, send::SendTemplate, template::GatewayValues};
use super::{
    Gateway, IgnoreReason, Malformed, Purpose, SampleMessage, SendResult, Webhook, WebhookAuth, WebhookEvent,
    WebhookRequest, answers,
    config_reader::{self, ConfigReader},
    json,
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
};
use crate::domain::{Channel, DeliveryFailure, Subject};

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "generic",
    build: |reader| build(KIND.name, reader),
    preset: None,
    group: KindGroup::Configured,
    proof: "any of these",
    ban_risk: BanRisk::Unknown,
    sms: true,
    codes: CodeDelivery::Text,
    delivery_reports: "`receipt`",
    compared: "`to` with `number`, `account` with `account`",
    several_numbers: "as the gateway allows",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"Any gateway that posts JSON. Record one of its webhooks, describe with JSON pointers where each value is, and test the mapping
with `countersign inspect-webhook` before you use it in production. `countersign print-config` explains all keys.

```toml
[instance.gateway]
kind = "generic"
url = "https://api.tidings.example/v2"
account = "harbour"
api_key = "the-API-key"
webhook_secret = "0123456789abcdef0123456789abcdef"
webhook_auth = "hmac"                    # standard-webhooks, static-header, url-secret, basic
webhook_header = "X-Tidings-Signature"
webhook_algorithm = "sha256"
webhook_prefix = "sha256="

[instance.gateway.mapping]
select = "/messages"
event = { pointer = "/kind", accept = ["inbound"], status = ["ack"] }
message_id = "/id"
chat_id = "/chat"
sender = "/author/phone"
lid = "/author/lid"
text = { pointer = "/content/text", when_pointer = "/content/type", equals = "text" }
timestamp = { pointer = "/at", unit = "s" }
from_me = { pointer = "/direction", equals = "out" }
group = { pointer = "/chat", when_suffix = "@g.us" }
push_name = "/author/name"

[instance.gateway.send]
url = "{url}/accounts/{account}/messages"
headers = { Authorization = "Bearer {api_key}" }
body = '{"to": "{chat_id}", "content": {"text": "{text}"}}'
message_id = "/id"
```
"#,
};

/// A gateway of `kind`: `generic`, or one with a preset.
pub(super) fn build(kind: &'static str, reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    let auth = GenericAuth::read(reader);
    let values = GatewayValues::read(reader);
    let table = &mut reader.table;
    let mapping = table.nested("mapping", Mapping::read);
    let send = table.has("send").then(|| table.nested("send", |table| SendTemplate::read(table, &values)));
    if reader.purpose != Purpose::Inspect {
        if send.is_none() {
            table.fault("send", "is missing: the request that sends a text");
        }
        for name in send.iter().flat_map(SendTemplate::placeholders).filter(|name| values.lacks(name)) {
            table.fault(&name, format!("is missing: send uses {{{name}}}"));
        }
    }
    let channels = [("whatsapp", Channel::WhatsApp), ("sms", Channel::Sms)];
    let channel = table.choice("channel", &channels).unwrap_or(Channel::WhatsApp);
    let sms_verifies = reader.sms_verifies(channel);
    Arc::new(Generic { kind, auth, mapping, values, send, channel, sms_verifies })
}

struct Generic {
    kind: &'static str,
    auth: GenericAuth,
    mapping: Mapping,
    values: GatewayValues,
    /// `None` only for [`Purpose::Inspect`].
    send: Option<SendTemplate>,
    channel: Channel,
    sms_verifies: bool,
}

impl Gateway for Generic {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.auth.scheme, secrets: &self.auth.secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let events = read::parse_events(
            &self.mapping,
            &json::parse(webhook.body)?,
            self.values.get("account").unwrap_or_default(),
        )?;
        let sms = self.channel == Channel::Sms;
        let events = events.into_iter().map(|event| match event.ignored {
            None if sms && !self.sms_verifies => WebhookEvent { ignored: Some(IgnoreReason::Sms), ..event },
            _ => WebhookEvent { forgeable: sms, ..event },
        });
        Ok(events.collect())
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        compose::compose_body(&self.mapping, sample).map(|body| WebhookRequest::json(&body))
    }

    fn channel(&self) -> Channel {
        self.channel
    }

    fn sender_warning(&self) -> Option<&'static str> {
        self.sms_verifies.then_some(config_reader::SMS_WARNING)
    }

    fn recipient(&self, subject: &Subject) -> String {
        self.send.as_ref().map(|send| send.recipient(subject)).unwrap_or_default()
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        // Without `send`, the empty request is refused by egress.
        self.send.as_ref().map(|send| send.request(&self.values, chat_id, subject, text)).unwrap_or_default()
    }

    fn queue_check(&self) -> Option<Request<Vec<u8>>> {
        self.send.as_ref()?.queue_check(&self.values)
    }

    fn parse_queue_check(&self, response: &Response<Vec<u8>>) -> Option<SendResult> {
        let waits = self.send.as_ref().is_some_and(|send| send.waits(response));
        waits.then_some(SendResult::Retryable { reason: DeliveryFailure::NotConnected })
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        match &self.send {
            Some(send) => send.response_rules.parse(response),
            None => answers::read(response, &[], &[]),
        }
    }
}
