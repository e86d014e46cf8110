//! Callbacks reach no denied address, in any spelling of it, by any DNS answer, and with any certificate.

use std::{
    collections::HashSet,
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use countersign::egress::{Cause, Egress, EgressError, Policy, Resolver, SystemResolver};
use futures_util::future::BoxFuture;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::sleep,
};

use crate::{
    daemon::{TOKEN, TestStore, WAHA, World},
    fakes::RecordingServer,
    process::Process,
    redis_server::free_port,
    wait::TIMEOUT,
};

/// URLs; `{port}` is the port of a listener on every address of this host.
const CORPUS: &str = include_str!("egress_corpus.txt");

async fn callbacks(process: &Process) -> Vec<Value> {
    let request = http::Request::get(format!("{}/api/otp/v2/{WAHA}/callbacks?limit=200", process.base))
        .header("authorization", format!("Bearer {TOKEN}"));
    let answer = process.client.send(request.body(Vec::new()).unwrap()).await.unwrap();
    let json: Value = serde_json::from_slice(answer.body()).unwrap();
    json["data"]["callbacks"].as_array().unwrap().clone()
}

/// Creates a link with each callback URL. How many URLs were accepted at creation, and the errors of their deliveries.
async fn try_all(process: &Process, urls: &[String]) -> (usize, HashSet<String>) {
    let mut taken = 0;
    for (index, url) in urls.iter().enumerate() {
        let Some(minted) = process.mint(json!({"callback": {"success": url}})).await else { continue };
        assert!(
            process.send_message(&format!("4477008{index:05}"), &format!("C{index}"), &minted.text_of("text")).await
        );
        taken += 1;
    }
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let tried = callbacks(process).await;
        let errors: Vec<&Value> =
            tried.iter().map(|one| &one["last_error"]).filter(|error| error.is_string()).collect();
        if errors.len() >= taken {
            // The host is the caller's own word.
            let text = |error: &&Value| error.as_str().unwrap().split_once(": ").unwrap().1.to_owned();
            return (taken, errors.iter().map(text).collect());
        }
        let untried = tried.iter().filter(|one| one["last_error"].is_null()).map(|one| &one["url"]);
        assert!(Instant::now() < deadline, "{:?}", untried.collect::<Vec<_>>());
        sleep(Duration::from_millis(100)).await;
    }
}

fn only(word: &str) -> HashSet<String> {
    HashSet::from([word.to_owned()])
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_reaches_a_denied_address() {
    let (port, operator) = (free_port(), free_port());
    let world = World::new(TestStore::directory());
    let open = "callback_allow_networks = [\"127.0.0.0/8\"]";
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    assert!(text.contains(open));
    let process = Process::with(port, operator, &text.replace(open, ""), &[]).await;
    let lines = CORPUS.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    // A port for each, since an origin that fails too often is paused.
    let traps: Vec<(String, std::net::TcpListener)> = lines
        .map(|line| {
            let trap = std::net::TcpListener::bind("[::]:0").or_else(|_| std::net::TcpListener::bind("0.0.0.0:0"));
            let trap = trap.unwrap();
            let port = trap.local_addr().unwrap().port().to_string();
            (line.replace("{port}", &port).replace("\\t", "\t").replace("\\n", "\n"), trap)
        })
        .collect();
    assert!(traps.len() >= 60, "{}", traps.len());
    let urls: Vec<String> = traps.iter().map(|(url, _)| url.clone()).collect();
    let (taken, errors) = try_all(&process, &urls).await;
    assert!(taken > 40, "{taken}");
    assert_eq!(errors, only("forbidden_target: this address is not open to callbacks"), "one message for all");
    for (url, trap) in traps {
        trap.set_nonblocking(true).unwrap();
        assert!(trap.accept().is_err(), "{url} was reached");
    }
    process.terminate();
}

/// An allowed network that contains the daemon's listeners and the store.
#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_network_allows_neither_the_daemon_nor_its_store() {
    let world = World::new(TestStore::redis());
    let (port, operator) = (free_port(), free_port());
    let text = world.config(&format!("0.0.0.0:{port}"), &format!("127.0.0.1:{operator}"));
    let process = Process::with(port, operator, &text, &[]).await;
    let redis =
        world.test_store.url().rsplit(':').next().unwrap().trim_end_matches(|c: char| !c.is_ascii_digit()).to_owned();
    let redis = redis.split('/').next().unwrap();
    let mut urls = vec![format!("http://127.0.0.2:{port}/livez")];
    for port in [&port.to_string(), &operator.to_string(), redis] {
        for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "127.0.0.1."] {
            urls.push(format!("http://{host}:{port}/api"));
        }
    }
    let (taken, errors) = try_all(&process, &urls).await;
    assert_eq!(taken, urls.len());
    assert_eq!(errors, only("forbidden_target: this address is not open to callbacks"));
    process.terminate();
}

/// A resolver that returns the lists in turn.
struct SequenceResolver {
    answers: Vec<Vec<&'static str>>,
    asked: AtomicUsize,
}

impl Resolver for SequenceResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            if name != "fickle.test" {
                return SystemResolver.resolve(name).await;
            }
            let turn = self.asked.fetch_add(1, Ordering::SeqCst);
            let answer = &self.answers[turn % self.answers.len()];
            if answer.is_empty() {
                sleep(Duration::from_mins(1)).await;
            }
            Ok(answer.iter().map(|ip| ip.parse().unwrap()).collect())
        })
    }
}

