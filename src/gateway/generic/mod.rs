//! Any gateway that posts JSON, known only by configuration; and presets, which are such configurations in a
//! file.

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
use crate::domain::{Subject, sending::Channel};

/// A gateway of `kind`: `generic`, or one of [`presets`].
pub(super) fn build(kind: &'static str, reader: &mut Reader<'_>) -> Arc<dyn Gateway> {
    let auth = Auth::read(reader);
    let values = Values::read(reader);
    let table = &mut reader.table;
    let mapping = table.nested("mapping", Mapping::read);
    let send = table.has("send").then(|| table.nested("send", |table| Send::read(table, &values)));
    if reader.purpose != Purpose::Inspect {
        if send.is_none() {
            table.fault("send", "is missing: the request that sends a text");
        }
        for name in send.iter().flat_map(Send::names).filter(|name| values.lacks(name)) {
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
    auth: Auth,
    mapping: Mapping,
    values: Values,
    /// Absent only for inspection.
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
        let believed = events.into_iter().map(|event| match event.ignored {
            None if sms && !self.sms_verifies => Event { ignored: Some(Ignored::Sms), ..event },
            _ => Event { weak: sms, ..event },
        });
        Ok(believed.collect())
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
        // Where nothing can be sent to, egress says so.
        self.send.as_ref().map(|send| send.request(&self.values, chat_id, subject, text)).unwrap_or_default()
    }

    fn sent(&self, response: &Response<Vec<u8>>) -> Sent {
        match &self.send {
            Some(send) => send.answers.read(response),
            None => sent_by_status(response.status()),
        }
    }
}
