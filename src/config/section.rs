//! Reads one table of the configuration, key by key, and knows which keys nobody asked for.

use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

use super::faults::Faults;

/// A table, its place, and the keys that were asked for.
#[derive(Clone, Default)]
pub struct Section {
    path: String,
    table: Map<String, Value>,
    asked: Vec<String>,
}

/// Values may be secret.
impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Section").field(&self.path).finish()
    }
}

impl Section {
    pub fn new(path: impl Into<String>, table: Map<String, Value>) -> Self {
        Self { path: path.into(), table, asked: Vec::new() }
    }

    /// The dotted name of a key, as people write it.
    pub fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn ask(&mut self, name: &str) -> Option<Value> {
        self.asked.push(name.to_owned());
        self.table.get(name).filter(|value| !value.is_null()).cloned()
    }

    pub fn has(&self, name: &str) -> bool {
        self.table.get(name).is_some_and(|value| !value.is_null())
    }

    /// Forgets `name` where it holds only its `default` and `name_file` was given in its place.
    pub fn file_over_default(&mut self, name: &str, default: &str) {
        if self.has(&format!("{name}_file")) && self.table.get(name).is_some_and(|value| value == default) {
            self.table.remove(name);
        }
    }

    /// A text, empty counting as absent. Numbers are taken as they are written.
    pub fn text(&mut self, name: &str, faults: &mut Faults) -> Option<String> {
        match self.ask(name)? {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => {
                faults.add(self.key(name), "expected a text in quotes");
                None
            }
        }
    }

    pub fn required_text(&mut self, name: &str, hint: &str, faults: &mut Faults) -> String {
        let text = self.text(name, faults);
        if text.is_none() && self.table.get(name).is_none_or(|value| value.is_null() || value == "") {
            faults.add(self.key(name), format!("is missing: {hint}"));
        }
        text.unwrap_or_default()
    }

