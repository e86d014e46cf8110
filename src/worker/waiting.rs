//! Jobs in hand whose attempt has not begun.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    jobs::permits::{Begin, Permits, Startable},
    store::Lane,
};

/// A job that has waited this long is given back: its attempt could outlive its lease.
pub(super) const LATEST: Duration = Duration::from_secs(4);

/// By lane, the oldest first.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<Lane, VecDeque<Startable>>>);

/// What is taken out of a lane.
#[derive(Default)]
pub(super) struct Taken {
    /// Their permits have begun.
    pub(super) begun: Vec<Startable>,
    /// To be given back.
    pub(super) late: Vec<Startable>,
}

impl Waiting {
    /// Puts jobs of one lane in their places.
    pub(super) fn add(&self, lane: &Lane, jobs: Vec<Startable>) {
        let mut lanes = self.lock();
        let waiting = lanes.entry(lane.clone()).or_default();
        let last = waiting.back().map(since);
        let sorted = jobs.is_sorted_by_key(since) && jobs.first().map(since) >= last;
        waiting.extend(jobs);
        if !sorted {
            waiting.make_contiguous().sort_by_key(since);
        }
    }

    /// The jobs of a lane whose turn it is.
    pub(super) fn next(&self, lane: &Lane, permits: &Permits) -> Taken {
        let mut taken = Taken::default();
        let mut lanes = self.lock();
        let Some(waiting) = lanes.get_mut(lane) else { return taken };
        let mut place = 0;
        while let Some(job) = waiting.get_mut(place) {
            let late = job.permit.in_hand() > LATEST;
            let begin = if late { Begin::GroupBusy } else { permits.begin(&mut job.permit) };
            let list = match begin {
                Begin::Full => break,
                Begin::Begun => &mut taken.begun,
                Begin::GroupBusy if late => &mut taken.late,
                Begin::GroupBusy => {
                    place += 1;
                    continue;
                }
            };
            list.extend(waiting.remove(place));
        }
        if waiting.is_empty() {
            lanes.remove(lane);
        }
        taken
    }

    /// All jobs of a lane.
    pub(super) fn take(&self, lane: &Lane) -> Vec<Startable> {
        self.lock().remove(lane).map(Vec::from).unwrap_or_default()
    }

    /// Jobs that wait for longer than that.
    pub(super) fn longer_than(&self, time: Duration) -> Vec<Startable> {
        let mut late = Vec::new();
        self.lock().retain(|_, waiting| {
            let (over, rest) = std::mem::take(waiting).into_iter().partition(|job| job.permit.in_hand() > time);
            *waiting = rest;
            late.extend::<VecDeque<_>>(over);
            !waiting.is_empty()
        });
        late
    }

    pub(super) fn lanes(&self) -> Vec<Lane> {
        self.lock().keys().cloned().collect()
    }

    /// Every change is whole before anything can panic.
    fn lock(&self) -> MutexGuard<'_, HashMap<Lane, VecDeque<Startable>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn since(job: &Startable) -> jiff::Timestamp {
    job.leased.since
}
