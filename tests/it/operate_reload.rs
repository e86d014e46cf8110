//! A changed configuration is applied to the running process: a faulty one not at all, a valid one except for the keys
//! that need a restart.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use countersign::config::credentials::token_digest;
use serde_json::json;

use crate::{
    daemon::{META, META_TOKEN, ReceivedResponse, TOKEN, TestStore, WAHA, World},
    process::Process,
    redis_server::free_port,
    wait::until,
};

const NEW_TOKEN: &str = "cst_a-token-that-comes-with-a-reload";

/// Waits for a log line, which is written with a short delay.
async fn wait_for_log(process: &Process, what: &str) {
    until(what, async || process.output().contains(what)).await;
}

async fn mint(process: &Process, instance: &str, token: &str) -> ReceivedResponse {
    let request = http::Request::post(format!("{}/api/otp/v2/{instance}/generate-link", process.base))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    process.client.send(request.body(b"{}".to_vec()).unwrap()).await.unwrap().into()
}

fn reloads(result: &str) -> String {
    format!("countersign_config_reloads_total{{result=\"{result}\"}}")
}

fn with_token(text: &str, token: &str) -> String {
    text.replacen("tokens = [", &format!("tokens = [\"{}\", ", token_digest(token)), 1)
}

/// Renames a new file over the old one, as editors and configuration management do.
fn write(path: &Path, text: &str) {
    let beside = path.with_extension("next");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_applies_a_valid_configuration_and_refuses_a_faulty_one() {
    let world = World::new(TestStore::directory());
    let process = Process::start(&world).await;
    let good = std::fs::read_to_string(process.config.path()).unwrap();
    assert_eq!(mint(&process, WAHA, NEW_TOKEN).await.status, 401);

    // One fault, and nothing of the file is applied.
    let bad = with_token(&good, NEW_TOKEN).replace("number = \"+12025550142\"", "number = \"hunter2-not-a-number\"");
    write(process.config.path(), &bad);
    process.signal("-HUP");
    until("it is refused", async || process.metric(&reloads("refused")).await >= 1.0).await;
    assert!((process.metric("countersign_config_current").await).abs() < 0.5);
    assert_eq!(mint(&process, WAHA, NEW_TOKEN).await.status, 401);
    assert_eq!(mint(&process, WAHA, TOKEN).await.status, 200);
    wait_for_log(&process, "instance.1.number: holds").await;

    // Invalid TOML is refused, without the line in the log: it may hold a secret.
    write(process.config.path(), &format!("{good}\nwebhook_secret = \"canary-in-a-broken-line"));
    process.signal("-HUP");
    until("broken TOML is refused", async || process.metric(&reloads("refused")).await >= 2.0).await;
    wait_for_log(&process, "is not TOML").await;
    assert!(!process.output().contains("canary-in-a-broken-line"));

    // Keys that need a restart are named; all others are applied.
    write(process.config.path(), &with_token(&good, NEW_TOKEN).replace("http://127.0.0.1:1\"", "http://127.0.0.1:2\""));
    process.signal("-HUP");
    until("it needs a restart", async || process.metric(&reloads("needs_restart")).await >= 1.0).await;
    wait_for_log(&process, "these keys need a restart").await;
    assert!((process.metric("countersign_config_waiting{key=\"public_url\"}").await - 1.0).abs() < 0.5);
    assert!((process.metric("countersign_config_current").await).abs() < 0.5);
    assert!(process.operator("/status").await.text.contains("\"waiting\":[\"public_url\"]"));
    let minted = mint(&process, WAHA, NEW_TOKEN).await;
    assert_eq!(minted.status, 200);
    assert!(minted.text_of("start_url").starts_with("http://127.0.0.1:1/"), "{}", minted.text);

    // A valid one adds a token and disables an instance, whose pending logins finish.
    let pending = mint(&process, META, META_TOKEN).await;
    let disabled = with_token(&good, NEW_TOKEN).replace("name = \"Meta\"", "name = \"Meta\"\ndisabled = true");
    write(process.config.path(), &disabled);
    process.signal("-HUP");
    until("it is applied", async || process.metric(&reloads("applied")).await >= 1.0).await;
    assert!((process.metric("countersign_config_current").await - 1.0).abs() < 0.5);
    assert!(!process.operator("/metrics").await.text.contains("countersign_config_waiting{"));
    assert_eq!(mint(&process, WAHA, NEW_TOKEN).await.status, 200);
    let refused = mint(&process, META, META_TOKEN).await;
    assert_eq!((refused.status, refused.json["code"].as_str()), (403, Some("instance_disabled")), "{}", refused.text);
    let uuid = pending.text_of("uuid");
    let request = http::Request::get(format!("{}/api/otp/v2/{META}/requests/{uuid}", process.base))
        .header("authorization", format!("Bearer {META_TOKEN}"));
    let shown: ReceivedResponse = process.client.send(request.body(Vec::new()).unwrap()).await.unwrap().into();
    assert_eq!(shown.text_of("status"), "pending");

    process.signal("-HUP");
    until("nothing has changed", async || process.metric(&reloads("unchanged")).await >= 1.0).await;

    let series = async || {
        let shown = process.operator("/metrics").await.text;
        let gauge = |line: &&str| line.starts_with("countersign_gateway_last_inbound_timestamp") && line.contains(META);
        shown.lines().filter(gauge).count()
    };
    assert_eq!(series().await, 1);

    // The instance is removed; its callers get the same response as for an unknown instance.
    let alone = good.split("[[instance]]").take(2).collect::<Vec<_>>().join("[[instance]]");
    write(process.config.path(), &alone);
    process.signal("-HUP");
    until("the instance is gone", async || mint(&process, META, META_TOKEN).await.status == 401).await;
    assert_eq!(mint(&process, WAHA, NEW_TOKEN).await.status, 401, "its token is gone, too");
    until("no alert waits for its gateway", async || series().await == 0).await;
    let (status, _, written) = process.terminate();
    assert_eq!(status, Some(0), "{written}");
}

/// Each tenant in a file of its own. A pattern that matches nothing any more is a mistake, not the end of all tenants;
/// so is a file without any.
#[tokio::test(flavor = "multi_thread")]
async fn instances_in_included_files_come_and_go_with_the_files() {
    const TENANT: &str = "5f0c2a90-0000-4000-8000-0000000000aa";
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new(TestStore::directory());
    world.top_level_lines = format!("include = [\"{}/*.toml\"]\n", directory.path().display());
    let text = world.config("127.0.0.1:0", "127.0.0.1:0");
    let tenant = text[text.find("[[instance]]").unwrap()..text.rfind("[[instance]]").unwrap()].replace(WAHA, TENANT);
    write(&directory.path().join("a.toml"), &with_token(&tenant, NEW_TOKEN));
    let process = Process::start(&world).await;
    assert_eq!(mint(&process, TENANT, NEW_TOKEN).await.status, 200);

    let other = "5f0c2a90-0000-4000-8000-0000000000bb";
    write(&directory.path().join("b.toml"), &tenant.replace(TENANT, other));
    until("the second tenant is served", async || mint(&process, other, TOKEN).await.status == 200).await;
    std::fs::remove_file(directory.path().join("a.toml")).unwrap();
    until("the first is gone", async || mint(&process, TENANT, NEW_TOKEN).await.status != 200).await;
    std::fs::remove_file(directory.path().join("b.toml")).unwrap();
    wait_for_log(&process, "matches no file").await;
    assert_eq!(mint(&process, other, TOKEN).await.status, 200, "the configuration before is still in use");
    // As while it is being written: in place, not by a renamed file.
    std::fs::write(directory.path().join("b.toml"), "").unwrap();
    wait_for_log(&process, "holds no [[instance]]").await;
    assert_eq!(mint(&process, other, TOKEN).await.status, 200, "and here as well");
    std::fs::write(directory.path().join("b.toml"), with_token(&tenant.replace(TENANT, other), NEW_TOKEN)).unwrap();
    until("it is read again", async || mint(&process, other, NEW_TOKEN).await.status == 200).await;
    process.terminate();
}

/// Kubernetes swaps `..data`, a symlink to a directory; neither the file nor its own symlink changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_file_is_read_again_when_kubernetes_swaps_its_directory() {
    let world = World::new(TestStore::directory());
    let volume = tempfile::tempdir().unwrap();
    let (port, operator) = (free_port(), free_port());
    let put = |version: &str, secret: &str| {
        let directory = volume.path().join(version);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("hmac"), secret).unwrap();
        std::os::unix::fs::symlink(version, volume.path().join("..next")).unwrap();
        std::fs::rename(volume.path().join("..next"), volume.path().join("..data")).unwrap();
    };
    put("one", "another-hmac-key-0123456789abcdef");
    std::os::unix::fs::symlink("..data/hmac", volume.path().join("hmac")).unwrap();
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    let file = format!("webhook_secret_file = \"{}\"", volume.path().join("hmac").display());
    let text = text.replace(&format!("webhook_secret = \"{}\"", crate::daemon::WAHA_KEY), &file);
    let process = Process::with(port, operator, &text, &[]).await;
    let minted = process.mint(json!({})).await.unwrap();
    assert!(!process.send_message("447700900123", "S1", &minted.text_of("text")).await, "signed with the other key");
    put("two", crate::daemon::WAHA_KEY);
    until("the new secret is in use", async || {
        process.send_message("447700900123", "S1", &minted.text_of("text")).await
    })
    .await;
    process.terminate();
}

