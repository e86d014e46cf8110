//! The instance under test, and the messages composed for it.

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;

use super::probe::Probe;
use crate::{
    clock::Clock,
    config::InstanceConfig,
    domain::Phone,
    gateway::{Gateway, IgnoreReason, SampleMessage, SampleSender, Webhook, WebhookEvent, WebhookRequest},
    random,
};

/// The instance under test.
pub(super) struct CheckTarget<'a> {
    pub(super) gateway: Arc<dyn Gateway>,
    pub(super) config: &'a InstanceConfig,
    pub(super) others: Vec<Arc<dyn Gateway>>,
    pub(super) probe: Probe,
    /// The sender of composed messages: digits of a phone number and of a LID.
    phone: String,
    lid: String,
    /// The operator's number, digits only (`--phone`).
    operator_phone: Option<String>,
}

impl<'a> CheckTarget<'a> {
    pub(super) fn new(
        gateway: Arc<dyn Gateway>,
        config: &'a InstanceConfig,
        others: Vec<Arc<dyn Gateway>>,
        probe: Probe,
        phone: Option<&Phone>,
    ) -> Self {
        let own = phone.map(|phone| phone.digits().to_owned());
        // A random fictional sender, so that a run is not limited by the wrong codes of an earlier one and no real
        // person's limit is used up. If the instance replies to unknown codes, the sender must be the operator.
        let random = u64::from_be_bytes(random::bytes());
        let fictional = format!("447700900{:03}", random % 1_000);
        let lid = format!("190000{:09}", random / 1_000 % 1_000_000_000);
        let phone = own.clone().filter(|_| config.reply_to_unknown).unwrap_or(fictional);
        Self { gateway, config, others, probe, phone, lid, operator_phone: own }
    }

    /// Sends all further messages from the operator's number, if it is known.
    pub(super) fn use_operator_phone(&mut self) {
        if let Some(own) = &self.operator_phone {
            self.phone.clone_from(own);
        }
    }

    /// Whether this instance ignores received SMS, so that it can only send.
    pub(super) fn is_send_only(&self) -> bool {
        let request = self.compose(&self.sample(SampleSender::Person, &text_with_unknown_code()));
        let event = request.and_then(|request| self.parse(&request));
        event.is_some_and(|event| event.ignored == Some(IgnoreReason::Sms))
    }

    pub(super) fn now() -> Timestamp {
        Clock::default().wall()
    }

    /// A message with the current time.
    pub(super) fn sample(&self, who: SampleSender, text: &str) -> SampleMessage {
        let id = random::bytes::<10>().iter().fold(String::new(), |id, byte| format!("{id}{byte:02X}"));
        let (text, at) = (text.to_owned(), Self::now().as_second());
        let to = self.config.number.digits().to_owned();
        SampleMessage { sender: who, id, text, timestamp: at, phone: self.phone.clone(), to, lid: self.lid.clone() }
    }

    pub(super) fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        self.gateway.compose(sample)
    }

    pub(super) fn compose_signed(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        let mut request = self.compose(sample)?;
        self.gateway.webhook_auth().sign(&mut request, Self::now());
        Some(request)
    }

    /// The first event that the gateway parses from a request.
    pub(super) fn parse(&self, request: &WebhookRequest) -> Option<WebhookEvent> {
        let (headers, now) = (http::HeaderMap::new(), Self::now());
        let (query, body) = (request.query.as_str(), request.body.as_slice());
        let webhook = Webhook { method: &Method::POST, path_suffix: None, query, headers: &headers, body, now };
        self.gateway.parse(&webhook).ok()?.into_iter().next()
    }
}

/// A text with a random code that was never issued.
pub(super) fn text_with_unknown_code() -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let code: String = random::bytes::<16>().iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    format!("countersign doctor [{code}]")
}