fn egress_with_answers(policy: Policy, answers: &[&[&'static str]]) -> Egress {
    let answers = answers.iter().map(|answer| answer.to_vec()).collect();
    Egress::with_resolver(
        policy,
        Arc::new(SequenceResolver { answers, asked: AtomicUsize::new(0) }),
        RootCertStore::empty(),
    )
}

async fn outcome(egress: &Egress, url: &str) -> Result<u16, EgressError> {
    let request = http::Request::post(url).header("connection", "close").body(b"body".to_vec()).unwrap();
    egress.send(request).await.map(|answer| answer.status().as_u16())
}

fn unsent(cause: Cause) -> Result<u16, EgressError> {
    Err(EgressError { cause, may_have_arrived: false })
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_rebinding_reaches_nothing() {
    let trap = RecordingServer::start();
    let url = trap.url.replace("127.0.0.1", "fickle.test");
    let strict = || Policy { allow_http: true, ..Policy::default() };
    for answers in [
        &["127.0.0.1"][..],
        &["127.0.0.1", "93.184.216.34"],
        &["93.184.216.34", "127.0.0.1"],
        &["::ffff:127.0.0.1"],
        &["169.254.169.254"],
        &["64:ff9b::7f00:1", "::1"],
    ] {
        assert_eq!(
            outcome(&egress_with_answers(strict(), &[answers]), &url).await,
            unsent(Cause::Forbidden),
            "{answers:?}"
        );
    }
    // The port is denied on 127.0.0.1 only, and nothing listens on 127.0.0.2. The checked address is the one connected
    // to.
    let at = trap.url.rsplit(':').next().unwrap().parse().unwrap();
    let networks = vec!["127.0.0.0/8".parse().unwrap()];
    let policy = Policy {
        allow_http: true,
        allowed_networks: networks,
        denied_hosts: vec![("127.0.0.1".to_owned(), at)],
        ..Policy::default()
    };
    let rebinding = egress_with_answers(policy.clone(), &[&["127.0.0.2"], &["127.0.0.1"]]);
    for _ in 0..100 {
        let outcome = outcome(&rebinding, &url).await;
        let expected = [unsent(Cause::Forbidden), unsent(Cause::Refused)];
        assert!(expected.contains(&outcome), "{outcome:?}");
    }
    assert!(trap.requests().is_empty());
    let open = Policy { denied_hosts: Vec::new(), ..policy };
    assert_eq!(outcome(&egress_with_answers(open.clone(), &[&["127.0.0.1"]]), &url).await, Ok(200), "the trap works");
    let start = Instant::now();
    assert_eq!(
        outcome(&egress_with_answers(open, &[&[]]), &url).await,
        unsent(Cause::ConnectTimeout),
        "a resolver that hangs"
    );
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

fn certificate(name: &str) -> CertificateDer<'static> {
    let file = format!("{}/tests/fixtures/tls/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    CertificateDer::from_pem_file(file).unwrap()
}

/// A server with this certificate: its port, and a counter of the request bytes it read.
pub(crate) async fn tls_server(name: &str) -> (u16, Arc<AtomicUsize>) {
    tls_server_for(name, false).await
}

/// As [`tls_server`]. `known` serves only clients with a certificate of the trusted authority.
pub(crate) async fn tls_server_for(name: &str, known: bool) -> (u16, Arc<AtomicUsize>) {
    let key = format!("{}/tests/fixtures/tls/server.key", env!("CARGO_MANIFEST_DIR"));
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate("trusted")).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let config = if known { config.with_client_cert_verifier(clients) } else { config.with_no_client_auth() };
    let config = config.with_single_cert(vec![certificate(name)], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, received) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let read = stream.read(&mut [0; 4096]).await.unwrap_or(0);
            count.fetch_add(read, Ordering::SeqCst);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    (port, received)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_is_sent_to_a_server_without_a_valid_certificate() {
    let mut roots = RootCertStore::empty();
    roots.add(certificate("trusted")).unwrap();
    let policy = Policy { allowed_networks: vec!["127.0.0.0/8".parse().unwrap()], ..Policy::default() };
    let names = Arc::new(LocalResolver);
    let trusting = Egress::with_resolver(policy.clone(), names.clone(), roots);
    let usual = Egress::with_resolver(policy, names, RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    for (name, egress, expected) in [
        ("good", &trusting, Ok(200)),
        ("good", &usual, unsent(Cause::Tls("certificate from an unknown issuer"))),
        ("expired", &trusting, unsent(Cause::Tls("certificate expired"))),
        ("other", &trusting, unsent(Cause::Tls("certificate is for another name"))),
        ("stranger", &trusting, unsent(Cause::Tls("certificate from an unknown issuer"))),
        ("self-signed", &trusting, unsent(Cause::Tls("certificate from an unknown issuer"))),
    ] {
        let (port, received) = tls_server(name).await;
        assert_eq!(outcome(egress, &format!("https://good.test:{port}/")).await, expected, "{name}");
        assert_eq!(received.load(Ordering::SeqCst) > 0, expected.is_ok(), "{name}");
    }
    let plain = RecordingServer::start();
    let url = plain.url.replace("http://127.0.0.1", "https://good.test");
    assert_eq!(outcome(&trusting, &url).await, unsent(Cause::Tls("the receiver does not speak TLS")), "no TLS at all");
    assert!(plain.requests().is_empty());
}

/// Resolves every name to this host.
struct LocalResolver;

impl Resolver for LocalResolver {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) })
    }
}
