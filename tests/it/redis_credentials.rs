//! The password of Redis is changed under a running daemon.

use std::sync::Arc;

use serde_json::json;

use crate::{
    app::{Ground, WAHA_KEY, World},
    process::{Process, told},
    redis_server::{self, RedisServer, free_port},
    wait::until,
};

/// As an administrator.
fn tell(server: &RedisServer, words: &[&str]) {
    let _: redis::Value = redis::cmd(words[0]).arg(&words[1..]).query(&mut server.connection()).unwrap();
}

/// The second password is added, the file is changed, the first is revoked and every connection is cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_counts_from_the_next_connection_on() {
    let server = Arc::new(redis_server::start());
    tell(&server, &["ACL", "SETUSER", "app", "on", ">first", "~*", "&*", "+@all"]);
    let url = |password: &str| format!("redis://app:{password}@127.0.0.1:{}/0", server.port);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), url("first")).unwrap();
    let mut world = World::new(Ground::Redis(Arc::clone(&server)));
    world.store = Some(format!("url_file = {:?}", file.path()));
    let (port, operator) = (free_port(), free_port());
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    let process = Process::with(port, operator, &text, &[]).await;
    let minted = process.mint(json!({})).await.unwrap();

    tell(&server, &["ACL", "SETUSER", "app", ">second"]);
    std::fs::write(file.path(), url("second")).unwrap();
    let applied = "countersign_config_reloads_total{result=\"applied\"}";
    until("the new password is taken up", async || process.metric(applied).await >= 1.0).await;
    assert!((process.metric("countersign_config_current").await - 1.0).abs() < 0.5);
    tell(&server, &["ACL", "SETUSER", "app", "<first"]);
    tell(&server, &["CLIENT", "KILL", "USER", "app"]);
    until("it serves again", async || process.says("447700900123", "P1", &minted.text_of("text")).await).await;
    until("it mints again", async || process.mint(json!({})).await.is_some()).await;
    until("the app is told", async || told(&world).len() == 1).await;

    // An urgent change does not wait for one that needs a restart.
    let other = free_port();
    let changed = text.replace(&format!("listen = \"127.0.0.1:{port}\""), &format!("listen = \"127.0.0.1:{other}\""));
    let changed = changed.replace(WAHA_KEY, "another-hmac-key-0123456789abcdef");
    std::fs::write(process.config.path(), changed).unwrap();
    process.signal("-HUP");
    process.until_metric("countersign_config_waiting{key=\"listen\"}", |waits| waits > 0.5).await;
    let minted = process.mint(json!({})).await.unwrap();
    assert!(!process.says("447700900124", "P2", &minted.text_of("text")).await, "the old secret is refused");
    process.terminate();
}
