//! Log lines on their way to standard error.
//!
//! Whoever logs appends to a buffer; one thread writes it out a few milliseconds later, so that a busy process pays
//! for one system call and not for one per line. [`flush`] writes what is there, at the end and when something
//! panics; only a kill can lose the last milliseconds. Nobody waits for a reader that has stalled: beyond a bound
//! lines are dropped, and counted in the log itself.

use std::{
    io::{self, Write as _},
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// How long lines are gathered.
const FLUSH_INTERVAL: Duration = Duration::from_millis(10);
/// How long the end waits for the last lines.
const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// What may wait for a stalled reader.
const MAX_BUFFERED_BYTES: usize = 8 * 1024 * 1024;

static BUFFER: StderrBuffer =
    StderrBuffer { lines: Mutex::new(BufferedLines { bytes: Vec::new(), dropped: 0 }), not_empty: Condvar::new() };
/// Held while writing, so that a flush returns only when everything before it is out.
static WRITE_LOCK: Mutex<()> = Mutex::new(());

struct StderrBuffer {
    lines: Mutex<BufferedLines>,
    not_empty: Condvar,
}

struct BufferedLines {
    bytes: Vec<u8>,
    dropped: u64,
}

/// Starts the thread that writes, and flushes before a panic is told.
pub fn start() -> io::Result<StderrWriter> {
    thread::Builder::new().name("log".to_owned()).spawn(|| {
        loop {
            let mut waiting = lock(&BUFFER.lines);
            while waiting.bytes.is_empty() && waiting.dropped == 0 {
                waiting = BUFFER.not_empty.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            drop(waiting);
            thread::sleep(FLUSH_INTERVAL);
            flush();
        }
    })?;
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        flush();
        told(panic);
    }));
    Ok(StderrWriter)
}

/// Writes out what has been logged until now. A standard error that is closed is nobody's business.
pub fn flush() {
    let _writing = lock(&WRITE_LOCK);
    let (bytes, dropped) = {
        let mut waiting = lock(&BUFFER.lines);
        (std::mem::take(&mut waiting.bytes), std::mem::take(&mut waiting.dropped))
    };
    let mut error = io::stderr().lock();
    let _ = error.write_all(&bytes);
    if dropped > 0 {
        let _ = writeln!(
            error,
            "{{\"level\":\"WARN\",\"message\":\"{dropped} log lines were dropped: nobody reads them\"}}"
        );
    }
}

/// [`flush`] at the end of the process, which a stalled reader must not keep alive.
pub fn flush_with_timeout() {
    let (done, wait) = mpsc::channel();
    let flushing = thread::Builder::new().name("last-lines".to_owned()).spawn(move || {
        flush();
        // Nobody waits for it any more, if the end was faster.
        let _ = done.send(());
    });
    if flushing.is_ok() {
        let _ = wait.recv_timeout(FINAL_FLUSH_TIMEOUT);
    }
}

/// Hands lines to the thread.
#[derive(Clone, Copy)]
pub struct StderrWriter;

impl<'a> MakeWriter<'a> for StderrWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl io::Write for StderrWriter {
    /// The formatter writes each event in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = lock(&BUFFER.lines);
        if waiting.bytes.len() + line.len() > MAX_BUFFERED_BYTES {
            waiting.dropped += 1;
        } else {
            if waiting.bytes.is_empty() {
                BUFFER.not_empty.notify_one();
            }
            waiting.bytes.extend_from_slice(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A panic elsewhere must not silence the log.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
