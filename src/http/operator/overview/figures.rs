//! The figures of one instance: how far its links and codes get, and why they end.

use crate::{
    domain::Channel,
    http::operator::layout::grouped,
    service::funnel::{Funnel, FunnelCounter, Totals, VERIFIED_WITHIN},
};

/// A line of a table with one figure for the day and one for the week.
pub(super) struct FigureRow {
    pub(super) label: String,
    pub(super) day: String,
    pub(super) week: String,
    /// Percentages of the first row, for its bars.
    pub(super) day_share: u64,
    pub(super) week_share: u64,
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

pub(super) fn steps(funnel: &Funnel) -> Vec<FigureRow> {
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
pub(super) fn reasons(funnel: &Funnel) -> Vec<FigureRow> {
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
pub(super) fn times(funnel: &Funnel) -> Vec<FigureRow> {
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
pub(super) fn codes(funnel: &Funnel) -> Vec<FigureRow> {
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
