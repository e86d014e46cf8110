//! Mallory writes as Victor where the gateway takes a sender's number from elsewhere than WhatsApp: from a contact that
//! agents and visitors can edit, or by SMS.

use countersign::{gateway::Webhook, service::RequestContext};
use serde_json::json;

use super::{MODES, VICTOR};
use crate::{
    browser::{Browser, redirect_parameters, start_path},
    daemon::{InstanceBlock, TestStore, WAHA, World, message, signed_waha},
};

#[tokio::test(flavor = "multi_thread")]
async fn no_number_can_be_proved_by_sms() {
    let (id, token) = ("5f0c2a90-0000-4000-8000-000000000003", "cst_test-token-of-an-instance-for-sms");
    let gateway = "kind = \"twilio\"\naccount_sid = \"AC1\"\nfrom = \"+12025550142\"\nchannel = \"sms\"\n\
                   sms_verifies = true\nwebhook_secret = \"5d3f0c1a9e7b42688c4d1f6e\"";
    let mut world = World::new(TestStore::directory());
    world.more_instances =
        InstanceBlock { id, name: "SMS", number: "+12025550142", token, lines: MODES, gateway }.to_string();
    let daemon = world.start().await;
    let bearer = format!("Bearer {token}");
    for (completion, status) in [("prove_phone", 422), ("same_browser", 200)] {
        let body = json!({"completion": completion, "chatId": VICTOR});
        let path = format!("/api/otp/v2/{id}/generate-link");
        let answer = daemon.post_with(&path, body, &[("authorization", &bearer)]).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(status == 200 || answer.json["errors"][0]["field"] == "completion", "{}", answer.text);
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forgeable_sender_numbers_prove_nothing() {
    let mut world = World::new(TestStore::directory());
    world.instance_lines = MODES.to_owned();
    let daemon = world.start().await;
    let instance = daemon.services.env.instances.get(WAHA.parse().unwrap()).unwrap();
    for (proves, expected) in [(true, "pending"), (false, "verified")] {
        let completion = if proves { "prove_phone" } else { "same_browser" };
        let minted = daemon.mint(json!({"completion": completion, "chatId": VICTOR})).await;
        let (page, mut mallory) = (start_path(&minted), Browser::default());
        mallory.tap(&daemon, &page, "here").await;
        let now = daemon.clock.wall();
        let body = message(VICTOR, completion, &minted.text_of("text"), now.as_second());
        let request = signed_waha(&daemon.base, &body);
        let webhook = Webhook {
            method: request.method(),
            path_suffix: None,
            query: "",
            headers: request.headers(),
            body: request.body(),
            now,
        };
        let mut event = instance.gateway.parse(&webhook).unwrap().remove(0);
        event.forgeable = true;
        daemon
            .services
            .inbound
            .receive(&RequestContext::new(&daemon.services.env.store), &instance, &event)
            .await
            .unwrap();
        assert_eq!(daemon.status(&minted.text_of("uuid")).await, expected, "{completion}");
        let finished = mallory.submit(&daemon, &page, &page, &[("do", "finish")]).await;
        assert_eq!(redirect_parameters(&finished), None, "{completion}: {}", finished.text);
    }
    daemon.finish().await;
}
