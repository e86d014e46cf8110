//! `/requests/overview`: the funnel of each instance, what needs attention, and what is weak.

use std::sync::Arc;

use actix_web::{
    HttpRequest,
    http::StatusCode,
    web::{Data, Query, ReqData},
};
use askama::Template;
use futures_util::future::try_join_all;
use serde::Deserialize;

use super::{
    OperatorState,
    layout::{self, DisplayTime, Frame, MenuEntry, OperatorResult, Tone, grouped, short_duration},
    list::{all_instances, has_same_name},
    session::Session,
};
use crate::{
    domain::Channel,
    http::{context::Cx, problem::Problem},
    ops::{
        posture::Weakness,
        status::{GatewayStatus, Status},
    },
    service::{
        Instance, RequestContext,
        funnel::{FLUSH_INTERVAL, Funnel, FunnelCounter, Totals, VERIFIED_WITHIN},
    },
};

/// Instances on a page; each costs a few reads.
const PAGE_SIZE: usize = 8;
/// Dead callbacks are counted up to this number.
const COUNTED_CALLBACKS: usize = 50;
/// Seconds overdue after which a queue needs attention.
const MAX_LATENESS: f64 = 60.0;
/// Share of the store's capacity above which it needs attention.
const MAX_USED_SHARE: f64 = 0.85;
/// Of the small charts, in units of their `viewBox`.
const CHART_HEIGHT: u64 = 44;

#[derive(Default, Deserialize)]
#[serde(default)]
struct OverviewQuery {
    /// Counted from 0.
    page: usize,
}

