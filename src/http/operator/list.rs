//! `/requests`: the requests of one instance, newest first. `/requests/explain`: what happened to a message.

use std::sync::Arc;

use actix_web::{
    HttpRequest,
    http::StatusCode,
    web::{Data, Query, ReqData},
};
use askama::Template;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Deserialize;
use url::form_urlencoded;

use super::{
    OperatorState,
    layout::{self, DisplayTime, Frame, MenuEntry, OperatorResult, RequestRow, grouped},
    session::Session,
};
use crate::{
    api::explanation::ExplainedMessage,
    domain::{InstanceId, Status},
    http::{api, context::Cx, problem::Problem},
    service::{Filter, Instance, MAX_RECORDS_READ, ServiceError, decode_cursor, explain::Question},
};

/// Rows of a page.
const PAGE_SIZE: usize = 25;
/// Bytes of a question: more than any gateway's message id.
const MAX_QUESTION_LEN: usize = 512;

/// The query string, unparsed; empty fields are not set.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    instance: String,
    status: String,
    phone_last: String,
    client_ref: String,
    since: String,
    cursor: String,
    q: String,
}

/// An option of a `<select>`.
pub(super) struct SelectOption {
    pub(super) value: String,
    pub(super) text: String,
    pub(super) selected: bool,
}

#[derive(Template)]
#[template(path = "operator/list.html")]
struct ListPage {
    frame: Frame,
    query: ListQuery,
    instances: Vec<SelectOption>,
    statuses: Vec<SelectOption>,
    faults: Vec<&'static str>,
    is_filtered: bool,
    rows: Vec<RequestRow>,
    /// The search ended here because it had read as many requests as one page may; older ones may match.
    searched_to: Option<DisplayTime>,
    max_searched: String,
    /// URL of the next page, with older requests; empty on the last one.
    older_url: String,
    /// URL of the first page; empty on the first one.
    newest_url: String,
}

#[derive(Template)]
#[template(path = "operator/explain.html")]
struct ExplainPage {
    frame: Frame,
    query: ListQuery,
    name: String,
    sentence: String,
    messages: Vec<(DisplayTime, ExplainedMessage)>,
    rows: Vec<RequestRow>,
}

/// `GET /requests`
pub(super) async fn list(
    state: Data<OperatorState>,
    cx: Cx,
    session: ReqData<Session>,
    request: HttpRequest,
) -> OperatorResult {
    let services = &state.services;
    let mut faults = Vec::new();
    let query = parse_query(&request).unwrap_or_else(|fault| {
        faults.push(fault);
        ListQuery::default()
    });
    let instances = all_instances(&state);
    let instance = selected_instance(&instances, &query.instance);
    if instance.is_none() {
        faults.push("No such instance.");
    }
    let filter = query.filter(&mut faults);
    let cursor = (!query.cursor.is_empty()).then(|| decode_cursor(&query.cursor));
    if matches!(cursor, Some(None)) {
        faults.push("The cursor in the URL is invalid.");
    }
    let (mut rows, mut searched_to, mut older_url) = (Vec::new(), None, String::new());
    if let (Some(instance), true) = (&instance, faults.is_empty()) {
        let found = services.shared.verifications.list(&cx, instance, &filter, cursor.flatten(), PAGE_SIZE).await?;
        rows = found.records.iter().map(|record| RequestRow::for_record(record, services.env.store.now())).collect();
        if rows.len() < PAGE_SIZE {
            let end = found.next_cursor.as_deref().and_then(decode_cursor);
            searched_to = end.map(|position| position.created_at.into());
        }
        older_url = found.next_cursor.map(|cursor| query.list_url(instance, Some(&cursor))).unwrap_or_default();
    }
    let newest_url = match &instance {
        Some(instance) if !query.cursor.is_empty() => query.list_url(instance, None),
        _ => String::new(),
    };
    let status = if faults.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let page = ListPage {
        frame: Frame::new(&session, &services.env.keys, MenuEntry::Requests),
        instances: instance_options(&instances, instance.as_ref()),
        statuses: status_options(&query.status),
        is_filtered: query.has_filters(),
        query,
        faults,
        rows,
        searched_to,
        max_searched: grouped(MAX_RECORDS_READ as u64),
        older_url,
        newest_url,
    };
    Ok(layout::render(status, &page))
}

