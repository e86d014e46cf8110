//! Signing keys over replicas, and the subject key.

use std::{sync::Arc, time::Duration};

use super::{OidcBrowser, PHONE, SHOP, Server, oidc, request, sealed, verified, world};
use crate::{
    daemon::{TestStore, World},
    process::Process,
    redis_server,
    wait::until,
};

/// The id of the key that signs.
async fn signs(world: &World, server: &Server) -> String {
    let returned = OidcBrowser::new(server).log_in(world, PHONE, &request(&[])).await;
    let tokens = server.exchange(returned.code()).await;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    let (header, _) = verified(server, tokens.json["id_token"].as_str().unwrap()).await;
    header["kid"].as_str().unwrap().to_owned()
}

async fn published(server: &Server) -> Vec<String> {
    let keys = server.get("jwks").await.json;
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// A replica with these keys joins; clients may keep the key set for 3 s.
async fn replica(world: &mut World, keys: &[&str]) -> Process {
    let unlimited = "[limits]\npages_per_minute = 0\ntaps_per_minute = 0\n";
    world.top_level_lines = format!("{}{unlimited}", oidc(keys, "jwks_cache = \"3s\""));
    Process::start(world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_signs_only_after_all_replicas_have_announced_it() {
    let mut world = world(TestStore::Redis(Arc::new(redis_server::start())));
    let (old, both) = (&["rs256.pem", "es256.pem"][..], &["rs256-next.pem", "rs256.pem", "es256.pem"][..]);
    let first = replica(&mut world, old).await;
    let second = replica(&mut world, old).await;
    let server = Server::at(&first.base);
    let before = signs(&world, &server).await;
    assert_eq!(published(&server).await[0], before, "the first start signs at once");

    // The first replica restarts with the new key before the old one.
    first.kill();
    let first = replica(&mut world, both).await;
    let server = Server::at(&first.base);
    let next = published(&server).await[0].clone();
    assert_ne!(next, before);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(signs(&world, &server).await, before, "the other replica does not announce the new key");

    second.kill();
    let second = replica(&mut world, both).await;
    let other = Server::at(&second.base);
    assert_eq!(published(&other).await[0], next);
    assert_eq!(signs(&world, &other).await, before, "clients may have kept the former key set");
    until("both sign with the new key", async || {
        signs(&world, &server).await == next && signs(&world, &other).await == next
    })
    .await;

    // The old key can go, and then it no longer signs: those who start with it alone must wait.
    second.kill();
    let second = replica(&mut world, &["rs256-next.pem", "es256.pem"]).await;
    assert_eq!(signs(&world, &Server::at(&second.base)).await, next);
    first.kill();
    let alone = replica(&mut world, old).await;
    let page = OidcBrowser::new(&Server::at(&alone.base)).authorize(&request(&[])).await;
    assert!(page.header("location").contains("error=temporarily_unavailable"), "{} {}", page.status, page.text);
    second.kill();
    alone.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_subject_key_is_refused() {
    let mut world = world(TestStore::directory());
    let daemon = world.start().await;
    daemon.finish().await;
    let key = "3t8eG0qY5r1l0q3m9Jm8b7uHc6nT4sD2xk1vWz0pQyI=";
    world.top_level_lines = world.top_level_lines.replace(super::SUBJECT_KEY, key);
    let (port, operator) = (redis_server::free_port(), redis_server::free_port());
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    let (status, _, output) = Process::spawn(port, operator, &text, &[]).wait_for_exit();
    assert_eq!(status, Some(78), "{output}");
    assert!(output.contains("oidc.subject_key_file holds another key"), "{output}");
}

/// Clients and keys change without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn clients_are_reloaded() {
    let world = world(TestStore::directory());
    let process = Process::start(&world).await;
    let server = Server::at(&process.base);
    let ask = async |client: &str| OidcBrowser::new(&server).authorize(&request(&[("client_id", client)])).await.status;
    assert_eq!((ask("shop").await, ask("market").await), (200, 400));
    let text = std::fs::read_to_string(process.config.path()).unwrap();
    let changed = text.replace("id = \"shop\"", "id = \"market\"");
    std::fs::write(process.config.path(), &changed).unwrap();
    until("the new client is known", async || ask("market").await == 200).await;
    assert_eq!(ask("shop").await, 400);

    // A page that is open already is for the redirect URIs of now.
    let mut browser = OidcBrowser::new(&server);
    let page = sealed(&browser.authorize(&request(&[("client_id", "market")])).await.text);
    std::fs::write(process.config.path(), changed.replace(&format!("\"{SHOP}\", "), "")).unwrap();
    until("the redirect URI is gone", async || ask("market").await == 400).await;
    let refused = browser.submit(&Server::path("continue"), &[("request", &page)]).await;
    assert_eq!((refused.status, refused.headers.get("location")), (410, None));
    process.kill();
}
