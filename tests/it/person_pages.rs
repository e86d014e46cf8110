//! What a person reads on the pages: the language, how a login ended, and the way on.

use std::time::Duration;

use countersign::domain::Language;
use serde_json::json;

use crate::{
    browser::{Browser, dispute_in, reply, start_path},
    daemon::{TestStore, WAHA, World},
    login_flow::link_in,
};

const PHONE: &str = "447700900123";
const HOME: &str = "https://app.example.org/home";
const OTHER_WAY: &str = "https://app.example.org/sign-in";

fn with_ways() -> World {
    let mut world = World::new(TestStore::directory());
    world.instance_lines = format!("[instance.page]\nhome_url = {HOME:?}\nother_way_url = {OTHER_WAY:?}");
    world
}

fn language(page: &str) -> &str {
    page.split("<html lang=\"").nth(1).unwrap_or(page).split('"').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_language_is_chosen_or_requested_or_preferred_or_configured() {
    let mut world = World::new(TestStore::directory());
    world.instance_lines = "lang = \"fr\"".to_owned();
    let daemon = world.start().await;
    let page = start_path(&daemon.mint(json!({})).await);
    let named = start_path(&daemon.mint(json!({"lang": "de"})).await);
    let mut spanish = Browser { headers: vec![("accept-language", "es-MX,es;q=0.9")], ..Browser::default() };
    let mut swedish = Browser { headers: vec![("accept-language", "sv")], ..Browser::default() };
    assert_eq!(language(&spanish.get(&daemon, &format!("{named}?lang=zh")).await.text), "zh");
    assert_eq!(language(&spanish.get(&daemon, &named).await.text), "de");
    assert_eq!(language(&spanish.get(&daemon, &page).await.text), "es");
    assert_eq!(language(&swedish.get(&daemon, &page).await.text), "fr");
    assert_eq!(language(&swedish.get(&daemon, &format!("{page}?lang=tlh")).await.text), "fr");
    // The message is what the app was told, whatever the page's language is.
    let minted = daemon.mint(json!({})).await;
    let shown = spanish.get(&daemon, &start_path(&minted)).await.text;
    assert!(shown.contains(&minted.text_of("text")), "{shown}");
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_of_a_choice_stays_in_its_language() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    for (index, chosen) in Language::all().enumerate() {
        let tag = chosen.tag();
        let minted = daemon.mint(json!({})).await;
        let page = format!("{}?lang={tag}", start_path(&minted));
        let mut browser = Browser::default();
        let tapped = browser.tap(&daemon, &page, "here").await;
        assert_eq!(language(&tapped.text), tag);
        for other in Language::all() {
            assert!(tapped.text.contains(&format!("lang={}\" lang=\"{0}\"", other.tag())), "{}", tapped.text);
        }
        daemon.send_message(PHONE, &format!("L{index}"), &minted.text_of("text")).await;
        let link = link_in(&reply(&world, index + 1).await);
        let confirm = browser.get(&daemon, &format!("{link}?lang={tag}")).await.text;
        assert_eq!(language(&confirm), tag);
        let dispute = dispute_in(confirm.split('"').find(|part| part.contains("/d/")).unwrap());
        let disputed = browser.submit(&daemon, &dispute, &dispute, &[]).await;
        assert!(disputed.header("location").ends_with(&format!("?lang={tag}")), "{}", disputed.header("location"));
        assert_eq!(language(&browser.follow(&daemon, disputed).await.text), tag);
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_reveals_nothing_and_is_no_tap() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let minted = daemon.mint(json!({"purpose": "Pay 9,000 EUR", "chatId": PHONE})).await;
    let shown = Browser::default().get(&daemon, &start_path(&minted)).await.text;
    let card: Vec<&str> =
        shown.split("<meta ").filter(|tag| tag.contains("og:") || tag.contains("description")).collect();
    assert_eq!(card.len(), 4, "{shown}");
    for tag in &card {
        let tag = tag.split('>').next().unwrap();
        for secret in ["Pay", "9,000", "7700", &minted.text_of("text")[..8], "/l/"] {
            assert!(!tag.contains(secret), "{tag}");
        }
    }
    let record = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{}", minted.text_of("uuid"))).await;
    assert_eq!(record.data("timeline").as_array().unwrap().len(), 1, "{}", record.text);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_says_why_and_how_to_go_on() {
    let mut world = with_ways();
    world.instance_lines = format!("expires_min = 10\n{}", world.instance_lines);
    let daemon = world.start().await;
    let mut count = 0;
    let mut ends = Vec::new();
    for end in ["expired", "failed", "canceled", "code_spent", "lapsed", "disputed", "done"] {
        let body = match end {
            "failed" => json!({"chatId": PHONE, "max_attempts": 1}),
            "expired" => json!({"expires": 10, "renewable": false}),
            _ => json!({}),
        };
        let minted = daemon.mint(body).await;
        let page = start_path(&minted);
        let mut browser = Browser::default();
        let waiting = browser.tap(&daemon, &page, if end == "code_spent" { "qr" } else { "here" }).await.text;
        assert!(waiting.contains(OTHER_WAY) && !waiting.contains(HOME), "{end}: {waiting}");
        let mut send = async |number: &str| {
            count += 1;
            daemon.send_message(number, &format!("E{count}"), &minted.text_of("text")).await;
            reply(&world, count).await
        };
        match end {
            "expired" => daemon.advance(Duration::from_secs(11)).await,
            "failed" => drop(send("447700900777").await),
            "canceled" => {
                let path = format!("/api/otp/v2/{WAHA}/requests/{}/cancel", minted.text_of("uuid"));
                assert_eq!(daemon.post(&path, json!({})).await.status, 200);
            }
            "code_spent" => {
                send(PHONE).await;
                for _ in 0..5 {
                    browser.type_code(&daemon, &page, "ZZZZZZ").await;
                }
            }
            "lapsed" => {
                let link = link_in(&send(PHONE).await);
                daemon.advance(Duration::from_secs(601)).await;
                let late = browser.get(&daemon, &link).await.text;
                assert!(late.contains("Time is up") && late.contains(OTHER_WAY), "{late}");
            }
            "disputed" => {
                let dispute = dispute_in(&send(PHONE).await);
                let stopped = browser.submit(&daemon, &dispute, &dispute, &[]).await;
                let stopped = browser.follow(&daemon, stopped).await.text;
                assert!(stopped.contains("icon shield") && stopped.contains("do not need to do anything"), "{stopped}");
            }
            _ => {
                let link = link_in(&send(PHONE).await);
                browser.submit_link(&daemon, &link).await;
            }
        }
        assert_eq!(browser.stage(&daemon, &page).await, end);
        let shown = browser.get(&daemon, &page).await.text;
        let renewable = matches!(end, "code_spent" | "lapsed");
        assert_eq!(shown.contains("value=\"renew\""), renewable, "{end}: {shown}");
        assert!(shown.contains(HOME) && shown.contains("Back to "), "{end}: {shown}");
        assert_eq!(shown.contains(OTHER_WAY), !matches!(end, "disputed" | "done"), "{end}: {shown}");
        let between = |from: &str, to: &str| shown.split(from).nth(1).unwrap().split(to).next().unwrap().to_owned();
        ends.push((between("<h1>", "</h1>"), between("<p class=\"lead\" role=\"status\">", "</p>")));
    }
    for (index, (title, lead)) in ends.iter().enumerate() {
        assert!(!ends[..index].iter().any(|(other, text)| other == title || text == lead), "{title}: {lead}");
    }
    let unknown = Browser::default().get(&daemon, "/l/AAAA").await;
    assert_eq!(unknown.status, 410);
    assert!(unknown.text.contains(" · 127.0.0.1</title>"), "signed by the host: {}", unknown.text);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_another_way_of_its_own_within_the_allowed_addresses() {
    let mut world = with_ways();
    world.redirects = "[\"https://app.example.org/\"]".to_owned();
    let daemon = world.start().await;
    let own = "https://app.example.org/password?next=%2Fcart";
    let page = start_path(&daemon.mint(json!({"other_way_url": own})).await);
    let shown = Browser::default().get(&daemon, &page).await.text;
    assert!(shown.contains(own) && !shown.contains(OTHER_WAY), "{shown}");
    for foreign in [
        "https://evil.example/",
        "javascript:alert(1)",
        "com.example.app:/login",
        "https://app.example.org@evil.example/",
    ] {
        let refused = daemon.mint(json!({"other_way_url": foreign})).await;
        assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("other_way_url")), "{foreign}");
    }
    daemon.finish().await;
}

/// Reloading a page, or restoring its tab, sends no form again.
#[tokio::test(flavor = "multi_thread")]
async fn every_form_leads_to_a_page() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let minted = daemon.mint(json!({})).await;
    let page = start_path(&minted);
    let (mut owner, mut other) = (Browser::default(), Browser::default());
    let tapped = owner.submit(&daemon, &page, &page, &[("place", "qr")]).await;
    assert_eq!((tapped.status, tapped.header("location")), (303, &*format!("{page}?qr")));
    assert!(owner.get(&daemon, &format!("{page}?qr")).await.text.contains("id=\"scan\" open"));
    let code = owner.get(&daemon, &format!("{page}/code")).await;
    assert_eq!((code.status, code.header("location")), (303, &*page), "not an error in JSON");

    owner.tap(&daemon, &page, "here").await;
    daemon.send_message(PHONE, "F1", &minted.text_of("text")).await;
    let answer = reply(&world, 1).await;
    let link = link_in(&answer);
    let before = other.get(&daemon, &format!("{link}?tapped")).await.text;
    assert!(before.contains("<form"), "a code that no tap has revealed is not shown: {before}");
    let elsewhere = other.submit(&daemon, &link, &link, &[]).await;
    assert_eq!((elsewhere.status, elsewhere.header("location")), (303, &*format!("{link}?tapped")));
    for _ in 0..2 {
        assert!(other.get(&daemon, &format!("{link}?tapped")).await.text.contains("id=\"code\""));
    }
    assert!(owner.get(&daemon, &link).await.text.contains("<form"), "its own browser can still go on");
    let dispute = dispute_in(&answer);
    let disputed = owner.submit(&daemon, &dispute, &dispute, &[]).await;
    assert_eq!((disputed.status, disputed.header("location")), (303, &*dispute));
    assert!(owner.get(&daemon, &link).await.text.contains("icon shield"));
    daemon.finish().await;
}

/// `codes` in a sentence that runs from right to left keep their order.
#[tokio::test(flavor = "multi_thread")]
async fn codes_are_isolated_in_chats_that_run_from_right_to_left() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let mut count = 0;
    for language in Language::all() {
        let minted = daemon.mint(json!({"lang": language.tag()})).await;
        Browser::default().tap(&daemon, &start_path(&minted), "qr").await;
        count += 1;
        daemon.send_message(PHONE, &format!("R{count}"), &minted.text_of("text")).await;
        let text = reply(&world, count).await;
        let isolated =
            text.split('\u{2066}').nth(1).and_then(|rest| rest.split_once('\u{2069}')).map(|(code, _)| code.len());
        assert_eq!(isolated, language.right_to_left().then_some(6), "{language:?}: {text}");
    }
    daemon.finish().await;
}
