//! Every recorded webhook of every gateway we speak, as the fixtures say: in-process and through the
//! command line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use countersign::{
    config::{Faults, Section},
    gateway::{self, Gateway, Purpose, Webhook},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The gateways that have an adapter.
const SPOKEN: &[&str] = &["cloud-api", "waha"];

struct Case {
    name: String,
    expect: Value,
    body: Vec<u8>,
    body_path: PathBuf,
}

fn cases(gateway: &str) -> Vec<Case> {
    let folder = Path::new("tests/fixtures/gateways").join(gateway);
    let mut cases = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(stem) = name.strip_suffix(".expect.json") else { continue };
        let expect: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let body_path = folder.join(expect["body_file"].as_str().unwrap());
        cases.push(Case { name: format!("{gateway}/{stem}"), body: fs::read(&body_path).unwrap(), expect, body_path });
    }
    assert!(!cases.is_empty());
    cases
}

fn settings(gateway: &str, secret: &Value) -> Value {
    json!({
        "kind": gateway, "url": "http://127.0.0.1:1", "webhook_secret": secret, "verify_token": secret,
        "api_key": "x", "access_token": "x", "phone_number_id": "777",
    })
}

fn build(gateway: &str, secret: &Value) -> Arc<dyn Gateway> {
    let mut table = Map::new();
    let known = match gateway {
        "waha" => &["kind", "url", "webhook_secret", "api_key"][..],
        _ => &["kind", "url", "webhook_secret", "verify_token", "access_token", "phone_number_id"],
    };
    for (key, value) in settings(gateway, secret).as_object().unwrap() {
        if known.contains(&key.as_str()) {
            table.insert(key.clone(), value.clone());
        }
    }
    let mut faults = Faults::default();
    gateway::build(Section::new("gateway", table), Purpose::Inspect, &mut faults).unwrap_or_else(|| panic!("{faults}"))
}

fn headers(expect: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in expect["headers"].as_object().into_iter().flatten() {
        let name: HeaderName = name.parse().unwrap();
        headers.insert(name, HeaderValue::from_str(value.as_str().unwrap()).unwrap());
    }
    headers
}

fn wanted(expect: &Value) -> Vec<Value> {
    expect["expect"].as_array().cloned().unwrap_or_else(|| vec![expect["expect"].clone()])
}

/// In a message null means absent; in an ignored event it means that nothing is claimed.
fn compare(name: &str, got: &Value, want: &Value) {
    let strict = want["kind"] == "message";
    for (key, value) in want.as_object().unwrap() {
        if strict || !value.is_null() {
            assert_eq!(&got[key], value, "{name}: {key}");
        }
    }
}

#[test]
fn fixtures_pass_through_the_command_line() {
    for gateway in SPOKEN {
        for case in cases(gateway) {
            let got = inspect(gateway, &case);
            assert_eq!(got["auth"], case.expect["auth"], "{}: {got}", case.name);
            let wanted = wanted(&case.expect);
            let events = got["events"].as_array().unwrap();
            assert_eq!(events.len(), wanted.len(), "{}", case.name);
            for (got, want) in events.iter().zip(&wanted) {
                compare(&case.name, got, want);
            }
            if let Some(codes) = case.expect.get("codes") {
                assert_eq!(&events[0]["codes"], codes, "{}", case.name);
            }
        }
    }
}

