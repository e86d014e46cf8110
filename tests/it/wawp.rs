//! The endpoints that are compatible with Wawp, on both stores.

use std::time::Duration;

use http::Request;
use serde_json::{Value, json};

use crate::{
    codes::wrong,
    daemon::{Daemon, META, ReceivedResponse, TOKEN, TestStore, WAHA, World},
    login_flow::on_both_stores,
};

on_both_stores! {
    a_code_is_sent_and_verified_by_query
    five_wrong_codes_lock_for_fifteen_minutes
    one_code_per_recipient_and_minute
}

const NUMBER: &str = "447700900123";

async fn by_query(daemon: &Daemon, path: &str, more: &[(&str, &str)], headers: &[(&str, &str)]) -> ReceivedResponse {
    let mut url = url::Url::parse(&format!("{}/v2/auth/otp/{path}", daemon.base)).unwrap();
    url.query_pairs_mut().extend_pairs([("instance_id", WAHA), ("access_token", TOKEN), ("chatId", NUMBER)]);
    url.query_pairs_mut().extend_pairs(more);
    let mut request = Request::get(url.as_str());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    daemon.send(request.body(Vec::new()).unwrap()).await
}

async fn last_message(world: &World, count: usize) -> String {
    world.gateway.wait_for(count).await.last().unwrap().json()["text"].as_str().unwrap().to_owned()
}

/// The digits of a message in any language.
fn code_in(message: &str) -> String {
    message.chars().filter(char::is_ascii_digit).take(6).collect()
}

async fn a_code_is_sent_and_verified_by_query(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let sent = by_query(&daemon, "send", &[("lang", "ar"), ("footer", "Harbour & Sons")], &[]).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    assert_eq!(sent.header("cache-control"), "no-store");
    let mut members: Vec<&String> = sent.json.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["code", "expires_in", "job_id", "message"], "the code is not in the response");
    assert_eq!((&sent.json["code"], &sent.json["expires_in"]), (&json!("success"), &json!(300)));
    let message = last_message(&world, 1).await;
    assert!(message.contains("رمز التحقق") && message.ends_with("\n\nHarbour & Sons"), "{message}");
    let code = code_in(&message);
    let bad = by_query(&daemon, "verify", &[("code", &wrong(&code))], &[]).await;
    assert_eq!((bad.status, &bad.json["code"]), (422, &json!("code_wrong")));
    let good = by_query(&daemon, "verify", &[("code", &code)], &[]).await;
    assert_eq!(good.status, 200, "{}", good.text);
    assert_eq!((&good.json["code"], &good.json["verified"]), (&json!("success"), &json!(true)));
    let again = by_query(&daemon, "verify", &[("code", &code)], &[]).await;
    assert_eq!((again.status, &again.json["code"]), (409, &json!("code_used")));
    let uuid = sent.json["job_id"].as_str().unwrap();
    assert_eq!(daemon.status(uuid).await, "validated");
    daemon.finish().await;
}

async fn five_wrong_codes_lock_for_fifteen_minutes(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    assert_eq!(by_query(&daemon, "send", &[], &[]).await.status, 200);
    let code = code_in(&last_message(&world, 1).await);
    for expected in ["code_wrong", "code_wrong", "code_wrong", "code_wrong", "attempts_exhausted"] {
        assert_eq!(by_query(&daemon, "verify", &[("code", &wrong(&code))], &[]).await.json["code"], expected);
    }
    daemon.advance_clock(Duration::from_secs(61)).await;
    assert_eq!(by_query(&daemon, "send", &[], &[]).await.status, 200);
    let code = code_in(&last_message(&world, 2).await);
    let locked = by_query(&daemon, "verify", &[("code", &code)], &[]).await;
    assert_eq!((locked.status, &locked.json["code"]), (429, &json!("rate_limited")), "a new code resets nothing");
    let wait: u64 = locked.header("retry-after").parse().unwrap();
    assert!((780..=840).contains(&wait), "fifteen minutes from the last try: {wait}");
    daemon.advance_clock(Duration::from_secs(wait)).await;
    assert_eq!(by_query(&daemon, "send", &[], &[]).await.status, 200);
    let code = code_in(&last_message(&world, 3).await);
    assert_eq!(by_query(&daemon, "verify", &[("code", &code)], &[]).await.status, 200);
    daemon.finish().await;
}

async fn one_code_per_recipient_and_minute(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let sends = futures_util::future::join_all((0..8).map(|_| by_query(&daemon, "send", &[], &[]))).await;
    assert_eq!(sends.iter().filter(|answer| answer.status == 200).count(), 1, "however many ask at once");
    for refused in sends.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, &refused.json["code"]), (429, &json!("rate_limited")), "{}", refused.text);
        assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 60);
    }
    let spelled = daemon.post_with("/v2/auth/otp/send", body(&format!("{NUMBER}@c.us")), &[]).await;
    assert_eq!(spelled.status, 429, "however it is spelled");
    daemon.advance_clock(Duration::from_secs(60)).await;
    assert_eq!(by_query(&daemon, "send", &[], &[]).await.status, 200);
    daemon.settle().await;
    assert_eq!(world.gateway.requests().len(), 2);
    daemon.finish().await;
}

