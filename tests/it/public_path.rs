//! Paths as they arrive: below the path of `public_url` or without it, with further slashes, and wrong.

use serde_json::json;

use crate::{
    browser::{Browser, reply},
    daemon::{TestStore, WAHA, World, message, signed_waha},
    login_flow::link_in,
    process::Process,
    wait::until,
};

const PREFIX: &str = "/a/otp";

/// The whole login in a browser. `passes`: whether the proxy passes the prefix on.
async fn log_in(passes: bool) {
    let mut world = World::new(TestStore::directory());
    world.public_url = format!("http://127.0.0.1:1{PREFIX}/");
    let daemon = world.start().await;
    let path = |url: &str| {
        let path = url.strip_prefix("http://127.0.0.1:1").unwrap_or(url);
        let rest = path.strip_prefix(PREFIX).unwrap_or_else(|| panic!("{url} is not below the path"));
        if passes { path.to_owned() } else { rest.to_owned() }
    };
    let minted = daemon.post(&path(&format!("{PREFIX}/api/otp/v2/{WAHA}/generate-link")), json!({})).await;
    let start = path(&minted.text_of("start_url"));
    let mut browser = Browser::default();
    let page = browser.get(&daemon, &start).await.text;
    assert!(page.contains(&format!("data-path=\"{PREFIX}/l/")), "{page}");
    assert_eq!(browser.tap(&daemon, &start, "here").await.status, 200);
    assert_eq!(daemon.get(&format!("{start}/qr.svg")).await.status, 200);
    assert_eq!(daemon.send_message("447700900123", "m1", &minted.text_of("text")).await.status, 200);
    let reply_text = reply(&world, 1).await;
    assert!(reply_text.contains(&format!("http://127.0.0.1:1{PREFIX}/o/")), "{reply_text}");
    let link = link_in(&reply_text);
    let link = if passes { format!("{PREFIX}{link}") } else { link };
    let done = browser.submit_link(&daemon, &link).await;
    assert_eq!(done.status, 303, "{}", done.text);
    assert!(done.header("location").starts_with("https://app.example.org/in?uuid="), "{:?}", done.headers);
    assert_eq!(daemon.get(&path(&format!("{PREFIX}/docs"))).await.status, 200);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_may_pass_the_prefix_on() {
    log_in(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_may_remove_the_prefix() {
    log_in(false).await;
}

/// People end a URL with a slash, and programs append their own path to that slash.
#[tokio::test(flavor = "multi_thread")]
async fn further_slashes_do_not_matter() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    for (index, (before, after)) in [("", "/"), ("/", ""), ("//", "//")].into_iter().enumerate() {
        let link = daemon.create_link(json!({})).await;
        let number = format!("44770090012{index}");
        let body = message(&number, &format!("m{index}"), &link.text, daemon.clock.wall().as_second());
        let (mut parts, body) = signed_waha(&daemon.base, &body).into_parts();
        parts.uri = format!("{}{before}/webhooks/{WAHA}{after}", daemon.base).parse().unwrap();
        assert_eq!(daemon.send(http::Request::from_parts(parts, body)).await.status, 200);
        assert_eq!(daemon.status(&link.uuid).await, "verified", "{before}…{after}");
    }
    assert_eq!(daemon.get("//docs/").await.status, 200);
    daemon.finish().await;
}

/// WhatsApp makes a mark that follows a link part of what is tapped.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_with_a_mark_behind_it_finishes_the_login() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let minted = daemon.post(&format!("/api/otp/v2/{WAHA}/generate-link"), json!({})).await;
    let start = minted.text_of("start_url").replacen("http://127.0.0.1:1", "", 1);
    let mut browser = Browser::default();
    assert_eq!(browser.tap(&daemon, &start, "here").await.status, 200);
    assert_eq!(daemon.send_message("447700900123", "m1", &minted.text_of("text")).await.status, 200);
    let link = link_in(&reply(&world, 1).await);
    let done = browser.submit_link(&daemon, &format!("{link}*")).await;
    assert_eq!(done.status, 303, "{}", done.text);
    assert!(done.header("location").starts_with("https://app.example.org/in?uuid="), "{:?}", done.headers);
    assert_eq!(daemon.get(&format!("{link}x")).await.status, 410, "another token");
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_at_a_wrong_path_is_warned_of_once_with_the_right_url() {
    let world = World::new(TestStore::directory());
    let process = Process::start(&world).await;
    for path in [format!("/webhook/{WAHA}"), format!("/api/webhooks/{WAHA}"), format!("/{WAHA}")] {
        let request = http::Request::post(format!("{}{path}", process.base)).body(b"{}".to_vec()).unwrap();
        assert_eq!(process.client.send(request).await.unwrap().status(), 404, "{path}");
    }
    let right = format!("http://127.0.0.1:1/webhooks/{WAHA}");
    until("the warning is logged", async || process.output().contains(&right)).await;
    let (_, _, written) = process.terminate();
    assert_eq!(written.matches(&right).count(), 1, "{written}");
}
