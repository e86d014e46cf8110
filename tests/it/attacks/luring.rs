//! Mallory begins and lures Victor into pressing Send, with whatever words she likes.

use serde_json::json;

use super::{LOGIN_MODES, LoginMode, Scene, VICTOR, actors};
use crate::{
    browser::{Browser, dispute_in, redeem, redirect_parameters, reply, start_path},
    daemon::{TestStore, World},
};

/// Mallory begins and lures Victor into sending. She waits; he presses what he finds in his chat.
async fn lure(way: LoginMode) -> bool {
    let mut scene = Scene::new(way).await;
    let (mut mallory, mut victor) = actors();
    let minted = scene.begin(&mut mallory, VICTOR).await;
    let text = scene.send(VICTOR, &minted).await;
    scene.try_everything(&mut mallory, &minted).await;
    scene.tap(&mut victor, &text).await;
    scene.try_everything(&mut mallory, &minted).await;
    let broken = scene.is_compromised();
    scene.daemon.finish().await;
    broken
}

#[tokio::test(flavor = "multi_thread")]
async fn luring_a_victim_into_sending_gives_no_access() {
    for way in LOGIN_MODES {
        assert!(!lure(*way).await, "lured in {}", way.name);
    }
}

/// "Free vouchers! Just press Send" changes the text, so Victor does not see what he agrees to: the app is informed,
/// and where the message alone counts, it is rejected.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_message_text_is_reported_or_rejected() {
    for way in LOGIN_MODES {
        let scene = Scene::new(*way).await;
        let (mut mallory, _) = actors();
        let minted = scene.begin(&mut mallory, VICTOR).await;
        let text = format!("Free voucher, please! [{}]", minted.text_of("code"));
        scene.daemon.send_message(VICTOR, "W1", &text).await;
        let said = reply(&scene.world, 1).await;
        if way.name == "prove_phone" {
            assert!(said.contains(&minted.text_of("whatsapp_link")), "{said}");
            let page = start_path(&minted);
            let answer = mallory.browser.submit(&scene.daemon, &page, &page, &[("do", "finish")]).await;
            assert_eq!(redirect_parameters(&answer), None, "{}", answer.text);
        } else {
            let callback = scene.world.receiver.wait_for(1).await[0].json();
            assert_eq!(callback["data"]["text_changed"], true, "{}", way.name);
        }
        scene.daemon.finish().await;
    }
}

/// The reply to Mallory's login says what it is for, and one tap ends it: before she continues, while her token is valid,
/// and after the app has redeemed it, which `link.disputed` then says.
#[tokio::test(flavor = "multi_thread")]
async fn the_victim_can_dispute_at_any_time() {
    let mut world = World::new(TestStore::directory());
    world.instance_lines = super::MODES.to_owned();
    let daemon = world.start().await;
    let body = json!({"completion": "prove_phone", "chatId": VICTOR, "purpose": "Pay 9,000 EUR"});
    for (round, reached) in ["offered", "released", "redeemed"].into_iter().enumerate() {
        let minted = daemon.mint(body.clone()).await;
        let (page, mut mallory) = (start_path(&minted), Browser::default());
        mallory.tap(&daemon, &page, "here").await;
        daemon.send_message(VICTOR, &format!("S{round}"), &minted.text_of("text")).await;
        let said = reply(&world, round + 1).await;
        assert!(said.contains("Pay 9,000 EUR"), "{said}");
        let finish = [("do", "finish")];
        let mut token = None;
        if reached != "offered" {
            token = redirect_parameters(&mallory.submit(&daemon, &page, &page, &finish).await)
                .map(|query| query["token"].clone());
        }
        if reached == "redeemed" {
            assert_eq!(redeem(&daemon, json!({"token": token})).await.status, 200);
        }
        let dispute = dispute_in(&said);
        let disputed = Browser::default().submit_link(&daemon, &dispute).await.text;
        assert!(disputed.contains("icon shield"), "{disputed}");
        daemon.settle().await;
        let callback = world.receiver.requests().pop().unwrap().json();
        assert_eq!((&callback["type"], &callback["data"]["after"]), (&json!("link.disputed"), &json!(reached)));
        assert_eq!(redirect_parameters(&mallory.submit(&daemon, &page, &page, &finish).await), None);
        if let Some(token) = token {
            assert_ne!(redeem(&daemon, json!({"token": token})).await.status, 200);
        }
    }
    daemon.finish().await;
}

