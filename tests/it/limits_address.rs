//! Rate limits per client address: on every public page and for wrong tokens, never for webhooks; shared over the
//! store.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use countersign::{
    domain::token::TokenKind,
    http::{ROUTES, route::Access},
};
use http::Request;
use serde_json::json;

use crate::{
    daemon::{Daemon, META, ReceivedResponse, TOKEN, TestStore, WAHA, World},
    limits::{assert_limited, limit_header, limit_headers},
    login_flow::on_both_stores,
    process::Process,
    redis_server,
    wait::{until, until_or},
};

on_both_stores! {
    every_public_page_is_limited_by_address
    taps_and_page_views_have_separate_limits
    many_users_behind_one_address_are_not_limited
    wrong_tokens_are_counted_by_address
    webhooks_are_never_limited_by_address
    refused_addresses_are_cached
}

const PROXIED: &str = "trusted_proxies = [\"127.0.0.0/8\"]\n";

async fn ask(daemon: &Daemon, method: &str, path: &str, from: &str, headers: &[(&str, &str)]) -> ReceivedResponse {
    let mut request = Request::builder().method(method).uri(format!("{}{path}", daemon.base));
    request = request.header("x-forwarded-for", from);
    if method == "POST" {
        request = request.header("content-type", "application/x-www-form-urlencoded");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    daemon.send(request.body(Vec::new()).unwrap()).await
}

async fn start_page(daemon: &Daemon) -> String {
    let start = daemon.mint(json!({})).await.text_of("start_url");
    url::Url::parse(&start).unwrap().path().to_owned()
}

async fn every_public_page_is_limited_by_address(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.top_level_lines = format!("{PROXIED}[limits]\npages_per_minute = 1\n");
    let daemon = world.start().await;
    let start = start_page(&daemon).await;
    let looked_at = |access: Access| {
        let entries = ROUTES.iter().filter(move |entry| entry.access == access && entry.methods.contains("GET"));
        entries.map(|entry| entry.path.to_owned())
    };
    let files: Vec<String> = looked_at(Access::Public).map(|path| path.replace("{guide}", "limits")).collect();
    let below = looked_at(Access::LinkToken(TokenKind::Handle)).map(|path| path.replace("/l/{handle}", &start));
    let below = below.map(|path| path.replace("/events", "/events?now=1"));
    let spelt_otherwise = start.replace("/l/", "/%6C/");
    let below: Vec<String> = below.chain([spelt_otherwise]).collect();
    assert!(files.len() > 5 && below.len() > 3, "{files:?} {below:?}");
    let groups = [files, below];
    for (index, (pages, page)) in
        groups.iter().flat_map(|pages| pages.iter().map(move |page| (pages, page))).enumerate()
    {
        let visitor = format!("203.0.113.{index}");
        let first = ask(&daemon, "GET", page, &visitor, &[]).await;
        assert_ne!(first.status, 429, "{page}");
        assert_eq!(first.header("ratelimit-policy"), "\"pages\";q=1;w=60", "{page}");
        assert_eq!(first.header("ratelimit"), "\"pages\";r=0;t=60", "{page}");
        for one in pages {
            assert_limited(&ask(&daemon, "GET", one, &visitor, &[]).await, "pages");
        }
    }
    assert_eq!(ask(&daemon, "GET", &start, "203.0.113.0", &[]).await.status, 200, "a link is counted by itself");
    for path in [start.clone(), format!("{start}/code")] {
        assert_limited(&ask(&daemon, "POST", &path, "203.0.113.0", &[]).await, "pages");
    }
    assert_eq!(ask(&daemon, "HEAD", "/docs", "203.0.113.0", &[]).await.status, 429);

    let html = ask(&daemon, "GET", &start, "203.0.113.0", &[("accept", "text/html")]).await;
    assert_eq!((html.status, html.header("content-type")), (429, "text/html; charset=utf-8"), "people read a page");
    assert!(
        html.text.contains("icon clock")
            && html.text.contains(&format!("href=\"{start}\""))
            && !html.header("retry-after").is_empty()
    );

    // The /64 of an IPv6 address counts as one address.
    assert_eq!(ask(&daemon, "GET", "/docs", "2001:db8:1:2::1", &[]).await.status, 200);
    assert_limited(&ask(&daemon, "GET", "/docs", "[2001:db8:1:2:ffff::2]:4711", &[]).await, "pages");
    assert_eq!(ask(&daemon, "GET", "/docs", "2001:db8:1:3::1", &[]).await.status, 200);
    // Only the entry that the proxy itself added counts.
    assert_limited(&ask(&daemon, "GET", "/docs", "198.51.100.77, 203.0.113.0", &[]).await, "pages");
    // Requests with a valid token are not limited by address.
    let bearer = [("authorization", &*format!("Bearer {TOKEN}"))];
    let listed = ask(&daemon, "GET", &format!("/api/otp/v2/{WAHA}/requests"), "203.0.113.0", &bearer).await;
    assert_eq!((listed.status, limit_headers(&listed).len()), (200, 0));
    daemon.finish().await;
}

async fn taps_and_page_views_have_separate_limits(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.top_level_lines = format!("{PROXIED}[limits]\npages_per_minute = 40\ntaps_per_minute = 2\n");
    let daemon = world.start().await;
    let start = start_page(&daemon).await;
    let taps = [start.clone(), format!("{start}/code")];
    for (tap, left) in taps.iter().zip([1, 0]) {
        let tapped = ask(&daemon, "POST", tap, "203.0.113.1", &[]).await;
        assert_eq!(tapped.status, 422, "{}", tapped.text);
        assert_eq!(tapped.header("ratelimit-policy"), "\"pages\";q=40;w=60, \"taps\";q=2;w=60");
        assert_eq!(limit_header(&tapped, "taps").left, left);
    }
    for path in [start.clone(), format!("{start}/code")] {
        assert_limited(&ask(&daemon, "POST", &path, "203.0.113.1", &[]).await, "taps");
    }
    assert_eq!(ask(&daemon, "GET", &start, "203.0.113.1", &[]).await.status, 200, "GET is not limited");
    let fresh = start_page(&daemon).await;
    assert_eq!(ask(&daemon, "POST", &fresh, "203.0.113.1", &[]).await.status, 422, "another link is free");
    assert_eq!(ask(&daemon, "POST", &start, "203.0.113.2", &[]).await.status, 422, "another address is free");
    daemon.finish().await;
}

/// Each user scans with a phone: the page taps by itself, and the code is typed. Meanwhile another client sends forged
/// links.
async fn many_users_behind_one_address_are_not_limited(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.top_level_lines = PROXIED.to_owned();
    let daemon = world.start().await;
    let looked = || {
        let text = daemon.services.env.metrics.render();
        let operations = ["load", "find", "admit"]
            .map(|name| format!("countersign_store_request_seconds_count{{operation=\"{name}\"}} "));
        let count = |line: &str| operations.iter().find_map(|name| line.strip_prefix(name)?.parse::<f64>().ok());
        text.lines().filter_map(count).sum::<f64>()
    };
    for login in 0..500 {
        let start = start_page(&daemon).await;
        for (method, path) in [
            ("GET", start.clone()),
            ("POST", start.clone()),
            ("GET", format!("{start}/events?now")),
            ("POST", format!("{start}/code")),
        ] {
            let answer = ask(&daemon, method, &path, "203.0.113.1", &[]).await;
            assert_ne!(answer.status, 429, "login {login}: {method} {path}");
        }
        if login % 5 == 0 {
            let last = if start.ends_with('A') { 'B' } else { 'A' };
            let other_place = if start[20..].starts_with('A') { "B" } else { "A" };
            let forged = [
                format!("{}{other_place}{}", &start[..20], &start[21..]),
                start.replace("/l/", "/o/"),
                "/l/x".to_owned(),
                format!("/o/{last}"),
            ];
            for path in forged {
                for method in ["GET", "POST"] {
                    let before = looked();
                    let answer = ask(&daemon, method, &path, "203.0.113.1", &[]).await;
                    assert!([404, 410].contains(&answer.status), "{method} {path}: {}", answer.text);
                    assert!((looked() - before).abs() < 0.5, "{method} {path} was looked for in the store");
                }
            }
        }
    }
    daemon.finish().await;
}

async fn wrong_tokens_are_counted_by_address(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.top_level_lines = format!("{PROXIED}[limits]\nwrong_tokens_per_minute = 2\n");
    let daemon = world.start().await;
    let uuid = daemon.create_link(json!({})).await.uuid;
    let list = format!("/api/otp/v2/{WAHA}/requests");
    let wrong = [("authorization", "Bearer wrong")];
    let first = ask(&daemon, "GET", &list, "203.0.113.1", &wrong).await;
    assert_eq!((first.status, first.header("ratelimit-policy")), (401, "\"authentication\";q=2;w=60"));
    assert_eq!(first.header("ratelimit"), "\"authentication\";r=1;t=30");
    let wawp = format!("/v2/auth/otp/send?instance_id={WAHA}&access_token=wrong&chatId=447700900123");
    assert_eq!(ask(&daemon, "GET", &wawp, "203.0.113.1", &[]).await.status, 401);
    let events = format!("/api/otp/v2/{WAHA}/requests/{uuid}/events?wait=0");
    for (method, path) in
        [("GET", list.clone()), ("GET", wawp), ("GET", events), ("POST", format!("/api/otp/v2/{META}/redeem"))]
    {
        assert_limited(&ask(&daemon, method, &path, "203.0.113.1", &wrong).await, "authentication");
    }
    let right = [("authorization", &*format!("Bearer {TOKEN}"))];
    let served = ask(&daemon, "GET", &list, "203.0.113.1", &right).await;
    assert_eq!((served.status, limit_headers(&served).len()), (200, 0), "a right token is never limited by address");
    assert_eq!(ask(&daemon, "GET", &list, "203.0.113.2", &wrong).await.status, 401, "another address is free");
    daemon.finish().await;
}

async fn webhooks_are_never_limited_by_address(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.top_level_lines =
        "[limits]\npages_per_minute = 1\ntaps_per_minute = 1\nwrong_tokens_per_minute = 1\n".to_owned();
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    for path in ["/docs", "/docs"] {
        daemon.get(path).await;
    }
    for _ in 0..2 {
        daemon.get_as("wrong", &format!("/api/otp/v2/{WAHA}/requests")).await;
    }
    assert_eq!(daemon.get("/docs").await.status, 429, "the limits of this address are used up");
    for round in 0..40 {
        let response = daemon.send_message("447700900123", &format!("W{round}"), "good morning").await;
        assert_eq!((response.status, limit_headers(&response).len()), (200, 0));
        let forged = daemon.post(&format!("/webhooks/{META}"), json!({})).await;
        assert_eq!((forged.status, limit_headers(&forged).len()), (401, 0), "a forged webhook gets no headers either");
    }
    daemon.send_message("447700900123", "W99", &link.text).await;
    assert_eq!(daemon.status(&link.uuid).await, "verified");
    daemon.finish().await;
}

/// Refused addresses are cached, so that a flood causes few accesses to the store.
async fn refused_addresses_are_cached(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.top_level_lines = "[limits]\npages_per_minute = 1\nwrong_tokens_per_minute = 1\n".to_owned();
    let daemon = world.start().await;
    let asked = async || {
        let text =
            daemon.send(Request::get(format!("{}/metrics", daemon.operator)).body(Vec::new()).unwrap()).await.text;
        let line = "countersign_store_request_seconds_count{operation=\"admit\"} ";
        let count = |prefix: &str| text.lines().find_map(|l| l.strip_prefix(prefix)?.parse::<f64>().ok());
        (count(line).unwrap_or(0.0), count("countersign_limited_total{limit=\"pages\"} ").unwrap_or(0.0))
    };
    let (before, _) = asked().await;
    for round in 0..200 {
        let answer = daemon.get("/llms.txt").await;
        assert_eq!(answer.status, if round == 0 { 200 } else { 429 });
        if round > 0 {
            assert_limited(&answer, "pages");
        }
    }
    let (after, limited) = asked().await;
    assert!(after - before < 100.0, "{} questions to the store", after - before);
    assert!((limited - 199.0).abs() < f64::EPSILON, "each is counted: {limited}");
    daemon.finish().await;
}

/// Without the store, paths that do not need it are served nearly as fast.
#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_store_is_retried_occasionally() {
    let server = Arc::new(redis_server::start());
    let world = World::new(TestStore::Redis(Arc::clone(&server)));
    let daemon = world.start().await;
    let asked = || {
        let text = daemon.services.env.metrics.render();
        let line = "countersign_store_request_seconds_count{operation=\"admit\"} ";
        text.lines().find_map(|l| l.strip_prefix(line)?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    assert_eq!(daemon.get("/llms.txt").await.status, 200);
    server.signal("-STOP");
    let (before, start) = (asked(), Instant::now());
    for _ in 0..60 {
        let answer = daemon.get("/llms.txt").await;
        assert_eq!((answer.status, limit_headers(&answer).len()), (200, 0));
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    server.signal("-CONT");
    assert!(asked() - before < 30.0, "{}", asked() - before);
    until("it counts again", async || !limit_headers(&daemon.get("/llms.txt").await).is_empty()).await;
    daemon.finish().await;
}

/// Proxy headers are ignored unless the peer is a trusted proxy.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_from_an_untrusted_peer_is_ignored() {
    let mut world = World::new(TestStore::directory());
    world.top_level_lines = "[limits]\npages_per_minute = 1\n".to_owned();
    let daemon = world.start().await;
    assert_eq!(ask(&daemon, "GET", "/docs", "203.0.113.1", &[]).await.status, 200);
    for index in 2..10 {
        let forwarded = [("forwarded", "for=198.51.100.1"), ("x-real-ip", "198.51.100.2")];
        assert_limited(&ask(&daemon, "GET", "/docs", &format!("203.0.113.{index}"), &forwarded).await, "pages");
    }
    daemon.finish().await;
}

/// Takes effect without a restart, also for addresses that were just refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_applies_limits_and_proxies() {
    let mut world = World::new(TestStore::directory());
    world.top_level_lines = "[limits]\npages_per_minute = 1\n".to_owned();
    let process = Process::start(&world).await;
    let look = async |from: &str| -> ReceivedResponse {
        let request = Request::get(format!("{}/docs", process.base)).header("x-forwarded-for", from);
        process.client.send(request.body(Vec::new()).unwrap()).await.unwrap().into()
    };
    assert_eq!(look("203.0.113.1").await.status, 200);
    assert_limited(&look("203.0.113.2").await, "pages");
    let text = std::fs::read_to_string(process.config.path()).unwrap();
    std::fs::write(process.config.path(), text.replace("[limits]", &format!("{PROXIED}[limits]"))).unwrap();
    process.signal("-HUP");
    let otherwise = || format!("the proxy is believed: {}", process.output());
    until_or(otherwise, async || look("203.0.113.3").await.status == 200).await;
    assert_limited(&look("203.0.113.3").await, "pages");
    std::fs::write(process.config.path(), text.replace("pages_per_minute = 1", "pages_per_minute = 0")).unwrap();
    process.signal("-HUP");
    let otherwise = || format!("the limit is gone: {}", process.output());
    until_or(otherwise, async || look("203.0.113.3").await.status == 200).await;
    assert!(!look("203.0.113.3").await.headers.contains_key("ratelimit"));
}
