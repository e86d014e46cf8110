//! `/requests/overview`: the funnel of each instance, what needs attention, and what is weak.

mod alarms;
mod figures;

use std::sync::Arc;

use actix_web::{
    HttpRequest,
    http::StatusCode,
    web::{Data, Query, ReqData},
};
use askama::Template;
use futures_util::future::try_join_all;
use serde::Deserialize;

use self::{
    alarms::{Alarm, alarms, store_used},
    figures::{FigureRow, codes, reasons, steps, times},
};
use super::{
    OperatorState,
    layout::{self, DisplayTime, Frame, MenuEntry, OperatorResult, Tone, grouped, short_duration},
    list::{all_instances, has_same_name},
    session::Session,
};
use crate::{
    http::{context::Cx, problem::Problem},
    ops::{
        posture::Weakness,
        status::{GatewayStatus, Status},
    },
    service::{Instance, RequestContext, funnel::FLUSH_INTERVAL},
};

/// Instances on a page; each costs a few reads.
const PAGE_SIZE: usize = 8;
/// Dead callbacks are counted up to this number.
const COUNTED_CALLBACKS: usize = 50;
/// Seconds overdue after which a queue needs attention.
const MAX_LATENESS: f64 = 60.0;
/// Of the small charts, in units of their `viewBox`.
const CHART_HEIGHT: u64 = 44;

#[derive(Default, Deserialize)]
#[serde(default)]
struct OverviewQuery {
    /// Counted from 0.
    page: usize,
}

/// A column of a chart.
struct Column {
    x: usize,
    /// Heights from the bottom: of all, and of those that succeeded.
    all: u64,
    good: u64,
}

struct InstanceCard {
    name: String,
    id: String,
    gateway: GatewayStatus,
    state: &'static str,
    tone: Tone,
    /// How long ago the last webhook arrived; empty if there was none.
    last_webhook: String,
    funnel: Vec<FigureRow>,
    reasons: Vec<FigureRow>,
    times: Vec<FigureRow>,
    codes: Vec<FigureRow>,
    hours: Vec<Column>,
    hours_summary: String,
    /// The number of dead callbacks in words; empty if there are none.
    dead: String,
}

/// A queue of jobs.
struct QueueRow {
    kind: String,
    depth: String,
    oldest: String,
    late: String,
    is_late: bool,
    held: u64,
}

struct ReplicaRow {
    name: String,
    version: String,
    state: &'static str,
    tone: Tone,
    seen: String,
}

#[derive(Template)]
#[template(path = "operator/overview.html")]
struct OverviewPage {
    frame: Frame,
    now: DisplayTime,
    flush_seconds: u64,
    alarms: Vec<Alarm>,
    cards: Vec<InstanceCard>,
    chart_height: u64,
    store: String,
    store_used: String,
    queues: Vec<QueueRow>,
    replicas: Vec<ReplicaRow>,
    weak: Vec<Weakness>,
    /// Of the pages with fewer and with more instances; empty if there is none.
    before_url: String,
    after_url: String,
}

/// `GET /requests/overview`
pub(super) async fn overview(
    state: Data<OperatorState>,
    cx: Cx,
    session: ReqData<Session>,
    request: HttpRequest,
) -> OperatorResult {
    let query = Query::<OverviewQuery>::from_query(request.query_string());
    let page = query.map_err(|_| Problem::not_found())?.page;
    let instances = all_instances(&state);
    let shown = instances.iter().skip(page.saturating_mul(PAGE_SIZE)).take(PAGE_SIZE);
    let status = state.ops.status(state.readiness.is_ready());
    let cards =
        try_join_all(shown.map(async |instance| card(&state, &cx, &instances, instance, &status).await)).await?;
    if cards.is_empty() && page > 0 {
        return Err(Problem::not_found().into());
    }
    let page_url = |page: usize| format!("{}?page={page}", MenuEntry::Overview.path());
    let has_more = instances.len() > (page + 1) * PAGE_SIZE;
    let services = &state.services;
    let page = OverviewPage {
        frame: Frame::new(&session, &services.env.keys, MenuEntry::Overview),
        now: services.env.store.now().into(),
        flush_seconds: FLUSH_INTERVAL.as_secs(),
        alarms: alarms(&state, &status, &cards),
        cards,
        chart_height: CHART_HEIGHT,
        store: status.store.description.clone(),
        store_used: store_used(&status),
        queues: queues(&status),
        replicas: replicas(&status),
        weak: state.ops.posture(state.deployment, &state.access.load()),
        before_url: page.checked_sub(1).map(page_url).unwrap_or_default(),
        after_url: if has_more { page_url(page + 1) } else { String::new() },
    };
    Ok(layout::render(StatusCode::OK, &page))
}

