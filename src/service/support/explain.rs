//! Answers "I sent it, and nothing happened": a short text, and the messages and requests that it is based on.

mod sentence;

use jiff::Timestamp;

use crate::{
    api::{callback::CallbackEntry, explanation::ExplainedMessage},
    domain::{Chat, LookUp, Subject, Verification, VerificationId},
    gateway::IgnoreReason,
    service::{
        Instance, RequestContext, ServiceError, Support,
        messages::{LoggedMessage, MalformedWebhook},
        verifications::has_phone_ending,
    },
    store::Index,
};

/// Most messages, and most requests, in one answer.
const MAX_RESULTS: usize = 20;
/// Newest requests searched for the ending of a phone number.
const MAX_RECORDS_READ: usize = 1_000;
/// The question about webhooks that could not be parsed.
const MALFORMED: &str = IgnoreReason::Malformed.as_str();

/// What to explain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    Request(VerificationId),
    /// The gateway's id of a message.
    Message(String),
    /// The last two to six digits of a phone number.
    PhoneEnding(String),
    Chat(Subject),
    /// Webhooks that could not be parsed.
    Malformed,
}

impl Question {
    /// Parses pasted text. Anything that is not recognized otherwise is a message id.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if text.eq_ignore_ascii_case(MALFORMED) {
            return Self::Malformed;
        }
        if let Ok(id) = text.parse() {
            return Self::Request(id);
        }
        let digits = text.trim_start_matches(['…', '.', '*', '•']);
        if (2..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::PhoneEnding(digits.to_owned());
        }
        match text.parse::<Chat>() {
            Ok(chat) => Self::Chat(chat.subject().clone()),
            Err(_) => Self::Message(text.to_owned()),
        }
    }

    /// Name of the kind that the text was recognized as.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Message(_) => "message",
            Self::PhoneEnding(_) => "phone_ending",
            Self::Chat(_) => "chat",
            Self::Malformed => MALFORMED,
        }
    }
}

/// The answer to a question.
pub struct Explanation {
    pub sentence: String,
    pub messages: Vec<ExplainedMessage>,
    /// With their callbacks that are still kept.
    pub requests: Vec<(Verification, Vec<CallbackEntry>)>,
}

impl Support {
    /// Searches the records, and the message log of the last day.
    pub async fn explain(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        question: &Question,
    ) -> Result<Explanation, ServiceError> {
        if *question == Question::Malformed {
            return self.explain_malformed(cx, instance).await;
        }
        let logged = self.matching_messages(cx, instance, question).await?;
        let mut ids: Vec<VerificationId> = logged.iter().filter_map(|(_, message)| message.uuid).collect();
        ids.extend(self.matching_requests(cx, instance, question).await?);
        ids.sort_by(|a, b| b.cmp(a));
        ids.dedup();
        let mut requests = Vec::new();
        for id in ids.into_iter().take(MAX_RESULTS) {
            let Some(stored) = cx.store.load(id.into()).await? else { continue };
            let record = self.verifications.decode_or_report(instance, &stored);
            if let Some(record) = record.filter(|record| record.instance == instance.config.id) {
                let callbacks = self.callbacks.of_record(cx, instance, &record).await?;
                requests.push((record, callbacks));
            }
        }
        let messages: Vec<ExplainedMessage> =
            logged.iter().take(MAX_RESULTS).map(|(at, message)| explained(*at, message)).collect();
        let sentence = sentence::summary(question, &logged, &requests, cx.now());
        Ok(Explanation { sentence, messages, requests })
    }

    async fn explain_malformed(&self, cx: &RequestContext, instance: &Instance) -> Result<Explanation, ServiceError> {
        let kept = self.malformed.read(cx, instance).await?;
        let sentence = sentence::of_malformed(kept.len());
        let message = |(at, webhook, _): (Timestamp, MalformedWebhook, _)| ExplainedMessage {
            at: at.into(),
            outcome: MALFORMED.to_owned(),
            phone_ending: None,
            uuid: None,
            meaning: format!("was in a webhook that could not be parsed: {}.", webhook.fault),
            webhook: Some(webhook.body),
        };
        Ok(Explanation {
            sentence,
            messages: kept.into_iter().take(MAX_RESULTS).map(message).collect(),
            requests: Vec::new(),
        })
    }

    async fn matching_messages(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        question: &Question,
    ) -> Result<Vec<(Timestamp, LoggedMessage)>, ServiceError> {
        let asked: Option<LookUp> = match question {
            Question::Message(id) => Some(self.message_log.message_look_up(instance, id)),
            Question::Chat(subject) => Some(self.message_log.sender_look_up(instance, subject)),
            Question::Request(_) | Question::PhoneEnding(_) | Question::Malformed => None,
        };
        let fits = |message: &LoggedMessage| match question {
            Question::Request(id) => message.uuid == Some(*id),
            Question::Message(_) => asked.is_some_and(|asked| message.ids.iter().any(|id| asked.contains(*id))),
            Question::Chat(_) => asked.zip(message.chat).is_some_and(|(asked, chat)| asked.contains(chat)),
            Question::Malformed => false,
            Question::PhoneEnding(ending) => message.ending.as_deref().is_some_and(|kept| same_ending(kept, ending)),
        };
        let logged = self.message_log.read(cx, instance).await?.into_iter();
        Ok(logged
            .filter(|(_, message, _)| fits(message))
            .map(|(at, message, _)| (at, message))
            .take(MAX_RESULTS)
            .collect())
    }

    async fn matching_requests(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        question: &Question,
    ) -> Result<Vec<VerificationId>, ServiceError> {
        match question {
            Question::Message(_) | Question::Malformed => Ok(Vec::new()),
            Question::Request(id) => {
                let known = cx.store.load((*id).into()).await?;
                Ok(known.map(|stored| stored.id.into()).into_iter().collect())
            }
            Question::Chat(subject) => {
                let lists = self.verifications.chat_indexes(instance, subject);
                Ok(cx.store.list(&lists, None, MAX_RESULTS).await?.into_iter().map(|stored| stored.id.into()).collect())
            }
            Question::PhoneEnding(ending) => {
                let newest = cx.store.list(&[Index::all(instance.config.id)], None, MAX_RECORDS_READ).await?;
                let records = newest.iter().filter_map(|stored| self.verifications.decode_or_report(instance, stored));
                Ok(records
                    .filter(|record| has_phone_ending(record, ending))
                    .take(MAX_RESULTS)
                    .map(|record| record.id)
                    .collect())
            }
        }
    }
}

/// A log entry keeps only a few digits, so either ending may be the longer one.
fn same_ending(kept: &str, asked: &str) -> bool {
    kept.ends_with(asked) || asked.ends_with(kept)
}

fn explained(at: Timestamp, message: &LoggedMessage) -> ExplainedMessage {
    ExplainedMessage {
        at: at.into(),
        outcome: message.outcome.as_str().to_owned(),
        phone_ending: message.ending.clone(),
        uuid: message.uuid.map(|id| id.to_string()),
        meaning: sentence::meaning(message),
        webhook: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_what_it_looks_like() {
        for (text, kind) in [
            ("0192f2a0-0000-7000-8000-000000000000", "request"),
            ("0123", "phone_ending"),
            ("…23", "phone_ending"),
            ("+447700900123", "chat"),
            ("447700900123@c.us", "chat"),
            ("false_447700900123@c.us_3EB0", "message"),
            ("wamid.HBgM", "message"),
            (" malformed ", "malformed"),
        ] {
            assert_eq!(Question::parse(text).kind(), kind, "{text}");
        }
    }
}
