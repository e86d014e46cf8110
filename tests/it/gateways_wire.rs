//! Every gateway over a real socket: a link is minted, a person writes, and what the daemon then sends is held
//! to the gateway's reference by a server that accepts nothing else; its documented errors come back.

use std::{
    collections::{HashMap, VecDeque},
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign::{
    clock::Clock,
    config::{self, Config},
    doctor,
    gateway::{self, Gateway, Purpose, Sample, Who},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;

use crate::{
    daemon::{TOKEN, build, client},
    every_gateway::{EVERY, configuration, id, instances, secret},
};

mod answers;
mod reference;

use reference::{Form, Wanted};

/// What a person is told; all that could break a body or a form.
pub(crate) const TEXT: &str = "Welcome, Zoë & Söhne: 100% + \"a=b\" 👍 ?x=1";
pub(crate) const PERSON: &str = "447700900123";

/// What the fake gateway answers next.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Seconds of `Retry-After`.
    pub(crate) after: Option<u32>,
}

#[derive(Default)]
struct State {
    next: HashMap<usize, VecDeque<Reply>>,
    arrived: HashMap<usize, u32>,
    /// The ids that messages came with, where a gateway takes one.
    ids: HashMap<usize, Vec<String>>,
    faults: Vec<String>,
}

/// All gateways behind one socket; the first segment of the path says which.
struct Strict {
    state: Arc<Mutex<State>>,
    url: String,
    handle: ServerHandle,
}

impl Strict {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/{{n}}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let data = web::Data::from(Arc::clone(&state));
        let server = HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(take)));
        let server = server.workers(1).disable_signals().shutdown_timeout(0).listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { state, url, handle }
    }

    fn answers(&self, index: usize, reply: Reply) {
        self.state.lock().unwrap().next.entry(index).or_default().push_back(reply);
    }

    fn arrived(&self, index: usize) -> u32 {
        self.state.lock().unwrap().arrived.get(&index).copied().unwrap_or_default()
    }

    #[track_caller]
    fn unfaulted(&self) {
        assert_eq!(self.state.lock().unwrap().faults, Vec::<String>::new());
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

async fn take(state: web::Data<Mutex<State>>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let path = request.uri().to_string();
    let (index, rest) = path.trim_start_matches('/').split_once('/').unwrap_or(("", ""));
    let index: usize = index.parse().unwrap_or(usize::MAX);
    let mut state = state.lock().unwrap();
    let fault = match EVERY.get(index) {
        None => Some(format!("no gateway at {path}")),
        Some((kind, variant, _)) => {
            let wanted = reference::request(kind, variant, index, &reply(kind, index, &body));
            let (body, id) = without_id(kind, &body);
            state.ids.entry(index).or_default().extend(id);
            against(&wanted, &request, &format!("/{rest}"), &body).map(|fault| format!("{kind} {variant}: {fault}"))
        }
    };
    *state.arrived.entry(index).or_default() += 1;
    if let Some(fault) = fault {
        state.faults.push(fault);
        return HttpResponse::BadRequest().json(json!({ "strict": "not what the reference says" }));
    }
    let usual = || Reply { status: 200, body: reference::accepted(EVERY[index].0).to_string(), after: None };
    let reply = state.next.get_mut(&index).and_then(VecDeque::pop_front).unwrap_or_else(usual);
    let mut response = HttpResponse::build(actix_web::http::StatusCode::from_u16(reply.status).unwrap());
    if let Some(after) = reply.after {
        response.insert_header(("retry-after", after.to_string()));
    }
    response.content_type("application/json").body(reply.body)
}

/// The text of the reply: what was asked for, and what stands below every message on which somebody agrees.
fn reply(kind: &str, index: usize, body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body).replace("%2F", "/");
    let rest = body.split_once("/d/").map_or("", |(_, rest)| rest);
    let token: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    format!("{TEXT}\n\nApp: {kind}-{index}\nThis wasn't me: https://wa.example.org/d/{token}")
}

