//! Redis Cluster: a login, the required permissions, its description in the status, and errors of wrong URLs.

use countersign::{
    clock::Clock,
    store::{
        Operations as _, Records as _, StoreError,
        redis::{Durability, RedisStore},
    },
};
use serde_json::json;

use crate::{
    cluster_server::{self, RedisCluster},
    daemon::{TestStore, World},
    process::Process,
    redis_server::{self, free_port},
    wait::until,
};

const PASSWORD: &str = "canary-password";

fn open(url: &str) -> RedisStore {
    RedisStore::new(url, Durability::Standard, Clock::default()).unwrap()
}

fn execute_everywhere(cluster: &RedisCluster, words: &[&str]) {
    for node in 0..cluster.nodes.len() {
        cluster.execute(node, words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_callback_reaches_a_discovered_cluster_node() {
    let cluster = cluster_server::start();
    let mut world = World::new(TestStore::directory());
    world.store =
        Some(format!("url = \"redis-cluster://127.0.0.1:{}\"\ndurability = \"standard\"", cluster.nodes[0].port));
    let daemon = world.start().await;
    for node in &cluster.nodes {
        let url = format!("http://127.0.0.1:{}/", node.port);
        until("the node is closed", async || daemon.is_denied(&url).await).await;
    }
    assert!(!daemon.is_denied(&world.receiver.url).await);
    daemon.finish().await;
}

/// As a user with no more than the permissions that the guide names.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_works_with_the_documented_permissions() {
    let cluster = cluster_server::start();
    let guide = include_str!("../../templates/docs/guides/redis.md").replace('\n', " ");
    let rules = guide.split_once("ACL SETUSER countersign on >PASSWORD ").unwrap().1.split('`').next().unwrap();
    let more = ["+cluster|info", "+cluster|slots"];
    assert!(guide.contains(&format!("`{}`", more.join(" "))), "the guide does not name them");
    let secret = format!(">{PASSWORD}");
    let words = ["ACL", "SETUSER", "us", "on", &secret].into_iter().chain(rules.split_whitespace()).chain(more);
    execute_everywhere(&cluster, &words.collect::<Vec<_>>());

    let mut world = World::new(TestStore::directory());
    let url = cluster.url().replace("://", &format!("://us:{PASSWORD}@"));
    // Without replicas no write can be confirmed.
    world.store = Some(format!("url = \"{url}\"\ndurability = \"standard\""));
    let processes = [Process::start(&world).await, Process::start(&world).await];
    // Enough for every master to have some.
    let mut ids = Vec::new();
    for index in 0..24 {
        let (one, other) = (&processes[index % 2], &processes[(index + 1) % 2]);
        let minted = one.mint(json!({"chatId": format!("4477009001{index:02}"), "client_ref": "r"})).await.unwrap();
        let text = minted.text_of("text");
        assert!(other.send_message(&format!("4477009001{index:02}"), &format!("C{index}"), &text).await);
        assert!(one.send_message(&format!("4477009001{index:02}"), &format!("D{index}"), &text).await, "a second time");
        ids.push(minted.text_of("uuid"));
    }
    let verified = world.receiver.wait_for(24).await;
    let mut verified: Vec<String> =
        verified.iter().map(|one| one.json()["data"]["uuid"].as_str().unwrap().to_owned()).collect();
    verified.sort();
    ids.sort();
    assert_eq!(verified, ids, "each once");
    for node in 0..3 {
        assert!(cluster.query::<u64>(node, &["DBSIZE"]) > 0, "nothing lies on node {node}");
    }
    let status = processes[0].operator("/status").await;
    assert!(status.text.contains("Redis Cluster of 3 masters"), "{}", status.text);
    assert_eq!(processes[0].operator("/readyz").await.status, 200);
    for process in processes {
        let (code, _, written) = process.terminate();
        assert_eq!(code, Some(0), "{written}");
        assert!(
            !written.contains("NOPERM") && !written.contains("cut off") && !written.contains(PASSWORD),
            "{written}"
        );
    }
    assert_eq!(cluster.errors("CROSSSLOT"), 0);
    // With a current slot map no command is redirected.
    assert_eq!(cluster.errors("MOVED"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_their_node() {
    let cluster = cluster_server::start();
    let store = open(&cluster.url());
    assert_eq!(store.preflight().await.unwrap(), Vec::<String>::new());
    assert!(store.describe().await.unwrap().text.starts_with("Redis Cluster of 3 masters; 127.0.0.1:"));
    let third = format!("127.0.0.1:{}", cluster.nodes[2].port);

    let durable = RedisStore::new(&cluster.url(), Durability::Durable, Clock::default()).unwrap();
    let warned = durable.preflight().await.unwrap();
    assert!(warned.len() == 3 && warned[2].contains("has no replica") && warned[2].contains(&third), "{warned:?}");
    let unconfirmed = durable.commit(&crate::store::one_message()).await.unwrap_err().to_string();
    assert!(unconfirmed.contains("not confirmed: no replica has it"), "{unconfirmed}");

    cluster.execute(2, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let Err(StoreError::Misconfigured(why)) = store.preflight().await else { panic!("a node that evicts was taken") };
    assert!(why.contains("allkeys-lru") && why.contains(&third), "{why}");
    cluster.execute(2, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]);

    cluster.nodes[2].signal("-KILL");
    let description = store.describe().await.unwrap().text;
    assert!(description.contains(&format!("{third}: the store is unavailable: nothing listens")), "{description}");
    let away = store.check_writes().await.unwrap_err().to_string();
    assert!(away.contains("nothing listens") || away.contains("CLUSTERDOWN"), "{away}");
}

/// Each says what to write instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_url_for_a_single_redis_and_the_reverse_are_rejected() {
    let single = redis_server::start();
    let mistaken = single.url().replace("redis://", "redis-cluster://");
    let error = open(&mistaken).probe().await.unwrap_err().to_string();
    assert!(error.contains("outside a cluster") && error.contains("redis://"), "{error}");

    let cluster = cluster_server::start();
    // Without the partitions that happen to be there.
    let mut refusals = Vec::new();
    for _ in 0..32 {
        refusals.extend(open(&cluster.nodes[0].url()).commit(&crate::store::one_message()).await.err());
        refusals.extend(open(&cluster.nodes[1].url()).commit(&crate::store::one_message()).await.err());
    }
    assert!(refusals.iter().all(|refusal| refusal.to_string().contains("redis-cluster://")), "{refusals:?}");
    assert!(!refusals.is_empty());

    let no_server_url = format!("redis-cluster://127.0.0.1:{},127.0.0.1:{}", free_port(), free_port());
    let error = open(&no_server_url).probe().await.unwrap_err().to_string();
    assert!(error.contains("nothing listens"), "{error}");
    cluster.execute(0, &["CONFIG", "SET", "requirepass", PASSWORD]);
    cluster.nodes[1].signal("-KILL");
    let error = open(&cluster.url()).probe().await.unwrap_err().to_string();
    assert!(error.contains("(NOAUTH)"), "a refusal is reported before an unreachable node: {error}");
}
