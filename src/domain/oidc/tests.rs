//! How a link behaves that belongs to a client.

use jiff::{SignedDuration, Timestamp};

use super::{Authorization, ClaimScopes, Exchange, ResponseMode, ReturnAddress};
use crate::domain::{
    InstanceId, KeyRing, Mode, Reason, Request, Sender, StateMachine as _, Subject, Verification, VerificationId,
    binding::{Binding, WhatsAppDevice},
    keys::Digest,
    link::{Completion, FinishCommand, FinishVerdict, Link, LinkCommand, LinkVerdict, MessageChecks},
    time::from_millis,
    verification::NewVerification,
};

const START: i64 = 1_795_168_830_000;
const URI: &str = "https://app.example.org/in";

fn at(millis: i64) -> Timestamp {
    from_millis(START + millis)
}

fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 16])
}

fn binding(browser: u8, whatsapp_device: WhatsAppDevice) -> Binding {
    Binding { browser: digest(browser), whatsapp_device, ip: None, user_agent: None, automatic: false }
}

fn authorization() -> Authorization {
    let to = ReturnAddress { redirect_uri: URI.to_owned(), mode: ResponseMode::Query, state: None };
    let (scopes, nonce, challenge) = (ClaimScopes::default(), None, None);
    Authorization { client: "shop".to_owned(), to, scopes, nonce, challenge, allow_hidden: false }
}

/// A new link, bound to browser 1.
fn login(authorization: Option<Authorization>) -> Verification<Link> {
    let new = NewVerification {
        id: VerificationId::from_bytes([7; 16]),
        instance: InstanceId::from_random([1; 16]),
        key: KeyRing::new(&[[7; 32]]).unwrap().current_id(),
        nonce: [3; 16],
        created_at: at(0),
        expires_at: at(0) + SignedDuration::from_mins(30),
        max_attempts: 5,
    };
    let request = Request { completion: Some(Mode::SameBrowser), authorization, ..Request::default() };
    let mut record = Verification::link(new, 14, request);
    record.details.binding = Some(binding(1, WhatsAppDevice::Same));
    record
}

fn receive(sender: Sender, forgeable: bool) -> LinkCommand {
    let checks = MessageChecks { forgeable, ..MessageChecks::default() };
    LinkCommand::Receive { sender, push_name: None, checks, risk: None, may_reply: true }
}

fn from_phone() -> Sender {
    Sender::new(Some("447700900123".parse().unwrap()), None, None)
}

fn complete(browser: u8, token: u8) -> LinkCommand {
    let (token, browser) = (digest(token), Some(digest(browser)));
    FinishCommand::Complete { token, browser, may_reveal_code: true, risk: None }.into()
}

fn exchange(code: u8) -> LinkCommand {
    LinkCommand::Exchange(Exchange {
        code: digest(code),
        client: "shop".to_owned(),
        redirect_uri: URI.to_owned(),
        challenge: None,
    })
}

fn apply(record: &mut Verification<Link>, command: LinkCommand, millis: i64) -> LinkVerdict {
    let decision = Link::decide(record, command, at(millis));
    if let Some(next) = decision.next {
        *record = next;
    }
    decision.verdict
}

/// A login that browser 1 has completed at 2 ms with code 50.
fn completed() -> Verification<Link> {
    let mut record = login(Some(authorization()));
    assert_eq!(apply(&mut record, receive(from_phone(), false), 1), LinkVerdict::Verified);
    assert_eq!(apply(&mut record, complete(1, 50), 2), FinishVerdict::Completed.into());
    record
}

/// Seeded numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Which browsers complete a login in a random order of events. Browser 2 knows everything that browser 1 knows.
fn completions(seed: u64, authorization: Option<Authorization>) -> Vec<u8> {
    let mut numbers = Numbers(seed);
    let mut record = login(authorization);
    let mut by = Vec::new();
    for step in 0..12 {
        let browser = if numbers.below(2) == 0 { 1 } else { 2 };
        let place = if numbers.below(2) == 0 { WhatsAppDevice::Same } else { WhatsAppDevice::Other };
        let (token, waiting) = (digest(50), Some(digest(browser)));
        let command = match numbers.below(6) {
            0 => LinkCommand::BindBrowser { binding: binding(browser, place) },
            1 => receive(from_phone(), false),
            2 => complete(browser, 50),
            3 => FinishCommand::RevealCode.into(),
            4 => FinishCommand::EnterCode { token, browser: waiting, correct: true, risk: None }.into(),
            _ => FinishCommand::Continue { token, browser: waiting, risk: None }.into(),
        };
        if apply(&mut record, command, step) == FinishVerdict::Completed.into() {
            by.push(browser);
        }
    }
    by
}

