//! The daemon under test, in this process, on real sockets, over a real store.

use std::{
    fmt,
    fs::File,
    io::Read as _,
    sync::Arc,
    time::{Duration, Instant},
};

use countersign::{
    app::{self, Application, Listeners},
    clock::Clock,
    config::{self, Config, StoreConfig},
    egress::{Cause, Egress, Policy},
    gateway::Purpose,
    service::Services,
    worker::Worker,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Request, Response};
use serde_json::{Value, json};
use sha2::Sha512;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    fakes::RecordingServer,
    redis_server::{self, RedisServer},
    wait::{TIMEOUT, until, within_timeout},
};

pub(crate) const WAHA: &str = "5f0c2a90-0000-4000-8000-000000000001";
pub(crate) const META: &str = "5f0c2a90-0000-4000-8000-000000000002";
pub(crate) const TOKEN: &str = "cst_test-token-of-the-first-instance";
pub(crate) const META_TOKEN: &str = "cst_test-token-of-the-second-instance";
pub(crate) const CALLBACK_SECRET: &str = "whsec_R2bYkVe+NKb7Q2JVKQIeWFnDBZOD/X5UH/WLMwaJHhc=";
pub(crate) const WAHA_KEY: &str = "waha-hmac-key-0123456789abcdef";
pub(crate) const META_SECRET: &str = "meta-app-secret-0123456789abcdef";
pub(crate) const API_KEY: &str = "waha-api-key-0123456789";
pub(crate) const KEY: &str = "quJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU=";

/// The store of the daemon under test; survives a restart of the daemon.
pub(crate) enum TestStore {
    Directory(TempDir),
    Redis(Arc<RedisServer>),
}

impl TestStore {
    pub(crate) fn directory() -> Self {
        Self::Directory(tempfile::tempdir().unwrap())
    }

    pub(crate) fn redis() -> Self {
        Self::Redis(Arc::new(redis_server::start()))
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Directory(directory) => format!("embedded:{}", directory.path().display()),
            Self::Redis(server) => server.url(),
        }
    }
}

/// One `[[instance]]` of a configuration.
pub(crate) struct InstanceBlock<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) number: &'a str,
    pub(crate) token: &'a str,
    /// Further keys of the instance.
    pub(crate) lines: &'a str,
    pub(crate) gateway: &'a str,
}

impl fmt::Display for InstanceBlock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, number, token, lines, gateway } = self;
        write!(f, "[[instance]]\nid = \"{id}\"\nname = \"{name}\"\nnumber = \"{number}\"\ntokens = [\"sha256:")?;
        for byte in countersign::hash::sha256(token.as_bytes()) {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "\"]\ncallback_secrets = [\"{CALLBACK_SECRET}\"]\n{lines}\n[instance.gateway]\n{gateway}\n")
    }
}

/// An entry of `tokens`; `more_keys` are further keys of its table.
pub(crate) fn token_entry(token: &str, more_keys: &str) -> String {
    let digest = countersign::config::credentials::token_digest(token);
    format!(", {{ digest = \"{digest}\", {more_keys} }}")
}

/// What daemons under test run with: a gateway, the app's receiver, and a store. A store can outlive a daemon, and
/// several daemons can share it.
pub(crate) struct World {
    pub(crate) gateway: RecordingServer,
    pub(crate) receiver: RecordingServer,
    pub(crate) test_store: TestStore,
    /// Lines of `[store]`, instead of those of `test_store`.
    pub(crate) store: Option<String>,
    /// Lines for every `[[instance]]`.
    pub(crate) instance_lines: String,
    /// `redirect_urls` of the first instance, as TOML.
    pub(crate) redirects: String,
    /// Lines before the first table.
    pub(crate) top_level_lines: String,
    /// Further entries of every `tokens`, each with a comma before it.
    pub(crate) more_token_entries: String,
    /// `key`, as TOML.
    pub(crate) key: String,
    /// Further `[[instance]]` blocks.
    pub(crate) more_instances: String,
    pub(crate) public_url: String,
    pub(crate) clock: Clock,
}

