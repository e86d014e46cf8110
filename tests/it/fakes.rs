//! Servers on real sockets: an app that receives callbacks, and a gateway that sends messages.

use std::{
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::ServerHandle,
    web::{self, Bytes, Data},
};
use serde_json::Value;

use crate::wait::until_or;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl ReceivedRequest {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct State {
    arrived: Mutex<Vec<ReceivedRequest>>,
    /// What it answers; 0 is 200.
    status: AtomicU16,
    /// How many more requests get `status`; afterwards 200.
    failing: AtomicU64,
    delay_ms: AtomicU64,
    /// Sent along while failing.
    header: Mutex<Option<(&'static str, String)>>,
    /// Another answer than the usual one.
    json: Mutex<Option<Value>>,
}

/// A server that records its requests and sends configurable responses.
pub(crate) struct RecordingServer {
    state: Arc<State>,
    pub(crate) url: String,
    handle: ServerHandle,
}

impl RecordingServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let data = Data::from(Arc::clone(&state));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .app_data(web::PayloadConfig::new(1 << 22))
                .default_service(web::to(answer))
        });
        let server = server.workers(1).disable_signals().shutdown_timeout(0).listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { state, url, handle }
    }

    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.state.arrived.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.state.arrived.lock().unwrap().len()
    }

    /// Waits until `count` requests have arrived; more is a failure of the test.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<ReceivedRequest> {
        let bodies = || {
            let bodies = self.requests().into_iter().map(|one| String::from_utf8_lossy(&one.body).into_owned());
            bodies.collect::<Vec<_>>()
        };
        until_or(|| format!("{count} requests: {:?}", bodies()), async || self.count() >= count).await;
        let arrived = self.requests();
        assert_eq!(arrived.len(), count, "{:?}", bodies());
        arrived
    }

    /// The next `count` requests get this status.
    pub(crate) fn fail(&self, status: u16, count: u64) {
        self.state.status.store(status, Ordering::SeqCst);
        self.state.failing.store(count, Ordering::SeqCst);
    }

    pub(crate) fn answer(&self, json: Value) {
        *self.state.json.lock().unwrap() = Some(json);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.state.delay_ms.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Nothing is answered until [`Self::release`].
    pub(crate) fn hold(&self) {
        self.state.delay_ms.store(u64::MAX, Ordering::SeqCst);
    }

    /// Ends [`Self::hold`] or a delay, also for requests that are waiting.
    pub(crate) fn release(&self) {
        self.delay(Duration::ZERO);
    }

    /// A header of the failing answers.
    pub(crate) fn fail_with(&self, name: &'static str, value: &str) {
        *self.state.header.lock().unwrap() = Some((name, value.to_owned()));
    }
}

impl Drop for RecordingServer {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

async fn answer(state: Data<State>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let at = Instant::now();
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
    let arrived =
        ReceivedRequest { at, path: request.uri().to_string(), headers: headers.collect(), body: body.to_vec() };
    state.arrived.lock().unwrap().push(arrived);
    // A delay that is shortened is so also for those who wait.
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(state.delay_ms.load(Ordering::SeqCst)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let failing = state.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    let status = if failing { state.status.load(Ordering::SeqCst) } else { 200 };
    let mut response = HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap());
    if let (true, Some((name, value))) = (failing, state.header.lock().unwrap().as_ref()) {
        response.insert_header((*name, value.as_str()));
    }
    // LID look-ups: unknown.
    let usual = || serde_json::json!({ "id": "true_447700900123@c.us_REPLY", "pn": null });
    response.json(state.json.lock().unwrap().clone().unwrap_or_else(usual))
}
