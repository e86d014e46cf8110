//! Pages stay small enough for a slow connection, whatever the operator and the app put into them.

use countersign::{domain::language::Language, hash::sha256};
use serde_json::json;

use crate::{
    browser::{Browser, start_path},
    daemon::{TestStore, World},
    login_flow::link_in,
};

/// Bytes, of every page as a browser receives it, and of one without a logo also before compression.
const MAX_PAGE_LEN: usize = 30_000;
const MAX_LOGO_LEN: usize = 7 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_below_thirty_kilobytes() {
    let mut world = World::new(TestStore::directory());
    let directory = tempfile::tempdir().unwrap();
    let logo = directory.path().join("logo.png");
    // A picture is compressed already, so these bytes must not compress either.
    let noise: Vec<u8> = (0..MAX_LOGO_LEN).flat_map(|number| sha256(&number.to_le_bytes())).collect();
    std::fs::write(&logo, [&[0x89, b'P', b'N', b'G'][..], &noise[..MAX_LOGO_LEN - 4]].concat()).unwrap();
    world.instance_lines = format!("[instance.page]\nlogo_file = \"{}\"\ncolor = \"#0b7a4b\"", logo.display());
    let daemon = world.start().await;
    for (index, language) in Language::all().enumerate() {
        let tag = language.tag();
        let name = "\u{1f511}".repeat(100);
        let minted = daemon.mint(json!({"lang": tag, "name": name})).await;
        assert_eq!(minted.status, 200, "{}", minted.text);
        let page = start_path(&minted);
        let mut waiting = Browser { headers: vec![("accept-encoding", "gzip, br")], ..Browser::default() };
        let mut pages = vec![("untapped", waiting.get(&daemon, &page).await)];
        pages.push(("scanned", waiting.tap(&daemon, &page, "qr").await));
        pages.push(("here", waiting.tap(&daemon, &page, "here").await));
        daemon.send_message("447700900123", &format!("W{index}"), &minted.text_of("text")).await;
        let link = link_in(&crate::browser::reply(&world, index + 1).await);
        pages.push(("confirm", waiting.get(&daemon, &link).await));
        pages.push(("verified", waiting.get(&daemon, &page).await));
        for (state, answer) in &pages {
            assert!(answer.text.contains("data:image/png;base64,"), "{tag} {state}: {}", answer.text);
            assert_eq!(answer.header("content-encoding"), "gzip", "{tag} {state}");
            let transferred: usize = answer.header("content-length").parse().unwrap();
            assert!(transferred < MAX_PAGE_LEN, "{tag} {state}: {transferred} bytes");
        }
    }
    daemon.finish().await;
}

/// For browsers and proxies that do not ask for compression.
#[tokio::test(flavor = "multi_thread")]
async fn ordinary_pages_stay_below_thirty_kilobytes_uncompressed() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    for language in Language::all() {
        let minted = daemon.mint(json!({"lang": language.tag(), "purpose": "Pay 9,000 EUR"})).await;
        let answer = Browser::default().get(&daemon, &start_path(&minted)).await;
        assert!(!answer.headers.contains_key("content-encoding") && answer.header("vary") == "accept-encoding");
        assert!(answer.text.len() < MAX_PAGE_LEN, "{language:?}: {} bytes", answer.text.len());
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_too_long_for_a_qr_code_has_no_qr_code() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let minted = daemon.mint(json!({"message": {"prompt": "\u{1f511}".repeat(500)}})).await;
    let page = start_path(&minted);
    let mut waiting = Browser::default();
    let shown = waiting.get(&daemon, &page).await.text;
    assert!(shown.contains("id=\"open\"") && !shown.contains("<img") && !shown.contains("id=\"scan\""), "{shown}");
    assert_eq!(waiting.get(&daemon, &format!("{page}/qr.svg")).await.status, 404);
    let short = start_path(&daemon.mint(json!({})).await);
    assert!(waiting.get(&daemon, &short).await.text.contains("id=\"scan\""));
    assert_eq!(waiting.get(&daemon, &format!("{short}/qr.svg")).await.status, 200);
    daemon.finish().await;
}
