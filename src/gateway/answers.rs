//! How a gateway's response to a sent message is classified. Each kind of gateway has a table of its documented
//! responses, next to the code that builds the request.

use http::{Response, StatusCode, header::CONTENT_TYPE};
use serde_json::Value;

use super::{Refusal, SendResult, json, outcome::send_result_by_status};
use crate::domain::DeliveryFailure;

/// A documented response, and what it means. The first that applies counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    status: Option<u16>,
    sign: Sign,
    meaning: Meaning,
}

/// What distinguishes a response from others with its status.
#[derive(Clone, Copy, Debug)]
enum Sign {
    None,
    /// The body contains this text; lower-case, compared without case.
    Contains(&'static str),
    /// The value at a pointer is one of these. `*` in the pointer stands for every item of a list.
    Value(&'static str, &'static [&'static str]),
}

/// A result other than success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    Refused(Refusal),
    Retryable(DeliveryFailure),
    Unknown(DeliveryFailure),
}

pub(super) const NOT_ON_WHATSAPP: Meaning = Meaning::Refused(Refusal::NotOnWhatsApp);
pub(super) const WINDOW_CLOSED: Meaning = Meaning::Refused(Refusal::WindowClosed);
pub(super) const UNAUTHORIZED: Meaning = Meaning::Refused(Refusal::Unauthorized);
pub(super) const QUOTA: Meaning = Meaning::Refused(Refusal::Quota);
pub(super) const PERMANENT: Meaning = Meaning::Refused(Refusal::Permanent);
pub(super) const RATE_LIMITED: Meaning = Meaning::Retryable(DeliveryFailure::RateLimited);
pub(super) const NOT_CONNECTED: Meaning = Meaning::Retryable(DeliveryFailure::NotConnected);
pub(super) const NOT_SENT: Meaning = Meaning::Retryable(DeliveryFailure::NotSent);
pub(super) const GATEWAY_ERROR: Meaning = Meaning::Retryable(DeliveryFailure::GatewayError);
pub(super) const GATEWAY_TIMEOUT: Meaning = Meaning::Unknown(DeliveryFailure::GatewayTimeout);

impl From<Meaning> for SendResult {
    fn from(meaning: Meaning) -> Self {
        match meaning {
            Meaning::Refused(refusal) => Self::Refused(refusal),
            Meaning::Retryable(reason) => Self::Retryable { reason },
            Meaning::Unknown(reason) => Self::Unknown { reason },
        }
    }
}

impl Answer {
    pub(super) const fn status(status: u16, meaning: Meaning) -> Self {
        Self { status: Some(status), sign: Sign::None, meaning }
    }

    pub(super) const fn value(pointer: &'static str, values: &'static [&'static str], meaning: Meaning) -> Self {
        Self { status: None, sign: Sign::Value(pointer, values), meaning }
    }

    pub(super) const fn contains(text: &'static str, meaning: Meaning) -> Self {
        Self { status: None, sign: Sign::Contains(text), meaning }
    }

    /// Applies only to responses with this status.
    pub(super) const fn at(self, status: u16) -> Self {
        Self { status: Some(status), ..self }
    }

    fn applies(&self, status: StatusCode, words: &str, body: &Value) -> bool {
        self.status.is_none_or(|wanted| wanted == status.as_u16())
            && match self.sign {
                Sign::None => true,
                Sign::Contains(text) => words.contains(text),
                Sign::Value(pointer, values) => json::all_at(body, pointer)
                    .into_iter()
                    .filter_map(json::scalar)
                    .any(|found| values.contains(&found.as_str())),
            }
    }
}

/// The refusal that a table has for an error code, wherever the code is reported.
pub(super) fn refusal_of(table: &[Answer], code: &str) -> Option<Refusal> {
    let lists = |answer: &&Answer| matches!(answer.sign, Sign::Value(_, values) if values.contains(&code));
    match table.iter().find(lists)?.meaning {
        Meaning::Refused(refusal) => Some(refusal),
        Meaning::Retryable(_) | Meaning::Unknown(_) => None,
    }
}

/// Errors of WhatsApp's servers and of its client, which gateways that are clients pass on, mostly with status 500.
/// github.com/tulir/whatsmeow, issues 963 (463) and 1041; github.com/wppconnect-team/wppconnect, issue 2591.
pub(super) const CLIENT_ANSWERS: &[Answer] = &[
    // WhatsApp has barred this number from starting chats, for some hours.
    Answer::contains("error 463", WINDOW_CLOSED),
    // The client asked the server for an account of this number, and there is none.
    Answer::contains("no lid found for", NOT_ON_WHATSAPP),
    Answer::contains("lid is missing", NOT_ON_WHATSAPP),
];

/// Fields with which gateways report an error in a response with status 200.
const ERRORS: &[Answer] = &[
    Answer::value("/success", &["false"], PERMANENT),
    Answer::value("/sent", &["false"], PERMANENT),
    Answer::value("/status", &["error", "failed"], PERMANENT),
];

/// Reads a response by the tables of a kind, then by what all kinds have in common. `ids` are the pointers to the id of
/// the sent message.
pub(super) fn read(response: &Response<Vec<u8>>, ids: &[&str], tables: &[&[Answer]]) -> SendResult {
    let status = response.status();
    let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let words = String::from_utf8_lossy(response.body()).to_lowercase();
    let mut known = tables.iter().copied().flatten();
    if let Some(answer) = known.find(|answer| answer.applies(status, &words, &body)) {
        return answer.meaning.into();
    }
    by_status(response, &body, ids.iter().find_map(|pointer| json::id_text_at(&body, pointer)))
}

/// Reads a response that is in no table. `id` is the id of the sent message.
///
/// An HTML page is from something in front of the gateway, such as a firewall or a login proxy: it is no success, and
/// says nothing about this number.
pub(super) fn by_status(response: &Response<Vec<u8>>, body: &Value, id: Option<String>) -> SendResult {
    match send_result_by_status(response.status()) {
        SendResult::Accepted { .. } | SendResult::Refused(Refusal::Unauthorized)
            if is_html(response) && response.status() != StatusCode::UNAUTHORIZED =>
        {
            GATEWAY_ERROR.into()
        }
        SendResult::Accepted { .. } if id.is_none() && has_error(body) => PERMANENT.into(),
        SendResult::Accepted { .. } => SendResult::Accepted { id },
        other => other,
    }
}

fn is_html(response: &Response<Vec<u8>>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.starts_with("text/html") || response.body().trim_ascii_start().starts_with(b"<")
}

fn has_error(body: &Value) -> bool {
    let is_set = |name: &str| match &body[name] {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_i64() != Some(0),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(true) | Value::Object(_) => true,
    };
    ["error", "errors"].into_iter().any(is_set) || ERRORS.iter().any(|error| error.applies(StatusCode::OK, "", body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result(status: u16, kind: &str, body: &str) -> SendResult {
        let response = Response::builder().status(status).header("content-type", kind).body(body.as_bytes().to_vec());
        read(&response.unwrap(), &["/id"], &[])
    }

    #[test]
    fn a_page_is_neither_a_success_nor_a_refusal_of_the_number() {
        for (status, kind, body) in [
            (200, "text/html; charset=utf-8", ""),
            (200, "", " <!doctype html>"),
            (403, "text/html", "<h1>blocked</h1>"),
            (403, "", "<html>"),
        ] {
            assert_eq!(result(status, kind, body), GATEWAY_ERROR.into(), "{status} {body}");
        }
        assert_eq!(result(401, "text/html", "<html>"), UNAUTHORIZED.into());
        assert_eq!(result(403, "application/json", "{}"), UNAUTHORIZED.into());
        assert_eq!(result(404, "text/html", "<html>"), PERMANENT.into());
    }

    #[test]
    fn an_error_in_a_success_is_none_unless_there_is_an_id() {
        for body in [
            json!({ "error": "x" }),
            json!({ "error": { "code": 1 } }),
            json!({ "errors": ["x"] }),
            json!({ "success": false }),
            json!({ "sent": "false" }),
            json!({ "status": "error" }),
        ] {
            assert_eq!(result(200, "application/json", &body.to_string()), PERMANENT.into(), "{body}");
            let mut sent = body.clone();
            sent["id"] = json!("A1");
            assert_eq!(
                result(200, "application/json", &sent.to_string()),
                SendResult::Accepted { id: Some("A1".to_owned()) }
            );
        }
        for body in ["", "{}", r#"{"error":null,"errors":[],"success":true,"status":"queued"}"#] {
            assert_eq!(result(200, "application/json", body), SendResult::Accepted { id: None }, "{body}");
        }
    }

    #[test]
    fn a_value_may_be_in_any_item_of_a_list() {
        const TABLE: &[Answer] = &[Answer::value("/list/*/exists", &["false"], NOT_ON_WHATSAPP).at(400)];
        let result = |status: u16, body: Value| {
            let response = Response::builder().status(status).body(body.to_string().into_bytes()).unwrap();
            read(&response, &[], &[TABLE])
        };
        let body = json!({ "list": [{ "exists": true }, { "exists": false }] });
        assert_eq!(result(400, body.clone()), NOT_ON_WHATSAPP.into());
        assert_eq!(result(422, body), PERMANENT.into());
        assert_eq!(result(400, json!({ "list": [] })), PERMANENT.into());
    }
}
