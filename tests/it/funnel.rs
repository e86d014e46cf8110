//! The hourly counters of an instance: what counts, what they cost, and what a crash loses.

use std::{sync::Arc, time::Duration};

use countersign::{
    domain::{Channel, Reason},
    service::{
        RequestContext,
        funnel::{End, Funnel, FunnelCounter, Totals},
    },
};
use serde_json::json;

use crate::{
    browser::{Browser, dispute_in, redeem, redirect_parameters, reply, start_path},
    codes::{CHAT, code, validate, wrong},
    codes_channels::ack,
    daemon::{Daemon, META, TestStore, WAHA, World},
    login_flow::{link_in, on_both_stores},
    process::Process,
    redis_server,
    wait::until_or,
};

on_both_stores! {
    each_step_of_a_login_is_counted_once
    the_delivery_of_codes_is_counted
    objections_and_delivery_reports_are_counted_once
    a_day_and_a_week_are_summed
    a_crash_loses_at_most_what_was_not_flushed
}

async fn funnel(daemon: &Daemon, instance: &str) -> Funnel {
    let cx = RequestContext::background(&daemon.services.env.store);
    daemon.services.shared.funnel.read(&cx, instance.parse().unwrap()).await.unwrap()
}

async fn flushed(daemon: &Daemon, instance: &str) -> Funnel {
    daemon.settle().await;
    daemon.services.shared.funnel.flush().await.unwrap();
    funnel(daemon, instance).await
}

/// All counters but the classes of times.
fn counts(totals: &Totals) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = totals
        .iter()
        .filter(|(counter, _)| !matches!(counter, FunnelCounter::LinkVerifiedWithin(_)))
        .map(|(counter, count)| (counter.to_string(), count))
        .collect();
    counts.sort();
    counts
}

