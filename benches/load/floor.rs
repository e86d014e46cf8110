//! The baseline: what this machine can do with the same server, the same client of Redis and as many round trips.
//!
//! It runs as a child: this program again, with [`WORD`] as its first argument.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_web::{
    App, HttpResponse, HttpServer, error,
    web::{self, Bytes, Data},
};
use anyhow::Context as _;
use countersign::egress::{Egress, Policy};
use redis::{AsyncConnectionConfig, Client, RedisResult, Script, aio::MultiplexedConnection};
use tokio::{runtime::Handle, sync::Semaphore};

use crate::process::{Process, free_address, wait_for_listener};

pub(crate) const WORD: &str = "--floor";
/// One command writes a record; the others, if there are any, add small fields to a hash.
const SCRIPT: &str = "
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
for i = 2, ARGV[3] do redis.call('HSET', KEYS[2], i, 'abcdefghijklmnopqrstuvwxyz') end
return 1";
/// Like the record of a verification.
const VALUE: [u8; 1024] = [b'x'; 1024];
/// Like the body of a callback.
const POSTED: [u8; 600] = [b'x'; 600];
const MEMORY_MS: u32 = 60_000;
/// As many callbacks to one receiver, and replies through one gateway, as the daemon has in flight.
const PLACES: [usize; 2] = [8, 16];

/// What a request to the floor costs.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    /// Length of the answer.
    pub(crate) bytes: usize,
    /// Redis commands in its two scripts, together.
    pub(crate) commands: usize,
    /// Once it has answered, it sends what the daemon's outbox sends, with as many round trips.
    pub(crate) outbox: bool,
}

impl Cost {
    pub(crate) fn path(self) -> String {
        format!("/{}/{}/{}", self.bytes, self.commands, self.outbox)
    }
}

/// The floor, running.
pub(crate) struct Floor {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

impl Floor {
    /// `receivers` get what the daemon would send to its receiver and its gateway.
    pub(crate) fn start(directory: &Path, redis: &str, receivers: [&str; 2]) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([WORD, &address.to_string(), redis]).args(receivers);
        let process = Process::start(&mut command, &directory.join("floor.log"))?;
        wait_for_listener(address)?;
        Ok(Self { address, process })
    }
}

/// The child.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [listen, redis, receivers @ ..] = arguments else { anyhow::bail!("{WORD} ADDRESS REDIS RECEIVER...") };
    let listen: SocketAddr = listen.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let second = Some(Duration::from_secs(1));
        let config = AsyncConnectionConfig::new().set_connection_timeout(second).set_response_timeout(second);
        let client = Client::open(redis.as_str())?;
        let state = Data::new(State {
            redis: client.get_multiplexed_async_connection_with_config(&config).await.context("no Redis")?,
            script: Script::new(SCRIPT),
            serial: AtomicU64::new(0),
            egress: Egress::new(Policy { any_address: true, ..Policy::default() }),
            receivers: receivers.iter().cloned().zip(PLACES.map(Semaphore::new)).collect(),
            runtime: Handle::current(),
        });
        let server = HttpServer::new(move || {
            App::new().app_data(state.clone()).route("/{bytes}/{commands}/{outbox}", web::post().to(work))
        });
        Ok(server.keep_alive(Duration::from_secs(75)).bind(listen)?.run().await?)
    })
}

struct State {
    redis: MultiplexedConnection,
    script: Script,
    serial: AtomicU64,
    egress: Egress,
    receivers: Vec<(String, Semaphore)>,
    runtime: Handle,
}

impl State {
    /// A script that writes a record's worth under a new key.
    async fn round_trip(&self, commands: usize) -> RedisResult<()> {
        let key = format!("floor:{:032x}", self.serial.fetch_add(1, Ordering::Relaxed));
        let mut invocation = self.script.key(&key);
        invocation
            .key(format!("{key}:more"))
            .arg(&VALUE[..])
            .arg(MEMORY_MS)
            .arg(commands)
            .invoke_async(&mut self.redis.clone())
            .await
    }

    /// A callback is sent and settled; a reply is paced, rendered from a record, sent and settled.
    async fn deliver(self: Arc<Self>, receiver: usize) -> anyhow::Result<()> {
        let (url, places) = &self.receivers[receiver];
        let _place = places.acquire().await?;
        for _ in 0..receiver * 2 {
            self.round_trip(1).await?;
        }
        self.egress.send(http::Request::post(url).body(POSTED.to_vec())?).await?;
        Ok(self.round_trip(1).await?)
    }
}

async fn work(
    state: Data<State>,
    cost: web::Path<(usize, usize, bool)>,
    _body: Bytes,
) -> actix_web::Result<HttpResponse> {
    let (bytes, commands, outbox) = cost.into_inner();
    for share in [commands / 2, commands.div_ceil(2)] {
        state.round_trip(share).await.map_err(error::ErrorInternalServerError)?;
    }
    if outbox {
        for receiver in 0..state.receivers.len() {
            state.runtime.spawn(state.clone().into_inner().deliver(receiver));
        }
    }
    Ok(HttpResponse::Ok().content_type("application/json").body("x".repeat(bytes)))
}
