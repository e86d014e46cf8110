//! The funnel of an instance: how many requests got how far, by the hour.
//!
//! A process counts what it commits in memory and adds the counts to the store every [`FLUSH_INTERVAL`], so that no
//! request costs the store more. A crash, or an error of the store, loses what was counted since.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Environment, RequestContext, ServiceError};
use crate::{
    domain::{Channel, InstanceId, Kind, OtpType, Reason, Status, TimelineEvent, Verification},
    metrics::{
        Metrics,
        label::{ByFinalState, InstanceLabel},
    },
    store::{Hour, HourlyCounts, Store, StoreError},
};

/// How often the counts of a process are added to the store.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// Upper bounds, in seconds, of the classes of times to verification; longer times form a last class.
pub const VERIFIED_WITHIN: [u32; 8] = [5, 10, 20, 30, 60, 120, 300, 600];

/// Hours shown as a day, the current one included.
const DAY: i64 = 24;
const WEEK: i64 = 7 * DAY;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FunnelCounter {
    LinkMinted,
    /// The button of the start page was used, counted once for each link.
    LinkClicked,
    /// The code of a link arrived in a message, counted once for each link.
    LinkSent,
    LinkVerified,
    LinkRedeemed,
    /// The person said that the login was not theirs.
    LinkDisputed,
    /// A link was verified within so many seconds; 0 for longer than the last of [`VERIFIED_WITHIN`].
    LinkVerifiedWithin(u32),
    LinkEnded(End),
    CodeRequested,
    CodeSent(Channel),
    CodeDelivered(Channel),
    CodeNotDelivered(Channel),
    CodeValidated,
    CodeEnded(End),
}

/// How a request ended without success.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    Expired,
    Canceled,
    Failed(Reason),
}

impl End {
    /// As in the name of a counter, and on pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Canceled => "canceled",
            Self::Failed(reason) => reason.as_str(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "expired" => Some(Self::Expired),
            "canceled" => Some(Self::Canceled),
            reason => Reason::parse(reason).map(Self::Failed),
        }
    }
}

impl fmt::Display for FunnelCounter {
    /// The name in the store.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkMinted => f.write_str("minted"),
            Self::LinkClicked => f.write_str("clicked"),
            Self::LinkSent => f.write_str("sent"),
            Self::LinkVerified => f.write_str("verified"),
            Self::LinkRedeemed => f.write_str("redeemed"),
            Self::LinkDisputed => f.write_str("disputed"),
            Self::LinkVerifiedWithin(seconds) => write!(f, "within:{seconds}"),
            Self::LinkEnded(end) => write!(f, "link_ended:{}", end.as_str()),
            Self::CodeRequested => f.write_str("code_requested"),
            Self::CodeSent(channel) => write!(f, "code_sent:{channel}"),
            Self::CodeDelivered(channel) => write!(f, "code_delivered:{channel}"),
            Self::CodeNotDelivered(channel) => write!(f, "code_not_delivered:{channel}"),
            Self::CodeValidated => f.write_str("code_validated"),
            Self::CodeEnded(end) => write!(f, "code_ended:{}", end.as_str()),
        }
    }
}

impl FunnelCounter {
    /// `None` for a name that a later version has added.
    fn parse(name: &str) -> Option<Self> {
        let (name, detail) = name.split_once(':').unwrap_or((name, ""));
        Some(match name {
            "minted" => Self::LinkMinted,
            "clicked" => Self::LinkClicked,
            "sent" => Self::LinkSent,
            "verified" => Self::LinkVerified,
            "redeemed" => Self::LinkRedeemed,
            "disputed" => Self::LinkDisputed,
            "within" => Self::LinkVerifiedWithin(detail.parse().ok()?),
            "link_ended" => Self::LinkEnded(End::parse(detail)?),
            "code_requested" => Self::CodeRequested,
            "code_sent" => Self::CodeSent(Channel::parse(detail)?),
            "code_delivered" => Self::CodeDelivered(Channel::parse(detail)?),
            "code_not_delivered" => Self::CodeNotDelivered(Channel::parse(detail)?),
            "code_validated" => Self::CodeValidated,
            "code_ended" => Self::CodeEnded(End::parse(detail)?),
            _ => return None,
        })
    }
}

/// What this process has counted and not yet added to the store.
#[derive(Default)]
struct PendingCounts(Mutex<HashMap<(InstanceId, Hour), HashMap<FunnelCounter, u64>>>);

