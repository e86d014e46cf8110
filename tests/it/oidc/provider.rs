//! What people see, what clients learn of them, and what stays in the store.

use std::time::Duration;

use serde_json::json;

use super::{
    OidcBrowser, PHONE, Returned, SECRET, SHOP, SPA, Server, VERIFIER, basic, challenge, encoded, issuer, message_on,
    request, sealed, verified, world,
};
use crate::{
    browser::{code_in, dispute_in, reply},
    daemon::{TestStore, WAHA, World, message},
    login_flow::on_both_stores,
    redis_server,
};

on_both_stores! {
    the_page_names_client_claims_and_purpose
    a_person_may_decline
    two_taps_are_one_login
    a_scanning_phone_finishes_with_a_code_here
    an_expired_login_is_renewed_for_the_same_browser
    a_hidden_number_logs_in_only_where_the_client_allows_it
    a_hint_restricts_the_login_to_its_chat
    a_dispute_revokes_the_access_token
    the_access_token_ends
    codes_live_for_a_minute
}

/// The subject and the answer of userinfo for a login of this client.
async fn identity(world: &World, server: &Server, number: &str, client: &str, uri: &str) -> String {
    let challenge = challenge(VERIFIER);
    let pkce = [("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")];
    let asked = [&[("client_id", client), ("redirect_uri", uri)], &pkce[..]].concat();
    let returned = OidcBrowser::new(server).log_in(world, number, &request(&asked)).await;
    let mut fields = vec![("grant_type", "authorization_code"), ("code", returned.code()), ("redirect_uri", uri)];
    fields.push(("code_verifier", VERIFIER));
    let authorization = basic(client, SECRET);
    if client == "spa" {
        fields.push(("client_id", "spa"));
    }
    let authorization = (client != "spa").then_some(authorization.as_str());
    let answer = server.try_post("token", authorization, &fields).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    let (_, claims) = verified(server, answer.json["id_token"].as_str().unwrap()).await;
    claims["sub"].as_str().unwrap().to_owned()
}

async fn the_page_names_client_claims_and_purpose(store: TestStore) {
    let world = world(store);
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let page = OidcBrowser::new(&server).authorize(&request(&[])).await;
    for words in ["Continue to Shop?", "WhatsApp number", "your WhatsApp name", "Continue with WhatsApp", "Cancel"] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    assert!(!page.text.contains(SHOP), "the request itself is sealed");
    let only_openid = OidcBrowser::new(&server).authorize(&request(&[("scope", "openid")])).await.text;
    assert!(only_openid.contains("confirmation that it is you") && !only_openid.contains("WhatsApp number"));
    let bank = [("client_id", "bank"), ("redirect_uri", "https://bank.example.org/in"), ("scope", "openid phone")];
    let page = OidcBrowser::new(&server).authorize(&request(&bank)).await.text;
    assert!(page.contains("Transfer 5") && page.contains("Continue to Harbour?"), "{page}");
    assert!(!page.contains("WhatsApp number"), "the client may not have it");
    daemon.finish().await;
}

async fn a_person_may_decline(store: TestStore) {
    let world = world(store);
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let mut browser = OidcBrowser::new(&server);
    let page = browser.authorize(&request(&[])).await.text;
    let declined = browser.submit(&Server::path("continue"), &[("request", &sealed(&page)), ("do", "cancel")]).await;
    let returned = Returned::from(&declined);
    assert_eq!((returned.get("error"), returned.get("state")), ("access_denied", "st 1"));
    assert_eq!(returned.get("iss"), issuer());
    let requests = daemon.get(&format!("/api/otp/v2/{WAHA}/requests")).await;
    assert_eq!(requests.data("requests"), &json!([]), "nothing was created");
    daemon.finish().await;
}

async fn two_taps_are_one_login(store: TestStore) {
    let world = world(store);
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let mut browser = OidcBrowser::new(&server);
    let page = browser.authorize(&request(&[])).await.text;
    let first = browser.agree(&page).await;
    assert_eq!(browser.agree(&page).await, first);
    let requests = daemon.get(&format!("/api/otp/v2/{WAHA}/requests")).await;
    assert_eq!(requests.data("requests").as_array().unwrap().len(), 1);
    let again = browser.authorize(&request(&[])).await.text;
    assert_ne!(browser.agree(&again).await, first, "another page is another login");
    daemon.finish().await;
}

