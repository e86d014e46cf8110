//! The one page for the night call, as data.

use serde::{Deserialize, Serialize};

use crate::{domain::InstanceId, service::KeysStatus};

/// How everything fares, as one replica sees it.
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
    /// Age of what is said about queues and replicas; `null` while it was never read.
    #[serde(default)]
    pub seen_seconds_ago: Option<f64>,
    pub gateways: Vec<GatewayStatus>,
    pub queues: Vec<QueueStatus>,
    /// Callbacks this process gave up since it started; they can be replayed.
    pub callbacks_given_up: u64,
    /// The latest first, of all replicas together.
    pub failures: Vec<FailureStatus>,
    pub replicas: Vec<ReplicaStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoreStatus {
    pub description: String,
    /// Age of the description; `null` while there is none.
    #[serde(default)]
    pub described_seconds_ago: Option<f64>,
    #[serde(default)]
    pub used_bytes: u64,
    #[serde(default)]
    pub limit_bytes: u64,
    /// Masters whose writes no replica can confirm, although one must.
    #[serde(default)]
    pub replicas_missing: usize,
    /// `false`: it did not answer when it was last asked, and the above is of before.
    #[serde(default)]
    pub answers: bool,
    /// New work is refused now.
    #[serde(default)]
    pub refusing: Option<RefusingStatus>,
    #[serde(default)]
    pub last_refusal: Option<RefusalStatus>,
    /// This host's clock less the store's.
    pub clock_offset_seconds: f64,
}

/// The store takes no new work, as this replica found out by trying.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusingStatus {
    /// The word of `store_errors`: `full`, `refused`, `unavailable`.
    pub cause: String,
    pub reason: String,
    pub for_seconds: f64,
}

/// The last request to the store that failed here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusalStatus {
    pub operation: String,
    /// The word of `store_errors`.
    #[serde(default)]
    pub cause: String,
    pub reason: String,
    pub seconds_ago: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// `false`: the file holds one that was refused, or that waits in part for a restart.
    pub current: bool,
    /// Keys that need a restart.
    #[serde(default)]
    pub waiting: Vec<String>,
    /// Unix time.
    pub read_at: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GatewayStatus {
    pub instance: InstanceId,
    pub name: String,
    pub gateway: String,
    /// `enabled`, `disabled`.
    pub state: String,
    /// `null` while nothing was ever heard.
    pub last_inbound_at: Option<String>,
    pub last_inbound_age_seconds: Option<f64>,
    /// Share of its room in the store that it has used, as of its last request to this replica; `null` without one.
    #[serde(default)]
    pub room_used: Option<f64>,
    /// Callbacks, replies and codes that wait for it, also those that are under way.
    #[serde(default)]
    pub pending_jobs: u64,
    /// It refuses our credentials: logged out, banned, or a wrong token.
    pub refuses_us: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueStatus {
    pub kind: String,
    pub depth: u64,
    /// Age of the oldest; `null` for timers, which wait by design.
    pub oldest_seconds: Option<f64>,
    /// How long the most overdue has been due.
    pub lateness_seconds: Option<f64>,
    /// Receivers or numbers that are held back because their last attempts failed.
    #[serde(default)]
    pub held: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailureStatus {
    pub at: String,
    pub instance: InstanceId,
    pub what: String,
    pub reason: String,
    pub count: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub name: String,
    pub version: String,
    pub alive: bool,
    pub ready: bool,
    /// Whether it uses the configuration in its file.
    pub config_current: bool,
    pub started_at: Option<String>,
    pub seen_seconds_ago: f64,
}
