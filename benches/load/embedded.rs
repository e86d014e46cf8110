//! The embedded store, against the disk under it.

use std::{path::Path, time::Instant};

use crate::{
    Plan,
    client::{Supply, closed_loop, per_second},
    daemon::{self, Daemon},
    disk::{file_system, syncs_per_second},
    fakes::Fake,
    latency,
    report::{Report, after_warm_up, median},
};

/// Verifications for each time that the disk could make a write durable, at least, where the disk is slow.
const REQUIRED: f64 = 5.0;
/// Verifications a second, at least, where the disk is fast.
const ENOUGH: f64 = 8000.0;
const IDLE_MEGABYTES: f64 = 14.0;

pub(crate) async fn measure(plan: &Plan, directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    let kind = file_system(directory)?;
    let (rounds, round) = (plan.rounds, plan.round);
    Report::heading(&format!("Embedded store on {kind}, 64 connections, median of {rounds} rounds of {round:?}"));
    let (receiver, gateway) = (Fake::prompt().await?, Fake::prompt().await?);
    let store = format!("embedded:{}", directory.join("store").display());
    let daemon = Daemon::start(directory, "embedded", &store, &gateway.url(), Some(&receiver.url()))?;
    tokio::time::sleep(plan.idle).await;
    let idle = daemon.process.megabytes("VmRSS")?;
    let request = daemon::mint();
    let (mut minted, mut syncs, mut verified, mut delivered) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=plan.rounds {
        let mint = closed_loop(daemon.address, Supply::Repeat(&request), plan.round).await?;
        let webhooks = daemon::webhooks(&daemon::links(&mint.bodies)?);
        let sync = syncs_per_second(directory, plan.round)?;
        let start = Instant::now();
        let verify = closed_loop(daemon.address, Supply::Once(&webhooks), plan.round).await?;
        let count = verify.bodies.len();
        let mut last = start;
        for fake in [&receiver, &gateway] {
            let latest = fake.take(count).await?.iter().map(|arrival| arrival.at).max();
            last = last.max(latest.unwrap_or(start));
        }
        minted.push(mint.per_second());
        syncs.push(sync);
        verified.push(verify.per_second());
        delivered.push(per_second(count, last - start));
    }
    let [minted, syncs, verified, delivered] =
        [minted, syncs, verified, delivered].map(|rounds| median(after_warm_up(&rounds)));
    Report::number("mint", minted, "/s");
    Report::number("webhook to commit, callback and reply beside", verified, "/s");
    Report::number("callback and reply, to the last one", delivered, "pairs/s");
    Report::number("write and fdatasync, one after the other", syncs, "/s");
    Report::ratio("verifications / fdatasync", verified / syncs);
    let required = (REQUIRED * syncs).min(ENOUGH);
    report.at_least("verifications / what is required here", verified / required, 1.0);
    latency::measure(plan, &daemon, &receiver, &gateway).await?;
    report.below("memory of serve, idle", idle, "MB", IDLE_MEGABYTES);
    Report::number("memory of serve after all this", daemon.process.megabytes("VmRSS")?, "MB");
    Report::number("memory of serve, at most", daemon.process.megabytes("VmHWM")?, "MB");
    Ok(())
}
