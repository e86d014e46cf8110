//! Erasure of personal data: at once on request, and automatically after a day and after a week.

use std::{io::Read as _, time::Duration};

use serde_json::{Value, json};

use crate::{
    browser::{dispute_in, reply},
    codes,
    daemon::{Daemon, META, META_TOKEN, ReceivedResponse, TOKEN, TestStore, WAHA, World},
    login_flow::{form_field, on_both_stores, tap},
};

on_both_stores! {
    a_chat_is_erased_everywhere
    every_spelling_names_the_same_chat
    a_pending_request_is_gone_without_a_callback
    an_erased_code_is_unknown
    other_chats_are_not_erased
    retention_is_configured
}

const PERSON: &str = "447700900123";
const OTHER: &str = "447700900177";

async fn erase(daemon: &Daemon, chat: &str) -> ReceivedResponse {
    erase_as(daemon, TOKEN, WAHA, chat).await
}

async fn erase_as(daemon: &Daemon, token: &str, instance: &str, chat: &str) -> ReceivedResponse {
    let request = http::Request::delete(format!("{}/api/otp/v2/{instance}/subjects/{chat}", daemon.base))
        .header("authorization", format!("Bearer {token}"));
    daemon.send(request.body(Vec::new()).unwrap()).await
}

async fn count(daemon: &Daemon, query: &str) -> usize {
    let answer = daemon.get(&format!("/api/otp/v2/{WAHA}/requests?limit=200&{query}")).await;
    answer.data("requests").as_array().unwrap_or_else(|| panic!("{}", answer.text)).len()
}

async fn a_chat_is_erased_everywhere(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    // Callbacks delivered, pending and dead; chats verified and requested.
    let proved = daemon.create_link(json!({"client_ref": "cart"})).await;
    daemon.send_message(PERSON, "E1", &proved.text).await;
    world.receiver.wait_for(1).await;
    daemon.settle().await;
    world.receiver.fail(410, 1);
    let asked = daemon.create_link(json!({"chatId": PERSON})).await;
    daemon.send_message(PERSON, "E2", &asked.text).await;
    world.receiver.wait_for(2).await;
    daemon.settle().await;
    world.receiver.fail(500, 100);
    let waiting = daemon.create_link(json!({"chatId": PERSON})).await;
    daemon.send_message(PERSON, "E3", &waiting.text).await;
    daemon.settle().await;
    daemon.send_message(PERSON, "E4", "no code in it").await;
    let kept = daemon.create_link(json!({"client_ref": "cart"})).await;
    daemon.send_message(OTHER, "O1", &kept.text).await;
    daemon.settle().await;
    assert_eq!((count(&daemon, "").await, count(&daemon, &format!("chat_id={PERSON}")).await), (4, 3));
    assert_eq!(erase(&daemon, OTHER).await.data("erased")["requests"], 1);

    let erased = erase(&daemon, PERSON).await;
    assert_eq!(erased.status, 200, "{}", erased.text);
    assert_eq!(erased.data("erased"), &json!({"requests": 3, "jobs": 0, "messages": 4}));
    assert_eq!((count(&daemon, "").await, count(&daemon, "client_ref=cart").await), (0, 0));
    for link in [&proved, &asked, &waiting] {
        assert_eq!(daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{}", link.uuid)).await.status, 404);
    }
    let callbacks = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks")).await;
    assert_eq!(callbacks.data("callbacks"), &json!([]));
    let explained = daemon.get(&format!("/api/otp/v2/{WAHA}/explain?q=0123")).await;
    assert_eq!((explained.data("messages"), explained.data("requests")), (&json!([]), &json!([])));
    let before = world.receiver.requests().len();
    daemon.advance(Duration::from_hours(1)).await;
    assert_eq!(world.receiver.requests().len(), before, "no callback of an erased person leaves");
    assert_eq!(erase(&daemon, PERSON).await.data("erased"), &json!({"requests": 0, "jobs": 0, "messages": 0}));
    daemon.stop().await;
    assert_eq!(records_at_rest(&world), 0);
}

/// How many records the store still has, as rows or keys.
fn records_at_rest(world: &World) -> usize {
    match &world.test_store {
        TestStore::Directory(directory) => {
            let mut bytes = Vec::new();
            for entry in std::fs::read_dir(directory.path()).unwrap() {
                // SQLite may have removed it since it was listed.
                match std::fs::File::open(entry.unwrap().path()) {
                    Ok(mut file) => drop(file.read_to_end(&mut bytes).unwrap()),
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
                }
            }
            // SQLite overwrites what it deletes (`secure_delete`), and all of it was sealed.
            assert!(!bytes.windows(PERSON.len()).any(|window| window == PERSON.as_bytes()));
            0
        }
        TestStore::Redis(server) => {
            let keys: Vec<String> = ::redis::cmd("KEYS").arg("cs:*:[rint]:*").query(&mut server.connection()).unwrap();
            keys.len()
        }
    }
}

async fn every_spelling_names_the_same_chat(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    for chat in
        [PERSON.to_owned(), format!("%2B{PERSON}"), format!("{PERSON}@c.us"), format!("{PERSON}@s.whatsapp.net")]
    {
        daemon.create_link(json!({"chatId": PERSON})).await;
        assert_eq!(erase(&daemon, &chat).await.data("erased")["requests"], 1, "{chat}");
    }
    for chat in ["x", "%20", "12@g.us"] {
        let refused = erase(&daemon, chat).await;
        assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("chat_id")), "{chat}");
    }
    daemon.finish().await;
}

