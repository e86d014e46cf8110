//! What an example needs of the world. The table is written with the values of `contract::values`; here each comes
//! to be in a running daemon, as far as an operation names it.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::{
    hash::sha256,
    http::contract::{Operation, values},
};
use serde_json::{Value, json};

use crate::{
    browser::{self, Browser},
    daemon::{
        Daemon, InstanceBlock, META, META_SECRET, META_TOKEN, ReceivedResponse, TOKEN, TestStore, WAHA, World,
        signed_waha,
    },
    login_flow::{form_field, link_in, tap},
};

/// Its gateway appends to the URL of its webhooks.
pub(crate) const EVOLUTION: &str = "5f0c2a90-0000-4000-8000-000000000003";

/// Two instances, and those that some examples need.
pub(crate) fn world() -> World {
    let mut world = World::new(TestStore::directory());
    let gateway = format!(
        "kind = \"evolution\"\nurl = \"{}\"\napi_key = \"evolution-api-key-0123456789\"\ninstance = \"harbour\"\n\
         webhook_auth = \"url-secret\"\nwebhook_secret = \"{}\"",
        world.gateway.url,
        values::WEBHOOK_SECRET
    );
    let number = "+12025550143";
    let block = InstanceBlock { id: EVOLUTION, name: "Evolution", number, token: TOKEN, lines: "", gateway: &gateway };
    world.more_instances = block.to_string();
    world
}

/// Values of the examples, and those that take their place.
#[derive(Default)]
pub(super) struct Live(BTreeMap<String, String>);

impl Live {
    fn put(&mut self, example: &str, value: impl Into<String>) {
        self.0.insert(example.to_owned(), value.into());
    }

    /// The same ids at another instance.
    pub(super) fn at(mut self, instance: &str) -> Self {
        self.put(values::INSTANCE, instance);
        self
    }

    fn get(&self, example: &str) -> &str {
        &self.0[example]
    }

    /// `text` with the living values.
    pub(super) fn exchange(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (example, value)| text.replace(example, value))
    }

    pub(super) fn instance(&self) -> &str {
        self.get(values::INSTANCE)
    }

    pub(super) fn token(&self) -> &'static str {
        if self.instance() == META { META_TOKEN } else { TOKEN }
    }
}

/// Everything an operation sends, as text: which values occur in it decides what is prepared.
pub(super) fn sent(operation: &Operation) -> String {
    let body = operation.body.as_ref().map(|body| body.example.to_string()).unwrap_or_default();
    let parameters = operation.parameters.iter().filter_map(|parameter| parameter.example);
    format!("{} {} {body}", operation.example_path(), parameters.collect::<Vec<_>>().join(" "))
}

