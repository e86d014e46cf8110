//! Requirements on the embedded store alone: one process at a time, and no data lost when it restarts.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    slice::from_ref,
    time::Duration,
};

use countersign::{
    clock::Clock,
    store::{
        AdmissionControl as _, Change, CommitOutcome, DeadReason, IdempotencyClaim, Index, Job, Jobs as _,
        Operations as _, Records as _, Settlement, StoreError, embedded::EmbeddedStore,
    },
};
use futures_util::FutureExt as _;
use rusqlite::Connection;

use super::fixture::{
    HERE, applied, at, claim, create, digest, empty_change, id, job, lease, lease_one, list, loaded, queue, record,
    stored, write,
};

fn open(directory: &Path, clock: &Clock) -> EmbeddedStore {
    EmbeddedStore::open(directory, clock.clone()).unwrap()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn database(directory: &Path) -> Connection {
    Connection::open(directory.join("countersign.sqlite")).unwrap()
}

#[tokio::test]
async fn a_directory_serves_one_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/er");
    let store = open(&path, &Clock::default());
    match EmbeddedStore::open(&path, Clock::default()) {
        Err(StoreError::Unavailable(why)) => {
            assert!(why.contains("another process") && why.contains("deep/er"), "{why}");
        }
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("opened twice"),
    }
    store.probe().await.unwrap();
    drop(store);
    open(&path, &Clock::default()).probe().await.unwrap();
}

#[tokio::test]
async fn files_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let store = open(&path, &Clock::default());
    store.probe().await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let files = files(&path);
    assert_eq!(files.len(), 5, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_rejected() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("countersign.sqlite"), "a shopping list".repeat(100)).unwrap();
    let refused = EmbeddedStore::open(directory.path(), Clock::default()).err().unwrap();
    assert!(matches!(refused, StoreError::Misconfigured(_)), "{refused:?}");
}

#[tokio::test]
async fn data_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::default();
    let (key, message) = (id(), digest());
    let index = Index("list".to_owned());
    let reserve = IdempotencyClaim {
        partition: HERE,
        key: digest().into(),
        fingerprint: digest().into(),
        content: claim(),
        replaces: None,
    };
    {
        let store = open(directory.path(), &clock);
        store.set_meta("name", "value", false).await.unwrap();
        let mut change = Change { answers: Some(message.into()), ..write(&store, key, 0, b"1") };
        list(&mut change, &index);
        applied(store.commit(&change).await.unwrap());
        queue(&store, vec![job("a"), Job { due: Some(at(&store, 60)), ..job("later") }]).await;
        let leased = lease_one(&store).await;
        assert!(store.settle(&leased, &Settlement::Retry { at: at(&store, 0), note: String::new() }).await.unwrap());
        lease_one(&store).await;
        assert_eq!(queue(&store, vec![Job { lease: true, ..job("b") }]).await, [true]);
        store.admit(&[], Some(&reserve)).await.unwrap();
    }
    let store = open(directory.path(), &clock);
    assert_eq!(store.meta().await.unwrap()["name"], "value");
    assert_eq!(loaded(&store, key).await, Some(stored(key, b"1")));
    assert_eq!(store.list(from_ref(&index), None, 10).await.unwrap().len(), 1);
    let again = Change { answers: Some(message.into()), ..empty_change(HERE) };
    assert_eq!(store.commit(&again).await.unwrap(), CommitOutcome::Duplicate);
    let held = store.admit(&[], Some(&IdempotencyClaim { content: claim(), ..reserve.clone() })).await.unwrap();
    assert_eq!(held.idempotency_record.unwrap().content, reserve.content);

    let jobs: Vec<_> = lease(&store).await.into_iter().map(|job| (job.id.0, job.fence, job.attempts)).collect();
    assert_eq!(jobs, [("a".to_owned(), 3, 1), ("b".to_owned(), 2, 0)]);
    clock.advance(Duration::from_secs(60));
    assert!(lease(&store).await.iter().any(|job| job.id.0 == "later"));
}

#[tokio::test]
async fn queued_writes_are_finished_on_close() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::default();
    let store = open(directory.path(), &clock);
    let keys: Vec<_> = (0..500).map(|_| id()).collect();
    for &key in &keys {
        // The caller does not wait for the result.
        let _ = store.commit(&write(&store, key, 0, b"1")).now_or_never();
    }
    drop(store);
    // A database that was closed needs no log.
    assert_eq!(files(directory.path()).len(), 3, "lock, database, ballast");
    let store = open(directory.path(), &clock);
    for key in keys {
        assert!(store.load(key).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_full_write_queue_rejects_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &Clock::default());
    let database = database(directory.path());
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut waiting = Vec::new();
    let refused = loop {
        assert!(waiting.len() < 2000, "nothing is refused");
        let mut write = store.probe();
        match (&mut write).now_or_never() {
            Some(answer) => break answer,
            None => waiting.push(write),
        }
    };
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    database.execute_batch("ROLLBACK").unwrap();
    for write in waiting {
        write.await.unwrap();
    }
    store.probe().await.unwrap();
}

#[tokio::test]
async fn expired_rows_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::default();
    let store = open(directory.path(), &clock);
    for _ in 0..300 {
        let mut change = Change { answers: Some(digest().into()), ..write(&store, id(), 0, b"1") };
        list(&mut change, &Index("list".to_owned()));
        let _ = store.commit(&change).now_or_never();
    }
    let kept = id();
    let mut change = write(&store, kept, 0, b"1");
    record(&mut change).retain_until = at(&store, 3600 * 24 * 365);
    applied(store.commit(&change).await.unwrap());
    queue(&store, vec![job("a")]).await;
    let dead = lease_one(&store).await;
    assert!(store.settle(&dead, &Settlement::Dead { reason: DeadReason::GivenUp, note: String::new() }).await.unwrap());
    clock.advance(Duration::from_hours(24 * 9));
    create(&store, id(), b"2").await;

    let database = database(directory.path());
    let rows = || -> i64 {
        let sql = "SELECT (SELECT count(*) FROM records) + (SELECT count(*) FROM entries)
                 + (SELECT count(*) FROM messages) + (SELECT count(*) FROM jobs)";
        database.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    crate::wait::until_or(|| format!("{} rows are left", rows()), async || rows() == 2).await;
    assert!(store.load(kept).await.unwrap().is_some());
}

/// How often the write-ahead log was restarted, because all of it had been copied into the database.
fn log_restarts(directory: &Path) -> u32 {
    let log = fs::read(directory.join("countersign.sqlite-wal")).unwrap();
    log.get(12..16).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
}

#[tokio::test]
async fn the_log_is_copied_into_the_database_and_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &Clock::default());
    create(&store, id(), b"1").await;
    let before = log_restarts(directory.path());
    crate::wait::until("the log is restarted", async || {
        create(&store, id(), b"2").await;
        log_restarts(directory.path()) > before
    })
    .await;
}

/// A process that dies before its first checkpoint leaves its log behind. If the next ones only added to it, restarts
/// would fill the disk.
#[tokio::test]
async fn the_log_of_a_killed_process_is_copied_into_the_database_at_once() {
    let (running, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(running.path(), &Clock::default());
    let key = id();
    applied(store.commit(&write(&store, key, 0, b"1")).await.unwrap());
    for name in ["countersign.sqlite", "countersign.sqlite-wal"] {
        fs::copy(running.path().join(name), killed.path().join(name)).unwrap();
    }
    let log = killed.path().join("countersign.sqlite-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0);
    let restarted = open(killed.path(), &Clock::default());
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
    assert_eq!(loaded(&restarted, key).await, Some(stored(key, b"1")));
}
