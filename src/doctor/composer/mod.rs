//! Composes webhooks in the format of each gateway: one function per kind.

mod official;
mod unofficial;

use serde_json::Value;
use url::form_urlencoded;

use crate::{
    gateway::{Gateway, SampleMessage, WebhookRequest},
    reader::Table,
};

/// The body of a webhook.
enum ComposedBody {
    Json(Value),
    Form(Vec<(&'static str, String)>),
}

type ComposeFn = fn(&Table, &SampleMessage) -> Option<ComposedBody>;

const COMPOSERS: &[(&str, ComposeFn)] = &[
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
    ("evolution-go", unofficial::evolution_go),
    ("gowa", unofficial::gowa),
    ("wppconnect", unofficial::wppconnect),
    ("wuzapi", unofficial::wuzapi),
    ("green-api", unofficial::green_api),
    ("whapi", unofficial::whapi),
];

/// An unsigned webhook with the message `sample`. `None`: this gateway has no such message.
pub fn compose(gateway: &dyn Gateway, table: &Table, sample: &SampleMessage) -> Option<WebhookRequest> {
    let composer = COMPOSERS.iter().find(|(kind, _)| *kind == gateway.kind());
    let body = match composer {
        Some((_, compose)) => compose(table, sample)?,
        None => ComposedBody::Json(gateway.compose(sample)?),
    };
    let (kind, body) = match body {
        ComposedBody::Json(json) => ("application/json", json.to_string().into_bytes()),
        ComposedBody::Form(fields) => {
            let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            ("application/x-www-form-urlencoded", form.into_bytes())
        }
    };
    Some(WebhookRequest {
        headers: vec![("content-type".to_owned(), kind.to_owned())],
        body,
        ..WebhookRequest::default()
    })
}
