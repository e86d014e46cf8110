//! A private Redis, ended with its owner.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::wait::blocking_until;

pub(crate) struct RedisServer {
    child: Mutex<Child>,
    pub(crate) port: u16,
    directory: TempDir,
    /// Further arguments, kept through a restart.
    more: Vec<String>,
}

/// Starts `redis-server` on a free port, with an append-only file.
pub(crate) fn start() -> RedisServer {
    start_with(Vec::new())
}

/// As [`start`], with further arguments.
pub(crate) fn start_with(more: Vec<String>) -> RedisServer {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    RedisServer { child: Mutex::new(spawn(port, directory.path(), &more)), port, directory, more }
}

/// As [`start`], following another one.
pub(crate) fn start_replica_of(master: &RedisServer) -> RedisServer {
    let follows = vec!["--replicaof".to_owned(), "127.0.0.1".to_owned(), master.port.to_string()];
    let mut server = start_with(follows);
    // A restarted server gets its replication settings from the caller.
    server.more.clear();
    server
}

/// A port for a process that cannot choose its own. It is below those that the kernel gives to connections, any of
/// which could take it before the process has it, and no other caller here gets it.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Suites that run beside this one start elsewhere.
    let start = std::process::id().wrapping_mul(7919);
    loop {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn spawn(port: u16, directory: &std::path::Path, more: &[String]) -> Child {
    let port_text = port.to_string();
    let log = directory.join("log");
    let mut child = Command::new("redis-server")
        .args(["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always", "--repl-diskless-sync-delay", "0", "--dir"])
        .arg(directory)
        .args(more)
        .stdout(File::create(&log).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed; ./tests/run does it");
    blocking_until("redis-server starts", || {
        if let Some(status) = child.try_wait().unwrap() {
            panic!("redis-server ended, {status}: {}", std::fs::read_to_string(&log).unwrap());
        }
        has_loaded(port).unwrap_or(false)
    });
    child
}

/// Whether the server has read its data: until then it refuses most commands.
fn has_loaded(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 8];
    // A port with TLS answers nothing that is read here.
    Ok(stream.read(&mut answer).is_err() || !answer.starts_with(b"-LOADING"))
}

/// Sends a signal, such as `-KILL`, at once: a busy machine takes its time to start a `kill`.
pub(crate) fn signal(child: &Child, name: &str) {
    let signal = match name {
        "-CONT" => Signal::CONT,
        "-HUP" => Signal::HUP,
        "-KILL" => Signal::KILL,
        "-STOP" => Signal::STOP,
        "-TERM" => Signal::TERM,
        other => panic!("no test sends {other}"),
    };
    kill_process(Pid::from_child(child), signal).unwrap();
}

impl RedisServer {
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Sends a signal; `-KILL` also waits for the end.
    pub(crate) fn signal(&self, name: &str) {
        let mut child = self.child.lock().unwrap();
        self::signal(&child, name);
        if name == "-KILL" {
            child.wait().unwrap();
        }
    }

    /// After `-KILL`, with the same data.
    pub(crate) fn restart(&self) {
        *self.child.lock().unwrap() = spawn(self.port, self.directory.path(), &self.more);
    }

    pub(crate) fn connection(&self) -> redis::Connection {
        self.try_connection().unwrap()
    }

    /// Empty where it does not answer.
    pub(crate) fn info(&self, section: &str) -> String {
        let section_text = self.try_connection().and_then(|mut one| redis::cmd("INFO").arg(section).query(&mut one));
        section_text.unwrap_or_default()
    }

    /// As [`Self::connection`], of a server that may refuse.
    pub(crate) fn try_connection(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(self.url())?.get_connection()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
