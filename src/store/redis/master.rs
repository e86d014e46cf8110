//! A master of a cluster, with its shared connections and its writer.

use std::sync::{Arc, OnceLock};

use futures_util::future::join_all;
use redis::{Pipeline, Value};
use tokio::runtime::Handle;

use super::{
    Durability, cluster_command::ClusterCommand, confirmed_writer::ConfirmedWriter, endpoint::Endpoint, node::Node,
    recovery::WriteError, seed_nodes::NodeAddress,
};
use crate::store::background::Background;

/// How writes are confirmed, the runtime of the writer's task, and the registry that reports a task that failed.
pub(super) type ConfirmationSettings = (Durability, Handle, Background);

/// A node that serves, or is about to serve, slots.
pub(super) struct Master {
    pub(super) address: NodeAddress,
    pub(super) node: Arc<Node>,
    /// Created by the first write that must be confirmed.
    writer: OnceLock<ConfirmedWriter>,
}

impl Master {
    pub(super) fn new(address: NodeAddress, source: Endpoint, durability: Durability) -> Self {
        Self { address, node: Arc::new(Node::new(source, durability)), writer: OnceLock::new() }
    }

    /// Returns one result for each command.
    pub(super) async fn send(
        &self,
        commands: &[&mut ClusterCommand<'_>],
        confirmed: Option<&ConfirmationSettings>,
    ) -> Vec<Result<Value, WriteError>> {
        if let Some((durability, runtime, background)) = confirmed {
            let open = || ConfirmedWriter::open(runtime, background, Arc::clone(&self.node), *durability);
            let writer = self.writer.get_or_init(open);
            let sent = commands.iter().map(|command| {
                let (cmd, asks, reads) = (command.command(), command.is_asking(), command.reads);
                async move {
                    if !reads {
                        return writer.run(cmd, asks).await;
                    }
                    let values = writer.read(&self.node, vec![cmd], asks).await;
                    values.map(|mut values| values.pop().unwrap_or(Value::Nil))
                }
            });
            return join_all(sent).await;
        }
        let mut pipeline = Pipeline::with_capacity(commands.len());
        pipeline.ignore_errors();
        for command in commands {
            if command.is_asking() {
                pipeline.cmd("ASKING").ignore();
            }
            pipeline.add_command(command.command());
        }
        match self.node.send(&pipeline).await {
            Ok(values) => values.into_iter().map(|value| value.map_err(WriteError::Refused)).collect(),
            Err(error) => commands.iter().map(|_| Err(WriteError::Broken(error.clone()))).collect(),
        }
    }
}