async fn a_scanning_phone_finishes_with_a_code_here(store: TestStore) {
    let world = world(store);
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let mut browser = OidcBrowser::new(&server);
    let start = browser.begin(&request(&[])).await;
    let page = browser.look(&start).await.text;
    let field = crate::browser::field(&page);
    let tapped = browser.submit(&start, &[("form", &field), ("place", "qr")]).await;
    let shown = browser.look(tapped.header("location")).await;
    assert!(shown.text.contains("data:image/bmp;base64,"), "{}", shown.text);
    daemon.send_message(PHONE, "Q1", &message_on(&page)).await;
    let text = reply(&world, 1).await;
    assert!(!text.contains("/o/"), "{text}");
    let code = code_in(&text).unwrap();
    let mut other = OidcBrowser::new(&server);
    assert_eq!(other.look(&start).await.status, 403, "another browser is shown nothing to act on");
    let typed = other.submit(&format!("{start}/code"), &[("form", &field), ("code", &code)]).await;
    assert_eq!((typed.status, typed.headers.get("location")), (422, None));
    let typed = browser.submit(&format!("{start}/code"), &[("form", &field), ("code", &code)]).await;
    assert_eq!(server.exchange(Returned::from(&typed).code()).await.status, 200);
    daemon.finish().await;
}

async fn an_expired_login_is_renewed_for_the_same_browser(store: TestStore) {
    let world = world(store);
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let mut browser = OidcBrowser::new(&server);
    let start = browser.begin(&request(&[])).await;
    daemon.advance(Duration::from_secs(1801)).await;
    let page = browser.look(&start).await.text;
    assert!(page.contains("This link has expired"), "{page}");
    let renewed = browser.submit(&start, &[("form", &crate::browser::field(&page)), ("do", "renew")]).await;
    assert_eq!(renewed.status, 303, "{}", renewed.text);
    let renewed = renewed.header("location").to_owned();
    assert_eq!(OidcBrowser::new(&server).look(&renewed).await.status, 403, "it is bound from the start");
    let text = message_on(&browser.look(&renewed).await.text);
    daemon.send_message(PHONE, "N1", &text).await;
    let link = crate::login_flow::link_in(&reply(&world, 1).await);
    let done = Returned::from(&browser.go_on(&link).await);
    assert_eq!(done.get("state"), "st 1");
    assert_eq!(server.exchange(done.code()).await.status, 200);
    daemon.finish().await;
}

/// A message whose sender WhatsApp hides.
fn hidden(id: &str, text: &str, now: i64) -> serde_json::Value {
    let mut event = message("190000000000117", id, text, now);
    event["payload"]["from"] = json!("190000000000117@lid");
    event["payload"]["id"] = json!(format!("false_190000000000117@lid_{id}"));
    event
}

async fn a_hidden_number_logs_in_only_where_the_client_allows_it(store: TestStore) {
    let world = world(store);
    world.gateway.answer(json!({ "lid": "190000000000117@lid", "pn": null }));
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let now = daemon.clock.wall().as_second();
    let mut browser = OidcBrowser::new(&server);
    let start = browser.begin(&request(&[])).await;
    let text = message_on(&browser.look(&start).await.text);
    daemon.post_waha(&hidden("H1", &text, now)).await;
    daemon.settle().await;
    let waiting = browser.look(&start).await.text;
    assert!(waiting.contains("https://wa.me/") && !waiting.contains("Your message has arrived"), "for a number");
    daemon.send_message(PHONE, "H2", &text).await;
    assert!(browser.look(&start).await.text.contains("Your message has arrived"));

    let blog = [("client_id", "blog"), ("redirect_uri", "https://blog.example.org/in"), ("scope", "openid phone")];
    let start = browser.begin(&request(&blog)).await;
    let text = message_on(&browser.look(&start).await.text);
    daemon.post_waha(&hidden("H3", &text, now)).await;
    assert!(browser.look(&start).await.text.contains("Your message has arrived"));
    daemon.finish().await;
}

async fn a_hint_restricts_the_login_to_its_chat(store: TestStore) {
    let world = world(store);
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let hint =
        [("client_id", "bank"), ("redirect_uri", "https://bank.example.org/in"), ("login_hint", "+447700900123")];
    let mut browser = OidcBrowser::new(&server);
    let start = browser.begin(&request(&hint)).await;
    let text = message_on(&browser.look(&start).await.text);
    daemon.send_message("447700900124", "B1", &text).await;
    assert!(browser.look(&start).await.text.contains("https://wa.me/"), "another chat proves nothing");
    daemon.send_message(PHONE, "B2", &text).await;
    assert!(browser.look(&start).await.text.contains("Your message has arrived"));
    // Where the client's configuration does not say so, the hint binds nothing.
    let start = browser.begin(&request(&[("login_hint", "+447700900123")])).await;
    let text = message_on(&browser.look(&start).await.text);
    daemon.send_message("447700900124", "B3", &text).await;
    assert!(browser.look(&start).await.text.contains("Your message has arrived"));
    daemon.finish().await;
}

