//! Redis Cluster: each command goes to the master of its slot, and follows redirections.
//!
//! Only commands without a reply are resent. While a slot migrates, a command whose keys are still on the old master
//! must not be sent to the new one, where it would create them a second time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::{
    future::join_all,
    stream::{FuturesUnordered, StreamExt as _},
};
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};
use tokio::{runtime::Handle, time::timeout_at};

use super::{
    Durability,
    cluster_command::{ClusterCommand, Redirection},
    cluster_error::RetryableError,
    endpoint::with_connect_timeout,
    error_hint,
    master::{ConfirmationSettings, Master},
    node::{MasterNode, Node},
    recovery::{Recovery, WriteError, classify},
    retries::{ResendPolicy, explain, retry_delay, with_deadline},
    seed_nodes::{NodeAddress, SeedNodes},
    slot,
    slot_map::{self, SlotMap},
};
use crate::{
    domain::Partition,
    store::{StoreError, background::Background},
};

/// Redirections followed without a delay. More than this means that the nodes have not converged.
const MAX_REDIRECTIONS: u32 = 5;

pub(super) struct Cluster {
    seeds: ArcSwap<SeedNodes>,
    durability: Durability,
    confirmed: Option<ConfirmationSettings>,
    map: ArcSwapOption<SlotMap>,
    masters: Mutex<HashMap<NodeAddress, Arc<Master>>>,
    /// When the last refresh of the slot map failed, and why.
    refreshing: tokio::sync::Mutex<Option<(Instant, RedisError)>>,
}

impl Cluster {
    pub(super) fn new(seeds: SeedNodes, durability: Durability, background: &Background) -> Self {
        let confirmed = durability != Durability::Standard;
        let confirmed = confirmed.then(|| (durability, Handle::current(), background.clone()));
        let (map, masters, looking) = Default::default();
        Self { seeds: ArcSwap::from_pointee(seeds), durability, confirmed, map, masters, refreshing: looking }
    }

    /// Known masters use the credentials of `seeds` for new connections.
    pub(super) fn replace_seeds(&self, seeds: SeedNodes) -> Result<(), StoreError> {
        self.seeds.store(Arc::new(seeds));
        let masters = self.masters.lock().unwrap_or_else(PoisonError::into_inner);
        for (address, master) in masters.iter() {
            let source = self.seeds.load().endpoint(address);
            master.node.set_endpoint(source.map_err(|error| StoreError::Misconfigured(error_hint::describe(&error)))?);
        }
        Ok(())
    }

    /// Sends idempotent commands, each to the master of its slot, and retries those without a reply within the
    /// request's store time. Replies are in the order of the commands.
    pub(super) async fn run(&self, pipeline: &Pipeline, deadline: Instant) -> Result<Vec<Value>, StoreError> {
        self.run_with_retries(pipeline.cmd_iter().map(ClusterCommand::new).collect(), None, deadline).await
    }

    /// Like [`Cluster::run`] without retries: a command without a reply yields `None`. An error only if no command got
    /// one.
    pub(super) async fn run_best_effort(&self, pipeline: &Pipeline) -> Result<Vec<Option<Value>>, StoreError> {
        let mut commands: Vec<ClusterCommand<'_>> = pipeline.cmd_iter().map(ClusterCommand::new).collect();
        for redirections in 1.. {
            let Some(error) = self.round(&mut commands, None).await? else { break };
            if !error.is_immediate() || redirections > MAX_REDIRECTIONS {
                if !commands.iter().any(ClusterCommand::is_done) {
                    return Err(error.to_store_error());
                }
                tracing::debug!(
                    error = error.describe(),
                    "some masters of the cluster are unreachable; using the replies of the others"
                );
                break;
            }
        }
        Ok(commands.into_iter().map(ClusterCommand::into_value).collect())
    }

    /// Sends a write; in a durable store, waits until it is confirmed.
    pub(super) async fn write_confirmed(
        &self,
        cmd: Cmd,
        repeat: ResendPolicy,
        deadline: Instant,
    ) -> Result<Value, StoreError> {
        self.send_write(&cmd, repeat, self.confirmed.as_ref(), deadline).await
    }

    /// Sends a write that needs no confirmation by replicas.
    pub(super) async fn write(&self, cmd: Cmd, repeat: ResendPolicy, deadline: Instant) -> Result<Value, StoreError> {
        self.send_write(&cmd, repeat, None, deadline).await
    }

