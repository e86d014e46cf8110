//! How each gateway tells of a message: one composer per kind.

mod official;
mod unofficial;

use serde_json::Value;
use url::form_urlencoded;

use crate::{
    gateway::{Draft, Gateway, Sample},
    reader::Table,
};

/// A body as a gateway writes it.
enum Body {
    Json(Value),
    Form(Vec<(&'static str, String)>),
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

/// An unsigned webhook that tells of `sample`; `None`: this gateway knows no such message.
pub fn compose(gateway: &dyn Gateway, table: &Table, sample: &Sample) -> Option<Draft> {
    let composer = COMPOSERS.iter().find(|(kind, _)| *kind == gateway.kind());
    let body = match composer {
        Some((_, compose)) => compose(table, sample)?,
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
