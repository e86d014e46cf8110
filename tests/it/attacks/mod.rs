//! Attacks on a login, by attacker. There are three actors: the attacker Mallory, the victim Victor, and an app that
//! trusts the response of `redeem`. Mallory tries to sign in to Victor's account, or to sign Victor in to hers. Victor
//! presses every button that he is shown; each file describes what else he does. These tests are the evidence for the
//! table of attacks in the guide to logins.

mod forged;
mod luring;
mod nat_neighbour;
mod relay;
mod robot;
mod store_writer;
mod tenant;
mod two_browsers;

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::hash::sha256;
use serde_json::{Value, json};

use crate::{
    browser::{Browser, redeem, redirect_parameters, reply, start_path},
    daemon::{Daemon, ReceivedResponse, TestStore, World},
    login_flow::link_in,
};

const MALLORY: &str = "447700900666";
const VICTOR: &str = "447700900123";

/// A way to use the daemon.
#[derive(Clone, Copy)]
struct LoginMode {
    name: &'static str,
    body: fn(&str) -> Value,
    /// What the person taps on the start page, if the app uses it.
    tap: Option<&'static str>,
    config: &'static str,
    /// Whether it binds a browser or a session.
    binds: bool,
    /// Whether the chat can show a code that the waiting browser accepts.
    shows_code: bool,
    /// Whether the app has stated the number (`chatId`).
    states: bool,
}

fn verifier(who: &str) -> String {
    format!("the verifier in the session of {who}")
}

fn challenged(who: &str) -> Value {
    json!({ "challenge": URL_SAFE_NO_PAD.encode(sha256(verifier(who).as_bytes())) })
}

const MODES: &str = "completions_allowed = [\"prove_phone\", \"anywhere\"]";

const fn login_mode(name: &'static str, body: fn(&str) -> Value, tap: Option<&'static str>) -> LoginMode {
    LoginMode { name, body, tap, config: MODES, binds: true, shows_code: true, states: false }
}

const LOGIN_MODES: &[LoginMode] = &[
    login_mode("same_browser, here", |_| json!({}), Some("here")),
    login_mode("same_browser, qr", |_| json!({}), Some("qr")),
    LoginMode { states: true, ..login_mode("same_browser, stated", |who| json!({"chatId": who}), Some("qr")) },
    LoginMode {
        config: "strict_browser = true",
        shows_code: false,
        ..login_mode("strict_browser", |_| json!({}), Some("here"))
    },
    login_mode("challenge", challenged, None),
    login_mode("challenge and start page", challenged, Some("here")),
    login_mode("challenge and scan", challenged, Some("qr")),
    LoginMode {
        shows_code: false,
        states: true,
        ..login_mode("prove_phone", |who| json!({"completion": "prove_phone", "chatId": who}), Some("here"))
    },
    LoginMode {
        binds: false,
        shows_code: false,
        ..login_mode("anywhere", |_| json!({"completion": "anywhere"}), None)
    },
    // Hypersender's clients: named `anywhere` in callbacks, warned of at mint.
    LoginMode { binds: false, shows_code: false, ..login_mode("unbound", |_| json!({}), None) },
];

/// One person, her browser and her chat.
struct Participant {
    number: &'static str,
    browser: Browser,
}

/// What the app holds after it all: whose account is open in whose browser.
#[derive(Default)]
struct SignedInApp {
    sessions: HashMap<&'static str, String>,
}

impl SignedInApp {
    /// A browser comes back from the daemon. In `prove_phone` it was signed in before and stated `owner`: nobody
    /// is signed in by it, and another number than the stated one counts for nothing.
    async fn handle_return(&mut self, daemon: &Daemon, way: LoginMode, owner: &'static str, answer: &ReceivedResponse) {
        let Some(query) = redirect_parameters(answer) else { return };
        let redeemed = redeem(daemon, json!({"token": query["token"], "verifier": verifier(owner)})).await;
        if redeemed.status == 200 && way.name != "prove_phone" {
            let subject = redeemed.data("subject")["value"].as_str().unwrap().trim_start_matches('+').to_owned();
            self.sessions.insert(owner, subject);
        }
    }
}

