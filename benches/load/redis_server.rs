//! A private Redis with the settings that the daemon requires.

use std::{net::SocketAddr, path::Path, process::Command};

use anyhow::Context as _;

use crate::process::{Process, free_address, wait_for_listener};

/// Ends with its owner.
pub(crate) struct RedisServer {
    address: SocketAddr,
    pub(crate) process: Process,
}

impl RedisServer {
    /// Rewriting the append-only file is off: it would fall into some round and spoil it.
    pub(crate) fn start(directory: &Path) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0", "--dir"])
            .arg(directory);
        let process = Process::start(&mut command, &directory.join("redis.log"))?;
        wait_for_listener(address)?;
        Ok(Self { address, process })
    }

    /// Everybody has a database of his own.
    pub(crate) fn url(&self, database: u8) -> String {
        format!("redis://{}/{database}", self.address)
    }

    /// Forgets what a round has left, so that no round pays for another one.
    pub(crate) fn flush(&self, database: u8) -> anyhow::Result<()> {
        let mut connection = redis::Client::open(self.url(database))?.get_connection()?;
        Ok(redis::cmd("FLUSHDB").arg("ASYNC").query(&mut connection)?)
    }

    /// Commands it has executed, those inside scripts counted, the scripts themselves not.
    pub(crate) fn commands(&self) -> anyhow::Result<usize> {
        let mut connection = redis::Client::open(self.url(0))?.get_connection()?;
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut connection)?;
        let lines = info.lines().filter(|line| !line.starts_with("cmdstat_evalsha"));
        let calls = lines.filter_map(|line| line.split_once(":calls=")?.1.split(',').next()?.parse::<usize>().ok());
        Ok(calls.sum())
    }

    /// Bytes that its data takes.
    pub(crate) fn memory(&self) -> anyhow::Result<usize> {
        let mut connection = redis::Client::open(self.url(0))?.get_connection()?;
        let info: String = redis::cmd("INFO").arg("memory").query(&mut connection)?;
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:"));
        Ok(line.context("no used_memory_dataset")?.trim().parse()?)
    }

    /// The sets of timers. Looks at every key, which holds up a large Redis.
    pub(crate) fn timers(&self) -> anyhow::Result<Vec<String>> {
        let mut connection = redis::Client::open(self.url(0))?.get_connection()?;
        Ok(redis::cmd("KEYS").arg("cs:{*}:w").query(&mut connection)?)
    }

    /// The timers of these sets whose time has come, and those that a worker has in hand.
    pub(crate) fn due_timers(&self, timers: &[String]) -> anyhow::Result<usize> {
        let mut connection = redis::Client::open(self.url(0))?.get_connection()?;
        let (seconds, _): (u64, u64) = redis::cmd("TIME").query(&mut connection)?;
        let mut counts = redis::pipe();
        for key in timers {
            let leases = key.trim_end_matches('w').to_owned() + "l";
            counts.cmd("ZCOUNT").arg(key).arg("-inf").arg(seconds * 1000);
            counts.cmd("ZCARD").arg(leases);
        }
        Ok(counts.query::<Vec<usize>>(&mut connection)?.iter().sum())
    }
}
