//! Which master serves which slots, as reported by `CLUSTER SLOTS`.

use std::sync::Arc;

use redis::{ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, from_redis_value};

use super::{master::Master, seed_nodes::NodeAddress};

/// A range of slots, with its master first and the replicas after it.
pub(super) struct SlotRange {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) nodes: Vec<NodeAddress>,
}

/// The slot map of the cluster at the time of the request.
pub(super) struct SlotMap {
    ranges: Vec<(SlotRange, Arc<Master>)>,
}

impl SlotMap {
    pub(super) fn new(
        ranges: Vec<SlotRange>,
        mut master: impl FnMut(&NodeAddress) -> RedisResult<Arc<Master>>,
    ) -> RedisResult<Self> {
        let ranges = ranges.into_iter().filter(|range| !range.nodes.is_empty());
        let mut ranges = ranges
            .map(|range| master(&range.nodes[0]).map(|master| (range, master)))
            .collect::<RedisResult<Vec<_>>>()?;
        ranges.sort_by_key(|(range, _)| range.first);
        Ok(Self { ranges })
    }

    /// `None` if no master serves this slot.
    pub(super) fn master_of(&self, slot: u16) -> Option<&Arc<Master>> {
        let after = self.ranges.partition_point(|(range, _)| range.first <= slot);
        let (range, master) = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= range.last).then_some(master)
    }

    /// Each master once, in the order of their slots.
    pub(super) fn masters(&self) -> Vec<&Arc<Master>> {
        let mut masters: Vec<&Arc<Master>> = Vec::new();
        for (_, master) in &self.ranges {
            if !masters.iter().any(|known| Arc::ptr_eq(known, master)) {
                masters.push(master);
            }
        }
        masters
    }

    /// Masters and replicas.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeAddress> {
        self.ranges.iter().flat_map(|(range, _)| &range.nodes)
    }
}

/// The error for a slot without a master.
pub(super) fn cluster_down() -> RedisError {
    RedisError::from((ErrorKind::Server(ServerErrorKind::ClusterDown), "some slots have no master"))
}

/// Asks a node for the slots of its cluster.
pub(super) async fn fetch(from: &Master) -> RedisResult<Vec<SlotRange>> {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS").ignore_errors();
    parse(from.node.send(&pipeline).await?, &from.address)
}

/// Parses the replies to `CLUSTER INFO` and `CLUSTER SLOTS`. A node cut off from the others admits it only in the
/// first; its slots are then not believed.
fn parse(answers: Vec<RedisResult<Value>>, reporter: &NodeAddress) -> RedisResult<Vec<SlotRange>> {
    let mut answers = answers.into_iter();
    let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
    let info: String = from_redis_value(next()?)?;
    if !info.lines().any(|line| line.trim_end() == "cluster_state:ok") {
        return Err(cluster_down());
    }
    let rows: Vec<Vec<Value>> = from_redis_value(next()?)?;
    rows.into_iter().map(|row| range(row, reporter)).collect()
}

fn range(row: Vec<Value>, reporter: &NodeAddress) -> RedisResult<SlotRange> {
    let mut row = row.into_iter();
    let mut slot = || from_redis_value(row.next().unwrap_or(Value::Nil));
    let (first, last) = (slot()?, slot()?);
    let node = |value: Value| -> RedisResult<NodeAddress> {
        let node: Vec<Value> = from_redis_value(value)?;
        let [host, port, ..] = node.as_slice() else {
            return Err(RedisError::from((ErrorKind::Parse, "CLUSTER SLOTS names a node without an address")));
        };
        let host: Option<String> = from_redis_value(host.clone())?;
        Ok(NodeAddress::reported(reporter, host.as_deref().unwrap_or_default(), from_redis_value(port.clone())?))
    };
    Ok(SlotRange { first, last, nodes: row.map(node).collect::<RedisResult<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn node(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), text("id")])
    }

    #[test]
    fn ranges_are_read_and_a_node_that_is_cut_off_is_not_believed() {
        let reporter = NodeAddress { host: "10.0.0.9".to_owned(), port: 1 };
        let slots = Value::Array(vec![
            Value::Array(vec![Value::Int(0), Value::Int(99), node(text("a"), 7), node(text("b"), 8)]),
            Value::Array(vec![Value::Int(100), Value::Int(100), node(Value::Nil, 9)]),
        ]);
        let info = |state: &str| text(&format!("cluster_state:{state}\r\ncluster_slots_assigned:101\r\n"));
        let ranges = parse(vec![Ok(info("ok")), Ok(slots.clone())], &reporter).unwrap();
        let parsed: Vec<String> = ranges
            .iter()
            .map(|range| {
                format!(
                    "{}-{} {:?}",
                    range.first,
                    range.last,
                    range.nodes.iter().map(ToString::to_string).collect::<Vec<_>>()
                )
            })
            .collect();
        assert_eq!(parsed, ["0-99 [\"a:7\", \"b:8\"]", "100-100 [\"10.0.0.9:9\"]"]);
        assert_eq!(parse(vec![Ok(info("fail")), Ok(slots)], &reporter).err().unwrap().code(), Some("CLUSTERDOWN"));
    }
}
