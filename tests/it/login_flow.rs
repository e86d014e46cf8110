//! A complete login through the API and the pages, on both stores.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::hash::sha256;
use serde_json::json;

use crate::{
    browser::{dispute_in, reply},
    daemon::{CALLBACK_SECRET, CreatedLink, Daemon, TestStore, WAHA, World},
};

macro_rules! on_both_stores {
    ($($case:ident)*) => {
        mod embedded {$(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() { super::$case(super::TestStore::directory()).await; }
        )*}
        mod redis {$(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() { super::$case(super::TestStore::redis()).await; }
        )*}
    };
}
pub(crate) use on_both_stores;

on_both_stores! {
    a_login_over_whatsapp_is_verified_completed_and_redeemed
    redeem_requires_the_verifier_of_the_challenge
    a_disputed_login_cannot_be_redeemed
    a_login_can_be_disputed_after_it_was_redeemed
}

/// The hidden field of a page.
pub(crate) fn form_field(page: &str) -> String {
    page.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// The path of the hosted link in a reply.
pub(crate) fn link_in(reply: &str) -> String {
    let start = reply.find("/o/").unwrap_or_else(|| panic!("{reply}"));
    reply[start..].split_whitespace().next().unwrap().to_owned()
}

pub(crate) async fn tap(daemon: &Daemon, path: &str, field: &str) -> crate::daemon::ReceivedResponse {
    let request = http::Request::post(format!("{}{path}", daemon.base))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("form={field}").into_bytes())
        .unwrap();
    daemon.send(request).await
}

async fn a_login_over_whatsapp_is_verified_completed_and_redeemed(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let hook = |name: &str| format!("{}/{name}", world.receiver.url);
    let answer = daemon
        .mint(json!({
            "name": "Harbour", "expires": 900, "client_ref": "cart 7", "metadata": {"a": [1]}, "state": "st 1",
            "message": {
                "prompt": "Sign me in to <name>", "success": "Hi <name>: {link} (<code>)",
                "failed": "no", "expired": "Code {code} is too old",
            },
            "callback": {"success": hook("ok"), "failed": hook("bad")},
        }))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json["success"], true);
    assert_eq!(answer.json["message"], "OTP link request created successfully");
    let (uuid, code) = (answer.text_of("uuid"), answer.text_of("code"));
    assert_eq!(code.len(), 14);
    assert_eq!(answer.data("status"), "pending");
    assert_eq!(answer.data("otp_type"), "link");
    assert!(answer.data("chat_id").is_null());
    assert!(answer.text_of("created_at").ends_with("+00:00"));
    let wa_me = answer.text_of("whatsapp_link");
    let expected = format!(
        "https://wa.me/447700900999?text=Sign%20me%20in%20to%20Harbour%20%5B{code}%5D%20-%20DO%20NOT%20CHANGE%20THIS%20MESSAGE"
    );
    assert_eq!(wa_me, expected);

    let sent = answer.text_of("text");
    let response = daemon.send_message("447700900123", "AAA1", &sent).await;
    assert_eq!((response.status, response.text.as_str()), (200, ""));
    assert_eq!(daemon.status(&uuid).await, "verified");

    let reply = &world.gateway.wait_for(1).await[0];
    assert_eq!(reply.path, "/api/sendText");
    assert_eq!(reply.header("x-api-key"), crate::daemon::API_KEY);
    assert_eq!(reply.json()["chatId"], "447700900123@c.us");
    let text = reply.json()["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("Hi Harbour: http://127.0.0.1:1/o/") && text.contains(&format!("({code})\n\n")), "{text}");

    let callback = &world.receiver.wait_for(1).await[0];
    assert_eq!(callback.path, "/ok");
    let body = callback.json();
    assert_eq!(body["type"], "link.verified");
    assert_eq!(body["data"]["uuid"], uuid);
    assert_eq!(body["data"]["chat_id"], "447700900123@c.us");
    assert_eq!(
        body["data"]["subject"],
        json!({"kind": "phone", "value": "+447700900123", "reported": "+447700900123"})
    );
    assert_eq!(body["data"]["push_name"], "Mara");
    assert_eq!(body["data"]["client_ref"], "cart 7");
    assert_eq!(body["data"]["metadata"], json!({"a": [1]}));
    assert_eq!(body["data"]["completion"], json!({"mode": "anywhere", "state": "offered"}));
    assert!(!callback.json().to_string().contains(&code), "a callback never holds the code");
    let library = standardwebhooks::Webhook::new(CALLBACK_SECRET).unwrap();
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(http::HeaderName::from_static(name), callback.header(name).parse().unwrap());
    }
    library.verify(&callback.body, &headers).unwrap();

    let path = link_in(&text);
    for _ in 0..3 {
        let page = daemon.get(&path).await;
        assert_eq!(page.status, 200);
        assert!(page.text.contains("+44••••••••23"), "{}", page.text);
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("form-action 'self' https://app.example.org"));
        assert_eq!(page.header("referrer-policy"), "same-origin");
        assert_eq!(page.header("cache-control"), "no-store");
    }
    let field = form_field(&daemon.get(&path).await.text);
    assert_eq!(tap(&daemon, &path, "forged").await.status, 422);
    let tapped = tap(&daemon, &path, &field).await;
    assert_eq!(tapped.status, 303, "{}", tapped.text);
    let location = url::Url::parse(tapped.header("location")).unwrap();
    assert!(location.as_str().starts_with("https://app.example.org/in?uuid="));
    let query: std::collections::HashMap<_, _> = location.query_pairs().into_owned().collect();
    assert_eq!((query["uuid"].as_str(), query["state"].as_str()), (uuid.as_str(), "st 1"));
    assert_eq!(tap(&daemon, &path, &field).await.header("location"), path, "one use");
    assert_eq!(daemon.get(&path).await.status, 410, "and its page says so");

    let redeem = format!("/api/otp/v2/{WAHA}/redeem");
    let redeemed = daemon.post(&redeem, json!({"token": query["token"]})).await;
    assert_eq!(redeemed.status, 200, "{}", redeemed.text);
    assert_eq!(
        redeemed.data("subject"),
        &json!({"kind": "phone", "value": "+447700900123", "reported": "+447700900123"})
    );
    assert_eq!(redeemed.data("metadata"), &json!({"a": [1]}));
    let again = daemon.post(&redeem, json!({"token": query["token"]})).await;
    assert_eq!((again.status, &again.json["code"]), (410, &json!("token_spent")), "one use");
    let callbacks = world.receiver.wait_for(2).await;
    assert_eq!(callbacks[1].json()["type"], "link.redeemed");
    assert_eq!(callbacks[1].path, "/default");

    let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{uuid}")).await;
    let events: Vec<&str> =
        shown.data("timeline").as_array().unwrap().iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["created", "verified (unbound)", "completed", "redeemed"]);
    assert_eq!(shown.text_of("whatsapp_link"), wa_me, "the link is made again from the record");
    daemon.finish().await;
}

