//! Mallory and Victor exchange what they received: links in replies, codes, pages.

use serde_json::json;

use super::{LOGIN_MODES, LoginMode, MALLORY, Scene, VICTOR, actors, verifier};
use crate::browser::{code_in, redeem, start_path};

/// Mallory begins and sends herself, and hands the link of the answer to Victor.
async fn plant(way: LoginMode) -> bool {
    let mut scene = Scene::new(way).await;
    let (mut mallory, mut victor) = actors();
    let minted = scene.begin(&mut mallory, MALLORY).await;
    let text = scene.send(MALLORY, &minted).await;
    scene.tap(&mut victor, &text).await;
    let broken = scene.is_compromised();
    scene.daemon.finish().await;
    broken
}

/// Victor begins and sends, and forwards the answer to Mallory, who knows his start page too.
async fn forward(way: LoginMode) -> bool {
    let mut scene = Scene::new(way).await;
    let (mut mallory, mut victor) = actors();
    let minted = scene.begin(&mut victor, VICTOR).await;
    let text = scene.send(VICTOR, &minted).await;
    scene.tap(&mut mallory, &text).await;
    scene.try_everything(&mut mallory, &minted).await;
    if let Some(code) = code_in(&text) {
        let answer = mallory.browser.type_code(&scene.daemon, &start_path(&minted), &code).await;
        scene.app.handle_return(&scene.daemon, way, MALLORY, &answer).await;
        let body = json!({"uuid": minted.text_of("uuid"), "code": code, "verifier": verifier(MALLORY)});
        assert_ne!(redeem(&scene.daemon, body).await.status, 200);
    }
    let broken = scene.is_compromised();
    scene.daemon.finish().await;
    broken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_link_works_only_in_modes_without_binding() {
    for way in LOGIN_MODES {
        assert_eq!(plant(*way).await, !way.binds, "planted in {}", way.name);
        assert_eq!(forward(*way).await, !way.binds, "forwarded in {}", way.name);
    }
}

/// Victor begins, and Mallory, who has photographed his QR code, sends the message first. If `passes_on`, Victor uses
/// the reply that she got.
async fn intercept(way: LoginMode, passes_on: bool) -> bool {
    let mut scene = Scene::new(way).await;
    let (_, mut victor) = actors();
    let minted = scene.begin(&mut victor, VICTOR).await;
    let text = scene.send(MALLORY, &minted).await;
    if passes_on {
        scene.tap(&mut victor, &text).await;
        if let Some(code) = code_in(&text) {
            let answer = victor.browser.type_code(&scene.daemon, &start_path(&minted), &code).await;
            scene.app.handle_return(&scene.daemon, way, VICTOR, &answer).await;
        }
    }
    scene.try_everything(&mut victor, &minted).await;
    let broken = scene.is_compromised();
    scene.daemon.finish().await;
    broken
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intercepted_link_needs_the_victims_help_and_no_stated_number() {
    for way in LOGIN_MODES {
        assert!(!intercept(*way, false).await, "intercepted in {}", way.name);
        assert_eq!(intercept(*way, true).await, !way.states, "intercepted and passed on in {}", way.name);
    }
}

/// Knowing the address of an expired page does not help another browser.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_link_is_not_renewed_for_another_browser() {
    for way in LOGIN_MODES.iter().filter(|way| way.tap.is_some()) {
        let scene = Scene::new(*way).await;
        let (mut mallory, mut victor) = actors();
        let minted = scene.begin(&mut victor, VICTOR).await;
        scene.daemon.advance(std::time::Duration::from_secs(1801)).await;
        let page = start_path(&minted);
        let renew = [("do", "renew")];
        let refused = mallory.browser.submit(&scene.daemon, &page, &page, &renew).await;
        assert_eq!(refused.header("location"), page, "{}", way.name);
        let renewed = victor.browser.submit(&scene.daemon, &page, &page, &renew).await;
        assert!(renewed.status == 303 && renewed.header("location") != page, "{}", way.name);
        scene.daemon.finish().await;
    }
}
