//! The load: one generator for the floor and for the daemon.

use std::fmt::Write as _;
use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use tokio::net::TcpStream;

use crate::wire::Wire;

/// Connections of a closed loop, each with one request in flight.
pub(crate) const CONCURRENT: usize = 64;
/// No answer takes this long in a healthy run.
const PATIENCE: Duration = Duration::from_secs(10);

/// One keep-alive connection.
pub(crate) struct Connection(Wire);

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("nothing listens on {address}"))?;
        Ok(Self(Wire::new(stream)?))
    }

    /// The body of the answer; anything but 200 ends the measurement.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.0.send(request).await?;
        let answer = tokio::time::timeout(PATIENCE, self.0.receive()).await.context("no answer")??;
        let answer = answer.context("the server closed the connection")?;
        let body = String::from_utf8_lossy(&answer.body);
        ensure!(answer.first_line.contains(" 200"), "{}: {body}", answer.first_line);
        Ok(answer.body)
    }
}

/// What a closed loop sends.
#[derive(Clone, Copy)]
pub(crate) enum Supply<'a> {
    /// The same request until the time is over.
    Repeat(&'a [u8]),
    /// Each request once; the end of the list ends the round.
    Once(&'a [Vec<u8>]),
}

impl<'a> Supply<'a> {
    fn get(self, index: usize) -> Option<&'a [u8]> {
        match self {
            Self::Repeat(request) => Some(request),
            Self::Once(requests) => requests.get(index).map(Vec::as_slice),
        }
    }
}

/// What came of a closed loop.
pub(crate) struct Round {
    pub(crate) elapsed: Duration,
    pub(crate) bodies: Vec<Vec<u8>>,
}

impl Round {
    pub(crate) fn per_second(&self) -> f64 {
        per_second(self.bodies.len(), self.elapsed)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run are far below 2^52")]
pub(crate) fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// [`CONCURRENT`] connections ask as fast as they are answered.
pub(crate) async fn closed_loop(address: SocketAddr, supply: Supply<'_>, limit: Duration) -> anyhow::Result<Round> {
    let connections = try_join_all((0..CONCURRENT).map(|_| Connection::open(address))).await?;
    let (next, bodies) = (Cell::new(0), RefCell::new(Vec::new()));
    let start = Instant::now();
    try_join_all(connections.into_iter().map(async |mut connection| {
        while start.elapsed() < limit
            && let Some(request) = supply.get(next.replace(next.get() + 1))
        {
            let body = connection.exchange(request).await?;
            bodies.borrow_mut().push(body);
        }
        anyhow::Ok(())
    }))
    .await?;
    Ok(Round { elapsed: start.elapsed(), bodies: bodies.into_inner() })
}

/// One request of an open loop.
pub(crate) struct Timed {
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
}

/// Sends each request at its time, whether or not earlier ones were answered.
pub(crate) async fn open_loop(
    address: SocketAddr,
    requests: &[Vec<u8>],
    interval: Duration,
) -> anyhow::Result<Vec<Timed>> {
    let idle: RefCell<Vec<Connection>> = RefCell::default();
    let times = std::iter::successors(Some(Instant::now()), |due| Some(*due + interval));
    try_join_all(requests.iter().zip(times).map(async |(request, due)| {
        tokio::time::sleep_until(due.into()).await;
        let free = idle.borrow_mut().pop();
        let mut connection = match free {
            Some(connection) => connection,
            None => Connection::open(address).await?,
        };
        // Not when it was due: timers are a millisecond coarse.
        let sent = Instant::now();
        connection.exchange(request).await?;
        let answered = Instant::now();
        idle.borrow_mut().push(connection);
        Ok(Timed { sent, answered })
    }))
    .await
}

/// `POST` with a JSON body.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n");
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    let _ = write!(request, "content-length: {}\r\n\r\n{body}", body.len());
    request.into_bytes()
}
