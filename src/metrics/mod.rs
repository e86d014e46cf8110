//! All metrics, each with its type, labels and help text.
//!
//! Series that alerts use exist from the start ([`Metrics::init_instance_series`]): `increase()` misses the first event
//! of a counter that appears with it. With more than [`MAX_INITIALIZED_INSTANCES`] instances the series of an instance
//! appear with their first event, because fifty series for each of a thousand instances are 6 MB in every scrape.

pub mod label;

use std::sync::{Arc, atomic::AtomicU64};

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        MetricType, TypedMetric,
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use self::label::{
    BuildInfo, ByCause, ByConfigKey, ByFinalState, ByGateway, ByInstance, ByKind, ByLimit, ByOperation, ByPage,
    ByReason, ByReloadResult, ByResult, ByRoute, ByVersion, GatewayReason, GatewayResult, InstanceInfo, InstanceLabel,
    KindReason, OperationCause, RouteStatus,
};
use crate::domain::{InstanceId, Reason, quota::LimitName};

/// Up to this number of instances, all series of an instance exist from the start.
pub const MAX_INITIALIZED_INSTANCES: usize = 32;

/// A gauge of seconds or of a ratio.
pub type FloatGauge = Gauge<f64, AtomicU64>;

/// The description of one metric family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MetricFamily {
    /// As registered: counters are exposed with `_total`, histograms with `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])* $name:ident: $kind:ty = $make:expr,)*) => {
        /// All families. A field's doc comment is its help text.
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])* pub $name: $kind,)*
        }

        impl Metrics {
            /// All families, in the order of their definition.
            pub const FAMILIES: &[MetricFamily] = &[$(MetricFamily {
                name: concat!("countersign_", stringify!($name)),
                kind: kind(<$kind as TypedMetric>::TYPE),
                help: concat!($($help),*).trim_ascii(),
            }),*];

            pub fn new() -> Arc<Self> {
                let mut registry = Registry::with_prefix("countersign");
                $(
                    let $name: $kind = $make;
                    // The registry appends a full stop to each help text.
                    registry.register(stringify!($name), concat!($($help),*).trim().trim_end_matches('.'), $name.clone());
                )*
                Arc::new(Self { registry, $($name,)* })
            }
        }
    };
}

const fn kind(of: MetricType) -> &'static str {
    match of {
        MetricType::Counter => "counter",
        MetricType::Histogram => "histogram",
        _ => "gauge",
    }
}

/// Buckets from 0.5 ms to 4.8 s, for the store and for incoming requests.
fn local_latency() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.5, 11))
}

/// Buckets from 5 ms to 12 s, for requests to other servers, which time out after 10 s.
fn remote_latency() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.2, 11))
}

