//! Repairs JSON that strict parsers reject but whose meaning is clear, as gateways post it.
//!
//! A person's name with half an emoji, or one invalid byte in one message, must not cost a webhook, in which there may be
//! messages of other people. Only what is invalid is changed: valid JSON keeps its value.

/// Containers nested deeper than this are replaced by `null`. The parser's own limit is 128.
const MAX_DEPTH: usize = 100;
const REPLACEMENT: &str = "\\ufffd";

/// Replaces invalid UTF-8 and lone surrogates by U+FFFD, escapes control characters in texts, skips a byte order mark and
/// control characters between values, and replaces numbers that no parser holds, and too deep values, by `null`.
pub(super) fn repair(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut repair = Repair { rest: text.strip_prefix('\u{feff}').unwrap_or(&text), out: String::new(), depth: 0 };
    repair.out.reserve(body.len());
    while let Some(c) = repair.rest.chars().next() {
        repair.value_or_mark(c);
    }
    repair.out
}

struct Repair<'a> {
    rest: &'a str,
    out: String,
    depth: usize,
}

impl Repair<'_> {
    fn value_or_mark(&mut self, c: char) {
        match c {
            '"' => self.string(),
            '{' | '[' => {
                self.depth += 1;
                if self.depth == MAX_DEPTH + 1 {
                    self.put("null");
                }
                self.mark(c, self.depth <= MAX_DEPTH);
            }
            '}' | ']' => {
                let written = self.depth <= MAX_DEPTH;
                self.depth = self.depth.saturating_sub(1);
                self.mark(c, written);
            }
            'A'..='Z' | 'a'..='z' | '0'..='9' | '+' | '-' | '.' => self.word(),
            _ if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => self.rest = &self.rest[c.len_utf8()..],
            _ => self.mark(c, self.depth <= MAX_DEPTH),
        }
    }

    fn mark(&mut self, c: char, written: bool) {
        if written {
            self.out.push(c);
        }
        self.rest = &self.rest[c.len_utf8()..];
    }

    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// A number, `true`, `false`, `null`, or what JavaScript and Python write instead of a number.
    fn word(&mut self) {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        let bare = word.trim_start_matches(['+', '-']);
        let unheld = matches!(bare, "NaN" | "Infinity" | "inf" | "nan")
            || (bare.starts_with(|c: char| c.is_ascii_digit()) && word.parse().is_ok_and(f64::is_infinite));
        if self.depth <= MAX_DEPTH {
            self.put(if unheld { "null" } else { word });
        }
    }

    /// From the opening quote to the closing one.
    fn string(&mut self) {
        let written = self.depth <= MAX_DEPTH;
        let start = self.out.len();
        self.mark('"', true);
        while let Some(c) = self.rest.chars().next() {
            match c {
                '"' => {
                    self.mark(c, true);
                    break;
                }
                '\\' => self.escape(),
                _ if c < ' ' => {
                    self.put(&format!("\\u{:04x}", u32::from(c)));
                    self.rest = &self.rest[1..];
                }
                _ => self.mark(c, true),
            }
        }
        if !written {
            self.out.truncate(start);
        }
    }

    fn escape(&mut self) {
        let Some(unit) = unit(self.rest) else {
            // A one-character escape; whether it is one that exists is for the parser to say.
            self.mark('\\', true);
            if let Some(c) = self.rest.chars().next().filter(|c| *c >= ' ') {
                self.mark(c, true);
            }
            return;
        };
        let low = self.rest.get(6..).and_then(self::unit).filter(|low| (0xdc00..0xe000).contains(low));
        let (kept, length) = match unit {
            0xd800..0xdc00 if low.is_some() => (true, 12),
            0xd800..0xe000 => (false, 6),
            _ => (true, 6),
        };
        let (escape, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.put(if kept { escape } else { REPLACEMENT });
    }
}

/// The UTF-16 code unit of a `\uXXXX` at the start of `text`.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn value(body: &[u8]) -> Option<Value> {
        serde_json::from_str(&repair(body)).ok()
    }

    #[test]
    fn one_invalid_value_costs_at_most_itself() {
        for (body, wanted) in [
            (&br#"{"name":"Mara \ud83d","text":"x"}"#[..], json!({ "name": "Mara \u{fffd}", "text": "x" })),
            (br#"{"name":"\ude00\ud83d\ud83d\ude00"}"#, json!({ "name": "\u{fffd}\u{fffd}\u{1f600}" })),
            (br#"{"name":"\ud83dx"}"#, json!({ "name": "\u{fffd}x" })),
            (b"{\"name\":\"Mara \xff\",\"text\":\"x\"}", json!({ "name": "Mara \u{fffd}", "text": "x" })),
            (b"\xef\xbb\xbf{\"text\":\"x\"}", json!({ "text": "x" })),
            (b"{\"text\":\"a\x01\nb\"}\0\0", json!({ "text": "a\u{1}\nb" })),
            (
                b"{\"a\":NaN,\"b\":-Infinity,\"c\":1e999,\"d\":-1e9}",
                json!({ "a": null, "b": null, "c": null, "d": -1e9 }),
            ),
        ] {
            assert_eq!(value(body), Some(wanted), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn what_is_too_deep_is_null() {
        let deep = format!(r#"{{"deep":{}["]",1,{{"}}":2}}]{},"text":"x"}}"#, "[".repeat(200), "]".repeat(200));
        let found = value(deep.as_bytes()).unwrap();
        assert_eq!(found["text"], "x");
        assert!(found.to_string().contains("[null]"));
    }

    #[test]
    fn what_has_no_clear_meaning_stays_invalid() {
        for body in
            ["", "{", "nul", "{} {}", r#"{"a":"\x"}"#, r#"{"a":"\ud8"}"#, "{'a':1}", r#"{"a":1,}"#, "\"a", "\"\\"]
        {
            assert_eq!(value(body.as_bytes()), None, "{body}");
        }
        assert_eq!(value("[".repeat(100_000).as_bytes()), None);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn valid_json_keeps_its_bytes(value in any_json(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            prop_assert_eq!(repair(text.as_bytes()), text);
        }

        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..64), noise in "[\\\\u\"{}\\[\\]dDeEfF0-9:,\u{0}-\u{20}]{0,40}") {
            let _ = repair(&body);
            let _ = repair(noise.as_bytes());
        }
    }
}
