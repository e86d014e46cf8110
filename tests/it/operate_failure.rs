//! A daemon that cannot start, or whose task fails, shuts down gracefully, with an exit status that states whether a
//! restart may help.

use std::{net::TcpListener, process::Command};

use serde_json::json;

use crate::{
    daemon::{TestStore, World},
    process::Process,
    redis_server::free_port,
    wait::until,
};

fn spawn(world: &World, prepare: &str) -> Process {
    let (port, operator) = (free_port(), free_port());
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    Process::spawn_after(prepare, port, operator, &text)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_temporary() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = World::new(TestStore::directory());
    let text = world.config(&taken.local_addr().unwrap().to_string(), "127.0.0.1:0");
    let (status, _, log) = Process::spawn(0, 0, &text, &[]).wait_for_exit();
    assert!(status == Some(75) && log.contains("cannot listen on"), "{status:?} {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_temporary() {
    let world = World::new(TestStore::directory());
    let TestStore::Directory(directory) = &world.test_store else { unreachable!() };
    let mount = format!("mount -t tmpfs -o size=16k tmpfs {}", directory.path().display());
    let inside = format!(r#"exec unshare --map-root-user --mount sh -c '{mount} && exec "$0" "$@"' "$0" "$@""#);
    let (status, _, log) = spawn(&world, &inside).wait_for_exit();
    let why = format!("cannot use {}", directory.path().display());
    assert!(status == Some(75) && log.contains(&why) && log.contains("the disk is full"), "{status:?} {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_without_permission_is_a_configuration_error() {
    let mut world = World::new(TestStore::directory());
    world.store = Some("url = \"embedded:/proc/countersign\"".to_owned());
    let (status, _, log) = spawn(&world, ":").wait_for_exit();
    assert_eq!(status, Some(78), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_disk_fails_ends_the_process_in_order() {
    let world = World::new(TestStore::directory());
    // The file size limit then fails writes instead of killing the process.
    let process = spawn(&world, "trap '' XFSZ");
    process.wait_until_ready().await;
    assert!(process.mint(json!({})).await.is_some());
    let id = process.id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &id, "--fsize=0:0"]).status().unwrap().success());
    until("the process notices", async || process.output().contains("a task failed")).await;
    let (status, _, log) = tokio::task::spawn_blocking(|| process.wait_for_exit()).await.unwrap();
    assert_eq!(status, Some(1), "{log}");
    let places = [
        "a task failed",
        "shutting down: reporting not ready",
        "countersign::app: stopped",
        "countersign: the store failed: the store's writer failed",
    ];
    let places = places.map(|part| log.find(part).unwrap_or_else(|| panic!("no {part} in {log}")));
    assert!(places.is_sorted(), "{log}");
}
