//! Which browser may complete a login, in every mode and on both stores.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::hash::sha256;
use serde_json::{Value, json};

use crate::{
    browser::{Browser, code_in, field, redeem, redirect_parameters, reply, start_path},
    daemon::{META, META_TOKEN, TestStore, WAHA, World},
    login_flow::{link_in, on_both_stores},
};

on_both_stores! {
    a_bound_login_completes_only_in_its_browser
    after_a_qr_scan_the_reply_has_a_code_for_the_waiting_browser
    five_wrong_codes_end_the_completion
    the_last_tap_binds_until_the_message_matches
    an_app_completes_with_its_verifier_and_the_code
    prove_phone_completes_in_the_waiting_page
    an_expired_page_renews_its_link
    renewals_stay_within_the_apps_limit
    a_tap_of_a_person_replaces_the_binding_of_a_bot
}

const PHONE: &str = "447700900123";

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()))
}

async fn timeline(daemon: &crate::daemon::Daemon, uuid: &str) -> Vec<String> {
    let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{uuid}")).await;
    let entries = shown.data("timeline").as_array().unwrap().clone();
    let word = |entry: &Value| match entry["reason"].as_str() {
        Some(reason) => format!("{}: {reason}", entry["event"].as_str().unwrap()),
        None => entry["event"].as_str().unwrap().to_owned(),
    };
    entries.iter().map(word).collect()
}

async fn a_bound_login_completes_only_in_its_browser(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let minted = daemon.mint(json!({"state": "s"})).await;
    let (page, text) = (start_path(&minted), minted.text_of("text"));
    let (mut owner, mut other) = (Browser::default(), Browser::default());
    let shown = owner.tap(&daemon, &page, "here").await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    assert!(shown.text.contains("https://wa.me/447700900999?text="), "the answer shows the link");
    assert_eq!(owner.stage(&daemon, &page).await, "pending");
    daemon.send_message(PHONE, "B1", &text).await;
    let link = link_in(&reply(&world, 1).await);
    assert_eq!(
        world.receiver.wait_for(1).await[0].json()["data"]["completion"],
        json!({"mode": "same_browser", "state": "offered"})
    );
    assert_eq!(owner.stage(&daemon, &page).await, "link");

    let response = other.submit_link(&daemon, &link).await;
    assert_eq!((response.status, redirect_parameters(&response)), (200, None));
    let code = code_in(response.text.split("class=\"code\"").nth(1).unwrap()).unwrap();
    assert!(response.text.contains("Type it only on the page you opened yourself"), "{}", response.text);
    assert_eq!(other.type_code(&daemon, &page, &code).await.status, 422, "the code is for the browser that waits");
    assert_eq!(owner.stage(&daemon, &page).await, "code", "the waiting page shows the form for the code");
    let cookieless =
        Browser::default().post(&daemon, &link, &[("form", &field(&owner.get(&daemon, &link).await.text))]).await;
    assert_eq!(cookieless.status, 422, "the field is tied to the cookie");

    let landed = redirect_parameters(&owner.submit_link(&daemon, &link).await).expect("its own browser goes on");
    assert_eq!(landed["state"], "s");
    assert_eq!(owner.stage(&daemon, &page).await, "done");
    assert_eq!(redeem(&daemon, json!({"token": landed["token"]})).await.status, 200);
    let typed = owner.type_code(&daemon, &page, &code).await;
    assert_eq!((typed.status, typed.header("location")), (303, &*page), "one use, whichever way");
    let events = timeline(&daemon, &minted.text_of("uuid")).await;
    assert_eq!(events, ["created", "tapped (here)", "verified", "code shown: wrong_browser", "completed", "redeemed"]);
    daemon.finish().await;
}