async fn verified(world: &World, daemon: &Daemon, body: serde_json::Value) -> (CreatedLink, String) {
    let link = daemon.create_link(body).await;
    assert_eq!(daemon.send_message("447700900123", "M1", &link.text).await.status, 200);
    let reply = world.gateway.wait_for(1).await[0].json()["text"].as_str().unwrap().to_owned();
    (link, link_in(&reply))
}

async fn redirect_token(daemon: &Daemon, path: &str) -> String {
    let field = form_field(&daemon.get(path).await.text);
    let tapped = tap(daemon, path, &field).await;
    let location = url::Url::parse(tapped.header("location")).unwrap();
    location.query_pairs().find(|(name, _)| name == "token").unwrap().1.into_owned()
}

async fn redeem_requires_the_verifier_of_the_challenge(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let verifier = "the-verifier-that-stays-in-the-session";
    let challenge = URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
    let (_, path) = verified(&world, &daemon, json!({"challenge": challenge})).await;
    assert_eq!(world.receiver.wait_for(1).await[0].json()["data"]["completion"]["mode"], "same_browser");
    let token = redirect_token(&daemon, &path).await;
    let redeem = format!("/api/otp/v2/{WAHA}/redeem");
    for wrong in [json!({"token": token}), json!({"token": token, "verifier": "wrong"})] {
        assert_eq!(daemon.post(&redeem, wrong).await.json["code"], "token_refused");
    }
    let foreign = daemon
        .post_with(
            &format!("/api/otp/v2/{}/redeem", crate::daemon::META),
            json!({"token": token, "verifier": verifier}),
            &[("authorization", &format!("Bearer {}", crate::daemon::META_TOKEN))],
        )
        .await;
    assert_eq!(foreign.json["code"], "token_refused", "another tenant's token is as good as none");
    assert_eq!(daemon.post(&redeem, json!({"token": token, "verifier": verifier})).await.status, 200);
    daemon.finish().await;
}

