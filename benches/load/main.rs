//! Throughput, latency and memory, as ratios to what the same machine achieves in the same run.
//!
//! `benches/run` measures and fails when a required ratio is missed; `benches/run --quick` only shows that everything
//! still runs; `benches/run --scale` measures beside a million links, many instances and a million timers. After
//! either, `redis`, `embedded`, `links`, `instances`, `timers` name the parts that are wanted.

mod client;
mod daemon;
mod disk;
mod embedded;
mod fakes;
mod floor;
mod latency;
mod meter;
mod over_redis;
mod process;
mod redis_server;
mod report;
mod scale;
mod wire;

use std::{process::ExitCode, time::Duration};

use report::Report;

/// How long everything is measured.
pub(crate) struct Plan {
    rounds: usize,
    round: Duration,
    /// Before memory counts as idle.
    idle: Duration,
    /// Over which latencies are taken.
    messages: usize,
}

const FULL: Plan = Plan { rounds: 5, round: Duration::from_secs(2), idle: Duration::from_secs(2), messages: 1000 };
const QUICK: Plan =
    Plan { rounds: 1, round: Duration::from_millis(300), idle: Duration::from_millis(200), messages: 50 };

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((floor::WORD, rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        floor::run(rest)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (options, parts): (Vec<String>, Vec<String>) =
        arguments.into_iter().partition(|argument| argument.starts_with("--"));
    let has = |option: &str| options.iter().any(|given| given == option);
    let (full, scale) = (!has("--quick"), has("--scale"));
    let selected = |part: &str| parts.is_empty() || parts.iter().any(|given| given == part);
    let measured = measure(full, scale, selected);
    let report = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measured)?;
    Ok(if report.finish(full) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(full: bool, scale: bool, selected: impl Fn(&str) -> bool) -> anyhow::Result<Report> {
    let plan = if full { FULL } else { QUICK };
    // Beside the build, because a directory for temporary files may be memory.
    let binary = daemon::binary()?;
    let directory = tempfile::tempdir_in(binary.parent().unwrap_or(&binary))?;
    let mut report = Report::default();
    if scale {
        scale::measure(directory.path(), &mut report, selected).await?;
        return Ok(report);
    }
    if selected("redis") {
        over_redis::measure(&plan, directory.path(), &mut report).await?;
    }
    if selected("embedded") {
        embedded::measure(&plan, directory.path(), &mut report).await?;
    }
    Ok(report)
}
