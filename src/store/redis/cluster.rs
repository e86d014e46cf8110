//! A Redis Cluster: commands follow their slots, wherever these go.
//!
//! What an answer is missing from is asked again, and nothing else: while a slot moves, a command whose keys are
//! still at the old master must not be sent to the new one, which would make them a second time.

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
    cluster_command::{ClusterCommand, Redirection},
    cluster_error::RetryableError,
    confirmed_writer::{Durability, WriteError},
    connection::{MasterNode, Recovery, Repeat, classify, deadline, explain, retry_delay, slot_of, with_deadline},
    endpoint::with_connect_timeout,
    error_hint,
    master::{ConfirmationSettings, Master},
    node::Node,
    seed_nodes::{NodeAddress, SeedNodes},
    slot_map::{self, SlotMap},
};
use crate::{
    domain::Partition,
    store::{StoreError, background::Background},
};

/// So often a command is sent on at once. Who is sent about more than that asks people who do not agree yet.
const MAX_REDIRECTIONS: u32 = 5;

pub(super) struct Cluster {
    seeds: ArcSwap<SeedNodes>,
    durability: Durability,
    confirmed: Option<ConfirmationSettings>,
    map: ArcSwapOption<SlotMap>,
    masters: Mutex<HashMap<NodeAddress, Arc<Master>>>,
    /// When somebody last looked for the map in vain, and why that was.
    refreshing: tokio::sync::Mutex<Option<(Instant, RedisError)>>,
}

impl Cluster {
    pub(super) fn new(seeds: SeedNodes, durability: Durability, background: &Background) -> Self {
        let confirmed = durability != Durability::Standard;
        let confirmed = confirmed.then(|| (durability, Handle::current(), background.clone()));
        let (map, masters, looking) = Default::default();
        Self { seeds: ArcSwap::from_pointee(seeds), durability, confirmed, map, masters, refreshing: looking }
    }

    /// Masters that are known are dialled with what `seeds` say from now on.
    pub(super) fn replace_seeds(&self, seeds: SeedNodes) -> Result<(), StoreError> {
        self.seeds.store(Arc::new(seeds));
        let masters = self.masters.lock().unwrap_or_else(PoisonError::into_inner);
        for (address, master) in masters.iter() {
            let source = self.seeds.load().endpoint(address);
            master.node.set_endpoint(source.map_err(|error| StoreError::Misconfigured(error_hint::describe(&error)))?);
        }
        Ok(())
    }

    /// Sends commands that are safe to repeat, each to the master of its slot, and repeats within the budget those
    /// that have no answer. The answers stand in the order of the commands.
    pub(super) async fn run(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        self.run_with_retries(pipeline.cmd_iter().map(ClusterCommand::new).collect(), None).await
    }

    /// As [`Cluster::run`], but waits for nobody: what has no answer now is `None`, unless nothing has one.
    pub(super) async fn run_partly(&self, pipeline: &Pipeline) -> Result<Vec<Option<Value>>, StoreError> {
        let mut errands: Vec<ClusterCommand<'_>> = pipeline.cmd_iter().map(ClusterCommand::new).collect();
        for hops in 1.. {
            let Some(trouble) = self.round(&mut errands, None).await? else { break };
            if !trouble.is_immediate() || hops > MAX_REDIRECTIONS {
                if !errands.iter().any(ClusterCommand::is_done) {
                    return Err(trouble.to_store_error());
                }
                tracing::debug!(error = trouble.describe(), "a part of the cluster is not there");
                break;
            }
        }
        Ok(errands.into_iter().map(ClusterCommand::into_value).collect())
    }

    pub(super) async fn confirm(&self, cmd: Cmd, repeat: Repeat) -> Result<Value, StoreError> {
        let mut values =
            self.run_with_retries(vec![ClusterCommand::writing(&cmd, repeat)], self.confirmed.as_ref()).await?;
        Ok(values.pop().unwrap_or(Value::Nil))
    }

    pub(super) async fn read(&self, cmds: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        let errands = cmds.iter().map(ClusterCommand::reading).collect();
        self.run_with_retries(errands, self.confirmed.as_ref()).await
    }

