//! Latency from a person's message to the callback.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    Plan,
    client::{Supply, closed_loop, open_loop},
    daemon::{self, Daemon},
    fakes::Fake,
    report::{Report, percentile},
};

/// A moderate load: a hundred messages a second.
pub(crate) const INTERVAL: Duration = Duration::from_millis(10);

/// Webhooks are sent at fixed times, even if earlier ones are still in progress. Returns the 99th percentile of the
/// time to the answer, in milliseconds.
pub(crate) async fn measure(plan: &Plan, daemon: &Daemon, receiver: &Fake, gateway: &Fake) -> anyhow::Result<f64> {
    let requests = vec![daemon::mint(); plan.messages];
    let links = daemon::links(&closed_loop(daemon.address, Supply::Once(&requests), Duration::MAX).await?.bodies)?;
    let times = open_loop(daemon.address, &daemon::webhooks(&links), INTERVAL).await?;
    let arrived = receiver.take(links.len()).await?;
    gateway.take(links.len()).await?;
    let arrived: HashMap<String, Instant> =
        arrived.into_iter().filter_map(|came| Some((came.uuid?, came.at))).collect();
    let mut delivered = Vec::with_capacity(links.len());
    let mut answered = Vec::with_capacity(links.len());
    for (link, time) in links.iter().zip(times) {
        let at = arrived.get(&link.uuid).context("a callback names another link")?;
        delivered.push((*at - time.sent).as_secs_f64() * 1e3);
        answered.push((time.answered - time.sent).as_secs_f64() * 1e3);
    }
    let slowest = percentile(&answered, 99);
    for (name, values) in [("webhook sent to its answer", answered), ("webhook sent to callback received", delivered)] {
        Report::number(&format!("{name}, 100/s, p50"), percentile(&values, 50), "ms");
        Report::number(&format!("{name}, 100/s, p99"), percentile(&values, 99), "ms");
    }
    Ok(slowest)
}
