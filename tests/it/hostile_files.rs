//! More connections than the process may open files: it keeps serving without busy-looping, and recovers when they
//! close.

use std::time::Instant;

use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

use crate::{
    daemon::{TestStore, World},
    hostile_clients::address,
    process::Process,
    redis_server::free_port,
    wait::until_or,
};

#[tokio::test(flavor = "multi_thread")]
async fn exhausted_file_descriptors_do_not_stop_the_daemon() {
    let world = World::new(TestStore::directory());
    let (port, operator) = (free_port(), free_port());
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    let process = Process::spawn_with_files(128, port, operator, &text);
    process.wait_until_ready().await;
    let minted = process.mint(json!({})).await.unwrap();
    assert!(process.proc("limits").lines().any(|line| line.starts_with("Max open files") && line.contains(" 128 ")));

    // A message whose callback is due while no further connection can be accepted.
    world.receiver.fail(500, 1);
    assert!(process.send_message("447700900123", "F1", &minted.text_of("text")).await);
    world.gateway.wait_for(1).await;
    let mut flood = JoinSet::new();
    for _ in 0..300 {
        let address = address(&process);
        flood.spawn(async move {
            let mut stream = TcpStream::connect(address).await.ok()?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: ").await.ok()?;
            Some(stream)
        });
    }
    let flood = flood.join_all().await;
    assert!(flood.iter().flatten().count() > 200);
    let (start, spent) = (Instant::now(), process.cpu_seconds());
    // Its second attempt, a connection of its own, comes through, and so does who operates it.
    until_or(
        || format!("a file is left for a callback: {}", process.output()),
        async || {
            assert_eq!(process.operator("/readyz").await.status, 200);
            world.receiver.requests().len() >= 2
        },
    )
    .await;
    let share = (process.cpu_seconds() - spent) / start.elapsed().as_secs_f64();
    assert!(share < 0.5, "{share} of a processor");
    assert!(process.open_files() <= 128);

    drop(flood);
    assert!(process.mint(json!({})).await.is_some());
    let (status, _, written) = process.terminate();
    assert_eq!(status, Some(0), "{written}");
    assert!(!written.contains("os error 24"), "{written}");
}
