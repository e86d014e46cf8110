//! `/requests/{instance}/{uuid}`: one request with its timeline and callbacks, and the actions cancel and replay.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Data, Path, Payload, ReqData},
};
use askama::Template;
use jiff::Timestamp;

use super::{
    OperatorState,
    layout::{self, DisplayTime, Frame, MenuEntry, OperatorResult},
    picture::{Attempts, Picture},
    session::Session,
};
use crate::{
    api::{Rfc3339Time, callback::CallbackEntry, record::metadata, verification::CompletionView},
    domain::{Channel, InstanceId, Kind as _, KindRef, OtpType, Reason, Status, Verification, VerificationId},
    http::{context::Cx, pages::see_other, problem::Problem},
    service::{Instance, RequestContext, ServiceError, receiver_responses::ReceiverResponse},
};

struct TimelineRow {
    at: DisplayTime,
    event: String,
    reason: String,
    actor: String,
}

/// A callback with its times in display form.
struct CallbackRow {
    created: DisplayTime,
    next_attempt: Option<DisplayTime>,
    ended: Option<DisplayTime>,
    view: CallbackEntry,
    failures: Vec<AttemptRow>,
}

/// A failed attempt with what the receiver answered.
struct AttemptRow {
    at: DisplayTime,
    cause: String,
    /// Without the status, which is part of the cause; empty if there was no answer.
    headers: String,
    body: String,
}

impl From<(Timestamp, ReceiverResponse)> for AttemptRow {
    fn from((at, response): (Timestamp, ReceiverResponse)) -> Self {
        let ReceiverResponse { cause, status, headers, body, .. } = response;
        let cause = if cause.is_empty() { format!("status {status}") } else { cause };
        let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        Self { at: at.into(), cause, headers: headers.join("\n"), body }
    }
}

impl From<Attempts> for CallbackRow {
    fn from((view, failures): Attempts) -> Self {
        let display = |time: Rfc3339Time| DisplayTime::from(time.0);
        Self {
            created: display(view.created_at),
            next_attempt: view.next_attempt_at.map(display),
            ended: view.ended_at.map(display),
            view,
            failures: failures.into_iter().map(AttemptRow::from).collect(),
        }
    }
}

struct Fact {
    label: &'static str,
    /// Not empty, unless there is a time.
    text: String,
    at: Option<DisplayTime>,
}

#[derive(Template)]
#[template(path = "operator/request.html")]
struct RequestPage {
    frame: Frame,
    path: String,
    list_url: String,
    notice: &'static str,
    title: &'static str,
    status: Status,
    /// Whether it can still be canceled.
    cancelable: bool,
    uuid: String,
    facts: Vec<Fact>,
    metadata: String,
    picture: Picture,
    timeline: Vec<TimelineRow>,
    callbacks: Vec<CallbackRow>,
}

type RequestPath = Path<(String, String)>;

/// `GET /requests/{instance}/{uuid}`
pub(super) async fn show(
    state: Data<OperatorState>,
    cx: Cx,
    session: ReqData<Session>,
    names: RequestPath,
    request: HttpRequest,
) -> OperatorResult {
    let notice = match request.query_string() {
        "done=canceled" => "The request was canceled.",
        "done=over" => "The request had already ended.",
        "done=replayed" => "The callback was queued again.",
        _ => "",
    };
    let frame = Frame::new(&session, &state.services.env.keys, MenuEntry::Requests);
    Ok(render(&state, &cx, frame, &names, notice).await?)
}

async fn render(
    state: &OperatorState,
    cx: &RequestContext,
    frame: Frame,
    names: &(String, String),
    notice: &'static str,
) -> Result<HttpResponse, Problem> {
    let services = &state.services;
    let (instance, record) = load(state, cx, names).await?;
    let status = record.status(services.env.store.now());
    let metadata = metadata(&record.request);
    let callbacks = services.callbacks.attempts_of(cx, &instance, &record).await?;
    let page = RequestPage {
        frame,
        path: layout::request_path(&record),
        list_url: format!("/requests?instance={}", instance.config.id),
        notice,
        title: match record.otp_type() {
            OtpType::Code => "Code",
            OtpType::Link => "Link",
        },
        status,
        cancelable: status.is_open(),
        uuid: record.id.to_string(),
        facts: facts(&instance, &record),
        metadata: if metadata.is_null() { String::new() } else { format!("{metadata:#}") },
        picture: Picture::new(&record.timeline, &callbacks, services.env.store.now()),
        timeline: record
            .timeline
            .iter()
            .map(|entry| TimelineRow {
                at: entry.at.into(),
                event: entry.event.to_string(),
                reason: entry.reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
                actor: entry.by.clone().unwrap_or_default(),
            })
            .collect(),
        callbacks: callbacks.into_iter().map(CallbackRow::from).collect(),
    };
    Ok(layout::render(StatusCode::OK, &page))
}