async fn a_dispute_revokes_the_access_token(store: TestStore) {
    let world = world(store);
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let returned = OidcBrowser::new(&server).log_in(&world, PHONE, &request(&[])).await;
    let tokens = server.exchange(returned.code()).await.json;
    let token = tokens["access_token"].as_str().unwrap();
    assert_eq!(server.user_info(token).await.status, 200);
    let dispute = dispute_in(&reply(&world, 1).await);
    assert_eq!(OidcBrowser::new(&server).go_on(&dispute).await.header("location"), dispute);
    assert_eq!(server.user_info(token).await.status, 401);
    daemon.finish().await;
}

async fn the_access_token_ends(store: TestStore) {
    let world = world(store);
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let returned = OidcBrowser::new(&server).log_in(&world, PHONE, &request(&[])).await;
    let tokens = server.exchange(returned.code()).await.json;
    let token = tokens["access_token"].as_str().unwrap();
    daemon.advance_clock(Duration::from_secs(3590)).await;
    assert_eq!(server.user_info(token).await.status, 200);
    daemon.advance_clock(Duration::from_secs(11)).await;
    assert_eq!(server.user_info(token).await.status, 401);
    daemon.finish().await;
}

async fn codes_live_for_a_minute(store: TestStore) {
    let world = world(store);
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let mut browser = OidcBrowser::new(&server);
    let returned = browser.log_in(&world, PHONE, &request(&[])).await;
    daemon.advance_clock(Duration::from_secs(61)).await;
    let late = server.exchange(returned.code()).await;
    assert_eq!((late.status, &late.json["error"]), (400, &json!("invalid_grant")));
    let again = OidcBrowser::new(&server).log_in(&world, PHONE, &request(&[])).await;
    assert_eq!(server.exchange(again.code()).await.status, 200, "the client begins anew");
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_are_of_the_sector_unless_public() {
    let world = world(TestStore::directory());
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let shop = identity(&world, &server, PHONE, "shop", SHOP).await;
    assert_eq!(identity(&world, &server, PHONE, "shop", SHOP).await, shop, "stable");
    let blog = identity(&world, &server, PHONE, "blog", "https://blog.example.org/in").await;
    assert_eq!(blog, shop, "one sector");
    let bank = identity(&world, &server, PHONE, "bank", "https://bank.example.org/in").await;
    let public = identity(&world, &server, PHONE, "spa", SPA).await;
    let other = identity(&world, &server, "447700900124", "shop", SHOP).await;
    assert!(bank != shop && public != shop && public != bank && other != shop);
    daemon.finish().await;
}

/// A bot fetches the page again and again: the store holds what it held before.
#[tokio::test(flavor = "multi_thread")]
async fn bots_leave_nothing_in_the_store() {
    let redis = std::sync::Arc::new(redis_server::start());
    let world = world(TestStore::Redis(std::sync::Arc::clone(&redis)));
    let daemon = world.start().await;
    let server = Server::of(&daemon);
    let stored = || {
        let mut keys: Vec<String> = ::redis::cmd("KEYS").arg("*").query(&mut redis.connection()).unwrap();
        // What the daemon itself keeps there, and renews.
        keys.retain(|key| !key.ends_with(":b:canary") && !key.ends_with(":b:trial") && key != "cs:replicas");
        keys.sort();
        keys
    };
    let before = stored();
    let fetches: usize = if crate::is_long_run() { 100_000 } else { 2_000 };
    let path = format!("{}?{}", Server::path("authorize"), encoded(&request(&[])));
    let bots = (0..20).map(|_| {
        let (server, path) = (server.clone(), path.clone());
        tokio::spawn(async move {
            for _ in 0..fetches / 20 {
                assert_eq!(OidcBrowser::new(&server).look(&path).await.status, 200);
            }
        })
    });
    for bot in bots.collect::<Vec<_>>() {
        bot.await.unwrap();
    }
    assert_eq!(stored(), before);
    daemon.finish().await;
}
