//! A daemon with every gateway, in this process, so that its clock can be advanced.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use countersign::{
    clock::Clock,
    config::{self, Config},
    gateway::{self, Gateway, Purpose, SampleMessage, SampleSender, WebhookRequest},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{PERSON, TEXT, server::StrictServer};
use crate::{
    daemon::{TOKEN, build, client},
    every_gateway::{SETUPS, configuration, id, instances, secret},
};

pub(super) struct ClockedDaemon {
    pub(super) gateways: StrictServer,
    config: Config,
    pub(super) own_gateways: Vec<Arc<dyn Gateway>>,
    services: Arc<countersign::service::Services>,
    worker: Arc<countersign::worker::Worker>,
    pub(super) base: String,
    pub(super) clock: Clock,
    stop: CancellationToken,
    _directory: TempDir,
    messages: AtomicU64,
}

impl ClockedDaemon {
    pub(super) async fn start() -> Self {
        let (gateways, directory, clock) = (StrictServer::start(), tempfile::tempdir().unwrap(), Clock::default());
        let (text, ..) = configuration(&directory, &instances(&gateways.url, "", secret));
        let overrides = [("listen", "127.0.0.1:0".to_owned()), ("operator_listen", "127.0.0.1:0".to_owned())];
        let config = config::load_text(&text, [], &overrides).into_result();
        let config = config.unwrap_or_else(|faults| panic!("{faults}"));
        let application = build(&config, &clock).await;
        let base = format!("http://{}", application.public_address().unwrap());
        let (services, worker) = (Arc::clone(&application.services), Arc::clone(&application.worker));
        let stop = CancellationToken::new();
        tokio::spawn(application.run(stop.clone()));
        let own_gateways = config.instances.iter().map(|instance| {
            let url = countersign::app::webhook_url(&config.public_url, instance.id);
            gateway::build(&instance.gateway, Purpose::Inspect, &url).unwrap()
        });
        let own_gateways = own_gateways.collect();
        let messages = AtomicU64::new(0);
        Self { gateways, config, own_gateways, services, worker, base, clock, stop, _directory: directory, messages }
    }

    /// Mints a link at one instance and posts the person's message with its text.
    pub(super) async fn verify(&self, index: usize) {
        let (url, webhook) = self.webhook(index).await;
        assert_eq!(Self::post(&url, &webhook).await, 200, "{}", SETUPS[index].kind);
    }

    /// Posts a signed webhook.
    pub(super) async fn post(url: &str, webhook: &WebhookRequest) -> u16 {
        let mut request = http::Request::post(url);
        for (name, value) in &webhook.headers {
            request = request.header(name, value);
        }
        client().send(request.body(webhook.body.clone()).unwrap()).await.unwrap().status().as_u16()
    }

    /// Mints a link at one instance; returns the URL and the signed webhook of the person's message with its text.
    pub(super) async fn webhook(&self, index: usize) -> (String, WebhookRequest) {
        let mut webhook = self.unsigned(index).await;
        self.sign(index, &mut webhook);
        let query = if webhook.query.is_empty() { String::new() } else { format!("?{}", webhook.query) };
        (format!("{}/webhooks/{}{query}", self.base, id(index)), webhook)
    }

    pub(super) fn sign(&self, index: usize, webhook: &mut WebhookRequest) {
        self.own_gateways[index].webhook_auth().sign(webhook, self.clock.wall());
    }

    /// Mints a link at one instance; returns the webhook of the person's message with its text.
    async fn unsigned(&self, index: usize) -> WebhookRequest {
        let mint = json!({ "message": { "success": TEXT } });
        let request = http::Request::post(format!("{}/api/otp/v2/{}/generate-link", self.base, id(index)))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json");
        let answer = client().send(request.body(mint.to_string().into_bytes()).unwrap()).await.unwrap();
        let minted: Value = serde_json::from_slice(answer.body()).unwrap();
        let text = minted["data"]["text"].as_str().unwrap_or_else(|| panic!("{minted}")).to_owned();
        let number = self.messages.fetch_add(1, Ordering::SeqCst);
        let now = self.clock.wall();
        let sample = SampleMessage {
            sender: SampleSender::Person,
            id: format!("{number:020X}"),
            text,
            timestamp: now.as_second(),
            phone: PERSON.to_owned(),
            to: self.config.instances[index].number.digits().to_owned(),
            lid: "190000000000117".to_owned(),
        };
        self.own_gateways[index].compose(&sample).unwrap()
    }

    pub(super) async fn settle(&self) {
        crate::daemon::settle(&self.services, &self.worker).await;
    }

    /// Seconds since `start` by the daemon's clock, which also advances with real time.
    pub(super) fn age(&self, start: jiff::Timestamp) -> i64 {
        self.clock.wall().duration_since(start).as_secs()
    }

    pub(super) async fn advance(&self, seconds: u64) {
        // Work in flight would expire or lose its lease if the clock advanced first.
        self.settle().await;
        self.clock.advance(Duration::from_secs(seconds));
        self.settle().await;
    }

    /// The value of an instance's series whose labels contain `word`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole and small")]
    pub(super) fn metric(&self, family: &str, index: usize, word: &str) -> u64 {
        let (text, instance) = (self.services.env.metrics.render(), format!("=\"{}\"", id(index)));
        let line = text.lines().find(|line| {
            line.starts_with(&format!("countersign_{family}{{")) && line.contains(&instance) && line.contains(word)
        });
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64)
    }

    pub(super) fn replies(&self, index: usize, result: &str) -> u64 {
        self.metric("replies_total", index, &format!("result=\"{result}\""))
    }
}

impl Drop for ClockedDaemon {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
