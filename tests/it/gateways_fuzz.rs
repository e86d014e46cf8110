//! No bytes make a gateway panic, and no message from the own number or from a group counts as a person's.

use std::{cell::RefCell, sync::Arc};

use countersign::gateway::{Gateway, Webhook};
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value};

use crate::{
    fuzz_targets,
    gateways::{all_cases, build, cases, headers},
};

const CASES: u32 = 10_000;
const LONG: u32 = 1_000_000;

/// A recorded request and its gateway.
struct Seed {
    gateway: Arc<dyn Gateway>,
    body: Vec<u8>,
    headers: HeaderMap,
}

fn seeds() -> Vec<Seed> {
    all_cases()
        .map(|(gateway, case)| Seed {
            gateway: build(gateway, &case.expect),
            body: case.body,
            headers: headers(&case.expect),
        })
        .collect()
}

/// A mutation of a body.
#[derive(Clone, Debug)]
enum Mutation {
    /// Replaces the body.
    Replace(Value),
    /// Replaces one value in the body.
    Graft(Index, Value),
    /// Replaces single bytes.
    Bytes(Vec<(Index, u8)>),
    Truncate(Index),
}

fn json() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "",
        "message",
        "text",
        "true",
        "447700900123",
        "190000000000117@lid",
        "447700900123@c.us",
        "x@g.us",
        "_",
        "+",
        "GB.1",
        "2026-09-01T10:00:00Z",
        "\u{202e}[K7QXM2PD]",
        "@",
        "~",
        "false_@c.us_",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        prop::sample::select(vec!["event", "payload", "data", "entry", "messages", "id", "type", "text", "from"])
            .prop_map(str::to_owned),
        ".{0,4}",
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        1 => json().prop_map(Mutation::Replace),
        4 => (any::<Index>(), json()).prop_map(|(place, value)| Mutation::Graft(place, value)),
        2 => prop::collection::vec(any::<(Index, u8)>(), 1..4).prop_map(Mutation::Bytes),
        1 => any::<Index>().prop_map(Mutation::Truncate),
    ]
}

fn mutated(body: &[u8], spoil: &Mutation) -> Vec<u8> {
    let mut bytes = body.to_vec();
    match spoil {
        Mutation::Replace(value) => return value.to_string().into_bytes(),
        Mutation::Graft(place, graft) => {
            let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return bytes };
            let mut pointers = Vec::new();
            collect(&value, String::new(), &mut pointers);
            *value.pointer_mut(&pointers.swap_remove(place.index(pointers.len()))).unwrap() = graft.clone();
            return value.to_string().into_bytes();
        }
        Mutation::Bytes(changes) => changes.iter().for_each(|(place, byte)| *place.get_mut(&mut bytes) = *byte),
        Mutation::Truncate(place) => bytes.truncate(place.index(body.len())),
    }
    bytes
}

/// Collects the pointer of every value.
fn collect(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| collect(item, format!("{pointer}/{index}"), pointers));
        }
        Value::Object(entries) => {
            for (name, entry) in entries {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect(entry, format!("{pointer}/{name}"), pointers);
            }
        }
        _ => {}
    }
    pointers.push(pointer);
}

#[test]
fn no_request_makes_a_gateway_panic() {
    let cases = if crate::is_long_run() { LONG } else { CASES };
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let seeds = seeds();
    let messages = RefCell::new(0_u32);
    let strategy = (any::<Index>(), mutation(), any::<Option<(Index, u8)>>(), ".{0,40}", any::<u32>());
    let outcome = runner.run(&strategy, |(seed, spoil, header, query, now)| {
        let seed = seed.get(&seeds);
        let body = mutated(&seed.body, &spoil);
        let mut headers = seed.headers.clone();
        if let Some((place, byte)) = header
            && !headers.is_empty()
            && let Ok(value) = HeaderValue::from_bytes(&[b'a', byte])
        {
            let name = headers.keys().nth(place.index(headers.keys_len())).unwrap().clone();
            headers.append(name, value);
        }
        let now = Timestamp::from_second(i64::from(now)).unwrap();
        for method in [Method::POST, Method::GET] {
            let webhook =
                Webhook { method: &method, path_suffix: None, query: &query, headers: &headers, body: &body, now };
            let _ = seed.gateway.authenticate(&webhook);
            let _ = seed.gateway.handshake(&webhook);
            for event in seed.gateway.parse(&webhook).into_iter().flatten().filter(|event| event.ignored.is_none()) {
                *messages.borrow_mut() += 1;
                prop_assert!(!event.from_me && !event.group && event.text.is_some(), "{:?}", event.ignored);
            }
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(*messages.borrow() > cases / 20, "too few mutated bodies are still messages: {messages:?}");
}

fn parse(gateway: &dyn Gateway, body: &[u8]) -> bool {
    let (headers, now) = (HeaderMap::new(), Timestamp::UNIX_EPOCH);
    let webhook = Webhook { method: &Method::POST, path_suffix: None, query: "", headers: &headers, body, now };
    gateway.parse(&webhook).is_ok()
}

/// Truncations of every recorded body, and bodies with one byte changed: at every byte in the long run, otherwise at
/// every fifth.
#[test]
fn truncated_and_changed_bodies_cause_no_panic() {
    let step = if crate::is_long_run() { 1 } else { 5 };
    for gateway in countersign::gateway::kinds().map(|kind| kind.name) {
        for case in cases(gateway) {
            let adapter = build(gateway, &case.expect);
            for index in (0..case.body.len()).step_by(step) {
                let mut cut = case.body.clone();
                cut[index] = cut[index].wrapping_add(1);
                let _ = parse(&*adapter, &cut);
                cut.truncate(index);
                let _ = parse(&*adapter, &cut);
            }
        }
        let adapter = build(gateway, &cases(gateway)[0].expect);
        for body in [
            "",
            "null",
            "[]",
            "{}",
            "{\"entry\":5}",
            "{\"event\":\"message\"}",
            "{\"event\":\"message\",\"payload\":[]}",
        ] {
            let _ = parse(&*adapter, body.as_bytes());
        }
    }
}

/// So that the fuzz targets, which only the long run builds, follow every change here.
#[test]
fn the_fuzz_targets_take_every_recorded_webhook() {
    let mut kinds = 0;
    for folder in std::fs::read_dir("tests/fixtures/gateways").unwrap().map(|entry| entry.unwrap().path()) {
        if !folder.is_dir() {
            continue;
        }
        kinds += 1;
        let kind = folder.file_name().unwrap().to_str().unwrap();
        for file in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let bytes = std::fs::read(file).unwrap();
            fuzz_targets::webhook(kind, &bytes);
            fuzz_targets::proofs(&bytes);
            fuzz_targets::extract(&bytes);
        }
    }
    assert_eq!(kinds, countersign::gateway::kinds().count(), "each kind has a folder of fixtures");
}
