//! The only place that draws random bytes.

use std::cell::RefCell;

/// Drawn from the operating system at once: a request wants a hundred bytes, in five portions.
const POOL_LEN: usize = 512;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_LEN], remaining: 0 }) };
}

/// Bytes that nobody has been given yet; the others are gone.
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
        let given = &mut self.bytes[rest..self.remaining];
        out.copy_from_slice(given);
        given.fill(0);
        self.remaining = rest;
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place")]
fn fill_from_os(out: &mut [u8]) {
    getrandom::fill(out).expect("the operating system gives random bytes");
}

/// `N` bytes from the operating system.
///
/// # Panics
/// When the system has no randomness to give: nothing secret can be made then.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    POOL.with_borrow_mut(|pool| pool.take(&mut out));
    out
}

/// Evenly in `0.0..1.0`, for jitter.
pub fn fraction() -> f64 {
    f64::from(u32::from_be_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_is_given_twice_and_nothing_given_is_kept() {
        let drawn: HashSet<[u8; 24]> = (0..10_000).map(|_| bytes()).collect();
        assert_eq!(drawn.len(), 10_000);
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(bytes::<24>)).collect();
        let drawn: HashSet<[u8; 24]> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(drawn.len(), 4);
        let mut pool = Pool { bytes: [0; POOL_LEN], remaining: 0 };
        let mut out = [0; 100];
        for _ in 0..20 {
            pool.take(&mut out);
            assert!(!pool.bytes.windows(100).any(|window| window == out), "a portion stays behind");
            assert!(pool.bytes[pool.remaining..].iter().all(|byte| *byte == 0));
        }
        let mut long = [0; POOL_LEN * 2];
        pool.take(&mut long);
        assert_ne!(long[..POOL_LEN], long[POOL_LEN..]);
        assert_ne!(bytes::<{ POOL_LEN + 1 }>(), [0; POOL_LEN + 1]);
        assert_ne!(bytes::<POOL_LEN>(), [0; POOL_LEN]);
    }
}
