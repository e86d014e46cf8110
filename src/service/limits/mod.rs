//! Rate limits, and each instance's share of the store.

mod rate_limit;
mod storage_quota;

pub(super) use self::rate_limit::{Limit, LimitBucket, Limits, rate_limit_statuses};
pub use self::rate_limit::{LimitStatus, Limited, subscriber_network};
