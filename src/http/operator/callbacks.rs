//! `/requests/callbacks`: the callbacks of one instance that are dead, waiting or delivered, and their replay.

use std::sync::Arc;

use actix_web::{
    HttpRequest,
    http::StatusCode,
    web::{Data, Payload, Query, ReqData},
};
use askama::Template;
use serde::Deserialize;
use url::form_urlencoded;

use super::{
    OperatorState,
    layout::{self, DisplayTime, Frame, MenuEntry, OperatorResult, grouped},
    list::{SelectOption, all_instances, instance_options, selected_instance},
    session::Session,
};
use crate::{
    api::callback::{CallbackEntry, CallbackStatus},
    http::{context::Cx, pages::see_other, problem::Problem},
    service::{Actor, Instance, ServiceError, callback_log::CallbackCursor},
};

const PAGE_SIZE: usize = 25;
/// Pages without a callback that are passed over: they held dead replies.
const MAX_EMPTY_PAGES: usize = 10;
/// Callbacks that one press of the button replays; each costs a request to the store.
const MAX_REPLAYED: usize = 1000;

/// The query string, unparsed; empty fields are not set.
#[derive(Default, Deserialize)]
#[serde(default)]
struct CallbackQuery {
    instance: String,
    status: String,
    cursor: String,
    /// Callbacks that the form just replayed.
    replayed: String,
}

struct ListedCallback {
    entry: CallbackEntry,
    created: DisplayTime,
    /// The next attempt, or the end.
    at: DisplayTime,
    /// The page of its request; empty for a test callback.
    path: String,
}

#[derive(Template)]
#[template(path = "operator/callbacks.html")]
struct CallbacksPage {
    frame: Frame,
    instances: Vec<SelectOption>,
    instance: String,
    status: CallbackStatus,
    statuses: Vec<SelectOption>,
    rows: Vec<ListedCallback>,
    notice: String,
    max_replayed: String,
    older_url: String,
    newest_url: String,
}

/// `GET /requests/callbacks`
pub(super) async fn list(
    state: Data<OperatorState>,
    cx: Cx,
    session: ReqData<Session>,
    request: HttpRequest,
) -> OperatorResult {
    let query = Query::<CallbackQuery>::from_query(request.query_string());
    let query = query.map_err(|_| Problem::not_found())?.into_inner();
    let instances = all_instances(&state);
    let instance = selected_instance(&instances, &query.instance).ok_or(ServiceError::NotFound)?;
    let status =
        if query.status.is_empty() { Some(CallbackStatus::Dead) } else { CallbackStatus::parse(&query.status) };
    let status = status.ok_or(ServiceError::NotFound)?;
    let cursor = match query.cursor.as_str() {
        "" => None,
        text => Some(CallbackCursor::parse(text).ok_or(ServiceError::NotFound)?),
    };
    let read = async |after: Option<&CallbackCursor>| {
        state.services.callbacks.list(&cx, &instance, Some(status), after, PAGE_SIZE).await
    };
    let (mut callbacks, mut next) = read(cursor.as_ref()).await?;
    for _ in 0..MAX_EMPTY_PAGES {
        if !callbacks.is_empty() || next.is_none() {
            break;
        }
        (callbacks, next) = read(next.as_ref()).await?;
    }
    let all = [CallbackStatus::Dead, CallbackStatus::Pending, CallbackStatus::Delivered];
    let option = |one: CallbackStatus| {
        let text = if one == CallbackStatus::Pending { "waiting" } else { one.as_str() };
        SelectOption { value: one.as_str().to_owned(), text: text.to_owned(), selected: one == status }
    };
    let page = CallbacksPage {
        frame: Frame::new(&session, &state.services.env.keys, MenuEntry::Callbacks),
        instances: instance_options(&instances, Some(&instance)),
        instance: instance.config.id.to_string(),
        status,
        statuses: all.map(option).into(),
        rows: callbacks.into_iter().map(|entry| row(&instance, entry)).collect(),
        notice: notice(&query.replayed),
        max_replayed: grouped(MAX_REPLAYED as u64),
        older_url: next.map(|next| page_url(&instance, status, &[("cursor", &next.to_string())])).unwrap_or_default(),
        newest_url: if query.cursor.is_empty() { String::new() } else { page_url(&instance, status, &[]) },
    };
    Ok(layout::render(StatusCode::OK, &page))
}

fn row(instance: &Arc<Instance>, entry: CallbackEntry) -> ListedCallback {
    let at = entry.next_attempt_at.or(entry.ended_at).unwrap_or(entry.created_at);
    let path = entry.uuid.as_ref().map(|uuid| format!("/requests/{}/{uuid}", instance.config.id));
    ListedCallback { created: entry.created_at.0.into(), at: at.0.into(), path: path.unwrap_or_default(), entry }
}

/// A number of replayed callbacks, with a plus if more are left.
fn notice(replayed: &str) -> String {
    let (count, more) = replayed.strip_suffix('+').map_or((replayed, false), |count| (count, true));
    match count.parse::<usize>() {
        Ok(0) => "No callbacks were dead any more.".to_owned(),
        Ok(1) => "1 callback was queued again.".to_owned(),
        Ok(count) if more => format!("{count} callbacks were queued again. More are left: press the button again."),
        Ok(count) => format!("{count} callbacks were queued again."),
        Err(_) => String::new(),
    }
}

fn page_url(instance: &Instance, status: CallbackStatus, more: &[(&str, &str)]) -> String {
    let id = instance.config.id.to_string();
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs([("instance", id.as_str()), ("status", status.as_str())]).extend_pairs(more);
    format!("{}?{}", MenuEntry::Callbacks.path(), query.finish())
}

/// `POST /requests/callbacks`, with the instance in the form, and the callback's id or `all`.
pub(super) async fn replay(
    state: Data<OperatorState>,
    cx: Cx,
    session: ReqData<Session>,
    request: HttpRequest,
    payload: Payload,
) -> OperatorResult {
    let fields = session.csrf_checked_form(&state.services.env.keys, &request, payload).await?;
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let instance = field("instance").parse().ok().and_then(|id| state.services.env.instances.get(id));
    let instance = instance.ok_or(ServiceError::NotFound)?;
    let status = CallbackStatus::parse(field("status")).unwrap_or(CallbackStatus::Dead);
    let replayed = if field("all").is_empty() {
        state.services.callbacks.replay(&cx, &instance, field("callback")).await?;
        "1".to_owned()
    } else {
        cx.set_actor(Actor::Operator { name: session.name().to_owned() }, Some(instance.config.id));
        let (count, complete) = state.services.callbacks.replay_dead(&cx, &instance, MAX_REPLAYED).await?;
        format!("{count}{}", if complete { "" } else { "+" })
    };
    tracing::info!(operator = session.name(), instance = %instance.config.id, replayed, "an operator replayed callbacks");
    Ok(see_other(&page_url(&instance, status, &[("replayed", &replayed)])))
}