impl World {
    pub(crate) fn new(test_store: TestStore) -> Self {
        let (instance_lines, top_level_lines, more_instances, more_token_entries) = Default::default();
        let redirects = "[\"https://app.example.org/in\"]".to_owned();
        let public_url = "http://127.0.0.1:1".to_owned();
        let (gateway, receiver) = (RecordingServer::start(), RecordingServer::start());
        let key = format!("{KEY:?}");
        Self {
            gateway,
            receiver,
            test_store,
            store: None,
            instance_lines,
            redirects,
            top_level_lines,
            key,
            more_token_entries,
            more_instances,
            public_url,
            clock: Clock::default(),
        }
    }

    pub(crate) fn config(&self, listen: &str, operator: &str) -> String {
        let (gateway, receiver) = (&self.gateway.url, &self.receiver.url);
        let store = self.store.clone().unwrap_or_else(|| format!("url = \"{}\"", self.test_store.url()));
        let (instance_lines, top_level_lines, more_instances, key, public_url) =
            (&self.instance_lines, &self.top_level_lines, &self.more_instances, &self.key, &self.public_url);
        let app = |path: &str| {
            format!(
                "callback_url = \"{receiver}/{path}\"\nallow_http_callbacks = true\n\
                 callback_allow_networks = [\"127.0.0.0/8\"]\n{instance_lines}\n"
            )
        };
        let waha = InstanceBlock {
            id: WAHA,
            name: "Harbour",
            number: "+447700900999",
            token: TOKEN,
            lines: &format!("redirect_urls = {}\n{}", self.redirects, app("default")),
            gateway: &format!(
                "kind = \"waha\"\nurl = \"{gateway}\"\napi_key = \"{API_KEY}\"\nwebhook_secret = \"{WAHA_KEY}\""
            ),
        };
        let meta = InstanceBlock {
            id: META,
            name: "Meta",
            number: "+12025550142",
            token: META_TOKEN,
            lines: &app("meta"),
            gateway: &format!(
                "kind = \"cloud-api\"\nurl = \"{gateway}\"\nphone_number_id = \"777\"\n\
                 access_token = \"meta-access-token-0123456789\"\nwebhook_secret = \"{META_SECRET}\""
            ),
        };
        let blocks = format!("{waha}{meta}{more_instances}")
            .replace("\"]\ncallback_secrets", &format!("\"{}]\ncallback_secrets", self.more_token_entries));
        format!(
            r#"
public_url = "{public_url}"
listen = "{listen}"
operator_listen = "{operator}"
key = {key}
{top_level_lines}
[store]
{store}
[log]
format = "text"
level = "trace"
[shutdown]
drain_delay = "0s"
grace = "20s"
{blocks}"#
        )
    }

    pub(crate) async fn start(&self) -> Daemon {
        let text = self.config("127.0.0.1:0", "127.0.0.1:0");
        let config = config::load_text(&text, [], &[]).into_result();
        let config = config.unwrap_or_else(|faults| panic!("{faults}"));
        let application = build(&config, &self.clock).await;
        let client = client();
        let base = format!("http://{}", application.public_address().unwrap());
        let operator = format!("http://{}", application.operator_address().unwrap());
        let (services, worker) = (Arc::clone(&application.services), Arc::clone(&application.worker));
        let stop = CancellationToken::new();
        let running = tokio::spawn(application.run(stop.clone()));
        Daemon {
            base,
            operator,
            client,
            services,
            worker,
            store: config.store,
            stop,
            running,
            ended: ShutdownGuard(false),
            clock: self.clock.clone(),
        }
    }
}

pub(crate) async fn build(config: &Config, clock: &Clock) -> Application {
    let instances = app::build_instances(config, Purpose::Serve).into_result();
    let instances = instances.unwrap_or_else(|faults| panic!("{faults}"));
    let listeners = Listeners::bind(config).unwrap();
    until_closed(&config.store).await;
    let built = Application::build(config, listeners, instances, clock.clone()).await;
    built.unwrap_or_else(|error| panic!("{error:#}"))
}