#[test]
fn no_order_of_events_completes_it_in_another_browser() {
    let all: Vec<u8> = (0..1_000).flat_map(|seed| completions(seed, Some(authorization()))).collect();
    assert!(all.len() > 100 && all.iter().all(|browser| *browser == 1), "{} completions", all.len());
}

/// The control: where the last tap wins, the same events complete it in the other browser.
#[test]
fn without_a_client_the_same_events_complete_it_in_another_browser() {
    assert!((0..1_000).flat_map(|seed| completions(seed, None)).any(|browser| browser == 2));
}

#[test]
fn its_browser_may_say_that_whatsapp_is_elsewhere_and_no_other_may() {
    let mut record = login(Some(authorization()));
    let bind = |browser| LinkCommand::BindBrowser { binding: binding(browser, WhatsAppDevice::Other) };
    assert_eq!(apply(&mut record, bind(2), 1), LinkVerdict::Unchanged);
    assert_eq!(apply(&mut record, bind(1), 1), LinkVerdict::Bound);
    assert!(record.needs_reply_code());
}

#[test]
fn a_code_is_used_once_and_a_second_use_revokes() {
    let mut record = completed();
    assert_eq!(apply(&mut record, exchange(51), 3), FinishVerdict::Refused.into(), "an unknown code");
    assert_eq!(apply(&mut record, exchange(50), 3), FinishVerdict::Redeemed.into());
    let revoked = |record: &Verification<Link>| match record.details.completion() {
        Some(Completion::Redeemed { by: Some(by), .. }) => by.revoked,
        other => panic!("{other:?}"),
    };
    assert!(!revoked(&record));
    assert_eq!(apply(&mut record, exchange(51), 4), FinishVerdict::Refused.into());
    assert!(!revoked(&record), "a wrong code revokes nothing");
    for _ in 0..2 {
        assert_eq!(apply(&mut record, exchange(50), 5), FinishVerdict::Revoked.into());
        assert!(revoked(&record));
    }
}

#[test]
fn a_code_ends_after_a_minute_and_the_first_use_ends_the_others() {
    let mut record = completed();
    assert_eq!(apply(&mut record, complete(1, 51), 3), FinishVerdict::CompletedAgain.into());
    let mut late = record.clone();
    assert_eq!(apply(&mut late, exchange(50), 60_002), FinishVerdict::Gone.into());
    assert_eq!(apply(&mut late, exchange(51), 60_002), FinishVerdict::Redeemed.into());
    assert_eq!(apply(&mut record, exchange(51), 60_002), FinishVerdict::Redeemed.into());
    assert_eq!(apply(&mut record, exchange(50), 60_003), FinishVerdict::Refused.into());
}

#[test]
fn the_api_takes_no_code() {
    let mut record = completed();
    let redeem = LinkCommand::Redeem { token: digest(50), challenge: None, claim: None };
    assert_eq!(apply(&mut record, redeem, 3), FinishVerdict::Refused.into());
    assert_eq!(apply(&mut record, exchange(50), 3), FinishVerdict::Redeemed.into());
    let mut other = login(None);
    assert_eq!(apply(&mut other, receive(from_phone(), false), 1), LinkVerdict::Verified);
    assert_eq!(apply(&mut other, complete(1, 50), 2), FinishVerdict::Completed.into());
    assert_eq!(apply(&mut other, exchange(50), 3), FinishVerdict::Refused.into(), "a redeem token is no code");
}

#[test]
fn a_hidden_number_is_refused_unless_allowed_and_a_forgeable_sender_always() {
    let hidden = || Sender::new(None, Some("190000000000117@lid"), None);
    let unidentified = LinkVerdict::Failed(Reason::SenderUnidentified);
    let mut record = login(Some(authorization()));
    assert_eq!(apply(&mut record, receive(hidden(), false), 1), unidentified);
    assert_eq!(apply(&mut record, receive(from_phone(), true), 1), unidentified);
    assert_eq!(apply(&mut record, receive(from_phone(), false), 1), LinkVerdict::Verified);
    let mut allowed = login(Some(Authorization { allow_hidden: true, ..authorization() }));
    assert_eq!(apply(&mut allowed, receive(hidden(), true), 1), unidentified);
    assert_eq!(apply(&mut allowed, receive(hidden(), false), 1), LinkVerdict::Verified);
    assert_eq!(allowed.proof().unwrap().subject, Subject::Lid("190000000000117".to_owned()));
}
