//! Label sets. Every label has a bounded number of values: a closed list, the configured instances, or the route
//! templates.

use std::fmt;

use prometheus_client::encoding::{
    EncodeLabelKey, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder,
};

use crate::domain::InstanceId;

/// The id of a configured instance.
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

/// The exposed name of a label. Prometheus sets `instance` to the scraped process and would rename ours.
fn exposed_name(label: &'static str) -> &'static str {
    if label == "instance" { "instance_id" } else { label }
}

/// A value of a closed list.
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
    /// Kind of a job: `timer`, `reply`, `callback`.
    ByKind { kind: StaticLabel }
    KindReason { kind: StaticLabel, reason: StaticLabel }
    ByLimit { limit: StaticLabel }
    ByCause { cause: StaticLabel }
    ByOperation { operation: StaticLabel }
    OperationCause { operation: StaticLabel, cause: StaticLabel }
    ByRoute { route: String }
    /// With the class of the status, such as `2xx`.
    RouteStatus { route: String, status: StaticLabel }
    ByReloadResult { result: StaticLabel }
    ByConfigKey { key: StaticLabel }
    ByVersion { version: String }
    BuildInfo { version: StaticLabel, store: StaticLabel }
    /// Lets dashboards show names.
    InstanceInfo { instance: InstanceLabel, name: String, gateway: StaticLabel, state: StaticLabel }
}

/// The class of an HTTP status, such as `2xx`.
pub const fn status_class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
