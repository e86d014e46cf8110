//! Mallory's false page stands between Victor and the app, in real time: she begins at the app, shows Victor her link
//! or QR code, and asks him for the code in the reply. Victor mistakes her page for the app's and types it there.

use super::{LOGIN_MODES, LoginMode, MALLORY, Participant, Scene, VICTOR, actors, verifier};
use crate::{
    browser::{code_in, redeem, start_path},
    daemon::ReceivedResponse,
};
use serde_json::json;

/// The code that Victor finds in his chat, or behind the link in it.
async fn shown_code(scene: &Scene, victor: &mut Participant, said: &str) -> Option<String> {
    if !said.contains("/o/") {
        return code_in(said);
    }
    let link = crate::login_flow::link_in(said);
    for fields in [&[("elsewhere", "1")][..], &[][..]] {
        let answer = victor.browser.submit(&scene.daemon, &link, &link, fields).await;
        let answer = victor.browser.follow(&scene.daemon, answer).await;
        if let Some(shown) = answer.text.split("class=\"code\"").nth(1) {
            return code_in(shown);
        }
    }
    None
}

/// Mallory uses the code wherever it may count.
async fn try_code(scene: &mut Scene, mallory: &mut Participant, minted: &ReceivedResponse, code: &str) {
    let answer = mallory.browser.type_code(&scene.daemon, &start_path(minted), code).await;
    scene.app.handle_return(&scene.daemon, scene.way, MALLORY, &answer).await;
    let body = json!({"uuid": minted.text_of("uuid"), "code": code, "verifier": verifier(MALLORY)});
    let redeemed = redeem(&scene.daemon, body).await;
    if redeemed.status == 200 {
        scene.app.sessions.insert(MALLORY, VICTOR.to_owned());
    }
}

async fn relay(way: LoginMode) -> bool {
    let mut scene = Scene::new(way).await;
    let (mut mallory, mut victor) = actors();
    let minted = scene.begin(&mut mallory, VICTOR).await;
    let said = scene.send(VICTOR, &minted).await;
    if let Some(code) = shown_code(&scene, &mut victor, &said).await {
        try_code(&mut scene, &mut mallory, &minted, &code).await;
    }
    scene.try_everything(&mut mallory, &minted).await;
    let broken = scene.is_compromised();
    scene.daemon.finish().await;
    broken
}

/// The daemon cannot prevent that a person types a code into the wrong page. Without a code there is nothing to type.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_succeeds_only_in_modes_that_show_a_code() {
    for way in LOGIN_MODES {
        assert_eq!(relay(*way).await, way.shows_code, "relayed in {}", way.name);
    }
}