struct Scene {
    world: World,
    daemon: Daemon,
    way: LoginMode,
    app: SignedInApp,
    messages: usize,
}

impl Scene {
    async fn new(way: LoginMode) -> Self {
        let mut world = World::new(TestStore::directory());
        world.instance_lines = way.config.to_owned();
        let daemon = world.start().await;
        Self { world, daemon, way, app: SignedInApp::default(), messages: 0 }
    }

    /// A browser begins; with the start page, it taps as people do.
    async fn begin(&self, actor: &mut Participant, stated: &str) -> ReceivedResponse {
        let mut body = (self.way.body)(stated);
        if body.get("challenge").is_some() {
            body = (self.way.body)(actor.number);
        }
        let minted = self.daemon.mint(body).await;
        assert_eq!(minted.status, 200, "{}", minted.text);
        if let Some(place) = self.way.tap {
            actor.browser.tap(&self.daemon, &start_path(&minted), place).await;
        }
        minted
    }

    /// Sends the message from `number`, and returns the reply.
    async fn send(&mut self, number: &str, minted: &ReceivedResponse) -> String {
        self.messages += 1;
        self.daemon.send_message(number, &format!("A{}", self.messages), &minted.text_of("text")).await;
        reply(&self.world, self.messages).await
    }

    /// Presses the button behind the link of a reply, if there is one.
    async fn tap(&mut self, actor: &mut Participant, text: &str) {
        if text.contains("/o/") {
            let answer = actor.browser.submit_link(&self.daemon, &link_in(text)).await;
            self.app.handle_return(&self.daemon, self.way, actor.number, &answer).await;
        }
    }

    /// Everything that a browser can try at a start page whose address it knows.
    async fn try_everything(&mut self, actor: &mut Participant, minted: &ReceivedResponse) {
        let page = start_path(minted);
        for fields in [[("do", "finish")], [("place", "here")], [("place", "qr")], [("do", "renew")]] {
            let answer = actor.browser.submit(&self.daemon, &page, &page, &fields).await;
            self.app.handle_return(&self.daemon, self.way, actor.number, &answer).await;
        }
        for guess in ["000000", "7K3Q9X", "", "ZZZZZZ", "1", "00000\u{0}"] {
            let answer = actor.browser.type_code(&self.daemon, &page, guess).await;
            self.app.handle_return(&self.daemon, self.way, actor.number, &answer).await;
            let body = json!({"uuid": minted.text_of("uuid"), "code": guess, "verifier": verifier(actor.number)});
            assert_ne!(redeem(&self.daemon, body).await.status, 200);
        }
    }

    /// Whether a browser is signed in to an account of another person.
    fn is_compromised(&self) -> bool {
        self.app.sessions.iter().any(|(owner, account)| owner != account)
    }
}

fn actors() -> (Participant, Participant) {
    let actor = |number| Participant { number, browser: Browser::default() };
    (actor(MALLORY), actor(VICTOR))
}

/// The honest way works in every mode, or the test above would prove nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_genuine_login_works_in_every_mode() {
    for way in LOGIN_MODES {
        let mut scene = Scene::new(*way).await;
        let (_, mut victor) = actors();
        let minted = scene.begin(&mut victor, VICTOR).await;
        let text = scene.send(VICTOR, &minted).await;
        match crate::browser::code_in(&text).filter(|_| !text.contains("/o/")) {
            Some(code) => {
                let answer = victor.browser.type_code(&scene.daemon, &start_path(&minted), &code).await;
                scene.app.handle_return(&scene.daemon, *way, VICTOR, &answer).await;
            }
            None if way.name == "prove_phone" => {
                let page = start_path(&minted);
                let answer = victor.browser.submit(&scene.daemon, &page, &page, &[("do", "finish")]).await;
                assert!(redirect_parameters(&answer).is_some());
                scene.app.sessions.insert(VICTOR, VICTOR.to_owned());
            }
            None => scene.tap(&mut victor, &text).await,
        }
        assert_eq!(scene.app.sessions.get(VICTOR).map(String::as_str), Some(VICTOR), "{}", way.name);
        scene.daemon.finish().await;
    }
}
