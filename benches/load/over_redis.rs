//! Throughput over Redis: floors and daemon in turn, and what the daemon holds in memory meanwhile.

use std::{path::Path, time::Instant};

use crate::{
    Plan,
    client::{Supply, per_second, post},
    daemon::{self, Daemon},
    fakes::Fake,
    floor::{Cost, Floor},
    latency,
    meter::{Pair, Series, nothing},
    redis_server::RedisServer,
    report::{Report, after_warm_up, median},
};

/// The least shares of the rate of the bare floor.
const MINT: f64 = 0.70;
const COMMIT: f64 = 0.60;
const DELIVERED: f64 = 0.55;
const IDLE_MEGABYTES: f64 = 14.0;

/// Databases in the one Redis.
const FLOOR: u8 = 0;
const WHOLE: u8 = 1;
const ALONE: u8 = 2;

/// Two scripts of one command each, which is what no program that asks Redis twice can undercut; two with as many
/// commands as the daemon's, which is what a program that keeps the same promises costs; the daemon.
#[derive(Default)]
struct Trio {
    floor: Series,
    alike: Series,
    ours: Series,
}

impl Trio {
    fn print(&self, report: &mut Report, name: &str, commands: usize, required: f64) {
        self.floor.print(&format!("{name}: floor"));
        self.alike.print(&format!("{name}: floor with {commands} Redis commands"));
        self.ours.print(&format!("{name}: countersign"));
        report.at_least(&format!("{name} / floor"), self.ours.rate() / self.floor.rate(), required);
        Report::ratio(&format!("{name} / floor with as many commands"), self.ours.rate() / self.alike.rate());
    }
}

pub(crate) async fn measure(plan: &Plan, directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    Report::heading(&format!("Over Redis, 64 connections, median of {} rounds of {:?}", plan.rounds, plan.round));
    let redis = RedisServer::start(directory)?;
    let (receiver, gateway, silent) = (Fake::prompt().await?, Fake::prompt().await?, Fake::silent().await?);
    let (receiver_url, gateway_url) = (receiver.url(), gateway.url());
    let floor = Floor::start(directory, &redis.url(FLOOR), [&receiver_url, &gateway_url])?;
    let daemon = Daemon::start(directory, "redis", &redis.url(WHOLE), &gateway_url, Some(&receiver_url))?;
    tokio::time::sleep(plan.idle).await;
    let idle = daemon.process.megabytes("VmRSS")?;
    // Its gateway never responds and no callback is requested: it creates and matches links and sends nothing.
    let alone = Daemon::start(directory, "alone", &redis.url(ALONE), &silent.url(), None)?;

    let pair = |address, server| Pair { address, server, store: &redis.process };
    let (floor, ours) = (pair(floor.address, &floor.process), pair(daemon.address, &daemon.process));
    let alone = pair(alone.address, &alone.process);
    let (mut mint, mut commit, mut whole) = (Trio::default(), Trio::default(), Trio::default());
    let (mut mint_commands, mut commit_commands) = (0, 0);
    let (mut delivered, mut delivered_floor) = (Vec::new(), Vec::new());
    let request = daemon::mint();
    for round in 0..=plan.rounds {
        let limit = plan.round;
        let before = redis.commands()?;
        let minted = ours.round(&mut mint.ours, Supply::Repeat(&request), limit, nothing).await?;
        let webhooks = daemon::webhooks(&daemon::links(&minted)?);
        if round == 0 {
            mint_commands = (redis.commands()? - before) / minted.len();
        }
        let bare = Cost { bytes: minted[0].len(), commands: 2, outbox: false };
        for (series, commands) in [(&mut mint.floor, 2), (&mut mint.alike, mint_commands)] {
            let request = alike(&request, Cost { commands, ..bare });
            floor.round(series, Supply::Repeat(&request), limit, nothing).await?;
            redis.flush(FLOOR)?;
        }

        let minted = alone.round(&mut Series::default(), Supply::Repeat(&request), limit, nothing).await?;
        let before = redis.commands()?;
        let alone_webhooks = daemon::webhooks(&daemon::links(&minted)?);
        let matched = alone.round(&mut commit.ours, Supply::Once(&alone_webhooks), limit, nothing).await?;
        if round == 0 {
            commit_commands = (redis.commands()? - before) / matched.len();
        }
        for (series, commands) in [(&mut commit.floor, 2), (&mut commit.alike, commit_commands)] {
            let request = alike(&webhooks[0], Cost { commands, bytes: 0, ..bare });
            floor.round(series, Supply::Repeat(&request), limit, nothing).await?;
            redis.flush(FLOOR)?;
        }
        redis.flush(ALONE)?;

        let with_outbox = alike(&webhooks[0], Cost { bytes: 0, outbox: true, ..bare });
        let pairs = [
            (ours, &mut whole.ours, Supply::Once(&webhooks), &mut delivered),
            (floor, &mut whole.floor, Supply::Repeat(&with_outbox), &mut delivered_floor),
        ];
        for (pair, series, supply, delivered) in pairs {
            let start = Instant::now();
            let both_came = async |count| {
                let (callbacks, replies) = (receiver.take(count).await?, gateway.take(count).await?);
                let last = callbacks.iter().chain(&replies).map(|arrival| arrival.at).max();
                delivered.push(per_second(count, last.unwrap_or(start) - start));
                anyhow::Ok(())
            };
            pair.round(series, supply, limit, both_came).await?;
        }
        redis.flush(FLOOR)?;
        redis.flush(WHOLE)?;
    }

    Report::columns("", ["requests/s", "CPU us each", "Redis us each"]);
    mint.print(report, "mint", mint_commands, MINT);
    commit.print(report, "webhook to commit", commit_commands, COMMIT);
    whole.floor.print("the same, callback and reply beside: floor");
    whole.ours.print("the same, callback and reply beside: countersign");
    let [delivered, delivered_floor] = [delivered, delivered_floor].map(|rounds| median(after_warm_up(&rounds)));
    Report::number("callback and reply, to the last one: floor", delivered_floor, "pairs/s");
    Report::number("callback and reply, to the last one: countersign", delivered, "pairs/s");
    report.at_least("callback and reply / floor", delivered / delivered_floor, DELIVERED);
    latency::measure(plan, &daemon, &receiver, &gateway).await?;
    report.below("memory of serve, idle", idle, "MB", IDLE_MEGABYTES);
    Report::number("memory of serve after all this", daemon.process.megabytes("VmRSS")?, "MB");
    Report::number("memory of serve, at most", daemon.process.megabytes("VmHWM")?, "MB");
    Ok(())
}

/// A request to the floor that is as long as `like`.
fn alike(like: &[u8], cost: Cost) -> Vec<u8> {
    let text = String::from_utf8_lossy(like);
    let length = text.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
    post(&cost.path(), &[], &"x".repeat(length))
}
