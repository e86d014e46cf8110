//! The fake phone: a person's chat, the gateway behind it, and the app that is called back, on one loopback
//! listener. What it sends is signed and goes over HTTP, so the daemon cannot tell it from the real thing.

mod codes;
mod guard;
mod inbox;
mod journal;
mod pages;
mod routes;
mod send;
mod state;

use std::{
    net::TcpListener,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
};

use actix_web::{App, HttpServer, dev::Server, middleware::from_fn, web::Data};
use anyhow::Context as _;
use secrecy::SecretString;
use tokio::sync::watch;

pub(super) use self::{
    codes::Wanted,
    journal::{Bubble, Callback, Journal, Side},
    send::{Draft, How, Posted},
};
use super::daemon::Daemon;
use crate::{
    clock::Clock,
    domain::{InstanceId, Phone as Number},
};

/// Who the fake phone talks to, and the secrets it shares with the daemon.
pub(super) struct Identity {
    pub(super) instance: InstanceId,
    pub(super) name: String,
    pub(super) number: Number,
    /// Where the fake phone is, without a trailing slash.
    pub(super) origin: String,
    pub(super) api_key: SecretString,
    /// Of the instance that sends by SMS, if this phone is its gateway.
    pub(super) sms_api_key: Option<SecretString>,
    pub(super) webhook_secret: SecretString,
    pub(super) callback_secrets: Vec<SecretString>,
}

/// One fake phone. Forgets everything when the process ends; the daemon does not.
pub(super) struct Phone {
    pub(super) identity: Identity,
    pub(super) daemon: Daemon,
    clock: Clock,
    journal: Mutex<Journal>,
    changed: watch::Sender<u64>,
    /// What the inbox answers callbacks with.
    inbox_status: AtomicU16,
    /// Whether WhatsApp knows nobody who is sent a code.
    no_whatsapp: AtomicBool,
}

impl Phone {
    pub(super) fn new(identity: Identity, daemon: Daemon, clock: Clock) -> Arc<Self> {
        let (changed, _) = watch::channel(0);
        let inbox_status = AtomicU16::new(200);
        let no_whatsapp = AtomicBool::new(false);
        Arc::new(Self { identity, daemon, clock, journal: Mutex::default(), changed, inbox_status, no_whatsapp })
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().expect("nobody panics while holding it")
    }

    /// Tells everybody who waits that the journal has grown.
    fn note(&self, write: impl FnOnce(&mut Journal, i64)) {
        let now = self.clock.wall().as_millisecond();
        write(&mut self.journal(), now);
        self.changed.send_modify(|revision| *revision += 1);
    }

    /// Counts what was noted.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn inbox_status(&self) -> u16 {
        self.inbox_status.load(Ordering::Relaxed)
    }

    fn answer_callbacks_with(&self, status: u16) {
        self.inbox_status.store(status, Ordering::Relaxed);
        self.note(|_, _| {});
    }
}

/// The listener, running.
pub(super) fn serve(phone: &Arc<Phone>, listener: TcpListener) -> anyhow::Result<Server> {
    let phone = Data::from(Arc::clone(phone));
    let server = HttpServer::new(move || {
        App::new().app_data(phone.clone()).wrap(from_fn(guard::refuse_strangers)).configure(routes::all)
    });
    let server = server.workers(1).disable_signals().listen(listener).context("the fake phone cannot listen")?;
    Ok(server.run())
}
