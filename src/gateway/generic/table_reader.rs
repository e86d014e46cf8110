//! Reads the tables of a generic gateway: pointers, conditions and lists. Every fault is added under its key.

use http::StatusCode;
use serde_json::Value;

use super::source::{Condition, ConditionTest, ValueSource, scalar};
use crate::config::{Faults, Section};

const POINTER: &str = "expected a JSON pointer such as \"/message/id\": it starts with / and writes ~ as ~0";

/// Reads one table and collects its faults.
pub(super) struct TableReader<'a> {
    pub(super) section: Section,
    pub(super) faults: &'a mut Faults,
}

impl<'a> TableReader<'a> {
    pub(super) fn new(section: Section, faults: &'a mut Faults) -> Self {
        Self { section, faults }
    }

    pub(super) fn fault(&mut self, name: &str, problem: &str) {
        self.faults.add(self.section.key(name), problem);
    }

    /// A pointer; `None` if absent or invalid.
    pub(super) fn pointer(&mut self, name: &str) -> Option<String> {
        let text = self.section.text(name, self.faults)?;
        pointer(&self.section.key(name), text, self.faults)
    }

    fn required_pointer(&mut self, name: &str) -> Option<String> {
        if !self.section.has(name) {
            self.fault(name, "is missing: a JSON pointer such as \"/message/id\"");
        }
        self.pointer(name)
    }

    /// Pointers, or tables with `pointer`, `when_pointer` and a test.
    pub(super) fn sources(&mut self, name: &str) -> Vec<ValueSource> {
        let values = self.section.values(name);
        values.into_iter().filter_map(|(key, value)| source(key, value, self.faults)).collect()
    }

    /// Like [`TableReader::sources`], with at least one.
    pub(super) fn required(&mut self, name: &str, hint: &str) -> Vec<ValueSource> {
        let sources = self.sources(name);
        if self.section.values(name).is_empty() {
            self.fault(name, &format!("is missing: {hint}"));
        }
        sources
    }

    /// Tables with `pointer` and a test.
    pub(super) fn conditions(&mut self, name: &str) -> Vec<Condition> {
        let values = self.section.values(name);
        values
            .into_iter()
            .filter_map(|(key, value)| {
                subtable(key, value, "{ pointer = \"…\", equals = … }", self.faults)?.condition()
            })
            .collect()
    }

    /// This table as a condition.
    pub(super) fn condition(mut self) -> Option<Condition> {
        let (pointer, test) = (self.required_pointer("pointer"), self.test());
        self.finish();
        Some(Condition { pointer: pointer?, test })
    }

    /// `equals` or `when_suffix`; with neither, [`ConditionTest::Set`].
    pub(super) fn test(&mut self) -> ConditionTest {
        let (equals, ends) = (self.scalars("equals"), self.scalars("when_suffix"));
        if !equals.is_empty() && !ends.is_empty() {
            self.fault("equals", "is given together with when_suffix; remove one of the two");
        }
        match (equals.is_empty(), ends.is_empty()) {
            (false, _) => ConditionTest::Equals(equals),
            (true, false) => ConditionTest::Suffix(ends),
            (true, true) => ConditionTest::Set,
        }
    }

    /// Texts, numbers and flags, as text.
    pub(super) fn scalars(&mut self, name: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (key, value) in self.section.values(name) {
            match scalar(&value) {
                Some(word) => words.push(word),
                None => self.faults.add(key, "expected a text, a number, true or false, or a list of them"),
            }
        }
        words
    }

    /// A table of texts.
    pub(super) fn table(&mut self, name: &str) -> Vec<(String, String)> {
        let mut entries = Vec::new();
        for (key, value) in self.section.values(name) {
            let Value::Object(table) = value else {
                self.faults.add(key, "expected a table of texts");
                continue;
            };
            for (name, value) in table {
                match scalar(&value) {
                    Some(text) => entries.push((name, text)),
                    None => self.faults.add(format!("{key}.{name}"), "expected a text in quotes"),
                }
            }
        }
        entries
    }

    pub(super) fn finish(self) {
        self.section.finish(self.faults);
    }
}

/// The table under `key`, or a fault that shows the expected `shape`.
pub(super) fn subtable<'a>(key: String, value: Value, shape: &str, faults: &'a mut Faults) -> Option<TableReader<'a>> {
    match value {
        Value::Object(table) => Some(TableReader::new(Section::new(key, table), faults)),
        _ => {
            faults.add(key, format!("expected a table: {shape}"));
            None
        }
    }
}

/// An HTTP status.
pub(super) fn status(key: String, value: &Value, faults: &mut Faults) -> Option<u16> {
    let status = scalar(value).and_then(|text| text.parse::<StatusCode>().ok()).map(|status| status.as_u16());
    if status.is_none() {
        faults.add(key, "expected an HTTP status from 100 to 999");
    }
    status
}

fn source(key: String, value: Value, faults: &mut Faults) -> Option<ValueSource> {
    match value {
        Value::String(text) => Some(ValueSource { pointer: pointer(&key, text, faults)?, guard: None }),
        value => {
            let shape = "{ pointer = \"…\", when_pointer = \"…\", equals = … }, or a pointer in quotes";
            let mut fields = subtable(key, value, shape, faults)?;
            let pointer = fields.required_pointer("pointer");
            let guard = fields.pointer("when_pointer");
            let test = fields.test();
            if test != ConditionTest::Set && !fields.section.has("when_pointer") {
                fields.fault("when_pointer", "is missing: the pointer of the value that equals or when_suffix tests");
            }
            fields.finish();
            Some(ValueSource { pointer: pointer?, guard: guard.map(|pointer| Condition { pointer, test }) })
        }
    }
}

fn pointer(key: &str, text: String, faults: &mut Faults) -> Option<String> {
    let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    let valid = text.is_empty() || (text.starts_with('/') && escaped);
    if !valid {
        faults.add(key, POINTER);
    }
    valid.then_some(text)
}