async fn after_a_qr_scan_the_reply_has_a_code_for_the_waiting_browser(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let minted = daemon.mint(json!({"state": "s", "message": {"success": "Own text: <link>"}})).await;
    let page = start_path(&minted);
    let mut desk = Browser::default();
    assert!(desk.tap(&daemon, &page, "qr").await.text.contains("data:image/bmp;base64,"));
    daemon.send_message(PHONE, "Q1", &minted.text_of("text")).await;
    let text = reply(&world, 1).await;
    assert!(!text.contains("/o/"), "no link for a phone that only scanned: {text}");
    let code = code_in(&text).expect("a code");
    assert!(text.contains("Type it only on a page you opened yourself"), "{text}");
    assert_eq!(desk.stage(&daemon, &page).await, "code");
    assert_eq!(Browser::default().stage(&daemon, &page).await, "link", "others learn nothing");
    daemon.send_message(PHONE, "Q2", &minted.text_of("text")).await;
    assert!(reply(&world, 2).await.contains(&code), "a second message gets the same answer");

    let wrong = desk.type_code(&daemon, &page, "000000").await;
    assert_eq!((wrong.status, wrong.header("location")), (303, &*page));
    let shown = desk.get(&daemon, &page).await.text;
    assert!(shown.contains("Tries left: 4"), "{shown}");
    let typed = desk.type_code(&daemon, &page, &format!(" {}-{} ", code[..3].to_lowercase(), &code[3..])).await;
    let landed = redirect_parameters(&typed).unwrap_or_else(|| panic!("{} {}", typed.status, typed.text));
    assert_eq!(redeem(&daemon, json!({"token": landed["token"]})).await.data("subject")["value"], "+447700900123");
    daemon.finish().await;
}

async fn five_wrong_codes_end_the_completion(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let minted = daemon.mint(json!({})).await;
    let page = start_path(&minted);
    let mut desk = Browser::default();
    desk.tap(&daemon, &page, "qr").await;
    daemon.send_message(PHONE, "W1", &minted.text_of("text")).await;
    let code = code_in(&reply(&world, 1).await).unwrap();
    for _ in 0..4 {
        assert_eq!(desk.type_code(&daemon, &page, "ZZZZZZ").await.status, 303);
        assert_eq!(desk.stage(&daemon, &page).await, "code");
    }
    for typed in ["ZZZZZZ", &code] {
        assert_eq!(desk.type_code(&daemon, &page, typed).await.header("location"), page, "{typed}");
        assert_eq!(desk.stage(&daemon, &page).await, "code_spent", "the right one comes too late");
    }
    // The person need not go back to the app: the page has a new link.
    let renewed = desk.submit(&daemon, &page, &page, &[("do", "renew")]).await;
    let fresh = renewed.header("location").to_owned();
    assert_ne!(fresh, page);
    assert_eq!(desk.stage(&daemon, &fresh).await, "pending");

    let minted = daemon.mint(json!({})).await;
    let page = start_path(&minted);
    desk.tap(&daemon, &page, "qr").await;
    daemon.send_message(PHONE, "W2", &minted.text_of("text")).await;
    let code = code_in(&reply(&world, 2).await).unwrap();
    for _ in 0..4 {
        assert_eq!(desk.type_code(&daemon, &page, "ZZZZZZ").await.status, 303);
        assert_eq!(desk.stage(&daemon, &page).await, "code");
    }
    daemon.advance(Duration::from_secs(270)).await;
    assert!(
        redirect_parameters(&desk.type_code(&daemon, &page, &code).await).is_some(),
        "the last try, in the last moment"
    );

    let minted = daemon.mint(json!({})).await;
    let page = start_path(&minted);
    desk.tap(&daemon, &page, "qr").await;
    daemon.send_message(PHONE, "W3", &minted.text_of("text")).await;
    let code = code_in(&reply(&world, 3).await).unwrap();
    daemon.advance(Duration::from_secs(301)).await;
    assert_eq!(desk.type_code(&daemon, &page, &code).await.header("location"), page, "five minutes");
    assert_eq!(desk.stage(&daemon, &page).await, "lapsed");
    daemon.finish().await;
}