/// Fifty reloads under load, and no request fails.
#[tokio::test(flavor = "multi_thread")]
async fn reloads_fail_no_request() {
    let world = World::new(TestStore::directory());
    let process = Arc::new(Process::start(&world).await);
    let good = std::fs::read_to_string(process.config.path()).unwrap();
    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut load = tokio::task::JoinSet::new();
    for worker in 0..8u32 {
        let (process, done, served) = (Arc::clone(&process), Arc::clone(&done), Arc::clone(&served));
        load.spawn(async move {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                let minted = process.mint(json!({})).await.expect("a mint failed during a reload");
                let number = format!("4477{worker:02}{round:06}");
                let said = process.send_message(&number, &format!("R{worker}-{round}"), &minted.text_of("text")).await;
                assert!(said, "a message was not taken during a reload");
                round += 1;
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for round in 0..50u32 {
        let before = served.load(Ordering::Relaxed);
        write(process.config.path(), &format!("{}\n# {round}\n", with_token(&good, NEW_TOKEN)));
        process.signal("-HUP");
        let wanted = f64::from(round + 1);
        until("it is applied", async || process.metric(&reloads("applied")).await >= wanted).await;
        until("requests go on", async || served.load(Ordering::Relaxed) > before || load.is_empty()).await;
    }
    done.store(true, Ordering::Relaxed);
    while let Some(worker) = load.join_next().await {
        worker.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) >= 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_page_exists_while_a_password_is_configured() {
    let world = World::new(TestStore::directory());
    let process = Process::start(&world).await;
    let good = std::fs::read_to_string(process.config.path()).unwrap();
    let status = async || {
        let request = http::Request::get(format!("{}/requests", process.operator)).body(Vec::new()).unwrap();
        process.client.send(request).await.unwrap().status().as_u16()
    };
    assert_eq!(status().await, 404);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "correct horse battery\n").unwrap();
    let line = format!("operator_password_file = {:?}\n", secret.path());
    write(process.config.path(), &format!("{line}{good}"));
    process.signal("-HUP");
    until("the page is there", async || status().await == 401).await;
    write(process.config.path(), &good);
    process.signal("-HUP");
    until("the page is gone", async || status().await == 404).await;
}

/// The place in a reply comes from the database that is configured at that moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_geoip_database_is_replaced_and_a_broken_one_is_refused() {
    let database = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/geoip/places.mmdb");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("places.mmdb");
    let mut world = World::new(TestStore::directory());
    world.instance_lines = "completions_allowed = [\"anywhere\"]".to_owned();
    let process = Process::start(&world).await;
    let good = std::fs::read_to_string(process.config.path()).unwrap();
    let with_places = format!("geoip_file = {file:?}\n{good}");
    let place_is_shown = async |id: &str| {
        let before = world.gateway.requests().len();
        let link = process.mint(json!({"client_ip": "203.0.113.7", "completion": "anywhere"})).await.unwrap();
        assert!(process.send_message("447700900123", id, &link.text_of("text")).await);
        let replies = world.gateway.wait_for(before + 1).await;
        String::from_utf8_lossy(&replies[before].body).contains("Northwind, Harbourland")
    };
    assert!(!place_is_shown("before").await);

    std::fs::write(&file, "no database").unwrap();
    write(process.config.path(), &with_places);
    process.until_metric(&reloads("refused"), |count| count >= 1.0).await;
    wait_for_log(&process, "is no MaxMind DB").await;

    std::fs::copy(database, &file).unwrap();
    process.until_metric(&reloads("applied"), |count| count >= 1.0).await;
    assert!(place_is_shown("after").await);
}
