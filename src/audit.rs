//! The audit stream: who did what, as JSON lines appended to a file.
//!
//! A separate thread writes, so that requests wait neither for the disk nor for a stalled reader. Lines that cannot
//! be written are counted, and the next line that is written is preceded by their number: `{"lost":3}`.

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

use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};

/// Lines that may wait for the thread; further ones are lost.
const QUEUE_CAPACITY: usize = 8_192;
/// How long [`Audit::flush`] waits.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A handle to the audit stream. The default one discards everything.
#[derive(Default)]
pub struct Audit(Option<AuditWriter>);

struct AuditWriter {
    queue: SyncSender<AuditItem>,
    lost: Arc<Lost>,
}

/// Lines that were lost.
struct Lost {
    /// Since the last line that was written.
    untold: AtomicU64,
    /// Since the start.
    all: Counter,
}

impl Lost {
    fn add(&self, lines: u64) {
        self.untold.fetch_add(lines, Ordering::Relaxed);
        self.all.inc_by(lines);
    }
}

enum AuditItem {
    Line(String),
    /// Reports back when all earlier lines are written.
    Flush(mpsc::Sender<()>),
}

impl Audit {
    /// Appends to `path`, which may be renamed for rotation at any time. `all_lost` counts the lines that could not be
    /// written.
    ///
    /// # Errors
    /// If the file cannot be opened now, or the thread cannot be started.
    pub fn open(path: &Path, all_lost: Counter) -> io::Result<Self> {
        append(path, b"")?;
        let (lines, waiting) = mpsc::sync_channel(QUEUE_CAPACITY);
        let lost = Arc::new(Lost { untold: AtomicU64::new(0), all: all_lost });
        let (path, missing) = (path.to_owned(), Arc::clone(&lost));
        thread::Builder::new().name("audit".to_owned()).spawn(move || run_writer(&path, &waiting, &missing))?;
        Ok(Self(Some(AuditWriter { queue: lines, lost })))
    }

    /// Whether lines are written at all. Check it before building an entry.
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Queues one line. Never blocks: the line is lost if the queue is full.
    pub fn write(&self, entry: &Value) {
        let Some(stream) = &self.0 else { return };
        if stream.queue.try_send(AuditItem::Line(format!("{entry}\n"))).is_err() {
            stream.lost.add(1);
        }
    }

    /// Waits until all earlier lines are written, for one second at most.
    pub fn flush(&self) {
        let (done, written) = mpsc::channel();
        if self.0.as_ref().is_some_and(|stream| stream.queue.try_send(AuditItem::Flush(done)).is_ok()) {
            let _ = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

fn run_writer(path: &Path, waiting: &Receiver<AuditItem>, lost: &Lost) {
    let mut failing = false;
    while let Ok(first) = waiting.recv() {
        let (mut lines, mut count, mut flushes) = (String::new(), 0, Vec::new());
        for entry in std::iter::once(first).chain(waiting.try_iter()) {
            match entry {
                AuditItem::Line(line) => {
                    lines.push_str(&line);
                    count += 1;
                }
                AuditItem::Flush(done) => flushes.push(done),
            }
        }
        let missing = lost.untold.swap(0, Ordering::Relaxed);
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
            lost.untold.fetch_add(missing, Ordering::Relaxed);
            lost.add(count);
        }
        for done in flushes {
            let _ = done.send(());
        }
    }
}

/// Opens the file for each batch, so that a new one is created after a rotation.
fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_also_after_a_rotation_and_losses_are_reported() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        let lost = Counter::default();
        let audit = Audit::open(&path, lost.clone()).unwrap();
        audit.write(&json!({ "did": 1 }));
        audit.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n{\"did\":1}\n");
        std::fs::rename(&path, directory.path().join("audit.1")).unwrap();
        audit.write(&json!({ "did": 2 }));
        audit.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"did\":2}\n");

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        for did in [3, 4] {
            audit.write(&json!({ "did": did }));
            audit.flush();
            assert_eq!(lost.get(), did - 2, "each once");
        }
        std::fs::remove_dir(&path).unwrap();
        audit.write(&json!({ "did": 5 }));
        audit.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"lost\":2}\n{\"did\":5}\n");
        assert_eq!(lost.get(), 2);
    }

    #[test]
    fn without_a_path_it_is_disabled_and_a_path_that_cannot_be_opened_is_an_error() {
        assert!(!Audit::default().is_enabled());
        assert!(Audit::open(Path::new("/proc/none/audit.jsonl"), Counter::default()).is_err());
    }
}
