//! A server that plays the API of every gateway and accepts only the request that the gateway's reference documents.

use std::{
    collections::{HashMap, VecDeque},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    TEXT,
    reference::{self, ReferenceBody, ReferenceRequest},
};
use crate::every_gateway::GATEWAY_TABLES;

/// A response of the server.
#[derive(Clone, Debug)]
pub(super) struct QueuedResponse {
    pub(super) status: u16,
    pub(super) body: String,
    /// Seconds of `Retry-After`.
    pub(super) after: Option<u32>,
}

#[derive(Default)]
pub(super) struct ServerState {
    pub(super) next: HashMap<usize, VecDeque<QueuedResponse>>,
    arrived: HashMap<usize, u32>,
    /// The message ids that the daemon set, for gateways that accept one.
    pub(super) ids: HashMap<usize, Vec<String>>,
    faults: Vec<String>,
}

/// All gateways on one socket; the first path segment is the number of the gateway.
pub(super) struct StrictServer {
    pub(super) state: Arc<Mutex<ServerState>>,
    pub(super) url: String,
    handle: ServerHandle,
}

impl StrictServer {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/{{n}}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(ServerState::default()));
        let data = web::Data::from(Arc::clone(&state));
        let server = HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(handle)));
        let server = server.workers(1).disable_signals().shutdown_timeout(0).listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { state, url, handle }
    }

    /// Queues a response; without one, the server accepts the message.
    pub(super) fn answers(&self, index: usize, reply: QueuedResponse) {
        self.state.lock().unwrap().next.entry(index).or_default().push_back(reply);
    }

    /// How many requests have arrived.
    pub(super) fn requests(&self, index: usize) -> u32 {
        self.state.lock().unwrap().arrived.get(&index).copied().unwrap_or_default()
    }

    /// Every request was as documented.
    #[track_caller]
    pub(super) fn assert_no_faults(&self) {
        assert_eq!(self.state.lock().unwrap().faults, Vec::<String>::new());
    }
}

impl Drop for StrictServer {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

async fn handle(state: web::Data<Mutex<ServerState>>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let path = request.uri().to_string();
    let (index, rest) = path.trim_start_matches('/').split_once('/').unwrap_or(("", ""));
    let index: usize = index.parse().unwrap_or(usize::MAX);
    let mut state = state.lock().unwrap();
    let fault = match GATEWAY_TABLES.get(index) {
        None => Some(format!("no gateway at {path}")),
        Some((kind, variant, _)) => {
            let wanted = reference::request(kind, variant, index, &reply(kind, index, &body));
            let (body, id) = without_id(kind, &body);
            state.ids.entry(index).or_default().extend(id);
            difference(&wanted, &request, &format!("/{rest}"), &body).map(|fault| format!("{kind} {variant}: {fault}"))
        }
    };
    *state.arrived.entry(index).or_default() += 1;
    if let Some(fault) = fault {
        state.faults.push(fault);
        return HttpResponse::BadRequest().json(json!({ "strict": "not what the reference says" }));
    }
    let usual =
        || QueuedResponse { status: 200, body: reference::accepted(GATEWAY_TABLES[index].0).to_string(), after: None };
    let reply = state.next.get_mut(&index).and_then(VecDeque::pop_front).unwrap_or_else(usual);
    let mut response = HttpResponse::build(actix_web::http::StatusCode::from_u16(reply.status).unwrap());
    if let Some(after) = reply.after {
        response.insert_header(("retry-after", after.to_string()));
    }
    response.content_type("application/json").body(reply.body)
}

/// The expected text of the reply: the success message, the app's name and the dispute link, whose token is random.
fn reply(kind: &str, index: usize, body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body).replace("%2F", "/");
    let rest = body.split_once("/d/").map_or("", |(_, rest)| rest);
    let token: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    format!("{TEXT}\n\nApp: {kind}-{index}\nThis wasn't me: https://wa.example.org/d/{token}")
}

/// Splits the message id from a body. `WuzAPI` and Evolution Go accept one, in the form of WhatsApp's own ids.
fn without_id(kind: &str, body: &[u8]) -> (Vec<u8>, Option<String>) {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
    let Ok(Value::Object(mut message)) = serde_json::from_slice::<Value>(body) else { return (body.to_vec(), None) };
    let field = match kind {
        "wuzapi" => "Id",
        "evolution-go" => "id",
        _ => return (body.to_vec(), None),
    };
    let id = message.get(field).and_then(Value::as_str).filter(|id| id.len() == 22 && hex(id));
    let Some(id) = id.map(str::to_owned) else { return (body.to_vec(), None) };
    message.remove(field);
    (Value::Object(message).to_string().into_bytes(), Some(id))
}

/// The headers that every HTTP client sends.
const COMMON_HEADERS: [&str; 5] = ["host", "content-length", "content-type", "accept", "user-agent"];

/// The first difference between a request and the documented one.
fn difference(wanted: &ReferenceRequest, request: &HttpRequest, path: &str, body: &[u8]) -> Option<String> {
    if request.method().as_str() != "POST" || path != wanted.path {
        return Some(format!("{} {path}, not POST {}", request.method(), wanted.path));
    }
    let value = |name: &str| {
        let mut values = request.headers().get_all(name).map(|value| value.to_str().unwrap_or_default());
        let first = values.next();
        if values.next().is_some() { Some("twice") } else { first }
    };
    for (name, _) in request.headers() {
        if !COMMON_HEADERS.contains(&name.as_str()) && !wanted.headers.iter().any(|(known, _)| *known == name.as_str())
        {
            return Some(format!("an unknown header {name}"));
        }
    }
    for (name, wanted) in &wanted.headers {
        if value(name) != Some(wanted) {
            return Some(format!("{name}: {:?}, not {wanted}", value(name)));
        }
    }
    let (kind, matches) = match &wanted.body {
        ReferenceBody::Json(json) => {
            ("application/json", serde_json::from_slice::<Value>(body).ok().as_ref() == Some(json))
        }
        ReferenceBody::Fields(fields) => {
            let mut found: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
            let mut fields = fields.clone();
            found.sort();
            fields.sort();
            ("application/x-www-form-urlencoded", found == fields)
        }
    };
    if value("content-type") != Some(kind) {
        return Some(format!("content-type {:?}, not {kind}", value("content-type")));
    }
    (!matches).then(|| format!("another body: {}", String::from_utf8_lossy(body)))
}
