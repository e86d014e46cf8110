//! A person is lured into another's login: opens its page, scans its QR code, sends its message, taps its reply, types
//! its code. In no order of events does the other's browser get a code for it.
//!
//! The same events with a login that is not bound to a browser (`prove_phone`, as the API offers it) are the control:
//! there the attacker wins, so the events are able to find a hole.

use std::ops::Range;

use serde_json::json;

use super::{OidcBrowser, Server, message_on, request, world};
use crate::{
    browser::{code_in, field},
    daemon::{Daemon, ReceivedResponse, TestStore, World, message, signed_waha},
    login_flow::link_in,
};

/// Events in one case.
const EVENTS: usize = 14;
/// Cases that run at once.
const WIDTH: usize = 8;

/// Seeded numbers (splitmix64).
struct SeededRng(u64);

impl SeededRng {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

/// One login as its parties see it.
struct StartedLogin {
    /// The path of its start page.
    start: String,
    text: String,
    /// The replies in the person's chat.
    replies: Vec<String>,
    /// The code that the person was shown.
    code: Option<String>,
}

/// Which browser received a code, and for whose login.
#[derive(Default, Debug)]
struct GivenCodes {
    attacker: usize,
    own: usize,
    lured: usize,
}

struct LuringCase<'a> {
    world: &'a World,
    server: Server,
    seed: u64,
    phone: String,
    attacker: OidcBrowser,
    person: OidcBrowser,
    /// Started by the attacker.
    lure: StartedLogin,
    /// Started by the person.
    own: Option<StartedLogin>,
    sent: usize,
    outcome: GivenCodes,
}

/// Whether the answer hands over a code or a redeem token.
fn gives_code(answer: &ReceivedResponse) -> bool {
    let location = answer.header("location");
    location.contains("code=rdm_") || location.contains("token=rdm_") || answer.text.contains("rdm_")
}

impl LuringCase<'_> {
    async fn event(&mut self, numbers: &mut SeededRng) {
        let place = ["here", "qr"][numbers.below(2)];
        match numbers.below(14) {
            0 => self.person_acts_on_lure(&[("place", place)], "").await,
            1 => self.attacker_acts_on_lure(&[("place", place)], "").await,
            2 => self.attacker_acts_on_own(&[("place", place)], "").await,
            3 => self.begin_own().await,
            4 => self.send(true).await,
            5 => self.send(false).await,
            6 => self.tap_reply(true, false).await,
            7 => self.tap_reply(true, true).await,
            8 => self.tap_reply(false, false).await,
            9 => {
                let code = self.lure.code.clone().unwrap_or_else(|| "000000".to_owned());
                self.person_acts_on_lure(&[("code", &code)], "/code").await;
            }
            10 => self.type_on_own().await,
            11 => self.attacker_acts_on_lure(&[("code", "0A1B2C")], "/code").await,
            12 => self.attacker_acts_on_lure(&[("do", "finish")], "").await,
            _ => {
                self.attacker_acts_on_own(&[("do", "finish")], "").await;
                let answer = self.attacker.look(&format!("{}/events?now", self.lure.start)).await;
                self.outcome.attacker += usize::from(gives_code(&answer));
            }
        }
    }

    /// Submits a form of a page with the form field that this browser is shown, or the other's.
    async fn act(browser: &mut OidcBrowser, path: &str, fields: &[(&str, &str)], tail: &str) -> ReceivedResponse {
        let form = field(&browser.look(path).await.text);
        let mut all = vec![("form", form.as_str())];
        all.extend(fields);
        browser.submit(&format!("{path}{tail}"), &all).await
    }

    async fn person_acts_on_lure(&mut self, fields: &[(&str, &str)], tail: &str) {
        let answer = Self::act(&mut self.person, &self.lure.start, fields, tail).await;
        self.outcome.lured += usize::from(gives_code(&answer));
    }

    async fn attacker_acts_on_lure(&mut self, fields: &[(&str, &str)], tail: &str) {
        let answer = Self::act(&mut self.attacker, &self.lure.start, fields, tail).await;
        self.outcome.attacker += usize::from(gives_code(&answer));
    }

    /// The attacker has seen the address of the person's start page.
    async fn attacker_acts_on_own(&mut self, fields: &[(&str, &str)], tail: &str) {
        let Some(own) = &self.own else { return };
        let answer = Self::act(&mut self.attacker, &own.start, fields, tail).await;
        self.outcome.attacker += usize::from(gives_code(&answer));
        // With the form field of the person's page, as if it had leaked.
        let form = field(&self.person.look(&own.start).await.text);
        let mut all = vec![("form", form.as_str())];
        all.extend(fields);
        let answer = self.attacker.submit(&format!("{}{tail}", own.start), &all).await;
        self.outcome.attacker += usize::from(gives_code(&answer));
    }

    async fn begin_own(&mut self) {
        if self.own.is_none() {
            let start = self.person.begin(&request(&[])).await;
            let text = message_on(&self.person.look(&start).await.text);
            self.own = Some(StartedLogin { start, text, replies: Vec::new(), code: None });
        }
    }

    /// The person sends a message, and reads the reply.
    async fn send(&mut self, lure: bool) {
        let Some(login) = (if lure { Some(&self.lure) } else { self.own.as_ref() }) else { return };
        self.sent += 1;
        let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        let event = message(&self.phone, &format!("{}-{}", self.seed, self.sent), &login.text, now);
        let answer: ReceivedResponse =
            self.server.client.send(signed_waha(&self.server.base, &event)).await.unwrap().into();
        assert_eq!(answer.status, 200, "{}", answer.text);
        let chat = format!("{}@c.us", self.phone);
        let sent = self.sent;
        let mut replies = Vec::new();
        crate::wait::until("the reply arrives", async || {
            let bodies = self.world.gateway.requests().into_iter().map(|request| request.json());
            let of_chat = bodies.filter(|body| body["chatId"] == chat.as_str());
            replies = of_chat.map(|body| body["text"].as_str().unwrap().to_owned()).collect();
            replies.len() >= sent.min(4)
        })
        .await;
        let reply = replies.last().cloned().unwrap_or_default();
        let login = if lure { Some(&mut self.lure) } else { self.own.as_mut() };
        let login = login.unwrap();
        login.code = login.code.take().or_else(|| code_in(reply.split('\n').next().unwrap_or_default()));
        login.replies.push(reply);
    }

    /// The person taps the link of a reply; `elsewhere`: says that another device started the login.
    async fn tap_reply(&mut self, lure: bool, elsewhere: bool) {
        let Some(login) = (if lure { Some(&mut self.lure) } else { self.own.as_mut() }) else { return };
        let Some(link) = login.replies.iter().find(|reply| reply.contains("/o/")).map(|reply| link_in(reply)) else {
            return;
        };
        let fields: &[(&str, &str)] = if elsewhere { &[("elsewhere", "1")] } else { &[] };
        let answer = Self::act(&mut self.person, &link, fields, "").await;
        if let Some(shown) = answer.text.split("class=\"code\"").nth(1) {
            login.code = code_in(shown);
        }
        let given = usize::from(gives_code(&answer));
        *(if lure { &mut self.outcome.lured } else { &mut self.outcome.own }) += given;
    }

    /// The person types the code that the chat holds where the person started.
    async fn type_on_own(&mut self) {
        let Some(own) = &self.own else { return };
        let code = own.code.as_ref().or(self.lure.code.as_ref()).map_or("000000", String::as_str);
        let answer = Self::act(&mut self.person, &own.start, &[("code", code)], "/code").await;
        self.outcome.own += usize::from(gives_code(&answer));
    }
}

