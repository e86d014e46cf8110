//! The fuzz targets: one for the parser of a gateway, one for all authentication schemes, and one for the search for
//! codes in texts. Seeds are the recorded webhooks in `tests/fixtures/gateways`, whose folders name the gateways.
//!
//! `tests/fuzz/run` builds and runs all of them on a stable compiler. On a nightly one, `COUNTERSIGN_KIND=waha cargo fuzz
//! run --fuzz-dir tests/fuzz gateway` works too. `tests/it/gateways_fuzz.rs` runs the seeds through the same functions.

use std::{cell::OnceCell, sync::Arc};

use countersign::{
    domain::message_codes::find_codes,
    gateway::{self, Gateway, GatewayKind, Purpose, Webhook},
    reader::Table,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn build(kind: &GatewayKind) -> Arc<dyn Gateway> {
    let mut table = kind.example_table().values().clone();
    if kind.name == "generic" {
        table.insert("webhook_auth".to_owned(), "standard-webhooks".into());
        table.insert("webhook_secret".to_owned(), SECRET.into());
        table.retain(|name, _| !["webhook_header", "webhook_algorithm", "webhook_prefix"].contains(&name.as_str()));
    }
    let gateway = gateway::build(&Table::new("gateway", table), Purpose::Inspect, "https://verify.example.test/hook");
    gateway.unwrap_or_else(|faults| panic!("{}: {faults}", kind.name))
}

thread_local! {
    static ALL: OnceCell<Vec<Arc<dyn Gateway>>> = const { OnceCell::new() };
}

fn with_all(work: impl FnOnce(&[Arc<dyn Gateway>])) {
    ALL.with(|all| work(all.get_or_init(|| gateway::kinds().map(build).collect())));
}

/// For any body at the gateway of this kind: no panic, and no message from the own number or a group is accepted as a
/// person's.
pub fn webhook(kind: &str, body: &[u8]) {
    with_all(|all| {
        let gateway = all.iter().find(|gateway| gateway.kind() == kind);
        let gateway = gateway.unwrap_or_else(|| panic!("{kind:?} is no kind of gateway"));
        let headers = HeaderMap::new();
        let now = Timestamp::from_second(1_788_256_803).expect("a time");
        let webhook = Webhook { method: &Method::POST, path_suffix: None, query: "", headers: &headers, body, now };
        assert!(gateway.authenticate(&webhook).is_err(), "nothing was proved");
        let Ok(events) = gateway.parse(&webhook) else { return };
        for event in events.iter().filter(|event| event.ignored.is_none()) {
            assert!(!event.from_me && !event.group && event.text.is_some());
            find_codes(event.text.as_deref().unwrap_or_default(), 14);
        }
    });
}

/// A query, headers and a body, a line each: nothing is ever proved without the secret.
pub fn proofs(bytes: &[u8]) {
    let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (query, value, time, body) = (String::from_utf8_lossy(line()).into_owned(), line(), line(), line());
    let mut headers = HeaderMap::new();
    for name in [
        "x-hub-signature-256",
        "x-twilio-signature",
        "authorization",
        "x-webhook-hmac",
        "x-hmac-signature",
        "x-chatwoot-signature",
        "messagebird-signature",
        "x-360dialog-signature",
        "webhook-signature",
        "x-webhook-secret",
    ] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    for name in ["x-chatwoot-timestamp", "messagebird-request-timestamp", "webhook-timestamp", "webhook-id"] {
        if let Ok(value) = HeaderValue::from_bytes(time) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    with_all(|all| {
        for gateway in all {
            for method in [Method::POST, Method::GET] {
                let now = Timestamp::from_second(1_788_256_803).expect("a time");
                let path_suffix = std::str::from_utf8(time).ok();
                let webhook = Webhook { method: &method, path_suffix, query: &query, headers: &headers, body, now };
                assert!(gateway.authenticate(&webhook).is_err(), "{} proved nothing", gateway.kind());
                let _ = gateway.handshake(&webhook);
            }
        }
    });
}

/// Linear, at most three, and every one of them a code.
pub fn extract(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for length in [8, 14, 16] {
        let found = find_codes(&text, length);
        assert!(found.codes.len() <= 3);
        assert!(!found.edited || found.codes.len() == 1);
        for code in &found.codes {
            assert!((8..=16).contains(&code.as_str().len()) || found.edited);
            let again = find_codes(&format!("[{}]", code.as_str()), length);
            assert_eq!(again.codes, std::slice::from_ref(code));
        }
    }
}
