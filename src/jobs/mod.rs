//! Jobs: their payload, how many attempts may be in flight, and when a failed attempt is repeated.
//!
//! A worker leases a job only if it can start it at once or very soon: it first takes a [`permits::Permit`], which
//! travels with the job. Permits are counted per lane, so that no receiver, number or tenant uses up those of another.

mod claimed;
mod due_work;
pub mod health;
pub mod payload;
pub mod permits;
pub mod retry;
mod send_tokens;
mod share;
