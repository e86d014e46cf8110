//! The password of Redis is changed under a running daemon.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tempfile::NamedTempFile;

use crate::{
    cluster_server,
    daemon::{TestStore, WAHA_KEY, World},
    process::{Process, callbacks_by_link},
    redis_sentinel::SentinelSetup,
    redis_server::{self, RedisServer, free_port},
    wait::until,
};

/// As an administrator.
fn execute(server: &RedisServer, words: &[&str]) {
    let _: redis::Value = redis::cmd(words[0]).arg(&words[1..]).query(&mut server.connection()).unwrap();
}

/// A daemon whose store's URL has the password in its place.
async fn serve(servers: &[&RedisServer], url: &str) -> (World, Process, NamedTempFile) {
    for server in servers {
        execute(server, &["ACL", "SETUSER", "app", "on", ">first", "~*", "&*", "+@all"]);
    }
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), url.replace("PASSWORD", "first")).unwrap();
    let mut world = World::new(TestStore::directory());
    world.store = Some(format!("url_file = \"{}\"", file.path().display()));
    let process = Process::start(&world).await;
    (world, process, file)
}

/// The second password is added, the file is changed, the first is revoked and every connection is cut.
async fn change_password(servers: &[&RedisServer], url: &str, process: &Process, file: &NamedTempFile) {
    for server in servers {
        execute(server, &["ACL", "SETUSER", "app", ">second"]);
    }
    std::fs::write(file.path(), url.replace("PASSWORD", "second")).unwrap();
    let applied = "countersign_config_reloads_total{result=\"applied\"}";
    until("the new password is taken up", async || process.metric(applied).await >= 1.0).await;
    for server in servers {
        execute(server, &["ACL", "SETUSER", "app", "<first"]);
        execute(server, &["CLIENT", "KILL", "USER", "app"]);
    }
}

async fn assert_serves(world: &World, process: &Process, pending: &str, number: &str) {
    until("it serves again", async || process.send_message(number, number, pending).await).await;
    until("it mints again", async || process.mint(json!({})).await.is_some()).await;
    let before = callbacks_by_link(world).len();
    until("the login has a callback", async || callbacks_by_link(world).len() >= before.max(1)).await;
}

/// Also by the server that becomes the master afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_used_with_sentinel() {
    let watched = SentinelSetup::start().await;
    let url = watched.url().replace("sentinel://", "sentinel://app:PASSWORD@");
    let servers = [&watched.master, &watched.replica];
    let (world, process, file) = serve(&servers, &url).await;
    let pending = process.mint(json!({})).await.unwrap().text_of("text");
    let other = process.mint(json!({})).await.unwrap().text_of("text");
    change_password(&servers, &url, &process, &file).await;
    assert_serves(&world, &process, &pending, "447700900123").await;
    watched.fail_over().await;
    assert_serves(&world, &process, &other, "447700900124").await;
    process.terminate();
}

/// By nodes that were dialled before, and by those that are dialled for the first time.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_used_in_a_cluster() {
    let cluster = cluster_server::start_with_replicas(Duration::from_secs(10));
    let url = cluster.url().replace("cluster://", "cluster://app:PASSWORD@");
    let servers: Vec<&RedisServer> = cluster.nodes.iter().collect();
    let (world, process, file) = serve(&servers, &url).await;
    let mut pending = Vec::new();
    for _ in 0..8 {
        pending.push(process.mint(json!({})).await.unwrap().text_of("text"));
    }
    change_password(&servers, &url, &process, &file).await;
    for (index, text) in pending.iter().enumerate() {
        if index == 4 {
            tokio::task::block_in_place(|| cluster.fail_over(0, 3));
        }
        assert_serves(&world, &process, text, &format!("4477009001{index:02}")).await;
    }
    until("every login has a callback", async || callbacks_by_link(&world).len() == pending.len()).await;
    process.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_used_for_new_connections() {
    let server = Arc::new(redis_server::start());
    execute(&server, &["ACL", "SETUSER", "app", "on", ">first", "~*", "&*", "+@all"]);
    let url = |password: &str| format!("redis://app:{password}@127.0.0.1:{}/0", server.port);
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), url("first")).unwrap();
    let mut world = World::new(TestStore::Redis(Arc::clone(&server)));
    world.store = Some(format!("url_file = \"{}\"", file.path().display()));
    let (port, operator) = (free_port(), free_port());
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    let process = Process::with(port, operator, &text, &[]).await;
    let minted = process.mint(json!({})).await.unwrap();

    execute(&server, &["ACL", "SETUSER", "app", ">second"]);
    std::fs::write(file.path(), url("second")).unwrap();
    let applied = "countersign_config_reloads_total{result=\"applied\"}";
    until("the new password is taken up", async || process.metric(applied).await >= 1.0).await;
    assert!((process.metric("countersign_config_current").await - 1.0).abs() < 0.5);
    execute(&server, &["ACL", "SETUSER", "app", "<first"]);
    execute(&server, &["CLIENT", "KILL", "USER", "app"]);
    until("it serves again", async || process.send_message("447700900123", "P1", &minted.text_of("text")).await).await;
    until("it mints again", async || process.mint(json!({})).await.is_some()).await;
    until("the login has a callback", async || callbacks_by_link(&world).len() == 1).await;

    // An urgent change does not wait for one that needs a restart.
    let other = free_port();
    let changed = text.replace(&format!("listen = \"127.0.0.1:{port}\""), &format!("listen = \"127.0.0.1:{other}\""));
    let changed = changed.replace(WAHA_KEY, "another-hmac-key-0123456789abcdef");
    std::fs::write(process.config.path(), changed).unwrap();
    process.signal("-HUP");
    process.until_metric("countersign_config_waiting{key=\"listen\"}", |waits| waits > 0.5).await;
    let minted = process.mint(json!({})).await.unwrap();
    assert!(!process.send_message("447700900124", "P2", &minted.text_of("text")).await, "the old secret is refused");
    process.terminate();
}