async fn load(
    state: &OperatorState,
    cx: &RequestContext,
    names: &(String, String),
) -> Result<(Arc<Instance>, Verification), Problem> {
    let (instance, id) = parse_path(state, names)?;
    let record = state.services.shared.verifications.get(cx, &instance, id).await?;
    Ok((instance, record))
}

fn parse_path(
    state: &OperatorState,
    (instance, id): &(String, String),
) -> Result<(Arc<Instance>, VerificationId), Problem> {
    let instance = instance.parse().ok().and_then(|id: InstanceId| state.services.env.instances.get(id));
    let id = id.parse().map_err(|_| ServiceError::NotFound)?;
    Ok((instance.ok_or(ServiceError::NotFound)?, id))
}

fn facts(instance: &Instance, record: &Verification) -> Vec<Fact> {
    let request = &record.request;
    let text = |value: Option<&str>| (value.unwrap_or_default().to_owned(), None);
    let time = |at: Option<Timestamp>| (String::new(), at.map(DisplayTime::from));
    let (channel, completion) = match record.details.by_ref() {
        KindRef::Code(code) => (code.delivery.channel().map(Channel::as_str), String::new()),
        KindRef::Link(link) => {
            let CompletionView { mode, state } = CompletionView::of(link, request);
            let suffix = state.map(|state| format!(", {state}")).unwrap_or_default();
            (None, format!("{mode}{suffix}"))
        }
    };
    let facts = [
        ("Instance", text(Some(&instance.config.name))),
        ("Number", text(Some(&layout::masked_number(record)))),
        ("Sender name", text(record.proof().and_then(|proof| proof.push_name.as_deref()))),
        ("Name in messages", text(Some(&request.name))),
        ("Created", time(Some(record.created_at))),
        ("Expires", time(Some(record.expires_at))),
        ("Ended", time(record.ended_at())),
        ("Reason", text(record.reason().map(Reason::as_str))),
        ("Wrong tries", text(Some(&format!("{} of {}", record.attempts, record.max_attempts)))),
        ("Completion", text(Some(&completion))),
        ("Channel", text(channel)),
        ("Purpose", text(request.purpose.as_deref())),
        ("Reference", text(request.client_ref.as_deref())),
    ];
    let facts = facts.into_iter().map(|(label, (text, at))| Fact { label, text, at });
    facts.filter(|fact| !fact.text.is_empty() || fact.at.is_some()).collect()
}

/// `POST /requests/{instance}/{uuid}/cancel`
pub(super) async fn cancel(
    state: Data<OperatorState>,
    cx: Cx,
    session: ReqData<Session>,
    names: RequestPath,
    request: HttpRequest,
    payload: Payload,
) -> OperatorResult {
    session.csrf_checked_form(&state.services.env.keys, &request, payload).await?;
    let (instance, id) = parse_path(&state, &names)?;
    let record = state.services.shared.verifications.cancel(&cx, &instance, id).await?;
    let canceled = record.status(state.services.env.store.now()) == Status::Canceled;
    tracing::info!(operator = session.name(), uuid = %id, canceled, "an operator canceled a request");
    Ok(see_other(&format!("{}?done={}", layout::request_path(&record), if canceled { "canceled" } else { "over" })))
}

/// `POST /requests/{instance}/{uuid}/replay`, with the callback's id in the form.
pub(super) async fn replay(
    state: Data<OperatorState>,
    cx: Cx,
    session: ReqData<Session>,
    names: RequestPath,
    request: HttpRequest,
    payload: Payload,
) -> OperatorResult {
    let fields = session.csrf_checked_form(&state.services.env.keys, &request, payload).await?;
    let (instance, record) = load(&state, &cx, &names).await?;
    let id = fields.get("callback").map(String::as_str).unwrap_or_default();
    state.services.callbacks.replay(&cx, &instance, id).await?;
    tracing::info!(operator = session.name(), uuid = %record.id, "an operator replayed a callback");
    Ok(see_other(&format!("{}?done=replayed", layout::request_path(&record))))
}
