//! A store that was restored to an earlier state: an event that happens again has the same callback id.

use std::{fs, path::Path};

use serde_json::json;

use crate::daemon::{TestStore, World};

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(to).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_a_repeated_event_has_the_same_id() {
    let world = World::new(TestStore::directory());
    let TestStore::Directory(directory) = &world.test_store else { unreachable!() };
    let backup = tempfile::tempdir().unwrap();
    let daemon = world.start().await;
    let (link, other) = (daemon.create_link(json!({})).await, daemon.create_link(json!({})).await);
    daemon.finish().await;
    copy(directory.path(), backup.path());

    let daemon = world.start().await;
    assert_eq!(daemon.send_message("447700900123", "B1", &link.text).await.status, 200);
    world.receiver.wait_for(1).await;
    daemon.finish().await;
    copy(backup.path(), directory.path());

    let daemon = world.start().await;
    assert_eq!(daemon.status(&link.uuid).await, "pending", "the store knows nothing of it");
    assert_eq!(daemon.send_message("447700900123", "B1", &link.text).await.status, 200);
    assert_eq!(daemon.send_message("447700900123", "B2", &other.text).await.status, 200);
    let callbacks = world.receiver.wait_for(3).await;
    let ids: Vec<&str> = callbacks.iter().map(|callback| callback.header("webhook-id")).collect();
    let of = |uuid: &str| -> Vec<&str> {
        let about = callbacks.iter().zip(&ids).filter(|(callback, _)| callback.json()["data"]["uuid"] == uuid);
        about.map(|(_, id)| *id).collect()
    };
    let (again, once) = (of(&link.uuid), of(&other.uuid));
    assert_eq!((again.len(), once.len()), (2, 1));
    assert!(again[0] == again[1] && again[0] != once[0], "a receiver that remembers ids takes it once: {ids:?}");
    daemon.finish().await;
}
