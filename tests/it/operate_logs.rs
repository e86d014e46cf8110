//! Logs and traces: one line for each request, none lost at exit, and one trace from the webhook to the callback.

use serde_json::{Value, json};

use crate::{
    daemon::{TOKEN, TestStore, WAHA, World, message, signed_waha},
    fakes::RecordingServer,
    process::Process,
    redis_server::free_port,
    wait::{until, until_or},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn start(world: &World, more: &str) -> Process {
    let (port, operator) = (free_port(), free_port());
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    let text = text.replace("format = \"text\"\nlevel = \"trace\"", "format = \"json\"\nlevel = \"debug\"");
    Process::with(port, operator, &text.replace("[shutdown]", &format!("{more}\n[shutdown]")), &[]).await
}

fn lines(written: &str) -> Vec<Value> {
    written.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

/// Sends a message, with the `traceparent` of a caller.
async fn send_message(process: &Process, text: &str, id: &str, traceparent: Option<&str>) {
    let now = countersign::clock::Clock::default().wall().as_second();
    let mut request = signed_waha(&process.base, &message("447700900123", id, text, now));
    if let Some(traceparent) = traceparent {
        request.headers_mut().insert("traceparent", traceparent.parse().unwrap());
    }
    assert_eq!(process.client.send(request).await.unwrap().status().as_u16(), 200);
}

/// At the default level, a start is three lines: what runs in which version, where, and that it is ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_three_lines() {
    let world = World::new(TestStore::directory());
    let (port, operator) = (free_port(), free_port());
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    let text = text.replace("format = \"text\"\nlevel = \"trace\"", "format = \"json\"\nlevel = \"info\"");
    let process = Process::with(port, operator, &text, &[]).await;
    until_or(|| process.output(), async || process.output().contains("\"ready\"")).await;
    let started = lines(&process.output());
    let messages: Vec<&str> = started.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["starting", "listening", "ready"], "{started:#?}");
    assert_eq!(started[0]["version"], env!("CARGO_PKG_VERSION"));
    assert!(started[0]["store"].as_str().unwrap().starts_with("embedded in /"), "{}", started[0]);
    assert_eq!(started[1]["listen"], format!("127.0.0.1:{port}"));
    assert_eq!(started[1]["operator_listen"], format!("127.0.0.1:{operator}"));
    assert_eq!(started[1]["public_url"], world.public_url.trim_end_matches('/'));
    assert!(started[2]["docs"].as_str().unwrap().ends_with("/docs"), "{}", started[2]);
    let (status, _, written) = process.terminate();
    assert_eq!(status, Some(0), "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_one_line_and_none_is_lost_at_exit() {
    let world = World::new(TestStore::directory());
    let process = start(&world, "").await;
    for number in 0..200 {
        let request = http::Request::get(format!("{}/api/otp/v2/{WAHA}/requests/{number}?secret=canary", process.base))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("x-request-id", format!("request-{number}"));
        let answer = process.client.send(request.body(Vec::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), 404);
    }
    let (status, _, written) = process.terminate();
    assert_eq!(status, Some(0), "{written}");
    let lines = lines(&written);
    let requests: Vec<&Value> = lines.iter().filter(|line| line["message"] == "request").collect();
    assert_eq!(requests.len(), 200);
    for (number, line) in requests.iter().enumerate() {
        assert_eq!(line["route"], "/api/otp/v2/{instance}/requests/{uuid}");
        assert_eq!((&line["status"], &line["method"]), (&json!(404), &json!("GET")));
        assert_eq!(line["request_id"], format!("request-{number}"));
        assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
        assert!(line["millis"].is_u64() && line["timestamp"].is_string(), "{line}");
    }
    assert_eq!(lines.last().unwrap()["message"], "stopped");
    assert!(!written.contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authenticated_callers_trace_reaches_gateway_and_receiver() {
    let world = World::new(TestStore::directory());
    let process = start(&world, "").await;
    let minted = process.mint(json!({})).await.unwrap();
    send_message(&process, &minted.text_of("text"), "T1", Some(&format!("00-{TRACE}-00f067aa0ba902b7-01"))).await;
    let callback = world.receiver.wait_for(1).await.remove(0);
    let reply = world.gateway.wait_for(1).await.remove(0);
    for arrived in [&callback, &reply] {
        let sent = arrived.header("traceparent");
        assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-01"), "{sent}");
        assert!(!sent.contains("00f067aa0ba902b7"), "a span of its own: {sent}");
    }
    // A trace of this process that is not recorded is not sent on: it would turn the receiver's own sampling off.
    let minted = process.mint(json!({})).await.unwrap();
    send_message(&process, &minted.text_of("text"), "T2", Some("00-not-a-trace-01")).await;
    assert_eq!(world.receiver.wait_for(2).await[1].header("traceparent"), "");
    let (_, _, written) = process.terminate();
    let traced: Vec<Value> = lines(&written).into_iter().filter(|line| line["trace_id"] == TRACE).collect();
    let messages: Vec<&str> = traced.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(messages.iter().filter(|message| **message == "request").count(), 1, "{messages:?}");
    assert_eq!(messages.iter().filter(|message| **message == "a job attempt finished").count(), 2, "{messages:?}");
}

/// An unauthenticated client decides neither what is recorded nor in which trace.
#[tokio::test(flavor = "multi_thread")]
async fn an_unauthenticated_callers_trace_is_not_joined() {
    let world = World::new(TestStore::directory());
    let collector = RecordingServer::start();
    let process = start(&world, &format!("[otlp]\nurl = \"{}\"\nsample_percent = 0", collector.url)).await;
    let minted = process.mint(json!({})).await.unwrap();
    let start_url = url::Url::parse(&minted.text_of("start_url")).unwrap();
    let requests = format!("/api/otp/v2/{WAHA}/requests");
    let asked = async |path: &str, token: &str| {
        let request = http::Request::get(format!("{}{path}", process.base))
            .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
            .header("authorization", format!("Bearer {token}"));
        process.client.send(request.body(Vec::new()).unwrap()).await.unwrap().status().as_u16()
    };
    for (path, token, status) in [
        (start_url.path(), "", 200),
        ("/openapi.json", "", 200),
        ("/l/no-such-link", "", 410),
        (requests.as_str(), "cst_wrong", 401),
        ("/webhooks/no-such-instance", "", 404),
    ] {
        assert_eq!(asked(path, token).await, status, "{path}");
    }
    // The first spans that arrive are the authenticated caller's. Spans of earlier requests would arrive before them.
    assert_eq!(asked(&requests, TOKEN).await, 200);
    until("the caller's span", async || !collector.requests().is_empty()).await;
    let (_, _, written) = process.terminate();
    let spans: Vec<Value> = collector
        .requests()
        .iter()
        .flat_map(|one| one.json()["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone())
        .collect();
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["GET /api/otp/v2/{instance}/requests"]);
    assert_eq!((&spans[0]["traceId"], &spans[0]["parentSpanId"]), (&json!(TRACE), &json!("00f067aa0ba902b7")));
    let traced = lines(&written).iter().filter(|line| line["trace_id"] == TRACE).count();
    assert_eq!(traced, 1, "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_a_collector() {
    let world = World::new(TestStore::directory());
    let collector = RecordingServer::start();
    let process =
        start(&world, &format!("[otlp]\nurl = \"{}\"\nauthorization = \"Bearer canary\"", collector.url)).await;
    let minted = process.mint(json!({})).await.unwrap();
    send_message(&process, &minted.text_of("text"), "O1", Some(&format!("00-{TRACE}-00f067aa0ba902b7-01"))).await;
    // The caller does not record its trace, so it is not recorded here.
    send_message(&process, "hello", "O2", Some("00-ffffffffffffffffffffffffffffffff-00f067aa0ba902b7-00")).await;
    let spans = || -> Vec<Value> {
        let arrived = collector.requests();
        let bodies = arrived.iter().map(crate::fakes::ReceivedRequest::json);
        bodies.flat_map(|body| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()).collect()
    };
    let ours = || spans().into_iter().filter(|span| span["traceId"] == TRACE).collect::<Vec<_>>();
    until_or(|| format!("three spans: {:#?}", spans()), async || ours().len() >= 3).await;
    let spans = ours();
    let named =
        |name: &str| spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("{name}: {spans:#?}"));
    let request = named("POST /webhooks/{instance}");
    assert_eq!((&request["parentSpanId"], &request["kind"]), (&json!("00f067aa0ba902b7"), &json!(2)));
    for name in ["callback", "reply"] {
        assert_eq!((&named(name)["parentSpanId"], &named(name)["kind"]), (&request["spanId"], &json!(3)));
    }
    let time = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    for span in &spans {
        assert!(time(span, "startTimeUnixNano") <= time(span, "endTimeUnixNano"));
        assert!(time(span, "startTimeUnixNano") > 1_600_000_000_000_000_000);
    }
    let arrived = collector.requests().remove(0);
    assert_eq!((arrived.path.as_str(), arrived.header("authorization")), ("/v1/traces", "Bearer canary"));
    let (_, _, written) = process.terminate();
    let exported: String =
        collector.requests().iter().map(|one| String::from_utf8_lossy(&one.body).into_owned()).collect();
    assert!(
        !exported.contains("ffffffff")
            && !exported.contains("447700900123")
            && !exported.contains(&minted.text_of("code"))
    );
    assert!(!written.contains("canary"));
}
