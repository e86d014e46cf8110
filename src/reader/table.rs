//! Tables that are stored until the code that can read them is known, such as the table of a gateway.

use std::fmt;

use serde_json::{Map, Value};

use super::{Format, Reader};

/// A table that has not been read yet, and its path.
#[derive(Clone, Default)]
pub struct Table {
    path: String,
    values: Map<String, Value>,
}

/// Omits the values, which may be secrets.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.path).finish()
    }
}

impl Table {
    pub fn new(path: impl Into<String>, values: Map<String, Value>) -> Self {
        Self { path: path.into(), values }
    }

    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// This table with `defaults` for absent keys. Tables directly under a key are merged key by key.
    #[must_use]
    pub fn with_defaults(&self, defaults: &Map<String, Value>) -> Self {
        Self { path: self.path.clone(), values: merged(&self.values, defaults) }
    }

    /// A reader in the configuration format.
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(Format::Toml, self.path.clone(), &self.values)
    }

    /// A single text, without its faults. For a table that is read in full elsewhere.
    pub fn text(&self, name: &str) -> Option<String> {
        self.reader().text(name)
    }
}

/// `values` with `defaults` for absent keys. Tables directly under a key are merged key by key.
pub(super) fn merged(values: &Map<String, Value>, defaults: &Map<String, Value>) -> Map<String, Value> {
    let mut values = values.clone();
    for (name, value) in defaults {
        match (values.get_mut(name), value) {
            (None, _) => drop(values.insert(name.clone(), value.clone())),
            (Some(Value::Object(ours)), Value::Object(theirs)) => {
                for (name, value) in theirs {
                    ours.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
            (Some(_), _) => {}
        }
    }
    values
}
