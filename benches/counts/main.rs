//! Instructions that the hot paths without I/O take, counted by valgrind and compared with `counts.txt`.
//!
//! Time says little on a machine that others use as well; instructions repeat. They depend on the compiler, and a little
//! on what the processor offers to the C library, so `counts.txt` names the compiler it was written with.
//! `COUNTERSIGN_BLESS=1` writes it anew.
#![expect(clippy::print_stdout, reason = "a test answers on standard output")]

mod gateways;
mod paths;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, bail};

use paths::Work;

/// The daemon's allocator, whose instructions count.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Percent.
const TOLERANCE: i64 = 5;
const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/counts.txt");
const HEAD: &str =
    "# Instructions of one pass through each path; benches/run --counts compares, COUNTERSIGN_BLESS=1 writes.";
/// The name of no path.
const NOTHING: &str = "nothing";

/// By path.
type Counts = BTreeMap<String, i64>;

fn main() -> anyhow::Result<ExitCode> {
    let work = paths::all()?;
    if let Some(name) = std::env::args().nth(1) {
        run(&work, &name);
        return Ok(ExitCode::SUCCESS);
    }
    let compiler = compiler()?;
    // What the start and the end take, and the one pass of every path in each run.
    let rest = under_valgrind(NOTHING)?;
    let count = |work: &Work| Ok((work.name.clone(), (under_valgrind(&work.name)? - rest) / i64::from(work.passes)));
    let counted = work.iter().map(count).collect::<anyhow::Result<Counts>>()?;
    if std::env::var_os("COUNTERSIGN_BLESS").is_some() {
        let lines = counted.iter().map(|(name, count)| format!("{name:<44}{count:>10}\n"));
        std::fs::write(EXPECTED, format!("{HEAD}\n# {compiler}\n{}", lines.collect::<String>()))?;
        println!("{EXPECTED} is written");
        return Ok(ExitCode::SUCCESS);
    }
    let text = std::fs::read_to_string(Path::new(EXPECTED)).context(EXPECTED)?;
    let changed = compare(&expected(&text)?, &counted);
    if changed > 0 && !text.contains(&compiler) {
        println!("Those in counts.txt are of another compiler than this {compiler}.");
    }
    let outcome = if changed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {outcome}. {} passed; {changed} failed", counted.len().saturating_sub(changed));
    Ok(if changed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every path once, so that what is made at first use is made, and then one of them many times.
fn run(work: &[Work], name: &str) {
    for work in work {
        (work.pass)();
    }
    for work in work.iter().filter(|work| work.name == name) {
        for _ in 0..work.passes {
            (work.pass)();
        }
    }
}

fn under_valgrind(name: &str) -> anyhow::Result<i64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .arg(name)
        .output()
        .context("valgrind cannot be run: apt-get install valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find_map(|line| line.split_once("Collected : "));
    match line {
        Some((_, count)) if output.status.success() => Ok(count.trim().parse()?),
        _ => bail!("valgrind failed: {said}"),
    }
}

fn compiler() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("rustc cannot be run")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn expected(text: &str) -> anyhow::Result<Counts> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let read = |line: &str| {
        let (name, count) = line.rsplit_once(' ')?;
        Some((name.trim().to_owned(), count.parse().ok()?))
    };
    lines.map(|line| read(line).with_context(|| format!("{EXPECTED}: {line}"))).collect()
}

/// Names every path, and says how many have changed.
fn compare(expected: &Counts, counted: &Counts) -> usize {
    let names: BTreeSet<&String> = expected.keys().chain(counted.keys()).collect();
    let verdicts = names.into_iter().map(|name| {
        let (verdict, changed) = match (expected.get(name), counted.get(name)) {
            (Some(before), Some(now)) => {
                let changed = (now - before).abs() * 100 > before * TOLERANCE;
                let per_mille = (now - before) * 1000 / before.max(&1);
                (format!("{before:>10}{now:>10}{:>+6}.{} %", per_mille / 10, per_mille.abs() % 10), changed)
            }
            (Some(before), None) => (format!("{before:>10}      gone"), true),
            (None, now) => (format!("       new{:>10}", now.unwrap_or(&0)), true),
        };
        println!("{} {name:<44}{verdict}", if changed { "CHANGED" } else { "       " });
        usize::from(changed)
    });
    verdicts.sum()
}