async fn a_disputed_login_cannot_be_redeemed(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (link, path) = verified(&world, &daemon, json!({})).await;
    let dispute = dispute_in(&reply(&world, 1).await);
    assert!(daemon.get(&path).await.text.contains(&dispute), "the page leads there, too");
    let token = redirect_token(&daemon, &path).await;
    assert!(daemon.get(&path).await.text.contains(&dispute), "also once it was used");
    assert_eq!(tap(&daemon, &dispute, "forged").await.status, 422);
    let field = form_field(&daemon.get(&dispute).await.text);
    assert_eq!(tap(&daemon, &path, &field).await.status, 422, "the dispute's form does nothing else");
    assert_eq!(tap(&daemon, &dispute, &field).await.header("location"), dispute);
    let answer = daemon.post(&format!("/api/otp/v2/{WAHA}/redeem"), json!({"token": token})).await;
    assert_eq!(answer.json["code"], "token_spent");
    assert_eq!(daemon.status(&link.uuid).await, "verified");
    let received = world.receiver.wait_for(2).await[1].json();
    assert_eq!((&received["type"], &received["data"]["after"]), (&json!("link.disputed"), &json!("released")));
    for path in [&path, &dispute] {
        assert_eq!(daemon.get(path).await.status, 410);
    }
    daemon.finish().await;
}

/// A person who finds the message later can still dispute it, and the app receives a callback to end the session.
async fn a_login_can_be_disputed_after_it_was_redeemed(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (link, path) = verified(&world, &daemon, json!({"client_ref": "cart 7"})).await;
    let dispute = dispute_in(&reply(&world, 1).await);
    let token = redirect_token(&daemon, &path).await;
    let redeem = format!("/api/otp/v2/{WAHA}/redeem");
    let headers = [("idempotency-key", "once")];
    assert_eq!(daemon.post_with(&redeem, json!({"token": token}), &headers).await.status, 200);
    let as_link = format!("/o/{}", dispute.trim_start_matches("/d/"));
    let as_start = format!("/l/{}", dispute.trim_start_matches("/d/"));
    for other in [as_link, as_start] {
        assert_eq!(daemon.get(&other).await.status, 410, "the token only disputes");
    }
    let field = form_field(&daemon.get(&dispute).await.text);
    for _ in 0..2 {
        assert_eq!(tap(&daemon, &dispute, &field).await.header("location"), dispute, "again, with the same answer");
    }
    let received = world.receiver.wait_for(3).await;
    let event_types: Vec<_> = received.iter().map(|one| one.json()["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(event_types, ["link.verified", "link.redeemed", "link.disputed"]);
    let data = received[2].json()["data"].clone();
    assert_eq!((&data["after"], &data["client_ref"]), (&json!("redeemed"), &json!("cart 7")));
    assert_eq!(data["completion"]["state"], "disputed");
    let again = daemon.post_with(&redeem, json!({"token": token}), &headers).await;
    assert_eq!(again.json["code"], "token_spent", "nothing is redeemed again");

    daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{}", link.uuid)).await;
    let erased = daemon.send(
        http::Request::delete(format!("{}/api/otp/v2/{WAHA}/subjects/447700900123@c.us", daemon.base))
            .header("authorization", format!("Bearer {}", crate::daemon::TOKEN))
            .body(Vec::new())
            .unwrap(),
    );
    assert_eq!(erased.await.status, 200);
    assert_eq!(daemon.get(&dispute).await.status, 410, "until it is erased");
    daemon.finish().await;
}

/// Any app on the phone could claim the scheme, so the token alone must be worth nothing there.
#[tokio::test(flavor = "multi_thread")]
async fn a_native_app_is_redirected_to_only_with_a_challenge() {
    let mut world = World::new(TestStore::directory());
    world.redirects = "[\"https://app.example.org/in\", \"com.example.app:/login\"]".to_owned();
    let daemon = world.start().await;
    let target = "com.example.app:/login?from=app";
    let refused = daemon.mint(json!({ "redirect_url": target })).await;
    assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("challenge")), "{}", refused.text);
    let refused = daemon.mint(json!({ "link": "com.example.app:/login", "challenge": "x".repeat(43) })).await;
    assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("link")), "{}", refused.text);
    let challenge = URL_SAFE_NO_PAD.encode(sha256(b"a-verifier-of-the-native-app-with-forty-three-c"));
    let (link, path) = verified(&world, &daemon, json!({ "redirect_url": target, "challenge": challenge })).await;
    let page = daemon.get(&path).await;
    assert!(
        page.header("content-security-policy").contains("form-action 'self' com.example.app:;"),
        "{:?}",
        page.headers
    );
    let there = tap(&daemon, &path, &form_field(&page.text)).await;
    let location = there.header("location");
    assert!(location.starts_with(&format!("com.example.app:/login?from=app&uuid={}&token=", link.uuid)), "{location}");
    daemon.finish().await;
}