metrics! {
    /// Links minted.
    links_minted: Family<ByInstance, Counter> = Family::default(),
    /// Codes requested.
    codes_requested: Family<ByInstance, Counter> = Family::default(),
    /// Attempts to send a code, by result.
    codes_sent: Family<GatewayResult, Counter> = Family::default(),
    /// Page views: `start`, the page of a login link, and `reply`, the link in the reply. Link previews and bots count
    /// too.
    links_opened: Family<ByPage, Counter> = Family::default(),
    /// Taps on the button of the start page.
    links_clicked: Family<ByInstance, Counter> = Family::default(),
    /// Verifications that ended, by type and final state.
    verifications: Family<ByFinalState, Counter> = Family::default(),
    /// Seconds from mint to the matching message.
    time_to_verification_seconds: Histogram = Histogram::new(exponential_buckets(1.0, 2.0, 12)),
    /// Outcomes of the link in the reply: `completed` by a tap, `redeemed` by the app, `disputed` by the person.
    completions: Family<ByResult, Counter> = Family::default(),
    /// Failed attempts to verify, by reason, such as wrong codes and wrong senders.
    attempts_failed: Family<ByReason, Counter> = Family::default(),
    /// Messages that match no verification: `code_unknown` contains a code that was never issued, `no_code` contains
    /// none.
    messages_unmatched: Family<ByReason, Counter> = Family::default(),
    /// Events in authenticated webhooks, by result.
    webhook_events: Family<GatewayResult, Counter> = Family::default(),
    /// Webhooks that failed authentication, by cause.
    webhooks_rejected: Family<GatewayReason, Counter> = Family::default(),
    /// Events in webhooks of `countersign doctor`, by result. No other metric of webhooks and messages counts them.
    doctor_webhook_events: Family<GatewayResult, Counter> = Family::default(),
    /// Webhooks of `countersign doctor` that failed authentication, by cause.
    doctor_webhooks_rejected: Family<GatewayReason, Counter> = Family::default(),
    /// Unix time of the last authenticated webhook of an instance; before the first one, when the instance was loaded.
    gateway_last_inbound_timestamp_seconds: Family<ByGateway, FloatGauge> = Family::default(),
    /// Attempts to send a reply, or a request for an approval, by result.
    replies: Family<GatewayResult, Counter> = Family::default(),
    /// Age of the oldest message that waits because of `replies_per_second`. The same on every replica: take the
    /// maximum.
    message_delay_seconds: Family<ByInstance, FloatGauge> = Family::default(),
    /// Seconds a gateway took to accept a message.
    reply_seconds: Histogram = remote_latency(),
    /// Whether the gateway of an instance refuses the credentials (1): logged out, banned, or a wrong token.
    numbers_refused: Family<ByInstance, Gauge> = Family::default(),
    /// Attempts to deliver a callback, by result: `delivered`, `gone`, `status_3xx` to `status_5xx`, or the cause of a
    /// missing response.
    callback_attempts: Family<ByResult, Counter> = Family::default(),
    /// Seconds until a receiver responded to an attempt.
    callback_attempt_seconds: Histogram = remote_latency(),
    /// Seconds from the event to its delivered callback, all attempts together.
    callback_delivery_seconds: Histogram = Histogram::new(exponential_buckets(0.01, 4.0, 12)),
    /// Jobs in the queues, due or scheduled for later, by kind. The same on every replica: take the maximum.
    queue_depth: Family<ByKind, Gauge> = Family::default(),
    /// Age of the oldest job that waits, since its event. The same on every replica: take the maximum.
    queue_oldest_seconds: Family<ByKind, FloatGauge> = Family::default(),
    /// Seconds that the most overdue job has been due without being leased. The same on every replica.
    queue_lateness_seconds: Family<ByKind, FloatGauge> = Family::default(),
    /// Lanes on hold because their last attempts failed, by kind.
    lanes_held: Family<ByKind, Gauge> = Family::default(),
    /// Jobs that this process is working on.
    jobs_in_flight: Family<ByKind, Gauge> = Family::default(),
    /// Jobs given up, by kind and reason; callbacks can be replayed for a week.
    jobs_dead: Family<KindReason, Counter> = Family::default(),
    /// Jobs whose lease expired while this process worked on them; they may be sent twice.
    leases_lost: Family<ByKind, Counter> = Family::default(),
    /// Share of its quota in the store that an instance uses, as of its last request on this replica; see
    /// `store_percent`.
    instance_room_ratio: Family<ByInstance, FloatGauge> = Family::default(),
    /// Lines of the audit stream that could not be written.
    audit_lines_lost: Counter = Counter::default(),
    /// Requests and messages that exceeded a limit, by limit.
    limited: Family<ByLimit, Counter> = Family::default(),
    /// Seconds the store took, by operation.
    store_request_seconds: Family<ByOperation, Histogram> = Family::new_with_constructor(local_latency),
    /// Records and jobs that were skipped because this process cannot read them: no configured key decrypts them, or a
    /// newer version wrote them.
    unreadable: Family<ByKind, Counter> = Family::default(),
    /// Requests to the store that failed, by operation and cause.
    store_errors: Family<OperationCause, Counter> = Family::default(),
    /// Whether the store refuses new work (1), as measured every 3 s by a test write of this replica.
    store_refuses_writes: Gauge = Gauge::default(),
    /// Bytes reserved for connections, bodies and unread responses of unauthenticated clients, and for event streams.
    unauthenticated_bytes: Gauge = Gauge::default(),
    /// Upper limit of `unauthenticated_bytes`.
    unauthenticated_limit_bytes: Gauge = Gauge::default(),
    /// How often the limit was reached: the connection was `refused`, or the oldest stalled one was `evicted`.
    unauthenticated_refused: Family<ByCause, Counter> = Family::default(),
    /// Bytes the store uses: memory of Redis, of the fullest master in a cluster, or the file of the embedded store.
    store_used_bytes: Gauge = Gauge::default(),
    /// Bytes the store may use: `maxmemory` of Redis, the memory of its host without one, or what the disk has room
    /// for.
    store_limit_bytes: Gauge = Gauge::default(),
    /// Masters of Redis without a replica, although `store.durability` requires one to confirm every write.
    store_replicas_missing: Gauge = Gauge::default(),
    /// Keys that other replicas encrypt with and that this one lacks. Requests that need one of them get 503.
    keys_missing: Gauge = Gauge::default(),
    /// Unix time until which the previous look-up key is used as well; 0 when no change is in progress.
    look_up_change_ends_timestamp_seconds: Gauge = Gauge::default(),
    /// Seconds this host's clock is ahead of the store's.
    clock_offset_seconds: FloatGauge = FloatGauge::default(),
    /// Requests on the public listener, by route template and status class.
    http_requests: Family<RouteStatus, Counter> = Family::default(),
    /// Seconds from a request's head to its response, by route template.
    http_request_seconds: Family<ByRoute, Histogram> = Family::new_with_constructor(local_latency),
    /// Whether this process is ready for requests (1): the store is reachable, the worker runs, and it is not stopping.
    ready: Gauge = Gauge::default(),
    /// Replicas alive, by version, as the store knows them. The same on every replica: take the maximum.
    replicas: Family<ByVersion, Gauge> = Family::default(),
    /// Reloads of the configuration: `applied`, `unchanged`, `needs_restart` if some keys wait for a restart, or
    /// `refused` if the old configuration stays in use.
    config_reloads: Family<ByReloadResult, Counter> = Family::default(),
    /// Whether the configuration in the file is the one in use (1), or was refused or partly needs a restart (0).
    config_current: Gauge = Gauge::default(),
    /// Keys of the configuration in the file that are not in use until the process is restarted, always 1.
    config_waiting: Family<ByConfigKey, Gauge> = Family::default(),
    /// Unix time at which the configuration in use was read.
    config_read_timestamp_seconds: FloatGauge = FloatGauge::default(),
    /// The configured instances, always 1: name, gateway, and whether they take requests.
    instance_info: Family<InstanceInfo, Gauge> = Family::default(),
    /// Version and kind of store, always 1.
    build_info: Family<BuildInfo, Gauge> = Family::default(),
    /// Unix time of this process's start.
    start_time_seconds: FloatGauge = FloatGauge::default(),
}

