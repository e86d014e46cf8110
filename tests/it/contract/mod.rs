//! The API description matches the daemon: every example is executed, and every response is validated against the
//! document.

mod boundaries;
mod documents;
pub(crate) mod live;
pub(crate) mod samples;
mod scopes;
mod tenants;
mod validator;
mod wire;

use std::io::{Read as _, Write as _};

use countersign::http::contract::{Area, Credentials, Operation, operations, values};
use serde_json::{Value, json};

use self::{
    live::{Live, prepare, world},
    validator::ResponseValidator,
};
use crate::daemon::{Daemon, META_TOKEN, ReceivedResponse};

/// How an example can be sent otherwise than it is written.
#[derive(Clone, Copy, Default)]
struct Overrides<'a> {
    token: Option<&'a str>,
    body: Option<&'a [u8]>,
    media: Option<&'a str>,
}

async fn send(daemon: &Daemon, operation: &Operation, live: &Live, twist: Overrides<'_>) -> ReceivedResponse {
    let mut url = url::Url::parse(&format!("{}{}", daemon.base, live.exchange(&operation.example_path()))).unwrap();
    for (name, value) in operation.example_query() {
        url.query_pairs_mut().append_pair(name, &live.exchange(value));
    }
    if operation.area == Area::Contract {
        return get_large(&url, &[]);
    }
    let mut request = http::Request::builder().method(operation.method).uri(url.as_str());
    if matches!(operation.credentials, Credentials::Token | Credentials::PollToken) {
        request = request.header("authorization", format!("Bearer {}", twist.token.unwrap_or_else(|| live.token())));
    }
    for (name, value) in operation.example_headers() {
        request = request.header(name, live.exchange(value));
    }
    let mut body = Vec::new();
    if let Some(described) = &operation.body {
        request = request.header("content-type", twist.media.unwrap_or(described.media));
        body = live.exchange(&encoded(described.media, &described.example)).into_bytes();
    }
    let body = twist.body.map_or(body, <[u8]>::to_vec);
    daemon.send(request.body(body).unwrap()).await
}

/// A GET whose answer may be larger than the usual client reads.
pub(crate) fn get_large(url: &url::Url, headers: &[(&str, &str)]) -> ReceivedResponse {
    get_bytes(url, headers).into()
}

pub(crate) fn get_bytes(url: &url::Url, headers: &[(&str, &str)]) -> http::Response<Vec<u8>> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", url.port().unwrap())).unwrap();
    let headers: String = headers.iter().fold(String::new(), |out, (name, value)| format!("{out}{name}: {value}\r\n"));
    write!(stream, "GET {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n", url.path()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.lines();
    let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut response = http::Response::builder().status(status);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        response = response.header(name, value);
    }
    response.body(bytes[end + 4..].to_vec()).unwrap()
}