impl PendingCounts {
    fn lock(&self) -> MutexGuard<'_, HashMap<(InstanceId, Hour), HashMap<FunnelCounter, u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, instance: InstanceId, hour: Hour, counters: &[FunnelCounter]) {
        if counters.is_empty() {
            return;
        }
        let mut pending = self.lock();
        let counts = pending.entry((instance, hour)).or_default();
        for counter in counters {
            *counts.entry(*counter).or_default() += 1;
        }
    }

    fn take(&self) -> Vec<HourlyCounts> {
        let taken = mem::take(&mut *self.lock());
        let hourly = taken.into_iter().map(|((instance, hour), counts)| {
            let counts = counts.into_iter().map(|(counter, count)| (counter.to_string(), count)).collect();
            HourlyCounts { instance, hour, counts }
        });
        hourly.collect()
    }
}

/// Counters of an instance over some hours.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Totals(HashMap<FunnelCounter, u64>);

impl Totals {
    pub fn get(&self, counter: FunnelCounter) -> u64 {
        self.0.get(&counter).copied().unwrap_or(0)
    }

    /// All counters that are not zero.
    pub fn iter(&self) -> impl Iterator<Item = (FunnelCounter, u64)> {
        self.0.iter().map(|(counter, count)| (*counter, *count))
    }

    fn add(&mut self, counts: &BTreeMap<String, u64>) {
        for (name, count) in counts {
            if let Some(counter) = FunnelCounter::parse(name) {
                *self.0.entry(counter).or_default() += count;
            }
        }
    }
}

/// The funnel of an instance.
#[derive(Clone, Default, Debug)]
pub struct Funnel {
    /// The current hour and the 23 before it.
    pub day: Totals,
    /// The current hour and the 167 before it.
    pub week: Totals,
    /// Minted and verified links of each hour of the day, oldest first.
    pub hours: Vec<(u64, u64)>,
}

/// What changed between two versions of a record; `before` is `None` for a new one.
fn counters<K: Kind>(before: Option<&Verification<K>>, after: &Verification<K>) -> Vec<FunnelCounter> {
    let known = before.map_or(&[][..], |before| &before.timeline);
    // A repeated tap replaces the last entry, so that there may be fewer than before.
    let news = after.timeline.get(known.len()..).unwrap_or_default();
    let is_first = |wanted: fn(&TimelineEvent) -> bool| {
        news.iter().any(|entry| wanted(&entry.event)) && !known.iter().any(|entry| wanted(&entry.event))
    };
    let mut counters = Vec::new();
    match after.otp_type() {
        OtpType::Link => {
            let tapped = is_first(|event| matches!(event, TimelineEvent::Tapped(_)));
            counters.extend(tapped.then_some(FunnelCounter::LinkClicked));
            // Only a message fails a link.
            let sent = is_first(|event| {
                matches!(event, TimelineEvent::Message | TimelineEvent::Verified { .. } | TimelineEvent::Failed)
            });
            counters.extend(sent.then_some(FunnelCounter::LinkSent));
        }
        OtpType::Code => {}
    }
    counters.extend(news.iter().filter_map(|entry| match &entry.event {
        TimelineEvent::Created if after.otp_type() == OtpType::Link => Some(FunnelCounter::LinkMinted),
        TimelineEvent::Created => Some(FunnelCounter::CodeRequested),
        TimelineEvent::Redeemed => Some(FunnelCounter::LinkRedeemed),
        TimelineEvent::Disputed => Some(FunnelCounter::LinkDisputed),
        TimelineEvent::Sent(channel) => Some(FunnelCounter::CodeSent(*channel)),
        TimelineEvent::Delivered(channel) => Some(FunnelCounter::CodeDelivered(*channel)),
        TimelineEvent::NotDelivered(channel, _) => Some(FunnelCounter::CodeNotDelivered(*channel)),
        TimelineEvent::Tapped(_)
        | TimelineEvent::Message
        | TimelineEvent::Verified { .. }
        | TimelineEvent::Failed
        | TimelineEvent::Expired
        | TimelineEvent::Canceled
        | TimelineEvent::LinkTapped
        | TimelineEvent::Agreed
        | TimelineEvent::CodeShown
        | TimelineEvent::CodeTyped
        | TimelineEvent::Completed
        | TimelineEvent::Finished
        | TimelineEvent::TokenReissued
        | TimelineEvent::Lapsed
        | TimelineEvent::TokenLapsed
        | TimelineEvent::VerifiersExhausted
        | TimelineEvent::Revoked
        | TimelineEvent::Validated
        | TimelineEvent::WrongCode
        | TimelineEvent::Replaced
        | TimelineEvent::Resend(_)
        | TimelineEvent::PerhapsSent(..)
        | TimelineEvent::Unknown(_) => None,
    }));
    if before.is_none_or(|before| before.ended_at().is_none()) {
        counters.extend(end_counters(after));
    }
    counters
}

