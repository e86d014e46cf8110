//! Responses of receivers to failed callbacks. They are truncated, sealed, and kept for a day in one bounded log stream
//! per receiver.

use http::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{RequestContext, Service, ServiceError};
use crate::{
    domain::{InstanceId, Partition},
    random,
    store::{
        JobId, Lane, StoreError,
        archive::{JobInfo, LogEntry, LogStream, MAX_LOG_ENTRIES},
    },
};

/// Most bytes kept of a body.
const BODY: usize = 2048;
/// Most bytes kept of the header names and values together; headers from the first that does not fit are dropped.
const HEADERS: usize = 4096;

/// A response, truncated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    job: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    fn of(job: &JobId, response: &Response<Vec<u8>>) -> Self {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut room = HEADERS;
        let headers = response.headers().iter().map(|(name, value)| (name.to_string(), lossy(value.as_bytes())));
        let headers = headers.take_while(|(name, value)| {
            let fits = name.len() + value.len() <= room;
            room = room.saturating_sub(name.len() + value.len());
            fits
        });
        let body = response.body();
        Self {
            job: job.0.clone(),
            status: response.status().as_u16(),
            headers: headers.collect(),
            body: lossy(&body[..body.len().min(BODY)]),
        }
    }
}

/// One log stream per receiver, in a single partition, so that a receiver that fails often cannot fill the store.
fn journal(receiver: &Lane) -> LogStream {
    LogStream(format!("answers:{receiver}"))
}

fn context(receiver: &Lane) -> String {
    format!("answer:{receiver}")
}

impl Service {
    pub async fn keep_answer(
        &self,
        cx: &RequestContext,
        receiver: &Lane,
        job: &JobId,
        response: &Response<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let json = serde_json::to_vec(&Answer::of(job, response)).expect("an answer has only string keys");
        let bytes = self.keys.seal(&context(receiver), &json, random::bytes());
        let partition = self.partition_of_answers(receiver);
        cx.store.append_log(&[LogEntry { partition, stream: journal(receiver), bytes }]).await
    }

    /// The latest kept response to this job.
    pub(super) async fn last_answer(
        &self,
        cx: &RequestContext,
        job: &JobInfo,
    ) -> Result<Option<(Timestamp, Answer)>, ServiceError> {
        let answers = self.answers(cx, &job.lane).await?;
        Ok(answers.into_iter().find(|(_, answer, _)| answer.job == job.id.0).map(|(at, answer, _)| (at, answer)))
    }

    /// The kept responses of a receiver to these jobs.
    pub(super) async fn answers_to(
        &self,
        cx: &RequestContext,
        receiver: &Lane,
        jobs: &[JobId],
    ) -> Result<Vec<(LogStream, LogEntry)>, ServiceError> {
        let answers = self.answers(cx, receiver).await?.into_iter();
        let theirs = answers.filter(|(_, answer, _)| jobs.iter().any(|job| job.0 == answer.job));
        Ok(theirs.map(|(_, _, note)| (journal(receiver), note)).collect())
    }

    /// The kept responses of a receiver, newest first. Those that cannot be read are skipped.
    async fn answers(
        &self,
        cx: &RequestContext,
        receiver: &Lane,
    ) -> Result<Vec<(Timestamp, Answer, LogEntry)>, ServiceError> {
        let open = |note: &LogEntry| -> Option<Answer> {
            serde_json::from_slice(&self.keys.open(&context(receiver), &note.bytes).ok()?).ok()
        };
        let notes = cx.store.read_log(&journal(receiver), MAX_LOG_ENTRIES).await?;
        Ok(notes.into_iter().filter_map(|(at, note)| Some((at, open(&note)?, note))).collect())
    }

    fn partition_of_answers(&self, receiver: &Lane) -> Partition {
        self.keys.place("answers", InstanceId::NOBODY, receiver.0.as_bytes())
    }
}
