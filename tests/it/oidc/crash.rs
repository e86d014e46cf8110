//! `kill -9` between all steps of a login, on both stores; and steps that alternate between two replicas.

use std::time::Duration;

use serde_json::json;

use super::{OidcBrowser, PHONE, Returned, Server, message_on, request, world};
use crate::{
    browser::reply,
    daemon::TestStore,
    login_flow::{link_in, on_both_stores},
    process::Process,
    redis_server,
};

on_both_stores! {
    a_kill_between_two_steps_loses_nothing
    a_kill_during_the_exchange_leaves_the_code_or_spends_it
}

/// A login, step by step, on whatever server is there.
#[derive(Default)]
struct SavedLogin {
    page: String,
    start: String,
    text: String,
    link: String,
    code: String,
    access_token: String,
}

const STEPS: usize = 7;

async fn step(
    number: usize,
    world: &crate::daemon::World,
    server: &Server,
    browser: &mut OidcBrowser,
    so_far: &mut SavedLogin,
) {
    browser.server = server.clone();
    match number {
        0 => so_far.page = browser.authorize(&request(&[])).await.text,
        1 => so_far.start = browser.agree(&so_far.page).await,
        2 => so_far.text = message_on(&browser.look(&so_far.start).await.text),
        3 => {
            let count = world.gateway.count();
            assert_eq!(server.says(PHONE, &format!("K{count}"), &so_far.text).await.status, 200);
            so_far.link = link_in(&reply(world, count + 1).await);
        }
        4 => so_far.code = Returned::from(&browser.go_on(&so_far.link).await).code().to_owned(),
        5 => {
            let tokens = server.exchange(&so_far.code).await;
            assert_eq!(tokens.status, 200, "{}", tokens.text);
            so_far.access_token = tokens.json["access_token"].as_str().unwrap().to_owned();
        }
        _ => {
            let info = server.user_info(&so_far.access_token).await;
            assert_eq!(info.json["phone_number"], "+447700900123", "{}", info.text);
        }
    }
}

async fn a_kill_between_two_steps_loses_nothing(store: TestStore) {
    let world = world(store);
    let mut process = Process::start(&world).await;
    for killed_before in 1..STEPS {
        let (mut browser, mut so_far) = (OidcBrowser::new(&Server::at(&process.base)), SavedLogin::default());
        for number in 0..STEPS {
            if number == killed_before {
                process.kill();
                process = Process::start(&world).await;
            }
            step(number, &world, &Server::at(&process.base), &mut browser, &mut so_far).await;
        }
    }
    process.kill();
}

async fn a_kill_during_the_exchange_leaves_the_code_or_spends_it(store: TestStore) {
    let world = world(store);
    let mut process = Process::start(&world).await;
    let mut answers = Vec::new();
    for attempt in 0..6 {
        let server = Server::at(&process.base);
        let (mut browser, mut so_far) = (OidcBrowser::new(&server), SavedLogin::default());
        for number in 0..5 {
            step(number, &world, &server, &mut browser, &mut so_far).await;
        }
        let exchange = tokio::spawn({
            let (server, code) = (server.clone(), so_far.code.clone());
            async move { server.try_exchange(&code).await }
        });
        tokio::time::sleep(Duration::from_micros(400 * attempt)).await;
        process.kill();
        let answered = exchange.await.unwrap().is_some_and(|answer| answer.status == 200);
        process = Process::start(&world).await;
        let again = Server::at(&process.base).exchange(&so_far.code).await;
        let spent = again.status == 400 && again.json["error"] == json!("invalid_grant");
        assert!(
            spent || again.status == 200 && !answered,
            "answered {answered}, then {}: {}",
            again.status,
            again.text
        );
        answers.push(again.status);
    }
    let server = Server::at(&process.base);
    let (mut browser, mut so_far) = (OidcBrowser::new(&server), SavedLogin::default());
    for number in 0..STEPS {
        step(number, &world, &server, &mut browser, &mut so_far).await;
    }
    process.kill();
}

/// Before every step, the replica that answered the step before is killed, and the other one goes on alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_survives_the_kill_of_its_replica_before_every_step() {
    let redis = std::sync::Arc::new(redis_server::start());
    let world = world(TestStore::Redis(redis));
    let (mut answering, mut other) = (Process::start(&world).await, Process::start(&world).await);
    let (mut browser, mut so_far) = (OidcBrowser::new(&Server::at(&answering.base)), SavedLogin::default());
    for number in 0..STEPS {
        step(number, &world, &Server::at(&answering.base), &mut browser, &mut so_far).await;
        std::mem::replace(&mut answering, other).kill();
        other = Process::start(&world).await;
    }
    [answering, other].into_iter().for_each(Process::kill);
}

/// No replica keeps a login to itself: every step is answered by another one.
#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_are_one_issuer() {
    let redis = std::sync::Arc::new(redis_server::start());
    let world = world(TestStore::Redis(redis));
    let replicas = [Process::start(&world).await, Process::start(&world).await];
    for first in 0..2 {
        let mut browser = OidcBrowser::new(&Server::at(&replicas[0].base));
        let mut so_far = SavedLogin::default();
        for number in 0..STEPS {
            let server = Server::at(&replicas[(first + number) % 2].base);
            step(number, &world, &server, &mut browser, &mut so_far).await;
        }
        // The second use may come to the other replica.
        let again = Server::at(&replicas[first].base).exchange(&so_far.code).await;
        assert_eq!(again.status, 400);
        for replica in &replicas {
            assert_eq!(Server::at(&replica.base).user_info(&so_far.access_token).await.status, 401);
        }
    }
    replicas.into_iter().for_each(Process::kill);
}
