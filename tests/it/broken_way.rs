//! A way to a server that loses what is said on it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

pub(crate) struct Way {
    pub(crate) port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Every byte vanishes, in both directions, and nobody is told.
    swallows: AtomicBool,
    /// Before the next answer the connection breaks.
    breaks: AtomicBool,
    broken: AtomicUsize,
    /// New connections wait.
    shut: watch::Sender<bool>,
}

impl Way {
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move { state.serve(near, port).await });
            }
        });
        Self { port: own, state, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(crate) fn swallow(&self, swallows: bool) {
        self.state.swallows.store(swallows, Ordering::SeqCst);
    }

    /// Whatever is asked next is done, and nobody hears so.
    pub(crate) fn lose_an_answer(&self) {
        self.state.breaks.store(true, Ordering::SeqCst);
    }

    /// How many answers were lost.
    pub(crate) fn lost(&self) -> usize {
        self.state.broken.load(Ordering::SeqCst)
    }

    pub(crate) fn shut(&self, shut: bool) {
        self.state.shut.send_replace(shut);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    async fn serve(&self, near: TcpStream, port: u16) -> io::Result<()> {
        let mut shut = self.shut.subscribe();
        let _ = shut.wait_for(|shut| !shut).await;
        let far = TcpStream::connect(("127.0.0.1", port)).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
        // Where one ends, both do.
        tokio::select! {
            asked = self.carry(near_read, far_write, false) => asked,
            answered = self.carry(far_read, near_write, true) => answered,
        }
    }

    async fn carry(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, answers: bool) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            if answers && self.breaks.swap(false, Ordering::SeqCst) {
                self.broken.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            if !self.swallows.load(Ordering::SeqCst) {
                to.write_all(&buffer[..read]).await?;
            }
        }
    }
}
