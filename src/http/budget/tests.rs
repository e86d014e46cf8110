//! Limits of the budget, and which reservations are evicted.

use std::task::{Context, Poll};

use super::*;

fn evicted(reservation: &Reservation) -> bool {
    reservation.poll_evicted(&Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn the_oldest_stalled_reservation_is_evicted_first() {
    let budget = Budget::new(4 * CONNECTION_BYTES, 100, None);
    let mut reservations: Vec<Reservation> = (0..4).map(|_| budget.reserve_connection().unwrap()).collect();
    reservations[0].set_stalled(None);
    reservations[1].set_stalled(Some(StallReason::Idle));
    let fifth = budget.reserve_connection().unwrap();
    let gone = |reservations: &[Reservation]| reservations.iter().map(evicted).collect::<Vec<_>>();
    assert_eq!(gone(&reservations), [false, false, true, false], "the oldest unfinished one");
    let mut body = budget.reserve_body().unwrap();
    body.grow_to(2 * CONNECTION_BYTES).unwrap();
    assert_eq!(gone(&reservations), [false, false, true, true]);
    assert!(evicted(&fifth) && !evicted(&body));
    body.grow_to(3 * CONNECTION_BYTES).unwrap();
    assert_eq!(gone(&reservations), [false, true, true, true], "then idle ones");
    assert_eq!(body.grow_to(4 * CONNECTION_BYTES), Err(Exhausted), "never one that is served, nor itself");
    assert_eq!(budget.lock().evicted_bytes, 4 * CONNECTION_BYTES);
    let mut other = budget.reserve_body().unwrap();
    let cx = Context::from_waker(Waker::noop());
    assert!(other.poll_grow_to(&cx, CONNECTION_BYTES).is_pending(), "the evicted reservations are not dropped yet");
    assert!(evicted(&body));
    drop((reservations, fifth, body));
    assert_eq!(other.poll_grow_to(&cx, CONNECTION_BYTES), Poll::Ready(Ok(())));
    drop(other);
    let state = budget.lock();
    assert_eq!((state.bytes, state.evicted_bytes, state.sockets, state.candidates.len()), (0, 0, 0, 0));
}

#[test]
fn streams_get_half_and_authenticated_bodies_a_reserve() {
    let budget = Budget::new(8 * STREAM_BYTES, 100, None);
    let streams: Vec<Reservation> = std::iter::from_fn(|| budget.reserve_stream().ok()).collect();
    assert_eq!(streams.len(), 4);
    let mut unauthenticated = budget.reserve_body().unwrap();
    unauthenticated.grow_to(4 * STREAM_BYTES).unwrap();
    let mut authenticated = budget.reserve_authenticated_body().unwrap();
    authenticated.grow_to(2 * STREAM_BYTES).unwrap();
    assert!(!evicted(&unauthenticated), "it fits into the reserve");
    authenticated.grow_to(3 * STREAM_BYTES).unwrap();
    assert!(evicted(&unauthenticated));
    assert!(budget.reserve_stream().is_err());
    drop(streams);
    assert!(budget.reserve_stream().is_ok());
}

#[test]
fn sockets_are_counted_too() {
    let budget = Budget::new(usize::MAX / 2, 3, None);
    let first = budget.reserve_connection().unwrap();
    let streams = [budget.reserve_stream().unwrap(), budget.reserve_stream().unwrap()];
    let second = budget.reserve_connection().unwrap();
    assert!(evicted(&first) && !evicted(&second));
    assert!(budget.reserve_stream().is_ok(), "an unauthenticated connection is evicted for it");
    assert!(evicted(&second));
    drop(streams);
}