async fn the_last_tap_binds_until_the_message_matches(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let minted = daemon.mint(json!({})).await;
    let page = start_path(&minted);
    let (mut first, mut last) = (Browser::default(), Browser::default());
    first.tap(&daemon, &page, "qr").await;
    let gently = [("place", "qr"), ("auto", "1")];
    last.submit(&daemon, &page, &page, &gently).await;
    last.tap(&daemon, &page, "here").await;
    first.submit(&daemon, &page, &page, &gently).await;
    last.submit(&daemon, &page, &page, &gently).await;
    daemon.send_message(PHONE, "L1", &minted.text_of("text")).await;
    let link = link_in(&reply(&world, 1).await);
    first.tap(&daemon, &page, "here").await;
    assert_eq!(redirect_parameters(&first.submit_link(&daemon, &link).await), None, "frozen at the match");
    assert!(redirect_parameters(&last.submit_link(&daemon, &link).await).is_some());
    let events = timeline(&daemon, &minted.text_of("uuid")).await;
    assert_eq!(events[1..3], ["tapped (here)", "verified"], "only the last tap is in the timeline");
    daemon.finish().await;
}

async fn an_app_completes_with_its_verifier_and_the_code(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let body = |qr: bool| json!({"challenge": challenge("v"), "qr": qr});
    let minted = daemon.mint(body(true)).await;
    assert_eq!(minted.data("warnings"), &json!([]), "nothing is unbound");
    daemon.send_message(PHONE, "C1", &minted.text_of("text")).await;
    let code = code_in(&reply(&world, 1).await).expect("the reply holds the code");
    let uuid = minted.text_of("uuid");
    let wrong = [
        json!({"uuid": uuid, "code": code, "verifier": "w"}),
        json!({"uuid": uuid, "code": code}),
        json!({"uuid": uuid, "code": "000000", "verifier": "v"}),
    ];
    for body in wrong {
        assert_eq!(redeem(&daemon, body).await.json["code"], "token_refused");
    }
    let foreign = format!("/api/otp/v2/{META}/redeem");
    let headers = [("authorization", &*format!("Bearer {META_TOKEN}"))];
    let foreign = daemon.post_with(&foreign, json!({"uuid": uuid, "code": code, "verifier": "v"}), &headers).await;
    assert_eq!(foreign.json["code"], "token_refused");
    assert_eq!(redeem(&daemon, json!({"uuid": uuid, "code": code, "verifier": "v"})).await.status, 200);
    let by = |verifier: Option<&str>| redeem(&daemon, json!({"uuid": uuid, "code": code, "verifier": verifier}));
    assert_eq!(by(Some("v")).await.status, 200, "again, by the same caller");
    assert_eq!(by(Some("w")).await.status, 410);
    assert_eq!(by(None).await.status, 410);

    let minted = daemon.mint(body(false)).await;
    daemon.send_message(PHONE, "C2", &minted.text_of("text")).await;
    let link = link_in(&reply(&world, 2).await);
    let mut phone = Browser::default();
    let response = phone.submit(&daemon, &link, &link, &[("elsewhere", "1")]).await;
    let response = phone.follow(&daemon, response).await;
    let code = code_in(response.text.split("class=\"code\"").nth(1).unwrap()).unwrap();
    for _ in 0..4 {
        let body = json!({"uuid": minted.text_of("uuid"), "code": "000000", "verifier": "v"});
        assert_eq!(redeem(&daemon, body).await.json["code"], "token_refused");
    }
    let landed = redirect_parameters(&phone.submit_link(&daemon, &link).await).expect("no cookie is asked for");
    assert_eq!(redeem(&daemon, json!({"token": landed["token"]})).await.json["code"], "token_refused");
    let by_code = json!({"uuid": minted.text_of("uuid"), "code": code, "verifier": "v"});
    assert_eq!(redeem(&daemon, by_code).await.status, 410, "one use, whichever way");
    assert_eq!(redeem(&daemon, json!({"token": landed["token"], "verifier": "v"})).await.status, 200);

    // The start page serves such a request too; its code leads to the redirect, and that to the verifier.
    let minted = daemon.mint(body(false)).await;
    let (page, mut desk) = (start_path(&minted), Browser::default());
    desk.tap(&daemon, &page, "qr").await;
    daemon.send_message(PHONE, "C3", &minted.text_of("text")).await;
    let code = code_in(&reply(&world, 3).await).unwrap();
    let landed = crate::browser::redirect_parameters(&desk.type_code(&daemon, &page, &code).await).unwrap();
    assert_eq!(redeem(&daemon, json!({"token": landed["token"], "verifier": "v"})).await.status, 200);
    daemon.finish().await;
}