fn encoded(media: &str, example: &Value) -> String {
    if media != "application/x-www-form-urlencoded" {
        return example.to_string();
    }
    let fields = example.as_object().unwrap().iter().map(|(name, value)| (name, value.as_str().unwrap()));
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_runs_and_has_the_documented_response() {
    let world = world();
    let daemon = world.start().await;
    let judge = ResponseValidator::new();
    for (number, operation) in operations().iter().enumerate() {
        let live = prepare(&world, &daemon, operation, number).await;
        let answer = send(&daemon, operation, &live, Overrides::default()).await;
        let documented = &operation.answers[0];
        assert_eq!(answer.status, documented.status, "{}: {}", operation.id, answer.text);
        judge.check(operation, &answer);
        if documented.media == "application/json" && !documented.example.is_null() {
            judge.check_json(&format!("the example of {}", operation.id), &documented.schema, &documented.example);
            same_members(operation.id, &documented.example, &answer.json);
        }
    }
    daemon.finish().await;
}

/// Examples have the members of the real responses.
fn same_members(place: &str, example: &Value, answer: &Value) {
    match (example, answer) {
        (Value::Object(example), Value::Object(answer)) => {
            let names = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(example), names(answer), "{place}");
            for (name, value) in example.iter().filter(|(name, _)| *name != "metadata") {
                same_members(&format!("{place}.{name}"), value, &answer[name]);
            }
        }
        (Value::Array(example), Value::Array(answer)) => {
            if let (Some(example), Some(answer)) = (example.first(), answer.first()) {
                same_members(&format!("{place}[0]"), example, answer);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_is_documented() {
    let world = world();
    let daemon = world.start().await;
    let judge = ResponseValidator::new();
    let mut seen = std::collections::BTreeSet::new();
    let large = vec![b'x'; 3 * 1024 * 1024 + 1];
    for (number, operation) in operations().iter().enumerate() {
        let live = prepare(&world, &daemon, operation, number).await;
        let mut twists = vec![
            Overrides { token: Some("wrong"), ..Overrides::default() },
            Overrides { token: Some(META_TOKEN), ..Overrides::default() },
        ];
        if operation.body.is_some() {
            let with = |body: &'static [u8]| Overrides { body: Some(body), ..Overrides::default() };
            twists.extend([with(b"{"), with(b"[]"), with(b""), with(b"{}"), with(b"\xff\xfe=%ff&&")]);
            twists.push(Overrides { body: Some(&large), ..Overrides::default() });
            twists.push(Overrides { media: Some("text/plain"), ..Overrides::default() });
        }
        for twist in twists {
            let answer = send(&daemon, operation, &live, twist).await;
            judge.check(operation, &answer);
            if let Some(code) = answer.json["code"].as_str().filter(|_| answer.status >= 400) {
                seen.insert(code.to_owned());
            }
        }
        // Nothing has these names.
        let nothing = Live::default();
        judge.check(
            operation,
            &send(&daemon, operation, &nothing, Overrides { token: Some(live.token()), ..Overrides::default() }).await,
        );
    }
    for code in [
        "unauthenticated",
        "not_found",
        "malformed_body",
        "body_too_large",
        "unsupported_media_type",
        "invalid_request",
    ] {
        assert!(seen.contains(code), "{code} in {seen:?}");
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_are_as_documented() {
    let world = world();
    let daemon = world.start().await;
    let judge = ResponseValidator::new();
    let operation = |id: &str| operations().iter().find(|operation| operation.id == id).unwrap();
    for (number, (id, status)) in
        [("redeem", 200), ("disputeLink", 303), ("cancelRequest", 200)].into_iter().enumerate()
    {
        let live = prepare(&world, &daemon, operation(id), number).await;
        assert_eq!(send(&daemon, operation(id), &live, Overrides::default()).await.status, status, "{id}");
    }
    daemon.create_link(json!({ "expires": 60, "metadata": { "a": [1] } })).await;
    daemon.advance(std::time::Duration::from_secs(3600)).await;
    let mut types = std::collections::BTreeSet::new();
    for callback in world.receiver.requests() {
        let body = callback.json();
        judge.check_json("a callback", &judge.schema("Event"), &body);
        types.insert(body["type"].as_str().unwrap().to_owned());
    }
    for wanted in ["link.canceled", "link.disputed", "link.expired", "link.redeemed", "link.verified"] {
        assert!(types.contains(wanted), "no {wanted} in {types:?}");
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_served_with_an_etag() {
    let world = world();
    let daemon = world.start().await;
    let url = url::Url::parse(&format!("{}/openapi.json", daemon.base)).unwrap();
    let answer = get_large(&url, &[]);
    assert_eq!((answer.status, &answer.json["openapi"]), (200, &json!("3.1.0")));
    assert_eq!(answer.json["servers"][0]["url"], "http://127.0.0.1:1", "the public URL");
    let again = get_large(&url, &[("if-none-match", answer.header("etag"))]);
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    assert!(answer.text.contains(values::REDEEM_TOKEN));
    daemon.finish().await;
}
