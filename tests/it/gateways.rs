//! Recorded webhooks of every gateway through `inspect-webhook`, compared with what the fixtures expect; and forgeries
//! of them.

use std::{collections::BTreeSet, fmt::Write as _, fs, io::Read as _, path::PathBuf, process::Command, sync::Arc};

use countersign::{
    gateway::{self, CredentialLocation, Gateway, Purpose, Webhook},
    reader::Table,
};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::every_gateway::{SETUPS, fixtures};

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
    let folder = fixtures(gateway);
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

/// The recorded requests of every kind.
pub(crate) fn all_cases() -> impl Iterator<Item = (&'static str, Case)> {
    gateway::kinds().flat_map(|kind| cases(kind.name).into_iter().map(|case| (kind.name, case)))
}

/// The `[instance.gateway]` table for a case.
fn settings(gateway: &str, expect: &Value) -> Map<String, Value> {
    let mut table = expect["settings"].as_object().cloned().unwrap_or_default();
    table.insert("kind".to_owned(), json!(gateway));
    table.insert("url".to_owned(), json!("http://127.0.0.1:1"));
    if !expect["signing"]["secret"].is_null() {
        table.insert("webhook_secret".to_owned(), expect["signing"]["secret"].clone());
    }
    table
}

pub(crate) fn build(gateway: &str, expect: &Value) -> Arc<dyn Gateway> {
    let table = Table::new("gateway", settings(gateway, expect));
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
    for (gateway, case) in all_cases() {
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

const INSTANCE: &str = "5f0c2a90-0000-4000-8000-000000000001";

/// A configuration with the gateway of a case.
fn config_file(gateway: &str, expect: &Value) -> tempfile::NamedTempFile {
    let table: toml::Value = serde_json::from_value(Value::Object(settings(gateway, expect))).unwrap();
    let config = format!(
        "public_url = \"https://verify.example.test\"\nkey = \"{}\"\n[store]\nurl = \"embedded:/nonexistent\"\n\
         [[instance]]\nid = \"{INSTANCE}\"\nname = \"N\"\nnumber = \"+12025550142\"\n\
         tokens = [\"sha256:{}\"]\ncallback_secrets = [\"{}\"]\n\
         gateway = {table}",
        crate::daemon::KEY,
        "0".repeat(64),
        crate::daemon::CALLBACK_SECRET,
    );
    crate::every_gateway::file(&config)
}

fn inspect_command(config: &tempfile::NamedTempFile) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("inspect-webhook").arg("--config").arg(config.path()).args(["--instance", INSTANCE]);
    command
}

fn inspect(gateway: &str, case: &Case) -> Value {
    let signing = &case.expect["signing"];
    let config = config_file(gateway, &case.expect);
    let mut command = inspect_command(&config);
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
    let mut signed = BTreeSet::new();
    for (gateway, case) in
        all_cases().filter(|(_, case)| case.expect["auth"] == "accept" && case.expect["method"] == "POST")
    {
        let now = case.expect["now"].as_i64().unwrap();
        let adapter = build(gateway, &case.expect);
        let genuine = headers(&case.expect);
        let ok = |headers: &HeaderMap, body: &[u8]| accepted(&*adapter, &Method::POST, headers, body, now);
        // The secret of other gateways is in the URL, or proves nothing about the body.
        if !adapter.auth_covers_body() || !ok(&genuine, &case.body) {
            continue;
        }
        signed.insert(gateway);
        // Twilio has a second form of signature, in the URL.
        if let CredentialLocation::Header(name) = adapter.webhook_auth().credential_location()
            && genuine.contains_key(&name)
        {
            let name: HeaderName = name.parse().unwrap();
            let signature = genuine[&name].to_str().unwrap().to_owned();
            let with = |value: &str| {
                let mut headers = genuine.clone();
                headers.insert(&name, HeaderValue::from_str(value).unwrap());
                headers
            };
            let mut forged: Vec<HeaderMap> = (0..signature.len()).map(|length| with(&signature[..length])).collect();
            forged.push(with(&signature.to_uppercase()));
            forged.push(with(&format!("{signature}0")));
            forged.push(with(&format!("{signature},{signature}")));
            forged.push(with(&signature.replace("sha256=", "")));
            let mut twice = genuine.clone();
            twice.append(&name, HeaderValue::from_str(&signature).unwrap());
            forged.push(twice);
            let mut none = genuine.clone();
            none.remove(&name);
            forged.push(none);
            for headers in forged.iter().filter(|headers| **headers != genuine) {
                assert!(!ok(headers, &case.body), "{}: {headers:?}", case.name);
            }
        }
        let mut longer = case.body.clone();
        longer.push(b' ');
        assert!(!ok(&genuine, &longer), "{}", case.name);
        if let Ok(value) = serde_json::from_slice::<Value>(&case.body) {
            let reserialised = value.to_string().into_bytes();
            assert!(reserialised == case.body || !ok(&genuine, &reserialised));
        }
        let mut published = case.expect.clone();
        published["signing"]["secret"] = json!("secret");
        if let Ok(adapter) =
            gateway::build(&Table::new("gateway", settings(gateway, &published)), Purpose::Inspect, "https://x.test/")
        {
            assert!(!accepted(&*adapter, &Method::POST, &genuine, &case.body, now));
        }
    }
    let kinds = gateway::kinds().filter(|kind| {
        gateway::build(&kind.example_table(), Purpose::Inspect, "https://x.test/").unwrap().auth_covers_body()
    });
    for kind in kinds {
        assert!(signed.contains(kind.name), "{} has no recorded request with a signature", kind.name);
    }
}

#[test]
fn any_configured_secret_is_accepted() {
    for case in cases("waha") {
        let mut expect = case.expect.clone();
        expect["signing"]["secret"] = json!(["a-newer-secret-of-24-bytes-or-more", expect["signing"]["secret"]]);
        let rotated = build("waha", &expect);
        let now = case.expect["now"].as_i64().unwrap();
        assert!(accepted(&*rotated, &Method::POST, &headers(&case.expect), &case.body, now));
    }
}

/// The code is in the webhook, but not as a message that its sender wrote and sent.
#[test]
fn captions_and_edits_verify_with_no_gateway() {
    for setup in SETUPS.iter() {
        for name in ["caption", "edit"] {
            let case = cases(setup.kind).into_iter().find(|case| case.name == format!("{}/{name}", setup.kind));
            if name == "edit" && setup.posts_no_edits {
                assert!(case.is_none(), "{} has an edit", setup.kind);
                continue;
            }
            let case = case.unwrap_or_else(|| panic!("{} has no fixture {name}", setup.kind));
            assert!(String::from_utf8_lossy(&case.body).contains("K7QXM2PD"), "{}: no code", case.name);
            let got = inspect(setup.kind, &case);
            assert_eq!(got["auth"], "accept", "{}: {got}", case.name);
            let events = got["events"].as_array().unwrap();
            assert!(!events.is_empty() && events.iter().all(|event| event["kind"] == "ignore"), "{}: {got}", case.name);
        }
    }
}

/// `--request` takes head and body of a recorded request from one file, and says which secret fitted.
#[test]
fn a_whole_request_is_inspected_from_one_file() {
    let case = cases("waha").into_iter().find(|case| case.name == "waha/text_noweb").unwrap();
    let now = case.expect["now"].to_string();
    let head = |end: &str| {
        let mut head = format!("POST /webhooks/{INSTANCE} HTTP/1.1{end}Host: wa.example.org{end}");
        for (name, value) in case.expect["headers"].as_object().unwrap() {
            let _ = write!(head, "{name}: {}{end}", value.as_str().unwrap());
        }
        head + end
    };
    let config = config_file("waha", &{
        let mut expect = case.expect.clone();
        expect["signing"]["secret"] = json!(["a-newer-secret-of-24-bytes-or-more", expect["signing"]["secret"]]);
        expect
    });
    let run = |request: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), request).unwrap();
        let mut command = inspect_command(&config);
        command.args(["--now", &now]).arg("--request").arg(file.path()).output().unwrap()
    };
    let verdict = |request: &[u8]| -> Value {
        let output = run(request);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for end in ["\r\n", "\n"] {
        let got = verdict(&[head(end).as_bytes(), &case.body].concat());
        assert_eq!((&got["auth"], &got["proof"]["secret"]), (&json!("accept"), &json!(2)), "{got}");
        assert!(got["proof"]["scheme"].as_str().unwrap().contains("HMAC"), "{got}");
        assert_eq!(got["events"][0]["text"], case.expect["expect"]["text"], "{got}");
    }
    let altered = verdict(&[head("\r\n").as_bytes(), &case.body, b" "].concat());
    assert_eq!((&altered["auth"], &altered["response"]["status"]), (&json!("reject"), &json!(401)), "{altered}");
    for (request, problem) in
        [("POST /x", "an empty line"), ("POST\r\n\r\n", "in the first line"), ("a b c\n\n", "first line")]
    {
        let output = run(request.as_bytes());
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && printed.contains("--request") && printed.contains(problem), "{printed}");
    }
}
