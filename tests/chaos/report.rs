//! Measured figures and their limits.
#![expect(clippy::print_stdout, reason = "the report goes to standard output")]

use std::{fmt, process::ExitCode, time::Instant};

pub(crate) struct ChaosReport {
    name: String,
    began: Instant,
    met: usize,
    missed: Vec<String>,
}

pub(crate) fn say(text: impl fmt::Display) {
    println!("{text}");
}

impl ChaosReport {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), began: Instant::now(), met: 0, missed: Vec::new() }
    }

    /// Checks that a figure is at most `most`.
    pub(crate) fn at_most(&mut self, what: &str, figure: f64, most: f64, unit: &str) {
        self.judge(what, figure <= most, &format!("{figure:.2}{unit}, at most {most:.2}{unit}"));
    }

    /// Checks that a figure is at least `least`.
    pub(crate) fn at_least(&mut self, what: &str, figure: f64, least: f64, unit: &str) {
        self.judge(what, figure >= least, &format!("{figure:.2}{unit}, at least {least:.2}{unit}"));
    }

    pub(crate) fn judge(&mut self, what: &str, met: bool, figures: &str) {
        say(format_args!("  {} {what}: {figures}", if met { "met   " } else { "MISSED" }));
        if met {
            self.met += 1;
        } else {
            self.missed.push(format!("{what}: {figures}"));
        }
    }

    /// Prints the summary in the format of the test harness, so that `tests/run` counts it.
    pub(crate) fn finish(self) -> ExitCode {
        let Self { name, began, met, missed } = self;
        for line in &missed {
            say(format_args!("MISSED {line}"));
        }
        let (word, failed) = if missed.is_empty() { ("ok", 0) } else { ("FAILED", missed.len()) };
        let took = began.elapsed().as_secs();
        say(format_args!("\n{name}: {took} s\ntest result: {word}. {met} passed; {failed} failed"));
        if missed.is_empty() && met > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The smallest value that `percent` of all do not exceed; infinite where there is none.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or(f64::INFINITY)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

pub(crate) fn longest(values: &[f64]) -> f64 {
    percentile(values, 100)
}
