//! A fake gateway and a fake callback receiver that use as little processor time as possible.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::ensure;
use tokio::net::{TcpListener, TcpStream};

use crate::wire::Wire;

/// How long the daemon gets to deliver what a round has left behind.
const PATIENCE: Duration = Duration::from_mins(2);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{\"id\":\"x\"}";

/// When a request came, and the `uuid` in it if there is one.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) uuid: Option<String>,
}

/// Takes POSTs.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrival>>>,
}

impl Fake {
    /// Answers 200 at once.
    pub(crate) async fn prompt() -> anyhow::Result<Self> {
        Self::start(true).await
    }

    /// Never responds, so that all attempts stay in flight.
    pub(crate) async fn silent() -> anyhow::Result<Self> {
        Self::start(false).await
    }

    async fn start(answers: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&arrived);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared), answers));
            }
        });
        Ok(Self { address, arrived })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn count(&self) -> usize {
        self.arrived.lock().expect("no thread panics while holding the lock").len()
    }

    /// Everything since the last call, once `count` requests have come.
    pub(crate) async fn take(&self, count: usize) -> anyhow::Result<Vec<Arrival>> {
        let deadline = Instant::now() + PATIENCE;
        while self.count() < count {
            let came = self.count();
            ensure!(Instant::now() < deadline, "{came} of {count} callbacks or replies came in {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(std::mem::take(&mut *self.arrived.lock().expect("no thread panics while holding the lock")))
    }
}

async fn serve(stream: TcpStream, arrived: Arc<Mutex<Vec<Arrival>>>, answers: bool) -> std::io::Result<()> {
    let mut wire = Wire::new(stream)?;
    while let Some(message) = wire.receive().await? {
        let arrival = Arrival { at: Instant::now(), uuid: uuid(&message.body) };
        arrived.lock().expect("no thread panics while holding the lock").push(arrival);
        if answers {
            wire.send(ANSWER).await?;
        }
    }
    Ok(())
}

fn uuid(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("\"uuid\":\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}
