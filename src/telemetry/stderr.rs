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
const GATHER: Duration = Duration::from_millis(10);
/// How long the end waits for the last lines.
const LAST: Duration = Duration::from_secs(1);
/// What may wait for a stalled reader.
const MOST: usize = 8 * 1024 * 1024;

static LINES: Lines = Lines { waiting: Mutex::new(Waiting { bytes: Vec::new(), dropped: 0 }), some: Condvar::new() };
/// Held while writing, so that a flush returns only when everything before it is out.
static WRITING: Mutex<()> = Mutex::new(());

struct Lines {
    waiting: Mutex<Waiting>,
    some: Condvar,
}

struct Waiting {
    bytes: Vec<u8>,
    dropped: u64,
}

/// Starts the thread that writes, and flushes before a panic is told.
pub fn start() -> io::Result<Buffered> {
    thread::Builder::new().name("log".to_owned()).spawn(|| {
        loop {
            let mut waiting = lock(&LINES.waiting);
            while waiting.bytes.is_empty() && waiting.dropped == 0 {
                waiting = LINES.some.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            drop(waiting);
            thread::sleep(GATHER);
            flush();
        }
    })?;
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        flush();
        told(panic);
    }));
    Ok(Buffered)
}

/// Writes out what has been logged until now. A standard error that is closed is nobody's business.
pub fn flush() {
    let _writing = lock(&WRITING);
    let (bytes, dropped) = {
        let mut waiting = lock(&LINES.waiting);
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
pub fn finish() {
    let (done, wait) = mpsc::channel();
    let flushing = thread::Builder::new().name("last-lines".to_owned()).spawn(move || {
        flush();
        // Nobody waits for it any more, if the end was faster.
        let _ = done.send(());
    });
    if flushing.is_ok() {
        let _ = wait.recv_timeout(LAST);
    }
}

/// Hands lines to the thread.
#[derive(Clone, Copy)]
pub struct Buffered;

impl<'a> MakeWriter<'a> for Buffered {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl io::Write for Buffered {
    /// The formatter writes each event in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = lock(&LINES.waiting);
        if waiting.bytes.len() + line.len() > MOST {
            waiting.dropped += 1;
        } else {
            if waiting.bytes.is_empty() {
                LINES.some.notify_one();
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