async fn card(
    state: &OperatorState,
    cx: &RequestContext,
    instances: &[Arc<Instance>],
    instance: &Arc<Instance>,
    status: &Status,
) -> Result<InstanceCard, Problem> {
    let (services, id) = (&state.services, instance.config.id);
    let funnel = services.shared.funnel.read(cx, id).await?;
    let dead = match services.callbacks.count_dead(cx, instance, COUNTED_CALLBACKS).await? {
        (0, _) => String::new(),
        (1, true) => "1 dead callback".to_owned(),
        (count, true) => format!("{count} dead callbacks"),
        (count, false) => format!("{count}+ dead callbacks"),
    };
    let gateway = status.gateways.iter().find(|gateway| gateway.instance == id);
    // A reload may have replaced the instances meanwhile.
    let gateway = gateway.cloned().ok_or_else(Problem::not_found)?;
    let (state, tone) = match (gateway.state.as_str(), gateway.rejects_credentials) {
        ("disabled", _) => ("disabled", Tone::Plain),
        (_, true) => ("refuses our credentials", Tone::Bad),
        (_, false) => ("enabled", Tone::Good),
    };
    let name = &instance.config.name;
    let peak = funnel.hours.iter().map(|(minted, _)| *minted).max().unwrap_or(0);
    let scaled = |count: u64| (count * CHART_HEIGHT).div_ceil(peak.max(1)).min(CHART_HEIGHT);
    let hours = funnel.hours.iter().enumerate();
    Ok(InstanceCard {
        name: if has_same_name(instances, instance) { format!("{name} ({id})") } else { name.clone() },
        id: id.to_string(),
        last_webhook: gateway.last_inbound_age_seconds.map(short_duration).unwrap_or_default(),
        gateway,
        state,
        tone,
        hours: hours
            .map(|(x, (minted, verified))| Column { x: x * 10, all: scaled(*minted), good: scaled(*verified) })
            .collect(),
        hours_summary: format!("Links per hour in the last 24 hours, at most {} an hour", grouped(peak)),
        times: times(&funnel),
        codes: codes(&funnel),
        reasons: reasons(&funnel),
        funnel: steps(&funnel),
        dead,
    })
}

fn queues(status: &Status) -> Vec<QueueRow> {
    let queue = |queue: &crate::ops::status::QueueStatus| QueueRow {
        kind: queue.kind.clone(),
        depth: grouped(queue.depth),
        oldest: queue.oldest_seconds.map(short_duration).unwrap_or_default(),
        late: queue.lateness_seconds.map(short_duration).unwrap_or_default(),
        is_late: queue.lateness_seconds.is_some_and(|late| late > MAX_LATENESS),
        held: queue.held,
    };
    status.queues.iter().map(queue).collect()
}

fn replicas(status: &Status) -> Vec<ReplicaRow> {
    let replica = |replica: &crate::ops::status::ReplicaStatus| {
        let (state, tone) = match (replica.alive, replica.ready, replica.config_current) {
            (false, _, _) => ("stopped", Tone::Plain),
            (true, false, _) => ("not ready", Tone::Bad),
            (true, true, false) => ("ready, with an older configuration", Tone::Wait),
            (true, true, true) => ("ready", Tone::Good),
        };
        let seen = short_duration(replica.seen_seconds_ago);
        ReplicaRow { name: replica.name.clone(), version: replica.version.clone(), state, tone, seen }
    };
    status.replicas.iter().map(replica).collect()
}