fn body(chat: &str) -> Value {
    json!({"instance_id": WAHA, "access_token": TOKEN, "chatId": chat})
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_accepted_in_every_place_that_wawp_allows() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let url = format!("{}/v2/auth/otp/send", daemon.base);
    let form = |chat: &str| format!("instance_id={WAHA}&access_token={TOKEN}&chatId={chat}").into_bytes();
    let bearer = format!("Bearer {TOKEN}");
    let headers = |name: &str, value: &str, chat: &str| {
        Request::post(&url)
            .header(name, value)
            .header("x-instance-id", WAHA)
            .header("content-type", "application/json")
            .body(json!({"chatId": chat}).to_string().into_bytes())
            .unwrap()
    };
    let requests = [
        Request::post(&url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form("447700900101"))
            .unwrap(),
        Request::post(&url)
            .header("content-type", "application/json")
            .body(body("447700900102").to_string().into_bytes())
            .unwrap(),
        headers("authorization", &bearer, "447700900103"),
        headers("access-token", TOKEN, "447700900104"),
    ];
    for request in requests {
        let answer = daemon.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    for (instance, token, status) in
        [(WAHA, "wrong", 401), (WAHA, "", 401), (META, TOKEN, 422), ("nonsense", TOKEN, 422)]
    {
        let body = json!({"instance_id": instance, "access_token": token, "chatId": NUMBER});
        let answer = daemon.post_with("/v2/auth/otp/send", body, &[("authorization", "")]).await;
        assert_eq!(answer.status, status, "{instance} {}", answer.text);
    }
    for chat in ["", "abc", "120363000000000017@g.us"] {
        let answer = daemon.post_with("/v2/auth/otp/send", body(chat), &[]).await;
        assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!("chatId")));
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_sent_by_a_browser_automatically_are_rejected() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    for header in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "prefetch"),
        ("x-moz", "prefetch"),
        ("sec-fetch-site", "cross-site"),
    ] {
        for path in ["send", "verify"] {
            let refused = by_query(&daemon, path, &[("code", "123456")], &[header]).await;
            assert_eq!((refused.status, &refused.json["code"]), (403, &json!("cross_site")), "{header:?}");
        }
    }
    let head = Request::head(format!(
        "{}/v2/auth/otp/send?instance_id={WAHA}&access_token={TOKEN}&chatId={NUMBER}",
        daemon.base
    ));
    assert_eq!(daemon.send(head.body(Vec::new()).unwrap()).await.status, 405);
    daemon.settle().await;
    assert!(world.gateway.requests().is_empty());
    assert_eq!(by_query(&daemon, "send", &[], &[("sec-fetch-site", "none")]).await.status, 200);
    daemon.finish().await;
}

/// Clients of Wawp know their instance by an id of another form, or send the token alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_has_aliases_and_a_token_of_one_instance_needs_none() {
    let mut world = World::new(TestStore::directory());
    world.redirects = "[]\naliases = [\"6A1B2C3D4E\"]".to_owned();
    let daemon = world.start().await;
    let ask = async |parameters: &[(&str, &str)]| {
        let mut url = url::Url::parse(&format!("{}/v2/auth/otp/send", daemon.base)).unwrap();
        url.query_pairs_mut().append_pair("chatId", NUMBER).extend_pairs(parameters);
        daemon.send(Request::get(url.as_str()).body(Vec::new()).unwrap()).await
    };
    let by_alias = ask(&[("instance_id", "6A1B2C3D4E"), ("access_token", TOKEN)]).await;
    assert_eq!(by_alias.status, 200, "{}", by_alias.text);
    daemon.advance_clock(Duration::from_secs(61)).await;
    let by_token = ask(&[("access_token", TOKEN)]).await;
    assert_eq!(by_token.status, 200, "{}", by_token.text);
    let foreign = ask(&[("instance_id", "another"), ("access_token", TOKEN)]).await;
    assert_eq!((foreign.status, &foreign.json["errors"][0]["field"]), (422, &json!("instance_id")));
    let unauthenticated = ask(&[("instance_id", "6A1B2C3D4E")]).await;
    assert_eq!(unauthenticated.status, 401);
    assert!(unauthenticated.json["detail"].as_str().unwrap().contains("access_token"), "{}", unauthenticated.text);
    let path = daemon.post("/api/otp/v2/6A1B2C3D4E/generate-link", json!({})).await;
    assert_eq!(path.status, 200, "{}", path.text);
    let wrong = daemon.post("/api/otp/v2/6A1B2C3D4F/generate-link", json!({})).await;
    assert_eq!(wrong.status, 404);
    daemon.finish().await;
}
