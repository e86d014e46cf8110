//! Child processes: starting, waiting, measuring, stopping.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

const START: Duration = Duration::from_secs(10);
/// `USER_HZ`, the same on every Linux.
const TICKS: f64 = 100.0;

/// A child that ends with its owner.
pub(crate) struct Process(Child);

impl Process {
    /// Both of its streams go into `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let log = File::create(log)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        Ok(Self(child.with_context(|| format!("cannot start {}", command.get_program().display()))?))
    }

    /// A field of `/proc/<pid>/status` that counts kilobytes, in megabytes.
    pub(crate) fn megabytes(&self, field: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kilobytes: f64 = line.and_then(|line| line.split_whitespace().next()).context("no such field")?.parse()?;
        Ok(kilobytes * 1024.0 / 1e6)
    }

    /// Seconds of CPU it has used, in itself and for it in the kernel.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("no such field")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        Ok(ticks.sum::<Result<f64, _>>()? / TICKS)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may already have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address that was free just now.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

pub(crate) fn wait_for_listener(address: SocketAddr) -> anyhow::Result<()> {
    until(|| TcpStream::connect(address).is_ok(), "no listener")
}

pub(crate) fn wait_for_ready(operator: SocketAddr) -> anyhow::Result<()> {
    let ready = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(operator)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    until(|| ready().unwrap_or(false), "the daemon is not ready")
}

fn until(condition: impl Fn() -> bool, complaint: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + START;
    while !condition() {
        ensure!(Instant::now() < deadline, "{complaint} after {START:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
