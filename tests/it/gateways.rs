//! Recorded webhooks of every gateway through `inspect-webhook`, compared with what the fixtures expect; and forgeries
//! of them.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use countersign::{
    gateway::{self, Gateway, Purpose, Webhook},
    reader::Table,
};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The kinds of gateway with fixtures, and which keys of [`settings`] each has.
pub(crate) const FIXTURE_KINDS: &[(&str, &[&str])] = &[
    ("cloud-api", &["verify_token", "access_token", "phone_number_id"]),
    ("waha", &["api_key"]),
    ("evolution", &["webhook_auth", "api_key"]),
    ("evolution-go", &["webhook_auth", "api_key"]),
    ("gowa", &[]),
    ("wppconnect", &["webhook_auth", "api_key"]),
    ("wuzapi", &["api_key"]),
    ("green-api", &["webhook_auth", "api_key"]),
    ("whapi", &["webhook_auth", "api_key"]),
    ("360dialog", &["webhook_auth", "api_key"]),
    ("gupshup-v3", &["webhook_auth", "api_key"]),
    ("hypersender", &["api_key"]),
    ("wawp", &["webhook_auth", "access_token"]),
    ("twilio", &["webhook_url"]),
    ("vonage", &["channel"]),
    ("bird", &["webhook_url"]),
    ("chatwoot", &["api_key"]),
    ("generic", &["webhook_auth"]),
    ("gupshup", &["webhook_auth"]),
    ("infobip", &["webhook_auth"]),
    ("ultramsg", &["webhook_auth"]),
    ("z-api", &["webhook_auth"]),
];

/// Gateways that sign webhooks, and the header of the signature.
const SIGNED: &[(&str, &str)] = &[
    ("cloud-api", "x-hub-signature-256"),
    ("waha", "x-webhook-hmac"),
    ("gowa", "x-hub-signature-256"),
    ("wuzapi", "x-hmac-signature"),
    ("360dialog", "x-360dialog-signature"),
    ("twilio", "x-twilio-signature"),
    ("vonage", "authorization"),
    ("bird", "messagebird-signature"),
    ("chatwoot", "x-chatwoot-signature"),
    ("generic", "x-gateway-signature"),
];

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) expect: Value,
    pub(crate) body: Vec<u8>,
    body_path: PathBuf,
}

impl Case {
    /// The body, decoded if it has a `Content-Encoding`.
    pub(crate) fn decoded(&self) -> Vec<u8> {
        let mut body = self.body.clone();
        if headers(&self.expect).contains_key("content-encoding") {
            body.clear();
            MultiGzDecoder::new(&self.body[..]).read_to_end(&mut body).unwrap();
        }
        body
    }
}

pub(crate) fn cases(gateway: &str) -> Vec<Case> {
    let folder = Path::new("tests/fixtures/gateways").join(gateway);
    let mut cases = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(stem) = name.strip_suffix(".expect.json") else { continue };
        let mut expect: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        // The mapping of a generic gateway is part of its settings.
        expect["signing"]["mapping"] = expect["mapping"].clone();
        let body_path = folder.join(expect["body_file"].as_str().unwrap());
        cases.push(Case { name: format!("{gateway}/{stem}"), body: fs::read(&body_path).unwrap(), expect, body_path });
    }
    assert!(!cases.is_empty());
    cases
}

/// The `[instance.gateway]` table for a case.
fn settings(gateway: &str, signing: &Value) -> Map<String, Value> {
    let secret = &signing["secret"];
    let all = json!({
        "url": "http://127.0.0.1:1", "verify_token": secret, "api_key": "x", "access_token": "x",
        "phone_number_id": "100000000000777", "webhook_url": signing["url"],
        "channel": signing.get("channel").unwrap_or(&json!("whatsapp")),
    });
    let (_, known) = FIXTURE_KINDS.iter().find(|(name, _)| *name == gateway).unwrap();
    let mut table = Map::new();
    table.insert("kind".to_owned(), json!(gateway));
    table.insert("url".to_owned(), all["url"].clone());
    table.insert("webhook_secret".to_owned(), secret.clone());
    for key in *known {
        table.insert((*key).to_owned(), all[*key].clone());
    }
    table.retain(|_, value| !value.is_null());
    // If a gateway has several authentication schemes, the case names one.
    let chosen = match signing["scheme"].as_str() {
        Some("static-header") => Some(("static-header", "webhook_header", &signing["header"])),
        Some("url-secret") => Some(("url-secret", "webhook_param", &signing["param"])),
        Some("evolution-jwt") => Some(("jwt", "webhook_header", &Value::Null)),
        Some("hmac") => Some(("hmac", "webhook_header", &signing["header"])),
        Some("standard-webhooks") => Some(("standard-webhooks", "webhook_header", &Value::Null)),
        _ => None,
    };
    if let (Some((auth, key, value)), true) = (chosen, known.contains(&"webhook_auth")) {
        table.insert("webhook_auth".to_owned(), json!(auth));
        if !value.is_null() {
            table.insert(key.to_owned(), value.clone());
        }
    }
    if signing["mapping"].is_object() {
        table.insert("mapping".to_owned(), signing["mapping"].clone());
        for part in ["algorithm", "encoding", "prefix", "signed"] {
            table.insert(format!("webhook_{part}"), signing[part].clone());
        }
        table.retain(|_, value| !value.is_null());
    }
    table
}

