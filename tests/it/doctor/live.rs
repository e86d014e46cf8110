//! `doctor --wait`.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
};

use countersign::{
    clock::Clock,
    gateway::{self, Purpose, SampleMessage, SampleSender},
    reader::Table,
};
use serde_json::{Value, json};

use super::{checks, failed};
use crate::{
    daemon::{TOKEN, client},
    every_gateway::{Serve, id, index_of, instances, secret},
    fakes::RecordingServer,
};

/// Posts a person's message as WAHA does.
async fn post_message(base: &str, index: usize, text: &str) {
    let now = Clock::default().wall();
    let table = json!({ "kind": "waha", "webhook_secret": secret(index) });
    let table = Table::new("gateway", table.as_object().unwrap().clone());
    let gateway = gateway::build(&table, Purpose::Inspect, "").unwrap();
    let (text, id_of_message, lid) = (text.to_owned(), "3EB0AA".to_owned(), "190000000000117".to_owned());
    let phone = "447700900321".to_owned();
    let sample = SampleMessage {
        sender: SampleSender::Person,
        id: id_of_message,
        text,
        timestamp: now.as_second(),
        phone,
        to: String::new(),
        lid,
    };
    let mut webhook = gateway.compose(&sample).unwrap();
    gateway.webhook_auth().sign(&mut webhook, now);
    let mut request = http::Request::post(format!("{base}/webhooks/{}", id(index)));
    for (name, value) in &webhook.headers {
        request = request.header(name, value);
    }
    assert_eq!(client().send(request.body(webhook.body).unwrap()).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_a_message_from_a_real_phone_and_hides_the_number() {
    let gateway = RecordingServer::start();
    let serve = Serve::start(&instances(&gateway.url, "", secret)).await;
    let waha = index_of("waha");
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["doctor", &id(waha), "--wait", "120", "--json", "--config"])
        .arg(serve.config.path())
        .env("COUNTERSIGN_TOKEN", TOKEN)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let link = loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended without a link");
        if line.contains("https://wa.me/") {
            break line.trim().to_owned();
        }
    };
    let text = url::Url::parse(&link).unwrap().query_pairs().find(|(name, _)| name == "text").unwrap().1.into_owned();
    post_message(&serve.base, waha, &text).await;
    let (mut said, mut out) = (String::new(), String::new());
    lines.read_to_string(&mut said).unwrap();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said} {out}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((checks(&report, "real phone").len(), failed(&report).len()), (2, 0), "{report}");
    for written in [said, out] {
        assert!(!written.contains("447700900321"), "{written}");
    }
    assert_eq!(gateway.requests().len(), 1);
}