/// `GET /requests/explain?instance=…&q=…`
pub(super) async fn explain(
    state: Data<OperatorState>,
    cx: Cx,
    session: ReqData<Session>,
    request: HttpRequest,
) -> OperatorResult {
    let services = &state.services;
    let query = parse_query(&request).map_err(|_| Problem::not_found())?;
    let instance = selected_instance(&all_instances(&state), &query.instance).ok_or(ServiceError::NotFound)?;
    let frame = Frame::new(&session, &services.env.keys, MenuEntry::Requests);
    let name = instance.config.name.clone();
    let question = query.q.trim();
    if question.is_empty() || question.len() > MAX_QUESTION_LEN {
        let sentence = "Enter a message ID, the last digits of a number, or the UUID of a request.".to_owned();
        let page = ExplainPage { frame, query, name, sentence, messages: Vec::new(), rows: Vec::new() };
        return Ok(layout::render(StatusCode::UNPROCESSABLE_ENTITY, &page));
    }
    let found = services.support.explain(&cx, &instance, &Question::parse(question)).await?;
    let rows =
        found.requests.iter().map(|(record, _)| RequestRow::for_record(record, services.env.store.now())).collect();
    let messages = found.messages.into_iter().map(|message| (DisplayTime::from(message.at.0), message)).collect();
    let page = ExplainPage { frame, query, name, sentence: found.sentence, messages, rows };
    Ok(layout::render(StatusCode::OK, &page))
}

fn parse_query(request: &HttpRequest) -> Result<ListQuery, &'static str> {
    let query = Query::<ListQuery>::from_query(request.query_string());
    query.map(Query::into_inner).map_err(|_| "The URL is invalid: it has a filter twice.")
}

impl ListQuery {
    fn filter(&self, faults: &mut Vec<&'static str>) -> Filter {
        let given = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        let phone_last = given(&self.phone_last);
        if phone_last.as_deref().is_some_and(|digits| !api::is_phone_suffix(digits)) {
            faults.push("Last digits: enter 4 to 8 digits.");
        }
        let status = given(&self.status).map(|text| Status::parse(&text));
        if status == Some(None) {
            faults.push("No such status.");
        }
        let created_after = given(&self.since).map(|text| parse_time(&text));
        if created_after == Some(None) {
            faults.push("Created since: enter a time such as 2026-11-20T10:00.");
        }
        let (client_ref, created_after) = (given(&self.client_ref), created_after.flatten());
        Filter { status: status.flatten(), client_ref, phone_last, created_after, ..Filter::default() }
    }

    fn has_filters(&self) -> bool {
        [&self.status, &self.phone_last, &self.client_ref, &self.since].iter().any(|text| !text.is_empty())
    }

    /// URL of the list with the same filters, at `cursor`.
    fn list_url(&self, instance: &Instance, cursor: Option<&str>) -> String {
        let id = instance.config.id.to_string();
        let fields = [
            ("instance", id.as_str()),
            ("status", &self.status),
            ("phone_last", &self.phone_last),
            ("client_ref", &self.client_ref),
            ("since", &self.since),
            ("cursor", cursor.unwrap_or_default()),
        ];
        let given = fields.into_iter().filter(|(_, value)| !value.is_empty());
        format!("/requests?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish())
    }
}

/// Parses a time as the API writes it, or as a form field writes it, in UTC.
fn parse_time(text: &str) -> Option<Timestamp> {
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse().ok().or_else(civil)
}

/// The instances of all tenants, by name; operators see all of them.
pub(super) fn all_instances(state: &OperatorState) -> Vec<Arc<Instance>> {
    let mut instances = state.services.env.instances.all();
    instances.sort_by(|a, b| (&a.config.name, a.config.id).cmp(&(&b.config.name, b.config.id)));
    instances
}

/// The instance of this id, or the first one if it is empty.
pub(super) fn selected_instance(instances: &[Arc<Instance>], wanted: &str) -> Option<Arc<Instance>> {
    let wanted = |instance: &&Arc<Instance>| {
        wanted.is_empty() || wanted.parse().is_ok_and(|id: InstanceId| id == instance.config.id)
    };
    instances.iter().find(wanted).cloned()
}

/// Whether another instance has the name of this one.
pub(super) fn has_same_name(instances: &[Arc<Instance>], instance: &Instance) -> bool {
    instances.iter().filter(|other| other.config.name == instance.config.name).count() > 1
}

pub(super) fn instance_options(instances: &[Arc<Instance>], selected: Option<&Arc<Instance>>) -> Vec<SelectOption> {
    let choice = |instance: &Arc<Instance>| {
        let id = instance.config.id;
        let text = if has_same_name(instances, instance) {
            format!("{} ({id})", instance.config.name)
        } else {
            instance.config.name.clone()
        };
        SelectOption { value: id.to_string(), text, selected: selected.is_some_and(|chosen| chosen.config.id == id) }
    };
    instances.iter().map(choice).collect()
}

fn status_options(chosen: &str) -> Vec<SelectOption> {
    let words = Status::ALL.iter().map(|status| status.as_str());
    words.map(|word| SelectOption { value: word.to_owned(), text: word.to_owned(), selected: word == chosen }).collect()
}
