//! A copy of the embedded store, taken under a running daemon, and a daemon started from it.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use countersign::store::embedded::{BackupError, backup};
use serde_json::json;

use crate::daemon::{TestStore, World};

fn directory(world: &World) -> &Path {
    match &world.test_store {
        TestStore::Directory(directory) => directory.path(),
        TestStore::Redis(_) => unreachable!(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_holds_everything_that_was_answered_before_it() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let mut links = Vec::new();
    for _ in 0..20 {
        links.push(daemon.create_link(json!({})).await);
    }
    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("copy.sqlite");
    let store = directory(&world).to_owned();
    let copied = tokio::task::spawn_blocking({
        let file = file.clone();
        move || backup(&store, &file)
    });
    // Writes go on meanwhile.
    let later = daemon.create_link(json!({})).await;
    copied.await.unwrap().unwrap();
    assert_eq!(daemon.send_message("447700900123", "later", &later.text).await.status, 200);
    daemon.finish().await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 1, "nothing but the copy");

    let restored = World::new(TestStore::directory());
    std::fs::copy(&file, directory(&restored).join("countersign.sqlite")).unwrap();
    let daemon = restored.start().await;
    for (index, link) in links.iter().enumerate() {
        assert_eq!(daemon.status(&link.uuid).await, "pending");
        assert_eq!(daemon.send_message("447700900123", &format!("m{index}"), &link.text).await.status, 200);
        assert_eq!(daemon.status(&link.uuid).await, "verified");
    }
    restored.receiver.wait_for(links.len()).await;
    daemon.finish().await;
}

#[test]
fn a_copy_replaces_nothing_and_needs_a_store() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = to.path().join("copy.sqlite");
    assert!(matches!(backup(from.path(), &target), Err(BackupError::NoStore(_))));
    std::fs::write(from.path().join("countersign.sqlite"), "a shopping list".repeat(100)).unwrap();
    assert!(matches!(backup(from.path(), &target), Err(BackupError::Copy(_))));
    assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0, "no half of a copy");
    std::fs::write(&target, "important").unwrap();
    assert!(matches!(backup(from.path(), &target), Err(BackupError::Exists(_))));
    assert_eq!(std::fs::read(&target).unwrap(), b"important");
}
