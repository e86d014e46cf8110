//! The audit stream: who did what, one JSON object a line, appended to a file of the operator's.
//!
//! A thread of its own writes, so that no request waits for a disk or for a reader that has stalled. What it cannot
//! write is counted, and the next line that it can write is preceded by the number.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// Lines that wait for the thread; more are lost.
const QUEUE_CAPACITY: usize = 8_192;
/// How long the end waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Where lines are handed in.
#[derive(Default)]
pub struct Audit(Option<AuditWriter>);

struct AuditWriter {
    queue: SyncSender<QueueItem>,
    lost: Arc<AtomicU64>,
}

enum QueueItem {
    Line(String),
    /// Somebody waits until what came before is written.
    Flush(mpsc::Sender<()>),
}

impl Audit {
    /// Appends to `path`, which whoever rotates it may rename at any time. It fails where the file cannot be opened now.
    pub fn open(path: &Path) -> io::Result<Self> {
        append(path, b"")?;
        let (lines, waiting) = mpsc::sync_channel(QUEUE_CAPACITY);
        let lost = Arc::new(AtomicU64::new(0));
        let (path, missing) = (path.to_owned(), Arc::clone(&lost));
        thread::Builder::new().name("audit".to_owned()).spawn(move || run_writer(&path, &waiting, &missing))?;
        Ok(Self(Some(AuditWriter { queue: lines, lost })))
    }

    /// Whether anybody wants a line; making one costs something.
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    pub fn write(&self, entry: &Value) {
        let Some(stream) = &self.0 else { return };
        if stream.queue.try_send(QueueItem::Line(format!("{entry}\n"))).is_err() {
            stream.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits, not for ever, until everything is written.
    pub fn flush(&self) {
        let (done, written) = mpsc::channel();
        if self.0.as_ref().is_some_and(|stream| stream.queue.try_send(QueueItem::Flush(done)).is_ok()) {
            let _ = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

fn run_writer(path: &Path, waiting: &Receiver<QueueItem>, lost: &AtomicU64) {
    let mut failing = false;
    while let Ok(first) = waiting.recv() {
        let (mut lines, mut count, mut told) = (String::new(), 0, Vec::new());
        for entry in std::iter::once(first).chain(waiting.try_iter()) {
            match entry {
                QueueItem::Line(line) => {
                    lines.push_str(&line);
                    count += 1;
                }
                QueueItem::Flush(done) => told.push(done),
            }
        }
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            lines.insert_str(0, &format!("{}\n", json!({ "lost": missing })));
        }
        let written = append(path, lines.as_bytes());
        match &written {
            Err(error) if !failing => {
                tracing::error!(path = %path.display(), %error, "the audit stream cannot be written; lines are lost");
            }
            Ok(()) if failing => tracing::info!(path = %path.display(), "the audit stream is written again"),
            _ => {}
        }
        failing = written.is_err();
        if failing {
            lost.fetch_add(missing + count, Ordering::Relaxed);
        }
        for done in told {
            let _ = done.send(());
        }
    }
}

/// Opened each time, so that a file which was moved away is followed by a new one.
fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_also_after_a_rotation_and_losses_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        let audit = Audit::open(&path).unwrap();
        audit.write(&json!({ "did": 1 }));
        audit.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n{\"did\":1}\n");
        std::fs::rename(&path, directory.path().join("audit.1")).unwrap();
        audit.write(&json!({ "did": 2 }));
        audit.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"did\":2}\n");

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        audit.write(&json!({ "did": 3 }));
        audit.flush();
        std::fs::remove_dir(&path).unwrap();
        audit.write(&json!({ "did": 4 }));
        audit.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"lost\":1}\n{\"did\":4}\n");
    }

    #[test]
    fn without_a_path_nothing_is_wanted_and_a_path_that_cannot_be_opened_is_an_error() {
        assert!(!Audit::default().is_enabled());
        assert!(Audit::open(Path::new("/proc/none/audit.jsonl")).is_err());
    }
}
