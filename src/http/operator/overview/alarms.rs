//! What needs attention.

use super::{InstanceCard, MAX_LATENESS};
use crate::{
    http::operator::{
        OperatorState,
        layout::{MenuEntry, grouped, short_duration},
    },
    ops::status::Status,
};

/// Share of the store's capacity above which it needs attention.
const MAX_USED_SHARE: f64 = 0.85;

/// Something that needs attention, and where to look.
pub(super) struct Alarm {
    pub(super) text: String,
    pub(super) href: String,
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
fn used_share(status: &Status) -> Option<f64> {
    (status.store.limit_bytes > 0).then(|| status.store.used_bytes as f64 / status.store.limit_bytes as f64)
}

pub(super) fn store_used(status: &Status) -> String {
    used_share(status).map(|share| format!("{:.0}% of its capacity is used", share * 100.0)).unwrap_or_default()
}

pub(super) fn alarms(state: &OperatorState, status: &Status, cards: &[InstanceCard]) -> Vec<Alarm> {
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
