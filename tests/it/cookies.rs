//! Cookies that other hosts of the domain have set do not affect a login.

use serde_json::json;

use crate::{
    browser::{Browser, field, redirect_parameters, reply, start_path},
    daemon::{TestStore, World},
    login_flow::link_in,
};

/// A whole login by a browser that sends the cookies that `others` makes from its own.
async fn login(others: impl Fn(&str) -> String) {
    let mut world = World::new(TestStore::directory());
    world.public_url = "https://wa.example.org".to_owned();
    let daemon = world.start().await;
    let minted = daemon.mint(json!({"state": "s"})).await;
    let page = start_path(&minted);
    let mut browser = Browser::default();
    browser.get(&daemon, &page).await;
    let own = browser.cookie.clone().unwrap();
    let tapped = field(&browser.get(&daemon, &page).await.text);
    browser.post(&daemon, &page, &[("form", &tapped), ("place", "here")]).await;

    browser.cookie = Some(others(&own));
    let cookies = browser.cookie.clone().unwrap();
    assert_eq!(browser.get(&daemon, &page).await.header("set-cookie"), "", "{cookies}");
    daemon.send_message("447700900123", "K1", &minted.text_of("text")).await;
    let link = link_in(&reply(&world, 1).await);
    assert_eq!(browser.stage(&daemon, &page).await, "link", "{cookies}");
    let went = browser.submit_link(&daemon, &link).await;
    assert!(redirect_parameters(&went).is_some(), "{cookies}: {} {}", went.status, went.text);
    let fresh = start_path(&daemon.mint(json!({})).await);
    assert_eq!(browser.tap(&daemon, &fresh, "here").await.status, 200, "{cookies}");
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn non_ascii_cookies_do_not_hide_ours() {
    login(|own| format!("name=Jürgen; {own}; x=\u{fffd}ü")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_cookies_do_not_hide_ours() {
    login(|own| format!("{}{own}; {}", "session=abcdefghijklmnopqrstuvwx; ".repeat(50), "y=z; ".repeat(50))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn similar_names_and_other_values_are_skipped() {
    let alike = "A".repeat(22);
    login(|own| format!("__host-cs={alike}; \u{2000}__Host-cs={alike}; __Host-cs={alike}; __Host-cs=x; {own}")).await;
}
