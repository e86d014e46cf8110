//! The labels. Each is bounded: a word of a closed list, a configured instance, or a template of our own routes.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::domain::InstanceId;

/// As many as numbers are configured.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Of(pub InstanceId);

impl EncodeLabelValue for Of {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        std::fmt::Write::write_fmt(encoder, format_args!("{}", self.0))
    }
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($label:ident: $kind:ty),* })*) => {
        $($(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
        pub struct $name { $(pub $label: $kind),* })*
    };
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
    ByOperation { operation: Word }
    OperationCause { operation: Word, cause: Word }
    ByRoute { route: String }
    /// The status as a class: `2xx`.
    RouteStatus { route: String, status: Word }
    Reloaded { result: Word }
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
