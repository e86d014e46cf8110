//! Probes: readiness is a write that the store takes, liveness is nothing but an answer.

use std::sync::Arc;

use crate::{
    app::{Daemon, Ground, World},
    redis_server, wait,
};

async fn asked(app: &Daemon, path: &str) -> u16 {
    app.send(http::Request::get(format!("{}{path}", app.operator)).body(Vec::new()).unwrap()).await.status
}

async fn until(app: &Daemon, status: u16) {
    wait::until(&format!("/readyz answers {status}"), async || {
        assert_eq!(asked(app, "/livez").await, 200, "a restart would not mend the store");
        asked(app, "/readyz").await == status
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_store_and_liveness_does_not() {
    let server = Arc::new(redis_server::start());
    let world = World::new(Ground::Redis(Arc::clone(&server)));
    let app = world.start().await;
    until(&app, 200).await;
    server.signal("-KILL");
    until(&app, 503).await;
    server.restart();
    until(&app, 200).await;

    // It answers and can be read, but takes no writes.
    let replica_of = |words: [&str; 2]| {
        let _: () = redis::cmd("REPLICAOF").arg(&words).query(&mut server.connection()).unwrap();
    };
    let other = redis_server::start();
    replica_of(["127.0.0.1", &other.port.to_string()]);
    until(&app, 503).await;
    replica_of(["NO", "ONE"]);
    until(&app, 200).await;
    app.finish().await;
}
