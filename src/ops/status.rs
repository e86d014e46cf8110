//! The status report for operators, as data.

use serde::{Deserialize, Serialize};

use crate::{domain::InstanceId, service::KeysStatus};

/// The state of the whole service, as seen by one replica.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub replica: String,
    pub version: String,
    pub ready: bool,
    pub started_at: String,
    pub store: StoreStatus,
    pub config: ConfigStatus,
    #[serde(default)]
    pub keys: KeysStatus,
    /// Age of the data about queues and replicas; `null` if it was never read.
    #[serde(default)]
    pub seen_seconds_ago: Option<f64>,
    pub gateways: Vec<GatewayStatus>,
    pub queues: Vec<QueueStatus>,
    /// Callbacks that this process has given up since it started; they can be replayed.
    pub callbacks_given_up: u64,
    /// Recent failures of all replicas, newest first.
    pub failures: Vec<FailureStatus>,
    pub replicas: Vec<ReplicaStatus>,
}

/// The store, as this replica's probes found it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoreStatus {
    pub description: String,
    /// Age of the description in seconds; `null` if there is none.
    #[serde(default)]
    pub described_seconds_ago: Option<f64>,
    #[serde(default)]
    pub used_bytes: u64,
    #[serde(default)]
    pub limit_bytes: u64,
    /// Number of masters without the replica that must confirm their writes.
    #[serde(default)]
    pub replicas_missing: usize,
    /// `false` if the store did not answer the latest probe; the fields above are then from an earlier probe.
    #[serde(default)]
    pub answers: bool,
    /// Set while the store refuses new work.
    #[serde(default)]
    pub refusing: Option<RefusingStatus>,
    #[serde(default)]
    pub last_error: Option<LastErrorStatus>,
    /// This host's clock minus the store's clock.
    pub clock_offset_seconds: f64,
}

/// The store refuses new work, as found by this replica's probes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusingStatus {
    /// The label of the `store_errors` metric: `full`, `refused` or `unavailable`.
    pub cause: String,
    pub reason: String,
    pub for_seconds: f64,
}

/// The latest request of this replica that failed in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastErrorStatus {
    pub operation: String,
    /// The label of the `store_errors` metric.
    #[serde(default)]
    pub cause: String,
    pub reason: String,
    pub seconds_ago: f64,
}

/// Whether this replica runs the configuration in its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// `false` if the file's current content was rejected, or part of it needs a restart to take effect.
    pub current: bool,
    /// Changed keys that need a restart.
    #[serde(default)]
    pub waiting: Vec<String>,
    /// Unix time in seconds.
    pub read_at: f64,
}

/// An instance and its gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GatewayStatus {
    pub instance: InstanceId,
    pub name: String,
    pub gateway: String,
    /// `enabled` or `disabled`.
    pub state: String,
    /// `null` if nothing was received yet.
    pub last_inbound_at: Option<String>,
    pub last_inbound_age_seconds: Option<f64>,
    /// Used share of the instance's storage limit, as of its last request to this replica; `null` if unknown.
    #[serde(default)]
    pub quota_used: Option<f64>,
    /// Callbacks, replies and codes of the instance that are waiting or in progress.
    #[serde(default)]
    pub pending_jobs: u64,
    /// Whether the gateway rejects our credentials: logged out, banned, or a wrong token.
    pub rejects_credentials: bool,
}

/// The waiting jobs of one kind. The same on every replica.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueStatus {
    pub kind: String,
    pub depth: u64,
    /// Age of the oldest job; `null` for timers, which wait by design.
    pub oldest_seconds: Option<f64>,
    /// How long the most overdue job has been due.
    pub lateness_seconds: Option<f64>,
    /// Number of receivers or sending numbers that are held back because their latest attempts failed.
    #[serde(default)]
    pub held: u64,
}

/// A kind of failure that happened recently.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailureStatus {
    /// When it happened last.
    pub at: String,
    pub instance: InstanceId,
    /// `webhook`, `message`, `reply`, `callback`, `record` or `job`.
    pub what: String,
    pub reason: String,
    /// Number of occurrences since the start of each replica.
    pub count: u64,
}

/// A replica, as of its last heartbeat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub name: String,
    pub version: String,
    pub alive: bool,
    pub ready: bool,
    /// Whether the replica runs the configuration in its file.
    pub config_current: bool,
    pub started_at: Option<String>,
    pub seen_seconds_ago: f64,
}