fn named(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

async fn each_step_of_a_login_is_counted_once(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let minted = daemon.mint(json!({})).await;
    let page = start_path(&minted);
    let (mut person, mut other) = (Browser::default(), Browser::default());
    other.tap(&daemon, &page, "qr").await;
    person.tap(&daemon, &page, "here").await;
    assert_eq!(daemon.send_message("447700900123", "F1", &minted.text_of("text")).await.status, 200);
    let link = link_in(&reply(&world, 1).await);
    daemon.send_message("447700900123", "F2", &minted.text_of("text")).await;
    let parameters = redirect_parameters(&person.submit_link(&daemon, &link).await).unwrap();
    for status in [200, 410] {
        assert_eq!(redeem(&daemon, json!({"token": parameters["token"]})).await.status, status);
    }
    let login = [("clicked", 1), ("minted", 1), ("redeemed", 1), ("sent", 1), ("verified", 1)];
    let found = flushed(&daemon, WAHA).await;
    assert_eq!(counts(&found.day), named(&login));
    assert_eq!(found.day.get(FunnelCounter::LinkVerifiedWithin(5)), 1, "{found:?}");
    assert_eq!(found.hours.last(), Some(&(1, 1)), "minted and verified");

    // Two messages from the wrong number fail a link, a third request is canceled, a fourth expires.
    let mine = daemon.create_link(json!({"chatId": "447700900123", "max_attempts": 2})).await;
    for id in ["F3", "F4"] {
        daemon.send_message("447700900456", id, &mine.text).await;
    }
    let canceled = daemon.create_link(json!({})).await;
    let cancel = format!("/api/otp/v2/{WAHA}/requests/{}/cancel", canceled.uuid);
    assert_eq!(daemon.post(&cancel, json!({})).await.status, 200);
    daemon.create_link(json!({"expires": 60})).await;
    daemon.advance(Duration::from_secs(61)).await;
    let all = flushed(&daemon, WAHA).await;
    let day = all.day;
    assert_eq!((day.get(FunnelCounter::LinkMinted), day.get(FunnelCounter::LinkSent)), (4, 2), "{day:?}");
    assert_eq!((day.get(FunnelCounter::LinkClicked), day.get(FunnelCounter::LinkVerified)), (1, 1), "{day:?}");
    for end in [End::Failed(Reason::AttemptsExhausted), End::Canceled, End::Expired] {
        assert_eq!(day.get(FunnelCounter::LinkEnded(end)), 1, "{end:?} in {day:?}");
    }
    assert_eq!(counts(&flushed(&daemon, META).await.week), [], "each instance has its own");
    daemon.finish().await;
}

async fn the_delivery_of_codes_is_counted(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (_, first) = code(&daemon, json!({"chatId": CHAT})).await;
    daemon.settle().await;
    assert_eq!(validate(&daemon, CHAT, &wrong(&first)).await.status, 422);
    assert_eq!(validate(&daemon, CHAT, &first).await.status, 200);
    code(&daemon, json!({"chatId": CHAT})).await;
    daemon.settle().await;
    code(&daemon, json!({"chatId": CHAT})).await;
    let expected =
        [("code_ended:canceled", 1), ("code_requested", 3), ("code_sent:whatsapp", 3), ("code_validated", 1)];
    let day = flushed(&daemon, WAHA).await.day;
    assert_eq!(counts(&day), named(&expected));
    assert_eq!(day.get(FunnelCounter::CodeSent(Channel::WhatsApp)), 3);
    daemon.finish().await;
}

async fn objections_and_delivery_reports_are_counted_once(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    daemon.advance(Duration::from_secs(30)).await;
    daemon.send_message("447700900123", "F1", &link.text).await;
    let dispute = dispute_in(&reply(&world, 1).await);
    let mut person = Browser::default();
    assert_eq!(person.submit(&daemon, &dispute, &dispute, &[]).await.status, 303);
    assert_eq!(person.get(&daemon, &dispute).await.status, 410);
    for (message, levels) in [("FIRST", vec![2, 3]), ("SECOND", vec![-1, -1])] {
        let id = format!("true_447700900123@c.us_{message}");
        world.gateway.answer(json!({ "id": id }));
        code(&daemon, json!({"chatId": CHAT})).await;
        daemon.settle().await;
        for level in levels {
            assert_eq!(ack(&daemon, &id, level).await.status, 200);
            daemon.settle().await;
        }
    }
    // Sent by the wrong number.
    let mine = daemon.create_link(json!({"chatId": "447700900123"})).await;
    daemon.send_message("447700900456", "F2", &mine.text).await;
    let Funnel { day, hours, .. } = flushed(&daemon, WAHA).await;
    let hourly: (u64, u64) = hours.iter().fold((0, 0), |sum, hour| (sum.0 + hour.0, sum.1 + hour.1));
    assert_eq!((day.get(FunnelCounter::LinkSent), hourly), (2, (2, 1)), "minted and verified: {day:?}");
    for counter in [
        FunnelCounter::LinkDisputed,
        FunnelCounter::LinkVerified,
        FunnelCounter::LinkVerifiedWithin(60),
        FunnelCounter::CodeDelivered(Channel::WhatsApp),
        FunnelCounter::CodeNotDelivered(Channel::WhatsApp),
    ] {
        assert_eq!(day.get(counter), 1, "{counter} in {day:?}");
    }
    daemon.finish().await;
}

async fn a_day_and_a_week_are_summed(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let minted = async || {
        let Funnel { day, week, hours } = flushed(&daemon, WAHA).await;
        assert_eq!(hours.len(), 24);
        let hours = hours.into_iter().enumerate().filter(|(_, (minted, _))| *minted > 0);
        let hours: Vec<(usize, u64)> = hours.map(|(hour, (minted, _))| (hour, minted)).collect();
        (day.get(FunnelCounter::LinkMinted), week.get(FunnelCounter::LinkMinted), hours)
    };
    daemon.create_link(json!({})).await;
    assert_eq!(minted().await, (1, 1, vec![(23, 1)]));
    daemon.advance(Duration::from_hours(23)).await;
    for _ in 0..2 {
        daemon.create_link(json!({})).await;
    }
    assert_eq!(minted().await, (3, 3, vec![(0, 1), (23, 2)]), "oldest first");
    daemon.advance(Duration::from_hours(1)).await;
    assert_eq!(minted().await, (2, 3, vec![(22, 2)]), "the first is of the hour before");
    daemon.advance(Duration::from_hours(6 * 24 - 1)).await;
    assert_eq!(minted().await, (0, 3, vec![]));
    daemon.advance(Duration::from_hours(1)).await;
    assert_eq!(minted().await, (0, 2, vec![]));
    daemon.finish().await;
}

/// What the process had added when it was killed is there, and nothing is counted twice. A process that ends in order
/// loses nothing.
async fn a_crash_loses_at_most_what_was_not_flushed(test_store: TestStore) {
    const ADDED: &str = "countersign_store_request_seconds_count{operation=\"count\"}";
    let world = World::new(test_store);
    let process = Process::start(&world).await;
    let mint = async |count: u64| {
        for _ in 0..count {
            assert!(process.mint(json!({})).await.is_some_and(|answer| answer.status == 200));
        }
    };
    mint(3).await;
    until_or(|| "the counts are added".to_owned(), async || process.metric(ADDED).await > 0.0).await;
    mint(2).await;
    process.kill();
    let daemon = world.start().await;
    let known = funnel(&daemon, WAHA).await.day.get(FunnelCounter::LinkMinted);
    assert!((3..=5).contains(&known), "{known}");
    daemon.create_link(json!({})).await;
    daemon.finish().await;
    let daemon = world.start().await;
    assert_eq!(funnel(&daemon, WAHA).await.day.get(FunnelCounter::LinkMinted), known + 1);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_add_to_one_funnel_at_a_command_for_many_logins() {
    const LINKS: u64 = 40;
    let server = Arc::new(redis_server::start());
    let world = World::new(TestStore::Redis(Arc::clone(&server)));
    let (one, two) = (world.start().await, world.start().await);
    for daemon in [&one, &two] {
        daemon.services.shared.funnel.flush().await.unwrap();
        for _ in 0..LINKS {
            daemon.create_link(json!({})).await;
        }
    }
    let added = || {
        let stats = server.info("commandstats");
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_hincrby:calls="));
        calls.map_or(0, |calls| calls.split(',').next().unwrap().parse::<u64>().unwrap())
    };
    // The periodic flush may come in between, but nothing is written per link.
    assert!(added() <= 4, "{} commands for {} links", added(), 2 * LINKS);
    one.services.shared.funnel.flush().await.unwrap();
    two.services.shared.funnel.flush().await.unwrap();
    assert!((2..=6).contains(&added()), "{} commands for {} links", added(), 2 * LINKS);
    for daemon in [&one, &two] {
        assert_eq!(funnel(daemon, WAHA).await.day.get(FunnelCounter::LinkMinted), 2 * LINKS);
    }
    // Eight days from the latest addition, whatever the clock of this test says.
    let mut connection = server.connection();
    let keys: Vec<String> = ::redis::cmd("KEYS").arg("cs:*:c:*").query(&mut connection).unwrap();
    assert!(!keys.is_empty());
    for key in keys {
        let left: u64 = ::redis::cmd("TTL").arg(&key).query(&mut connection).unwrap();
        assert!((8 * 86_400 - 600..=8 * 86_400).contains(&left), "{key}: {left} s");
    }
    one.finish().await;
    two.finish().await;
}
