//! Callbacks to judge: signed here, and delivered by the daemon.

use countersign::{app::Application, config, domain::standard_webhooks};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::daemon::{CALLBACK_SECRET, ReceivedResponse, TOKEN, TestStore, WAHA, World, client, message, signed_waha};

pub(crate) const OLD: &str = CALLBACK_SECRET;
pub(crate) const NEW: &str = "whsec_ofNHu1hj20Yhs3UTIc+ShGsEWlzpCCkZ1CM4aGVit+w=";

const STATES: [SecretState; 3] = [
    SecretState { name: "old", secrets: &[OLD] },
    SecretState { name: "both", secrets: &[NEW, OLD] },
    SecretState { name: "new", secrets: &[NEW] },
];

/// Characters of one to four bytes, a sequence of several, and one that JavaScript once took for a line's end.
const PUSH_NAME: &str = "Zoë ☕ 👩‍🚀 🇧🇷 \u{2028} \\\"";

/// Which secrets sign.
#[derive(Clone, Copy)]
pub(crate) struct SecretState {
    pub(crate) name: &'static str,
    pub(crate) secrets: &'static [&'static str],
}

#[derive(Clone)]
pub(crate) struct SignedCallback {
    pub(crate) state: SecretState,
    pub(crate) id: String,
    pub(crate) timestamp: i64,
    pub(crate) signature: String,
    pub(crate) body: String,
}

impl SignedCallback {
    /// The same with one signed part changed, for each part. All stay well-formed and recent.
    pub(crate) fn changed(&self) -> [(&'static str, Self); 3] {
        let body = self.body.replacen("☕", "🍵", 1);
        assert_ne!(body, self.body);
        [
            ("body", Self { body, ..self.clone() }),
            ("timestamp", Self { timestamp: self.timestamp + 1, ..self.clone() }),
            ("id", Self { id: format!("{}0", self.id), ..self.clone() }),
        ]
    }
}

pub(crate) fn signed() -> Vec<SignedCallback> {
    let id = "msg_1";
    let timestamp = countersign::clock::Clock::default().wall().as_second();
    let body = json!({ "type": "link.verified", "data": { "push_name": PUSH_NAME } }).to_string();
    let callback = |state: SecretState| {
        let secrets: Vec<_> = state.secrets.iter().map(|secret| (*secret).into()).collect();
        let signature = standard_webhooks::sign(&secrets, id, &timestamp.to_string(), body.as_bytes());
        SignedCallback { state, id: id.to_owned(), timestamp, signature, body: body.clone() }
    };
    STATES.map(callback).to_vec()
}

/// One daemon, restarted with each state of the rotation; a person proves a chat in each.
pub(crate) async fn delivered() -> Vec<SignedCallback> {
    let world = World::new(TestStore::directory());
    let mut callbacks = Vec::new();
    for state in STATES {
        let stop = CancellationToken::new();
        let application = application(&world, state).await;
        let base = format!("http://{}", application.public_address().unwrap());
        let running = tokio::spawn(application.run(stop.clone()));
        prove_a_chat(&world, &base, state).await;
        let arrived = world.receiver.wait_for(callbacks.len() + 1).await.pop().unwrap();
        assert_eq!(arrived.json()["data"]["push_name"], PUSH_NAME);
        callbacks.push(SignedCallback {
            state,
            id: arrived.header("webhook-id").to_owned(),
            timestamp: arrived.header("webhook-timestamp").parse().unwrap(),
            signature: arrived.header("webhook-signature").to_owned(),
            body: String::from_utf8(arrived.body).unwrap(),
        });
        stop.cancel();
        running.await.unwrap().unwrap();
    }
    callbacks
}

async fn application(world: &World, state: SecretState) -> Application {
    let single = format!("[\"{OLD}\"]");
    let text = world.config("127.0.0.1:0", "127.0.0.1:0");
    assert!(text.contains(&single));
    let text = text.replace(&single, &format!("{:?}", state.secrets));
    let config = config::load_text(&text, [], &[]).into_result();
    let config = config.unwrap_or_else(|faults| panic!("{faults}"));
    crate::daemon::build(&config, &world.clock).await
}

async fn prove_a_chat(world: &World, base: &str, state: SecretState) {
    let client = client();
    let mint = http::Request::post(format!("{base}/api/otp/v2/{WAHA}/generate-link"))
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(b"{}".to_vec())
        .unwrap();
    let minted: ReceivedResponse = client.send(mint).await.unwrap().into();
    assert_eq!(minted.status, 200, "{}", minted.text);
    let now = world.clock.wall().as_second();
    let mut body = message("447700900123", state.name, &minted.text_of("text"), now);
    body["payload"]["_data"]["pushName"] = Value::from(PUSH_NAME);
    let response: ReceivedResponse = client.send(signed_waha(base, &body)).await.unwrap().into();
    assert_eq!(response.status, 200, "{}", response.text);
}
