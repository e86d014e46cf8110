//! What the page behind the reply says of the device that asked.

use serde_json::json;

use crate::{
    app::{Daemon, Ground, World},
    browser::{Browser, start_path},
    flow::{link_in, on_both_stores},
};

on_both_stores! {
    it_names_the_device_and_the_place_that_the_app_saw
    a_waiting_browser_counts_for_more_than_what_the_app_said
    without_a_database_there_is_no_place
}

const PLACES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/geoip/places.mmdb");
const PHONE: &str = "447700900123";
const FIREFOX: &str = "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0";
const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 \
                      (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1";

fn with_places(ground: Ground) -> World {
    let mut world = World::new(ground);
    world.top = format!("geoip_file = \"{PLACES}\"\ntrusted_proxies = [\"127.0.0.0/8\"]");
    world
}

/// The page, in the browser of a phone that asked for nothing.
async fn page(world: &World, app: &Daemon, text: &str, count: usize) -> String {
    app.says(PHONE, &format!("P{count}"), text).await;
    let reply = crate::browser::reply(world, count).await;
    Browser::default().look(app, &link_in(&reply)).await.text
}

async fn it_names_the_device_and_the_place_that_the_app_saw(ground: Ground) {
    let world = with_places(ground);
    let app = world.start().await;
    let cases = [
        ("en", "203.0.113.7", FIREFOX, Some("Firefox · Android"), Some("Northwind, Harbourland")),
        ("de", "203.0.113.7", SAFARI, Some("Safari · iPhone"), Some("Nordwind, Hafenland")),
        ("en", "10.0.0.1", FIREFOX, Some("Firefox · Android"), None),
        ("en", "2001:db8:1::7", "curl <i>9</i>", None, Some("Six Wells, Harbourland")),
    ];
    for (index, (lang, client_ip, user_agent, device, place)) in cases.into_iter().enumerate() {
        let asked = json!({"lang": lang, "client_ip": client_ip, "user_agent": user_agent, "bind": "none"});
        let shown = page(&world, &app, &app.mint(asked).await.text_of("text"), index + 1).await;
        for known in ["Firefox · Android", "Safari · iPhone"] {
            assert_eq!(shown.contains(known), device == Some(known), "{client_ip}: {shown}");
        }
        for known in ["Northwind, Harbourland", "Nordwind, Hafenland", "Six Wells, Harbourland"] {
            assert_eq!(shown.contains(known), place == Some(known), "{client_ip}: {shown}");
        }
        assert!(!shown.contains(client_ip) && !shown.contains("curl"), "{shown}");
    }
    app.finish().await;
}

async fn a_waiting_browser_counts_for_more_than_what_the_app_said(ground: Ground) {
    let world = with_places(ground);
    let app = world.start().await;
    let minted = app.mint(json!({"lang": "de", "client_ip": "203.0.113.7", "user_agent": FIREFOX})).await;
    let headers = vec![("x-forwarded-for", "2001:db8:1::7"), ("user-agent", SAFARI)];
    let mut waiting = Browser { headers, ..Browser::default() };
    waiting.tap(&app, &start_path(&minted), "here").await;
    app.says(PHONE, "W1", &minted.text_of("text")).await;
    let link = link_in(&crate::browser::reply(&world, 1).await);
    let shown = waiting.look(&app, &link).await.text;
    assert!(shown.contains("Safari · iPhone") && shown.contains("Six Wells, Hafenland"), "{shown}");
    assert!(!shown.contains("Nordwind"), "{shown}");
    app.finish().await;
}

async fn without_a_database_there_is_no_place(ground: Ground) {
    let world = World::new(ground);
    let app = world.start().await;
    let asked = json!({"client_ip": "203.0.113.7", "user_agent": FIREFOX});
    let shown = page(&world, &app, &app.mint(asked).await.text_of("text"), 1).await;
    assert!(shown.contains("Firefox · Android") && !shown.contains("Harbourland"), "{shown}");
    app.finish().await;
}
