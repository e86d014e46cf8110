//! Replies to one chat are sent one at a time, in the order of its messages; other chats do not wait for them.

use std::time::Duration;

use serde_json::json;

use crate::daemon::{TestStore, World};

#[tokio::test(flavor = "multi_thread")]
async fn replies_to_one_chat_keep_their_order() {
    for test_store in [TestStore::directory(), TestStore::redis()] {
        let world = World::new(test_store);
        let daemon = world.start().await;
        world.gateway.delay(Duration::from_secs(9));
        let mut links = Vec::new();
        for word in ["first", "second", "third", "other"] {
            links.push(daemon.create_link(json!({ "message": { "success": format!("the {word} reply") } })).await);
        }
        for (number, link) in links.iter().enumerate() {
            let person = if number == 3 { "447700900200" } else { "447700900123" };
            assert_eq!(daemon.send_message(person, &format!("3EB00{number}"), &link.text).await.status, 200);
        }
        // The first reply to each chat is in flight; a second one to the same chat would break the order.
        world.gateway.wait_for(2).await;
        world.gateway.delay(Duration::ZERO);
        let replies: Vec<(String, String)> = world
            .gateway
            .wait_for(4)
            .await
            .iter()
            .map(crate::fakes::ReceivedRequest::json)
            .map(|json| (json["chatId"].as_str().unwrap().to_owned(), json["text"].as_str().unwrap().to_owned()))
            .collect();
        let of = |chat: &str| -> Vec<&str> {
            replies
                .iter()
                .filter(|(to, _)| to.starts_with(chat))
                .map(|(_, text)| text.lines().next().unwrap())
                .collect()
        };
        assert_eq!(of("447700900123"), ["the first reply", "the second reply", "the third reply"]);
        let position = |text: &str| replies.iter().position(|(_, found)| found.starts_with(text)).unwrap();
        assert!(position("the other reply") < position("the third reply"), "{replies:?}");
        daemon.finish().await;
    }
}
