//! Gateways defined by configuration: `mapping` says where a JSON webhook has each field, `send` is a template of the
//! request that sends a text. Presets are such configurations, built in.

mod answer;
mod auth;
mod compose;
mod fields;
mod mapping;
pub(super) mod presets;
mod read;
mod send;
mod source;
mod template;

use std::sync::Arc;

use http::{Request, Response};
use serde_json::Value;

use self::{auth::Auth, mapping::Mapping, send::Send, template::Values};
use super::{
    Event, Gateway, Ignored, Malformed, Proof, Purpose, Sample, Sent, Webhook,
    credentials::{self, Reader},
    json, sent_by_status,
};
use crate::{
    config::Section,
    domain::{Subject, sending::Channel},
};

pub(super) fn build(reader: &mut Reader<'_>) -> Arc<dyn Gateway> {
    configured("generic", reader)
}

/// A kind with built-in settings. Keys of the operator's table override them, in `mapping` and `send` one by one.
pub(super) fn preset(kind: &'static str, defaults: &str, reader: &mut Reader<'_>) -> Arc<dyn Gateway> {
    let defaults = toml::from_str(defaults).expect("a test reads every preset");
    *reader.section = std::mem::take(reader.section).over(&Section::new("", defaults));
    configured(kind, reader)
}

fn configured(kind: &'static str, reader: &mut Reader<'_>) -> Arc<dyn Gateway> {
    let auth = Auth::read(reader);
    let values = Values::read(reader);
    let mapping = Mapping::read(reader.section.section("mapping", reader.faults), reader.faults);
    let sends = reader.section.has("send");
    let send = sends.then(|| Send::read(reader.section.section("send", reader.faults), &values, reader.faults));
    if reader.purpose != Purpose::Inspect {
        if send.is_none() {
            reader.faults.add(reader.section.key("send"), "is missing: the request that sends a text");
        }
        for name in send.iter().flat_map(Send::names).filter(|name| values.lacks(name)) {
            reader.faults.add(reader.section.key(&name), format!("is missing: send uses {{{name}}}"));
        }
    }
    let channels = [("whatsapp", Channel::WhatsApp), ("sms", Channel::Sms)];
    let channel = reader.section.choice("channel", &channels, reader.faults).unwrap_or(Channel::WhatsApp);
    let sms_verifies = reader.sms_verifies(channel);
    Arc::new(Generic { kind, auth, mapping, values, send, channel, sms_verifies })
}

struct Generic {
    kind: &'static str,
    auth: Auth,
    mapping: Mapping,
    values: Values,
    /// `None` only for [`Purpose::Inspect`].
    send: Option<Send>,
    channel: Channel,
    sms_verifies: bool,
}

impl Gateway for Generic {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn proof(&self) -> Proof<'_> {
        Proof { scheme: &self.auth.scheme, secrets: &self.auth.secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<Event>, Malformed> {
        let events =
            read::events(&self.mapping, &json::parse(webhook.body)?, self.values.get("account").unwrap_or_default())?;
        let sms = self.channel == Channel::Sms;
        let events = events.into_iter().map(|event| match event.ignored {
            None if sms && !self.sms_verifies => Event { ignored: Some(Ignored::Sms), ..event },
            _ => Event { weak: sms, ..event },
        });
        Ok(events.collect())
    }

    fn compose(&self, sample: &Sample) -> Option<Value> {
        compose::body(&self.mapping, sample)
    }

    fn channel(&self) -> Channel {
        self.channel
    }

    fn believes(&self) -> Option<&'static str> {
        self.sms_verifies.then_some(credentials::SMS_VERIFIES)
    }

    fn address(&self, subject: &Subject) -> String {
        self.send.as_ref().map(|send| send.address(subject)).unwrap_or_default()
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        // Without `send`, the empty request is refused by egress.
        self.send.as_ref().map(|send| send.request(&self.values, chat_id, subject, text)).unwrap_or_default()
    }

    fn sent(&self, response: &Response<Vec<u8>>) -> Sent {
        match &self.send {
            Some(send) => send.answers.read(response),
            None => sent_by_status(response.status()),
        }
    }
}