/// The final states of each type of verification.
const FINAL_STATES: &[(&str, &str)] = &[
    ("link", "verified"),
    ("link", "failed"),
    ("link", "expired"),
    ("link", "canceled"),
    ("code", "validated"),
    ("code", "failed"),
    ("code", "expired"),
    ("code", "canceled"),
];

impl Metrics {
    /// The Prometheus text format.
    pub fn render(&self) -> String {
        let mut out = String::new();
        encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }

    /// Creates the series of an instance at zero. With more than [`MAX_INITIALIZED_INSTANCES`] `instances`, only
    /// `links_minted`.
    pub fn init_instance_series(&self, instance: InstanceId, gateway: &'static str, instances: usize) {
        let instance = InstanceLabel(instance);
        drop(self.links_minted.get_or_create(&ByInstance { instance }));
        if instances > MAX_INITIALIZED_INSTANCES {
            return;
        }
        drop(self.links_clicked.get_or_create(&ByInstance { instance }));
        drop(self.codes_requested.get_or_create(&ByInstance { instance }));
        drop(self.numbers_refused.get_or_create(&ByInstance { instance }));
        for page in ["start", "reply"] {
            drop(self.links_opened.get_or_create(&ByPage { instance, page }));
        }
        for &(otp_type, result) in FINAL_STATES {
            drop(self.verifications.get_or_create(&ByFinalState { instance, otp_type, result }));
        }
        for result in ["completed", "redeemed", "disputed"] {
            drop(self.completions.get_or_create(&ByResult { instance, result }));
        }
        for reason in Reason::ALL {
            drop(self.attempts_failed.get_or_create(&ByReason { instance, reason: reason.as_str() }));
        }
        for reason in ["code_unknown", "no_code"] {
            drop(self.messages_unmatched.get_or_create(&ByReason { instance, reason }));
        }
        for result in ["verified", "repeated", "duplicate", "malformed"] {
            drop(self.webhook_events.get_or_create(&GatewayResult { instance, gateway, result }));
        }
        for result in ["sent", "retried", "unknown", "unauthorized"] {
            drop(self.replies.get_or_create(&GatewayResult { instance, gateway, result }));
        }
        for result in ["delivered", "status_4xx", "status_5xx", "connect", "timeout"] {
            drop(self.callback_attempts.get_or_create(&ByResult { instance, result }));
        }
    }

