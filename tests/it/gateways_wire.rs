//! Every gateway over a real socket. A link is minted and a person writes; the daemon's request must be the one that
//! the gateway's reference documents. Then the gateway answers with each of its documented errors.

use crate::{
    daemon::client,
    every_gateway::{SETUPS, id},
};

mod answers;
mod daemon;
mod encoded;
mod server;

use self::{answers::FakeResponse, daemon::ClockedDaemon, server::QueuedResponse};

/// The success message, with characters that need escaping in JSON, forms and URLs.
pub(crate) const TEXT: &str = "Welcome, Zoë & Söhne: 100% + \"a=b\" 👍 ?x=1";
pub(crate) const PERSON: &str = "447700900123";

fn name(index: usize) -> String {
    SETUPS[index].name()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reply_is_as_documented_and_every_error_is_classified() {
    let daemon = ClockedDaemon::start().await;
    for index in 0..SETUPS.len() {
        daemon.verify(index).await;
    }
    daemon.settle().await;
    daemon.gateways.assert_no_faults();
    for index in 0..SETUPS.len() {
        assert_eq!((daemon.gateways.requests(index), daemon.replies(index, "sent")), (1, 1), "{}", name(index));
    }
    for (index, setup) in SETUPS.iter().enumerate() {
        for FakeResponse { status, body, result } in answers::of(setup.kind) {
            let (sent, before, arrived) =
                (daemon.replies(index, "sent"), daemon.replies(index, &result), daemon.gateways.requests(index));
            // A page is a JSON text here.
            let text =
                body.as_str().filter(|text| text.starts_with('<')).map_or_else(|| body.to_string(), str::to_owned);
            daemon.gateways.answers(index, QueuedResponse { status, body: text, after: Some(40) });
            daemon.verify(index).await;
            daemon.settle().await;
            let what = format!("{}: {status} {body}", name(index));
            assert_eq!(daemon.replies(index, &result), before + 1, "{what}");
            assert_eq!(daemon.gateways.requests(index), arrived + 1, "{what}");
            daemon.advance(700).await;
            // Permanent failures are not retried, and retries that would come too late are not either.
            assert_eq!(daemon.gateways.requests(index), arrived + 1, "{what}");
            daemon.gateways.assert_no_faults();
            if result == "unauthorized" {
                daemon.verify(index).await;
                daemon.settle().await;
                assert_eq!(daemon.replies(index, "sent"), sent + 1, "{what}: the circuit closes again");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_respected_and_temporary_failures_are_retried() {
    let daemon = ClockedDaemon::start().await;
    for index in 0..SETUPS.len() {
        daemon.gateways.answers(index, QueuedResponse { status: 429, body: "{}".to_owned(), after: Some(40) });
        daemon.gateways.answers(index, QueuedResponse { status: 503, body: "<html>".to_owned(), after: None });
        let start = daemon.clock.wall();
        daemon.verify(index).await;
        daemon.settle().await;
        assert_eq!(daemon.gateways.requests(index), 1, "{}", name(index));
        daemon.advance(20).await;
        if daemon.age(start) < 38 {
            assert_eq!(daemon.gateways.requests(index), 1, "{}: before Retry-After", name(index));
        }
        daemon.advance(21).await;
        daemon.advance(8).await;
        assert_eq!(daemon.gateways.requests(index), 3, "{}: after Retry-After, and after the own delay", name(index));
        assert_eq!((daemon.replies(index, "retried"), daemon.replies(index, "sent")), (2, 1), "{}", name(index));
        assert_eq!(daemon.metric("numbers_refused", index, ""), 0, "{}", name(index));
    }
    daemon.gateways.assert_no_faults();
}

/// A message that may have been sent is retried once, or as often as any other if its id prevents duplicates.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_may_have_been_sent_is_retried_once_or_under_its_id() {
    let daemon = ClockedDaemon::start().await;
    for (index, setup) in SETUPS.iter().enumerate() {
        for _ in 0..3 {
            daemon.gateways.answers(index, QueuedResponse { status: 504, body: "<html>".to_owned(), after: None });
        }
        daemon.verify(index).await;
        for seconds in [0, 3, 7, 19, 37, 60] {
            daemon.advance(seconds).await;
        }
        let (arrived, sent) = (daemon.gateways.requests(index), daemon.replies(index, "sent"));
        let unknown = daemon.replies(index, "unknown");
        if setup.message_id_field.is_some() {
            assert_eq!((arrived, unknown, sent), (4, 3, 1), "{}", name(index));
            let mut ids = daemon.gateways.state.lock().unwrap().ids[&index].clone();
            ids.dedup();
            assert_eq!(ids.len(), 1, "{ids:?}");
        } else {
            assert_eq!((arrived, unknown, sent), (2, 2, 0), "{}", name(index));
            daemon.gateways.state.lock().unwrap().next.clear();
        }
    }
    daemon.gateways.assert_no_faults();
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_pauses_for_a_number_that_is_logged_out() {
    let daemon = ClockedDaemon::start().await;
    for index in 0..SETUPS.len() {
        let start = daemon.clock.wall();
        daemon.gateways.answers(index, QueuedResponse { status: 401, body: "{}".to_owned(), after: None });
        daemon.verify(index).await;
        daemon.settle().await;
        assert_eq!(daemon.replies(index, "unauthorized"), 1, "{}", name(index));
        assert_eq!(daemon.metric("numbers_refused", index, ""), 1, "{}", name(index));
        daemon.verify(index).await;
        daemon.advance(15).await;
        if daemon.age(start) < 29 {
            assert_eq!(daemon.gateways.requests(index), 1, "{}: nothing is sent during the pause", name(index));
        }
        daemon.advance(22).await;
        assert_eq!((daemon.gateways.requests(index), daemon.replies(index, "sent")), (2, 1), "{}", name(index));
        assert_eq!(daemon.metric("numbers_refused", index, ""), 0, "{}", name(index));
    }
    daemon.gateways.assert_no_faults();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_would_come_too_late_is_dropped_and_counted() {
    let daemon = ClockedDaemon::start().await;
    for index in 0..SETUPS.len() {
        for _ in 0..4 {
            daemon.gateways.answers(index, QueuedResponse { status: 429, body: "{}".to_owned(), after: Some(61) });
        }
        daemon.verify(index).await;
    }
    daemon.settle().await;
    daemon.advance(62).await;
    daemon.advance(62).await;
    daemon.advance(300).await;
    for index in 0..SETUPS.len() {
        let (late, sent) = (daemon.replies(index, "too_late"), daemon.replies(index, "sent"));
        assert_eq!((daemon.gateways.requests(index), late, sent), (2, 1, 0), "{}", name(index));
    }
}

/// Evolution appends the event's name to the URL, also after a secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_suffix_is_accepted_only_for_gateways_that_append_one() {
    let daemon = ClockedDaemon::start().await;
    for (index, gateway) in daemon.own_gateways.iter().enumerate() {
        for tail in ["messages-upsert", "x/y", "Messages"] {
            let url = format!("{}/webhooks/{}/a-wrong-secret/{tail}", daemon.base, id(index));
            let answer = client().send(http::Request::post(url).body(b"{}".to_vec()).unwrap()).await.unwrap();
            let wanted = if gateway.accepts_path_suffix(tail) { 401 } else { 404 };
            assert_eq!(answer.status().as_u16(), wanted, "{} {tail}", name(index));
        }
    }
}