async fn prove_phone_completes_in_the_waiting_page(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "completions_allowed = [\"prove_phone\", \"anywhere\"]".to_owned();
    let daemon = world.start().await;
    let refused = daemon.mint(json!({"completion": "prove_phone"})).await;
    assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("chatId")));
    let minted = daemon.mint(json!({"completion": "prove_phone", "chatId": PHONE, "state": "s"})).await;
    let page = start_path(&minted);
    let (mut owner, mut other) = (Browser::default(), Browser::default());
    owner.tap(&daemon, &page, "qr").await;
    daemon.send_message(PHONE, "P1", &minted.text_of("text")).await;
    assert_eq!(owner.stage(&daemon, &page).await, "finish");
    assert_eq!(other.stage(&daemon, &page).await, "link");
    assert_eq!(other.submit(&daemon, &page, &page, &[("do", "finish")]).await.status, 422);
    let landed = redirect_parameters(&owner.submit(&daemon, &page, &page, &[("do", "finish")]).await).unwrap();
    let redeemed = redeem(&daemon, json!({"token": landed["token"]})).await;
    assert_eq!(redeemed.data("completion")["mode"], "prove_phone");

    let minted = daemon.mint(json!({"state": "s"})).await;
    let page = start_path(&minted);
    owner.tap(&daemon, &page, "here").await;
    daemon.send_message(PHONE, "P2", &minted.text_of("text")).await;
    let finish = owner.submit(&daemon, &page, &page, &[("do", "finish")]).await;
    assert_eq!(finish.status, 422, "only where the person was signed in before");
    daemon.finish().await;
}

async fn an_expired_page_renews_its_link(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let minted = daemon.mint(json!({"state": "s", "chatId": PHONE, "client_ref": "cart 7", "expires": 60})).await;
    let page = start_path(&minted);
    let mut browser = Browser::default();
    browser.tap(&daemon, &page, "here").await;
    let refused = browser.submit(&daemon, &page, &page, &[("do", "renew")]).await;
    assert_eq!(refused.header("location"), page, "it lives");
    daemon.advance(Duration::from_secs(61)).await;
    assert_eq!(browser.stage(&daemon, &page).await, "expired");
    let mut stranger = Browser::default();
    assert!(!stranger.get(&daemon, &page).await.text.contains("value=\"renew\""));
    let refused = stranger.submit(&daemon, &page, &page, &[("do", "renew")]).await;
    assert_eq!(refused.header("location"), page, "it did not wait");
    let renewed = browser.submit(&daemon, &page, &page, &[("do", "renew")]).await;
    assert_eq!(renewed.status, 303, "{}", renewed.text);
    let fresh = renewed.header("location").to_owned();
    assert_ne!(fresh, page);
    let again = browser.submit(&daemon, &page, &page, &[("do", "renew")]).await;
    assert_eq!(again.header("location"), fresh, "many taps make one");
    let listed = daemon.get(&format!("/api/otp/v2/{WAHA}/requests?client_ref=cart%207")).await;
    let requests = listed.data("requests").as_array().unwrap().clone();
    assert_eq!(requests.len(), 2);
    let new = requests.iter().find(|request| request["status"] == "pending").unwrap();
    assert_eq!(new["renews"], json!(minted.text_of("uuid")));
    browser.tap(&daemon, &fresh, "here").await;
    daemon.send_message("447700900777", "N0", new["text"].as_str().unwrap()).await;
    assert_eq!(browser.stage(&daemon, &fresh).await, "other_number", "the same chat as before is asked for");
    daemon.send_message(PHONE, "N1", new["text"].as_str().unwrap()).await;
    assert_eq!(browser.stage(&daemon, &fresh).await, "link");
    let landed = redirect_parameters(&browser.submit_link(&daemon, &link_in(&reply(&world, 2).await)).await).unwrap();
    let redeemed = redeem(&daemon, json!({"token": landed["token"]})).await;
    assert_eq!(redeemed.data("renews"), &json!(minted.text_of("uuid")));
    daemon.advance(Duration::from_secs(3700)).await;
    let late = browser.submit(&daemon, &page, &page, &[("do", "renew")]).await;
    assert_eq!((late.status, late.text.contains("no longer valid")), (410, true), "not for ever: {}", late.text);
    daemon.finish().await;
}

