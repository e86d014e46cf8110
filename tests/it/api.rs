//! The JSON API: what is accepted, how requests are refused, and what each token can see.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    daemon::{META, META_TOKEN, TOKEN, TestStore, WAHA, World},
    login_flow::on_both_stores,
};

on_both_stores! {
    an_idempotency_key_gives_the_same_link
    a_hundred_parallel_repeats_mint_one_link
    lists_page_filter_and_end
    a_filter_reads_at_most_a_thousand_records_and_returns_a_cursor
    cancel_ends_a_pending_request
    requests_of_another_tenant_are_not_visible
    the_mint_limit_is_enforced_and_reported
    a_disabled_instance_finishes_pending_requests_and_accepts_no_new_ones
}

fn generate(instance: &str) -> String {
    format!("/api/otp/v2/{instance}/generate-link")
}

async fn an_idempotency_key_gives_the_same_link(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let mint = async |key: &'static str, name: &'static str| {
        daemon.post_with(&generate(WAHA), json!({"name": name, "expires": 900}), &[("idempotency-key", key)]).await
    };
    let first = mint("\"a-key\"", "Harbour").await;
    let again = mint("a-key", "Harbour").await;
    assert_eq!(first.json, again.json, "quoted or bare, the same answer");
    assert_eq!(mint("a-key", "Other").await.json["code"], "idempotency_key_reused");
    assert_ne!(mint("b-key", "Harbour").await.text_of("uuid"), first.text_of("uuid"));
    let long = "x".repeat(256);
    let refused = daemon.post_with(&generate(WAHA), json!({}), &[("idempotency-key", &long)]).await;
    assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("Idempotency-Key")));
    daemon.clock.advance(Duration::from_hours(25));
    assert_ne!(mint("a-key", "Other").await.text_of("uuid"), first.text_of("uuid"), "a day later it is free");
    daemon.finish().await;
}

async fn a_hundred_parallel_repeats_mint_one_link(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let path = generate(WAHA);
    let mint = || daemon.post_with(&path, json!({"name": "N"}), &[("idempotency-key", "k")]);
    let mut codes = std::collections::HashSet::new();
    for answer in join_all((0..100).map(|_| mint())).await {
        assert_eq!(answer.status, 200, "{}", answer.text);
        codes.insert(answer.text_of("code"));
    }
    assert_eq!(codes.len(), 1);
    let list = daemon.get(&format!("/api/otp/v2/{WAHA}/requests")).await;
    assert_eq!(list.data("requests").as_array().unwrap().len(), 1);
    daemon.finish().await;
}

