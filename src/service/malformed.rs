//! Authenticated webhooks that could not be parsed, in whole or in part. They are truncated, sealed, and kept for a day in
//! one bounded log stream per instance, for `explain`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Instance, RequestContext, Service, ServiceError};
use crate::{
    domain::{InstanceId, Subject},
    gateway::{IgnoreReason, Webhook},
    random,
    store::archive::{LogEntry, LogStream, MAX_LOG_ENTRIES},
};

/// Most bytes kept of a body.
const BODY: usize = 4096;

/// A webhook, truncated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MalformedWebhook {
    /// What is wrong; does not quote the body.
    pub(super) fault: String,
    pub(super) body: String,
}

impl MalformedWebhook {
    /// Whether the body contains an id of this person.
    pub(super) fn names(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Phone(phone) => phone.spellings().iter().any(|digits| self.body.contains(digits)),
            Subject::Lid(id) | Subject::Bsuid(id) => self.body.contains(id.as_str()),
        }
    }
}

pub(super) fn journal(instance: InstanceId) -> LogStream {
    LogStream(format!("malformed:{}", instance.simple()))
}

fn context(instance: InstanceId) -> String {
    format!("malformed:{}", instance.simple())
}

impl Service {
    /// Logs a malformed webhook and keeps its beginning. If the store is unavailable, the gateway must deliver again.
    pub async fn keep_malformed(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        fault: &str,
        webhook: &Webhook<'_>,
    ) -> Result<(), ServiceError> {
        let id = instance.config.id;
        let reason = IgnoreReason::Malformed.as_str();
        if let Some(count) = self.health.record_failure(id, "webhook", reason, self.clock.wall()) {
            let gateway = instance.gateway.kind();
            tracing::warn!(gateway, instance = %id, fault, count, "could not parse an authenticated webhook; `explain malformed` shows it for a day");
        }
        let body = String::from_utf8_lossy(&webhook.body[..webhook.body.len().min(BODY)]).into_owned();
        let json =
            serde_json::to_vec(&MalformedWebhook { fault: fault.to_owned(), body }).expect("it has only string keys");
        let bytes = self.keys.seal(&context(id), &json, random::bytes());
        // In a single partition, so that a gateway that posts nothing else cannot fill the store.
        let partition = self.keys.partition_for("malformed", id, b"");
        Ok(cx.store.append_log(&[LogEntry { partition, stream: journal(id), bytes }]).await?)
    }

    /// The kept webhooks of an instance, newest first. Those that no key opens are skipped.
    pub(super) async fn malformed_webhooks(
        &self,
        cx: &RequestContext,
        instance: &Instance,
    ) -> Result<Vec<(Timestamp, MalformedWebhook, LogEntry)>, ServiceError> {
        let id = instance.config.id;
        let open = |entry: &LogEntry| -> Option<MalformedWebhook> {
            serde_json::from_slice(&self.keys.open(&context(id), &entry.bytes).ok()?).ok()
        };
        let entries = cx.store.read_log(&journal(id), MAX_LOG_ENTRIES).await?;
        Ok(entries.into_iter().filter_map(|(at, entry)| Some((at, open(&entry)?, entry))).collect())
    }
}
