//! Composes webhooks in the format of each gateway: one function per kind.

mod official;
mod unofficial;

use serde_json::Value;
use url::form_urlencoded;

use crate::{
    config::Section,
    gateway::{Draft, Gateway, Sample},
};

/// The body of a webhook.
enum Body {
    Json(Value),
    Form(Vec<(&'static str, String)>),
}

/// The gateway's table, for values that its webhooks repeat.
struct Table {
    section: Section,
}

impl Table {
    fn text(&self, name: &str) -> Option<String> {
        self.section.clone().text(name, &mut crate::config::Faults::default())
    }
}

type Compose = fn(&Table, &Sample) -> Option<Body>;

const COMPOSERS: &[(&str, Compose)] = &[
    ("cloud-api", official::meta),
    ("360dialog", official::meta),
    ("gupshup-v3", official::meta),
    ("twilio", official::twilio),
    ("vonage", official::vonage),
    ("bird", official::bird),
    ("chatwoot", official::chatwoot),
    ("waha", unofficial::waha),
    ("wawp", unofficial::waha),
    ("hypersender", unofficial::hypersender),
    ("evolution", unofficial::evolution),
    ("gowa", unofficial::gowa),
    ("wppconnect", unofficial::wppconnect),
    ("wuzapi", unofficial::wuzapi),
    ("green-api", unofficial::green_api),
    ("whapi", unofficial::whapi),
];

/// An unsigned webhook with the message `sample`. `None`: this gateway has no such message.
pub fn compose(gateway: &dyn Gateway, section: &Section, sample: &Sample) -> Option<Draft> {
    let composer = COMPOSERS.iter().find(|(kind, _)| *kind == gateway.kind());
    let body = match composer {
        Some((_, compose)) => compose(&Table { section: section.clone() }, sample)?,
        None => Body::Json(gateway.compose(sample)?),
    };
    let (kind, body) = match body {
        Body::Json(json) => ("application/json", json.to_string().into_bytes()),
        Body::Form(fields) => {
            let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            ("application/x-www-form-urlencoded", form.into_bytes())
        }
    };
    Some(Draft { headers: vec![("content-type".to_owned(), kind.to_owned())], body, ..Draft::default() })
}
