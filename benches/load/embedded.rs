//! The embedded store, against the disk under it.

use std::{path::Path, time::Instant};

use crate::{
    Plan,
    client::{Supply, closed_loop, per_second},
    daemon::{self, Daemon},
    disk::{file_system, sync_times, syncs_per_second},
    fakes::Fake,
    latency,
    report::{Report, after_warm_up, median, percentile},
};

/// Verifications for each time that the disk could make a write durable, at least, where the disk is slow.
const REQUIRED: f64 = 5.0;
/// Verifications a second, at least, where the disk is fast.
const ENOUGH: f64 = 8000.0;
/// The slowest answers may take so many times as long as the disk's slowest writes.
const LATE: f64 = 3.0;
const IDLE_MEGABYTES: f64 = 14.0;

pub(crate) async fn measure(plan: &Plan, directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    let kind = file_system(directory)?;
    let (rounds, round) = (plan.rounds, plan.round);
    Report::heading(&format!("Embedded store on {kind}, 64 connections, median of {rounds} rounds of {round:?}"));
    let (receiver, gateway, silent) = (Fake::prompt().await?, Fake::prompt().await?, Fake::silent().await?);
    let store = format!("embedded:{}", directory.join("store").display());
    let daemon = Daemon::start(directory, "embedded", &store, &gateway.url(), Some(&receiver.url()))?;
    tokio::time::sleep(plan.idle).await;
    let idle = daemon.process.megabytes("VmRSS")?;
    // As over Redis: its gateway never responds and no callback is requested.
    let alone_store = format!("embedded:{}", directory.join("alone-store").display());
    let alone = Daemon::start(directory, "embedded-alone", &alone_store, &silent.url(), None)?;
    let request = daemon::mint();
    let (mut minted, mut syncs, mut verified, mut delivered) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut committed = Vec::new();
    let (mut mint_micros, mut verify_micros) = (Vec::new(), Vec::new());
    for _ in 0..=plan.rounds {
        let before = daemon.process.cpu_seconds()?;
        let mint = closed_loop(daemon.address, Supply::Repeat(&request), plan.round).await?;
        mint_micros.push(micros(daemon.process.cpu_seconds()? - before, mint.bodies.len()));
        let webhooks = daemon::webhooks(&daemon::links(&mint.bodies)?);
        let alone_mint = closed_loop(alone.address, Supply::Repeat(&request), plan.round).await?;
        let alone_webhooks = daemon::webhooks(&daemon::links(&alone_mint.bodies)?);
        committed.push(closed_loop(alone.address, Supply::Once(&alone_webhooks), plan.round).await?.per_second());
        let sync = syncs_per_second(directory, plan.round)?;
        let (start, before) = (Instant::now(), daemon.process.cpu_seconds()?);
        let verify = closed_loop(daemon.address, Supply::Once(&webhooks), plan.round).await?;
        let count = verify.bodies.len();
        let mut last = start;
        for fake in [&receiver, &gateway] {
            let latest = fake.take(count).await?.iter().map(|arrival| arrival.at).max();
            last = last.max(latest.unwrap_or(start));
        }
        verify_micros.push(micros(daemon.process.cpu_seconds()? - before, count));
        minted.push(mint.per_second());
        syncs.push(sync);
        verified.push(verify.per_second());
        delivered.push(per_second(count, last - start));
    }
    // It would go on trying to deliver its replies.
    drop(alone);
    let [minted, syncs, verified, delivered, mint_micros, verify_micros] =
        [minted, syncs, verified, delivered, mint_micros, verify_micros].map(|rounds| median(after_warm_up(&rounds)));
    Report::number("mint", minted, "/s");
    Report::number("webhook to commit", median(after_warm_up(&committed)), "/s");
    Report::number("webhook to commit, callback and reply beside", verified, "/s");
    Report::number("callback and reply, to the last one", delivered, "pairs/s");
    Report::number("CPU of serve for a mint", mint_micros, "us");
    Report::number("CPU of serve for a verification with callback and reply", verify_micros, "us");
    Report::number("write and fdatasync, one after the other", syncs, "/s");
    Report::ratio("verifications / fdatasync", verified / syncs);
    let required = (REQUIRED * syncs).min(ENOUGH);
    report.at_least("verifications / what is required here", verified / required, 1.0);
    let disk = percentile(&sync_times(directory, plan.messages, latency::INTERVAL).await?, 99);
    let slowest = latency::measure(plan, &daemon, &receiver, &gateway).await?;
    Report::number("write and fdatasync, 100/s, p99", disk, "ms");
    report.at_most("webhook sent to its answer, p99 / the disk's p99", slowest / disk, LATE);
    report.below("memory of serve, idle", idle, "MB", IDLE_MEGABYTES);
    Report::number("memory of serve after all this", daemon.process.megabytes("VmRSS")?, "MB");
    Report::number("memory of serve, at most", daemon.process.megabytes("VmHWM")?, "MB");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run are far below 2^52")]
fn micros(seconds: f64, count: usize) -> f64 {
    seconds / count as f64 * 1e6
}