/// The message, and the id that only this gateway takes, which must look like one of WhatsApp's own.
fn without_id(kind: &str, body: &[u8]) -> (Vec<u8>, Option<String>) {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
    let Ok(Value::Object(mut message)) = serde_json::from_slice::<Value>(body) else { return (body.to_vec(), None) };
    let id = message.get("Id").and_then(Value::as_str).filter(|id| kind == "wuzapi" && id.len() == 22 && hex(id));
    let Some(id) = id.map(str::to_owned) else { return (body.to_vec(), None) };
    message.remove("Id");
    (Value::Object(message).to_string().into_bytes(), Some(id))
}

/// What every HTTP client sends.
const OF_HTTP: [&str; 5] = ["host", "content-length", "content-type", "accept", "user-agent"];

fn against(wanted: &Wanted, request: &HttpRequest, path: &str, body: &[u8]) -> Option<String> {
    if request.method().as_str() != "POST" || path != wanted.path {
        return Some(format!("{} {path}, not POST {}", request.method(), wanted.path));
    }
    let value = |name: &str| {
        let mut values = request.headers().get_all(name).map(|value| value.to_str().unwrap_or_default());
        let first = values.next();
        if values.next().is_some() { Some("twice") } else { first }
    };
    for (name, _) in request.headers() {
        if !OF_HTTP.contains(&name.as_str()) && !wanted.headers.iter().any(|(known, _)| *known == name.as_str()) {
            return Some(format!("an unknown header {name}"));
        }
    }
    for (name, wanted) in &wanted.headers {
        if value(name) != Some(wanted) {
            return Some(format!("{name}: {:?}, not {wanted}", value(name)));
        }
    }
    let (kind, matches) = match &wanted.body {
        Form::Json(json) => ("application/json", serde_json::from_slice::<Value>(body).ok().as_ref() == Some(json)),
        Form::Fields(fields) => {
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

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A daemon with every gateway, in this process, so that its clock can be moved.
struct Ward {
    gateways: Strict,
    config: Config,
    dialects: Vec<Arc<dyn Gateway>>,
    service: Arc<countersign::service::Service>,
    worker: Arc<countersign::worker::Worker>,
    base: String,
    clock: Clock,
    stop: CancellationToken,
    _directory: TempDir,
    said: std::sync::atomic::AtomicU64,
}

impl Ward {
    async fn start() -> Self {
        let (gateways, directory, clock) = (Strict::start(), tempfile::tempdir().unwrap(), Clock::default());
        let (text, ..) = configuration(&directory, &instances(&gateways.url, "", secret));
        let overrides = [("listen", "127.0.0.1:0".to_owned()), ("operator_listen", "127.0.0.1:0".to_owned())];
        let config = config::load(Some(&text), HashMap::new(), &overrides).into_result();
        let config = config.unwrap_or_else(|faults| panic!("{faults}"));
        let application = build(&config, &clock).await;
        let base = format!("http://{}", application.public_address().unwrap());
        let (service, worker) = (Arc::clone(&application.service), Arc::clone(&application.worker));
        let stop = CancellationToken::new();
        tokio::spawn(application.run(stop.clone()));
        let dialects = config.instances.iter().map(|instance| {
            let url = countersign::app::webhook_url(&config.public_url, instance.id);
            gateway::build(&instance.gateway, Purpose::Inspect, &url).unwrap()
        });
        let dialects = dialects.collect();
        let said = std::sync::atomic::AtomicU64::new(0);
        Self { gateways, config, dialects, service, worker, base, clock, stop, _directory: directory, said }
    }

    /// A person asks for a link at one instance and sends it; their message has been answered with 200.
    async fn proves(&self, index: usize) {
        let mint = json!({ "message": { "success": TEXT } });
        let request = http::Request::post(format!("{}/api/otp/v2/{}/generate-link", self.base, id(index)))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json");
        let answer = client().send(request.body(mint.to_string().into_bytes()).unwrap()).await.unwrap();
        let minted: Value = serde_json::from_slice(answer.body()).unwrap();
        let text = minted["data"]["text"].as_str().unwrap_or_else(|| panic!("{minted}")).to_owned();
        let number = self.said.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let now = self.clock.wall();
        let sample = Sample {
            who: Who::Person,
            id: format!("{number:020X}"),
            text,
            at: now.as_second(),
            phone: PERSON.to_owned(),
            to: self.config.instances[index].number.digits().to_owned(),
            lid: "190000000000117".to_owned(),
        };
        let dialect = &self.dialects[index];
        let mut draft = doctor::compose(&**dialect, &self.config.instances[index].gateway, &sample).unwrap();
        dialect.proof().sign(&mut draft, now);
        let query = if draft.query.is_empty() { String::new() } else { format!("?{}", draft.query) };
        let mut request = http::Request::post(format!("{}/webhooks/{}{query}", self.base, id(index)));
        for (name, value) in &draft.headers {
            request = request.header(name, value);
        }
        let answer = client().send(request.body(draft.body).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200, "{}", EVERY[index].0);
    }

    async fn settle(&self) {
        crate::daemon::settle(&self.service, &self.worker).await;
    }

    /// Seconds by the daemon's clock, which also runs by itself.
    fn age(&self, start: jiff::Timestamp) -> i64 {
        self.clock.wall().duration_since(start).as_secs()
    }

    async fn advance(&self, seconds: u64) {
        // What is on its way arrives first: it would come too late, or lose its lease.
        self.settle().await;
        self.clock.advance(Duration::from_secs(seconds));
        self.settle().await;
    }

    /// A counter or gauge of one instance, by a word of its labels.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole and small")]
    fn metric(&self, family: &str, index: usize, word: &str) -> u64 {
        let (text, instance) = (self.service.metrics.render(), format!("=\"{}\"", id(index)));
        let line = text.lines().find(|line| {
            line.starts_with(&format!("countersign_{family}{{")) && line.contains(&instance) && line.contains(word)
        });
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64)
    }

    fn replies(&self, index: usize, result: &str) -> u64 {
        self.metric("replies_total", index, &format!("result=\"{result}\""))
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn name(index: usize) -> String {
    format!("{} {}", EVERY[index].0, EVERY[index].1)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reply_is_what_the_reference_says_and_every_error_is_understood() {
    let ward = Ward::start().await;
    for index in 0..EVERY.len() {
        ward.proves(index).await;
    }
    ward.settle().await;
    ward.gateways.unfaulted();
    for index in 0..EVERY.len() {
        assert_eq!((ward.gateways.arrived(index), ward.replies(index, "sent")), (1, 1), "{}", name(index));
    }
    for (index, every) in EVERY.iter().enumerate() {
        for (status, body, result) in answers::of(every.0) {
            let (sent, before, arrived) =
                (ward.replies(index, "sent"), ward.replies(index, result), ward.gateways.arrived(index));
            ward.gateways.answers(index, Reply { status, body: body.to_string(), after: Some(40) });
            ward.proves(index).await;
            ward.settle().await;
            let what = format!("{}: {status} {body}", name(index));
            assert_eq!(ward.replies(index, result), before + 1, "{what}");
            assert_eq!(ward.gateways.arrived(index), arrived + 1, "{what}");
            ward.advance(700).await;
            // Nothing is tried again that cannot succeed, and nothing so late.
            assert_eq!(ward.gateways.arrived(index), arrived + 1, "{what}");
            ward.gateways.unfaulted();
            if result == "unauthorized" {
                ward.proves(index).await;
                ward.settle().await;
                assert_eq!(ward.replies(index, "sent"), sent + 1, "{what}: the circuit closes again");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delays_are_kept_and_what_passes_is_tried_again() {
    let ward = Ward::start().await;
    for index in 0..EVERY.len() {
        ward.gateways.answers(index, Reply { status: 429, body: "{}".to_owned(), after: Some(40) });
        ward.gateways.answers(index, Reply { status: 503, body: "<html>".to_owned(), after: None });
        let start = ward.clock.wall();
        ward.proves(index).await;
        ward.settle().await;
        assert_eq!(ward.gateways.arrived(index), 1, "{}", name(index));
        ward.advance(20).await;
        if ward.age(start) < 38 {
            assert_eq!(ward.gateways.arrived(index), 1, "{}: before the gateway's own delay is over", name(index));
        }
        ward.advance(21).await;
        ward.advance(8).await;
        assert_eq!(ward.gateways.arrived(index), 3, "{}: after it, and after ours", name(index));
        assert_eq!((ward.replies(index, "retried"), ward.replies(index, "sent")), (2, 1), "{}", name(index));
        assert_eq!(ward.metric("numbers_refused", index, ""), 0, "{}", name(index));
    }
    ward.gateways.unfaulted();
}

/// Where nobody knows whether a message was sent, it is sent once more, unless an id keeps it from being a second one.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_fate_is_unknown_is_repeated_once_or_under_its_id() {
    let ward = Ward::start().await;
    for (index, (kind, ..)) in EVERY.iter().enumerate() {
        for _ in 0..3 {
            ward.gateways.answers(index, Reply { status: 504, body: "<html>".to_owned(), after: None });
        }
        ward.proves(index).await;
        for seconds in [0, 3, 7, 19, 37, 60] {
            ward.advance(seconds).await;
        }
        let (arrived, sent) = (ward.gateways.arrived(index), ward.replies(index, "sent"));
        let unknown = ward.replies(index, "unknown");
        if *kind == "wuzapi" {
            assert_eq!((arrived, unknown, sent), (4, 3, 1), "{}", name(index));
            let mut ids = ward.gateways.state.lock().unwrap().ids[&index].clone();
            ids.dedup();
            assert_eq!(ids.len(), 1, "{ids:?}");
        } else {
            assert_eq!((arrived, unknown, sent), (2, 2, 0), "{}", name(index));
            ward.gateways.state.lock().unwrap().next.clear();
        }
    }
    ward.gateways.unfaulted();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_logged_out_falls_silent_and_says_so() {
    let ward = Ward::start().await;
    for index in 0..EVERY.len() {
        let start = ward.clock.wall();
        ward.gateways.answers(index, Reply { status: 401, body: "{}".to_owned(), after: None });
        ward.proves(index).await;
        ward.settle().await;
        assert_eq!(ward.replies(index, "unauthorized"), 1, "{}", name(index));
        assert_eq!(ward.metric("numbers_refused", index, ""), 1, "{}", name(index));
        ward.proves(index).await;
        ward.advance(15).await;
        if ward.age(start) < 29 {
            assert_eq!(ward.gateways.arrived(index), 1, "{}: nothing is sent while it is silent", name(index));
        }
        ward.advance(22).await;
        assert_eq!((ward.gateways.arrived(index), ward.replies(index, "sent")), (2, 1), "{}", name(index));
        assert_eq!(ward.metric("numbers_refused", index, ""), 0, "{}", name(index));
    }
    ward.gateways.unfaulted();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_comes_too_late_is_dropped_and_counted() {
    let ward = Ward::start().await;
    for index in 0..EVERY.len() {
        for _ in 0..4 {
            ward.gateways.answers(index, Reply { status: 429, body: "{}".to_owned(), after: Some(61) });
        }
        ward.proves(index).await;
    }
    ward.settle().await;
    ward.advance(62).await;
    ward.advance(62).await;
    ward.advance(300).await;
    for index in 0..EVERY.len() {
        let (late, sent) = (ward.replies(index, "too_late"), ward.replies(index, "sent"));
        assert_eq!((ward.gateways.arrived(index), late, sent), (2, 1, 0), "{}", name(index));
    }
}

/// Evolution appends the event's name to the URL, also behind a secret; nobody else does.
#[tokio::test(flavor = "multi_thread")]
async fn a_tail_is_taken_only_where_a_gateway_appends_one() {
    let ward = Ward::start().await;
    for (index, (kind, _, _)) in EVERY.iter().enumerate() {
        for (tail, of_evolution) in [("messages-upsert", 401), ("x/y", 404), ("Messages", 404)] {
            let url = format!("{}/webhooks/{}/a-wrong-secret/{tail}", ward.base, id(index));
            let answer = client().send(http::Request::post(url).body(b"{}".to_vec()).unwrap()).await.unwrap();
            let wanted = if *kind == "evolution" { of_evolution } else { 404 };
            assert_eq!(answer.status().as_u16(), wanted, "{} {tail}", name(index));
        }
    }
}