/// A client without limits of addresses. Its timeout allows for a thousand requests at once on a busy machine.
pub(crate) fn client() -> Egress {
    Egress::new(Policy { any_address: true, allow_http: true, ..Policy::default() }).with_timeout(TIMEOUT)
}

pub(crate) struct Daemon {
    pub(crate) base: String,
    pub(crate) operator: String,
    pub(crate) client: Egress,
    pub(crate) services: Arc<Services>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) clock: Clock,
    store: StoreConfig,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
    ended: ShutdownGuard,
}

/// Fails a test that drops its daemon without [`Daemon::finish`] or [`Daemon::stop`]: such a test would pass although
/// the daemon cannot shut down, or leaves work undone.
struct ShutdownGuard(bool);

impl Drop for ShutdownGuard {
    fn drop(&mut self) {
        assert!(self.0 || std::thread::panicking(), "the test ends without finish() or stop() of its daemon");
    }
}

/// An answer of the daemon, with its body as JSON where it is JSON.
#[derive(Debug)]
pub(crate) struct ReceivedResponse {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl ReceivedResponse {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn data(&self, name: &str) -> &Value {
        &self.json["data"][name]
    }

    pub(crate) fn text_of(&self, name: &str) -> String {
        self.data(name).as_str().unwrap_or_else(|| panic!("{name} in {}", self.text)).to_owned()
    }
}

impl From<Response<Vec<u8>>> for ReceivedResponse {
    fn from(response: Response<Vec<u8>>) -> Self {
        let mut body = Vec::new();
        if response.headers().get("content-encoding").is_some_and(|coding| coding == "gzip") {
            flate2::read::GzDecoder::new(&**response.body()).read_to_end(&mut body).unwrap();
        } else {
            body.clone_from(response.body());
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Self { status: response.status().as_u16(), headers: response.headers().clone(), text, json }
    }
}

impl Daemon {
    pub(crate) async fn send(&self, request: Request<Vec<u8>>) -> ReceivedResponse {
        self.client.send(request).await.unwrap().into()
    }

    pub(crate) async fn get(&self, path: &str) -> ReceivedResponse {
        self.get_as(TOKEN, path).await
    }

    pub(crate) async fn get_as(&self, token: &str, path: &str) -> ReceivedResponse {
        let request = Request::get(format!("{}{path}", self.base)).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Vec::new()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> ReceivedResponse {
        self.post_with(path, body, &[]).await
    }

    pub(crate) async fn post_with(&self, path: &str, body: Value, headers: &[(&str, &str)]) -> ReceivedResponse {
        let mut request = Request::post(format!("{}{path}", self.base)).header("content-type", "application/json");
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", format!("Bearer {TOKEN}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.to_string().into_bytes()).unwrap()).await
    }

    /// Requests a link from the first instance.
    pub(crate) async fn mint(&self, body: Value) -> ReceivedResponse {
        self.post(&format!("/api/otp/v2/{WAHA}/generate-link"), body).await
    }

