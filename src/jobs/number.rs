//! What one sending number can take: so many sockets, so many messages a second, and silence while it is
//! logged out or banned.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::InstanceId;

/// Requests in flight to one gateway from this process.
const SOCKETS: usize = 16;
/// Waiting longer would burn the lease.
const PATIENCE: Duration = Duration::from_secs(2);
const FIRST_SILENCE: SignedDuration = SignedDuration::from_secs(30);
const LONGEST_SILENCE: SignedDuration = SignedDuration::from_mins(10);

/// One number, as this replica knows it.
struct Line {
    sockets: Arc<Semaphore>,
    circuit: Mutex<Circuit>,
}

/// Opens when the gateway refuses our credentials; one success closes it.
#[derive(Default)]
struct Circuit {
    open_until: Option<Timestamp>,
    refusals: i32,
}

impl Circuit {
    fn refused(&mut self, now: Timestamp) {
        let silence = (FIRST_SILENCE * 2i32.pow(self.refusals.min(6).unsigned_abs())).min(LONGEST_SILENCE);
        self.refusals += 1;
        self.open_until = Some(now + silence);
    }
}

/// The numbers of this process.
#[derive(Default)]
pub struct Lines(Mutex<HashMap<InstanceId, Arc<Line>>>);

/// Why nothing can be sent now.
pub enum Busy {
    /// The circuit is open.
    Silent(Timestamp),
    /// All sockets are in use.
    Full,
}

impl Lines {
    fn get(&self, instance: InstanceId) -> Arc<Line> {
        let mut lines = self.0.lock().expect("nobody panics while holding it");
        let line = lines.entry(instance).or_insert_with(|| {
            let sockets = Arc::new(Semaphore::new(SOCKETS));
            Arc::new(Line { sockets, circuit: Mutex::default() })
        });
        Arc::clone(line)
    }

    /// A socket to this number's gateway, if it may speak.
    pub async fn enter(&self, instance: InstanceId, now: Timestamp) -> Result<OwnedSemaphorePermit, Busy> {
        let line = self.get(instance);
        let open_until = line.circuit.lock().expect("nobody panics while holding it").open_until;
        if let Some(until) = open_until.filter(|until| now < *until) {
            return Err(Busy::Silent(until));
        }
        let socket = tokio::time::timeout(PATIENCE, Arc::clone(&line.sockets).acquire_owned()).await;
        socket.ok().and_then(Result::ok).ok_or(Busy::Full)
    }

    /// Closes every circuit.
    pub fn forgive(&self) {
        for line in self.0.lock().expect("nobody panics while holding it").values() {
            *line.circuit.lock().expect("nobody panics while holding it") = Circuit::default();
        }
    }

    /// Notes how the gateway took a message. `true`: the circuit has just opened.
    pub fn note(&self, instance: InstanceId, now: Timestamp, refused_us: bool) -> bool {
        let line = self.get(instance);
        let mut circuit = line.circuit.lock().expect("nobody panics while holding it");
        if refused_us {
            circuit.refused(now);
        } else {
            *circuit = Circuit::default();
        }
        refused_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::from_millis;

    #[tokio::test]
    async fn refusals_silence_a_number_longer_each_time_and_a_success_frees_it() {
        let lines = Lines::default();
        let (one, other) = (InstanceId::from_random([1; 16]), InstanceId::from_random([2; 16]));
        let at = |seconds: i64| from_millis(seconds * 1000);
        assert!(lines.note(one, at(0), true));
        assert!(matches!(lines.enter(one, at(29)).await, Err(Busy::Silent(until)) if until == at(30)));
        assert!(lines.enter(other, at(1)).await.is_ok());
        assert!(lines.enter(one, at(30)).await.is_ok());
        lines.note(one, at(30), true);
        assert!(matches!(lines.enter(one, at(31)).await, Err(Busy::Silent(until)) if until == at(90)));
        lines.note(one, at(91), false);
        assert!(lines.enter(one, at(92)).await.is_ok());
    }
}