/// What the attacker starts.
enum LureKind {
    Bound,
    /// Not bound to a browser: the waiting page goes on when the person agrees.
    Unbound,
}

async fn run(world: &World, daemon: &Daemon, seed: u64, kind: &LureKind) -> GivenCodes {
    let server = Server::of(daemon);
    let mut attacker = OidcBrowser::new(&server);
    let phone = format!("4477009{seed:05}");
    let start = match kind {
        LureKind::Bound => attacker.begin(&request(&[])).await,
        LureKind::Unbound => {
            let body = json!({ "completion": "prove_phone", "chatId": format!("+{phone}"), "state": "s" });
            let minted = daemon.mint(body).await;
            assert_eq!(minted.status, 200, "{}", minted.text);
            url::Url::parse(&minted.text_of("start_url")).unwrap().path().to_owned()
        }
    };
    let text = message_on(&attacker.look(&start).await.text);
    let lure = StartedLogin { start, text, replies: Vec::new(), code: None };
    let person = OidcBrowser::new(&server);
    let (own, sent, outcome) = Default::default();
    let mut case = LuringCase { world, server, seed, phone, attacker, person, lure, own, sent, outcome };
    let mut numbers = SeededRng(seed);
    for _ in 0..EVENTS {
        case.event(&mut numbers).await;
    }
    assert!(!matches!(kind, LureKind::Bound) || case.outcome.attacker == 0, "seed {seed}: the attacker got a code");
    assert!(!matches!(kind, LureKind::Bound) || case.outcome.lured == 0, "seed {seed}: a foreign browser got a code");
    case.outcome
}

/// Runs the cases in worlds of their own, a hundred each: a gateway that has thousands of replies is slow to search.
async fn many(cases: u64, kind: LureKind) -> GivenCodes {
    let mut total = GivenCodes::default();
    for first in (0..cases).step_by(100) {
        let outcome = in_one_world(first..cases.min(first + 100), &kind).await;
        total.attacker += outcome.attacker;
        total.own += outcome.own;
        total.lured += outcome.lured;
    }
    total
}

async fn in_one_world(seeds: Range<u64>, kind: &LureKind) -> GivenCodes {
    let mut world = world(TestStore::directory());
    world.top_level_lines.push_str("\n[limits]\npages_per_minute = 0\ntaps_per_minute = 0\n");
    world.instance_lines = format!("completions_allowed = [\"prove_phone\"]\n{}", world.instance_lines);
    let daemon = world.start().await;
    let mut total = GivenCodes::default();
    for first in seeds.clone().step_by(WIDTH) {
        let batch = (first..seeds.end.min(first + WIDTH as u64)).map(|seed| run(&world, &daemon, seed, kind));
        for outcome in futures_util::future::join_all(batch).await {
            total.attacker += outcome.attacker;
            total.own += outcome.own;
            total.lured += outcome.lured;
        }
    }
    daemon.finish().await;
    total
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lured_person_opens_an_account_to_an_attacker() {
    let cases = if crate::is_long_run() { 1_000 } else { 100 };
    let outcome = many(cases, LureKind::Bound).await;
    assert_eq!((outcome.attacker, outcome.lured), (0, 0));
    assert!(outcome.own > 0, "people log in for themselves meanwhile: {outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_binding_the_same_events_are_a_hole() {
    let outcome = many(100, LureKind::Unbound).await;
    assert!(outcome.attacker > 0, "{outcome:?}");
}
