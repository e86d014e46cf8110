//! Lanes: queues within the queue. Jobs of one lane wait for one another, never for those of other lanes.

use std::fmt;

use crate::domain::{InstanceId, keys::Digest};

/// Hexadecimal digits of an instance's id.
const INSTANCE: usize = 32;

/// The name of a lane in the store.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Lane(pub String);

/// The kind of work in a lane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LaneKind {
    /// Timers: work of this process itself, which no gateway or receiver can delay.
    Timer,
    /// Replies of one number to people who wait for them.
    Replies,
    /// Replies of one number to messages that match nothing. They get half of the number's rate.
    Notices,
    /// Codes sent by one number.
    Codes,
    /// Callbacks of one instance to one origin.
    Callbacks,
    Other,
}

impl LaneKind {
    /// The label value in metrics, where everything that a number sends is a reply.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timer => "timer",
            Self::Replies | Self::Notices | Self::Codes => "reply",
            Self::Callbacks => "callback",
            Self::Other => "other",
        }
    }

    /// Whether the work is a message sent by a number's gateway.
    pub const fn is_message(self) -> bool {
        matches!(self, Self::Replies | Self::Notices | Self::Codes)
    }
}

impl Lane {
    pub fn timer() -> Self {
        Self("timer".to_owned())
    }

    pub fn replies(number: InstanceId) -> Self {
        Self(["r", &number.simple()].concat())
    }

    pub fn notices(number: InstanceId) -> Self {
        Self(["n", &number.simple()].concat())
    }

    pub fn codes(number: InstanceId) -> Self {
        Self(["k", &number.simple()].concat())
    }

    /// `origin` is a keyed digest of the receiver's scheme, host and port.
    pub fn callbacks(instance: InstanceId, origin: Digest) -> Self {
        Self(["c", &instance.simple(), ":", &origin.hex()].concat())
    }

    pub fn kind(&self) -> LaneKind {
        let names_instance = self.0.len() > INSTANCE;
        match self.0.as_bytes().first() {
            Some(b'r') if names_instance => LaneKind::Replies,
            Some(b'n') if names_instance => LaneKind::Notices,
            Some(b'k') if names_instance => LaneKind::Codes,
            Some(b'c') if names_instance => LaneKind::Callbacks,
            _ if self.0 == "timer" => LaneKind::Timer,
            _ => LaneKind::Other,
        }
    }

    /// The instance that the work belongs to; for messages, the one whose gateway sends them. `None` for timers.
    pub fn instance(&self) -> Option<InstanceId> {
        self.0.get(1..=INSTANCE)?.parse().ok()
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_names_its_kind_and_its_instance() {
        let id = InstanceId::from_random([7; 16]);
        let origin = Digest::from_hex("00112233445566778899aabbccddeeff").unwrap();
        for (lane, kind) in [
            (Lane::replies(id), LaneKind::Replies),
            (Lane::notices(id), LaneKind::Notices),
            (Lane::codes(id), LaneKind::Codes),
            (Lane::callbacks(id, origin), LaneKind::Callbacks),
        ] {
            assert_eq!((lane.kind(), lane.instance()), (kind, Some(id)), "{lane}");
        }
        assert_eq!((Lane::timer().kind(), Lane::timer().instance()), (LaneKind::Timer, None));
    }
}
