//! Mallory is a customer of the same daemon: she has an API token, an instance, and everything that her own logins yield.

use serde_json::json;

use crate::{
    browser::{Browser, dispute_in, redeem, redirect_parameters, reply, start_path},
    daemon::{META, META_TOKEN, TOKEN, TestStore, WAHA, World},
    login_flow::link_in,
};

const VICTOR: &str = "447700900123";

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_another_tenant_give_no_access_to_a_login() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let minted = daemon.mint(json!({"state": "s", "client_ref": "c"})).await;
    let (uuid, page, mut victor) = (minted.text_of("uuid"), start_path(&minted), Browser::default());
    victor.tap(&daemon, &page, "here").await;
    daemon.send_message(VICTOR, "T1", &minted.text_of("text")).await;
    let said = reply(&world, 1).await;
    let query = redirect_parameters(&victor.submit_link(&daemon, &link_in(&said)).await).unwrap();
    assert_eq!(
        (query["iss"].as_str(), query["instance"].as_str()),
        ("http://127.0.0.1:1", WAHA),
        "the app sees whose it is"
    );

    let hers = [("authorization", &*format!("Bearer {META_TOKEN}"))];
    for (at, status) in [(META, "token_refused"), (WAHA, "not_found")] {
        let api = format!("/api/otp/v2/{at}");
        let answer = daemon.post_with(&format!("{api}/redeem"), json!({"token": query["token"]}), &hers).await;
        assert_eq!(answer.json["code"], status, "{at}");
        for path in [format!("{api}/requests/{uuid}/cancel"), format!("{api}/requests/{uuid}/resend")] {
            assert_eq!(daemon.post_with(&path, json!({}), &hers).await.status, 404, "{path}");
        }
        for path in [format!("{api}/requests/{uuid}"), format!("{api}/requests/{uuid}/events?wait=0")] {
            assert_eq!(daemon.get_as(META_TOKEN, &path).await.status, 404, "{path}");
        }
    }
    let listed = daemon.get_as(META_TOKEN, &format!("/api/otp/v2/{META}/requests?client_ref=c")).await;
    assert_eq!(listed.data("requests"), &json!([]));
    let explained = daemon.get_as(META_TOKEN, &format!("/api/otp/v2/{META}/explain?q={uuid}")).await;
    assert!(!explained.text.contains("447700900123"), "{}", explained.text);
    assert_eq!(redeem(&daemon, json!({"token": query["token"]})).await.status, 200, "it was not touched");

    // A token of one kind is invalid as any other kind.
    let bearer = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let all = [bearer(&page), bearer(&link_in(&said)), bearer(&dispute_in(&said)), minted.text_of("poll_token")];
    for (own, below) in ["/l/", "/o/", "/d/"].into_iter().enumerate() {
        for (index, token) in all.iter().enumerate().filter(|(index, _)| *index != own) {
            let page = Browser::default().get(&daemon, &format!("{below}{token}")).await;
            assert_eq!(page.status, 410, "kind {index} at {below}");
            assert!(page.text.contains("no longer valid"), "{}", page.text);
        }
    }
    assert_ne!(TOKEN, META_TOKEN);
    daemon.finish().await;
}
