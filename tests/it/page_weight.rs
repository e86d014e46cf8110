//! Pages stay small enough for a slow connection, whatever the operator and the app put into them.

use countersign::{domain::language::Language, hash::sha256};
use serde_json::json;

use crate::{
    browser::{Browser, start_path},
    daemon::{TestStore, World},
    login_flow::link_in,
};

/// Bytes of a page as it is transferred.
const MAX_PAGE_LEN: usize = 30_000;
const MAX_LOGO_LEN: usize = 7 * 1024;

/// The largest pages: a logo and a name as large as they may be, in every language. Browsers accept gzip; without it, as
/// behind some proxies, the name stands for the logo.
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
    let mut replies = 0;
    for language in Language::all() {
        for accept in [None, Some(("accept-encoding", "gzip, br"))] {
            let tag = language.tag();
            let longest = "\u{1f511}".repeat(100);
            let minted = daemon.mint(json!({"lang": tag, "name": longest, "purpose": longest})).await;
            assert_eq!(minted.status, 200, "{}", minted.text);
            let page = start_path(&minted);
            let mut waiting = Browser { headers: Vec::from_iter(accept), ..Browser::default() };
            let mut pages = vec![("untapped", waiting.get(&daemon, &page).await)];
            pages.push(("scanned", waiting.tap(&daemon, &page, "qr").await));
            pages.push(("here", waiting.tap(&daemon, &page, "here").await));
            replies += 1;
            daemon.send_message("447700900123", &format!("W{replies}"), &minted.text_of("text")).await;
            let link = link_in(&crate::browser::reply(&world, replies).await);
            pages.push(("confirm", waiting.get(&daemon, &link).await));
            pages.push(("verified", waiting.get(&daemon, &page).await));
            for (state, answer) in &pages {
                let encoding = answer.headers.get("content-encoding").map(|value| value.to_str().unwrap());
                assert_eq!(encoding, accept.map(|_| "gzip"), "{tag} {state}");
                assert_eq!(answer.header("vary"), "accept-encoding", "{tag} {state}");
                assert_eq!(
                    answer.text.contains("<img src=\"data:image/png;base64,"),
                    accept.is_some(),
                    "{tag} {state}"
                );
                assert!(answer.text.contains(&longest), "{tag} {state}");
                let transferred: usize = answer.header("content-length").parse().unwrap();
                assert!(transferred < MAX_PAGE_LEN, "{tag} {state}: {transferred} bytes");
            }
        }
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
