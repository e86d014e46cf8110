//! Failed attempts to deliver callbacks, with the response if there was one. They are truncated, sealed, and kept for a
//! day in one bounded log stream per receiver.

use std::sync::Arc;

use http::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{InstanceId, KeyRing, Partition},
    random,
    service::{RequestContext, ServiceError},
    store::{
        JobId, Lane, StoreError,
        archive::{JobInfo, LogEntry, LogStream, MAX_LOG_ENTRIES},
    },
};

/// Most bytes kept of a body.
const MAX_BODY_BYTES: usize = 2048;
/// Most bytes kept of the header names and values together; headers from the first that does not fit are dropped.
const MAX_HEADER_BYTES: usize = 4096;

/// A failed attempt with its response, truncated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReceiverResponse {
    pub(in crate::service) job: String,
    /// Why the attempt failed: class and cause. Empty in what an earlier version wrote.
    #[serde(default)]
    pub cause: String,
    /// 0 if there was no response.
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl ReceiverResponse {
    fn new(job: &JobId, cause: &str, response: Option<&Response<Vec<u8>>>) -> Self {
        let job = job.0.clone();
        let cause = cause.to_owned();
        let Some(response) = response else {
            return Self { job, cause, status: 0, headers: Vec::new(), body: String::new() };
        };
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut room = MAX_HEADER_BYTES;
        let headers = response.headers().iter().map(|(name, value)| (name.to_string(), lossy(value.as_bytes())));
        let headers = headers.take_while(|(name, value)| {
            let fits = name.len() + value.len() <= room;
            room = room.saturating_sub(name.len() + value.len());
            fits
        });
        let body = response.body();
        Self {
            job,
            cause,
            status: response.status().as_u16(),
            headers: headers.collect(),
            body: lossy(&body[..body.len().min(MAX_BODY_BYTES)]),
        }
    }
}

/// One log stream per receiver, in a single partition, so that a receiver that fails often cannot fill the store.
fn stream(receiver: &Lane) -> LogStream {
    LogStream(format!("answers:{receiver}"))
}

fn context(receiver: &Lane) -> String {
    format!("answer:{receiver}")
}

/// The kept attempts, of all receivers.
pub struct ReceiverResponses {
    keys: Arc<KeyRing>,
}

impl ReceiverResponses {
    pub(super) const fn new(keys: Arc<KeyRing>) -> Self {
        Self { keys }
    }

    /// Keeps a failed attempt of this job.
    pub async fn keep(
        &self,
        cx: &RequestContext,
        receiver: &Lane,
        job: &JobId,
        cause: &str,
        response: Option<&Response<Vec<u8>>>,
    ) -> Result<(), StoreError> {
        let json =
            serde_json::to_vec(&ReceiverResponse::new(job, cause, response)).expect("an answer has only string keys");
        let bytes = self.keys.seal(&context(receiver), &json, random::bytes());
        let partition = self.responses_partition(receiver);
        cx.store.append_log(&[LogEntry { partition, stream: stream(receiver), bytes }]).await
    }

    /// The latest kept response to this job.
    pub(super) async fn last(
        &self,
        cx: &RequestContext,
        job: &JobInfo,
    ) -> Result<Option<(Timestamp, ReceiverResponse)>, ServiceError> {
        let answers = self.stored_responses(cx, &job.lane).await?;
        let answered = answers.into_iter().find(|(_, answer, _)| answer.job == job.id.0 && answer.status != 0);
        Ok(answered.map(|(at, answer, _)| (at, answer)))
    }

    /// The kept failed attempts to reach a receiver, oldest first.
    pub(super) async fn failed_attempts(
        &self,
        cx: &RequestContext,
        receiver: &Lane,
    ) -> Result<Vec<(Timestamp, ReceiverResponse)>, ServiceError> {
        let attempts = self.stored_responses(cx, receiver).await?;
        Ok(attempts.into_iter().rev().map(|(at, attempt, _)| (at, attempt)).collect())
    }

    /// The kept responses of a receiver to these jobs.
    pub(super) async fn responses_to(
        &self,
        cx: &RequestContext,
        receiver: &Lane,
        jobs: &[JobId],
    ) -> Result<Vec<(LogStream, LogEntry)>, ServiceError> {
        let answers = self.stored_responses(cx, receiver).await?.into_iter();
        let theirs = answers.filter(|(_, answer, _)| jobs.iter().any(|job| job.0 == answer.job));
        Ok(theirs.map(|(_, _, entry)| (stream(receiver), entry)).collect())
    }

    /// The kept responses of a receiver, newest first. Those that cannot be read are skipped.
    async fn stored_responses(
        &self,
        cx: &RequestContext,
        receiver: &Lane,
    ) -> Result<Vec<(Timestamp, ReceiverResponse, LogEntry)>, ServiceError> {
        let open = |entry: &LogEntry| -> Option<ReceiverResponse> {
            serde_json::from_slice(&self.keys.open(&context(receiver), &entry.bytes).ok()?).ok()
        };
        let entries = cx.store.read_log(&stream(receiver), MAX_LOG_ENTRIES).await?;
        Ok(entries.into_iter().filter_map(|(at, entry)| Some((at, open(&entry)?, entry))).collect())
    }

    fn responses_partition(&self, receiver: &Lane) -> Partition {
        self.keys.partition_for("answers", InstanceId::NONE, receiver.0.as_bytes())
    }
}
