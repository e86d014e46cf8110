//! What a job is, how many attempts may be in flight, and when one is tried again.
//!
//! A job is leased only by a worker that can start it at once: it takes a [`permits::Permit`] first, which travels
//! with the job. Permits are counted for each lane, so that no receiver, number or tenant takes those of another.

pub mod dead;
mod due_work;
pub mod health;
pub mod payload;
pub mod permits;
pub mod retry;
mod send_tokens;
mod share;
