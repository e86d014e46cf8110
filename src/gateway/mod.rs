//! Gateways: the WhatsApp APIs this daemon speaks, one per file.
//!
//! A [`Gateway`] authenticates the raw bytes of a webhook, parses them into [`WebhookEvent`]s, builds the request that
//! sends a message, and parses the response to it. It performs no I/O: `http` receives the bytes, `egress` sends the
//! requests. A new gateway is a file, a folder of fixtures, and its name in this file.

mod addressee;
mod answers;
mod auth_scheme;
mod bird;
mod chatwoot;
mod cloud_api;
mod cloud_message;
mod cloud_relay;
mod cloud_template;
mod config_reader;
mod event;
mod evolution;
mod evolution_go;
mod generic;
mod gowa;
mod green_api;
mod gupshup;
mod hypersender;
mod infobip;
mod jid;
mod json;
mod json_repair;
mod kind;
mod multipart;
mod outcome;
mod receipt;
mod sample;
mod sender_ids;
mod simulator;
mod twilio;
mod ultramsg;
mod vonage;
mod waha;
mod wawp;
mod webhook;
mod webhook_auth;
mod whapi;
mod wppconnect;
mod wuzapi;
mod z_api;

use std::sync::Arc;

pub use self::{
    auth_scheme::{CredentialLocation, WebhookRequest},
    config_reader::Purpose,
    event::{IgnoreReason, WebhookEvent},
    json::parse_strict as strict_json,
    kind::{Abilities, BanRisk, CodeDelivery, GatewayKind, KindGroup},
    outcome::{LidLookup, Refusal, SendResult},
    receipt::{DeliveryReceipt, ReceiptStatus, stable_id},
    sample::{SampleMessage, SampleSender},
    simulator::SimulatedMessage,
    webhook::{Handshake, Malformed, Unauthenticated, Webhook},
    webhook_auth::WebhookAuth,
};
use crate::{
    domain::{Channel, Language, Subject},
    reader::{Faults, Table, not_one_of},
};

/// The kinds that `serve` accepts, in the order of the guide.
const KINDS: &[GatewayKind] = &[
    cloud_api::KIND,
    cloud_relay::KIND_360DIALOG,
    cloud_relay::KIND_GUPSHUP_V3,
    gupshup::KIND,
    twilio::KIND,
    vonage::KIND,
    bird::KIND,
    infobip::KIND,
    chatwoot::KIND,
    waha::KIND,
    gowa::KIND,
    wuzapi::KIND,
    evolution::KIND,
    evolution_go::KIND,
    wppconnect::KIND,
    green_api::KIND,
    whapi::KIND,
    hypersender::KIND,
    wawp::KIND,
    ultramsg::KIND,
    z_api::KIND,
    generic::KIND,
];

/// The kinds of gateway that `serve` accepts.
pub fn kinds() -> impl Iterator<Item = &'static GatewayKind> {
    KINDS.iter()
}

/// The kind of a gateway, including the simulator's.
pub fn kind_of(gateway: &dyn Gateway) -> Option<&'static GatewayKind> {
    allowed(Purpose::Inspect).map(|(_, kind)| kind).find(|kind| kind.name == gateway.kind())
}

/// The kinds that `purpose` allows, by name.
fn allowed(purpose: Purpose) -> impl Iterator<Item = (&'static str, &'static GatewayKind)> {
    let simulator = (purpose != Purpose::Serve).then_some(&simulator::KIND);
    KINDS.iter().chain(simulator).map(|kind| (kind.name, kind))
}

/// Builds the gateway of an `[instance.gateway]` table. `webhook_url` is where this instance's webhooks arrive, for
/// schemes that sign the URL.
pub fn build(table: &Table, purpose: Purpose, webhook_url: &str) -> Result<Arc<dyn Gateway>, Faults> {
    let kinds: Vec<&str> = allowed(purpose).map(|(name, _)| name).collect();
    let mut reader = table.reader();
    let kind = reader.required_text("kind", &format!("one of {}", kinds.join(", "))).unwrap_or_default();
    let Some((_, known)) = allowed(purpose).find(|(name, _)| *name == kind) else {
        if !kind.is_empty() {
            reader.fault("kind", not_one_of(&kind, &kinds));
        }
        // Which keys there may be depends on the kind.
        return Err(reader.into_faults());
    };
    let preset = known.defaults().map(|defaults| table.with_defaults(&defaults));
    let table = preset.as_ref().unwrap_or(table).reader();
    let mut reader = config_reader::ConfigReader { table, purpose, webhook_url };
    reader.text("kind");
    let gateway = (known.build)(&mut reader);
    reader.table.finish(Some(gateway))
}

/// A one-time code to send.
#[derive(Clone, Copy)]
pub struct CodeMessage<'a> {
    pub subject: &'a Subject,
    /// The code alone, for gateways that send approved templates.
    pub code: &'a str,
    /// The rendered message, which contains the code.
    pub text: &'a str,
    pub language: Language,
}

/// A message with one button, which opens a URL.
#[derive(Clone, Copy)]
pub struct ButtonMessage<'a> {
    /// The message without the URL.
    pub text: &'a str,
    /// The message with the URL, for gateways whose buttons some phones do not show.
    pub full_text: &'a str,
    /// The words on the button: at most 20 characters.
    pub label: &'a str,
    pub url: &'a str,
}