async fn lists_page_filter_and_end(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let mut minted = Vec::new();
    for index in 0..23 {
        let body = match index % 3 {
            0 => json!({"client_ref": "cart"}),
            1 => json!({"chatId": "447700900123"}),
            _ => json!({}),
        };
        minted.push(daemon.create_link(body).await);
    }
    daemon.send_message("447700900177", "V1", &minted[2].text).await;
    let path = format!("/api/otp/v2/{WAHA}/requests");
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = daemon.get(&format!("{path}?limit=5{cursor}")).await;
        seen.extend(page.data("requests").as_array().unwrap().iter().map(|r| r["uuid"].as_str().unwrap().to_owned()));
        pages += 1;
        match page.data("next_cursor").as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let mut newest_first: Vec<String> = minted.iter().map(|link| link.uuid.clone()).collect();
    newest_first.reverse();
    seen.sort();
    newest_first.sort();
    assert_eq!((seen, pages), (newest_first, 5));
    let count = async |query: &str| {
        let page = daemon.get(&format!("{path}?limit=200&{query}")).await;
        assert_eq!(page.status, 200, "{}", page.text);
        page.data("requests").as_array().unwrap().len()
    };
    assert_eq!(count("client_ref=cart").await, 8);
    assert_eq!(count("chat_id=%2B447700900123").await, 8, "another spelling of the same chat");
    assert_eq!(count("chat_id=447700900177@c.us").await, 1, "a proven chat is found too");
    assert_eq!(count("status=verified").await, 1);
    assert_eq!(count("status=pending&client_ref=cart").await, 8);
    assert_eq!(count("otp_type=code").await, 0);
    assert_eq!(count("phone_last=0123").await, 8, "of a requested chat");
    assert_eq!(count("phone_last=00900177").await, 1, "of a verified chat");
    assert_eq!(count("phone_last=0177&status=pending").await, 0);
    assert_eq!(count("phone_last=0012").await, 0, "the end, not the middle");
    assert_eq!(count("created_after=2020-01-01T00:00:00Z").await, 23);
    assert_eq!(count("created_before=2020-01-01T00:00:00Z").await, 0);
    let faulty = daemon
        .get(&format!("{path}?status=x&otp_type=y&limit=0&cursor=!&created_after=now&chat_id=z&phone_last=123"))
        .await;
    let fields: Vec<&str> =
        faulty.json["errors"].as_array().unwrap().iter().map(|fault| fault["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["status", "otp_type", "phone_last", "created_after", "chat_id", "cursor", "limit"]);
    for digits in ["123456789", "+4477", "12a4", "%D9%A1%D9%A2%D9%A3%D9%A4", ""] {
        let faulty = daemon.get(&format!("{path}?phone_last={digits}")).await;
        assert_eq!((faulty.status, &faulty.json["errors"][0]["field"]), (422, &json!("phone_last")), "{digits}");
    }
    daemon.finish().await;
}

/// A filter that few records match reads a bounded number of them, and returns a cursor to continue from.
async fn a_filter_reads_at_most_a_thousand_records_and_returns_a_cursor(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\nlinks_per_chat_10m = 0".to_owned();
    let daemon = world.start().await;
    let wanted = daemon.create_link(json!({"chatId": "447700900123"})).await;
    for _ in 0..21 {
        futures_util::future::join_all((0..50).map(|_| daemon.create_link(json!({"chatId": "447700900456"})))).await;
    }
    let path = format!("/api/otp/v2/{WAHA}/requests?phone_last=0123&limit=1");
    let first = daemon.get(&path).await;
    assert_eq!(first.data("requests"), &json!([]), "1,050 newer ones come first");
    let next = daemon.get(&format!("{path}&cursor={}", first.data("next_cursor").as_str().unwrap())).await;
    assert_eq!(next.data("requests")[0]["uuid"], json!(wanted.uuid));
    assert!(next.json["data"].get("next_cursor").is_none(), "{}", next.text);
    daemon.finish().await;
}

async fn cancel_ends_a_pending_request(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    let path = format!("/api/otp/v2/{WAHA}/requests/{}/cancel", link.uuid);
    for _ in 0..2 {
        let canceled = daemon.post(&path, json!({})).await;
        assert_eq!((canceled.status, canceled.data("status")), (200, &json!("canceled")));
    }
    daemon.send_message("447700900123", "C1", &link.text).await;
    daemon.settle().await;
    assert_eq!(daemon.status(&link.uuid).await, "canceled");
    let callbacks = world.receiver.wait_for(1).await;
    assert_eq!(callbacks[0].json()["type"], "link.canceled");
    assert_eq!(world.gateway.requests().len(), 1, "the person is informed of the end");
    let verified = daemon.create_link(json!({})).await;
    daemon.send_message("447700900123", "C2", &verified.text).await;
    let late = daemon.post(&format!("/api/otp/v2/{WAHA}/requests/{}/cancel", verified.uuid), json!({})).await;
    assert_eq!(late.data("status"), "verified");
    daemon.finish().await;
}

async fn requests_of_another_tenant_are_not_visible(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    let absent = "019aa000-0000-7000-8000-000000000000";
    let unknown_instance = "5f0c2a90-0000-4000-8000-0000000000ff";
    let mut answers = Vec::new();
    for (token, instance, uuid) in [
        (META_TOKEN, META, link.uuid.as_str()),
        (META_TOKEN, META, absent),
        (META_TOKEN, WAHA, link.uuid.as_str()),
        (META_TOKEN, unknown_instance, absent),
        (META_TOKEN, "not-a-uuid", absent),
        (META_TOKEN, META, "not-a-uuid"),
    ] {
        let answer = daemon.get_as(token, &format!("/api/otp/v2/{instance}/requests/{uuid}")).await;
        answers.push((answer.status, answer.text));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(answers[0].0, 404);
    for wrong in ["", "x", &TOKEN[1..], "sha256:00"] {
        let answer = daemon.get_as(wrong, &format!("/api/otp/v2/{WAHA}/requests")).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"));
    }
    let same_key = [("idempotency-key", "shared")];
    let ours = daemon.post_with(&generate(WAHA), json!({}), &same_key).await;
    let theirs = daemon
        .post_with(&generate(META), json!({}), &[same_key[0], ("authorization", &format!("Bearer {META_TOKEN}"))])
        .await;
    assert_ne!(ours.text_of("uuid"), theirs.text_of("uuid"));
    daemon.finish().await;
}

async fn the_mint_limit_is_enforced_and_reported(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines =
        "[instance.limits]\nmint_per_second = 1\nmint_burst = 3\ninstance_mint_per_second = 0\n".to_owned();
    let daemon = world.start().await;
    // The bucket also refills over time: on a busy machine the requests are repeated.
    let mut minted = loop {
        let start = Instant::now();
        let mut minted = Vec::new();
        for _ in 0..4 {
            minted.push(daemon.mint(json!({})).await);
        }
        if start.elapsed() < Duration::from_millis(800) {
            break minted;
        }
        daemon.advance_clock(Duration::from_secs(10)).await;
    };
    let refused = minted.pop().unwrap();
    for (minted, (left, reset)) in minted.iter().zip([(2, 1), (1, 2), (0, 1)]) {
        assert_eq!(minted.header("ratelimit"), format!("\"mint\";r={left};t={reset}"));
        assert_eq!(minted.header("ratelimit-policy"), "\"mint\";q=3;w=3");
    }
    assert_eq!((refused.status, &refused.json["code"]), (429, &json!("rate_limited")));
    assert_eq!(refused.header("retry-after"), "1");
    daemon.clock.advance(Duration::from_secs(1));
    assert_eq!(daemon.mint(json!({})).await.status, 200);
    daemon.finish().await;
}

async fn a_disabled_instance_finishes_pending_requests_and_accepts_no_new_ones(test_store: TestStore) {
    let mut world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    daemon.stop().await;
    world.instance_lines = "disabled = true\n".to_owned();
    let daemon = world.start().await;
    assert_eq!(daemon.mint(json!({})).await.json["code"], "instance_disabled");
    daemon.send_message("447700900123", "D1", &link.text).await;
    assert_eq!(daemon.status(&link.uuid).await, "verified");
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_faulty_field_is_named_at_once() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let answer = daemon
        .mint(json!({
            "chatId": "nobody", "expires": 59, "name": "see www.evil.example", "max_attempts": 0,
            "message": {"prompt": "<link>", "success": "Hi <nmae>", "failed": 5.5, "expired": ["x"]},
            "callback": {"success": "ftp://x", "failed": "https://u:p@x.example/", "expired": "https://x.example/#f"},
            "link": "https://evil.example/", "redirect_url": "https://app.example.org.evil.example/in",
            "challenge": "short", "completion": "anywhere", "purpose": "x".repeat(101), "metadata": "y".repeat(3000),
            "state": "z".repeat(513), "client_ip": "1.2.3",
        }))
        .await;
    assert_eq!((answer.status, &answer.json["success"]), (422, &json!(false)));
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let fields: Vec<&str> =
        answer.json["errors"].as_array().unwrap().iter().map(|fault| fault["field"].as_str().unwrap()).collect();
    for field in [
        "chatId",
        "expires",
        "name",
        "max_attempts",
        "message.prompt",
        "message.success",
        "message.expired",
        "callback.success",
        "callback.failed",
        "callback.expired",
        "link",
        "redirect_url",
        "challenge",
        "completion",
        "purpose",
        "metadata",
        "state",
        "client_ip",
    ] {
        assert!(fields.contains(&field), "{field} in {fields:?}");
    }
    assert!(answer.text.contains("character 4; did you mean <name>?"), "{}", answer.text);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_but_surprising_input_causes_warnings() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let answer = daemon
        .mint(json!({"nmae": "x", "lang": "tlh", "message": {"success": "Hi {nmae} {link}", "succes": "y"}}))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let warned: Vec<String> = answer
        .data("warnings")
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| format!("{}: {}", warning["code"].as_str().unwrap(), warning["detail"].as_str().unwrap()))
        .collect();
    for expected in [
        "unknown_field: nmae is not a field and was ignored; did you mean name?",
        "unknown_field: message.succes is not a field and was ignored; did you mean success?",
        "unknown_language: \"tlh\"",
        "unknown_placeholder: message.success: unknown placeholder {nmae}",
        "unbound_completion:",
        "unbound_redirect:",
    ] {
        assert!(warned.iter().any(|warning| warning.starts_with(expected)), "{expected} in {warned:#?}");
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_text_is_preserved_in_the_link() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    for (index, prompt) in
        ["a+b & c#d?e=f %41", "مرحبا بك ☕😀", "*bold* _x_ ~y~", "日本語 「括弧」", "quote \" ' < > \\"]
            .iter()
            .enumerate()
    {
        let answer = daemon.mint(json!({"message": {"prompt": prompt}, "lang": "ar"})).await;
        let url = url::Url::parse(&answer.text_of("whatsapp_link")).unwrap();
        let text = url.query_pairs().next().unwrap().1.into_owned();
        assert!(text.starts_with(prompt) && !answer.text_of("whatsapp_link").contains('+'), "{text}");
        daemon.send_message(&format!("4477009001{index:02}"), &format!("L{index}"), &text).await;
        assert_eq!(daemon.status(&answer.text_of("uuid")).await, "verified", "{prompt}");
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_response_is_a_problem_document() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let bearer = format!("Bearer {TOKEN}");
    let generate = generate(WAHA);
    let large = "x".repeat(64 * 1024 + 1);
    let deep = "[".repeat(60_000);
    let cases: [(&str, &str, &str, &str, u16); 17] = [
        ("DELETE", "/", "", "", 405),
        ("GET", "/nowhere/at/all", "", "", 404),
        ("GET", "/api/otp/v2/x/%ff", "", "", 404),
        ("DELETE", &generate, "application/json", "{}", 405),
        ("GET", &generate, "", "", 405),
        ("PUT", "/o/x", "", "", 405),
        ("DELETE", "/l/x", "", "", 405),
        ("POST", "/l/x", "", "", 404),
        ("POST", &generate, "application/json", "{", 400),
        ("POST", &generate, "application/json", "[]", 400),
        ("POST", &generate, "application/json", "{\"a\":1e999}", 400),
        ("POST", &generate, "application/json", &deep, 400),
        ("POST", &generate, "text/plain", "{}", 415),
        ("POST", &generate, "multipart/form-data", "a=b", 415),
        ("POST", &generate, "application/json", &large, 413),
        ("POST", "/webhooks/x", "application/json", "{}", 404),
        ("POST", "/api/otp/v2/x/redeem", "application/json", "{}", 404),
    ];
    for (method, path, media, body, status) in cases {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", daemon.base));
        request = request.header("authorization", &bearer);
        if !media.is_empty() {
            request = request.header("content-type", media);
        }
        let answer = daemon.send(request.body(body.as_bytes().to_vec()).unwrap()).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {path}");
        let known = countersign::http::problem::Code::ALL.iter().find(|code| answer.json["code"] == code.as_str());
        assert_eq!(known.map(|code| code.status()), Some(status), "{}", answer.text);
        assert_eq!(answer.json["status"], Value::from(status));
        assert!(!answer.header("x-request-id").is_empty());
        if status == 405 {
            assert!(!answer.header("allow").is_empty(), "{method} {path}");
        }
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_tokens_is_slowed_down_per_address() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(daemon.get_as("wrong", &format!("/api/otp/v2/{WAHA}/requests")).await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 30);
    assert_eq!(statuses.last(), Some(&429));
    assert_eq!(daemon.get(&format!("/api/otp/v2/{WAHA}/requests")).await.status, 200, "a right token is not limited");
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_requests_of_crawlers_consume_no_link() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    daemon.send_message("447700900123", "R1", &link.text).await;
    let reply = world.gateway.wait_for(1).await[0].json()["text"].as_str().unwrap().to_owned();
    let path = crate::login_flow::link_in(&reply);
    for agent in ["WhatsApp/2.23", "facebookexternalhit/1.1", "TelegramBot", "Mozilla/5.0"] {
        for method in ["GET", "HEAD"] {
            for _ in 0..25 {
                let request = http::Request::builder().method(method).uri(format!("{}{path}", daemon.base));
                let request = request.header("user-agent", agent).header("sec-purpose", "prefetch").body(Vec::new());
                assert_eq!(daemon.send(request.unwrap()).await.status, 200);
            }
        }
    }
    let field = crate::login_flow::form_field(&daemon.get(&path).await.text);
    let sent_from = async |name: &str, value: &str, field: &str| {
        let request = http::Request::post(format!("{}{path}", daemon.base)).header(name, value);
        daemon.send(request.body(format!("form={field}").into_bytes()).unwrap()).await
    };
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:2"),
    ] {
        let foreign = sent_from(name, value, &field).await;
        assert_eq!((foreign.status, &foreign.json["code"]), (403, &json!("cross_site")), "{name}: {value}");
    }
    for (name, value) in
        [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none"), ("origin", "http://127.0.0.1:1")]
    {
        assert_eq!(sent_from(name, value, "forged").await.status, 422, "{name}: {value}");
    }
    let other = if path.ends_with('A') { 'B' } else { 'A' };
    let tampered = format!("{}{other}", &path[..path.len() - 1]);
    assert!([404, 410].contains(&daemon.get(&tampered).await.status));
    assert_eq!(crate::login_flow::tap(&daemon, &path, &field).await.status, 303);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_are_only_on_the_operator_listener() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    daemon.create_link(json!({})).await;
    let operator = async |path: &str| {
        let request = http::Request::get(format!("{}{path}", daemon.operator)).body(Vec::new()).unwrap();
        daemon.send(request).await
    };
    assert_eq!(operator("/livez").await.status, 200);
    assert_eq!(operator("/readyz").await.status, 200);
    let metrics = operator("/metrics").await;
    let minted = format!("countersign_links_minted_total{{instance_id=\"{WAHA}\"}} 1\n");
    assert!(metrics.text.contains(&minted), "{}", metrics.text);
    let routes = metrics.text.lines().filter(|line| line.contains("route="));
    assert!(routes.clone().count() > 1 && routes.clone().all(|line| !line.contains(WAHA)), "route templates only");
    assert_eq!(daemon.get("/metrics").await.status, 404);
    daemon.finish().await;
}
