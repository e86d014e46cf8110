//! Exports spans to a collector as OTLP over HTTP in JSON, which collectors accept on port 4318.
//!
//! Spans arrive over a bounded queue and are sent in batches. A batch that the collector does not accept is dropped,
//! and no request waits for the export.

use std::time::Duration;

use http::Request;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    config::OtlpConfig,
    egress::{Egress, Policy},
    trace_context::{self, Span},
};

/// Spans in one request to the collector.
const MAX_BATCH_SPANS: usize = 512;
/// How long spans are collected before a batch is sent.
const BATCH_WINDOW: Duration = Duration::from_secs(1);

/// A task that exports spans until the process ends; `None` if this process has an exporter already.
pub fn exporter(config: &OtlpConfig) -> Option<impl Future<Output = ()> + Send + 'static> {
    trace_context::subscribe(config.sample_percent).map(|spans| export(config.clone(), spans))
}

async fn export(config: OtlpConfig, mut spans: mpsc::Receiver<Span>) {
    // The operator configured this URL, so every address is allowed.
    let policy = Policy { any_address: true, allow_http: true, ..Policy::default() };
    let egress = Egress::with_tls(policy, &config.tls);
    let url = format!("{}/v1/traces", config.url.as_str().trim_end_matches('/'));
    let mut batch = Vec::new();
    let mut failing = false;
    while spans.recv_many(&mut batch, MAX_BATCH_SPANS).await > 0 {
        tokio::time::sleep(BATCH_WINDOW).await;
        while batch.len() < MAX_BATCH_SPANS
            && let Ok(span) = spans.try_recv()
        {
            batch.push(span);
        }
        let mut request = Request::post(&url).header("content-type", "application/json");
        if let Some(authorization) = &config.authorization {
            request = request.header("authorization", authorization.expose_secret());
        }
        let body = export_request(&std::mem::take(&mut batch)).to_string().into_bytes();
        let accepted = match request.body(body) {
            Ok(request) => egress.send(request).await.is_ok_and(|response| response.status().is_success()),
            Err(_) => false,
        };
        if failing == accepted {
            failing = !accepted;
            if failing {
                tracing::warn!("the trace collector does not accept spans; they are dropped until it does");
            } else {
                tracing::info!("the trace collector accepts spans again");
            }
        }
    }
}

fn export_request(spans: &[Span]) -> Value {
    let resource = attributes(&[
        ("service.name", "countersign".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{
            "scope": { "name": "countersign", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans.iter().map(span_json).collect::<Vec<_>>(),
        }],
    }]})
}

fn span_json(span: &Span) -> Value {
    let start = span.start.as_nanosecond();
    let end = start + i128::try_from(span.duration.as_nanos()).unwrap_or_default();
    // SPAN_KIND_SERVER, SPAN_KIND_CLIENT; STATUS_CODE_UNSET, STATUS_CODE_ERROR.
    let (kind, status) = (if span.server { 2 } else { 3 }, if span.ok { 0 } else { 2 });
    json!({
        "traceId": format!("{:032x}", span.context.trace_id()),
        "spanId": format!("{:016x}", span.context.span_id()),
        "parentSpanId": span.parent.map(|parent| format!("{parent:016x}")).unwrap_or_default(),
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes(&span.attributes),
        "status": { "code": status },
    })
}

fn attributes(pairs: &[(&'static str, String)]) -> Vec<Value> {
    pairs.iter().map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect()
}
