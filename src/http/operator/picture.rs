//! A picture of what happened to one request: a row for each side and for each callback, from left to right in time.
//!
//! The scale is logarithmic, so that the seconds of a login and the days of a callback are both visible, and keeps a
//! distance between neighbours, so that no two marks cover each other.

use jiff::Timestamp;

use super::layout::{Tone, short_duration};
use crate::{
    api::callback::{CallbackEntry, CallbackStatus},
    domain::{TimelineEvent, timeline::TimelineEntry},
    service::receiver_responses::ReceiverResponse,
};

/// Of the drawing, in units of its `viewBox`.
const WIDTH: f64 = 1040.0;
/// Left of the first mark, for the names of the rows.
const LEFT: f64 = 150.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 34.0;
const ROW: f64 = 36.0;
/// Smallest distance between two marks.
const GAP: f64 = 27.0;
/// Smallest distance between two times written above the marks.
const LABEL_GAP: f64 = 92.0;

/// A callback with its kept failed attempts.
pub(super) type Attempts = (CallbackEntry, Vec<(Timestamp, ReceiverResponse)>);

pub(super) struct EventMark {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) tone: Tone,
    /// The number in the list beside the picture.
    pub(super) number: usize,
}

pub(super) struct Bar {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) tone: Tone,
    /// Failed attempts.
    pub(super) failures: Vec<f64>,
}

pub(super) struct Label {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) text: String,
}

pub(super) struct Picture {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) rows: Vec<Label>,
    pub(super) times: Vec<Label>,
    pub(super) marks: Vec<EventMark>,
    pub(super) bars: Vec<Bar>,
    /// For those who do not see it.
    pub(super) summary: String,
}

const SIDES: [&str; 3] = ["App", "Person", "Countersign"];

/// The row of an event in [`SIDES`], and how it is drawn.
fn side(event: &TimelineEvent) -> (usize, Tone) {
    match event {
        TimelineEvent::Created | TimelineEvent::Canceled | TimelineEvent::Replaced | TimelineEvent::Resend(_) => {
            (0, Tone::Plain)
        }
        TimelineEvent::Redeemed | TimelineEvent::Validated => (0, Tone::Good),
        TimelineEvent::WrongCode | TimelineEvent::VerifiersExhausted | TimelineEvent::Revoked => (0, Tone::Bad),
        TimelineEvent::Tapped(_)
        | TimelineEvent::LinkTapped
        | TimelineEvent::Agreed
        | TimelineEvent::CodeShown
        | TimelineEvent::CodeTyped
        | TimelineEvent::TokenReissued => (1, Tone::Plain),
        TimelineEvent::Verified { .. } | TimelineEvent::Completed | TimelineEvent::Finished => (1, Tone::Good),
        TimelineEvent::Message | TimelineEvent::Disputed => (1, Tone::Bad),
        TimelineEvent::Sent(_) | TimelineEvent::PerhapsSent(..) | TimelineEvent::Unknown(_) => (2, Tone::Plain),
        TimelineEvent::Delivered(_) => (2, Tone::Good),
        TimelineEvent::Failed
        | TimelineEvent::Expired
        | TimelineEvent::Lapsed
        | TimelineEvent::TokenLapsed
        | TimelineEvent::NotDelivered(..) => (2, Tone::Bad),
    }
}

/// The place of each moment on the time axis.
struct Axis {
    /// Moments in milliseconds, rising, each with its place. Entries of one moment follow each other.
    places: Vec<(i64, f64)>,
}

impl Axis {
    /// `entries` get a place each; `others` share the place of an entry of the same millisecond.
    fn new(entries: &[i64], others: impl Iterator<Item = i64>) -> Self {
        let mut moments: Vec<i64> = entries.to_vec();
        for other in others {
            if !moments.contains(&other) {
                moments.push(other);
            }
        }
        moments.sort_unstable();
        let seconds = |from: i64, to: i64| precise(to - from) / 1000.0;
        let (first, last) = (moments.first().copied().unwrap_or(0), moments.last().copied().unwrap_or(0));
        let span = WIDTH - LEFT - RIGHT;
        let whole = seconds(first, last).ln_1p().max(f64::MIN_POSITIVE);
        let mut places: Vec<(i64, f64)> =
            moments.iter().map(|at| (*at, seconds(first, *at).ln_1p() / whole * span)).collect();
        let gap = GAP.min(span / precise(i64::try_from(places.len()).unwrap_or(i64::MAX)));
        for index in 1..places.len() {
            places[index].1 = places[index].1.max(places[index - 1].1 + gap);
        }
        let mut limit = span;
        for place in places.iter_mut().rev() {
            place.1 = place.1.min(limit);
            limit = place.1 - gap;
        }
        for place in &mut places {
            place.1 = ((place.1 + LEFT) * 10.0).round() / 10.0;
        }
        Self { places }
    }

    fn of(&self, moment: i64) -> f64 {
        let index = self.places.partition_point(|(at, _)| *at < moment);
        self.places.get(index).or(self.places.last()).map_or(LEFT, |(_, x)| *x)
    }

