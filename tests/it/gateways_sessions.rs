//! A login and a code with each open-source gateway, in both directions: `session.json` in its folder of fixtures has the
//! webhooks and responses as the program's sources write them, and `send.json` the requests that it documents.

use countersign::{
    gateway::{self, Purpose, WebhookRequest},
    reader::Table,
};
use serde_json::{Value, json};

use crate::{
    codes::events,
    daemon::{Daemon, InstanceBlock, TestStore, World, client},
    every_gateway::{GatewaySetup, SETUPS, fixtures, index_of, secret},
};

const INSTANCE: &str = "5f0c2a90-0000-4000-8000-00000000000a";
const TOKEN: &str = "cst_test-token-of-a-session";
const PERSON: &str = "447700900123";

struct GatewaySession<'a> {
    world: World,
    daemon: Daemon,
    setup: &'a GatewaySetup,
    /// What the program writes: `message`, the responses `reply` and `code`, and `receipt`.
    written: Value,
}

impl<'a> GatewaySession<'a> {
    async fn start(setup: &'a GatewaySetup) -> Self {
        let text = std::fs::read_to_string(fixtures(setup.kind).join("session.json")).unwrap();
        let mut world = World::new(TestStore::directory());
        let gateway = format!(
            "kind = \"{}\"\nwebhook_secret = \"{}\"\n{}",
            setup.kind,
            secret(index_of(setup.kind)),
            setup.lines(&world.gateway.url)
        );
        let lines = format!(
            "callback_url = \"{}/hooks\"\nallow_http_callbacks = true\ncallback_allow_networks = [\"127.0.0.0/8\"]",
            world.receiver.url
        );
        let (number, lines) = ("+12025550142", lines.as_str());
        let block = InstanceBlock { id: INSTANCE, name: setup.kind, number, token: TOKEN, lines, gateway: &gateway };
        world.more_instances += &block.to_string();
        let daemon = world.start().await;
        Self { world, daemon, setup, written: serde_json::from_str(&text).unwrap() }
    }

    async fn call(&self, path: &str, body: Value) -> Value {
        let path = format!("/api/otp/v2/{INSTANCE}/{path}");
        let answer = self.daemon.post_with(&path, body, &[("authorization", &format!("Bearer {TOKEN}"))]).await;
        assert_eq!(answer.status, 200, "{}: {}", self.setup.kind, answer.text);
        answer.json["data"].clone()
    }

    /// Posts what the program writes under `name`, signed as it signs.
    async fn post(&self, name: &str, text: &str) {
        let now = self.daemon.clock.wall();
        let quoted = json!(text).to_string();
        let body = self.written[name].to_string();
        let body = body
            .replace("\"{now}\"", &now.as_second().to_string())
            .replace("\"{now_ms}\"", &now.as_millisecond().to_string())
            .replace("{now_rfc3339}", &now.to_string())
            .replace("{instance}", INSTANCE)
            .replace("\"{text}\"", &quoted);
        let mut table = self.setup.settings.clone();
        table.insert("kind".to_owned(), json!(self.setup.kind));
        table.insert("webhook_secret".to_owned(), json!(secret(index_of(self.setup.kind))));
        let gateway =
            gateway::build(&Table::new("gateway", table), Purpose::Inspect, "https://wa.example.org/").unwrap();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let mut webhook = WebhookRequest { headers, body: body.into_bytes(), ..WebhookRequest::default() };
        gateway.webhook_auth().sign(&mut webhook, now);
        let mut request = http::Request::post(format!("{}/webhooks/{INSTANCE}?{}", self.daemon.base, webhook.query));
        for (name, value) in &webhook.headers {
            request = request.header(name, value);
        }
        let answer = client().send(request.body(webhook.body).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200, "{} {name}", self.setup.kind);
        self.daemon.settle().await;
    }

    /// The text of the n-th request, which must be the documented one.
    async fn sent(&self, number: usize) -> String {
        let request = self.world.gateway.wait_for(number).await.remove(number - 1);
        let wanted = &self.setup.request;
        assert_eq!(request.path, wanted["path"].as_str().unwrap(), "{}", self.setup.kind);
        for (name, value) in wanted["headers"].as_object().unwrap() {
            assert_eq!(Some(request.header(name)), value.as_str(), "{}: {name}", self.setup.kind);
        }
        let mut body = request.json();
        if let Some(field) = &self.setup.message_id_field {
            body.as_object_mut().unwrap().remove(field);
        }
        let wanted = wanted["json"].to_string().replace("{person}", PERSON);
        let wanted: Value = serde_json::from_str(&wanted).unwrap();
        let name = wanted.as_object().unwrap().iter().find(|(_, value)| **value == "{text}").unwrap().0.clone();
        let text = body[&name].as_str().unwrap().to_owned();
        body[&name] = json!("{text}");
        assert_eq!(body, wanted, "{}", self.setup.kind);
        text
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_and_a_code_with_each_open_source_gateway() {
    for kind in ["waha", "evolution", "wppconnect", "gowa", "wuzapi"] {
        let session = GatewaySession::start(&SETUPS[index_of(kind)]).await;
        session.world.gateway.answer(session.written["reply"].clone());
        let minted = session.call("generate-link", json!({ "chatId": PERSON })).await;
        session.post("message", minted["text"].as_str().unwrap()).await;
        assert!(session.sent(1).await.contains("/o/"), "{kind}: the reply has the link");
        assert_eq!(events(&session.world), ["link.verified"], "{kind}");
        session.world.gateway.answer(session.written["code"].clone());
        let code = session.call("request-code", json!({ "chatId": PERSON })).await;
        session.daemon.settle().await;
        assert!(session.sent(2).await.contains(code["code"].as_str().unwrap()), "{kind}");
        session.post("receipt", "").await;
        let all = events(&session.world);
        assert!(all.contains(&"code.sent".to_owned()) && all.contains(&"code.delivered".to_owned()), "{kind}: {all:?}");
        session.daemon.finish().await;
    }
}
