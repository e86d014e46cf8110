//! Random bytes from the operating system. Nothing else in the crate draws them.
//!
//! Each thread keeps a small pool, so that most calls need no system call. Bytes are erased from the pool when they are
//! taken, and each is given out once.

use std::cell::RefCell;

/// Bytes in one system call: a request needs about a hundred, in five calls.
const POOL_LEN: usize = 512;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_LEN], remaining: 0 }) };
}

/// The first `remaining` bytes are unused; the others are zero.
struct Pool {
    bytes: [u8; POOL_LEN],
    remaining: usize,
}

impl Pool {
    fn take(&mut self, out: &mut [u8]) {
        if out.len() > POOL_LEN {
            return fill_from_os(out);
        }
        if out.len() > self.remaining {
            fill_from_os(&mut self.bytes);
            self.remaining = POOL_LEN;
        }
        let rest = self.remaining - out.len();
        let taken = &mut self.bytes[rest..self.remaining];
        out.copy_from_slice(taken);
        taken.fill(0);
        self.remaining = rest;
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place")]
fn fill_from_os(out: &mut [u8]) {
    getrandom::fill(out).expect("the operating system provides random bytes");
}

/// `N` bytes from the operating system.
///
/// # Panics
/// If the operating system returns no random bytes: no secret can be generated without them.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    POOL.with_borrow_mut(|pool| pool.take(&mut out));
    out
}

/// Uniformly distributed in `0.0..1.0`, for jitter and sampling.
pub fn fraction() -> f64 {
    f64::from(u32::from_be_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn bytes_are_given_out_once_and_erased_from_the_pool() {
        let drawn: HashSet<[u8; 24]> = (0..10_000).map(|_| bytes()).collect();
        assert_eq!(drawn.len(), 10_000);
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(bytes::<24>)).collect();
        let drawn: HashSet<[u8; 24]> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(drawn.len(), 4);
        let mut pool = Pool { bytes: [0; POOL_LEN], remaining: 0 };
        let mut out = [0; 100];
        for _ in 0..20 {
            pool.take(&mut out);
            assert!(!pool.bytes.windows(100).any(|window| window == out), "bytes stay in the pool");
            assert!(pool.bytes[pool.remaining..].iter().all(|byte| *byte == 0));
        }
        let mut long = [0; POOL_LEN * 2];
        pool.take(&mut long);
        assert_ne!(long[..POOL_LEN], long[POOL_LEN..]);
        assert_ne!(bytes::<{ POOL_LEN + 1 }>(), [0; POOL_LEN + 1]);
        assert_ne!(bytes::<POOL_LEN>(), [0; POOL_LEN]);
    }
}
