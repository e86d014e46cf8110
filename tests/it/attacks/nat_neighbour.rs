//! Mallory shares Victor's address, as behind a carrier's NAT or in an office: the same IP, and if she likes the same browser.

use serde_json::json;

use crate::{
    browser::{Browser, redirect_parameters, reply, start_path},
    daemon::{TestStore, World},
    login_flow::link_in,
};

const VICTOR: &str = "447700900123";
const ADDRESS: &str = "203.0.113.7";
const AGENT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1";

fn browser() -> Browser {
    Browser { headers: vec![("x-forwarded-for", ADDRESS), ("user-agent", AGENT)], ..Browser::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn sharing_an_address_gives_no_access_and_blocks_no_other_user() {
    let mut world = World::new(TestStore::directory());
    world.top_level_lines =
        "trusted_proxies = [\"127.0.0.0/8\"]\n[limits]\ntaps_per_minute = 10\npages_per_minute = 60\n".to_owned();
    let daemon = world.start().await;
    let (mut mallory, mut victor) = (browser(), browser());
    let minted = daemon.mint(json!({"client_ip": ADDRESS, "user_agent": AGENT})).await;
    let page = start_path(&minted);
    victor.tap(&daemon, &page, "here").await;

    // She taps her own link, and what was never made, until she is refused.
    let own = start_path(&daemon.mint(json!({})).await);
    let mut refused = 0;
    for round in 0..30 {
        refused += u32::from(mallory.tap(&daemon, &own, "here").await.status == 429);
        let made_up = format!("/l/{round:0>48}");
        mallory.post(&daemon, &made_up, &[("form", "x")]).await;
    }
    assert!(refused > 0, "her own link is worn out");

    // Nor do requests for pages that belong to no link: the app's page loads its script.
    let mut used_up = false;
    for _ in 0..600 {
        used_up = mallory.get(&daemon, "/docs").await.status == 429;
        if used_up {
            break;
        }
    }
    assert!(used_up, "requests were faster than the limit allows");
    assert_eq!(victor.get(&daemon, "/widget.js").await.status, 200, "the widget is not hers to use up");

    daemon.send_message(VICTOR, "N1", &minted.text_of("text")).await;
    let link = link_in(&reply(&world, 1).await);
    assert_eq!(
        redirect_parameters(&mallory.submit_link(&daemon, &link).await),
        None,
        "the same address and browser are not the same cookie"
    );
    assert!(redirect_parameters(&victor.submit_link(&daemon, &link).await).is_some(), "and he goes on");
    daemon.finish().await;
}
