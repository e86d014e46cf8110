//! The table of results and the required ratios.
#![expect(clippy::print_stdout, reason = "a benchmark answers on standard output")]

/// Numbers of one run, printed as they come.
#[derive(Default)]
pub(crate) struct Report {
    missed: Vec<String>,
}

impl Report {
    pub(crate) fn heading(text: &str) {
        println!("\n{text}");
    }

    pub(crate) fn columns(name: &str, columns: [&str; 3]) {
        println!("  {name:<54}{:>12}{:>15}{:>15}", columns[0], columns[1], columns[2]);
    }

    pub(crate) fn row(name: &str, values: [f64; 3]) {
        println!("  {name:<54}{:>12.0}{:>15.0}{:>15.0}", values[0], values[1], values[2]);
    }

    pub(crate) fn number(name: &str, value: f64, unit: &str) {
        println!("  {name:<54}{value:>12.1} {unit}");
    }

    pub(crate) fn ratio(name: &str, ratio: f64) {
        println!("  {name:<54}{ratio:>12.2}");
    }

    pub(crate) fn at_least(&mut self, name: &str, ratio: f64, required: f64) {
        println!("  {name:<54}{ratio:>12.2} required: {required} or more");
        if ratio < required {
            self.missed.push(format!("{name}: {ratio:.2}, required: {required} or more"));
        }
    }

    pub(crate) fn at_most(&mut self, name: &str, ratio: f64, required: f64) {
        println!("  {name:<54}{ratio:>12.2} required: {required} or less");
        if ratio > required {
            self.missed.push(format!("{name}: {ratio:.2}, required: {required} or less"));
        }
    }

    pub(crate) fn below(&mut self, name: &str, value: f64, unit: &str, required: f64) {
        println!("  {name:<54}{value:>12.1} {unit}, required: below {required}");
        if value >= required {
            self.missed.push(format!("{name}: {value:.1} {unit}, required: below {required}"));
        }
    }

    /// `true` when nothing was missed, or nothing is demanded of this run.
    pub(crate) fn finish(&self, demanding: bool) -> bool {
        let word = if demanding { "MISSED" } else { "missed, in a run too short to tell:" };
        println!();
        for missed in &self.missed {
            println!("{word} {missed}");
        }
        self.missed.is_empty() || !demanding
    }
}

/// The first round is not counted.
pub(crate) fn after_warm_up(rounds: &[f64]) -> &[f64] {
    rounds.get(1..).unwrap_or_default()
}

/// Middle value: rounds in which the machine was busy with something else do not count.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

/// The smallest value that `percent` of all do not exceed.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or_default()
}
