//! The labels. Each is bounded: a word of a closed list, a configured instance, or a template of our own routes.

use std::fmt;

use prometheus_client::encoding::{
    EncodeLabelKey, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder,
};

use crate::domain::InstanceId;

/// As many as numbers are configured.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InstanceLabel(pub InstanceId);

impl EncodeLabelValue for InstanceLabel {
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
                    EncodeLabelKey::encode(&exposed_name(stringify!($label)), &mut key)?;
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
fn exposed_name(label: &'static str) -> &'static str {
    if label == "instance" { "instance_id" } else { label }
}

/// A word of a closed list.
type StaticLabel = &'static str;

labels! {
    ByInstance { instance: InstanceLabel }
    ByPage { instance: InstanceLabel, page: StaticLabel }
    ByResult { instance: InstanceLabel, result: StaticLabel }
    ByReason { instance: InstanceLabel, reason: StaticLabel }
    ByFinalState { instance: InstanceLabel, otp_type: StaticLabel, result: StaticLabel }
    ByGateway { instance: InstanceLabel, gateway: StaticLabel }
    GatewayResult { instance: InstanceLabel, gateway: StaticLabel, result: StaticLabel }
    GatewayReason { instance: InstanceLabel, gateway: StaticLabel, reason: StaticLabel }
    /// What is queued: `timer`, `reply`, `callback`.
    ByKind { kind: StaticLabel }
    KindReason { kind: StaticLabel, reason: StaticLabel }
    ByLimit { limit: StaticLabel }
    ByCause { cause: StaticLabel }
    ByOperation { operation: StaticLabel }
    OperationCause { operation: StaticLabel, cause: StaticLabel }
    ByRoute { route: String }
    /// The status as a class: `2xx`.
    RouteStatus { route: String, status: StaticLabel }
    ByReloadResult { result: StaticLabel }
    ByConfigKey { key: StaticLabel }
    ByVersion { version: String }
    BuildInfo { version: StaticLabel, store: StaticLabel }
    /// So that a dashboard can show names.
    InstanceInfo { instance: InstanceLabel, name: String, gateway: StaticLabel, state: StaticLabel }
}

/// The class of an HTTP status.
pub const fn status_class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