/// `expires` is set by the app, so a waiting page prolongs the login only within that limit.
async fn renewals_stay_within_the_apps_limit(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "renewals = 2".to_owned();
    let daemon = world.start().await;
    for (bound, renewals) in
        [(json!({}), 2), (json!({"renewable": false}), 0), (json!({"purpose": "Pay 9,000 EUR"}), 0)]
    {
        let mut body = json!({"state": "s", "expires": 60});
        body.as_object_mut().unwrap().extend(bound.as_object().unwrap().clone());
        let (mut page, mut browser) = (start_path(&daemon.mint(body).await), Browser::default());
        for left in (0..=renewals).rev() {
            browser.tap(&daemon, &page, "here").await;
            daemon.advance(Duration::from_secs(61)).await;
            assert_eq!(browser.get(&daemon, &page).await.text.contains("value=\"renew\""), left > 0, "{bound}");
            let renewed = browser.submit(&daemon, &page, &page, &[("do", "renew")]).await;
            let target = renewed.header("location").to_owned();
            assert_eq!((renewed.status, target == page), (303, left == 0), "{bound} {left}");
            page = target;
        }
    }
    daemon.finish().await;
}

/// A scanner of mails opens every link and runs its scripts.
async fn a_tap_of_a_person_replaces_the_binding_of_a_bot(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "completions_allowed = [\"same_browser\", \"prove_phone\"]".to_owned();
    let daemon = world.start().await;
    let (mut robot, mut person) = (Browser::default(), Browser::default());
    let gently = [("place", "qr"), ("auto", "1")];
    let minted = daemon.mint(json!({})).await;
    let page = start_path(&minted);
    robot.submit(&daemon, &page, &page, &gently).await;
    person.submit(&daemon, &page, &page, &gently).await;
    // "Send it by hand" on a desktop: the script binds the browser that opened it.
    person.tap(&daemon, &page, "qr").await;
    daemon.send_message(PHONE, "H1", &minted.text_of("text")).await;
    let code = code_in(&reply(&world, 1).await).unwrap();
    assert_eq!(robot.type_code(&daemon, &page, &code).await.status, 422);
    assert!(redirect_parameters(&person.type_code(&daemon, &page, &code).await).is_some());

    // A page on which no button was pressed does not continue automatically.
    let body = json!({"completion": "prove_phone", "chatId": PHONE});
    for touched in [false, true] {
        let minted = daemon.mint(body.clone()).await;
        let page = start_path(&minted);
        person.submit(&daemon, &page, &page, &gently).await;
        if touched {
            person.tap(&daemon, &page, "qr").await;
        }
        daemon.send_message(PHONE, &format!("H2{touched}"), &minted.text_of("text")).await;
        let shown = person.get(&daemon, &page).await.text;
        assert!(shown.contains("data-stage=\"finish\""), "{shown}");
        assert_eq!(shown.contains(" data-automatic"), touched, "{shown}");
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_browser_sends_no_code_and_shows_no_qr_code() {
    let mut world = World::new(TestStore::directory());
    world.instance_lines = "strict_browser = true".to_owned();
    let daemon = world.start().await;
    let refused = daemon.mint(json!({"challenge": challenge("v"), "qr": true})).await;
    assert_eq!(refused.json["errors"][0]["field"], "qr");
    let minted = daemon.mint(json!({})).await;
    let page = start_path(&minted);
    let (mut owner, mut other) = (Browser::default(), Browser::default());
    assert!(!owner.get(&daemon, &page).await.text.contains("id=\"scan\""));
    owner.tap(&daemon, &page, "qr").await;
    daemon.send_message(PHONE, "S1", &minted.text_of("text")).await;
    let link = link_in(&reply(&world, 1).await);
    let refused = other.submit_link(&daemon, &link).await;
    assert_eq!(refused.status, 403);
    assert!(!refused.text.contains("class=\"code\"") && refused.text.contains("another browser"), "{}", refused.text);
    let events = timeline(&daemon, &minted.text_of("uuid")).await;
    assert_eq!(events[3], "link tapped: wrong_browser");
    assert!(redirect_parameters(&owner.submit_link(&daemon, &link).await).is_some());
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anywhere_is_rejected_where_binding_is_required() {
    let mut world = World::new(TestStore::directory());
    world.instance_lines = "require_binding = true\ncompletions_allowed = [\"anywhere\", \"prove_phone\"]".to_owned();
    let daemon = world.start().await;
    for (body, field) in [(json!({}), "challenge"), (json!({"completion": "anywhere"}), "completion")] {
        let refused = daemon.mint(body).await;
        assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!(field)));
    }
    for body in [json!({"challenge": challenge("v")}), json!({"completion": "prove_phone", "chatId": PHONE})] {
        assert_eq!(daemon.mint(body).await.status, 200);
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_has_the_host_prefix_and_is_not_set_twice() {
    let mut world = World::new(TestStore::directory());
    world.public_url = "https://wa.example.org".to_owned();
    let daemon = world.start().await;
    let page = start_path(&daemon.mint(json!({})).await);
    let mut browser = Browser::default();
    let shown = browser.get(&daemon, &page).await;
    let cookie = shown.header("set-cookie").to_owned();
    assert!(cookie.starts_with("__Host-cs="), "{cookie}");
    for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure", "; Max-Age="] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    assert_eq!(browser.get(&daemon, &page).await.header("set-cookie"), "", "one per browser");
    let other = start_path(&daemon.mint(json!({})).await);
    assert_eq!(browser.get(&daemon, &other).await.header("set-cookie"), "", "for all its pages");
    browser.cookie = Some("__Host-cs=short".to_owned());
    assert!(browser.get(&daemon, &page).await.header("set-cookie").starts_with("__Host-cs="), "only one of ours");
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go_redirects_to_whatsapp_only_if_no_binding_is_needed() {
    let mut world = World::new(TestStore::directory());
    world.instance_lines = "completions_allowed = [\"anywhere\"]".to_owned();
    let daemon = world.start().await;
    for (body, direct) in
        [(json!({}), false), (json!({"challenge": challenge("v")}), true), (json!({"completion": "anywhere"}), true)]
    {
        let minted = daemon.mint(body).await;
        let went = Browser::default().get(&daemon, &format!("{}/go", start_path(&minted))).await;
        assert_eq!(went.status, 303);
        let expected = if direct { minted.text_of("whatsapp_link") } else { minted.text_of("start_url") };
        assert_eq!(went.header("location"), expected);
    }
    daemon.finish().await;
}