    async fn send_write(
        &self,
        cmd: &Cmd,
        repeat: ResendPolicy,
        confirmed: Option<&ConfirmationSettings>,
        deadline: Instant,
    ) -> Result<Value, StoreError> {
        let mut values = self.run_with_retries(vec![ClusterCommand::writing(cmd, repeat)], confirmed, deadline).await?;
        Ok(values.pop().unwrap_or(Value::Nil))
    }

    pub(super) async fn read_confirmed(&self, cmds: Vec<Cmd>, deadline: Instant) -> Result<Vec<Value>, StoreError> {
        let commands = cmds.iter().map(ClusterCommand::reading).collect();
        self.run_with_retries(commands, self.confirmed.as_ref(), deadline).await
    }

    /// Sends commands about one node to it, with one retry if the connection broke.
    pub(super) async fn ask_node(
        &self,
        node: &Node,
        pipeline: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, StoreError> {
        let once =
            async || with_deadline(deadline, node.send(pipeline)).await.and_then(|values| values.into_iter().collect());
        let answer = match once().await {
            Err(error) if matches!(classify(&error), Recovery::Reconnect) => once().await,
            answer => answer,
        };
        match answer {
            Ok(values) => Ok(values),
            Err(error) => Err(StoreError::Unavailable(explain(node, &error).await)),
        }
    }

    pub(super) async fn masters(&self, anew: bool, deadline: Instant) -> Result<Vec<MasterNode>, StoreError> {
        let fetch =
            async || if anew { self.refresh_slot_map(self.map.load_full().as_ref()).await } else { self.map().await };
        let known = with_deadline(deadline, fetch()).await;
        let map = match known {
            Ok(map) => map,
            Err(error) => return Err(StoreError::Unavailable(error_hint::describe(&error))),
        };
        let masters = map.masters().into_iter().map(|master| {
            let is_here = |partition: &Partition| {
                map.master_of(slot::of_partition(*partition)).is_some_and(|other| Arc::ptr_eq(other, master))
            };
            let partitions = Partition::all().filter(is_here).collect();
            MasterNode { name: master.address.to_string(), node: Arc::clone(&master.node), partitions }
        });
        Ok(masters.collect())
    }

    /// Masters and replicas.
    pub(super) fn nodes(&self) -> Vec<(String, u16)> {
        let map = self.map.load();
        let nodes = map.iter().flat_map(|map| map.nodes());
        nodes.map(|NodeAddress { host, port }| (host.clone(), *port)).collect()
    }

    async fn run_with_retries(
        &self,
        mut commands: Vec<ClusterCommand<'_>>,
        confirmed: Option<&ConfirmationSettings>,
        deadline: Instant,
    ) -> Result<Vec<Value>, StoreError> {
        let mut redirections = 0;
        let mut last = None;
        loop {
            let Ok(round) = timeout_at(deadline.into(), self.round(&mut commands, confirmed)).await else {
                let why =
                    last.as_ref().map_or_else(|| "it does not answer in time".to_owned(), RetryableError::describe);
                return Err(StoreError::Unavailable(why));
            };
            let Some(error) = round? else {
                return Ok(commands.into_iter().filter_map(ClusterCommand::into_value).collect());
            };
            redirections += 1;
            let pause =
                if error.is_immediate() && redirections <= MAX_REDIRECTIONS { Duration::ZERO } else { retry_delay() };
            if Instant::now() + pause >= deadline {
                return Err(error.to_store_error());
            }
            last = Some(error);
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends the commands that have no reply yet. Returns the error of one that still has none.
    async fn round(
        &self,
        commands: &mut [ClusterCommand<'_>],
        confirmed: Option<&ConfirmationSettings>,
    ) -> Result<Option<RetryableError>, StoreError> {
        let map = match self.map().await {
            Ok(map) => map,
            Err(error) => return RetryableError::new(error, None).map(Some),
        };
        let mut retryable = None;
        let (mut map_is_stale, mut unconfirmed) = (false, None);
        let mut note = |error: RedisError, at: Option<&NodeAddress>| {
            let new = RetryableError::new(error, at)?;
            map_is_stale |= new.means_stale_map();
            // The slowest recovery decides the delay.
            if retryable.as_ref().is_none_or(|known: &RetryableError| known.error.redirect_node().is_some()) {
                retryable = Some(new);
            }
            Ok::<(), StoreError>(())
        };
        let mut parts: Vec<(Arc<Master>, Vec<&mut ClusterCommand<'_>>)> = Vec::new();
        for command in commands.iter_mut().filter(|command| !command.is_done()) {
            let master = match &command.redirection {
                Some(redirection) => self.master(&redirection.to),
                None => map.master_of(command.slot).cloned().ok_or_else(slot_map::cluster_down),
            };
            match master {
                Ok(master) => match parts.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &master)) {
                    Some((_, part)) => part.push(command),
                    None => parts.push((master, vec![command])),
                },
                Err(error) => note(error, None)?,
            }
        }
        let sent = join_all(parts.iter().map(|(master, part)| master.send(part, confirmed))).await;
        for ((master, part), answers) in parts.into_iter().zip(sent) {
            for (command, answer) in part.into_iter().zip(answers) {
                command.redirection = None;
                match answer {
                    Ok(value) => command.done(value),
                    Err(WriteError::Refused(error)) => {
                        command.redirection = Redirection::from_error(&error, &master.address);
                        note(error, Some(&master.address))?;
                    }
                    Err(WriteError::Broken(error)) if command.mark_sent() => note(error, Some(&master.address))?,
                    // Its replica may have been promoted.
                    Err(error) => unconfirmed = Some(error),
                }
            }
        }
        if map_is_stale || unconfirmed.is_some() {
            // If no node answers, the next round reports the error.
            let _ = self.refresh_slot_map(Some(&map)).await;
        }
        if let Some(error) = unconfirmed {
            return Err(error.into());
        }
        Ok(retryable)
    }

    async fn map(&self) -> RedisResult<Arc<SlotMap>> {
        match self.map.load_full() {
            Some(map) => Ok(map),
            None => self.refresh_slot_map(None).await,
        }
    }

    /// Returns the slot map that follows `old`: one that another task has fetched meanwhile, or a new one.
    async fn refresh_slot_map(&self, old: Option<&Arc<SlotMap>>) -> RedisResult<Arc<SlotMap>> {
        let asked = Instant::now();
        let mut failure = self.refreshing.lock().await;
        let known = self.map.load_full();
        if let Some(known) = &known
            && !old.is_some_and(|old| Arc::ptr_eq(old, known))
        {
            return Ok(Arc::clone(known));
        }
        // One task refreshes for all waiting tasks.
        if let Some((began, error)) = &*failure
            && *began >= asked
        {
            return Err(error.clone());
        }
        let began = Instant::now();
        let found = self.fetch_slot_map(known.as_deref()).await;
        match &found {
            Ok(map) => self.map.store(Some(Arc::clone(map))),
            Err(error) => *failure = Some((began, error.clone())),
        }
        found
    }

    /// Queries all known nodes and uses the first map that covers the whole cluster. If it is stale, redirections
    /// correct it.
    async fn fetch_slot_map(&self, known: Option<&SlotMap>) -> RedisResult<Arc<SlotMap>> {
        let mut nodes = self.seeds.load().addresses.clone();
        for node in known.into_iter().flat_map(SlotMap::nodes) {
            if !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        let nodes = nodes.iter().map(|node| self.master(node)).collect::<RedisResult<Vec<_>>>()?;
        let mut asked: FuturesUnordered<_> =
            nodes.iter().map(|node| with_connect_timeout(slot_map::fetch(node))).collect();
        let mut failure: Option<RedisError> = None;
        let ranges = loop {
            match asked.next().await {
                Some(Ok(ranges)) => break ranges,
                // A refusal is more useful to report than a node that does not respond.
                Some(Err(error)) if failure.as_ref().is_none_or(RedisError::is_io_error) => failure = Some(error),
                Some(Err(_)) => {}
                None => return Err(failure.unwrap_or_else(slot_map::cluster_down)),
            }
        };
        drop(asked);
        let map = Arc::new(SlotMap::new(ranges, |address| self.master(address))?);
        let masters = map.masters();
        let is_master = |node: &Arc<Master>| masters.iter().any(|master| Arc::ptr_eq(master, node));
        self.masters.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, node| is_master(node));
        drop(masters);
        Ok(map)
    }

    fn master(&self, address: &NodeAddress) -> RedisResult<Arc<Master>> {
        let mut masters = self.masters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(master) = masters.get(address) {
            return Ok(Arc::clone(master));
        }
        let master = Arc::new(Master::new(address.clone(), self.seeds.load().endpoint(address)?, self.durability));
        masters.insert(address.clone(), Arc::clone(&master));
        Ok(master)
    }
}