    /// As many times since the first moment as have room.
    fn labels(&self) -> Vec<Label> {
        let mut labels: Vec<Label> = Vec::new();
        let first = self.places.first().map_or(0, |(at, _)| *at);
        for (at, x) in &self.places {
            if labels.last().is_none_or(|last| x - last.x >= LABEL_GAP) {
                let text = if *at == first {
                    "start".to_owned()
                } else {
                    format!("+{}", short_duration(precise(at - first) / 1000.0))
                };
                labels.push(Label { x: *x, y: TOP - 16.0, text });
            }
        }
        labels
    }
}

#[expect(clippy::cast_precision_loss, reason = "a drawing needs no more digits")]
fn precise(number: i64) -> f64 {
    number as f64
}

impl Picture {
    /// `now` is the end of callbacks that are still waiting.
    pub(super) fn new(timeline: &[TimelineEntry], callbacks: &[Attempts], now: Timestamp) -> Self {
        let entries: Vec<i64> = timeline.iter().map(|entry| entry.at.as_millisecond()).collect();
        let end = |entry: &CallbackEntry| entry.ended_at.map_or(now, |at| at.0).as_millisecond();
        let others = callbacks.iter().flat_map(|(entry, attempts)| {
            let failures = attempts.iter().map(|(at, _)| at.as_millisecond());
            [entry.created_at.0.as_millisecond(), end(entry)].into_iter().chain(failures)
        });
        let axis = Axis::new(&entries, others);
        let row = |index: usize| TOP + ROW * (precise(i64::try_from(index).unwrap_or(0)) + 0.5);
        let used: Vec<usize> =
            (0..SIDES.len()).filter(|index| timeline.iter().any(|entry| side(&entry.event).0 == *index)).collect();
        let mut rows: Vec<Label> = Vec::new();
        for (place, index) in used.iter().enumerate() {
            rows.push(Label { x: 0.0, y: row(place), text: SIDES[*index].to_owned() });
        }
        // Entries of one millisecond are drawn side by side.
        let mut marks: Vec<EventMark> = Vec::new();
        for (index, entry) in timeline.iter().enumerate() {
            let (lane, tone) = side(&entry.event);
            let before = entries[..index].iter().filter(|at| **at == entries[index]).count();
            let first = axis.places.partition_point(|(at, _)| *at < entries[index]);
            let x = axis.places.get(first + before).map_or(LEFT, |(_, x)| *x);
            let place = used.iter().position(|used| *used == lane).unwrap_or(0);
            marks.push(EventMark { x, y: row(place), tone, number: index + 1 });
        }
        let mut bars = Vec::new();
        for (index, (entry, attempts)) in callbacks.iter().enumerate() {
            let y = row(used.len() + index);
            rows.push(Label { x: 0.0, y, text: entry.event.to_owned() });
            let (from, to) = (axis.of(entry.created_at.0.as_millisecond()), axis.of(end(entry)));
            let tone = match entry.status {
                CallbackStatus::Delivered => Tone::Good,
                CallbackStatus::Dead => Tone::Bad,
                CallbackStatus::Pending => Tone::Wait,
            };
            let failures = attempts.iter().map(|(at, _)| axis.of(at.as_millisecond())).collect();
            bars.push(Bar { x: from, y, width: (to - from).max(6.0), tone, failures });
        }
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let took = axis.places.first().zip(axis.places.last()).map_or(0, |(first, last)| last.0 - first.0);
        let summary = format!(
            "{} and {} over {}; listed below",
            count(timeline.len(), "event"),
            count(callbacks.len(), "callback"),
            short_duration(precise(took) / 1000.0)
        );
        let height = row(rows.len()) - ROW / 2.0 + 6.0;
        let right = WIDTH - RIGHT / 2.0;
        Self { width: WIDTH, height, left: LEFT - 20.0, right, rows, times: axis.labels(), marks, bars, summary }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::from_millis;

    fn places(millis: &[i64]) -> Vec<f64> {
        Axis::new(millis, std::iter::empty()).places.into_iter().map(|(_, x)| x).collect()
    }

    #[test]
    fn marks_keep_their_distance_and_stay_inside() {
        let crowded: Vec<i64> = (0..40).collect();
        let week: Vec<i64> = [0, 10, 20, 30_000, 31_000, 600_000_000, 600_000_001].to_vec();
        for moments in [vec![0], vec![5, 5, 5], crowded, week] {
            let places = places(&moments);
            assert!(places.iter().all(|x| (LEFT..=WIDTH - RIGHT + 0.01).contains(x)), "{places:?}");
            assert!(places.windows(2).all(|pair| pair[1] - pair[0] > 20.0), "{places:?}");
        }
    }

    #[test]
    fn events_of_one_moment_are_drawn_side_by_side() {
        let at = from_millis(1000);
        let entry = |event| TimelineEntry::new(at, event, None);
        let verified = TimelineEvent::Verified { edited: false, unbound: false };
        let picture = Picture::new(&[entry(TimelineEvent::Created), entry(verified)], &[], at);
        assert!(picture.marks[0].x < picture.marks[1].x && picture.marks[0].y < picture.marks[1].y);
        assert_eq!(picture.rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>(), ["App", "Person"]);
    }
}
