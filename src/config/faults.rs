//! All faults of a configuration, told at once.

use std::fmt;

/// What is wrong, where, and how to mend it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Dotted, such as `instance.0.gateway.kind`.
    pub key: String,
    pub problem: String,
}

/// Collects; a reader that finds a fault goes on reading.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub fn add(&mut self, key: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Fault { key: key.into(), problem: problem.into() });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Fault { key, problem } in &self.0 {
            writeln!(f, "  {key}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