pub(crate) fn build(gateway: &str, signing: &Value) -> Arc<dyn Gateway> {
    let table = Table::new("gateway", settings(gateway, signing));
    gateway::build(&table, Purpose::Inspect, "https://verify.example.test/hook")
        .unwrap_or_else(|faults| panic!("{faults}"))
}

pub(crate) fn headers(expect: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in expect["headers"].as_object().into_iter().flatten() {
        let name: HeaderName = name.parse().unwrap();
        headers.insert(name, HeaderValue::from_str(value.as_str().unwrap()).unwrap());
    }
    headers
}

fn expected_events(expect: &Value) -> Vec<Value> {
    expect["expect"].as_array().cloned().unwrap_or_else(|| vec![expect["expect"].clone()])
}

/// In a message, null means absent; in an ignored event, it means not asserted.
fn compare(name: &str, got: &Value, want: &Value) {
    let strict = want["kind"] == "message";
    for (key, value) in want.as_object().unwrap() {
        if strict || !value.is_null() || key == "receipt" {
            assert_eq!(&got[key], value, "{name}: {key}");
        }
    }
}

#[test]
fn fixtures_pass_through_the_command_line() {
    for (gateway, _) in FIXTURE_KINDS {
        for case in cases(gateway) {
            let got = inspect(gateway, &case);
            assert_eq!(got["auth"], case.expect["auth"], "{}: {got}", case.name);
            let wanted = expected_events(&case.expect);
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
    let signing = &case.expect["signing"];
    let table: toml::Value = serde_json::from_value(Value::Object(settings(gateway, signing))).unwrap();
    let config = format!(
        "public_url = \"https://verify.example.test\"\nkey = \"{}\"\n[store]\nurl = \"embedded:/nonexistent\"\n\
         [[instance]]\nid = \"{INSTANCE}\"\nname = \"N\"\nnumber = \"+12025550142\"\n\
         tokens = [\"sha256:{}\"]\ncallback_secrets = [\"{}\"]\n\
         gateway = {table}",
        crate::daemon::KEY,
        "0".repeat(64),
        crate::daemon::CALLBACK_SECRET,
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("inspect-webhook").arg("--config").arg(file.path()).args(["--instance", INSTANCE]);
    command.args(["--method", case.expect["method"].as_str().unwrap()]);
    command.args(["--now", &case.expect["now"].to_string()]);
    let url = signing["request_url"].as_str().or(signing["url"].as_str()).unwrap();
    command.args(["--url", url]);
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
    gateway.authenticate(&Webhook { method, path_suffix: None, query, headers, body, now }).is_ok()
}

/// Changes to a genuine request that an attacker without the secret can make.
#[test]
fn no_forgery_is_accepted() {
    for (gateway, name) in SIGNED {
        for case in
            cases(gateway).iter().filter(|case| case.expect["auth"] == "accept" && case.expect["method"] == "POST")
        {
            let now = case.expect["now"].as_i64().unwrap();
            let signing = &case.expect["signing"];
            let adapter = build(gateway, signing);
            let genuine = headers(&case.expect);
            let ok = |headers: &HeaderMap, body: &[u8]| accepted(&*adapter, &Method::POST, headers, body, now);
            assert!(ok(&genuine, &case.body), "{}", case.name);
            if !genuine.contains_key(*name) {
                continue;
            }
            let signature = genuine[*name].to_str().unwrap().to_owned();

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
            none.remove(*name);
            forged.push(none);
            for headers in forged.iter().filter(|headers| {
                headers.get(*name) != genuine.get(*name) || headers.get_all(*name).iter().count() != 1
            }) {
                assert!(!ok(headers, &case.body), "{}: {headers:?}", case.name);
            }
            let mut longer = case.body.clone();
            longer.push(b' ');
            assert!(!ok(&genuine, &longer), "{}", case.name);
            if let Ok(value) = serde_json::from_slice::<Value>(&case.body) {
                let reserialised = value.to_string().into_bytes();
                assert!(reserialised == case.body || !ok(&genuine, &reserialised));
            }
            let mut published = signing.clone();
            published["secret"] = json!("secret");
            assert!(!accepted(&*build(gateway, &published), &Method::POST, &genuine, &case.body, now));
        }
    }
}

#[test]
fn any_configured_secret_is_accepted() {
    for case in cases("waha") {
        let mut signing = case.expect["signing"].clone();
        signing["secret"] = json!(["a-newer-secret-of-24-bytes-or-more", signing["secret"]]);
        let rotated = build("waha", &signing);
        let now = case.expect["now"].as_i64().unwrap();
        assert!(accepted(&*rotated, &Method::POST, &headers(&case.expect), &case.body, now));
    }
}
