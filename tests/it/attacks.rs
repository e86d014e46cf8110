//! Mallory wants into an account that is not hers, or Victor in hers. Three actors: Mallory, Victor, and an app
//! that believes whatever `redeem` says. Victor presses every button he is shown, but tells nobody a code.

mod store_writer;

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::domain::keys::sha256;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    app::{Answer, Daemon, Ground, WAHA, World},
    browser::{Browser, landed, redeem, reply, start_path},
    flow::link_in,
};

const MALLORY: &str = "447700900666";
const VICTOR: &str = "447700900123";

/// A way to use the daemon.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    body: fn(&str) -> Value,
    /// What the person taps on the start page, if the app uses it.
    tap: Option<&'static str>,
    config: &'static str,
    holds: bool,
}

fn verifier(who: &str) -> String {
    format!("the verifier in the session of {who}")
}

fn challenged(who: &str) -> Value {
    json!({ "challenge": URL_SAFE_NO_PAD.encode(sha256(verifier(who).as_bytes())) })
}

const MODES: &str = "completions_allowed = [\"prove_phone\", \"anywhere\"]";

const WAYS: &[Way] = &[
    Way { name: "same_browser, here", body: |_| json!({}), tap: Some("here"), config: MODES, holds: true },
    Way { name: "same_browser, qr", body: |_| json!({}), tap: Some("qr"), config: MODES, holds: true },
    Way {
        name: "strict_browser",
        body: |_| json!({}),
        tap: Some("here"),
        config: "strict_browser = true",
        holds: true,
    },
    Way { name: "challenge", body: challenged, tap: None, config: MODES, holds: true },
    Way { name: "challenge and start page", body: challenged, tap: Some("here"), config: MODES, holds: true },
    Way { name: "challenge and scan", body: challenged, tap: Some("qr"), config: MODES, holds: true },
    Way {
        name: "prove_phone",
        body: |who| json!({"completion": "prove_phone", "chatId": who}),
        tap: Some("here"),
        config: MODES,
        holds: true,
    },
    Way { name: "anywhere", body: |_| json!({"completion": "anywhere"}), tap: None, config: MODES, holds: false },
    // Hypersender's clients: named `anywhere` in callbacks, warned of at mint.
    Way { name: "unbound", body: |_| json!({}), tap: None, config: MODES, holds: false },
];

/// One person, her browser and her chat.
struct Actor {
    number: &'static str,
    browser: Browser,
}

/// What the app holds after it all: whose account is open in whose browser.
#[derive(Default)]
struct App {
    sessions: HashMap<&'static str, String>,
}

impl App {
    /// A browser comes back from the daemon. In `prove_phone` it was signed in before and stated `owner`: nobody
    /// is signed in by it, and another number than the stated one counts for nothing.
    async fn greet(&mut self, daemon: &Daemon, way: Way, owner: &'static str, answer: &Answer) {
        let Some(query) = landed(answer) else { return };
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
    way: Way,
    app: App,
    messages: usize,
}

impl Scene {
    async fn new(way: Way) -> Self {
        let mut world = World::new(Ground::directory());
        world.extra = way.config.to_owned();
        let daemon = world.start().await;
        Self { world, daemon, way, app: App::default(), messages: 0 }
    }

