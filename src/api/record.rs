//! Builds the wire's structs from a verification record.

use serde_json::Value;

use super::{
    Rfc3339Time,
    callback::Common,
    verification::{CompletionView, Details, RedeemedView, RiskView, SubjectView, TimelineEntryView},
};
use crate::domain::{self, Kind, Verification, link, timeline};

impl SubjectView {
    pub fn of<K: Kind>(record: &Verification<K>) -> Option<Self> {
        let subject = &record.proof()?.subject;
        Some(Self { kind: subject.kind(), value: subject.value(), reported: subject.reported() })
    }
}

impl CompletionView {
    pub fn of(link: &link::Link, request: &domain::Request) -> Self {
        Self { mode: link.mode(request).as_str(), state: link.completion().and_then(link::Completion::as_str) }
    }
}

impl From<&domain::risk::Risk> for RiskView {
    fn from(risk: &domain::risk::Risk) -> Self {
        Self {
            same_network: risk.same_network,
            same_country: risk.same_country,
            same_device: risk.same_device,
            started_country: risk.started_country.clone(),
            finished_country: risk.finished_country.clone(),
        }
    }
}

impl From<&timeline::TimelineEntry> for TimelineEntryView {
    fn from(entry: &timeline::TimelineEntry) -> Self {
        Self { at: entry.at.into(), event: entry.event.to_string(), reason: entry.reason, by: entry.by.clone() }
    }
}

impl Details {
    pub fn of<K: Kind>(record: &Verification<K>) -> Self {
        let request = &record.request;
        Self {
            reason: record.reason(),
            ended_at: record.ended_at().map(Rfc3339Time),
            subject: SubjectView::of(record),
            push_name: record.proof().and_then(|proof| proof.push_name.clone()),
            attempts: record.attempts,
            max_attempts: record.max_attempts,
            renews: request.renews.map(|id| id.to_string()),
            purpose: request.purpose.clone(),
            client_ref: request.client_ref.clone(),
            metadata: metadata(request),
            timeline: record.timeline.iter().map(TimelineEntryView::from).collect(),
        }
    }
}

impl RedeemedView {
    pub fn of(record: &Verification<link::Link>) -> Self {
        let (proof, request) = (record.proof(), &record.request);
        Self {
            uuid: record.id,
            subject: SubjectView::of(record),
            chat_id: record.chat_id(),
            push_name: proof.and_then(|proof| proof.push_name.clone()),
            renews: request.renews.map(|id| id.to_string()),
            text_changed: proof.map(|_| record.details.text_changed),
            risk: record.details.risk.as_ref().map(RiskView::from),
            purpose: request.purpose.clone(),
            client_ref: request.client_ref.clone(),
            metadata: metadata(request),
            completion: CompletionView::of(&record.details, request),
        }
    }
}

/// The metadata as the caller gave it; `null` if there is none.
pub fn metadata(request: &domain::Request) -> Value {
    request.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

impl Common {
    pub fn of<K: Kind>(record: &Verification<K>) -> Self {
        let request = &record.request;
        Self {
            uuid: record.id,
            reason: record.reason(),
            chat_id: record.chat_id(),
            subject: SubjectView::of(record),
            push_name: record.proof().and_then(|proof| proof.push_name.clone()),
            purpose: request.purpose.clone(),
            client_ref: request.client_ref.clone(),
            metadata: metadata(request),
            created_at: record.created_at.into(),
            expires_at: record.expires_at.into(),
            ended_at: record.ended_at().map(Rfc3339Time),
        }
    }
}
