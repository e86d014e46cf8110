//! Buffered, non-blocking writes of log lines to standard error.
//!
//! Log events are appended to a buffer, and one thread writes the buffer out a few milliseconds later, so that a busy
//! process makes one system call for many lines. [`flush`] writes the buffer at once; it runs at exit and on a panic,
//! so only SIGKILL loses lines. If the reader of standard error stalls, logging does not block: lines beyond a maximum
//! are dropped, and their number is logged.

use std::{
    io::{self, Write as _},
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// How long lines are collected before they are written.
const FLUSH_INTERVAL: Duration = Duration::from_millis(10);
/// How long [`flush_with_timeout`] waits for a stalled reader.
const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Buffered bytes, beyond which lines are dropped.
const MAX_BUFFERED_BYTES: usize = 8 * 1024 * 1024;

static BUFFER: StderrBuffer =
    StderrBuffer { lines: Mutex::new(BufferedLines { bytes: Vec::new(), dropped: 0 }), not_empty: Condvar::new() };
/// Held while writing, so that a flush returns only when all earlier lines are written.
static WRITE_LOCK: Mutex<()> = Mutex::new(());

struct StderrBuffer {
    lines: Mutex<BufferedLines>,
    not_empty: Condvar,
}

struct BufferedLines {
    bytes: Vec<u8>,
    dropped: u64,
}

/// Starts the writing thread, and installs a panic hook that flushes before the previous hook reports the panic.
pub fn start() -> io::Result<StderrWriter> {
    thread::Builder::new().name("log".to_owned()).spawn(|| {
        loop {
            let mut buffered = lock(&BUFFER.lines);
            while buffered.bytes.is_empty() && buffered.dropped == 0 {
                buffered = BUFFER.not_empty.wait(buffered).unwrap_or_else(PoisonError::into_inner);
            }
            drop(buffered);
            thread::sleep(FLUSH_INTERVAL);
            flush();
        }
    })?;
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        flush();
        previous(panic);
    }));
    Ok(StderrWriter)
}

/// Writes all buffered lines. Errors are ignored: standard error may be closed.
pub fn flush() {
    let _writing = lock(&WRITE_LOCK);
    let (bytes, dropped) = {
        let mut buffered = lock(&BUFFER.lines);
        (std::mem::take(&mut buffered.bytes), std::mem::take(&mut buffered.dropped))
    };
    let mut error = io::stderr().lock();
    let _ = error.write_all(&bytes);
    if dropped > 0 {
        let _ = writeln!(
            error,
            "{{\"level\":\"WARN\",\"message\":\"{dropped} log lines were dropped: standard error was not read\"}}"
        );
    }
}

/// [`flush`] at the end of the process, which a stalled reader must not block.
pub fn flush_with_timeout() {
    let (done, wait) = mpsc::channel();
    let flushing = thread::Builder::new().name("last-lines".to_owned()).spawn(move || {
        flush();
        // The receiver is gone if the timeout passed.
        let _ = done.send(());
    });
    if flushing.is_ok() {
        let _ = wait.recv_timeout(FINAL_FLUSH_TIMEOUT);
    }
}

/// A writer that appends to the buffer.
#[derive(Clone, Copy)]
pub struct StderrWriter;

impl<'a> MakeWriter<'a> for StderrWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl io::Write for StderrWriter {
    /// Appends one event; the formatter writes each event in one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut buffered = lock(&BUFFER.lines);
        if buffered.bytes.len() + line.len() > MAX_BUFFERED_BYTES {
            buffered.dropped += 1;
        } else {
            if buffered.bytes.is_empty() {
                BUFFER.not_empty.notify_one();
            }
            buffered.bytes.extend_from_slice(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ignores poisoning: a panic in another thread must not stop the log.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