/// Makes everything that an operation's example names, fresh. `number` is another one each time.
pub(super) async fn prepare(world: &World, daemon: &Daemon, operation: &Operation, number: usize) -> Live {
    daemon.settle().await;
    let text = sent(operation);
    let needs = |value: &str| text.contains(value);
    let mut live = Live::default();
    live.put(values::INSTANCE, WAHA);
    live.put(values::ACCESS_TOKEN, TOKEN);
    live.put(&values::SENT.to_string(), daemon.clock.wall().as_second().to_string());
    for key in ["cart", "redeem", "code", "try", "test"] {
        live.put(&format!("{key}-7"), format!("{key}-{number}"));
    }
    let phone = format!("4477009{number:05}");
    let challenge = URL_SAFE_NO_PAD.encode(sha256(values::VERIFIER.as_bytes()));
    let link = daemon.mint(json!({ "challenge": challenge })).await;
    live.put(values::UUID, link.text_of("uuid"));
    live.put(values::CODE, link.text_of("code"));
    live.put(values::HANDLE, link.text_of("start_url").rsplit('/').next().unwrap());
    live.put(values::POLL_TOKEN, link.text_of("poll_token"));
    if [values::OTP, values::CODE_UUID, values::CODE_NUMBER].into_iter().any(needs) {
        let chat = format!("{phone}@c.us");
        let path = format!("/api/otp/v2/{WAHA}/request-code");
        let code = daemon.post(&path, json!({ "chatId": chat })).await;
        // Past the pause between two sends.
        daemon.advance_clock(std::time::Duration::from_secs(61)).await;
        live.put(values::CODE_UUID, code.text_of("uuid"));
        live.put(values::OTP, code.text_of("code"));
        live.put(values::CODE_NUMBER, phone.as_str());
    }
    if needs(values::AUTH_ID) {
        let question = json!({
            "instance_id": WAHA, "access_token": TOKEN, "chatId": phone, "item1": "Yes", "item2": "No",
        });
        let asked = daemon.post("/v2/auth/list/send", question).await;
        live.put(values::AUTH_ID, asked.json["auth_id"].as_str().unwrap());
    }
    if operation.id == "watchRequest" {
        // A verification that has ended is returned at once.
        daemon.post(&format!("/api/otp/v2/{WAHA}/requests/{}/cancel", link.text_of("uuid")), json!({})).await;
    }
    if needs(values::START_FIELD) {
        let (page, mut browser) = (format!("/l/{}", live.get(values::HANDLE)), Browser::default());
        live.put(values::START_FIELD, browser::field(&browser.get(daemon, &page).await.text));
        if needs(values::REPLY_CODE) {
            let before = world.gateway.requests().len();
            browser.tap(daemon, &page, "qr").await;
            daemon.send_message(&phone, &phone, &link.text_of("text")).await;
            let reply = browser::reply(world, before + 1).await;
            live.put(values::REPLY_CODE, browser::code_in(&reply).unwrap());
        }
        live.put(values::COOKIE, browser.cookie.unwrap());
    }
    if needs(values::LINK_TOKEN) || needs(values::REDEEM_TOKEN) {
        open_link(world, daemon, &link, &phone, &mut live).await;
    }
    if needs(values::REDEEM_TOKEN) {
        let path = format!("/o/{}", live.get(values::LINK_TOKEN));
        let location = tap(daemon, &path, live.get(values::FORM_FIELD)).await;
        let location = url::Url::parse(location.header("location")).unwrap();
        let token = location.query_pairs().find(|(name, _)| name == "token").unwrap().1.into_owned();
        live.put(values::REDEEM_TOKEN, token);
    }
    if needs(values::DISPUTE_TOKEN) {
        let before = world.gateway.requests().len();
        daemon.send_message(&phone, &phone, &link.text_of("text")).await;
        let found = browser::dispute_in(&browser::reply(world, before + 1).await);
        live.put(values::DISPUTE_TOKEN, found.trim_start_matches("/d/"));
        live.put(values::DISPUTE_FIELD, form_field(&daemon.get(&found).await.text));
    }
    if needs(values::CALLBACK) || operation.id == "listCallbacks" {
        live.put(values::CALLBACK, given_up(world, daemon, &phone).await);
    }
    if needs("subscribe") {
        // Only Meta shakes hands.
        live.put(values::INSTANCE, META);
        live.put(values::WEBHOOK_SECRET, META_SECRET);
    }
    if operation.path.ends_with("/{tail}") {
        live.put(values::INSTANCE, EVOLUTION);
    }
    if let Some(body) = operation.body.as_ref().filter(|_| needs(values::WEBHOOK_SIGNATURE)) {
        live.put(values::WEBHOOK_SIGNATURE, signature(&live.exchange(&body.example.to_string())));
    }
    live
}

/// The person writes, and the reply holds the link.
async fn open_link(world: &World, daemon: &Daemon, link: &ReceivedResponse, phone: &str, live: &mut Live) {
    let before = world.gateway.requests().len();
    assert_eq!(daemon.send_message(phone, phone, &link.text_of("text")).await.status, 200);
    let reply = world.gateway.wait_for(before + 1).await.pop().unwrap();
    let found = link_in(reply.json()["text"].as_str().unwrap());
    live.put(values::LINK_TOKEN, found.trim_start_matches("/o/"));
    live.put(values::FORM_FIELD, form_field(&daemon.get(&found).await.text));
}

/// A callback whose receiver responded 410.
async fn given_up(world: &World, daemon: &Daemon, phone: &str) -> String {
    world.receiver.fail(410, 1);
    let link = daemon.create_link(json!({})).await;
    daemon.send_message(phone, phone, &link.text).await;
    daemon.settle().await;
    let dead = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks")).await;
    dead.data("callbacks")[0]["id"].as_str().unwrap_or_else(|| panic!("{}", dead.text)).to_owned()
}

fn signature(body: &str) -> String {
    let signed = signed_waha("http://x", &serde_json::from_str::<Value>(body).unwrap());
    assert_eq!(signed.body(), body.as_bytes(), "compact, in the order of its keys");
    signed.headers()["x-webhook-hmac"].to_str().unwrap().to_owned()
}
