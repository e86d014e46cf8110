//! Errors of Redis are abbreviated codes. The log states what each means and how to fix it.

use std::sync::Arc;

use countersign::{
    clock::Clock,
    store::{
        Operations as _, Records as _, StoreError,
        redis::{Durability, RedisStore},
    },
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    daemon::{TestStore, World},
    process::Process,
    redis_server::{self, RedisServer, free_port},
    wait::{until, until_or},
};

const PASSWORD: &str = "canary-password";

fn open(url: &str) -> RedisStore {
    RedisStore::new(url, Durability::Standard, Clock::default()).unwrap()
}

fn execute(server: &RedisServer, words: &[&str]) {
    let mut cmd = redis::cmd(words[0]);
    let _: redis::Value = cmd.arg(&words[1..]).query(&mut server.connection()).unwrap();
}

/// The url of the server with credentials.
fn with_credentials(server: &RedisServer, credentials: &str) -> String {
    server.url().replace("redis://", &format!("redis://{credentials}@"))
}

fn launch(world: &World, url: &str) -> Process {
    let (port, operator) = (free_port(), free_port());
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    Process::spawn(port, operator, &text.replace(&world.test_store.url(), url), &[])
}

/// Every way in says it: the probe, and what a request does.
async fn rejection(url: &str) -> String {
    let store = open(url);
    let probed = store.probe().await.unwrap_err().to_string();
    let committed = store.commit(&crate::store::one_message()).await.unwrap_err();
    assert!(
        matches!(committed, StoreError::Unavailable(_) | StoreError::Refused(_)),
        "{probed}, and {committed}: worth another try"
    );
    assert_eq!(committed.to_string(), probed);
    assert!(!probed.contains(PASSWORD) && !probed.contains("127.0.0.1"), "{probed}");
    probed
}