    /// Creates a link of the first instance; any other answer fails the test.
    pub(crate) async fn create_link(&self, body: Value) -> CreatedLink {
        let answer = self.mint(body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        CreatedLink { uuid: answer.text_of("uuid"), code: answer.text_of("code"), text: answer.text_of("text") }
    }

    /// A person's message through WAHA, from a number.
    pub(crate) async fn send_message(&self, number: &str, id: &str, text: &str) -> ReceivedResponse {
        self.post_waha(&message(number, id, text, self.clock.wall().as_second())).await
    }

    pub(crate) async fn post_waha(&self, body: &Value) -> ReceivedResponse {
        self.send(signed_waha(&self.base, body)).await
    }

    pub(crate) async fn status(&self, uuid: &str) -> String {
        self.get(&format!("/api/otp/v2/{WAHA}/requests/{uuid}")).await.text_of("status")
    }

    /// Whether no callback of the first instance may go there.
    pub(crate) async fn is_denied(&self, url: &str) -> bool {
        let instance = self.services.env.instances.get(WAHA.parse().unwrap()).unwrap();
        let request = Request::post(url).body(b"{}".to_vec()).unwrap();
        instance.callback_egress.send(request).await.is_err_and(|error| error.cause == Cause::Forbidden)
    }

    /// Runs everything that is due now, and waits for it.
    pub(crate) async fn settle(&self) {
        settle(&self.services, &self.worker).await;
    }

    /// Advances the clock, and runs all work that was due before or comes due in that time.
    pub(crate) async fn advance(&self, by: Duration) {
        self.advance_clock(by).await;
        self.settle().await;
    }

    /// Advances the clock, after work in flight is done: it would otherwise time out or lose its lease.
    pub(crate) async fn advance_clock(&self, by: Duration) {
        self.settle().await;
        self.clock.advance(by);
    }

    /// Waits until no work is due, then shuts down in order.
    pub(crate) async fn finish(self) {
        self.settle().await;
        self.stop().await;
    }

    /// Shuts down in order. Work that is due stays in the store. The threads of the listeners hold the store for a
    /// moment after `running` ends; the next daemon could not open its directory before they end.
    pub(crate) async fn stop(self) {
        let Self { services, worker, stop, running, store, mut ended, .. } = self;
        ended.0 = true;
        stop.cancel();
        within_timeout("it stops", running).await.unwrap().unwrap();
        drop((services, worker));
        until_closed(&store).await;
    }
}

/// Runs everything that is due now, and waits for it. The worker also leases by itself, so what
/// is no longer due may have just been leased; it is waited for as well.
pub(crate) async fn settle(services: &Services, worker: &Arc<Worker>) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        worker.poll().await.unwrap();
        worker.wait_until_idle().await;
        let mut due = services.env.store.due().await.unwrap();
        if due.is_empty() {
            worker.wait_until_idle().await;
            due = services.env.store.due().await.unwrap();
            if due.is_empty() {
                return;
            }
        }
        assert!(Instant::now() < deadline, "work stays due: {due:?}");
        // A number that has used up its rate gets more as time passes.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) struct CreatedLink {
    pub(crate) uuid: String,
    pub(crate) code: String,
    pub(crate) text: String,
}

pub(crate) fn message(number: &str, id: &str, text: &str, timestamp: i64) -> Value {
    json!({
        "id": format!("evt_{id}"), "event": "message", "session": "default", "engine": "NOWEB",
        "payload": {
            "id": format!("false_{number}@c.us_{id}"), "timestamp": timestamp, "from": format!("{number}@c.us"),
            "fromMe": false, "source": "app", "body": text, "hasMedia": false,
            "_data": { "pushName": "Mara" },
        },
    })
}

pub(crate) fn signed_waha(base: &str, body: &Value) -> Request<Vec<u8>> {
    let body = body.to_string().into_bytes();
    let mut mac = Hmac::<Sha512>::new_from_slice(WAHA_KEY.as_bytes()).unwrap();
    mac.update(&body);
    let hex = mac.finalize().into_bytes().iter().fold(String::new(), |out, byte| format!("{out}{byte:02x}"));
    Request::post(format!("{base}/webhooks/{WAHA}"))
        .header("content-type", "application/json")
        .header("x-webhook-hmac", hex)
        .header("x-webhook-hmac-algorithm", "sha512")
        .body(body)
        .unwrap()
}

/// Waits until no daemon of this process holds the store's directory.
async fn until_closed(store: &StoreConfig) {
    // Without a directory, there is no store yet, or none that anybody could open again.
    if let StoreConfig::Embedded { directory } = store
        && let Ok(lock) = File::open(directory.join("lock"))
    {
        until("the store is closed", async || lock.try_lock().is_ok()).await;
    }
}
