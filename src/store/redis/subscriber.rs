//! Hears what other replicas tell: a subscriber at every master, for the partitions that are there.

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
    connection::{Connection, MasterNode, retry_delay},
    endpoint::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT},
    error_hint::describe,
    key,
    node::Node,
};
use crate::{
    domain::Partition,
    random,
    store::{RecordId, changes::ChangeNotifier},
};

/// A silent connection is asked this often whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Between two tries to subscribe.
const RETRY_DELAY: Duration = Duration::from_millis(500);

pub(super) async fn run(connection: Arc<Connection>, changes: Arc<ChangeNotifier>) {
    let mut ears = Subscriptions { changes, open: HashMap::new(), disturbed: Arc::default() };
    let (mut cut_off, mut anew) = (false, false);
    loop {
        match ears.refresh(&connection, anew).await {
            Ok(()) => {
                cut_off = false;
                tokio::select! {
                    () = ears.disturbed.notified() => {
                        anew = true;
                        tokio::time::sleep(retry_delay()).await;
                    }
                    () = connection.wait_for_new_master() => anew = true,
                    () = tokio::time::sleep(PING_INTERVAL) => anew = false,
                }
            }
            Err(error) => {
                if !cut_off {
                    tracing::warn!(error, "news of changes are cut off; waiters look every few seconds");
                    cut_off = true;
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
    /// By connections that have ended, and by subscriptions that have.
    disturbed: Arc<Notify>,
}

/// The subscriber at one master.
struct MasterSubscription {
    connection: MultiplexedConnection,
    partitions: Vec<Partition>,
    /// The connection is worth nothing: it broke, or Redis ended a subscription because its slot went away, and what
    /// it said of that may have been taken for the answer to something else.
    ended: Arc<AtomicBool>,
    master_changes: watch::Receiver<()>,
}

impl MasterSubscription {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed) || self.master_changes.has_changed().unwrap_or(true)
    }
}

impl Subscriptions {
    /// Subscribes to what is not heard, and looks whether the rest is. One master that is away keeps nobody from
    /// hearing the others.
    async fn refresh(&mut self, connection: &Connection, anew: bool) -> Result<(), String> {
        let homes = connection.masters(anew).await.map_err(|error| error.to_string())?;
        self.open.retain(|name, ear| !ear.has_ended() && homes.iter().any(|home| home.name == *name));
        let mut outcome = Ok(());
        let mut news = false;
        for home in &homes {
            match self.refresh_one(home).await {
                Ok(new) => news |= new,
                Err(error) => {
                    self.open.remove(&home.name);
                    outcome = Err(describe(&error));
                }
            }
        }
        if news {
            // Whatever was told while nobody listened.
            self.changes.notify_all();
        }
        outcome
    }

    /// Whether something is heard that was not heard before.
    async fn refresh_one(&mut self, home: &MasterNode) -> RedisResult<bool> {
        if !self.open.contains_key(&home.name) {
            let ear = self.subscribe_at(&home.node).await?;
            self.open.insert(home.name.clone(), ear);
        }
        let Some(ear) = self.open.get_mut(&home.name) else { return Ok(false) };
        let missing: Vec<Partition> =
            home.partitions.iter().copied().filter(|one| !ear.partitions.contains(one)).collect();
        if missing.is_empty() {
            redis::cmd("PING").query_async::<Value>(&mut ear.connection).await?;
            return Ok(false);
        }
        for partition in missing {
            redis::cmd("SSUBSCRIBE").arg(key::channel(partition)).query_async::<Value>(&mut ear.connection).await?;
            ear.partitions.push(partition);
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
