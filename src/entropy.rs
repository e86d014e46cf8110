//! The only place that draws random bytes.

/// `N` bytes from the operating system.
///
/// # Panics
/// When the system has no randomness to give: nothing secret can be made then.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    getrandom::fill(&mut out).expect("the operating system gives random bytes");
    out
}

/// Evenly in `0.0..1.0`, for jitter.
pub fn fraction() -> f64 {
    f64::from(u32::from_be_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}
