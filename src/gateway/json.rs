//! Reading JSON bodies by pointer. Absent fields are `None`; duplicate keys are an error.

use http::Request;
use jiff::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::Malformed;

/// Parses JSON and rejects duplicate keys in an object: parsers disagree about which value counts, and a signature
/// covers both.
pub fn parse_strict(body: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = StrictValue.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

pub(super) fn parse(body: &[u8]) -> Result<Value, Malformed> {
    parse_strict(body).map_err(|error| Malformed(describe_error(&error)))
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

/// The text at `pointer`; an empty one counts as absent.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

/// Unix seconds from a number or a decimal text, truncated.
pub(super) fn unix_seconds(value: &Value, pointer: &str) -> Option<i64> {
    match value.pointer(pointer)? {
        #[expect(clippy::cast_possible_truncation, reason = "fractions are truncated, and no date overflows")]
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64)),
        Value::String(text) => text.split('.').next()?.parse().ok(),
        _ => None,
    }
}

/// Unix seconds from an RFC 3339 time with any offset, truncated.
pub(super) fn rfc3339_seconds(value: &Value, pointer: &str) -> Option<i64> {
    text(value, pointer)?.parse().ok().map(Timestamp::as_second)
}

pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// A POST of `body`. `url` and `headers` are validated when the configuration is read.
pub(super) fn post(url: &str, headers: &[(&str, &str)], body: &Value) -> Request<Vec<u8>> {
    let request = Request::post(url).header("content-type", "application/json");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body.to_string().into_bytes()).expect("a checked URL and printable credentials make a request")
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
    use super::*;

    #[test]
    fn invalid_json_is_rejected_without_quoting_it() {
        assert!(parse(br#"{"a":{"b":1,"b":2}}"#).is_err());
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        for body in ["", "{", "nul", "{} {}", "\u{feff}{}"] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
        let error = parse(br#"{"text":"my secret code" oops}"#).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(parse(br#"{"a":[1,2.5,"x",null,true]}"#).unwrap()["a"][1], 2.5);
    }
}
