//! A client of the running daemon: posts webhooks, calls the API, and reads the metrics.

use std::collections::HashMap;

use anyhow::Context as _;
use http::{Request, Response};
use serde_json::Value;

use crate::{
    clock::Clock,
    domain::{InstanceId, doctor_mark, keys::KeyRing},
    egress::{Egress, EgressError, Policy},
    gateway::WebhookRequest,
};

/// The maximum size of the metrics, in bytes. They grow with the number of instances.
const MAX_METRICS_LEN: usize = 16 * 1024 * 1024;

/// A webhook without a response.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("cannot be sent as an HTTP request")]
    NotHttp,
    #[error(transparent)]
    Egress(#[from] EgressError),
}

/// A client of the running daemon, for one instance.
pub(super) struct Probe {
    egress: Egress,
    /// The daemon's URL, without a trailing slash.
    pub(super) base: String,
    operator: String,
    instance: InstanceId,
    /// The configured keys, which sign the `doctor` header.
    keys: Option<KeyRing>,
}

/// The counters of one instance, by metric and label value, such as `webhook_events` and `group`.
#[derive(Clone, Debug, Default)]
pub(super) struct WebhookCounters(HashMap<(String, String), f64>);

impl WebhookCounters {
    pub(super) fn value(&self, family: &str, label: &str) -> f64 {
        self.0.get(&(family.to_owned(), label.to_owned())).copied().unwrap_or_default()
    }

    /// The label values of `family` whose counters have increased since `before`, sorted.
    pub(super) fn increased(&self, before: &Self, family: &str) -> Vec<String> {
        let mut words: Vec<String> = self
            .0
            .iter()
            .filter(|((known, label), value)| known == family && **value > before.value(family, label))
            .map(|((_, label), _)| label.clone())
            .collect();
        words.sort();
        words
    }
}

impl Probe {
    pub(super) fn new(base: &str, operator: &str, instance: InstanceId, keys: Option<KeyRing>) -> Self {
        let policy = Policy { any_address: true, allow_http: true, ..Policy::default() };
        let egress = Egress::new(policy).with_max_response_len(MAX_METRICS_LEN);
        let trim = |url: &str| url.trim_end_matches('/').to_owned();
        Self { egress, base: trim(base), operator: trim(operator), instance, keys }
    }

    /// Posts a webhook and returns the response's status. `tail` is appended to the path.
    pub(super) async fn post(&self, tail: &str, webhook: &WebhookRequest) -> Result<u16, ProbeError> {
        self.post_to(&self.instance.to_string(), tail, webhook).await
    }

    pub(super) async fn post_to(
        &self,
        instance: &str,
        tail: &str,
        webhook: &WebhookRequest,
    ) -> Result<u16, ProbeError> {
        let query = if webhook.query.is_empty() { String::new() } else { format!("?{}", webhook.query) };
        let mut request = Request::post(format!("{}/webhooks/{instance}{tail}{query}", self.base));
        for (name, value) in &webhook.headers {
            request = request.header(name, value);
        }
        if let Some((name, value)) = self.doctor_header(&webhook.body) {
            request = request.header(name, value);
        }
        let request = request.body(webhook.body.clone()).map_err(|_| ProbeError::NotHttp)?;
        Ok(self.send(request).await?.status().as_u16())
    }

    /// The header by which the daemon counts a request in the metrics of `doctor`.
    pub(super) fn doctor_header(&self, body: &[u8]) -> Option<(&'static str, String)> {
        let keys = self.keys.as_ref()?;
        Some((doctor_mark::HEADER, doctor_mark::sign(keys, self.instance, Clock::default().wall(), body)))
    }

    pub(super) async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, EgressError> {
        self.egress.send(request).await
    }

    /// Calls the API and returns `data` of the response.
    pub(super) async fn call(&self, token: &str, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/api/otp/v2/{}{path}", self.base, self.instance))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(if body.is_null() { Vec::new() } else { body.to_string().into_bytes() })
            .context("--token")?;
        let response = self.send(request).await.with_context(|| format!("cannot reach {}", self.base))?;
        let json: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let status = response.status();
        anyhow::ensure!(
            status.is_success(),
            "{path} answers {status}: {}",
            json["detail"].as_str().unwrap_or_default()
        );
        Ok(json["data"].clone())
    }

    /// The current counters; `None` if the operator listener cannot be reached.
    pub(super) async fn counters(&self) -> Option<WebhookCounters> {
        let request = Request::get(format!("{}/metrics", self.operator)).body(Vec::new()).ok()?;
        let response = self.send(request).await.ok().filter(|response| response.status().is_success())?;
        Some(parse_metrics(&String::from_utf8_lossy(response.body()), self.instance))
    }
}

/// Parses lines such as `countersign_webhook_events_total{instance_id="…",gateway="waha",result="group"} 3`. The
/// metrics of `doctor` have the prefix `doctor_` and are added to those without it.
fn parse_metrics(text: &str, instance: InstanceId) -> WebhookCounters {
    let ours = format!("instance_id=\"{instance}\"");
    let mut counters = WebhookCounters::default();
    for line in text.lines().filter(|line| line.contains(&ours)) {
        let Some((family, rest)) = line.strip_prefix("countersign_").and_then(|line| line.split_once('{')) else {
            continue;
        };
        let family = family.strip_prefix("doctor_").unwrap_or(family);
        let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
        let label_value = |name: &str| labels.split(',').find_map(|one| one.strip_prefix(name)?.strip_prefix("=\""));
        let label =
            label_value("result").or_else(|| label_value("reason")).map(|label| label.trim_end_matches('"').to_owned());
        if let (Some(label), Ok(value)) = (label, value.split(' ').next().unwrap_or_default().parse::<f64>()) {
            *counters.0.entry((family.trim_end_matches("_total").to_owned(), label)).or_default() += value;
        }
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_instances_counters_are_read() {
        let instance: InstanceId = "5f0c2a90-0000-4000-8000-000000000001".parse().unwrap();
        let text = "# HELP x y\n\
            countersign_webhook_events_total{instance_id=\"5f0c2a90-0000-4000-8000-000000000001\",gateway=\"waha\",result=\"group\"} 3\n\
            countersign_webhook_events_total{instance_id=\"5f0c2a90-0000-4000-8000-000000000002\",gateway=\"waha\",result=\"group\"} 9\n\
            countersign_webhooks_rejected_total{instance_id=\"5f0c2a90-0000-4000-8000-000000000001\",gateway=\"waha\",reason=\"no signature\"} 2\n";
        let text = text.replace("countersign_webhooks_rejected_total{", "countersign_doctor_webhooks_rejected_total{");
        let counters = parse_metrics(&text, instance);
        assert!((counters.value("webhook_events", "group") - 3.0).abs() < 0.1);
        assert!((counters.value("webhooks_rejected", "no signature") - 2.0).abs() < 0.1);
        assert_eq!(counters.increased(&WebhookCounters::default(), "webhook_events"), ["group"]);
        assert!(counters.increased(&counters, "webhook_events").is_empty());
    }
}