fn inspect(gateway: &str, case: &Case) -> Value {
    const INSTANCE: &str = "5f0c2a90-0000-4000-8000-000000000001";
    let secret = &case.expect["signing"]["secret"];
    let more = if *gateway == *"cloud-api" { format!("verify_token = {secret}\n") } else { String::new() };
    let config = format!(
        "public_url = \"https://verify.example.test\"\nkey = \"{}\"\n[store]\nurl = \"embedded:/nonexistent\"\n\
         [[instance]]\nid = \"{INSTANCE}\"\nname = \"N\"\nnumber = \"+12025550142\"\n\
         tokens = [\"sha256:{}\"]\ncallback_secrets = [\"{}\"]\n\
         [instance.gateway]\nkind = \"{gateway}\"\nwebhook_secret = {secret}\n{more}",
        crate::app::KEY,
        "0".repeat(64),
        crate::app::CALLBACK_SECRET,
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("inspect-webhook").arg("--config").arg(file.path()).args(["--instance", INSTANCE]);
    command.args(["--method", case.expect["method"].as_str().unwrap()]);
    command.args(["--now", &case.expect["now"].to_string()]);
    for (name, value) in case.expect["headers"].as_object().into_iter().flatten() {
        command.arg("--header").arg(format!("{name}: {}", value.as_str().unwrap()));
    }
    let output = command.arg(&case.body_path).output().unwrap();
    assert!(output.status.success(), "{}: {}", case.name, String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn accepted(gateway: &dyn Gateway, method: &Method, headers: &HeaderMap, body: &[u8], now: i64) -> bool {
    let query = if method == Method::GET { std::str::from_utf8(body).unwrap() } else { "" };
    let body = if method == Method::GET { &[] } else { body };
    let now = Timestamp::from_second(now).unwrap();
    gateway.authenticate(&Webhook { method, query, headers, body, now }).is_ok()
}

/// What an enemy without the secret can try on a genuine request.
#[test]
fn no_forgery_is_accepted() {
    for gateway in SPOKEN {
        for case in
            cases(gateway).iter().filter(|case| case.expect["auth"] == "accept" && case.expect["method"] == "POST")
        {
            let now = case.expect["now"].as_i64().unwrap();
            let secret = &case.expect["signing"]["secret"];
            let adapter = build(gateway, secret);
            let genuine = headers(&case.expect);
            let ok = |headers: &HeaderMap, body: &[u8]| accepted(&*adapter, &Method::POST, headers, body, now);
            assert!(ok(&genuine, &case.body), "{}", case.name);
            let name = if *gateway == "waha" { "x-webhook-hmac" } else { "x-hub-signature-256" };
            let signature = genuine[name].to_str().unwrap().to_owned();

            let mut forged: Vec<HeaderMap> = Vec::new();
            let with = |value: &str| {
                let mut headers = genuine.clone();
                headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
                headers
            };
            for length in 0..signature.len() {
                forged.push(with(&signature[..length]));
            }
            forged.push(with(&signature.to_uppercase()));
            forged.push(with(&format!("{signature}0")));
            forged.push(with(&format!("{signature},{signature}")));
            forged.push(with(&signature.replace("sha256=", "")).clone());
            let mut twice = genuine.clone();
            twice.append(HeaderName::from_static(name), HeaderValue::from_str(&signature).unwrap());
            forged.push(twice);
            let mut none = genuine.clone();
            none.remove(name);
            forged.push(none);
            for headers in forged
                .iter()
                .filter(|headers| headers.get(name) != genuine.get(name) || headers.get_all(name).iter().count() != 1)
            {
                assert!(!ok(headers, &case.body), "{}: {headers:?}", case.name);
            }
            let mut longer = case.body.clone();
            longer.push(b' ');
            assert!(!ok(&genuine, &longer), "{}", case.name);
            let reserialised = serde_json::from_slice::<Value>(&case.body).unwrap().to_string();
            assert!(reserialised.as_bytes() == case.body.as_slice() || !ok(&genuine, reserialised.as_bytes()));
            assert!(!accepted(&*build(gateway, &json!("secret")), &Method::POST, &genuine, &case.body, now));
        }
    }
}

#[test]
fn any_of_several_secrets_is_enough() {
    for case in cases("waha") {
        let rotated = build("waha", &json!(["a-newer-secret-of-24-bytes-or-more", case.expect["signing"]["secret"]]));
        let now = case.expect["now"].as_i64().unwrap();
        assert!(accepted(&*rotated, &Method::POST, &headers(&case.expect), &case.body, now));
    }
}

/// Authenticated rubbish is refused by a word, never by a panic.
#[test]
fn mutated_bodies_do_no_harm() {
    for gateway in SPOKEN {
        let adapter = build(gateway, &json!("a-secret-of-24-bytes-or-more"));
        for case in cases(gateway) {
            for index in 0..case.body.len() {
                let mut cut = case.body.clone();
                cut[index] = cut[index].wrapping_add(1);
                let _ = adapter.parse(&cut);
                cut.truncate(index);
                let _ = adapter.parse(&cut);
            }
        }
        for body in [
            "",
            "null",
            "[]",
            "{}",
            "{\"entry\":5}",
            "{\"event\":\"message\"}",
            "{\"event\":\"message\",\"payload\":[]}",
        ] {
            let _ = adapter.parse(body.as_bytes());
        }
    }
}
