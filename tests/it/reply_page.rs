//! The texts of replies and of their pages that ask a person for consent.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::{domain::Language, hash::sha256};
use serde_json::{Value, json};

use crate::{
    browser::{Browser, code_in, dispute_in, field, redeem, redirect_parameters, reply, start_path},
    daemon::{Daemon, TestStore, World},
    fakes::ReceivedRequest,
    login_flow::{link_in, on_both_stores},
};

on_both_stores! {
    the_reply_names_device_and_place_reported_by_the_app
    the_waiting_browser_takes_precedence_over_the_apps_report
    without_a_geoip_database_no_place_is_shown
    every_mode_shows_the_same_facts
    a_changed_text_is_reported_or_rejected
    prove_phone_needs_the_exact_text_or_a_tap
    start_and_finish_are_compared_for_risk
}

const PLACES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/geoip/places.mmdb");
const PHONE: &str = "447700900123";
const FIREFOX: &str = "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0";
const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 \
                      (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1";

fn with_places(test_store: TestStore) -> World {
    let mut world = World::new(test_store);
    world.top_level_lines = format!("geoip_file = \"{PLACES}\"\ntrusted_proxies = [\"127.0.0.0/8\"]");
    world
}

/// The page, in the browser of a phone that asked for nothing.
async fn page(world: &World, daemon: &Daemon, text: &str, count: usize) -> String {
    daemon.send_message(PHONE, &format!("P{count}"), text).await;
    let said = reply(world, count).await;
    Browser::default().get(daemon, &link_in(&said)).await.text
}

async fn the_reply_names_device_and_place_reported_by_the_app(test_store: TestStore) {
    let world = with_places(test_store);
    let daemon = world.start().await;
    let cases = [
        ("en", "203.0.113.7", FIREFOX, Some("Firefox · Android"), Some("Northwind, Harbourland")),
        ("de", "203.0.113.7", SAFARI, Some("Safari · iPhone"), Some("Nordwind, Hafenland")),
        ("en", "10.0.0.1", FIREFOX, Some("Firefox · Android"), None),
        ("en", "2001:db8:1::7", "curl <i>9</i>", None, Some("Six Wells, Harbourland")),
    ];
    for (index, (lang, client_ip, user_agent, device, place)) in cases.into_iter().enumerate() {
        let asked = json!({"lang": lang, "client_ip": client_ip, "user_agent": user_agent, "bind": "none"});
        let shown = page(&world, &daemon, &daemon.mint(asked).await.text_of("text"), index + 1).await;
        for known in ["Firefox · Android", "Safari · iPhone"] {
            assert_eq!(shown.contains(known), device == Some(known), "{client_ip}: {shown}");
        }
        for known in ["Northwind, Harbourland", "Nordwind, Hafenland", "Six Wells, Harbourland"] {
            assert_eq!(shown.contains(known), place == Some(known), "{client_ip}: {shown}");
        }
        assert!(!shown.contains(client_ip) && !shown.contains("curl"), "{shown}");
    }
    daemon.finish().await;
}

async fn the_waiting_browser_takes_precedence_over_the_apps_report(test_store: TestStore) {
    let world = with_places(test_store);
    let daemon = world.start().await;
    let minted = daemon.mint(json!({"lang": "de", "client_ip": "203.0.113.7", "user_agent": FIREFOX})).await;
    let headers = vec![("x-forwarded-for", "2001:db8:1::7"), ("user-agent", SAFARI)];
    let mut waiting = Browser { headers, ..Browser::default() };
    waiting.tap(&daemon, &start_path(&minted), "here").await;
    daemon.send_message(PHONE, "W1", &minted.text_of("text")).await;
    let link = link_in(&reply(&world, 1).await);
    let shown = waiting.get(&daemon, &link).await.text;
    assert!(shown.contains("Safari · iPhone") && shown.contains("Six Wells, Hafenland"), "{shown}");
    assert!(!shown.contains("Nordwind"), "{shown}");
    daemon.finish().await;
}

async fn without_a_geoip_database_no_place_is_shown(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let asked = json!({"client_ip": "203.0.113.7", "user_agent": FIREFOX});
    let shown = page(&world, &daemon, &daemon.mint(asked).await.text_of("text"), 1).await;
    assert!(shown.contains("Firefox · Android") && !shown.contains("Harbourland"), "{shown}");
    daemon.finish().await;
}

const MODES: &str = "completions_allowed = [\"same_browser\", \"prove_phone\", \"anywhere\"]";

/// For each way of completing a login: a link, a code for another device, a number that is proved.
async fn every_mode_shows_the_same_facts(test_store: TestStore) {
    let mut world = with_places(test_store);
    world.instance_lines = MODES.to_owned();
    let daemon = world.start().await;
    let headers = vec![("x-forwarded-for", "203.0.113.7"), ("user-agent", FIREFOX)];
    let mut waiting = Browser { headers, ..Browser::default() };
    let languages: Vec<&str> = Language::all().map(Language::tag).collect();
    let ways: [(Value, Option<&str>); 4] = [
        (json!({}), Some("here")),
        (json!({}), Some("qr")),
        (json!({"completion": "prove_phone", "chatId": PHONE}), Some("qr")),
        (
            json!({"completion": "anywhere", "client_ip": "203.0.113.7", "user_agent": FIREFOX,
                "message": {"success": "<link>"}}),
            None,
        ),
    ];
    let mut count = 0;
    for lang in languages {
        for (way, place) in &ways {
            let mut body = json!({"lang": lang, "name": "Harbour", "purpose": "Pay [9,000] EUR"});
            body.as_object_mut().unwrap().extend(way.as_object().unwrap().clone());
            let minted = daemon.mint(body).await;
            assert_eq!(minted.status, 200, "{}", minted.text);
            if let Some(place) = place {
                waiting.tap(&daemon, &start_path(&minted), place).await;
                let page = waiting.get(&daemon, &start_path(&minted)).await.text;
                assert!(page.contains("Pay [9,000] EUR"), "{page}");
            }
            let text = minted.text_of("text");
            assert_eq!(text.contains("Harbour") && text.contains("Pay 9,000 EUR"), way["chatId"] == PHONE, "{text}");
            count += 1;
            daemon.send_message(PHONE, &format!("F{count}"), &text).await;
            let said = reply(&world, count).await;
            let place = if lang == "de" { "Nordwind, Hafenland" } else { "Harbourland" };
            for fact in ["Harbour", "Pay 9,000 EUR", "Firefox · Android", place] {
                assert!(said.contains(fact), "{lang} {way}: {fact} in {said}");
            }
            let mut pages = vec![dispute_in(&said)];
            pages.extend(said.contains("/o/").then(|| link_in(&said)));
            for page in pages {
                let page = Browser::default().get(&daemon, &page).await;
                assert_eq!(page.status, 200);
                for fact in ["Harbour", "Pay [9,000] EUR", "Firefox · Android", place] {
                    assert!(page.text.contains(fact), "{lang} {way}: {fact} in {}", page.text);
                }
            }
        }
    }
    daemon.finish().await;
}

async fn events(world: &World, daemon: &Daemon) -> Vec<Value> {
    daemon.settle().await;
    world.receiver.requests().iter().map(ReceivedRequest::json).collect()
}

/// An attacker chooses the words in which he hands the code on.
async fn a_changed_text_is_reported_or_rejected(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let lure =
        |minted: &crate::daemon::ReceivedResponse| format!("Yes! I want my free voucher [{}]", minted.text_of("code"));
    let minted = daemon.mint(json!({})).await;
    daemon.send_message(PHONE, "T1", &lure(&minted)).await;
    let path = link_in(&reply(&world, 1).await);
    let token = redirect_parameters(&Browser::default().submit_link(&daemon, &path).await).unwrap()["token"].clone();
    assert_eq!(redeem(&daemon, json!({"token": token})).await.data("text_changed"), &json!(true));
    let received = events(&world, &daemon).await;
    assert!(received.iter().all(|event| event["data"]["text_changed"] == true), "{received:?}");

    let minted = daemon.mint(json!({})).await;
    let typed_by_hand = minted.text_of("text").to_lowercase().replace(" - ", "\n— ").replace(' ', "  ");
    daemon.send_message(PHONE, "T2", &typed_by_hand).await;
    reply(&world, 2).await;
    assert_eq!(events(&world, &daemon).await.last().unwrap()["data"]["text_changed"], false, "{typed_by_hand}");

    let exact = json!({"require_exact_text": true, "chatId": PHONE, "max_attempts": 1, "purpose": "Pay 9 EUR"});
    let minted = daemon.mint(exact).await;
    let status = async || daemon.status(&minted.text_of("uuid")).await;
    daemon.send_message(PHONE, "T3", &lure(&minted)).await;
    let said = reply(&world, 3).await;
    assert!(said.contains(&minted.text_of("whatsapp_link")) && said.contains("Pay 9 EUR"), "{said}");
    assert!(!said.contains("/o/") && !said.contains("/d/"), "{said}");
    let shown = daemon.get(&format!("/api/otp/v2/{}/requests/{}", crate::daemon::WAHA, minted.text_of("uuid"))).await;
    assert_eq!((shown.data("status"), shown.data("attempts")), (&json!("pending"), &json!(0)));
    assert_eq!(shown.data("timeline")[1]["reason"], "text_changed");
    daemon.send_message(PHONE, "T4", &minted.text_of("text")).await;
    assert_eq!(status().await, "verified", "the right text counts afterwards");
    daemon.finish().await;
}

/// Where the message alone is the person's word, it says what for; else only a tap after the reply is.
async fn prove_phone_needs_the_exact_text_or_a_tap(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = MODES.to_owned();
    let daemon = world.start().await;
    let body = |exact: bool| {
        json!({"completion": "prove_phone", "chatId": PHONE, "purpose": "Change your number",
               "message": {"prompt": "Hello"}, "require_exact_text": exact})
    };
    let finish = [("do", "finish")];
    let (mut desk, mut phone) = (Browser::default(), Browser::default());

    let minted = daemon.mint(body(true)).await;
    let page = start_path(&minted);
    assert!(minted.text_of("text").starts_with("Harbour: Hello: Change your number ["), "{}", minted.text);
    desk.tap(&daemon, &page, "qr").await;
    daemon.send_message(PHONE, "N1", &format!("I like it [{}]", minted.text_of("code"))).await;
    assert!(reply(&world, 1).await.contains("wa.me"));
    assert_eq!(desk.stage(&daemon, &page).await, "pending");
    daemon.send_message(PHONE, "N2", &minted.text_of("text")).await;
    let said = reply(&world, 2).await;
    assert!(!said.contains("/o/") && said.contains("/d/"), "{said}");
    assert!(redirect_parameters(&desk.submit(&daemon, &page, &page, &finish).await).is_some());

    let minted = daemon.mint(body(false)).await;
    let page = start_path(&minted);
    desk.tap(&daemon, &page, "qr").await;
    daemon.send_message(PHONE, "N3", &format!("I like it [{}]", minted.text_of("code"))).await;
    let link = link_in(&reply(&world, 3).await);
    assert_eq!(desk.stage(&daemon, &page).await, "link");
    assert_eq!(desk.submit(&daemon, &page, &page, &finish).await.status, 422, "no consent was given");
    let form = field(&phone.get(&daemon, &link).await.text);
    for _ in 0..2 {
        let agreed = phone.post(&daemon, &link, &[("form", &form)]).await;
        assert_eq!(
            (agreed.status, agreed.header("location")),
            (303, &*link),
            "the phone goes nowhere: {}",
            agreed.text
        );
    }
    let agreed = phone.get(&daemon, &link).await;
    assert!(agreed.status == 200 && agreed.text.contains("icon tick"), "{}", agreed.text);
    assert_eq!(desk.stage(&daemon, &page).await, "finish");
    assert!(redirect_parameters(&desk.submit(&daemon, &page, &page, &finish).await).is_some());

    // One that is tapped where it waits needs no other page.
    let minted = daemon.mint(body(false)).await;
    let page = start_path(&minted);
    phone.tap(&daemon, &page, "here").await;
    daemon.send_message(PHONE, "N4", &minted.text_of("text")).await;
    let link = link_in(&reply(&world, 4).await);
    assert!(redirect_parameters(&phone.submit_link(&daemon, &link).await).is_some());
    daemon.advance(Duration::from_secs(1)).await;
    daemon.finish().await;
}

/// Verdicts and countries, and never an address.
async fn start_and_finish_are_compared_for_risk(test_store: TestStore) {
    let world = with_places(test_store);
    let daemon = world.start().await;
    let verdicts =
        |network: Option<bool>, country: Option<bool>, device: Option<bool>, from: &str, to: Option<&str>| {
            json!({"same_network": network, "same_country": country, "same_device": device,
               "started_country": from, "finished_country": to})
        };
    let yes = Some(true);
    let cases = [
        // The browser at the app, the one on the start page, and what they have in common.
        ("203.0.113.7", FIREFOX, "203.0.113.99", FIREFOX, verdicts(yes, yes, yes, "XA", Some("XA"))),
        ("203.0.113.7", FIREFOX, "198.51.100.1", SAFARI, verdicts(Some(false), yes, Some(false), "XA", Some("XA"))),
        ("203.0.113.7", FIREFOX, "2001:db8:1::7", FIREFOX, verdicts(None, Some(false), yes, "XA", Some("XB"))),
        ("203.0.113.7", FIREFOX, "10.0.0.9", "curl/8", verdicts(Some(false), None, None, "XA", None)),
    ];
    for (index, (client_ip, agent, ip, user_agent, risk)) in cases.into_iter().enumerate() {
        let minted = daemon.mint(json!({"client_ip": client_ip, "user_agent": agent})).await;
        let headers = vec![("x-forwarded-for", ip), ("user-agent", user_agent)];
        let mut browser = Browser { headers, ..Browser::default() };
        browser.tap(&daemon, &start_path(&minted), "here").await;
        daemon.send_message(PHONE, &format!("R{index}"), &minted.text_of("text")).await;
        let link = link_in(&reply(&world, index + 1).await);
        let token = redirect_parameters(&browser.submit_link(&daemon, &link).await).unwrap()["token"].clone();
        let redeemed = redeem(&daemon, json!({"token": token})).await;
        assert_eq!(redeemed.data("risk"), &risk, "{ip}");
        let events = events(&world, &daemon).await;
        for event in &events[events.len() - 2..] {
            assert_eq!(event["data"]["risk"], risk, "{ip}: {event}");
            assert!(!event.to_string().contains(ip) && !event.to_string().contains(client_ip), "{event}");
        }
    }
    // What the app did not say is compared with where the page was opened.
    let minted = daemon.mint(json!({})).await;
    let mut browser = Browser { headers: vec![("x-forwarded-for", "203.0.113.7")], ..Browser::default() };
    browser.tap(&daemon, &start_path(&minted), "qr").await;
    daemon.send_message(PHONE, "R9", &minted.text_of("text")).await;
    let code = code_in(&reply(&world, 5).await).unwrap();
    assert_eq!(events(&world, &daemon).await.last().unwrap()["data"]["risk"], Value::Null, "one side only");
    browser.headers = vec![("x-forwarded-for", "2001:db8:1::7")];
    let token =
        redirect_parameters(&browser.type_code(&daemon, &start_path(&minted), &code).await).unwrap()["token"].clone();
    let redeemed = redeem(&daemon, json!({"token": token})).await;
    assert_eq!(redeemed.data("risk"), &verdicts(None, Some(false), None, "XA", Some("XB")));

    // A code on the app's own page was typed in a browser that only the app sees: it is compared as far as it is named.
    let typed = [
        (json!({"client_ip": "203.0.113.99", "user_agent": FIREFOX}), verdicts(yes, yes, yes, "XA", Some("XA"))),
        (json!({"client_ip": "2001:db8:1::7"}), verdicts(None, Some(false), None, "XA", Some("XB"))),
        (json!({"user_agent": SAFARI}), verdicts(None, None, Some(false), "XA", None)),
        (json!({}), Value::Null),
    ];
    for (index, (named, risk)) in typed.into_iter().enumerate() {
        let challenge = URL_SAFE_NO_PAD.encode(sha256(b"v"));
        let asked = json!({"challenge": challenge, "qr": true, "client_ip": "203.0.113.7", "user_agent": FIREFOX});
        let minted = daemon.mint(asked).await;
        daemon.send_message(PHONE, &format!("E{index}"), &minted.text_of("text")).await;
        let code = code_in(&reply(&world, 6 + index).await).unwrap();
        let mut body = json!({"uuid": minted.text_of("uuid"), "code": code, "verifier": "v"});
        body.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
        for (field, fault) in [("client_ip", json!("here")), ("user_agent", json!("x".repeat(513)))] {
            let mut faulty = body.clone();
            faulty[field] = fault;
            assert_eq!(redeem(&daemon, faulty).await.json["errors"][0]["field"], field);
        }
        let redeemed = redeem(&daemon, body).await;
        assert_eq!((redeemed.status, redeemed.data("risk")), (200, &risk), "{named}");
        assert_eq!(events(&world, &daemon).await.last().unwrap()["data"]["risk"], risk, "{named}");
    }
    daemon.finish().await;
}
