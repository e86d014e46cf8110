//! Subscribes to the changes made by other replicas: one connection to each master, for the partitions it serves.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo as _, ProtocolVersion, PushInfo, PushKind, RedisResult, Value,
    aio::MultiplexedConnection,
};
use tokio::sync::{Notify, watch};

use super::{
    connection::{MasterNode, RedisConnection},
    endpoint::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT},
    error_hint::describe,
    key,
    node::Node,
    retries::retry_delay,
};
use crate::{
    domain::Partition,
    random,
    store::{RecordId, changes::ChangeNotifier},
};

/// How often an idle connection is checked.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Delay before subscribing again after a failure.
const RETRY_DELAY: Duration = Duration::from_millis(500);

pub(super) async fn run(connection: RedisConnection, changes: Arc<ChangeNotifier>) {
    let mut subscriptions = Subscriptions { changes, open: HashMap::new(), disturbed: Arc::default() };
    let (mut failed_before, mut anew) = (false, false);
    loop {
        match subscriptions.refresh(&connection, anew).await {
            Ok(()) => {
                failed_before = false;
                tokio::select! {
                    () = subscriptions.disturbed.notified() => {
                        anew = true;
                        tokio::time::sleep(retry_delay()).await;
                    }
                    () = connection.wait_for_new_master() => anew = true,
                    () = tokio::time::sleep(PING_INTERVAL) => anew = false,
                }
            }
            Err(error) => {
                if !failed_before {
                    tracing::warn!(error, "cannot subscribe to changes; waiters poll every few seconds meanwhile");
                    failed_before = true;
                }
                anew = true;
                tokio::time::sleep(RETRY_DELAY.mul_f64(1.0 + random::fraction())).await;
            }
        }
    }
}

struct Subscriptions {
    changes: Arc<ChangeNotifier>,
    /// By the name of the master.
    open: HashMap<String, MasterSubscription>,
    /// Notified when a connection or a subscription ends.
    disturbed: Arc<Notify>,
}

/// The subscriptions at one master.
struct MasterSubscription {
    connection: MultiplexedConnection,
    partitions: Vec<Partition>,
    /// The connection can no longer be used: it broke, or Redis ended a subscription because its slot moved away, and
    /// the client library may have taken that message for the reply to a command.
    ended: Arc<AtomicBool>,
    master_changes: watch::Receiver<()>,
}

impl MasterSubscription {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed) || self.master_changes.has_changed().unwrap_or(true)
    }
}

impl Subscriptions {
    /// Subscribes to the partitions that are missing, and checks the other connections. An unreachable master does not
    /// affect the others.
    async fn refresh(&mut self, connection: &RedisConnection, anew: bool) -> Result<(), String> {
        let masters = connection.masters(anew).await.map_err(|error| error.to_string())?;
        self.open.retain(|name, subscription| {
            !subscription.has_ended() && masters.iter().any(|master| master.name == *name)
        });
        let mut outcome = Ok(());
        let mut news = false;
        for master in &masters {
            match self.refresh_one(master).await {
                Ok(new) => news |= new,
                Err(error) => {
                    self.open.remove(&master.name);
                    outcome = Err(describe(&error));
                }
            }
        }
        if news {
            // Changes may have been published in between.
            self.changes.notify_all();
        }
        outcome
    }

    /// Returns whether a partition was added.
    async fn refresh_one(&mut self, master: &MasterNode) -> RedisResult<bool> {
        if !self.open.contains_key(&master.name) {
            let subscription = self.subscribe_at(&master.node).await?;
            self.open.insert(master.name.clone(), subscription);
        }
        let Some(subscription) = self.open.get_mut(&master.name) else { return Ok(false) };
        let missing: Vec<Partition> =
            master.partitions.iter().copied().filter(|one| !subscription.partitions.contains(one)).collect();
        if missing.is_empty() {
            redis::cmd("PING").query_async::<Value>(&mut subscription.connection).await?;
            return Ok(false);
        }
        for partition in missing {
            redis::cmd("SSUBSCRIBE")
                .arg(key::channel(partition))
                .query_async::<Value>(&mut subscription.connection)
                .await?;
            subscription.partitions.push(partition);
        }
        Ok(true)
    }

    async fn subscribe_at(&self, node: &Node) -> RedisResult<MasterSubscription> {
        let moves = node.master_changes();
        let info = node.client().await?.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.into_connection_info()?.set_redis_settings(settings))?;
        let over = Arc::new(AtomicBool::new(false));
        let (changes, disturbed, ended) = (Arc::clone(&self.changes), Arc::clone(&self.disturbed), Arc::clone(&over));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_push_sender(move |push: PushInfo| {
                if let Some(id) = record_id_of(&push) {
                    changes.notify(id);
                } else if matches!(push.kind, PushKind::SUnsubscribe | PushKind::Disconnection) {
                    ended.store(true, Ordering::Relaxed);
                    disturbed.notify_one();
                }
                Ok::<(), redis::aio::SendError>(())
            });
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(MasterSubscription { connection, partitions: Vec::new(), ended: over, master_changes: moves })
    }
}

fn record_id_of(push: &PushInfo) -> Option<RecordId> {
    match (&push.kind, push.data.as_slice()) {
        (PushKind::SMessage, [_, Value::BulkString(id)]) => Some(RecordId::new(id.as_slice().try_into().ok()?)),
        _ => None,
    }
}
