//! Reads input from outside: configuration, JSON bodies, forms, query strings. All of them share one reader, which
//! collects every fault under its key and records which keys were read, so that unknown keys are found.
//!
//! An empty text counts as absent, because environment variables and forms can often not be omitted, only left empty. A
//! required value that is empty is therefore a fault. In a query string an empty text is a value: a filter that is
//! empty by mistake must not match everything.

mod faults;
mod table;
mod values;

use serde_json::{Map, Value};

pub use self::{
    faults::{Checked, Fault, Faults},
    table::Table,
};
use crate::{
    api::Warning,
    domain::template::{nearest, remove_control},
};

/// The input format, which decides how unknown keys are treated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Configuration: an unknown key is a fault.
    Toml,
    /// A JSON body: an unknown key is ignored with a warning, as clients of the old API expect.
    Json,
    /// A form: an unknown field is ignored, because other software adds its own fields.
    Form,
    /// A query string: an unknown parameter is ignored.
    Query,
}

/// Reads one table, key by key.
pub struct Reader<'a> {
    format: Format,
    path: String,
    values: &'a Map<String, Value>,
    read_keys: Vec<String>,
    faults: Faults,
    warnings: Vec<Warning>,
}

impl<'a> Reader<'a> {
    pub fn new(format: Format, path: impl Into<String>, values: &'a Map<String, Value>) -> Self {
        let path = path.into();
        Self { format, path, values, read_keys: Vec::new(), faults: Faults::default(), warnings: Vec::new() }
    }

    /// The full dotted name of a key, as shown in faults and warnings.
    pub fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub fn fault(&mut self, name: &str, problem: impl Into<String>) {
        let key = self.key(name);
        self.faults.add(key, problem);
    }

    /// Adds a fault under a full key, as [`Self::values`] returns it.
    pub fn fault_at(&mut self, key: impl Into<String>, problem: impl Into<String>) {
        self.faults.add(key, problem);
    }

    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Whether a fault has been added under this key.
    pub fn is_faulty(&self, name: &str) -> bool {
        let key = self.key(name);
        self.faults.iter().any(|fault| fault.key == key)
    }

    /// Adds a warning about input that is accepted although the result may be unexpected.
    pub fn warn(&mut self, code: &'static str, detail: impl Into<String>) {
        self.warnings.push(Warning { code, detail: detail.into() });
    }

    /// Whether a value is given.
    pub fn has(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| self.is_given(value))
    }

    fn is_given(&self, value: &Value) -> bool {
        !value.is_null() && (value != "" || self.format == Format::Query)
    }

    fn get(&mut self, name: &str) -> Option<&'a Value> {
        self.read_keys.push(name.to_owned());
        self.values.get(name).filter(|value| self.is_given(value))
    }

    /// Returns what `read` finds under `name`; a missing value is a fault.
    pub fn required<T>(&mut self, name: &str, hint: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if !self.has(name) {
            self.read_keys.push(name.to_owned());
            self.fault(name, format!("is missing: {hint}"));
            return None;
        }
        read(self)
    }

    /// Reads the table under `name`, or an empty one if there is none. Unknown keys are reported.
    pub fn nested<T>(&mut self, name: &str, read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        let empty = Map::new();
        let values = match self.get(name) {
            None => &empty,
            Some(Value::Object(values)) => values,
            // PHP writes an empty associative array as `[]`.
            Some(Value::Array(items)) if items.is_empty() && self.format == Format::Json => &empty,
            Some(_) => {
                let expected = if self.format == Format::Toml { "expected a table" } else { "expected an object" };
                self.fault(name, expected);
                &empty
            }
        };
        self.read_table(self.key(name), values, read)
    }

    /// Reads each table of an array of tables. Unknown keys are reported.
    pub fn tables<T>(&mut self, name: &str, mut read: impl FnMut(&mut Reader<'_>) -> T) -> Vec<T> {
        let tables = match self.get(name) {
            None => return Vec::new(),
            Some(Value::Array(tables)) => tables,
            Some(_) => {
                self.fault(name, format!("expected tables: write [[{name}]]"));
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for (index, table) in tables.iter().enumerate() {
            let key = self.key(&format!("{name}.{index}"));
            match table {
                Value::Object(values) => found.push(self.read_table(key, values, &mut read)),
                _ => self.fault_at(key, format!("expected a table: write [[{name}]]")),
            }
        }
        found
    }

    /// Reads a table found under the full key `key`. Unknown keys are reported.
    pub fn read_table<T>(
        &mut self,
        key: String,
        values: &Map<String, Value>,
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> T {
        let mut inner = Reader::new(self.format, key, values);
        std::mem::swap(&mut inner.faults, &mut self.faults);
        std::mem::swap(&mut inner.warnings, &mut self.warnings);
        let value = read(&mut inner);
        inner.report_unknown();
        self.faults = inner.faults;
        self.warnings = inner.warnings;
        value
    }

    /// As [`Table::with_defaults`], for the table that is being read.
    pub fn read_with_defaults<T>(
        &mut self,
        defaults: &Map<String, Value>,
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> T {
        let values = table::merged(self.values, defaults);
        let value = self.read_table(self.path.clone(), &values, read);
        // These keys were read as part of the merged table.
        self.read_keys.extend(self.values.keys().cloned());
        value
    }

    /// Returns the table under `name` to be read later; an empty one if there is none.
    pub fn table(&mut self, name: &str) -> Table {
        let values = match self.get(name) {
            None => Map::new(),
            Some(Value::Object(values)) => values.clone(),
            Some(_) => {
                self.fault(name, "expected a table");
                Map::new()
            }
        };
        Table::new(self.key(name), values)
    }

    fn report_unknown(&mut self) {
        let known: Vec<&str> = self.read_keys.iter().map(String::as_str).collect();
        let unknown = self.values.keys().filter(|name| !known.contains(&name.as_str()));
        let unknown: Vec<(&String, String)> = unknown.map(|name| (name, suggestion(name, &known))).collect();
        for (name, near) in unknown {
            match self.format {
                Format::Toml => self.fault(name, format!("is not a key{near}")),
                Format::Json => {
                    let field = self.key(&remove_control(name).chars().take(60).collect::<String>());
                    self.warn("unknown_field", format!("{field} is not a field and was ignored{near}"));
                }
                Format::Form | Format::Query => {}
            }
        }
    }

    /// Returns the value with all faults, including those for unknown keys.
    pub fn check<T>(mut self, value: Option<T>) -> Checked<T> {
        self.report_unknown();
        Checked::new(value, self.faults)
    }

    /// Returns the value if there are no faults, including those for unknown keys.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Faults> {
        self.check(value).into_result()
    }

    /// As [`Self::finish`], with the warnings.
    pub fn finish_with_warnings<T>(mut self, value: Option<T>) -> Result<(T, Vec<Warning>), Faults> {
        self.report_unknown();
        let value = Checked::new(value, self.faults).into_result()?;
        Ok((value, self.warnings))
    }

    /// Returns the faults so far, without checking for unknown keys.
    pub fn into_faults(self) -> Faults {
        self.faults
    }
}

/// `"x" is not one of a, b, c`, with a suggestion if one of them is similar.
pub fn not_one_of(text: &str, words: &[&str]) -> String {
    format!("{text:?} is not one of {}{}", words.join(", "), suggestion(text, words))
}

fn suggestion(word: &str, known: &[&str]) -> String {
    let near = nearest(word, known);
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
