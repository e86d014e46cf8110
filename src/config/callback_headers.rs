//! Header fields that an instance adds to its callbacks, such as the key of an API gateway before the app.

use http::{HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;

use crate::reader::Reader;

/// Set by the daemon or by its HTTP client. Names that begin with `webhook-` are reserved as well.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
const MAX_HEADERS: usize = 20;

/// Reads `callback_headers`, each as `Name: value`. The values are marked as sensitive.
pub(super) fn read(s: &mut Reader<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let lines = s.secrets("callback_headers");
    if lines.len() > MAX_HEADERS {
        s.fault("callback_headers", format!("has more than {MAX_HEADERS} entries"));
    }
    let mut headers = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        match header(line.expose_secret()) {
            Ok(header) => headers.push(header),
            Err(why) => s.fault(&format!("callback_headers.{index}"), why),
        }
    }
    headers
}

/// Errors do not quote the value, which is a secret.
fn header(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = line.split_once(':').ok_or("expected \"Name: value\"")?;
    let name: HeaderName = name.trim().parse().map_err(|_| "expected a header name before the colon".to_owned())?;
    if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("webhook-") {
        return Err(format!("{name} is set by countersign itself"));
    }
    let mut value: HeaderValue =
        value.trim().parse().map_err(|_| format!("the value of {name} has characters that no header can carry"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_and_a_value() {
        let (name, value) = header("X-Api-Key:  a:b ").unwrap();
        assert_eq!((name.as_str(), value.as_bytes(), value.is_sensitive()), ("x-api-key", &b"a:b"[..], true));
        for (bad, why) in [
            ("secret", "expected \"Name: value\""),
            ("a b: secret", "expected a header name before the colon"),
            (": secret", "expected a header name before the colon"),
            ("Webhook-Id: secret", "webhook-id is set by countersign itself"),
            ("Content-Type: secret", "content-type is set by countersign itself"),
            ("x: secret\u{0}", "the value of x has characters that no header can carry"),
        ] {
            assert_eq!(header(bad).unwrap_err(), why, "{bad}");
        }
    }
}