    /// Removes the gauges of an instance that is no longer configured.
    pub fn remove_instance_series(&self, instance: InstanceId, gateway: &'static str) {
        let instance = InstanceLabel(instance);
        self.gateway_last_inbound_timestamp_seconds.remove(&ByGateway { instance, gateway });
        self.numbers_refused.remove(&ByInstance { instance });
    }

    /// Creates the series without an instance at zero. `start` is the Unix time of the process's start.
    pub fn init_process_series(&self, version: &'static str, store: &'static str, start: f64) {
        self.build_info.get_or_create(&BuildInfo { version, store }).set(1);
        self.start_time_seconds.set(start);
        for kind in ["record", "job"] {
            drop(self.unreadable.get_or_create(&ByKind { kind }));
        }
        for kind in ["timer", "reply", "callback"] {
            drop(self.leases_lost.get_or_create(&ByKind { kind }));
            drop(self.jobs_in_flight.get_or_create(&ByKind { kind }));
            drop(self.queue_depth.get_or_create(&ByKind { kind }));
            drop(self.lanes_held.get_or_create(&ByKind { kind }));
            for reason in ["given_up", "gone", "poison"] {
                drop(self.jobs_dead.get_or_create(&KindReason { kind, reason }));
            }
        }
        for reason in ["gone", "forbidden_target", "instance_removed"] {
            drop(self.jobs_dead.get_or_create(&KindReason { kind: "callback", reason }));
        }
        for limit in LimitName::ALL {
            drop(self.limited.get_or_create(&ByLimit { limit: limit.as_str() }));
        }
        for cause in ["refused", "evicted"] {
            drop(self.unauthenticated_refused.get_or_create(&ByCause { cause }));
        }
        for result in ["applied", "refused", "needs_restart", "unchanged"] {
            drop(self.config_reloads.get_or_create(&ByReloadResult { result }));
        }
        for operation in ["commit", "probe"] {
            for cause in ["unavailable", "full"] {
                drop(self.store_errors.get_or_create(&OperationCause { operation, cause }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_texts_and_names_are_rendered() {
        let metrics = Metrics::new();
        let instance = InstanceId::from_random([7; 16]);
        metrics.init_process_series("1.2.3", "redis", 0.0);
        metrics.init_instance_series(instance, "waha", 1);
        let text = metrics.render();
        let mut rendered = 0;
        for MetricFamily { name, kind, help } in Metrics::FAMILIES {
            assert!(help.ends_with('.') && !help.ends_with("..") && !help.contains('\n'), "{name}: {help:?}");
            // A family without a series is not rendered.
            if text.contains(&format!("# TYPE {name} ")) {
                rendered += 1;
                assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} {kind} in {text}");
                assert!(text.contains(&format!("# HELP {name} {help}\n")), "{name}: {help} in {text}");
            }
        }
        assert!(rendered > 25, "{rendered} in {text}");
        let minted = format!("countersign_links_minted_total{{instance_id=\"{instance}\"}} 0\n");
        assert!(text.contains(&minted), "{text}");
    }

    #[test]
    fn with_many_instances_a_series_appears_with_its_first_event() {
        let metrics = Metrics::new();
        let instance = InstanceId::from_random([7; 16]);
        metrics.init_instance_series(instance, "waha", MAX_INITIALIZED_INSTANCES + 1);
        assert_eq!(metrics.render().matches(&instance.to_string()).count(), 1);
    }
}
