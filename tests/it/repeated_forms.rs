//! Responses are lost, and people tap twice: a form that the same browser submits again has the same result.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    browser::{Browser, code_in, field, redeem, redirect_parameters, reply, start_path},
    daemon::{Daemon, ReceivedResponse, TestStore, World},
    login_flow::{link_in, on_both_stores},
};

on_both_stores! {
    the_reply_link_can_be_submitted_again
    an_unbound_link_binds_at_its_first_tap
    the_code_can_be_submitted_again
    the_waiting_page_can_be_submitted_again
}

const PHONE: &str = "447700900123";

fn token(answer: &ReceivedResponse) -> Option<String> {
    redirect_parameters(answer).map(|landed| landed["token"].clone())
}

async fn is_spent(daemon: &Daemon, token: &str) -> bool {
    let answer = redeem(daemon, json!({"token": token})).await;
    assert!([200, 410, 422].contains(&answer.status), "{}", answer.text);
    answer.status != 200
}

/// Sends one form four times. The last three answers would each have been enough, and the first that is exchanged ends
/// all; then the form is worth nothing.
async fn repeated(daemon: &Daemon, browser: &mut Browser, path: &str, form: &[(&str, &str)]) -> ReceivedResponse {
    let mut tokens = Vec::new();
    for _ in 0..4 {
        let answer = browser.post(daemon, path, form).await;
        tokens.push(token(&answer).unwrap_or_else(|| panic!("{} {}", answer.status, answer.text)));
    }
    let another = |cookie: &String| cookie.chars().map(|c| if c == 'a' { 'b' } else { 'a' }).collect::<String>();
    let cookie =
        browser.cookie.as_ref().map(|cookie| format!("{}{}", &cookie[..15], another(&cookie[15..].to_owned())));
    let mut other = Browser { cookie, ..Browser::default() };
    assert_eq!(token(&other.post(daemon, path, form).await), None, "another browser");
    assert!(is_spent(daemon, &tokens[0]).await, "three tokens are valid at the same time");
    assert!(!is_spent(daemon, &tokens[2]).await);
    for gone in &tokens {
        assert!(is_spent(daemon, gone).await, "one redemption ends all");
    }
    browser.post(daemon, path, form).await
}

async fn the_reply_link_can_be_submitted_again(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    for (index, minutes) in [0, 9].into_iter().enumerate() {
        let minted = daemon.mint(json!({"state": "s"})).await;
        let page = start_path(&minted);
        let mut owner = Browser::default();
        owner.tap(&daemon, &page, "here").await;
        daemon.send_message(PHONE, &format!("R{index}"), &minted.text_of("text")).await;
        let link = link_in(&reply(&world, index + 1).await);
        let form = field(&owner.get(&daemon, &link).await.text);
        daemon.advance_clock(Duration::from_secs(minutes * 60 + 50)).await;
        let after = repeated(&daemon, &mut owner, &link, &[("form", &form)]).await;
        let after = owner.follow(&daemon, after).await;
        assert_eq!((after.status, after.text.contains("Already used")), (410, true), "{}", after.text);
        assert_eq!(owner.stage(&daemon, &page).await, "done");
    }

    let minted = daemon.mint(json!({"state": "s"})).await;
    let page = start_path(&minted);
    let mut owner = Browser::default();
    owner.tap(&daemon, &page, "here").await;
    daemon.send_message(PHONE, "R9", &minted.text_of("text")).await;
    let link = link_in(&reply(&world, 3).await);
    let form = field(&owner.get(&daemon, &link).await.text);
    assert!(token(&owner.post(&daemon, &link, &[("form", &form)]).await).is_some());
    daemon.advance_clock(Duration::from_secs(59)).await;
    let second = token(&owner.post(&daemon, &link, &[("form", &form)]).await).unwrap();
    daemon.advance_clock(Duration::from_secs(59)).await;
    assert!(!is_spent(&daemon, &second).await, "each token is valid for a minute");
    daemon.finish().await;
}

async fn an_unbound_link_binds_at_its_first_tap(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "completions_allowed = [\"anywhere\"]".to_owned();
    let daemon = world.start().await;
    for (index, body) in
        [json!({"state": "s"}), json!({"state": "s", "completion": "anywhere"})].into_iter().enumerate()
    {
        let minted = daemon.mint(body).await;
        daemon.send_message(PHONE, &format!("U{index}"), &minted.text_of("text")).await;
        let link = link_in(&reply(&world, index + 1).await);
        let mut phone = Browser::default();
        let form = field(&phone.get(&daemon, &link).await.text);
        assert!(phone.cookie.is_some(), "recognised when it comes again");
        let after = repeated(&daemon, &mut phone, &link, &[("form", &form)]).await;
        assert_eq!(after.header("location"), link);
        assert_eq!(phone.follow(&daemon, after).await.status, 410);
    }
    let minted = daemon.mint(json!({"state": "s"})).await;
    daemon.send_message(PHONE, "U9", &minted.text_of("text")).await;
    let link = link_in(&reply(&world, 3).await);
    let form = field(&Browser::default().get(&daemon, &link).await.text);
    assert!(
        token(&Browser::default().post(&daemon, &link, &[("form", &form)]).await).is_some(),
        "without a cookie, once"
    );
    assert_eq!(Browser::default().post(&daemon, &link, &[("form", &form)]).await.header("location"), link);
    daemon.finish().await;
}

async fn the_code_can_be_submitted_again(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let minted = daemon.mint(json!({"state": "s"})).await;
    let page = start_path(&minted);
    let mut desk = Browser::default();
    desk.tap(&daemon, &page, "qr").await;
    daemon.send_message(PHONE, "T1", &minted.text_of("text")).await;
    let code = code_in(&reply(&world, 1).await).unwrap();
    let form = field(&desk.get(&daemon, &page).await.text);
    let to = format!("{page}/code");
    let after = repeated(&daemon, &mut desk, &to, &[("form", &form), ("code", &code)]).await;
    assert_eq!((after.status, after.header("location")), (303, &*page), "the page says that it is done");
    assert_eq!(desk.stage(&daemon, &page).await, "done");
    daemon.finish().await;
}

async fn the_waiting_page_can_be_submitted_again(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "completions_allowed = [\"prove_phone\"]".to_owned();
    let daemon = world.start().await;
    let minted = daemon.mint(json!({"completion": "prove_phone", "chatId": PHONE, "state": "s"})).await;
    let page = start_path(&minted);
    let mut tabs = Browser::default();
    tabs.tap(&daemon, &page, "here").await;
    daemon.send_message(PHONE, "F1", &minted.text_of("text")).await;
    let form = field(&tabs.get(&daemon, &page).await.text);
    let after = repeated(&daemon, &mut tabs, &page, &[("form", &form), ("do", "finish")]).await;
    assert_eq!((after.status, after.header("location")), (303, &*page));
    let events = daemon.get(&format!("/api/otp/v2/{}/requests/{}", crate::daemon::WAHA, minted.text_of("uuid"))).await;
    let again = |entry: &&Value| entry["event"] == "asked for again";
    assert_eq!(events.data("timeline").as_array().unwrap().iter().filter(again).count(), 1, "{}", events.text);
    daemon.finish().await;
}
