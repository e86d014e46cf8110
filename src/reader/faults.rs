//! Faults: all errors of one input, reported together.

use std::fmt;

/// An error in one value: its key, what is wrong and what is expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The full dotted key, such as `instance.0.gateway.kind`.
    pub key: String,
    pub problem: String,
    /// Where the value comes from, such as `countersign.toml:17`, if it is known.
    pub origin: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        write!(f, "{}: {}", self.key, self.problem)
    }
}

/// All faults of one input, in the order in which they were found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// A single fault.
    pub fn of(key: impl Into<String>, problem: impl Into<String>) -> Self {
        let mut faults = Self::default();
        faults.add(key, problem);
        faults
    }

    pub fn add(&mut self, key: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Fault { key: key.into(), problem: problem.into(), origin: None });
    }

    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Sets the origin of each fault by its key.
    #[must_use]
    pub fn located(mut self, origin: impl Fn(&str) -> Option<String>) -> Self {
        for fault in &mut self.0 {
            fault.origin = origin(&fault.key);
        }
        self
    }

    /// Replaces the problems for which `reword` returns a better one.
    #[must_use]
    pub fn reworded(mut self, reword: impl Fn(&Fault) -> Option<String>) -> Self {
        for fault in &mut self.0 {
            if let Some(problem) = reword(fault) {
                fault.problem = problem;
            }
        }
        self
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
        for fault in &self.0 {
            writeln!(f, "  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The value that was read, and its faults. A value can be present despite faults, so that everything that depends on
/// it can be checked as well and all faults are reported together.
#[derive(Debug)]
pub struct Checked<T> {
    value: Option<T>,
    faults: Faults,
}

impl<T> Checked<T> {
    /// If there is neither a value nor a fault, a general fault is added, so that no failure is silent.
    pub fn new(value: Option<T>, mut faults: Faults) -> Self {
        if value.is_none() && faults.is_empty() {
            faults.add("input", "cannot be read");
        }
        Self { value, faults }
    }

    /// Reads something else from the value, if there is one, and combines the faults.
    pub fn and<U>(mut self, read: impl FnOnce(&T) -> Checked<U>) -> Checked<(T, U)> {
        let Some(value) = self.value else { return Checked { value: None, faults: self.faults } };
        let next = read(&value);
        self.faults.append(next.faults);
        Checked { value: next.value.map(|next| (value, next)), faults: self.faults }
    }

    /// The value, if there are no faults.
    pub fn into_result(self) -> Result<T, Faults> {
        match self.value {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => Err(self.faults),
        }
    }
}
