//! What the services that countersign replaces promise, each with what shows that it is kept; and the tests that only
//! a promise asks for.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    app::{Answer, Ground, WAHA, World},
    codes::{self, CHAT},
    contract::live,
};

const TABLE: &str = include_str!("promises.txt");
const PROMISES: usize = 166;

struct Promise<'a> {
    id: &'a str,
    tests: Vec<&'a str>,
    /// A piece of the README.
    line: Option<&'a str>,
}

fn promises() -> Vec<Promise<'static>> {
    let lines = TABLE.lines().filter(|line| line.starts_with('F'));
    lines
        .map(|line| {
            let (promise, shown) = line.split_once(" | ").unwrap_or_else(|| panic!("nothing shows {line}"));
            let (tests, line) = match shown.split_once("README: ") {
                Some((tests, line)) => (tests, Some(line)),
                None => (shown, None),
            };
            Promise { id: promise.split(' ').next().unwrap(), tests: tests.split_whitespace().collect(), line }
        })
        .collect()
}

/// Whether `contract::samples::every_sample…` is a test of these sources.
fn is_a_test(name: &str) -> bool {
    let Some((module, function)) = name.rsplit_once("::") else { return false };
    let files = if module.starts_with("src/") {
        vec![module.to_owned()]
    } else {
        let path = module.replace("::", "/");
        vec![format!("tests/it/{path}.rs"), format!("tests/it/{path}/mod.rs")]
    };
    let source = files.iter().find(|file| Path::new(file).exists()).map(|file| fs::read_to_string(file).unwrap());
    source.is_some_and(|source| source.contains(&format!("fn {function}(")))
}

#[test]
fn every_promise_is_shown_by_a_test_or_answered_in_the_readme() {
    let readme = fs::read_to_string("README.md").unwrap();
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    let promises = promises();
    let ids: Vec<String> = promises.iter().map(|promise| promise.id.to_owned()).collect();
    assert_eq!(ids, (1..=PROMISES).map(|number| format!("F{number}")).collect::<Vec<_>>());
    let mut unmet = Vec::new();
    for Promise { id, tests, line } in promises {
        assert!(!tests.is_empty() || line.is_some(), "nothing shows {id}");
        unmet.extend(tests.iter().filter(|test| !is_a_test(test)).map(|test| format!("{id}: no test {test}")));
        if let Some(line) = line.filter(|line| !readme.contains(*line)) {
            unmet.push(format!("{id}: the README does not say {line:?}"));
        }
    }
    assert!(unmet.is_empty(), "{unmet:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_live_for_half_an_hour_unless_told_otherwise() {
    let world = World::new(Ground::directory());
    let app = world.start().await;
    let lives = |answer: &Answer| {
        let time = |name: &str| answer.text_of(name).parse::<jiff::Timestamp>().unwrap().as_second();
        time("expires_at") - time("created_at")
    };
    for (body, seconds) in [(json!({}), 1800), (json!({"expires": 60}), 60), (json!({"expires": 3600}), 3600)] {
        assert_eq!(lives(&app.mint(body).await), seconds);
    }
    for (body, seconds) in [(json!({"chatId": CHAT}), 1800), (json!({"chatId": CHAT, "expires": 60}), 60)] {
        assert_eq!(lives(&codes::request(&app, body).await), seconds);
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_has_its_own_text() {
    let world = World::new(Ground::directory());
    let app = world.start().await;
    let hook = |name: &str| format!("{}/{name}", world.receiver.url);
    let body = json!({
        "chatId": "447700900123", "max_attempts": 1, "expires": 60,
        "message": {"failed": "that was not you", "expired": "too late, start again"},
        "callback": {"success": hook("ok"), "failed": hook("bad")},
    });
    let said = || -> Vec<String> {
        let arrived = world.gateway.arrived();
        arrived.iter().map(|reply| reply.json()["text"].as_str().unwrap().to_owned()).collect()
    };
    let failed = app.link(body.clone()).await;
    app.says("447700900177", "F1", &failed.text).await;
    app.settle().await;
    assert_eq!(app.status(&failed.uuid).await, "failed");
    assert_eq!(said(), ["that was not you"]);
    let expired = app.link(body).await;
    app.advance(std::time::Duration::from_secs(61)).await;
    app.says("447700900123", "E1", &expired.text).await;
    app.settle().await;
    assert_eq!(app.status(&expired.uuid).await, "expired");
    assert_eq!(said(), ["that was not you", "too late, start again"]);
    let told: Vec<(String, String)> = world
        .receiver
        .arrived()
        .iter()
        .map(|callback| (callback.path.clone(), callback.json()["type"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(told, [("/bad".to_owned(), "link.failed".to_owned()), ("/bad".to_owned(), "link.expired".to_owned())]);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_go_to_https_unless_the_instance_allows_more() {
    let world = live::world();
    let app = world.start().await;
    let mint = async |instance: &str, url: &str| {
        app.post(&format!("/api/otp/v2/{instance}/generate-link"), json!({"callback": {"success": url}})).await
    };
    let (http, https) = ("http://app.example.org/hooks", "https://app.example.org/hooks");
    let refused = mint(live::EVOLUTION, http).await;
    assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("callback.success")));
    assert_eq!(mint(live::EVOLUTION, https).await.status, 200);
    assert_eq!(mint(WAHA, http).await.status, 200, "this one has allow_http_callbacks");
    app.finish().await;
}
