//! Trials of real processes under faults and load. Each prints its figures, is bounded in time, and fails when a limit
//! is exceeded: `cargo test --test chaos -- --run NAME [--scale N] [--only WORD]`.
#![expect(clippy::unwrap_used, reason = "what cannot go on has failed")]

#[path = "../it/daemon.rs"]
#[allow(dead_code, reason = "a part of the harness is enough here")]
mod daemon;
mod drain;
mod duties;
#[path = "../it/fakes.rs"]
#[allow(dead_code, reason = "a part of the harness is enough here")]
mod fakes;
mod fill;
mod isolation;
mod kill;
mod load;
mod power;
#[path = "../it/process.rs"]
#[allow(dead_code, unused_imports, reason = "a part of the harness is enough here")]
mod process;
#[path = "../it/proxy.rs"]
#[allow(dead_code, reason = "a part of the harness is enough here")]
mod proxy;
#[path = "../it/redis_server.rs"]
#[allow(dead_code, reason = "a part of the harness is enough here")]
mod redis_server;
mod report;
#[path = "../it/wait.rs"]
#[allow(dead_code, reason = "a part of the harness is enough here")]
mod wait;

use std::process::ExitCode;

use report::ChaosReport;

const USAGE: &str = "\
usage: cargo test --test chaos -- --run NAME [--scale N] [--only WORD]

  isolation   a healthy lane beside failing ones
  drain       how fast and in which order backlogs are processed
  duties      retries, expiry and crash recovery under traffic
  kill        random kill -9 during logins
  power       power cuts under the embedded store, on a loop image

--scale multiplies the sizes; --only runs the parts whose name contains WORD.";

/// The options of a run.
pub(crate) struct Plan {
    pub(crate) scale: usize,
    only: String,
}

impl Plan {
    pub(crate) fn includes(&self, part: &str) -> bool {
        part.contains(&self.only)
    }
}

fn main() -> ExitCode {
    let mut name = None;
    let mut plan = Plan { scale: 1, only: String::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--scale" => match arguments.next().and_then(|text| text.parse().ok()).filter(|scale| *scale > 0) {
                Some(scale) => plan.scale = scale,
                None => return usage(2),
            },
            "--only" => plan.only = arguments.next().unwrap_or_default(),
            "--run" => name = arguments.next(),
            // Cargo hands the filters and options of other targets to this one as well.
            _ if name.is_none() => {}
            _ => return usage(2),
        }
    }
    let Some(name) = name else { return usage(0) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let report = runtime.block_on(async {
        let mut report = ChaosReport::new(&name);
        match name.as_str() {
            "isolation" => isolation::run(&plan, &mut report).await,
            "drain" => drain::run(&plan, &mut report).await,
            "duties" => duties::run(&plan, &mut report).await,
            "kill" => kill::run(&plan, &mut report).await,
            "power" => power::run(&plan, &mut report).await,
            _ => return None,
        }
        Some(report)
    });
    report.map_or_else(|| usage(2), ChaosReport::finish)
}

fn usage(status: u8) -> ExitCode {
    report::say(USAGE);
    ExitCode::from(status)
}
