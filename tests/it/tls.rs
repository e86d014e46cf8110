//! Private authorities and client certificates: towards receivers, gateways and Redis.

use std::{
    process::{Child, Stdio},
    sync::atomic::Ordering,
};

use countersign::{
    clock::Clock,
    config::{ClientCertificate, TlsConfig},
    egress::{Egress, Policy},
    store::{Operations as _, StoreError, redis::Durability, redis::RedisStore},
};
use serde_json::json;

use crate::{
    daemon::{InstanceBlock, TOKEN, TestStore, WAHA_KEY, World},
    egress_corpus::{tls_server, tls_server_for},
    redis_server::{self, RedisServer, free_port},
    wait::until,
};

const OTHER: &str = "5f0c2a90-0000-4000-8000-00000000000c";

fn path(name: &str) -> String {
    format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn pem(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn client() -> ClientCertificate {
    ClientCertificate { chain: pem("client.pem"), key: pem("server.key").into() }
}

fn trusting() -> TlsConfig {
    TlsConfig { roots: Some(pem("trusted.pem")), client: None }
}

/// The status of a request, or the reason of its failure.
async fn outcome(tls: &TlsConfig, port: u16) -> String {
    let egress = Egress::with_tls(Policy { any_address: true, ..Policy::default() }, tls);
    let request = http::Request::get(format!("https://localhost:{port}/")).body(Vec::new()).unwrap();
    match egress.send(request).await {
        Ok(response) => response.status().as_str().to_owned(),
        Err(error) => error.cause.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_where_it_is_configured() {
    let (port, _) = tls_server("localhost").await;
    assert_eq!(outcome(&TlsConfig::default(), port).await, "certificate from an unknown issuer");
    assert_eq!(outcome(&trusting(), port).await, "200");
    let other = TlsConfig { roots: Some(pem("self-signed.pem")), client: None };
    assert_eq!(outcome(&other, port).await, "certificate from an unknown issuer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_presented_to_who_asks() {
    let (port, received) = tls_server_for("localhost", true).await;
    assert_ne!(outcome(&trusting(), port).await, "200");
    assert_eq!(received.load(Ordering::SeqCst), 0);
    let known = TlsConfig { client: Some(client()), ..trusting() };
    assert_eq!(outcome(&known, port).await, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_and_messages_use_the_certificates_of_their_instance() {
    let (receiver, called) = tls_server_for("localhost", true).await;
    let (gateway, sent) = tls_server_for("localhost", true).await;
    let mut world = World::new(TestStore::directory());
    let certificates = |table: &str| {
        format!(
            "{table}.ca_file = \"{}\"\n{table}.client_certificate_file = \"{}\"\n{table}.client_key_file = \"{}\"\n",
            path("trusted.pem"),
            path("client.pem"),
            path("server.key")
        )
    };
    world.instance_lines = certificates("callback_tls");
    world.more_instances = InstanceBlock {
        id: OTHER,
        name: "Pier",
        number: "+447700900998",
        token: TOKEN,
        lines: &certificates("gateway_tls"),
        gateway: &format!(
            "kind = \"waha\"\nurl = \"https://localhost:{gateway}\"\napi_key = \"a-key-of-the-gateway\"\nwebhook_secret = \"{WAHA_KEY}x\""
        ),
    }
    .to_string();
    let daemon = world.start().await;
    let url = format!("https://127.0.0.1:{receiver}/in");
    let link = daemon.create_link(json!({ "callback": { "success": url } })).await;
    assert_eq!(daemon.send_message("447700900123", "m1", &link.text).await.status, 200);
    until("the callback arrives", async || called.load(Ordering::SeqCst) > 0).await;
    let path = format!("/api/otp/v2/{OTHER}/request-code");
    let answer = daemon.post(&path, json!({ "chatId": "447700900123" })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    until("the code is sent", async || sent.load(Ordering::SeqCst) > 0).await;
    daemon.finish().await;
}

/// A Redis that serves only clients with a certificate, and the URL of its TLS port.
fn redis_over_tls(more: &[&str]) -> (RedisServer, String) {
    let port = free_port();
    let mut arguments: Vec<String> =
        ["--tls-port", &port.to_string(), "--tls-auth-clients", "yes"].map(str::to_owned).into();
    for (option, file) in
        [("--tls-cert-file", "localhost.pem"), ("--tls-key-file", "server.key"), ("--tls-ca-cert-file", "trusted.pem")]
    {
        arguments.extend([option.to_owned(), path(file)]);
    }
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    (redis_server::start_with(arguments), format!("localhost:{port}"))
}

fn known() -> TlsConfig {
    TlsConfig { client: Some(client()), ..trusting() }
}

async fn meta(url: &str, tls: &TlsConfig) -> Result<(), StoreError> {
    let store = RedisStore::with_tls(url, tls, Durability::Standard, Clock::default())?;
    store.meta().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_reached_with_certificates() {
    let (_server, address) = redis_over_tls(&[]);
    let url = format!("rediss://{address}/0");
    let Err(StoreError::Unavailable(why)) = meta(&url, &TlsConfig::default()).await else { panic!("not trusted") };
    assert!(why.contains("certificate") && why.contains("store.tls.ca_file"), "{why}");
    assert!(meta(&url, &trusting()).await.is_err(), "no client certificate");
    meta(&url, &known()).await.unwrap();
    let Err(StoreError::Misconfigured(why)) = meta(&url.replace("rediss", "redis"), &known()).await else {
        panic!("certificates without TLS")
    };
    assert!(why.starts_with("store.url: "), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_count_from_the_next_connection() {
    let (_server, address) = redis_over_tls(&[]);
    let url = format!("rediss://{address}/0");
    let store = RedisStore::with_tls(&url, &TlsConfig::default(), Durability::Standard, Clock::default()).unwrap();
    store.meta().await.unwrap_err();
    store.reload_credentials(&url, &known()).unwrap();
    store.meta().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_cluster_are_reached_with_certificates() {
    // Unless told, Redis takes a port 10,000 above its own for the bus: another test or any connection may have it.
    let bus = free_port().to_string();
    let (server, address) =
        redis_over_tls(&["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port", &bus]);
    let _: redis::Value =
        redis::cmd("CLUSTER").arg(&["ADDSLOTSRANGE", "0", "16383"]).query(&mut server.connection()).unwrap();
    let url = format!("rediss-cluster://{address}");
    until("the cluster serves", async || meta(&url, &known()).await.is_ok()).await;
    assert!(meta(&url, &trusting()).await.is_err());
}

/// A process that ends with its owner.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_their_master_are_reached_with_certificates() {
    let (_server, address) = redis_over_tls(&["--tls-replication", "yes"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sentinel.conf");
    let master = address.rsplit(':').next().unwrap();
    std::fs::write(&file, format!("sentinel monitor main 127.0.0.1 {master} 1\n")).unwrap();
    let port = free_port().to_string();
    let sentinel = std::process::Command::new("redis-server")
        .arg(&file)
        .args(["--sentinel", "--port", "0", "--tls-port", &port, "--tls-replication", "yes", "--bind", "127.0.0.1"])
        .args(["--tls-cert-file", &path("localhost.pem"), "--tls-key-file", &path("server.key")])
        .args(["--tls-ca-cert-file", &path("trusted.pem"), "--dir"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _sentinel = Ended(sentinel);
    let url = format!("rediss+sentinel://localhost:{port}/main/0");
    until("the Sentinel names the master", async || meta(&url, &known()).await.is_ok()).await;
    assert!(meta(&url, &trusting()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_the_machine_is_enough_for_redis() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("redis.sock");
    let server = redis_server::start_with(vec!["--unixsocket".to_owned(), socket.display().to_string()]);
    let words = ["SETUSER", "app", "on", ">p@ss/w:rd %+1", "~*", "&*", "+@all"];
    let _: redis::Value = redis::cmd("ACL").arg(&words).query(&mut server.connection()).unwrap();
    for url in [format!("redis+unix://{}?db=0", socket.display()), server.url()] {
        let mut world = World::new(TestStore::directory());
        world.store = Some(format!("url = \"{url}\"\nuser = \"app\"\npassword = \"p@ss/w:rd %+1\""));
        let daemon = world.start().await;
        let link = daemon.create_link(json!({})).await;
        assert_eq!(daemon.send_message("447700900123", "m1", &link.text).await.status, 200);
        until("the app is called", async || !world.receiver.requests().is_empty()).await;
        let keys: u64 = redis::cmd("DBSIZE").query(&mut server.connection()).unwrap();
        assert!(keys > 0, "{url}: the store is not this Redis");
        daemon.finish().await;
        let _: redis::Value = redis::cmd("FLUSHALL").query(&mut server.connection()).unwrap();
    }
}
