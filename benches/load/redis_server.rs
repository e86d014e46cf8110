//! A private Redis, set up as the daemon wants it.

use std::{net::SocketAddr, path::Path, process::Command};

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
}