    /// A browser begins; with the start page, it taps as people do.
    async fn begin(&self, actor: &mut Actor, stated: &str) -> Answer {
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

    /// Somebody sends the message; what the chat answers.
    async fn send(&mut self, number: &str, minted: &Answer) -> String {
        self.messages += 1;
        self.daemon.says(number, &format!("A{}", self.messages), &minted.text_of("text")).await;
        reply(&self.world, self.messages).await
    }

    /// Presses the button behind the link of a reply, if there is one.
    async fn tap(&mut self, actor: &mut Actor, text: &str) {
        if text.contains("/o/") {
            let answer = actor.browser.go_on(&self.daemon, &link_in(text)).await;
            self.app.greet(&self.daemon, self.way, actor.number, &answer).await;
        }
    }

    /// Everything that a browser can try at a start page whose address it knows.
    async fn ransack(&mut self, actor: &mut Actor, minted: &Answer) {
        let page = start_path(minted);
        for fields in [[("do", "finish")], [("place", "here")], [("place", "qr")], [("do", "renew")]] {
            let answer = actor.browser.submit(&self.daemon, &page, &page, &fields).await;
            self.app.greet(&self.daemon, self.way, actor.number, &answer).await;
        }
        for guess in ["000000", "7K3Q9X", "", "ZZZZZZ", "1", "00000\u{0}"] {
            let answer = actor.browser.type_code(&self.daemon, &page, guess).await;
            self.app.greet(&self.daemon, self.way, actor.number, &answer).await;
            let body = json!({"uuid": minted.text_of("uuid"), "code": guess, "verifier": verifier(actor.number)});
            assert_ne!(redeem(&self.daemon, body).await.status, 200);
        }
    }

    /// Somebody is where he does not belong.
    fn broken(&self) -> bool {
        self.app.sessions.iter().any(|(owner, account)| owner != account)
    }
}

fn actors() -> (Actor, Actor) {
    let actor = |number| Actor { number, browser: Browser::default() };
    (actor(MALLORY), actor(VICTOR))
}

/// Mallory begins and lures Victor into sending. She waits; he presses what he finds in his chat.
async fn lure(way: Way) -> bool {
    let mut scene = Scene::new(way).await;
    let (mut mallory, mut victor) = actors();
    let minted = scene.begin(&mut mallory, VICTOR).await;
    let text = scene.send(VICTOR, &minted).await;
    scene.ransack(&mut mallory, &minted).await;
    scene.tap(&mut victor, &text).await;
    scene.ransack(&mut mallory, &minted).await;
    let broken = scene.broken();
    scene.daemon.finish().await;
    broken
}

/// Mallory begins and sends herself, and hands the link of the answer to Victor.
async fn plant(way: Way) -> bool {
    let mut scene = Scene::new(way).await;
    let (mut mallory, mut victor) = actors();
    let minted = scene.begin(&mut mallory, MALLORY).await;
    let text = scene.send(MALLORY, &minted).await;
    scene.tap(&mut victor, &text).await;
    let broken = scene.broken();
    scene.daemon.finish().await;
    broken
}

/// Victor begins and sends, and forwards the answer to Mallory, who knows his start page too.
async fn forward(way: Way) -> bool {
    let mut scene = Scene::new(way).await;
    let (mut mallory, mut victor) = actors();
    let minted = scene.begin(&mut victor, VICTOR).await;
    let text = scene.send(VICTOR, &minted).await;
    scene.tap(&mut mallory, &text).await;
    scene.ransack(&mut mallory, &minted).await;
    if let Some(code) = crate::browser::code_in(&text) {
        let answer = mallory.browser.type_code(&scene.daemon, &start_path(&minted), &code).await;
        scene.app.greet(&scene.daemon, way, MALLORY, &answer).await;
        let body = json!({"uuid": minted.text_of("uuid"), "code": code, "verifier": verifier(MALLORY)});
        assert_ne!(redeem(&scene.daemon, body).await.status, 200);
    }
    let broken = scene.broken();
    scene.daemon.finish().await;
    broken
}

#[tokio::test(flavor = "multi_thread")]
async fn three_actors_break_nothing_but_anywhere() {
    for way in WAYS {
        assert!(!lure(*way).await, "lured in {}", way.name);
        assert_eq!(plant(*way).await, !way.holds, "planted in {}", way.name);
        assert_eq!(forward(*way).await, !way.holds, "forwarded in {}", way.name);
    }
}

/// The honest way works in every mode, or the test above would prove nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_honest_way_works_in_every_mode() {
    for way in WAYS {
        let mut scene = Scene::new(*way).await;
        let (_, mut victor) = actors();
        let minted = scene.begin(&mut victor, VICTOR).await;
        let text = scene.send(VICTOR, &minted).await;
        match crate::browser::code_in(&text).filter(|_| !text.contains("/o/")) {
            Some(code) => {
                let answer = victor.browser.type_code(&scene.daemon, &start_path(&minted), &code).await;
                scene.app.greet(&scene.daemon, *way, VICTOR, &answer).await;
            }
            None if way.name == "prove_phone" => {
                let page = start_path(&minted);
                let answer = victor.browser.submit(&scene.daemon, &page, &page, &[("do", "finish")]).await;
                assert!(landed(&answer).is_some());
                scene.app.sessions.insert(VICTOR, VICTOR.to_owned());
            }
            None => scene.tap(&mut victor, &text).await,
        }
        assert_eq!(scene.app.sessions.get(VICTOR).map(String::as_str), Some(VICTOR), "{}", way.name);
        scene.daemon.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_robots_spend_nothing() {
    const AGENTS: &[&str] = &[
        "WhatsApp/2.25.1 A",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "TelegramBot (like TwitterBot)",
        "Mozilla/5.0 (Windows NT 10.0) SafeLinks/1.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
    ];
    const HEADERS: &[(&str, &str)] = &[
        ("sec-purpose", "prefetch;prerender"),
        ("range", "bytes=0-99"),
        ("accept", "*/*"),
        ("sec-fetch-site", "cross-site"),
    ];
    let mut world = World::new(Ground::directory());
    world.top = "[limits]\npages_per_minute = 0\n".to_owned();
    let app = world.start().await;
    let minted = app.mint(json!({"state": "s"})).await;
    let (page, mut owner) = (start_path(&minted), Browser::default());
    owner.tap(&app, &page, "here").await;
    app.says(VICTOR, "R1", &minted.text_of("text")).await;
    let link = link_in(&reply(&world, 1).await);
    let shown = async || app.get(&format!("/api/otp/v2/{WAHA}/requests/{}", minted.text_of("uuid"))).await.text;
    let before = shown().await;
    let paths = [
        link.clone(),
        page.clone(),
        format!("{page}/go"),
        format!("{page}/qr.svg"),
        format!("{page}/events?now"),
        format!("{link}/dispute"),
    ];
    let fetches = stream::iter(0..10_000usize).map(|index| {
        let method = ["GET", "HEAD", "GET", "OPTIONS"][index % 4];
        let (name, value) = HEADERS[index / 4 % HEADERS.len()];
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{}", app.base, paths[index / 16 % paths.len()]))
            .header("user-agent", AGENTS[index / 96 % AGENTS.len()])
            .header(name, value);
        app.send(request.body(Vec::new()).unwrap())
    });
    let statuses: HashMap<u16, usize> = fetches
        .buffer_unordered(32)
        .fold(HashMap::new(), async |mut seen, answer| {
            *seen.entry(answer.status).or_default() += 1;
            seen
        })
        .await;
    assert!(statuses.keys().all(|status| [200, 303, 405].contains(status)), "{statuses:?}");
    assert!(statuses[&200] > 3_000, "{statuses:?}");
    assert_eq!(shown().await, before, "nothing has changed");
    let field = crate::browser::field(&owner.look(&app, &link).await.text);
    let fields = [("form", field.as_str())];
    assert!(landed(&owner.post(&app, &link, &fields).await).is_some(), "one tap still works");
    let robot = Browser::default().post(&app, &link, &fields).await;
    assert_eq!(landed(&robot), None, "{}: and only for its browser", robot.status);
    app.finish().await;
}

/// Ways around an allow-list that people have found, for an entry `https://app.example.org/in`.
fn detours() -> Vec<String> {
    let hosts = [
        "evil.example",
        "app.example.org.evil.example",
        "app.example.org%2eevil.example",
        "evil.example%2f.app.example.org",
        "app.example.org@evil.example",
        "app.example.org:443@evil.example",
        "evil.example#app.example.org",
        "evil.example?app.example.org",
        "evil.example\\app.example.org",
        "app.example.org%40evil.example",
        "xn--app-example-org.evil.example",
        "app.example.org\u{3002}evil.example",
        "app\u{ff0e}example\u{ff0e}org.evil.example",
        "\u{ff41}pp.example.org.evil.example",
        "[::1]",
        "127.0.0.1",
        "0x7f000001",
        "app.example.org:8443",
        "app.example.org.",
        "app-example.org",
        "example.org",
        "sub.app.example.org",
        "app.example.org%00.evil.example",
        "app.example.orgevil.example",
    ];
    let openings = ["https://", "http://", "//", "https:/", "https:", "///", "/\\", "\\\\"];
    let mut all: Vec<String> =
        openings.iter().flat_map(|opening| hosts.iter().map(move |host| format!("{opening}{host}/in"))).collect();
    let paths = [
        "/",
        "/inside",
        "/i",
        "/In",
        "/in/../out",
        "/in/..",
        "/in/./../out",
        "/in/%2e%2e/out",
        "/in/%2E%2E%2Fout",
        "/in/..%2fout",
        "/in/..%5cout",
        "/in/%252e%252e%2fout",
        "/in\\..\\out",
        "/in%00",
        "/in/%0d%0aLocation:x",
        "//in",
        "/%69n/../x",
        "/in%2f..%2fx",
    ];
    all.extend(paths.iter().map(|path| format!("https://app.example.org{path}")));
    all.extend(
        [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "ftp://app.example.org/in",
            "https://user@app.example.org/in",
            "https://user:pw@app.example.org/in",
            "https://@app.example.org/in",
            " https://app.example.org/in",
            "https://app.example.org/in\n",
            "\thttps://app.example.org/in",
            "https://app.example.org/in\r\nX: y",
            "ht\ttps://app.example.org/in",
            "https://app.exa\u{200b}mple.org/in",
            "https\u{ff1a}//app.example.org/in",
            "blob:https://app.example.org/in",
            "view-source:https://app.example.org/in",
            "intent://app.example.org/in#Intent;end",
            "whatsapp://send?text=x",
        ]
        .map(str::to_owned),
    );
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_detours_lead_nowhere() {
    let world = World::new(Ground::directory());
    let app = world.start().await;
    let detours = detours();
    assert!(detours.len() >= 200, "{}", detours.len());
    let mut accepted = Vec::new();
    for detour in &detours {
        for field in ["redirect_url", "link"] {
            let answer = app.mint(json!({ field: detour })).await;
            if answer.status != 422 || answer.json["errors"][0]["field"] != field {
                accepted.push((field, detour));
            }
        }
    }
    assert_eq!(accepted, []);
    for good in ["https://app.example.org/in", "https://app.example.org/in/a?b=%2F", "HTTPS://APP.example.org:443/in"] {
        assert_eq!(app.mint(json!({ "redirect_url": good })).await.status, 200, "{good}");
    }
    app.finish().await;
}