/// The API of one kind of gateway, with the settings and secrets of one instance.
pub trait Gateway: Send + Sync + 'static {
    /// The value of `kind` in the configuration.
    fn kind(&self) -> &'static str;

    /// How webhooks are authenticated, and with which secrets.
    fn webhook_auth(&self) -> WebhookAuth<'_>;

    /// Authenticates the raw bytes, in constant time. Must succeed before [`Gateway::parse`] is called.
    fn authenticate(&self, webhook: &Webhook<'_>) -> Result<(), Unauthenticated> {
        self.webhook_auth().verify(webhook)
    }

    /// Whether authentication depends on the body. If it does not, [`Gateway::authenticate`] has the same result for an
    /// empty body, so unauthenticated requests are refused before their body is read.
    fn auth_covers_body(&self) -> bool {
        self.webhook_auth().covers_body()
    }

    /// Whether this gateway also posts webhooks to `<webhook URL>/<tail>`.
    fn accepts_path_suffix(&self, _tail: &str) -> bool {
        false
    }

    /// The response to an authenticated GET, for gateways that verify a subscription with one.
    fn handshake(&self, _webhook: &Webhook<'_>) -> Option<Handshake> {
        None
    }

    /// The events in an authenticated webhook, in order of appearance.
    ///
    /// # Errors
    ///
    /// The body does not have the documented structure.
    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed>;

    /// Content type and body of the response to a webhook that was processed.
    fn acknowledgement(&self) -> (&'static str, &'static str) {
        ("text/plain; charset=utf-8", "")
    }

    /// The page of `dev`'s fake phone with `text` typed, which stands in for WhatsApp. `None` with every real gateway.
    fn fake_phone(&self, _text: &str) -> Option<String> {
        None
    }

    /// The channel this gateway sends messages over.
    fn channel(&self) -> Channel {
        Channel::WhatsApp
    }

    /// Whether a received message can verify a login. An SMS does so only with `sms_verifies`.
    fn verifies(&self) -> bool {
        self.channel() != Channel::Sms || self.sender_warning().is_some()
    }

    /// The `chat_id` for [`Gateway::text_message`] when no message from this subject has been received.
    fn recipient(&self, subject: &Subject) -> String {
        subject.chat_id()
    }

    /// The request that sends a code to a subject that may never have written. `None`: this gateway can only reply.
    fn code_message(&self, message: &CodeMessage<'_>) -> Option<http::Request<Vec<u8>>> {
        Some(self.text_message(&self.recipient(message.subject), Some(message.subject), message.text))
    }

    /// The request that sends `text` to `chat_id`.
    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> http::Request<Vec<u8>>;

    /// The request that sends a message with a button. `None`: this gateway cannot send it, or `button = false`.
    fn button_message(
        &self,
        _chat_id: &str,
        _subject: Option<&Subject>,
        _message: &ButtonMessage<'_>,
    ) -> Option<http::Request<Vec<u8>>> {
        None
    }

    /// The request that asks a person whose phone number is hidden to share it with one tap. `None`: this gateway
    /// cannot, the person is known by a phone number, or `request_contact_info = false`.
    fn contact_request(
        &self,
        _chat_id: &str,
        _subject: Option<&Subject>,
        _text: &str,
    ) -> Option<http::Request<Vec<u8>>> {
        None
    }

    /// Sets the WhatsApp message id of an outgoing message, as an idempotency key. `false`: this gateway chooses ids
    /// itself, so a retry may duplicate the message.
    fn set_message_id(&self, _message: &mut http::Request<Vec<u8>>, _id: &str) -> bool {
        false
    }

    /// An unsigned webhook as this gateway would post `sample`. `None`: it has no such messages.
    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest>;

    /// The request that asks whether a message is sent at once. `None`: this gateway keeps no queue. Gateways with one accept
    /// messages while their number is offline, and send them up to a day later, when a code has expired.
    fn queue_check(&self) -> Option<http::Request<Vec<u8>>> {
        None
    }

    /// The response to [`Gateway::queue_check`]: the result of sending a message now, if it would only wait.
    fn parse_queue_check(&self, _response: &http::Response<Vec<u8>>) -> Option<SendResult> {
        None
    }

    /// Parses the response to a request that sends a message.
    fn parse_send_response(&self, response: &http::Response<Vec<u8>>) -> SendResult;

    /// The request that lists the approved templates. `None`: no template is configured, or there is no such list.
    fn template_list(&self) -> Option<http::Request<Vec<u8>>> {
        None
    }

    /// Whether the response to [`Gateway::template_list`] has the configured template for codes in all `languages`. The result
    /// says what was found.
    ///
    /// # Errors
    ///
    /// What is missing.
    fn check_template(&self, _response: &http::Response<Vec<u8>>, _languages: &[Language]) -> Result<String, String> {
        Ok(String::new())
    }

    /// The request that looks up the phone number of a LID. `None`: this gateway has no such lookup.
    fn lid_lookup(&self, _lid: &str) -> Option<http::Request<Vec<u8>>> {
        None
    }

    /// Parses the response to [`Gateway::lid_lookup`].
    fn parse_lid_lookup(&self, _response: &http::Response<Vec<u8>>) -> LidLookup {
        LidLookup::NotResolvable
    }

    /// Whether the gateway retries a webhook that was answered with 503.
    fn retries_webhooks(&self) -> bool {
        true
    }

    /// The vendor's id of this number, compared with [`WebhookEvent::number_id`] to find the instance of a message.
    fn number_id(&self) -> Option<&str> {
        None
    }

    /// A warning to log at start if the configured API is outdated.
    fn api_warning(&self) -> Option<String> {
        None
    }

    /// A warning to log at start if the configuration accepts senders that can be forged.
    fn sender_warning(&self) -> Option<&'static str> {
        None
    }
}