#[track_caller]
fn assert_contains(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word} in {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_wrong_credentials_are_named() {
    let server = redis_server::start();
    execute(&server, &["ACL", "SETUSER", "weak", "on", &format!(">{PASSWORD}"), "~cs:*", "&cs:*", "+@read"]);
    assert_contains(
        &rejection(&with_credentials(&server, &format!("weak:{PASSWORD}"))).await,
        &["store.url", "(NOPERM)", "ACL SETUSER"],
    );
    assert_contains(
        &rejection(&with_credentials(&server, "weak:canary-password-2")).await,
        &["store.url", "(WRONGPASS)"],
    );
    assert_contains(
        &rejection(&with_credentials(&server, "nobody:canary-password")).await,
        &["store.url", "(WRONGPASS)"],
    );
    execute(&server, &["CONFIG", "SET", "requirepass", PASSWORD]);
    assert_contains(&rejection(&server.url()).await, &["(NOAUTH)", "redis://USER:PASSWORD@HOST"]);
    assert_contains(&rejection(&with_credentials(&server, ":another")).await, &["(WRONGPASS)"]);
    open(&with_credentials(&server, &format!(":{PASSWORD}"))).probe().await.unwrap();
}

/// With the permissions that the message names, and no others, everything works.
#[tokio::test(flavor = "multi_thread")]
async fn the_named_permissions_are_sufficient() {
    let server = redis_server::start();
    let weak = format!(">{PASSWORD}");
    execute(&server, &["ACL", "SETUSER", "us", "on", &weak]);
    let named = rejection(&with_credentials(&server, &format!("us:{PASSWORD}"))).await;
    let rules: Vec<&str> =
        named.split_once("ACL SETUSER … ").unwrap().1.split(" (and").next().unwrap().split_whitespace().collect();
    let all: Vec<&str> = ["ACL", "SETUSER", "us"].into_iter().chain(rules).collect();
    execute(&server, &all);

    let server = Arc::new(server);
    let world = World::new(TestStore::Redis(Arc::clone(&server)));
    let process = launch(&world, &with_credentials(&server, &format!("us:{PASSWORD}")));
    process.wait_until_ready().await;
    let minted = process.mint(json!({})).await.unwrap();
    assert!(process.send_message("447700900123", "A1", &minted.text_of("text")).await);
    world.receiver.wait_for(1).await;
    world.gateway.wait_for(1).await;
    assert_eq!(process.operator("/readyz").await.status, 200);
    let (status, _, written) = process.terminate();
    assert_eq!(status, Some(0), "{written}");
    assert!(!written.contains("NOPERM") && !written.contains(PASSWORD), "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_full_and_failed_save_have_different_hints() {
    let (server, other) = (redis_server::start(), redis_server::start());
    execute(&server, &["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    assert_contains(&rejection(&server.url()).await, &["(READONLY)", "master"]);
    execute(&server, &["REPLICAOF", "NO", "ONE"]);

    execute(&server, &["CONFIG", "SET", "maxmemory", "1kb"]);
    let full = open(&server.url()).commit(&crate::store::one_message()).await.unwrap_err();
    assert!(matches!(full, StoreError::Full), "{full}");
    assert_contains(&full.to_string(), &["full", "maxmemory"]);
    execute(&server, &["CONFIG", "SET", "maxmemory", "0"]);

    // A save that fails, as on a full disk: nothing more is written.
    let (_, directory): (String, String) =
        redis::cmd("CONFIG").arg("GET").arg("dir").query(&mut server.connection()).unwrap();
    std::fs::remove_dir_all(directory).unwrap();
    execute(&server, &["CONFIG", "SET", "save", "3600 1"]);
    execute(&server, &["BGSAVE"]);
    let failed = || {
        let info: String = redis::cmd("INFO").arg("persistence").query(&mut server.connection()).unwrap();
        info.contains("rdb_last_bgsave_status:err")
    };
    until("the save fails", async || failed()).await;
    assert_contains(&rejection(&server.url()).await, &["(MISCONF)", "disk"]);
}

/// Sends `greeting` to each client, and `answer` to every command; without an answer it closes the connection.
async fn server(greeting: &'static str, answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}/0", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(greeting.as_bytes()).await?;
                let mut buffer = vec![0; 65536];
                while let Some(answer) = answer {
                    let read = stream.read(&mut buffer).await?;
                    if read == 0 {
                        break;
                    }
                    // Our commands hold no text that begins a line so.
                    let commands = buffer[..read].split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"*"));
                    stream.write_all(answer.repeat(commands.count()).as_bytes()).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    url
}

/// What a Redis without a password says to other hosts, before it hangs up: networking.c of Redis.
const DENIED: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is \
                      set for the default user. In this mode connections are only accepted from the loopback \
                      interface.\r\n";
const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn protected_mode_loading_and_no_answer_have_hints() {
    assert_contains(&rejection(&server(DENIED, None).await).await, &["protected mode", "(DENIED)", "requirepass"]);
    assert_contains(&rejection(&server("", Some(LOADING)).await).await, &["(LOADING)", "reading its data"]);
    // What hangs up without a word is no Redis in protected mode.
    let broken = rejection(&server("", None).await).await;
    assert!(!broken.contains("DENIED"), "{broken}");
    let no_server_url = format!("redis://127.0.0.1:{}/0", free_port());
    assert_contains(&rejection(&no_server_url).await, &["nothing listens", "store.url"]);
}

/// At the start, and again whenever it is something else.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_error_is_logged_at_startup_and_when_it_changes() {
    let server = redis_server::start();
    execute(&server, &["CONFIG", "SET", "requirepass", PASSWORD]);
    let server = Arc::new(server);
    let world = World::new(TestStore::Redis(Arc::clone(&server)));
    let process = launch(&world, &server.url());
    let until = async |what: &str| {
        let otherwise = || format!("{what} in {}", process.output());
        until_or(otherwise, async || process.output().contains(what)).await;
    };
    until("the store is not reachable; starting as not ready and trying again error=the store is unavailable: Redis asks for a password").await;
    until("ERROR countersign::app::readiness: not ready why=\"the store is unavailable: Redis asks for a password")
        .await;
    server.signal("-KILL");
    until("ERROR countersign::app::readiness: not ready why=\"the store is unavailable: nothing listens").await;
    assert_eq!(process.output().matches("app::readiness: not ready").count(), 2, "{}", process.output());
    // Its password was in its memory alone.
    server.restart();
    process.wait_until_ready().await;
    process.terminate();
}

#[test]
fn the_guide_names_the_same_permissions() {
    let guide = include_str!("../../templates/docs/guides/redis.md").replace('\n', " ");
    let rules = "~cs:* &cs:* +@read +@write +@scripting +@pubsub +@connection +info +time +wait";
    assert!(guide.contains(&format!("ACL SETUSER countersign on >PASSWORD {rules}`")), "the guide to Redis");
}