/// The counters of a record that has just ended; none for an open one.
fn end_counters<K: Kind>(record: &Verification<K>) -> Vec<FunnelCounter> {
    let Some(at) = record.ended_at() else { return Vec::new() };
    let ended = |end| match record.otp_type() {
        OtpType::Link => vec![FunnelCounter::LinkEnded(end)],
        OtpType::Code => vec![FunnelCounter::CodeEnded(end)],
    };
    match record.status(at) {
        Status::Verified => {
            let seconds = at.duration_since(record.created_at).as_secs();
            let within = VERIFIED_WITHIN.into_iter().find(|bound| seconds < i64::from(*bound));
            vec![FunnelCounter::LinkVerified, FunnelCounter::LinkVerifiedWithin(within.unwrap_or(0))]
        }
        Status::Validated => vec![FunnelCounter::CodeValidated],
        Status::Expired => ended(End::Expired),
        Status::Canceled => ended(End::Canceled),
        Status::Failed => record.reason().map(|reason| ended(End::Failed(reason))).unwrap_or_default(),
        Status::Pending | Status::Sent => Vec::new(),
    }
}

/// The counters of all instances.
pub struct FunnelCounts {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    pending: PendingCounts,
}

impl FunnelCounts {
    pub(super) fn new(env: &Environment) -> Self {
        let (store, metrics) = (Arc::clone(&env.store), Arc::clone(&env.metrics));
        Self { store, metrics, pending: PendingCounts::default() }
    }

    /// Counts what a committed change did to a record.
    pub(super) fn count<K: Kind>(&self, before: Option<&Verification<K>>, after: &Verification<K>) {
        self.pending.add(after.instance, Hour::of(self.store.now()), &counters(before, after));
        if before.is_some_and(|before| before.ended_at().is_none()) && after.ended_at().is_some() {
            self.count_ended(after);
        }
    }

    /// Counts a verification that has just ended.
    fn count_ended<K: Kind>(&self, record: &Verification<K>) {
        let Some(at) = record.ended_at() else { return };
        let (otp_type, status) = (record.otp_type().as_str(), record.status(at));
        let ended = ByFinalState { instance: InstanceLabel(record.instance), otp_type, result: status.as_str() };
        self.metrics.verifications.get_or_create(&ended).inc();
        if status == Status::Verified {
            let elapsed = Duration::try_from(at.duration_since(record.created_at)).unwrap_or_default();
            self.metrics.time_to_verification_seconds.observe(elapsed.as_secs_f64());
        }
    }

    /// Adds what was counted since the last call to the store. After an error it is lost: part of it may have been
    /// added, and counting it twice would be worse.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let counts = self.pending.take();
        if counts.is_empty() { Ok(()) } else { self.store.add_counts(&counts).await }
    }

    /// The counters of an instance, as far as replicas have added them to the store.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn read(&self, cx: &RequestContext, instance: InstanceId) -> Result<Funnel, ServiceError> {
        let now = Hour::of(cx.now());
        let day = now.before(DAY - 1);
        let mut funnel = Funnel::default();
        let mut hours: HashMap<Hour, (u64, u64)> = HashMap::new();
        for hourly in cx.store.read_counts(instance, now.before(WEEK - 1)..=now).await? {
            funnel.week.add(&hourly.counts);
            if hourly.hour >= day {
                funnel.day.add(&hourly.counts);
                let count = |counter: FunnelCounter| hourly.counts.get(&counter.to_string()).copied().unwrap_or(0);
                hours.insert(hourly.hour, (count(FunnelCounter::LinkMinted), count(FunnelCounter::LinkVerified)));
            }
        }
        funnel.hours = (0..DAY).rev().map(|back| hours.get(&now.before(back)).copied().unwrap_or_default()).collect();
        Ok(funnel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_counter() {
        let ends =
            [End::Expired, End::Canceled].into_iter().chain(Reason::ALL.iter().map(|reason| End::Failed(*reason)));
        let ends = ends.flat_map(|end| [FunnelCounter::LinkEnded(end), FunnelCounter::CodeEnded(end)]);
        let channels = Channel::ALL.iter().flat_map(|&channel| {
            [
                FunnelCounter::CodeSent(channel),
                FunnelCounter::CodeDelivered(channel),
                FunnelCounter::CodeNotDelivered(channel),
            ]
        });
        let within = VERIFIED_WITHIN.into_iter().chain([0]).map(FunnelCounter::LinkVerifiedWithin);
        let plain = [
            FunnelCounter::LinkMinted,
            FunnelCounter::LinkClicked,
            FunnelCounter::LinkSent,
            FunnelCounter::LinkVerified,
            FunnelCounter::LinkRedeemed,
            FunnelCounter::LinkDisputed,
            FunnelCounter::CodeRequested,
            FunnelCounter::CodeValidated,
        ];
        for counter in plain.into_iter().chain(within).chain(ends).chain(channels) {
            assert_eq!(FunnelCounter::parse(&counter.to_string()), Some(counter));
        }
        for later in ["", "paid", "code_sent:pigeon", "link_ended:", "within:soon"] {
            assert_eq!(FunnelCounter::parse(later), None, "{later}");
        }
    }
}
