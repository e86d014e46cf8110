//! Posts webhooks to the running daemon, and sees in its metrics what it made of them.

use std::collections::HashMap;

use anyhow::Context as _;
use http::{Request, Response};
use serde_json::Value;

use crate::{
    domain::InstanceId,
    egress::{Egress, EgressError, Policy},
    gateway::Draft,
};

/// Metrics grow with the number of instances.
const METRICS: usize = 16 * 1024 * 1024;

/// The daemon, from outside.
pub(super) struct Probe {
    egress: Egress,
    /// Without a slash at the end.
    pub(super) base: String,
    operator: String,
    instance: InstanceId,
}

/// Counters of this instance: family and label value, such as `webhook_events` and `group`.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters(HashMap<(String, String), f64>);

impl Counters {
    pub(super) fn of(&self, family: &str, word: &str) -> f64 {
        self.0.get(&(family.to_owned(), word.to_owned())).copied().unwrap_or_default()
    }

    /// What has grown since `before`, as `word` or `word (n)`.
    pub(super) fn grown(&self, before: &Self, family: &str) -> Vec<String> {
        let mut words: Vec<String> = self
            .0
            .iter()
            .filter(|((known, word), value)| known == family && **value > before.of(family, word))
            .map(|((_, word), _)| word.clone())
            .collect();
        words.sort();
        words
    }
}

impl Probe {
    pub(super) fn new(base: &str, operator: &str, instance: InstanceId) -> Self {
        let policy = Policy { any_address: true, allow_http: true, ..Policy::default() };
        let egress = Egress::new(policy).with_max_response_len(METRICS);
        let trim = |url: &str| url.trim_end_matches('/').to_owned();
        Self { egress, base: trim(base), operator: trim(operator), instance }
    }

    /// The status of the daemon's answer to a webhook; `tail` stands behind the instance in the path.
    pub(super) async fn post(&self, tail: &str, draft: &Draft) -> Result<u16, String> {
        self.post_to(&self.instance.to_string(), tail, draft).await
    }

    pub(super) async fn post_to(&self, instance: &str, tail: &str, draft: &Draft) -> Result<u16, String> {
        let query = if draft.query.is_empty() { String::new() } else { format!("?{}", draft.query) };
        let mut request = Request::post(format!("{}/webhooks/{instance}{tail}{query}", self.base));
        for (name, value) in &draft.headers {
            request = request.header(name, value);
        }
        let request = request.body(draft.body.clone()).map_err(|_| "cannot be written as a request".to_owned())?;
        self.send(request).await.map(|response| response.status().as_u16()).map_err(|error| error.to_string())
    }

    pub(super) async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, EgressError> {
        self.egress.send(request).await
    }

    /// A call of the API, with its answer's JSON.
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

    /// `None` when the operator's listener cannot be reached from here.
    pub(super) async fn counters(&self) -> Option<Counters> {
        let request = Request::get(format!("{}/metrics", self.operator)).body(Vec::new()).ok()?;
        let response = self.send(request).await.ok().filter(|response| response.status().is_success())?;
        Some(read(&String::from_utf8_lossy(response.body()), self.instance))
    }
}

/// Lines such as `countersign_webhook_events_total{instance_id="…",gateway="waha",result="group"} 3`.
fn read(text: &str, instance: InstanceId) -> Counters {
    let ours = format!("instance_id=\"{instance}\"");
    let mut counters = Counters::default();
    for line in text.lines().filter(|line| line.contains(&ours)) {
        let Some((family, rest)) = line.strip_prefix("countersign_").and_then(|line| line.split_once('{')) else {
            continue;
        };
        let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
        let label = |name: &str| labels.split(',').find_map(|one| one.strip_prefix(name)?.strip_prefix("=\""));
        let word = label("result").or_else(|| label("reason")).map(|word| word.trim_end_matches('"').to_owned());
        if let (Some(word), Ok(value)) = (word, value.split(' ').next().unwrap_or_default().parse::<f64>()) {
            *counters.0.entry((family.trim_end_matches("_total").to_owned(), word)).or_default() += value;
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
        let counters = read(text, instance);
        assert!((counters.of("webhook_events", "group") - 3.0).abs() < 0.1);
        assert!((counters.of("webhooks_rejected", "no signature") - 2.0).abs() < 0.1);
        assert_eq!(counters.grown(&Counters::default(), "webhook_events"), ["group"]);
        assert!(counters.grown(&counters, "webhook_events").is_empty());
    }
}
