//! The labels. Each is bounded: a word of a closed list, a configured instance, or a template of our own routes.

use std::fmt;

use prometheus_client::encoding::{
    EncodeLabelKey, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder,
};

use crate::domain::InstanceId;

/// As many as numbers are configured.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Of(pub InstanceId);

impl EncodeLabelValue for Of {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        fmt::Write::write_fmt(encoder, format_args!("{}", self.0))
    }
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($label:ident: $kind:ty),* })*) => {
        $($(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, Debug)]
        pub struct $name { $(pub $label: $kind),* }

        impl EncodeLabelSet for $name {
            fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
                $(
                    let mut label = encoder.encode_label();
                    let mut key = label.encode_label_key()?;
                    EncodeLabelKey::encode(&exposed(stringify!($label)), &mut key)?;
                    let mut value = key.encode_label_value()?;
                    EncodeLabelValue::encode(&self.$label, &mut value)?;
                    value.finish()?;
                )*
                Ok(())
            }
        })*
    };
}

/// A label's name as Prometheus sees it, which gives `instance` to the process it scrapes and would rename ours.
fn exposed(label: &'static str) -> &'static str {
    if label == "instance" { "instance_id" } else { label }
}

/// A word of a closed list.
type Word = &'static str;

labels! {
    ByInstance { instance: Of }
    ByPage { instance: Of, page: Word }
    ByResult { instance: Of, result: Word }
    ByReason { instance: Of, reason: Word }
    Ended { instance: Of, otp_type: Word, result: Word }
    ByGateway { instance: Of, gateway: Word }
    GatewayResult { instance: Of, gateway: Word, result: Word }
    GatewayReason { instance: Of, gateway: Word, reason: Word }
    /// What is queued: `timer`, `reply`, `callback`.
    ByKind { kind: Word }
    KindReason { kind: Word, reason: Word }
    ByLimit { limit: Word }
    ByCause { cause: Word }
    ByOperation { operation: Word }
    OperationCause { operation: Word, cause: Word }
    ByRoute { route: String }
    /// The status as a class: `2xx`.
    RouteStatus { route: String, status: Word }
    Reloaded { result: Word }
    ByConfigKey { key: Word }
    ByVersion { version: String }
    Build { version: Word, store: Word }
    /// So that a dashboard can show names.
    Known { instance: Of, name: String, gateway: Word, state: Word }
}

/// The class of an HTTP status.
pub const fn class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