    /// Asks one node what concerns itself; twice, if only our connection to it broke.
    pub(super) async fn ask_node(&self, node: &Node, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let deadline = deadline();
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

    pub(super) async fn masters(&self, anew: bool) -> Result<Vec<MasterNode>, StoreError> {
        let look =
            async || if anew { self.refresh_slot_map(self.map.load_full().as_ref()).await } else { self.map().await };
        let known = with_deadline(deadline(), look()).await;
        let map = match known {
            Ok(map) => map,
            Err(error) => return Err(StoreError::Unavailable(error_hint::describe(&error))),
        };
        let homes = map.masters().into_iter().map(|master| {
            let is_here = |partition: &Partition| {
                map.master_of(slot_of(*partition)).is_some_and(|other| Arc::ptr_eq(other, master))
            };
            let partitions = Partition::all().filter(is_here).collect();
            MasterNode { name: master.address.to_string(), node: Arc::clone(&master.node), partitions }
        });
        Ok(homes.collect())
    }

    /// Masters and replicas.
    pub(super) fn nodes(&self) -> Vec<(String, u16)> {
        let map = self.map.load();
        let nodes = map.iter().flat_map(|map| map.nodes());
        nodes.map(|NodeAddress { host, port }| (host.clone(), *port)).collect()
    }

    async fn run_with_retries(
        &self,
        mut errands: Vec<ClusterCommand<'_>>,
        confirmed: Option<&ConfirmationSettings>,
    ) -> Result<Vec<Value>, StoreError> {
        let deadline = deadline();
        let mut hops = 0;
        let mut last = None;
        loop {
            let Ok(round) = timeout_at(deadline.into(), self.round(&mut errands, confirmed)).await else {
                let why =
                    last.as_ref().map_or_else(|| "it does not answer in time".to_owned(), RetryableError::describe);
                return Err(StoreError::Unavailable(why));
            };
            let Some(trouble) = round? else {
                return Ok(errands.into_iter().filter_map(ClusterCommand::into_value).collect());
            };
            hops += 1;
            let pause = if trouble.is_immediate() && hops <= MAX_REDIRECTIONS { Duration::ZERO } else { retry_delay() };
            if Instant::now() + pause >= deadline {
                return Err(trouble.to_store_error());
            }
            last = Some(trouble);
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends what has no answer yet. Returns why some still have none.
    async fn round(
        &self,
        errands: &mut [ClusterCommand<'_>],
        confirmed: Option<&ConfirmationSettings>,
    ) -> Result<Option<RetryableError>, StoreError> {
        let map = match self.map().await {
            Ok(map) => map,
            Err(error) => return RetryableError::new(error, None).map(Some),
        };
        let mut trouble = None;
        let (mut map_is_old, mut unconfirmed) = (false, None);
        let mut note = |error: RedisError, at: Option<&NodeAddress>| {
            let new = RetryableError::new(error, at)?;
            map_is_old |= new.means_stale_map();
            // What takes longest decides how long we wait.
            if trouble.as_ref().is_none_or(|known: &RetryableError| known.error.redirect_node().is_some()) {
                trouble = Some(new);
            }
            Ok::<(), StoreError>(())
        };
        let mut parts: Vec<(Arc<Master>, Vec<&mut ClusterCommand<'_>>)> = Vec::new();
        for errand in errands.iter_mut().filter(|errand| !errand.is_done()) {
            let master = match &errand.redirection {
                Some(detour) => self.master(&detour.to),
                None => map.master_of(errand.slot).cloned().ok_or_else(slot_map::cluster_down),
            };
            match master {
                Ok(master) => match parts.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &master)) {
                    Some((_, part)) => part.push(errand),
                    None => parts.push((master, vec![errand])),
                },
                Err(error) => note(error, None)?,
            }
        }
        let sent = join_all(parts.iter().map(|(master, part)| master.send(part, confirmed))).await;
        for ((master, part), answers) in parts.into_iter().zip(sent) {
            for (errand, answer) in part.into_iter().zip(answers) {
                errand.redirection = None;
                match answer {
                    Ok(value) => errand.done(value),
                    Err(WriteError::Refused(error)) => {
                        errand.redirection = Redirection::from_error(&error, &master.address);
                        note(error, Some(&master.address))?;
                    }
                    Err(WriteError::Broken(error)) if errand.mark_sent() => note(error, Some(&master.address))?,
                    // Perhaps its replica has taken over.
                    Err(fault) => unconfirmed = Some(fault),
                }
            }
        }
        if map_is_old || unconfirmed.is_some() {
            // If nobody can tell, the next round says why.
            let _ = self.refresh_slot_map(Some(&map)).await;
        }
        if let Some(fault) = unconfirmed {
            return Err(fault.into());
        }
        Ok(trouble)
    }

    async fn map(&self) -> RedisResult<Arc<SlotMap>> {
        match self.map.load_full() {
            Some(map) => Ok(map),
            None => self.refresh_slot_map(None).await,
        }
    }

    /// The map that comes after `old`: somebody else's, if one was found meanwhile.
    async fn refresh_slot_map(&self, old: Option<&Arc<SlotMap>>) -> RedisResult<Arc<SlotMap>> {
        let asked = Instant::now();
        let mut in_vain = self.refreshing.lock().await;
        let known = self.map.load_full();
        if let Some(known) = &known
            && !old.is_some_and(|old| Arc::ptr_eq(old, known))
        {
            return Ok(Arc::clone(known));
        }
        // Of a crowd one looks for all.
        if let Some((began, error)) = &*in_vain
            && *began >= asked
        {
            return Err(error.clone());
        }
        let began = Instant::now();
        let found = self.fetch_slot_map(known.as_deref()).await;
        match &found {
            Ok(map) => self.map.store(Some(Arc::clone(map))),
            Err(error) => *in_vain = Some((began, error.clone())),
        }
        found
    }

    /// Asks all nodes that we know. The first one that sees the whole cluster is believed: if it is behind the others,
    /// they send us on.
    async fn fetch_slot_map(&self, known: Option<&SlotMap>) -> RedisResult<Arc<SlotMap>> {
        let mut nodes = self.seeds.load().addresses.clone();
        for node in known.into_iter().flat_map(SlotMap::nodes) {
            if !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        let nodes = nodes.iter().map(|node| self.master(node)).collect::<RedisResult<Vec<_>>>()?;
        let mut asked: FuturesUnordered<_> = nodes.iter().map(|node| with_connect_timeout(node.ranges())).collect();
        let mut in_vain: Option<RedisError> = None;
        let ranges = loop {
            match asked.next().await {
                Some(Ok(ranges)) => break ranges,
                // Who refuses us says more than who does not answer.
                Some(Err(error)) if in_vain.as_ref().is_none_or(RedisError::is_io_error) => in_vain = Some(error),
                Some(Err(_)) => {}
                None => return Err(in_vain.unwrap_or_else(slot_map::cluster_down)),
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
