//! Whether a request costs the same however much lies in the store, and how fast timers that are due at once end.

use std::{path::Path, time::Duration};

use anyhow::ensure;

use crate::{
    client::{Supply, closed_loop},
    daemon::{self, Daemon},
    fakes::Fake,
    meter::{Pair, Series, nothing},
    redis_server::RedisServer,
    report::Report,
};

/// Links that wait.
const PENDING: usize = 1_000_000;
/// The most that a request may cost beside them, of its cost on an empty store.
const FLAT: f64 = 1.15;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
/// How long a link lives whose timer is to come due while no daemon runs.
const EXPIRES: u64 = 150;
/// In which the timers of two replicas end.
const TIMERS: f64 = 120.0;

pub(crate) async fn measure(directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    Report::heading(&format!("Over Redis, beside {PENDING} pending links"));
    let redis = RedisServer::start(directory)?;
    let gateway = Fake::silent().await?;
    let start = |name: &str| Daemon::start(directory, name, &redis.url(0), &gateway.url(), None);
    let daemon = start("scale")?;
    let pair = Pair { address: daemon.address, server: &daemon.process, store: &redis.process };
    let (mut mint, mut commit) = (Series::default(), Series::default());
    rounds(pair, &mut mint, &mut commit).await?;
    let empty = redis.memory()?;
    let mut minted = 0;
    let request = daemon::mint_for(3600);
    while minted < PENDING {
        minted += closed_loop(daemon.address, Supply::Repeat(&request), Duration::from_secs(10)).await?.bodies.len();
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = (redis.memory()? - empty) as f64 / minted as f64;
    Report::number("memory of Redis for each, with the metadata of these requests", each, "bytes");
    let (mut beside, mut commit_beside) = (Series::default(), Series::default());
    rounds(pair, &mut beside, &mut commit_beside).await?;
    Report::columns("", ["requests/s", "CPU us each", "Redis us each"]);
    for (name, before, after) in [("mint", &mint, &beside), ("webhook to commit", &commit, &commit_beside)] {
        before.print(&format!("{name}, empty store"));
        after.print(&format!("{name}, beside them"));
        report.at_most(&format!("{name}: cost beside them / on an empty store"), after.micros() / before.micros(), FLAT);
    }
    drop(daemon);
    redis.flush(0)?;

    Report::heading("Timers that are due at once, two replicas");
    let daemon = start("timers")?;
    let (request, mut minted) = (daemon::mint_for(EXPIRES), 0);
    let began = std::time::Instant::now();
    while minted < PENDING {
        minted += closed_loop(daemon.address, Supply::Repeat(&request), Duration::from_secs(5)).await?.bodies.len();
    }
    ensure!(began.elapsed() < Duration::from_secs(EXPIRES), "minting took as long as the links live");
    drop(daemon);
    tokio::time::sleep(Duration::from_secs(EXPIRES + 2)).await;
    let replicas = [start("timers-1")?, start("timers-2")?];
    let (began, mut left) = (std::time::Instant::now(), minted);
    while left > 0 && began.elapsed() < Duration::from_secs(600) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // A timer that has ended stands for the removal of its record, later.
        left = redis.due_timers()?;
    }
    report.below(&format!("until {minted} due timers have ended"), began.elapsed().as_secs_f64(), "s", TIMERS);
    drop(replicas);
    Ok(())
}

async fn rounds(pair: Pair<'_>, mint: &mut Series, commit: &mut Series) -> anyhow::Result<()> {
    let request = daemon::mint_for(3600);
    for _ in 0..=ROUNDS {
        let minted = pair.round(mint, Supply::Repeat(&request), ROUND, nothing).await?;
        let webhooks = daemon::webhooks(&daemon::links(&minted)?);
        pair.round(commit, Supply::Once(&webhooks), ROUND, nothing).await?;
    }
    Ok(())
}
