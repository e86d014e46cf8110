//! Waiting for changes of one verification, with an event stream or a long poll.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{Data, Path},
};

use super::{
    PublicState, auth,
    connection::ClientConnection,
    context::Cx,
    event_stream,
    problem::Problem,
    query,
    sse::{self, Event, Sse, WatchSource},
    view,
};
use crate::{
    api::{limits, verification::Watched},
    domain::{AnyKind, Verification, VerificationId, scope::Scope, token::TokenKind},
    hash::sha256,
    service::{self, Instance, RequestContext, ServiceError, Services},
};

/// What the caller may see.
#[derive(Clone)]
enum Visibility {
    /// API token: what a single request shows to it.
    Request { instance: Arc<Instance>, secrets: bool },
    /// Poll token: the status, without personal data.
    Status,
}

/// `GET …/requests/{uuid}/events`
pub(super) async fn events(
    state: Data<PublicState>,
    cx: Cx,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let answer = try_events(&state, &cx, &path, &request).await;
    let mut response = answer.unwrap_or_else(|problem| actix_web::ResponseError::error_response(&problem));
    allow_any_origin(&mut response);
    Ok(response)
}

/// `OPTIONS …/requests/{uuid}/events`: allows pages of the app to wait here with a poll token.
pub(super) async fn preflight() -> HttpResponse {
    let mut response = HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, last-event-id"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish();
    allow_any_origin(&mut response);
    response
}

/// Cookies have no effect here, so any page may read what its bearer token gives access to.
fn allow_any_origin(response: &mut HttpResponse) {
    let any = header::HeaderValue::from_static("*");
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
}

async fn try_events(
    state: &PublicState,
    cx: &RequestContext,
    (instance, uuid): &(String, String),
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (visibility, id) = authorize(state, cx, request, instance, uuid).await?;
    let wait = parse_wait(request)?;
    let watched = state.services.shared.verifications.watch(cx, id).await?;
    if let Visibility::Request { instance, .. } = &visibility
        && watched.record().instance != instance.config.id
    {
        return Err(Problem::not_found());
    }
    let viewer = Viewer { services: Arc::clone(&state.services), visibility };
    match wait {
        Some(wait) => {
            let budget = request.conn_data::<ClientConnection>().map(ClientConnection::budget);
            let _reservation = budget
                .map(|budget| budget.reserve_long_poll())
                .transpose()
                .map_err(|_| ServiceError::TooManyWatchers)?;
            Ok(long_poll(&viewer, watched, wait).await)
        }
        None => stream(state, viewer, watched, request).await,
    }
}

/// How long a long poll may take; `None` selects a stream.
fn parse_wait(request: &HttpRequest) -> Result<Option<Duration>, Problem> {
    let query = query::parse_query(request);
    let mut f = query::reader(&query);
    let (min, max) = (limits::WAIT.start(), limits::WAIT.end());
    let wait = f.read("wait", |text| {
        let seconds = text.parse().ok().filter(|seconds| limits::WAIT.contains(seconds));
        seconds.ok_or_else(|| format!("expected, once, a whole number of seconds from {min} to {max}"))
    });
    f.finish(Some(()))?;
    Ok(wait.map(|seconds: u32| Duration::from_secs(seconds.into())))
}

/// Authenticates the caller. A poll token gives access to its own verification; everything else must be an API token.
async fn authorize(
    state: &PublicState,
    cx: &RequestContext,
    request: &HttpRequest,
    instance: &str,
    uuid: &str,
) -> Result<(Visibility, VerificationId), Problem> {
    let id = uuid.parse::<VerificationId>();
    if let (Some(token), Ok(id)) = (auth::poll_token(request), &id)
        && token.id() == *id
    {
        return match state.services.completion.record_by_token(cx, &token, TokenKind::Poll).await {
            Ok(record) if instance.parse() == Ok(record.instance) => Ok((Visibility::Status, *id)),
            Ok(_) | Err(ServiceError::NotFound) => Err(auth::count_wrong_token(state, cx, request).await),
            Err(error) => Err(error.into()),
        };
    }
    let caller = auth::authenticate(state, cx, request, instance, Scope::Read).await?;
    let secrets = caller.may_read_secrets();
    Ok((Visibility::Request { instance: caller.instance, secrets }, id.map_err(|_| Problem::not_found())?))
}

struct Viewer {
    services: Arc<Services>,
    visibility: Visibility,
}

impl Viewer {
    fn view(&self, record: Verification) -> Watched {
        match &self.visibility {
            Visibility::Request { instance, secrets } => {
                Watched::Request(view::request(&self.services, instance, record, *secrets))
            }
            Visibility::Status => Watched::Progress(view::progress(&self.services, &record)),
        }
    }
}

/// Responds as soon as the caller's view has changed, at once if nothing more will change, and at the latest after
/// `wait`.
async fn long_poll(viewer: &Viewer, mut watched: service::VerificationWatch, wait: Duration) -> HttpResponse {
    let deadline = tokio::time::Instant::now() + wait;
    let first = viewer.view(watched.record().clone());
    let mut now = first.clone();
    while now == first && !watched.has_ended() {
        // If the record is gone or the process stops, respond with the last known state, as on a timeout.
        let Ok(Ok(())) = tokio::time::timeout_at(deadline, watched.changed()).await else { break };
        now = viewer.view(watched.record().clone());
    }
    view::success("OTP request", &now)
}

/// Sends one event for each change that the caller may see, until nothing more will change.
async fn stream(
    state: &PublicState,
    viewer: Viewer,
    watched: service::VerificationWatch,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    // An `EventSource` reconnects whenever a stream ends; 204 makes it stop.
    if watched.has_ended() && request.headers().contains_key("last-event-id") {
        return Ok(HttpResponse::new(StatusCode::NO_CONTENT));
    }
    let mut response = HttpResponse::Ok();
    sse::set_headers(&mut response);
    let events = Sse(StatusEvents { viewer, watched, last_digest: None, count: 0 });
    event_stream::respond(request, &state.streams, response, events).await
}

/// A stream in progress.
struct StatusEvents {
    viewer: Viewer,
    watched: service::VerificationWatch,
    /// Digest of the last event, instead of its data: thousands of streams may be open.
    last_digest: Option<[u8; 32]>,
    count: u32,
}

impl WatchSource for StatusEvents {
    type Kind = AnyKind;

    fn watched(&mut self) -> &mut service::VerificationWatch {
        &mut self.watched
    }

    fn next_event(&mut self) -> Option<Event> {
        let data = view::to_json(&self.viewer.view(self.watched.record().clone()));
        let digest = sha256(&data);
        if self.last_digest.replace(digest) == Some(digest) {
            return None;
        }
        self.count += 1;
        Some(Event { id: Some(self.count), name: "status", data, is_first: self.count == 1 })
    }

    fn has_ended(&self) -> bool {
        self.watched.has_ended()
    }
}
