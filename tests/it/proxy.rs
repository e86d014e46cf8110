//! A TCP proxy before a server: everything arrives later in both directions, or is lost.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

pub(crate) struct Proxy {
    pub(crate) port: u16,
    link: Arc<ProxiedLink>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct ProxiedLink {
    /// Of each direction.
    latency: Duration,
    /// Every byte is thrown away, in both directions; the connections stay open.
    swallows: AtomicBool,
    /// The next answer is thrown away, and its connection closed.
    loses: AtomicBool,
    lost: AtomicUsize,
    /// New connections wait.
    shut: watch::Sender<bool>,
}

impl Proxy {
    /// Before `port` of this host.
    pub(crate) async fn start(port: u16) -> Self {
        Self::delayed(port, Duration::ZERO).await
    }

    /// Adds `round_trip` to whatever goes to `port` and back.
    pub(crate) async fn delayed(port: u16, round_trip: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let link = Arc::new(ProxiedLink { latency: round_trip / 2, ..ProxiedLink::default() });
        let shared = Arc::clone(&link);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let link = Arc::clone(&shared);
                tokio::spawn(async move { link.serve(near, port).await });
            }
        });
        Self { port: own, link, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(crate) fn drop_bytes(&self, swallows: bool) {
        self.link.swallows.store(swallows, Ordering::SeqCst);
    }

    /// What is asked next is done, and its answer is lost.
    pub(crate) fn lose_next_response(&self) {
        self.link.loses.store(true, Ordering::SeqCst);
    }

    /// How many answers were lost.
    pub(crate) fn lost_responses(&self) -> usize {
        self.link.lost.load(Ordering::SeqCst)
    }

    pub(crate) fn close(&self, shut: bool) {
        self.link.shut.send_replace(shut);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl ProxiedLink {
    async fn serve(&self, near: TcpStream, port: u16) -> io::Result<()> {
        let mut shut = self.shut.subscribe();
        let _ = shut.wait_for(|shut| !shut).await;
        let far = TcpStream::connect(("127.0.0.1", port)).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
        // Where one ends, both do.
        tokio::select! {
            asked = self.forward(near_read, far_write, false) => asked,
            answered = self.forward(far_read, near_write, true) => answered,
        }
    }

    /// Until `from` ends and all of it has arrived. What follows does not wait for what is on its way.
    async fn forward(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, answers: bool) -> io::Result<()> {
        let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
        let reading = async move {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let read = from.read(&mut buffer).await?;
                if read == 0 {
                    return io::Result::Ok(());
                }
                if answers && self.loses.swap(false, Ordering::SeqCst) {
                    self.lost.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                if !self.swallows.load(Ordering::SeqCst) {
                    let _ = sender.send((Instant::now() + self.latency, buffer[..read].to_vec()));
                }
            }
        };
        let writing = async {
            while let Some((at, bytes)) = receiver.recv().await {
                sleep_until(at).await;
                to.write_all(&bytes).await?;
            }
            Ok(())
        };
        tokio::try_join!(reading, writing).map(drop)
    }
}
