//! What a job is, how much of it may be in flight, and when it is tried again.

pub mod breaker;
pub mod dead;
pub mod number;
pub mod payload;
pub mod permits;
pub mod retry;
