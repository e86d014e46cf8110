//! Every metric: its labels as enums or closed words, its help beside it.

use std::sync::Arc;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// One word from a closed list.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct Word {
    pub result: &'static str,
}

/// A gateway kind and one word.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ByGateway {
    pub gateway: &'static str,
    pub result: &'static str,
}

/// A configured instance; as many as there are numbers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ByInstance {
    pub instance: String,
}

/// A request by route template and status.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ByRoute {
    pub route: String,
    pub status: u16,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])* $name:ident: $kind:ty = $make:expr,)*) => {
        /// All families. A field's doc comment is its help text.
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])* pub $name: $kind,)*
        }

        impl Metrics {
            pub fn new() -> Arc<Self> {
                let mut registry = Registry::with_prefix("countersign");
                $(
                    let $name: $kind = $make;
                    registry.register(stringify!($name), concat!($($help),*).trim().trim_end_matches('.'), $name.clone());
                )*
                Arc::new(Self { registry, $($name,)* })
            }
        }
    };
}

metrics! {
    /// Links minted.
    links_minted: Counter = Counter::default(),
    /// Verifications that ended, by their last state.
    verifications: Family<Word, Counter> = Family::default(),
    /// Messages that matched nothing or were refused, by reason.
    messages_refused: Family<Word, Counter> = Family::default(),
    /// Events in authenticated webhooks, by what they are.
    webhook_events: Family<ByGateway, Counter> = Family::default(),
    /// Webhooks that did not prove where they come from.
    webhooks_rejected: Family<ByGateway, Counter> = Family::default(),
    /// Hosted links that were looked at; robots look too.
    links_opened: Counter = Counter::default(),
    /// Seconds from mint to the matching message.
    time_to_verification_seconds: Histogram = Histogram::new(exponential_buckets(1.0, 2.0, 12)),
    /// Attempts to deliver a callback, by result.
    callback_attempts: Family<Word, Counter> = Family::default(),
    /// Attempts to send a reply, by result.
    replies: Family<ByGateway, Counter> = Family::default(),
    /// Numbers whose gateway refuses our credentials (1): logged out, banned, or a wrong token.
    numbers_refused: Family<ByInstance, Gauge> = Family::default(),
    /// Jobs given up.
    jobs_dead: Family<Word, Counter> = Family::default(),
    /// Jobs whose lease ran out while this process worked on them.
    leases_lost: Counter = Counter::default(),
    /// Jobs in the hands of this process.
    jobs_in_flight: Gauge = Gauge::default(),
    /// Requests to the store that failed.
    store_errors: Counter = Counter::default(),
    /// Requests, by route template and status.
    http_requests: Family<ByRoute, Counter> = Family::default(),
}

impl Metrics {
    /// The exposition format.
    pub fn render(&self) -> String {
        let mut out = String::new();
        encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_and_names_are_rendered() {
        let metrics = Metrics::new();
        metrics.verifications.get_or_create(&Word { result: "verified" }).inc();
        let text = metrics.render();
        assert!(text.contains("# HELP countersign_links_minted Links minted.\n"), "{text}");
        assert!(text.contains("countersign_verifications_total{result=\"verified\"} 1\n"), "{text}");
    }
}
