//! One method for each type of value. Unless stated otherwise, `None` means that the value is absent or that its fault
//! has been added.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, str::FromStr, time::Duration};

use serde_json::Value;
use url::Url;

use super::{Format, Reader, not_one_of};
use crate::domain::redirect;

const TWICE: &str = "is given twice";

/// Added to the present, it is still a date.
const LONGEST_DURATION: Duration = Duration::from_hours(87_600);

impl<'a> Reader<'a> {
    /// A text. A number is accepted and returned as it is written.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            other => {
                let expected = match self.format {
                    Format::Toml => "expected a text in quotes",
                    Format::Form | Format::Query if other.is_array() => TWICE,
                    Format::Json | Format::Form | Format::Query => "expected a string",
                };
                self.fault(name, expected);
                None
            }
        }
    }

    /// A text of at most `longest` characters.
    pub fn short_text(&mut self, name: &str, longest: usize) -> Option<String> {
        let text = self.text(name)?;
        if text.chars().count() > longest {
            self.fault(name, format!("is longer than {longest} characters"));
            return None;
        }
        Some(text)
    }

    pub fn required_text(&mut self, name: &str, hint: &str) -> Option<String> {
        self.required(name, hint, |reader| reader.text(name))
    }

    /// Converts a text with `read`, whose error becomes the fault.
    pub fn read<T, E: Display>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.text(name)?;
        self.made(name, read(&text))
    }

    /// As [`Self::read`], for a text of at most `longest` characters.
    pub fn read_short<T, E: Display>(
        &mut self,
        name: &str,
        longest: usize,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.short_text(name, longest)?;
        self.made(name, read(&text))
    }

    fn made<T, E: Display>(&mut self, name: &str, made: Result<T, E>) -> Option<T> {
        made.map_err(|why| self.fault(name, why.to_string())).ok()
    }

    /// A text that parses as `T`.
    pub fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        self.read(name, |text| text.parse().map_err(|_| format!("expected {expected}")))
    }

    pub fn address(&mut self, name: &str) -> Option<SocketAddr> {
        self.parsed(name, "an address and a port such as 127.0.0.1:8080")
    }

    pub fn url(&mut self, name: &str) -> Option<Url> {
        self.read(name, |text| redirect::parse(text).ok_or("expected an http:// or https:// URL without credentials"))
    }

    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        let Some(value) = self.get(name) else { return default };
        let lenient = self.format != Format::Toml;
        match value {
            Value::Bool(flag) => return *flag,
            Value::String(text) if text == "true" || (lenient && text == "1") => return true,
            Value::String(text) if text == "false" || (lenient && text == "0") => return false,
            Value::Number(number) if lenient && number.as_u64().is_some_and(|number| number < 2) => {
                return number.as_u64() == Some(1);
            }
            _ => self.fault(name, "expected true or false"),
        }
        default
    }

    /// A whole number within `range`.
    pub fn number(&mut self, name: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let number = match self.get(name)? {
            Value::Number(number) => number.as_u64().or_else(|| self.whole(&number.to_string())),
            Value::String(text) => text.parse().ok().or_else(|| self.whole(text)),
            Value::Array(_) if matches!(self.format, Format::Form | Format::Query) => {
                self.fault(name, TWICE);
                return None;
            }
            _ => None,
        };
        let number = number.and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(name, whole_number(&range));
        }
        number
    }

    /// `6.0` as 6: JSON does not distinguish the two, and some languages write every number with a fraction.
    fn whole(&self, text: &str) -> Option<u64> {
        text.strip_suffix(".0").filter(|_| self.format != Format::Toml)?.parse().ok()
    }

    /// As [`Self::number`], for a key that has a default in the reference. A faulty value returns the start of the
    /// range.
    pub fn setting(&mut self, name: &str, range: RangeInclusive<u32>) -> u32 {
        let least = *range.start();
        if !self.has(name) {
            self.fault(name, whole_number(&range));
        }
        self.number(name, range).unwrap_or(least)
    }

    /// A duration with a unit, such as `5s`, `10m` or `24h`, for a key that has a default in the reference. A faulty
    /// value returns zero.
    pub fn duration(&mut self, name: &str) -> Duration {
        let text = self.text(name).unwrap_or_default();
        let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|signed| Duration::try_from(signed).ok());
        let fault = match parsed {
            Some(duration) if duration <= LONGEST_DURATION => return duration,
            Some(_) => "is longer than ten years (87600h)",
            None => "expected a duration with a unit, such as 5s, 10m or 24h",
        };
        self.fault(name, fault);
        Duration::ZERO
    }

    /// One of several words.
    pub fn choice<T: Clone>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        self.read(name, |text| chosen(text, choices))
    }

    /// A list of such words.
    pub fn choices<T: Clone>(&mut self, name: &str, choices: &[(&str, T)]) -> Vec<T> {
        self.list(name, |text| chosen(text, choices))
    }

    /// A list of texts. A single text counts as a list of one; in a configuration, commas separate several, because an
    /// environment variable cannot hold an array.
    pub fn texts(&mut self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Value::String(text)) if self.format == Format::Toml => {
                text.split(',').map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
            }
            _ => self.texts_with_commas(name),
        }
    }

    /// As [`Self::texts`], for values that may contain a comma: a single text is never split.
    pub fn texts_with_commas(&mut self, name: &str) -> Vec<String> {
        let values = match self.get(name) {
            None => return Vec::new(),
            Some(Value::Array(values)) => values.as_slice(),
            Some(single) => std::slice::from_ref(single),
        };
        let texts: Option<Vec<String>> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        texts.unwrap_or_else(|| {
            self.fault(name, "expected a list of texts, such as [\"a\", \"b\"]");
            Vec::new()
        })
    }

    /// Converts each text of a list with `read`, whose error becomes the fault of that entry.
    pub fn list<T, E: Display>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        let mut list = Vec::new();
        for (index, text) in self.texts(name).iter().enumerate() {
            list.extend(self.made(&format!("{name}.{index}"), read(text)));
        }
        list
    }

    /// The values under `name`, which may be a single value or a list, each with its full key.
    pub fn values(&mut self, name: &str) -> Vec<(String, &'a Value)> {
        let key = self.key(name);
        let values: Vec<(String, &Value)> = match self.get(name) {
            Some(Value::Array(values)) => {
                values.iter().enumerate().map(|(index, value)| (format!("{key}.{index}"), value)).collect()
            }
            single => single.into_iter().map(|value| (key.clone(), value)).collect(),
        };
        values.into_iter().filter(|(_, value)| self.is_given(value)).collect()
    }

    /// Any JSON of at most `longest` bytes, returned as text.
    pub fn json(&mut self, name: &str, longest: usize) -> Option<String> {
        let text = self.get(name)?.to_string();
        if text.len() > longest {
            self.fault(name, format!("is larger than {longest} bytes of JSON"));
            return None;
        }
        Some(text)
    }
}

fn whole_number(range: &RangeInclusive<u32>) -> String {
    format!("expected a whole number from {} to {}", range.start(), range.end())
}

fn chosen<T: Clone>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| value.clone());
    chosen.ok_or_else(|| not_one_of(text, &choices.iter().map(|(word, _)| *word).collect::<Vec<_>>()))
}
