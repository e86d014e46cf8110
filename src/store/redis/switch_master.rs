//! Watches Sentinels for `+switch-master`, so that a demoted master is abandoned at once. It keeps answering until it
//! becomes a replica.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{future::join_all, stream::StreamExt as _};
use redis::{Client, ConnectionInfo, RedisResult};
use tokio::time::{sleep, timeout};

use super::{
    endpoint::{Endpoint, HostPort, with_connect_timeout},
    node::Node,
};
use crate::random;

const CHANNEL: &str = "+switch-master";
/// How often an idle connection to a Sentinel is checked.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Delay before subscribing again after a failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Runs until the node is dropped. Returns at once if the URL names no Sentinels.
pub(super) async fn watch(node: Weak<Node>) {
    let count = node.upgrade().map_or(0, |node| sentinels(&node).len());
    join_all((0..count).map(|index| watch_sentinel(&node, index))).await;
}

/// Read anew for each attempt, since a reload may have changed the passwords.
fn sentinels(node: &Node) -> Vec<ConnectionInfo> {
    match &*node.endpoint() {
        Endpoint::Sentinels { sentinels, .. } => sentinels.clone(),
        Endpoint::Address(_) => Vec::new(),
    }
}

async fn watch_sentinel(node: &Weak<Node>, index: usize) {
    while let Some(sentinel) = node.upgrade().and_then(|node| sentinels(&node).into_iter().nth(index)) {
        // The other Sentinels report as well, and each dial asks all of them.
        if let Err(error) = subscribe(node, sentinel).await {
            tracing::debug!(error = error.category(), "cannot watch a Sentinel for a new master; retrying");
        }
        sleep(RETRY_DELAY.mul_f64(1.0 + random::fraction())).await;
    }
}

async fn subscribe(node: &Weak<Node>, sentinel: ConnectionInfo) -> RedisResult<()> {
    let client = Client::open(sentinel)?;
    let (mut sink, mut messages) = with_connect_timeout(async {
        let mut subscriber = client.get_async_pubsub().await?;
        subscriber.subscribe(CHANNEL).await?;
        Ok(subscriber.split())
    })
    .await?;
    loop {
        match timeout(PING_INTERVAL, messages.next()).await {
            Ok(Some(message)) => {
                let Some(node) = node.upgrade() else { return Ok(()) };
                let text: String = message.get_payload()?;
                if let Endpoint::Sentinels { master, .. } = &*node.endpoint()
                    && let Some(old) = old_master(&text, master)
                {
                    node.avoid(&old);
                }
            }
            Ok(None) => return Ok(()),
            Err(_) => with_connect_timeout(sink.ping()).await?,
        }
    }
}

/// Parses `MASTER OLD-HOST OLD-PORT NEW-HOST NEW-PORT`.
fn old_master(text: &str, master: &str) -> Option<HostPort> {
    let mut words = text.split(' ');
    let name = words.next()?;
    let address = (words.next()?.to_owned(), words.next()?.parse().ok()?);
    (name == master).then_some(address)
}

/// Aborted when the handle is dropped.
pub(super) fn start(node: &Arc<Node>) -> tokio_util::task::AbortOnDropHandle<()> {
    tokio_util::task::AbortOnDropHandle::new(tokio::spawn(watch(Arc::downgrade(node))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_place_of_this_master_is_read() {
        let address = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(old_master("otp 10.0.0.1 6379 10.0.0.2 6380", "otp"), address("10.0.0.1", 6379));
        assert_eq!(old_master("otp ::1 6379 ::2 6380", "otp"), address("::1", 6379));
        assert_eq!(old_master("other 10.0.0.1 6379 10.0.0.2 6380", "otp"), None);
        assert_eq!(old_master("otp 10.0.0.1", "otp"), None);
    }
}
