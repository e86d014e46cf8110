//! A server that plays the API of every gateway and accepts only the request that the gateway's reference documents.

use std::{
    collections::{HashMap, VecDeque},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::{PERSON, TEXT};
use crate::every_gateway::{GatewaySetup, SETUPS, secret};

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
    let Some(setup) = SETUPS.get(index) else {
        state.faults.push(format!("no gateway at {path}"));
        return HttpResponse::NotFound().finish();
    };
    let wanted = fill(&setup.request, &[("{text}", &reply(setup.kind, index, &body)), ("{secret}", &secret(index))]);
    let (body, id) = without_id(setup, &body);
    state.ids.entry(index).or_default().extend(id);
    let fault = difference(&wanted, &request, &format!("/{rest}"), &body);
    let fault = fault.map(|fault| format!("{}: {fault}", setup.name()));
    *state.arrived.entry(index).or_default() += 1;
    if let Some(fault) = fault {
        state.faults.push(fault);
        return HttpResponse::BadRequest().json(json!({ "strict": "not what the reference says" }));
    }
    let usual = || QueuedResponse { status: 200, body: setup.accepted.to_string(), after: None };
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

/// `template` with its placeholders replaced in every text.
fn fill(template: &Value, values: &[(&str, &str)]) -> Value {
    match template {
        Value::String(text) => {
            let filled = values.iter().fold(text.clone(), |text, (name, value)| text.replace(name, value));
            Value::String(filled.replace("{person}", PERSON))
        }
        Value::Array(items) => items.iter().map(|item| fill(item, values)).collect(),
        Value::Object(entries) => {
            entries.iter().map(|(name, entry)| (name.clone(), fill(entry, values))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// Splits the message id from a body, which has the form of WhatsApp's own ids.
fn without_id(setup: &GatewaySetup, body: &[u8]) -> (Vec<u8>, Option<String>) {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
    let Some(field) = &setup.message_id_field else { return (body.to_vec(), None) };
    let Ok(Value::Object(mut message)) = serde_json::from_slice::<Value>(body) else { return (body.to_vec(), None) };
    let id = message.get(field).and_then(Value::as_str).filter(|id| id.len() == 22 && hex(id));
    let Some(id) = id.map(str::to_owned) else { return (body.to_vec(), None) };
    message.remove(field);
    (Value::Object(message).to_string().into_bytes(), Some(id))
}

/// The headers that every HTTP client sends.
const COMMON_HEADERS: [&str; 5] = ["host", "content-length", "content-type", "accept", "user-agent"];

/// The first difference between a request and the documented one.
fn difference(wanted: &Value, request: &HttpRequest, path: &str, body: &[u8]) -> Option<String> {
    if request.method().as_str() != "POST" || path != wanted["path"] {
        return Some(format!("{} {path}, not POST {}", request.method(), wanted["path"]));
    }
    let value = |name: &str| {
        let mut values = request.headers().get_all(name).map(|value| value.to_str().unwrap_or_default());
        let first = values.next();
        if values.next().is_some() { Some("twice") } else { first }
    };
    let headers = wanted["headers"].as_object().unwrap();
    if let Some((name, _)) = request
        .headers()
        .iter()
        .find(|(name, _)| !COMMON_HEADERS.contains(&name.as_str()) && !headers.contains_key(name.as_str()))
    {
        return Some(format!("an unknown header {name}"));
    }
    for (name, wanted) in headers {
        let basic = wanted["basic"].as_str().map(|credentials| format!("Basic {}", STANDARD.encode(credentials)));
        let wanted = basic.as_deref().or(wanted.as_str()).unwrap();
        if value(name) != Some(wanted) {
            return Some(format!("{name}: {:?}, not {wanted}", value(name)));
        }
    }
    let (kind, matches) = match wanted["form"].as_object() {
        None => ("application/json", serde_json::from_slice::<Value>(body).ok().as_ref() == Some(&wanted["json"])),
        Some(fields) => {
            let mut found: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
            // A field that is an object is sent as JSON.
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let mut fields: Vec<(String, String)> =
                fields.iter().map(|(name, value)| (name.clone(), text(value))).collect();
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
