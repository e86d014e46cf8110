//! The fake phone: a person's chat, the gateway, and the app's callback endpoint, on one loopback listener. Its
//! webhooks are signed and sent over HTTP, so the daemon handles them like those of a real gateway.

mod codes;
mod guard;
mod history;
mod inbox;
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

use actix_web::{App, HttpResponse, HttpServer, dev::Server, http::StatusCode, middleware::from_fn, web::Data};
use anyhow::Context as _;
use secrecy::SecretString;
use serde_json::json;
use tokio::sync::watch;

pub(super) use self::{
    codes::CodeForm,
    history::{Bubble, ChatSide, PhoneHistory, ReceivedCallback},
    send::{DeliveryMode, MessageForm, PostedWebhook},
};
use super::client::{DaemonClient, DaemonResponse};
use crate::{
    clock::Clock,
    domain::{InstanceId, Phone as Number},
    egress::EgressError,
};

/// The instance that the fake phone belongs to, and the secrets it shares with the daemon.
pub(super) struct PhoneIdentity {
    pub(super) instance: InstanceId,
    pub(super) name: String,
    pub(super) number: Number,
    /// The fake phone's URL, without a trailing slash.
    pub(super) origin: String,
    pub(super) api_key: SecretString,
    /// The API key of the SMS instance, if its gateway is this phone.
    pub(super) sms_api_key: Option<SecretString>,
    pub(super) webhook_secret: SecretString,
    pub(super) callback_secrets: Vec<SecretString>,
}

/// The fake phone. Its history is kept in memory only.
pub(super) struct FakePhone {
    pub(super) identity: PhoneIdentity,
    pub(super) daemon: DaemonClient,
    clock: Clock,
    history: Mutex<PhoneHistory>,
    changed: watch::Sender<u64>,
    /// The status of responses to callbacks.
    inbox_status: AtomicU16,
    /// Whether recipients of codes are not on WhatsApp.
    no_whatsapp: AtomicBool,
}

impl FakePhone {
    pub(super) fn new(identity: PhoneIdentity, daemon: DaemonClient, clock: Clock) -> Arc<Self> {
        let (changed, _) = watch::channel(0);
        let inbox_status = AtomicU16::new(200);
        let no_whatsapp = AtomicBool::new(false);
        Arc::new(Self { identity, daemon, clock, history: Mutex::default(), changed, inbox_status, no_whatsapp })
    }

    pub(super) fn history(&self) -> MutexGuard<'_, PhoneHistory> {
        self.history.lock().expect("no code panics while holding the lock")
    }

    /// Changes the history and notifies waiters. `write` receives the current time in Unix milliseconds.
    fn record(&self, write: impl FnOnce(&mut PhoneHistory, i64)) {
        let now = self.clock.wall().as_millisecond();
        write(&mut self.history(), now);
        self.changed.send_modify(|revision| *revision += 1);
    }

    /// The revision of the history, which increases with every change.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn inbox_status(&self) -> u16 {
        self.inbox_status.load(Ordering::Relaxed)
    }

    fn set_inbox_status(&self, status: u16) {
        self.inbox_status.store(status, Ordering::Relaxed);
        self.record(|_, _| {});
    }
}

/// Starts the HTTP server.
pub(super) fn serve(phone: &Arc<FakePhone>, listener: TcpListener) -> anyhow::Result<Server> {
    let phone = Data::from(Arc::clone(phone));
    let server = HttpServer::new(move || {
        App::new().app_data(phone.clone()).wrap(from_fn(guard::refuse_foreign_requests)).configure(routes::all)
    });
    let server = server.workers(1).disable_signals().listen(listener).context("the fake phone cannot listen")?;
    Ok(server.run())
}

/// Wraps the daemon's response for the page, whatever its status.
fn wrap_response(response: Result<DaemonResponse, EgressError>) -> HttpResponse {
    match response {
        Ok(response) => {
            let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
            HttpResponse::Ok().json(json!({ "status": status.as_u16(), "body": response.json() }))
        }
        Err(error) => {
            HttpResponse::BadGateway().json(json!({ "message": format!("the daemon did not answer: {error}") }))
        }
    }
}
