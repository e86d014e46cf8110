//! Somebody can write to Redis and has none of the daemon's keys: what is moved there opens nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::domain::VerificationId;
use redis::Connection;
use serde_json::json;

use crate::{
    daemon::{Daemon, META, META_TOKEN, TOKEN, TestStore, WAHA, World},
    redis_server::RedisServer,
};

const MALLORY: &str = "447700900666";
const VICTOR: &str = "447700900123";

/// Where the record of `uuid` is kept: the last ten bytes of its id.
fn locator(uuid: &str) -> Vec<u8> {
    uuid.parse::<VerificationId>().unwrap().as_bytes()[6..].to_vec()
}

struct Writer {
    connection: Connection,
}

impl Writer {
    fn new(server: &RedisServer) -> Self {
        Self { connection: server.connection() }
    }

    fn command(&mut self, words: &[&[u8]]) {
        redis::cmd(str::from_utf8(words[0]).unwrap()).arg(&words[1..]).exec(&mut self.connection).unwrap();
    }

    fn keys(&mut self, pattern: &str) -> Vec<String> {
        redis::cmd("KEYS").arg(pattern).query(&mut self.connection).unwrap()
    }

    fn record(&mut self, uuid: &str) -> String {
        let keys = self.keys(&format!("cs:*:r:{}", URL_SAFE_NO_PAD.encode(locator(uuid))));
        assert_eq!(keys.len(), 1, "{keys:?}");
        keys[0].clone()
    }

    /// The value of one record's key under another's.
    fn copy(&mut self, from: &str, to: &str) {
        let (from, to) = (self.record(from), self.record(to));
        self.command(&[b"COPY", from.as_bytes(), to.as_bytes(), b"REPLACE"]);
    }

    /// Puts a record on every list beside it, of all instances and chats.
    fn enlist(&mut self, uuid: &str) {
        let own = self.record(uuid);
        let (partition, _) = own.split_once(":r:").unwrap();
        let created = uuid.parse::<VerificationId>().unwrap().created_millis().to_string();
        for list in self.keys(&format!("{partition}:n:*")) {
            self.command(&[b"ZADD", list.as_bytes(), created.as_bytes(), &locator(uuid)]);
        }
    }
}

async fn requests(daemon: &Daemon, token: &str, instance: &str, query: &str) -> String {
    let answer = daemon.get_as(token, &format!("/api/otp/v2/{instance}/requests?limit=100{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text
}

fn world() -> (World, Writer) {
    let world = World::new(TestStore::redis());
    let TestStore::Redis(server) = &world.test_store else { unreachable!() };
    let writer = Writer::new(server);
    (world, writer)
}

/// Mallory's record is put where Victor's code leads, so that his message would verify her login.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_moved_under_another_code_verifies_nothing_and_blocks_nothing() {
    let (world, mut writer) = world();
    let daemon = world.start().await;
    let (hers, his, other) =
        (daemon.create_link(json!({})).await, daemon.create_link(json!({})).await, daemon.create_link(json!({})).await);
    writer.copy(&hers.uuid, &his.uuid);

    assert_eq!(daemon.send_message(VICTOR, "V1", &his.text).await.status, 200, "a gateway would repeat it for nothing");
    assert_eq!(daemon.status(&hers.uuid).await, "pending");
    assert_eq!(daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{}", his.uuid)).await.status, 404);
    let metrics = daemon.service.metrics.render();
    assert!(metrics.contains("countersign_unreadable_total{kind=\"record\"} 1\n"), "{metrics}");
    assert!(metrics.contains("reason=\"code_unknown\"} 1\n"), "{metrics}");

    // One in the same message still counts.
    assert_eq!(daemon.send_message(VICTOR, "V2", &format!("{} {}", his.text, other.text)).await.status, 200);
    assert_eq!(daemon.status(&other.uuid).await, "verified");
    assert_eq!(daemon.send_message(MALLORY, "M1", &hers.text).await.status, 200);
    assert_eq!(daemon.status(&hers.uuid).await, "verified", "where it belongs it opens");
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_added_to_another_list_is_not_shown() {
    let (world, mut writer) = world();
    let daemon = world.start().await;
    // Lists are kept by partition: somebody has links in enough of them.
    let mut minted = Vec::new();
    for _ in 0..40 {
        minted.push(daemon.create_link(json!({"chatId": VICTOR})).await);
        let body = json!({"chatId": MALLORY});
        let headers = [("authorization", &*format!("Bearer {META_TOKEN}"))];
        let answer = daemon.post_with(&format!("/api/otp/v2/{META}/generate-link"), body.clone(), &headers).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(daemon.mint(body).await.status, 200);
    }
    for link in &minted {
        writer.enlist(&link.uuid);
    }
    let everything = requests(&daemon, META_TOKEN, META, "").await;
    let of_mallory = requests(&daemon, TOKEN, WAHA, &format!("&chat_id={MALLORY}")).await;
    let found = |page: &str| minted.iter().filter(|link| page.contains(&link.uuid)).count();
    assert_eq!((found(&everything), found(&of_mallory)), (0, 0));
    daemon.finish().await;
}
