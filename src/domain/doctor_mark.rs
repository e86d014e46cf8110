//! The mark of the webhooks that `doctor` sends: they are counted apart, so that its forgeries do not look like an attack
//! and its messages not like those of a gateway.
//!
//! Only the holder of a master key can make a mark. It grants nothing: a marked webhook is authenticated like any other.

use jiff::Timestamp;

use super::{
    InstanceId,
    keys::{Digest, KeyRing},
};
use crate::hash::sha256;

/// The header that carries the mark.
pub const HEADER: &str = "countersign-doctor";
/// Seconds by which the clocks of both sides may differ.
const TOLERANCE: i64 = 300;

/// What a valid mark says about the webhook that bears it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DoctorMark {
    /// The body is the one that was sent, as far as it was sent unchanged.
    pub body_is_intact: bool,
}

/// The value of [`HEADER`] for a webhook with this body.
pub fn sign(keys: &KeyRing, instance: InstanceId, now: Timestamp, body: &[u8]) -> String {
    let (seconds, body) = (now.as_second(), body_digest(body).hex());
    format!("{seconds}.{body}.{}", keys.doctor_mark(instance, seconds).hex())
}

/// Reads the value of [`HEADER`]; `None` if no configured key made it for this instance within the last minutes.
pub fn read(keys: &KeyRing, instance: InstanceId, now: Timestamp, header: &str, body: &[u8]) -> Option<DoctorMark> {
    let mut parts = header.split('.');
    let seconds: i64 = parts.next()?.parse().ok()?;
    let (digest, mark) = (Digest::from_hex(parts.next()?)?, Digest::from_hex(parts.next()?)?);
    let is_recent = now.as_second().checked_sub(seconds)?.abs() <= TOLERANCE;
    let is_ours = is_recent && parts.next().is_none() && keys.is_doctor_mark(instance, seconds, mark);
    is_ours.then(|| DoctorMark { body_is_intact: body_digest(body) == digest })
}

fn body_digest(body: &[u8]) -> Digest {
    let mut first = [0; 16];
    first.copy_from_slice(&sha256(body)[..16]);
    Digest::from_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_valid_for_its_instance_and_time_under_any_key() {
        let keys = KeyRing::new(&[[1; 32], [2; 32]]).unwrap();
        let (one, two) = (InstanceId::from_random([1; 16]), InstanceId::from_random([2; 16]));
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        let read_at = |seconds: i64, instance, header: &str, body: &[u8]| {
            read(&keys, instance, now + jiff::SignedDuration::from_secs(seconds), header, body)
        };
        let marked = sign(&KeyRing::new(&[[2; 32]]).unwrap(), one, now, b"body");
        assert_eq!(read_at(0, one, &marked, b"body"), Some(DoctorMark { body_is_intact: true }));
        assert_eq!(read_at(TOLERANCE, one, &marked, b"bodY"), Some(DoctorMark { body_is_intact: false }));
        assert_eq!(read_at(TOLERANCE + 1, one, &marked, b"body"), None);
        assert_eq!(read_at(-TOLERANCE - 1, one, &marked, b"body"), None);
        assert_eq!(read_at(0, two, &marked, b"body"), None);
        let foreign = sign(&KeyRing::new(&[[3; 32]]).unwrap(), one, now, b"body");
        assert_eq!(read_at(0, one, &foreign, b"body"), None);
        for malformed in ["", ".", "..", "x.y.z", &format!("{marked}."), &marked[1..], &marked[..marked.len() - 1]] {
            assert_eq!(read_at(0, one, malformed, b"body"), None, "{malformed}");
        }
        let extreme = format!("{}.{}", i64::MIN, marked.split_once('.').unwrap().1);
        assert_eq!(read_at(0, one, &extreme, b"body"), None);
    }
}
