//! `GET /l/{handle}/events`: the stage of a login as server-sent events, for the start page.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde_json::json;
use tokio::time::Instant;

use super::{layout::set_security_headers, visitor::Visitor};
use crate::{
    domain::{link::Link, token::Token},
    http::{
        PublicState,
        context::Cx,
        event_stream,
        problem::Problem,
        sse::{self, Event, Sse, WatchSource},
    },
    service::{Services, StartPageState, VerificationWatch},
};

/// After this the stream ends, and the browser reconnects by itself.
const MAX_STREAM_DURATION: Duration = Duration::from_mins(5);

struct StageEvents {
    services: std::sync::Arc<Services>,
    watched: VerificationWatch<Link>,
    cookies: Vec<String>,
    last: Option<StartPageState>,
    deadline: Instant,
}

/// A stream of stages; with `?now`, only the current one, as JSON.
pub(crate) async fn events(
    state: Data<PublicState>,
    cx: Cx,
    handle: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let visitor = Visitor::new(&state, &request);
    let handle: Token = handle.parse().map_err(|_| Problem::not_found())?;
    let start = state.services.completion.open_start_page(&cx, &handle, &visitor.cookies).await?;
    let mut response = HttpResponse::Ok();
    set_security_headers(&mut response, &[], None, None);
    if request.query_string().starts_with("now") {
        let body = json!({ "state": start.state.as_str() }).to_string();
        return Ok(response.content_type("application/json").body(body));
    }
    let watched = state.services.shared.verifications.watch(&cx, start.record.id).await?;
    let stream = StageEvents {
        services: std::sync::Arc::clone(&state.services),
        watched,
        cookies: visitor.cookies,
        last: None,
        deadline: Instant::now() + MAX_STREAM_DURATION,
    };
    sse::set_headers(&mut response);
    event_stream::respond(&request, &state.streams, response, Sse(stream)).await
}

impl WatchSource for StageEvents {
    type Kind = Link;

    fn watched(&mut self) -> &mut VerificationWatch<Link> {
        &mut self.watched
    }

    fn next_event(&mut self) -> Option<Event> {
        let now = self.services.env.store.now();
        let stage = self.services.completion.start_page_state(self.watched.record(), &self.cookies, now);
        let before = self.last.replace(stage).map(StartPageState::as_str);
        if before == Some(stage.as_str()) {
            return None;
        }
        let data = json!({ "state": stage.as_str() }).to_string().into_bytes();
        Some(Event { id: None, name: "state", data, is_first: before.is_none() })
    }

    fn has_ended(&self) -> bool {
        self.last.is_some_and(StartPageState::is_last) || Instant::now() >= self.deadline
    }
}
