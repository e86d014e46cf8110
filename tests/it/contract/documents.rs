//! The other renderings of the table: the page, the text, the collection, the index; and the code for receivers.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use countersign::http::contract::{Operation, operations, verify};
use serde_json::{Value, json};

use super::{get_large, live, samples};
use crate::daemon::{CALLBACK_SECRET, Daemon, ReceivedResponse};

#[expect(unreachable_pub, reason = "shown to people who will export it")]
mod shown {
    include!("../../../templates/docs/verify/rust.rs");
}

fn file(daemon: &Daemon, path: &str) -> ReceivedResponse {
    get_large(&url::Url::parse(&format!("{}{path}", daemon.base)).unwrap(), &[])
}

fn names_all(text: &str, of: impl Fn(&Operation) -> String) {
    for operation in operations() {
        assert!(text.contains(&of(operation)), "{} is missing", operation.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_complete_and_loads_nothing() {
    let world = live::world();
    let daemon = world.start().await;
    let page = file(&daemon, "/docs");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("connect-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    for foreign in ["src=", "@import", "url(", "<link rel=\"stylesheet", "style=\"", "onclick"] {
        assert!(!page.text.contains(foreign), "{foreign}");
    }
    names_all(&page.text, |operation| format!("<article id=\"{}\"", operation.id));
    for label in ["curl", "Node", "Python", "PHP"] {
        let count = page.text.matches(&format!("data-sample=\"{label}\"")).count();
        assert!(count >= operations().len(), "{label}: {count}");
    }
    assert_eq!(page.text.matches("<details class=\"try\">").count(), operations().len());
    for code in countersign::http::problem::Code::ALL {
        assert!(page.text.contains(&format!("<tr id=\"{}\">", code.as_str())), "{}", code.as_str());
    }
    for reason in countersign::domain::Reason::ALL {
        assert!(page.text.contains(&format!("<code>{reason}</code>")), "{reason}");
    }
    for event in countersign::domain::Event::ALL {
        assert!(page.text.contains(&format!("<code>{}</code>", event.as_str())), "{}", event.as_str());
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_index_and_collection_list_every_operation() {
    let world = live::world();
    let daemon = world.start().await;
    let text = file(&daemon, "/docs.md");
    assert!(text.header("content-type").starts_with("text/markdown"));
    names_all(&text.text, |operation| format!("`{} {}`", operation.method, operation.path));
    let index = file(&daemon, "/llms.txt");
    assert!(index.text.starts_with("# countersign\n\n> "), "the form of llmstxt.org");
    names_all(&index.text, |operation| format!("docs#{})", operation.id));
    let collection = file(&daemon, "/postman.json").json;
    assert_eq!(collection["info"]["schema"], "https://schema.getpostman.com/json/collection/v2.1.0/collection.json");
    let items: Vec<&Value> =
        collection["item"].as_array().unwrap().iter().flat_map(|folder| folder["item"].as_array().unwrap()).collect();
    assert_eq!(items.len(), operations().len());
    for (item, operation) in items.iter().zip(operations().iter()) {
        assert_eq!(item["request"]["method"], operation.method);
        let raw = item["request"]["url"]["raw"].as_str().unwrap();
        assert!(raw.starts_with("{{url}}/") && !raw.contains("}/{") || raw.contains("{{instance}}"), "{raw}");
        assert_eq!(item["request"]["auth"].is_null(), operation.credentials.is_token(), "{}", operation.id);
    }
    daemon.finish().await;
}

#[test]
fn the_command_line_prints_the_same_document() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    let output = command.args(["openapi", "--url", "https://x.example/"]).output().unwrap();
    assert!(output.status.success());
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, countersign::http::contract::openapi("https://x.example"));
}

/// Driver, and how its program is run; `verify` of the shown code stands before it.
const DRIVERS: [(&str, &str, &[&str], &str); 3] = [
    (
        "Node",
        "node",
        &["--input-type=module"],
        "import { readFileSync } from 'node:fs';\n\
        const { secret, headers, body } = JSON.parse(process.env.CLAIM);\nconsole.log(verify(secret, headers, body));\n",
    ),
    (
        "Python",
        "python3",
        &["-"],
        "\nimport json, os\nc = json.loads(os.environ['CLAIM'])\n\
        print(str(verify(c['secret'], c['headers'], c['body'].encode())).lower())\n",
    ),
    (
        "PHP",
        "php",
        &[],
        "\n$c = json_decode(getenv('CLAIM'), true);\n\
        echo var_export(verify($c['secret'], $c['headers'], $c['body']), true), \"\\n\";\n",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_verification_samples_accept_only_genuine_callbacks() {
    let world = live::world();
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    daemon.send_message("447700900123", "V1", &link.text).await;
    let callback = world.receiver.wait_for(1).await.remove(0);
    let headers = |change: Option<(&str, &str)>| -> Value {
        ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .iter()
            .map(|name| {
                let changed = change.filter(|(changed, _)| changed == name).map(|(_, value)| value.to_owned());
                ((*name).to_owned(), Value::from(changed.unwrap_or_else(|| callback.header(name).to_owned())))
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let body = String::from_utf8(callback.body.clone()).unwrap();
    let claim = |headers: Value, body: &str| json!({ "secret": CALLBACK_SECRET, "headers": headers, "body": body });
    let rotated = format!("v1,AAAA {}", callback.header("webhook-signature"));
    let claims = [
        (claim(headers(None), &body), true),
        (claim(headers(Some(("webhook-signature", &rotated))), &body), true),
        (claim(headers(None), &body.replace("verified", "verifieD")), false),
        (claim(headers(Some(("webhook-id", "msg_other"))), &body), false),
        (claim(headers(Some(("webhook-timestamp", "1700000000"))), &body), false),
        (claim(headers(Some(("webhook-timestamp", "now"))), &body), false),
        (claim(headers(Some(("webhook-signature", ""))), &body), false),
    ];
    for (claim, genuine) in &claims {
        let mut map = http::HeaderMap::new();
        for (name, value) in claim["headers"].as_object().unwrap() {
            map.insert(name.parse::<http::HeaderName>().unwrap(), value.as_str().unwrap().parse().unwrap());
        }
        let body = claim["body"].as_str().unwrap().as_bytes();
        assert_eq!(shown::verify(CALLBACK_SECRET, &map, body), *genuine, "{claim}");
    }
    for label in samples::selected_languages() {
        let Some((_, program, arguments, driver)) = DRIVERS.into_iter().find(|(known, ..)| *known == label) else {
            continue;
        };
        if !samples::installed(program) {
            println!("skipped: verification in {label}, {program} is not installed");
            continue;
        }
        let source = verify::samples().into_iter().find(|sample| sample.label == label).unwrap().source + driver;
        for (claim, genuine) in &claims {
            // For malformed input the sample may also throw an exception.
            let verdict = run(program, arguments, &source, claim);
            assert_eq!(verdict.trim() == "true", *genuine, "{label}: {claim}: {verdict}");
        }
    }
    daemon.finish().await;
}

fn run(program: &str, arguments: &[&str], source: &str, claim: &Value) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env("CLAIM", claim.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}