/// A line of a table with one figure for the day and one for the week.
struct FigureRow {
    label: String,
    day: String,
    week: String,
    /// Percentages of the first row, for its bars.
    day_share: u64,
    week_share: u64,
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

/// Something that needs attention, and where to look.
struct Alarm {
    text: String,
    href: String,
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

/// A row with both figures, and their shares of `whole`.
fn row(label: &str, [day, week]: [u64; 2], [whole_day, whole_week]: [u64; 2]) -> FigureRow {
    let share = |count: u64, whole: u64| (count.saturating_mul(100)).checked_div(whole).unwrap_or(0).min(100);
    let (day_share, week_share) = (share(day, whole_day), share(week, whole_week));
    FigureRow { label: label.to_owned(), day: grouped(day), week: grouped(week), day_share, week_share }
}

fn both(funnel: &Funnel, count: impl Fn(&Totals) -> u64) -> [u64; 2] {
    [count(&funnel.day), count(&funnel.week)]
}

fn steps(funnel: &Funnel) -> Vec<FigureRow> {
    let whole = both(funnel, |totals| totals.get(FunnelCounter::LinkMinted));
    let steps = [
        ("Minted", FunnelCounter::LinkMinted),
        ("Clicked", FunnelCounter::LinkClicked),
        ("Sent", FunnelCounter::LinkSent),
        ("Verified", FunnelCounter::LinkVerified),
        ("Redeemed", FunnelCounter::LinkRedeemed),
    ];
    steps.map(|(label, counter)| row(label, both(funnel, |totals| totals.get(counter)), whole)).into()
}

/// Ends without success of links and codes, the most frequent of the week first.
fn reasons(funnel: &Funnel) -> Vec<FigureRow> {
    let mut ends: Vec<(FunnelCounter, u64)> = funnel
        .week
        .iter()
        .filter(|(counter, _)| matches!(counter, FunnelCounter::LinkEnded(_) | FunnelCounter::CodeEnded(_)))
        .collect();
    ends.sort_by_key(|(counter, count)| (std::cmp::Reverse(*count), counter.to_string()));
    let whole = both(funnel, |totals| {
        let ends =
            totals.iter().filter(|(one, _)| matches!(one, FunnelCounter::LinkEnded(_) | FunnelCounter::CodeEnded(_)));
        ends.map(|(_, count)| count).sum()
    });
    let label = |counter: FunnelCounter| match counter {
        FunnelCounter::LinkEnded(end) => format!("Link: {}", end.as_str().replace('_', " ")),
        FunnelCounter::CodeEnded(end) => format!("Code: {}", end.as_str().replace('_', " ")),
        other => other.to_string(),
    };
    ends.into_iter().map(|(one, _)| row(&label(one), both(funnel, |totals| totals.get(one)), whole)).collect()
}

/// Verified links by the time that they took.
fn times(funnel: &Funnel) -> Vec<FigureRow> {
    let whole = both(funnel, |totals| totals.get(FunnelCounter::LinkVerified));
    if whole == [0, 0] {
        return Vec::new();
    }
    let last = VERIFIED_WITHIN.last().copied().unwrap_or(0);
    let classes = VERIFIED_WITHIN.into_iter().map(|bound| (bound, format!("under {}", bound_text(bound))));
    let classes = classes.chain([(0, format!("{} or more", bound_text(last)))]);
    let rows = classes.map(|(bound, label)| {
        row(&label, both(funnel, |totals| totals.get(FunnelCounter::LinkVerifiedWithin(bound))), whole)
    });
    let mut rows: Vec<FigureRow> = rows.collect();
    // The slow classes are empty as a rule.
    while rows.last().is_some_and(|row| row.week == "0") {
        rows.pop();
    }
    rows
}

fn bound_text(seconds: u32) -> String {
    if seconds < 60 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}

/// Codes and their delivery; empty if there were none.
fn codes(funnel: &Funnel) -> Vec<FigureRow> {
    let whole = both(funnel, |totals| totals.get(FunnelCounter::CodeRequested));
    let mut rows = vec![row("Requested", whole, whole)];
    for &channel in Channel::ALL {
        let name = match channel {
            Channel::WhatsApp => "WhatsApp",
            Channel::Sms => "SMS",
        };
        for (what, counter) in [
            ("Sent by", FunnelCounter::CodeSent(channel)),
            ("Delivered by", FunnelCounter::CodeDelivered(channel)),
            ("Not delivered by", FunnelCounter::CodeNotDelivered(channel)),
        ] {
            let counts = both(funnel, |totals| totals.get(counter));
            if counts != [0, 0] {
                rows.push(row(&format!("{what} {name}"), counts, whole));
            }
        }
    }
    rows.push(row("Validated", both(funnel, |totals| totals.get(FunnelCounter::CodeValidated)), whole));
    if rows.iter().all(|row| row.week == "0") { Vec::new() } else { rows }
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

#[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
fn used_share(status: &Status) -> Option<f64> {
    (status.store.limit_bytes > 0).then(|| status.store.used_bytes as f64 / status.store.limit_bytes as f64)
}

fn store_used(status: &Status) -> String {
    used_share(status).map(|share| format!("{:.0}% of its capacity is used", share * 100.0)).unwrap_or_default()
}

fn alarms(state: &OperatorState, status: &Status, cards: &[InstanceCard]) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let mut add = |text: String, href: String| alarms.push(Alarm { text, href });
    if let Some(refusing) = &status.store.refusing {
        add(format!("The store refuses new requests: {}", refusing.reason), String::new());
    } else if !status.store.answers {
        add("The store does not respond.".to_owned(), String::new());
    }
    if used_share(status).is_some_and(|share| share > MAX_USED_SHARE) {
        add(format!("The store is nearly full: {}.", store_used(status)), String::new());
    }
    if !status.config.waiting.is_empty() {
        add(format!("Restart needed to apply: {}.", status.config.waiting.join(", ")), String::new());
    } else if !status.config.current {
        add("The changed configuration file was rejected; see the log for the reason.".to_owned(), String::new());
    }
    for gateway in status.gateways.iter().filter(|gateway| gateway.rejects_credentials) {
        let text = format!(
            "The gateway of {} refuses our credentials: it is logged out or banned, or the token is wrong.",
            gateway.name
        );
        add(text, format!("#i-{}", gateway.instance));
    }
    for queue in &status.queues {
        if queue.lateness_seconds.is_some_and(|late| late > MAX_LATENESS) {
            let late = short_duration(queue.lateness_seconds.unwrap_or(0.0));
            add(format!("{} jobs are {late} overdue.", queue.kind), "#queues".to_owned());
        }
        if queue.held > 0 {
            add(format!("{} ({}).", on_hold(queue.held), queue.kind), "#queues".to_owned());
        }
    }
    for card in cards.iter().filter(|card| !card.dead.is_empty()) {
        add(format!("{} has {}: the app was not notified.", card.name, card.dead), callbacks_url(&card.id));
    }
    if !state.readiness.is_ready() {
        add("This replica is not ready.".to_owned(), String::new());
    }
    alarms
}

fn on_hold(count: u64) -> String {
    if count == 1 {
        return "1 receiver or number is on hold: its last attempts failed".to_owned();
    }
    format!("{} receivers or numbers are on hold: their last attempts failed", grouped(count))
}

fn callbacks_url(instance: &str) -> String {
    format!("{}?instance={instance}", MenuEntry::Callbacks.path())
}
