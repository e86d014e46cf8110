//! Mallory can write to Redis, but has none of the daemon's keys: records that she moves cannot be decrypted.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::domain::VerificationId;
use redis::Connection;
use serde_json::{Value, json};

use crate::{
    codes::code,
    daemon::{Daemon, META, META_TOKEN, ReceivedResponse, TOKEN, TestStore, WAHA, World},
    redis_server::RedisServer,
};

const MALLORY: &str = "447700900666";
const VICTOR: &str = "447700900123";

/// Length of what an idempotency key stands for: key id, nonce, length of the code, and id of the record.
const CLAIM: usize = 4 + 16 + 1 + 16;

/// Where the record of `uuid` is kept: the last ten bytes of its id.
fn locator(uuid: &str) -> Vec<u8> {
    uuid.parse::<VerificationId>().unwrap().as_bytes()[6..].to_vec()
}

struct RedisAttacker {
    connection: Connection,
}

impl RedisAttacker {
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

    /// The waiting job whose id ends in `suffix`: the key of its partition's jobs, and its id.
    fn job(&mut self, suffix: &str) -> Option<(String, String)> {
        self.keys("cs:*:j").into_iter().find_map(|jobs| {
            let ids: Vec<String> = redis::cmd("HKEYS").arg(&jobs).query(&mut self.connection).unwrap();
            ids.into_iter().find(|id| id.ends_with(suffix)).map(|id| (jobs, id))
        })
    }

    fn value(&mut self, key: &str) -> Vec<u8> {
        redis::cmd("GET").arg(key).query(&mut self.connection).unwrap()
    }

    fn due(&mut self, queue: &str, id: &str) -> i64 {
        redis::cmd("ZSCORE").arg(queue).arg(id).query(&mut self.connection).unwrap()
    }

    /// Makes a job of one instance a due job of another, in the lane of the same kind. Returns the key of its queue.
    fn give_job(&mut self, jobs: &str, id: &str, from: &str, to: &str) -> String {
        let (from, to) = (from.replace('-', ""), to.replace('-', ""));
        let value: Vec<u8> = redis::cmd("HGET").arg(jobs).arg(id).query(&mut self.connection).unwrap();
        let end = value.iter().position(|byte| *byte == b'\n').unwrap();
        let head = str::from_utf8(&value[..end]).unwrap();
        let lane = head.rsplit(' ').next().unwrap();
        let (old, new) = (lane.to_owned(), lane.replace(&from, &to));
        let value = [head.replace(&from, &to).as_bytes(), &value[end..]].concat();
        let (partition, _) = jobs.rsplit_once(':').unwrap();
        self.command(&[b"HSET", jobs.as_bytes(), id.as_bytes(), &value]);
        self.command(&[b"ZREM", format!("{partition}:q:{old}").as_bytes(), id.as_bytes()]);
        let queue = format!("{partition}:q:{new}");
        self.command(&[b"ZADD", queue.as_bytes(), b"1", id.as_bytes()]);
        self.command(&[b"ZADD", format!("{partition}:d").as_bytes(), b"1", new.as_bytes()]);
        queue
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

fn world() -> (World, RedisAttacker) {
    let world = World::new(TestStore::redis());
    let TestStore::Redis(server) = &world.test_store else { unreachable!() };
    let writer = RedisAttacker::new(server);
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
    let metrics = daemon.services.env.metrics.render();
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
    // Lists are kept by partition, so create links in many of them.
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

/// The value of a key is not encrypted: Mallory, who is a tenant, too, makes one of hers stand for Victor's request.
#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_does_not_return_a_request_of_another_instance() {
    let (world, mut writer) = world();
    let daemon = world.start().await;
    for (operation, body) in [("generate-link", json!({})), ("request-code", json!({"chatId": MALLORY}))] {
        assert_eq!(with_key(&daemon, META, META_TOKEN, operation, body.clone()).await.status, 200, "{operation}");
        let hers = writer.keys("cs:*:k:*").remove(0);
        let of_victor = json!({"chatId": VICTOR});
        assert_eq!(with_key(&daemon, WAHA, TOKEN, operation, of_victor).await.status, 200, "{operation}");
        let his = writer.keys("cs:*:k:*").into_iter().find(|key| *key != hers).unwrap();
        // The fingerprint of her body, and the record that his request has created.
        let (own, found) = (writer.value(&hers), writer.value(&his));
        let (fingerprint, claim) = (&own[..own.len() - CLAIM], &found[found.len() - CLAIM..]);
        writer.command(&[b"SET", hers.as_bytes(), &[fingerprint, claim].concat()]);
        let repeated = with_key(&daemon, META, META_TOKEN, operation, body).await;
        assert_eq!((repeated.status, &repeated.json["code"]), (422, &json!("idempotency_key_reused")), "{operation}");
        writer.command(&[b"DEL", hers.as_bytes(), his.as_bytes()]);
    }
    daemon.finish().await;
}

/// A request with an `Idempotency-Key`.
async fn with_key(daemon: &Daemon, instance: &str, token: &str, operation: &str, body: Value) -> ReceivedResponse {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "cart-7")];
    daemon.post_with(&format!("/api/otp/v2/{instance}/{operation}"), body, &headers).await
}

/// Mallory is a tenant, too: if her gateway sent Victor's reply or code, she would read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_given_to_another_instance_sends_nothing() {
    let (world, mut writer) = world();
    let daemon = world.start().await;
    for suffix in [":reply", ":code:0"] {
        world.gateway.fail(500, 1);
        if suffix == ":reply" {
            daemon.send_message(VICTOR, "J1", &daemon.create_link(json!({})).await.text).await;
        } else {
            code(&daemon, json!({"chatId": VICTOR})).await;
        }
        daemon.settle().await;
        let (jobs, id) = writer.job(suffix).expect("the gateway failed, so the job waits");
        let queue = writer.give_job(&jobs, &id, WAHA, META);
        daemon.settle().await;
        let by_mallory = world.gateway.requests().iter().filter(|request| request.path.starts_with("/777/")).count();
        assert_eq!(by_mallory, 0, "{suffix}");
        assert!(writer.due(&queue, &id) > 1, "{suffix} was attempted, and postponed");
    }
    daemon.finish().await;
}
