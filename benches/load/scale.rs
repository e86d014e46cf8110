//! Whether the cost of a request is independent of the amount of stored data, and how fast timers that are due at the
//! same time are processed.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;

use crate::{
    client::{Supply, closed_loop, open_loop},
    daemon::{self, Daemon},
    fakes::Fake,
    meter::{Pair, Series, nothing},
    redis_server::RedisServer,
    report::{Report, percentile},
};

/// Links that wait. More than 2^20: there Redis enlarges its table of keys, step by step with each command, which is not
/// to fall into the measured rounds.
const PENDING: usize = 1_100_000;
/// Instances of one daemon.
const INSTANCES: usize = 10_000;
/// The most that a request may cost beside them, of its cost on an empty store.
const FLAT: f64 = 1.15;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
/// How long a link lives whose timer is to come due while no daemon runs.
const EXPIRES: u64 = 150;
/// In which the timers of two replicas end.
const TIMERS: f64 = 120.0;

pub(crate) async fn measure(
    directory: &Path,
    report: &mut Report,
    selected: impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    let redis = RedisServer::start(directory)?;
    let gateway = Fake::silent().await?;
    let place = Place { directory, redis: &redis, gateway: gateway.url() };
    if selected("links") {
        place.links(report).await?;
    }
    if selected("instances") {
        place.instances(report).await?;
    }
    if selected("timers") {
        place.timers(report).await?;
    }
    Ok(())
}

struct Place<'a> {
    directory: &'a Path,
    redis: &'a RedisServer,
    gateway: String,
}

impl Place<'_> {
    fn daemon(&self, name: &str) -> anyhow::Result<Daemon> {
        self.daemon_of(name, 1)
    }

    fn daemon_of(&self, name: &str, instances: usize) -> anyhow::Result<Daemon> {
        Daemon::start_with(self.directory, name, &self.redis.url(0), &self.gateway, None, instances)
    }

    /// Mints at least so many links, within `limit`.
    async fn mint(&self, daemon: &Daemon, count: usize, expires: u64, limit: Duration) -> anyhow::Result<usize> {
        let (request, began, mut minted) = (daemon::mint_for(expires), Instant::now(), 0);
        while minted < count {
            minted += closed_loop(daemon.address, Supply::Repeat(&request), Duration::from_secs(5)).await?.bodies.len();
            ensure!(began.elapsed() < limit, "{minted} links were minted in {limit:?}");
        }
        Ok(minted)
    }

    async fn links(&self, report: &mut Report) -> anyhow::Result<()> {
        Report::heading(&format!("Over Redis, beside {PENDING} pending links"));
        let daemon = self.daemon("links")?;
        let before = Costs::of(&daemon, self.redis).await?;
        let empty = self.redis.memory()?;
        let minted = self.mint(&daemon, PENDING, 3600, Duration::MAX).await?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = (self.redis.memory()? - empty) as f64 / minted as f64;
        Report::number("memory of Redis for each, with the metadata of these requests", each, "bytes");
        let beside = Costs::of(&daemon, self.redis).await?;
        beside.compare(report, &before, "an empty store", "beside them");
        drop(daemon);
        self.redis.flush(0)
    }

    async fn instances(&self, report: &mut Report) -> anyhow::Result<()> {
        Report::heading(&format!("Over Redis, {INSTANCES} instances"));
        let one = self.daemon("one-instance")?;
        let before = Costs::of(&one, self.redis).await?;
        drop(one);
        self.redis.flush(0)?;
        let began = Instant::now();
        let many = self.daemon_of("many-instances", INSTANCES)?;
        Report::number("until it is ready", began.elapsed().as_secs_f64(), "s");
        let beside = Costs::of(&many, self.redis).await?;
        beside.compare(report, &before, "one instance", "one of many");
        Report::number("memory of serve", many.process.megabytes("VmRSS")?, "MB");
        drop(many);
        self.redis.flush(0)
    }

    async fn timers(&self, report: &mut Report) -> anyhow::Result<()> {
        Report::heading("Timers that are due at once, two replicas");
        let daemon = self.daemon("timers")?;
        let minted = self.mint(&daemon, PENDING, EXPIRES, Duration::from_secs(EXPIRES)).await?;
        drop(daemon);
        tokio::time::sleep(Duration::from_secs(EXPIRES + 2)).await;
        let sets = self.redis.timers()?;
        ensure!(self.redis.due_timers(&sets)? >= minted, "not all timers are due");
        let replicas = [self.daemon("timers-1")?, self.daemon("timers-2")?];
        let (began, mut left) = (Instant::now(), minted);
        let mut answered = Vec::new();
        let request = daemon::mint();
        while left > 0 && began.elapsed() < Duration::from_mins(10) {
            // New work beside the old.
            let times = open_loop(replicas[0].address, &vec![request.clone(); 50], Duration::from_millis(10)).await?;
            answered.extend(times.iter().map(|time| (time.answered - time.sent).as_secs_f64() * 1e3));
            // A timer that has ended stands for the removal of its record, later.
            left = self.redis.due_timers(&sets)?;
        }
        report.below(&format!("until {minted} due timers have ended"), began.elapsed().as_secs_f64(), "s", TIMERS);
        Report::number("mint meanwhile, 100/s, p50", percentile(&answered, 50), "ms");
        Report::number("mint meanwhile, 100/s, p99", percentile(&answered, 99), "ms");
        Ok(())
    }
}

/// What requests cost.
#[derive(Default)]
struct Costs {
    mint: Series,
    commit: Series,
}

impl Costs {
    async fn of(daemon: &Daemon, redis: &RedisServer) -> anyhow::Result<Self> {
        let pair = Pair { address: daemon.address, server: &daemon.process, store: &redis.process };
        let (mut costs, request) = (Self::default(), daemon::mint_for(3600));
        for _ in 0..=ROUNDS {
            let minted = pair.round(&mut costs.mint, Supply::Repeat(&request), ROUND, nothing).await?;
            let webhooks = daemon::webhooks(&daemon::links(&minted)?);
            pair.round(&mut costs.commit, Supply::Once(&webhooks), ROUND, nothing).await?;
        }
        Ok(costs)
    }

    fn compare(&self, report: &mut Report, before: &Self, there: &str, here: &str) {
        Report::columns("", ["requests/s", "CPU us each", "Redis us each"]);
        for (name, before, after) in
            [("mint", &before.mint, &self.mint), ("webhook to commit", &before.commit, &self.commit)]
        {
            before.print(&format!("{name}, {there}"));
            after.print(&format!("{name}, {here}"));
            report.at_most(&format!("{name}: cost {here} / {there}"), after.micros() / before.micros(), FLAT);
        }
    }
}
