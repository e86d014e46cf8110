//! Mallory writes as Victor where the gateway takes a sender's number from elsewhere than WhatsApp: from a contact that
//! agents and visitors can edit, or by SMS.

use countersign::gateway::Webhook;
use serde_json::json;

use super::{MODES, VICTOR};
use crate::{
    browser::{Browser, redirect_parameters, start_path},
    daemon::{TestStore, WAHA, World, message, signed_waha},
};

#[tokio::test(flavor = "multi_thread")]
async fn forgeable_sender_numbers_prove_nothing() {
    let mut world = World::new(TestStore::directory());
    world.extra = MODES.to_owned();
    let daemon = world.start().await;
    let instance = daemon.service.instances.get(WAHA.parse().unwrap()).unwrap();
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
        daemon.service.receive(&daemon.service.request(), &instance, &event).await.unwrap();
        assert_eq!(daemon.status(&minted.text_of("uuid")).await, expected, "{completion}");
        let finished = mallory.submit(&daemon, &page, &page, &[("do", "finish")]).await;
        assert_eq!(redirect_parameters(&finished), None, "{completion}: {}", finished.text);
    }
    daemon.finish().await;
}