    /// A text that parses as `T`.
    pub fn parsed<T: FromStr>(&mut self, name: &str, expected: &str, faults: &mut Faults) -> Option<T> {
        let text = self.text(name, faults)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            faults.add(self.key(name), format!("expected {expected}"));
        }
        parsed
    }

    pub fn address(&mut self, name: &str, faults: &mut Faults) -> Option<SocketAddr> {
        self.parsed(name, "an address and a port such as 127.0.0.1:8080", faults)
    }

    pub fn url(&mut self, name: &str, faults: &mut Faults) -> Option<Url> {
        let text = self.text(name, faults)?;
        let url = crate::domain::redirect::parse(&text);
        if url.is_none() {
            faults.add(self.key(name), "expected an http:// or https:// URL without credentials");
        }
        url
    }

    pub fn flag(&mut self, name: &str, faults: &mut Faults) -> bool {
        match self.ask(name) {
            Some(Value::Bool(flag)) => flag,
            Some(Value::String(text)) if text == "true" => true,
            Some(Value::String(text)) if text == "false" => false,
            None => false,
            Some(_) => {
                faults.add(self.key(name), "expected true or false");
                false
            }
        }
    }

    /// A whole number within `range`; the range's start when absent or faulty.
    pub fn number(&mut self, name: &str, range: std::ops::RangeInclusive<u32>, faults: &mut Faults) -> u32 {
        let number = match self.ask(name) {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        match number.and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                faults
                    .add(self.key(name), format!("expected a whole number from {} to {}", range.start(), range.end()));
                *range.start()
            }
        }
    }

    /// A duration with its unit: `5s`, `10m`, `24h`.
    pub fn duration(&mut self, name: &str, faults: &mut Faults) -> Duration {
        let text = self.text(name, faults).unwrap_or_default();
        let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|signed| Duration::try_from(signed).ok());
        parsed.unwrap_or_else(|| {
            faults.add(self.key(name), "expected a duration with a unit, such as 5s, 10m or 24h");
            Duration::ZERO
        })
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)], faults: &mut Faults) -> Option<T> {
        let text = self.text(name, faults)?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            faults.add(self.key(name), not_one_of(&text, &words));
        }
        chosen
    }

    /// A list of texts; a single text counts as a list of one.
    pub fn texts(&mut self, name: &str, faults: &mut Faults) -> Vec<String> {
        let values = match self.ask(name) {
            None => return Vec::new(),
            Some(Value::Array(values)) => values,
            Some(single) => vec![single],
        };
        let texts: Option<Vec<String>> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        texts.unwrap_or_else(|| {
            faults.add(self.key(name), "expected a list of texts, such as [\"a\", \"b\"]");
            Vec::new()
        })
    }

    /// What stands under `name`, alone or in a list, each value with its key; an empty text counts as absent.
    pub fn values(&mut self, name: &str) -> Vec<(String, Value)> {
        let key = self.key(name);
        let values = match self.ask(name) {
            Some(Value::Array(values)) => {
                values.into_iter().enumerate().map(|(index, value)| (format!("{key}.{index}"), value)).collect()
            }
            single => single.into_iter().map(|value| (key.clone(), value)).collect::<Vec<_>>(),
        };
        values.into_iter().filter(|(_, value)| value != "").collect()
    }

    /// A list whose entries parse as `T`.
    pub fn list<T: FromStr>(&mut self, name: &str, expected: &str, faults: &mut Faults) -> Vec<T> {
        let mut list = Vec::new();
        for (index, text) in self.texts(name, faults).into_iter().enumerate() {
            match text.parse() {
                Ok(value) => list.push(value),
                Err(_) => faults.add(self.key(&format!("{name}.{index}")), format!("expected {expected}")),
            }
        }
        list
    }

    /// Secrets from `name` (a value or a list) or from the lines of `name_file`, never both.
    pub fn secrets(&mut self, name: &str, faults: &mut Faults) -> Vec<SecretString> {
        let file_name = format!("{name}_file");
        let values = self.texts(name, faults);
        let Some(file) = self.text(&file_name, faults) else {
            return values.into_iter().filter(|value| !value.is_empty()).map(SecretString::from).collect();
        };
        if !values.is_empty() {
            faults.add(self.key(name), format!("is given together with {file_name}; remove one of the two"));
        }
        match std::fs::read_to_string(&file) {
            Ok(text) => text.lines().map(str::trim).filter(|line| !line.is_empty()).map(SecretString::from).collect(),
            Err(error) => {
                faults.add(self.key(&file_name), format!("cannot read {file}: {error}"));
                Vec::new()
            }
        }
    }

    /// The one secret under `name`.
    pub fn secret(&mut self, name: &str, faults: &mut Faults) -> Option<SecretString> {
        self.secrets(name, faults).into_iter().next()
    }

    /// A table within this one; empty when absent.
    #[must_use]
    pub fn section(&mut self, name: &str, faults: &mut Faults) -> Self {
        let table = match self.ask(name) {
            None => Map::new(),
            Some(Value::Object(table)) => table,
            Some(_) => {
                faults.add(self.key(name), "expected a table");
                Map::new()
            }
        };
        Self::new(self.key(name), table)
    }

    /// The tables of an array of tables.
    pub fn sections(&mut self, name: &str, faults: &mut Faults) -> Vec<Self> {
        let path = self.key(name);
        match self.ask(name) {
            None => Vec::new(),
            Some(Value::Array(tables)) => tables
                .into_iter()
                .enumerate()
                .filter_map(|(index, value)| match value {
                    Value::Object(table) => Some(Self::new(format!("{path}.{index}"), table)),
                    _ => None,
                })
                .collect(),
            Some(_) => {
                faults.add(path, format!("expected tables: write [[{name}]]"));
                Vec::new()
            }
        }
    }

    /// Takes what is absent here from `defaults`.
    #[must_use]
    pub fn over(mut self, defaults: &Self) -> Self {
        for (name, value) in &defaults.table {
            match (self.table.get_mut(name), value) {
                (None, _) => {
                    self.table.insert(name.clone(), value.clone());
                }
                (Some(Value::Object(ours)), Value::Object(theirs)) => {
                    for (name, value) in theirs {
                        ours.entry(name.clone()).or_insert_with(|| value.clone());
                    }
                }
                (Some(_), _) => {}
            }
        }
        self
    }

    /// Reports keys that nobody asked for, with the nearest known one.
    pub fn finish(&self, faults: &mut Faults) {
        let known: Vec<&str> = self.asked.iter().map(String::as_str).collect();
        for name in self.table.keys().filter(|name| !known.contains(&name.as_str())) {
            faults.add(self.key(name), format!("is not a key{}", suggest(name, &known)));
        }
    }

    /// For the test that holds the reference to the code.
    pub fn asked(&self) -> &[String] {
        &self.asked
    }
}

/// `"x" is not one of a, b, c`, with the nearest of them.
pub fn not_one_of(text: &str, words: &[&str]) -> String {
    format!("{text:?} is not one of {}{}", words.join(", "), suggest(text, words))
}

fn suggest(word: &str, known: &[&str]) -> String {
    let near = crate::domain::template::nearest(word, known);
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}
