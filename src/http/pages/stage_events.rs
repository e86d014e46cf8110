//! `GET /l/{handle}/events`: the stage of a login as server-sent events, for the start page.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Bytes, Data, Path},
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{layout::set_security_headers, visitor::Visitor};
use crate::{
    domain::token::Token,
    http::{
        PublicState,
        event_stream::{self, EventSource},
        problem::Problem,
    },
    service::{Service, Stage, Watched},
};

/// Interval of comments on an idle stream; proxies close connections that are silent for longer.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// After this the stream ends, and the browser reconnects by itself.
const MAX_STREAM_DURATION: Duration = Duration::from_mins(5);

struct StageEvents {
    service: std::sync::Arc<Service>,
    watched: Watched,
    cookies: Vec<String>,
    last: Option<Stage>,
    deadline: Instant,
}

/// A stream of stages; with `?now`, only the current one, as JSON.
pub(crate) async fn events(
    app: Data<PublicState>,
    handle: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let visitor = Visitor::new(&app, &request);
    let handle: Token = handle.parse().map_err(|_| Problem::not_found())?;
    let start = app.service.start(&handle, &visitor.cookies).await?;
    let mut response = HttpResponse::Ok();
    set_security_headers(&mut response, &[], None, None);
    if request.query_string().starts_with("now") {
        let body = json!({ "state": start.stage.as_str() }).to_string();
        return Ok(response.content_type("application/json").body(body));
    }
    let watched = app.service.watch(start.record.id).await?;
    let stream = StageEvents {
        service: std::sync::Arc::clone(&app.service),
        watched,
        cookies: visitor.cookies,
        last: None,
        deadline: Instant::now() + MAX_STREAM_DURATION,
    };
    response.content_type("text/event-stream").insert_header(("x-accel-buffering", "no"));
    event_stream::respond(&request, &app.streams, response, stream).await
}

impl EventSource for StageEvents {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.last.is_some_and(Stage::is_last) || Instant::now() >= self.deadline {
                return None;
            }
            let stage = self.service.stage(self.watched.record(), &self.cookies);
            let word = Some(stage.as_str());
            if word != self.last.map(Stage::as_str) {
                self.last = Some(stage);
                let data = json!({ "state": stage.as_str() });
                return Some(Bytes::from(format!("retry: 2000\nevent: state\ndata: {data}\n\n")));
            }
            match timeout(HEARTBEAT_INTERVAL, self.watched.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(Bytes::from_static(b": still here\n\n")),
            }
        }
    }
}
