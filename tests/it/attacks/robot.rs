//! Robots that open links before people do: previews, mail scanners, some with scripts.

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::{LOGIN_MODES, Scene, VICTOR, actors};
use crate::{
    browser::{Browser, code_in, dispute_in, redirect_parameters, reply, start_path},
    daemon::{TestStore, WAHA, World},
    login_flow::link_in,
};

#[tokio::test(flavor = "multi_thread")]
async fn get_requests_of_bots_consume_no_token() {
    const AGENTS: &[&str] = &[
        "WhatsApp/2.25.1 A",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "TelegramBot (like TwitterBot)",
        "Mozilla/5.0 (Windows NT 10.0) SafeLinks/1.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
    ];
    const HEADERS: &[(&str, &str)] = &[
        ("sec-purpose", "prefetch;prerender"),
        ("range", "bytes=0-99"),
        ("accept", "*/*"),
        ("sec-fetch-site", "cross-site"),
    ];
    let mut world = World::new(TestStore::directory());
    world.top_level_lines = "[limits]\npages_per_minute = 0\n".to_owned();
    let daemon = world.start().await;
    let minted = daemon.mint(json!({"state": "s"})).await;
    let (page, mut owner) = (start_path(&minted), Browser::default());
    owner.tap(&daemon, &page, "here").await;
    daemon.send_message(VICTOR, "R1", &minted.text_of("text")).await;
    let said = reply(&world, 1).await;
    let (link, dispute) = (link_in(&said), dispute_in(&said));
    let shown = async || daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{}", minted.text_of("uuid"))).await.text;
    let before = shown().await;
    let paths = [
        link.clone(),
        page.clone(),
        format!("{page}/go"),
        format!("{page}/qr.svg"),
        format!("{page}/events?now"),
        dispute.clone(),
    ];
    let fetches = stream::iter(0..10_000usize).map(|index| {
        let method = ["GET", "HEAD", "GET", "OPTIONS"][index % 4];
        let (name, value) = HEADERS[index / 4 % HEADERS.len()];
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{}", daemon.base, paths[index / 16 % paths.len()]))
            .header("user-agent", AGENTS[index / 96 % AGENTS.len()])
            .header(name, value);
        daemon.send(request.body(Vec::new()).unwrap())
    });
    let statuses: HashMap<u16, usize> = fetches
        .buffer_unordered(32)
        .fold(HashMap::new(), async |mut seen, answer| {
            *seen.entry(answer.status).or_default() += 1;
            seen
        })
        .await;
    assert!(statuses.keys().all(|status| [200, 303, 405].contains(status)), "{statuses:?}");
    assert!(statuses[&200] > 3_000, "{statuses:?}");
    assert_eq!(shown().await, before, "nothing has changed");
    let field = crate::browser::field(&owner.get(&daemon, &link).await.text);
    let fields = [("form", field.as_str())];
    assert!(redirect_parameters(&owner.post(&daemon, &link, &fields).await).is_some(), "one tap still works");
    let robot = Browser::default().post(&daemon, &link, &fields).await;
    assert_eq!(redirect_parameters(&robot), None, "{}: and only for its browser", robot.status);
    daemon.finish().await;
}

/// It opens the start page and runs its script, which taps by itself; then Victor comes, and presses.
#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_runs_scripts_does_not_decide_the_binding() {
    for way in LOGIN_MODES.iter().filter(|way| way.tap.is_some()) {
        for place in ["here", "qr"] {
            let mut scene = Scene::new(*way).await;
            let (mut robot, mut victor) = actors();
            let minted = scene.daemon.mint((way.body)(VICTOR)).await;
            assert_eq!(minted.status, 200, "{}", minted.text);
            let page = start_path(&minted);
            let gently = [("place", "qr"), ("auto", "1")];
            robot.browser.submit(&scene.daemon, &page, &page, &gently).await;
            victor.browser.tap(&scene.daemon, &page, place).await;
            robot.browser.submit(&scene.daemon, &page, &page, &gently).await;
            let said = scene.send(VICTOR, &minted).await;
            let stage = victor.browser.stage(&scene.daemon, &page).await;
            assert!(["link", "code", "finish"].contains(&stage.as_str()), "{}: {stage}", way.name);
            for (who, goes_on) in [(&mut robot, false), (&mut victor, true)] {
                let answer = match stage.as_str() {
                    "link" => who.browser.submit_link(&scene.daemon, &link_in(&said)).await,
                    "code" => who.browser.type_code(&scene.daemon, &page, &code_in(&said).unwrap()).await,
                    _ => who.browser.submit(&scene.daemon, &page, &page, &[("do", "finish")]).await,
                };
                // With a challenge any browser is redirected, and the verifier decides.
                let anyone = way.name.starts_with("challenge") && stage == "link";
                assert_eq!(
                    redirect_parameters(&answer).is_some(),
                    goes_on && !anyone || anyone && !goes_on,
                    "{}",
                    way.name
                );
            }
            scene.daemon.finish().await;
        }
    }
}