async fn a_pending_request_is_gone_without_a_callback(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"chatId": PERSON, "expires": 60})).await;
    assert_eq!(erase(&daemon, PERSON).await.data("erased")["requests"], 1);
    assert_eq!(daemon.send_message(PERSON, "P1", &link.text).await.status, 200);
    daemon.advance(Duration::from_secs(120)).await;
    assert!(world.receiver.requests().is_empty() && world.gateway.requests().is_empty());
    daemon.finish().await;
}

async fn an_erased_code_is_unknown(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (_, code) = codes::code(&daemon, json!({"chatId": PERSON})).await;
    assert_eq!(erase(&daemon, PERSON).await.data("erased")["requests"], 1);
    let refused = codes::validate(&daemon, PERSON, &code).await;
    assert_eq!((refused.status, &refused.json["code"]), (409, &json!("code_not_active")));
    daemon.advance(Duration::from_mins(11)).await;
    let (_, code) = codes::code(&daemon, json!({"chatId": PERSON})).await;
    assert_eq!(codes::validate(&daemon, PERSON, &code).await.status, 200, "the next one counts");
    daemon.finish().await;
}

async fn other_chats_are_not_erased(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let mine = daemon.create_link(json!({"chatId": PERSON})).await;
    let other = daemon.create_link(json!({"chatId": OTHER})).await;
    let foreign = erase_as(&daemon, META_TOKEN, META, PERSON).await;
    assert_eq!((foreign.status, &foreign.data("erased")["requests"]), (200, &json!(0)), "another tenant's chat");
    assert_eq!(erase_as(&daemon, META_TOKEN, WAHA, PERSON).await.status, 404);
    assert_eq!(daemon.status(&mine.uuid).await, "pending");
    erase(&daemon, PERSON).await;
    assert_eq!(daemon.status(&other.uuid).await, "pending");
    daemon.send_message(OTHER, "N1", &other.text).await;
    daemon.settle().await;
    assert_eq!(daemon.status(&other.uuid).await, "verified");
    daemon.finish().await;
}

async fn retention_is_configured(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "retention = \"48h\"\nerase_after = \"1h\"".to_owned();
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"message": {"success": "Hello <link>"}})).await;
    daemon.send_message(PERSON, "T1", &link.text).await;
    daemon.settle().await;
    let path = format!("/api/otp/v2/{WAHA}/requests/{}", link.uuid);
    let dispute = dispute_in(&reply(&world, 1).await);
    let page = daemon.get(&dispute).await;
    assert_eq!(page.status, 200, "until then the person can object");
    assert_eq!(daemon.get(&path).await.data("subject")["value"], format!("+{PERSON}"));
    daemon.advance(Duration::from_mins(61)).await;
    let forgotten = daemon.get(&path).await;
    assert_eq!(
        (forgotten.status, forgotten.data("subject"), forgotten.data("push_name")),
        (200, &Value::Null, &Value::Null)
    );
    assert_eq!(forgotten.data("chat_id"), &Value::Null);
    assert_eq!(daemon.get(&dispute).await.status, 410);
    assert_eq!(tap(&daemon, &dispute, &form_field(&page.text)).await.status, 410);
    assert_eq!(count(&daemon, "status=verified").await, 1, "still listed");
    daemon.advance(Duration::from_hours(48)).await;
    assert_eq!(daemon.get(&path).await.status, 404);
    assert_eq!(count(&daemon, "").await, 0);
    daemon.finish().await;
}
