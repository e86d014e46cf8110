//! Reading JSON bodies by pointer. Absent fields are `None`; duplicate keys are an error; what else strict parsers
//! reject is repaired, where its meaning is clear.

use http::Request;
use jiff::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Malformed, json_repair::repair};

/// Parses JSON and rejects duplicate keys in an object: parsers disagree about which value counts, and a signature
/// covers both.
pub fn parse_strict(body: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = StrictValue.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Parses the body of an authenticated webhook; see [`repair`].
pub(super) fn parse(body: &[u8]) -> Result<Value, Malformed> {
    let parsed = parse_strict(body).or_else(|error| {
        let repaired = repair(body);
        if repaired.as_bytes() == body { Err(error) } else { parse_strict(repaired.as_bytes()) }
    });
    parsed.map_err(|error| Malformed(describe_error(&error)))
}

/// Does not quote the body, which contains personal messages.
fn describe_error(error: &serde_json::Error) -> String {
    format!(
        "not the JSON this gateway sends: {:?} at line {} column {}",
        error.classify(),
        error.line(),
        error.column()
    )
}

/// The value at `pointer`. [`Value::pointer`] copies each name twice, which only escapes need.
fn at<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.contains('~') || !pointer.starts_with('/') {
        return value.pointer(pointer);
    }
    pointer.split('/').skip(1).try_fold(value, |value, name| match value {
        Value::Object(fields) => fields.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The text at `pointer`; an empty one counts as absent.
pub(super) fn text_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    at(value, pointer)?.as_str().filter(|text| !text.is_empty())
}

/// A message id or a JID: a text, or an object. WhatsApp Web has renamed the object's text from `_serialized` to `$1`;
/// its `id` is the part that all ids of one message have in common.
pub(super) fn id_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    let value = at(value, pointer)?;
    ["", "/_serialized", "/$1", "/id"].iter().find_map(|name| text_at(value, name))
}

/// Like [`id_at`], also for a number.
pub(super) fn id_text_at(value: &Value, pointer: &str) -> Option<String> {
    let number = || at(value, pointer).filter(|id| id.is_number()).map(Value::to_string);
    id_at(value, pointer).map(str::to_owned).or_else(number)
}

/// The values at `pointer`, in which `*` stands for every item of a list.
pub(super) fn all_at<'a>(value: &'a Value, pointer: &str) -> Vec<&'a Value> {
    match pointer.split_once("/*") {
        Some((list, rest)) => items_at(value, list).flat_map(|item| all_at(item, rest)).collect(),
        None => at(value, pointer).into_iter().collect(),
    }
}

/// A text, number or flag, as text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Times later than this in seconds, in the year 5138, are in milliseconds or in a smaller unit.
const MAX_SECONDS: i64 = 100_000_000_000;

/// Unix seconds, truncated, from a time in seconds, in milliseconds or smaller units, or in RFC 3339 with any offset: a
/// number, a text, or a 64-bit number in two halves, `{ low, high }`.
pub(super) fn time_at(value: &Value, pointer: &str) -> Option<i64> {
    let mut seconds = match at(value, pointer)? {
        Value::String(text) => match text.parse::<Timestamp>() {
            Ok(time) => return Some(time.as_second()),
            Err(_) => text.trim().split('.').next()?.parse().ok()?,
        },
        number => integer(number)?,
    };
    while seconds > MAX_SECONDS {
        seconds /= 1000;
    }
    Some(seconds)
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        #[expect(clippy::cast_possible_truncation, reason = "fractions are truncated, and no date overflows")]
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)),
        Value::Object(halves) => {
            let half = |name| halves.get(name).and_then(Value::as_i64);
            Some(half("high").unwrap_or(0) << 32 | half("low")? & 0xffff_ffff)
        }
        _ => None,
    }
}

pub(super) fn items_at<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    at(value, pointer).and_then(Value::as_array).into_iter().flatten()
}

/// A POST of `body`. `url` and `headers` are validated when the configuration is read.
pub(super) fn post(url: &str, headers: &[(&str, &str)], body: &Value) -> Request<Vec<u8>> {
    let request = Request::post(url).header("content-type", "application/json");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request
        .body(body.to_string().into_bytes())
        .expect("the URL and the credentials were validated when the configuration was loaded")
}

/// Sets a field of a request's JSON body. `false`: the body is not an object.
pub(super) fn insert_field(request: &mut Request<Vec<u8>>, field: &str, value: &str) -> bool {
    let Ok(Value::Object(mut body)) = serde_json::from_slice(request.body()) else { return false };
    body.insert(field.to_owned(), value.into());
    *request.body_mut() = Value::Object(body).to_string().into_bytes();
    true
}

struct StrictValue;

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(StrictValue)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(StrictValue)?;
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key occurs twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pointer_is_resolved_as_the_standard_says() {
        let value = json!({ "a": [{ "b": 1 }, 2], "a/b": 3, "~": 4, "": { "": 5 }, "0": 6 });
        for pointer in
            ["", "/a", "/a/0/b", "/a/1", "/a/2", "/a/b", "/a/0/b/c", "/a~1b", "/~0", "/", "//", "/0", "a", "/none"]
        {
            assert_eq!(at(&value, pointer), value.pointer(pointer), "{pointer}");
        }
    }

    #[test]
    fn invalid_json_is_rejected_without_quoting_it() {
        assert!(parse(br#"{"a":{"b":1,"b":2}}"#).is_err());
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        for body in ["", "{", "nul", "{} {}"] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
        let error = parse(br#"{"text":"my secret code" oops}"#).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(parse(br#"{"a":[1,2.5,"x",null,true]}"#).unwrap()["a"][1], 2.5);
    }

    #[test]
    fn a_repair_does_not_hide_a_duplicate_key() {
        assert_eq!(parse(br#"{"a":"\ud83d"}"#).unwrap()["a"], "\u{fffd}");
        assert!(parse(br#"{"a":"\ud83d","a":1}"#).is_err());
        assert!(parse(br#"{"\ud83d":1,"\ufffd":2}"#).is_err());
    }

    #[test]
    fn a_time_has_one_value_in_every_unit_and_form() {
        for written in [
            json!(1_788_256_800),
            json!(1_788_256_800.9),
            json!("1788256800"),
            json!("1788256800.25"),
            json!(1_788_256_800_999_i64),
            json!("1788256800999"),
            json!(1_788_256_800_999_000_i64),
            json!(1_788_256_800_999_000_000_i64),
            json!("2026-09-01T10:00:00.9Z"),
            json!("2026-09-01T13:00:00+03:00"),
            json!({ "low": 1_788_256_800, "high": 0, "unsigned": true }),
            json!({ "low": 1_550_405_863, "high": 416, "unsigned": false }),
        ] {
            assert_eq!(time_at(&written, ""), Some(1_788_256_800), "{written}");
        }
        for other in [json!(null), json!("soon"), json!(true), json!({ "high": 1 }), json!([1])] {
            assert_eq!(time_at(&other, ""), None, "{other}");
        }
    }

    #[test]
    fn an_id_is_found_under_every_name() {
        for written in [
            json!("true_x_3EB0"),
            json!({ "_serialized": "true_x_3EB0", "id": "3EB0" }),
            json!({ "$1": "true_x_3EB0", "id": "3EB0" }),
        ] {
            assert_eq!(id_at(&written, ""), Some("true_x_3EB0"), "{written}");
        }
        assert_eq!(id_at(&json!({ "id": "3EB0" }), ""), Some("3EB0"));
        assert_eq!(id_at(&json!({ "_serialized": "" }), ""), None);
    }
}
