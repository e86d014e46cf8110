//! What operators and support staff do with existing verifications: explain, replay callbacks, erase.

pub mod callback_log;
mod erase;
pub mod explain;
pub mod receiver_response;
