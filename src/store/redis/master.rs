//! A master of a cluster, and how commands get there.

use std::sync::{Arc, OnceLock};

use futures_util::future::join_all;
use redis::{Pipeline, RedisResult, Value};
use tokio::runtime::Handle;

use super::{
    cluster_command::ClusterCommand,
    confirmed_writer::{ConfirmedWriter, Durability, WriteError},
    endpoint::Endpoint,
    node::Node,
    seed_nodes::NodeAddress,
    slot_map::{self, SlotRange},
};
use crate::store::background::Background;

/// How writes are confirmed, the runtime that outlives all workers, and who hears of a lane that failed.
pub(super) type ConfirmationSettings = (Durability, Handle, Background);

/// A node that has, or gets, slots.
pub(super) struct Master {
    pub(super) address: NodeAddress,
    pub(super) node: Arc<Node>,
    /// Opened by the first write that must be confirmed.
    writer: OnceLock<ConfirmedWriter>,
}

impl Master {
    pub(super) fn new(address: NodeAddress, source: Endpoint, durability: Durability) -> Self {
        Self { address, node: Arc::new(Node::new(source, durability)), writer: OnceLock::new() }
    }

    /// One answer for each errand.
    pub(super) async fn send(
        &self,
        errands: &[&mut ClusterCommand<'_>],
        confirmed: Option<&ConfirmationSettings>,
    ) -> Vec<Result<Value, WriteError>> {
        if let Some((durability, runtime, background)) = confirmed {
            let open = || ConfirmedWriter::open(runtime, background, Arc::clone(&self.node), *durability);
            let writer = self.writer.get_or_init(open);
            let carried = errands.iter().map(|errand| {
                let (cmd, asks, reads) = (errand.command(), errand.is_asking(), errand.reads);
                async move {
                    if !reads {
                        return writer.run(cmd, asks).await;
                    }
                    let values = writer.read(&self.node, vec![cmd], asks).await;
                    values.map(|mut values| values.pop().unwrap_or(Value::Nil))
                }
            });
            return join_all(carried).await;
        }
        let mut pipeline = Pipeline::with_capacity(errands.len());
        pipeline.ignore_errors();
        for errand in errands {
            if errand.is_asking() {
                pipeline.cmd("ASKING").ignore();
            }
            pipeline.add_command(errand.command());
        }
        match self.node.send(&pipeline).await {
            Ok(values) => values.into_iter().map(|value| value.map_err(WriteError::Refused)).collect(),
            Err(error) => errands.iter().map(|_| Err(WriteError::Broken(error.clone()))).collect(),
        }
    }

    pub(super) async fn ranges(&self) -> RedisResult<Vec<SlotRange>> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS").ignore_errors();
        slot_map::parse(self.node.send(&pipeline).await?, &self.address)
    }
}