/// Known ways around an allow-list, for an entry `https://app.example.org/in`.
fn url_variants() -> Vec<String> {
    let hosts = [
        "evil.example",
        "app.example.org.evil.example",
        "app.example.org%2eevil.example",
        "evil.example%2f.app.example.org",
        "app.example.org@evil.example",
        "app.example.org:443@evil.example",
        "evil.example#app.example.org",
        "evil.example?app.example.org",
        "evil.example\\app.example.org",
        "app.example.org%40evil.example",
        "xn--app-example-org.evil.example",
        "app.example.org\u{3002}evil.example",
        "app\u{ff0e}example\u{ff0e}org.evil.example",
        "\u{ff41}pp.example.org.evil.example",
        "[::1]",
        "127.0.0.1",
        "0x7f000001",
        "app.example.org:8443",
        "app.example.org.",
        "app-example.org",
        "example.org",
        "sub.app.example.org",
        "app.example.org%00.evil.example",
        "app.example.orgevil.example",
    ];
    let openings = ["https://", "http://", "//", "https:/", "https:", "///", "/\\", "\\\\"];
    let mut all: Vec<String> =
        openings.iter().flat_map(|opening| hosts.iter().map(move |host| format!("{opening}{host}/in"))).collect();
    let paths = [
        "/",
        "/inside",
        "/i",
        "/In",
        "/in/../out",
        "/in/..",
        "/in/./../out",
        "/in/%2e%2e/out",
        "/in/%2E%2E%2Fout",
        "/in/..%2fout",
        "/in/..%5cout",
        "/in/%252e%252e%2fout",
        "/in\\..\\out",
        "/in%00",
        "/in/%0d%0aLocation:x",
        "//in",
        "/%69n/../x",
        "/in%2f..%2fx",
        "/in/",
        "/in/a",
        "/in;x",
        "/in/..;/x",
        "/in/..;a=b/x",
        "/in%3bx",
        "/apps/../x",
        "/apps/..;/x",
        "/apps/..%3b/x",
        "/apps/%2e%2e;/x",
        "/apps/a;b/x",
        "/apps//evil.example",
        "/apps/%252e%252e/x",
        "/in?token=x",
        "/in?a=b&STATE=x",
        "/in?%75uid=x",
        "/in?token[]=x",
        "/in?a;token=x",
        "/apps/?iss=https://evil.example",
    ];
    all.extend(paths.iter().map(|path| format!("https://app.example.org{path}")));
    all.extend(
        [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "ftp://app.example.org/in",
            "https://user@app.example.org/in",
            "https://user:pw@app.example.org/in",
            "https://@app.example.org/in",
            " https://app.example.org/in",
            "https://app.example.org/in\n",
            "\thttps://app.example.org/in",
            "https://app.example.org/in\r\nX: y",
            "ht\ttps://app.example.org/in",
            "https://app.exa\u{200b}mple.org/in",
            "https\u{ff1a}//app.example.org/in",
            "blob:https://app.example.org/in",
            "view-source:https://app.example.org/in",
            "intent://app.example.org/in#Intent;end",
            "whatsapp://send?text=x",
        ]
        .map(str::to_owned),
    );
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_url_variant_passes_the_redirect_allow_list() {
    let mut world = World::new(TestStore::directory());
    world.redirects = "[\"https://app.example.org/in\", \"https://app.example.org/apps/\"]".to_owned();
    let daemon = world.start().await;
    let detours = url_variants();
    assert!(detours.len() >= 200, "{}", detours.len());
    let mut accepted = Vec::new();
    for detour in &detours {
        for field in ["redirect_url", "link"] {
            let answer = daemon.mint(json!({ field: detour })).await;
            if answer.status != 422 || answer.json["errors"][0]["field"] != field {
                accepted.push((field, detour));
            }
        }
    }
    assert_eq!(accepted, []);
    for good in [
        "https://app.example.org/in",
        "https://app.example.org/in?b=%2F",
        "https://app.example.org/apps/a/b?c#d",
        "HTTPS://APP.example.org:443/in",
    ] {
        assert_eq!(daemon.mint(json!({ "redirect_url": good })).await.status, 200, "{good}");
    }
    daemon.finish().await;
}
