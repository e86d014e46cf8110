//! Limits of an instance.

use std::time::Duration;

use crate::{domain::quota::Quota, reader::Reader};

/// Limits of an instance. `None` turns a limit off.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// Links and codes requested with one token.
    pub mint: Option<Quota>,
    /// Links and codes requested with all tokens together.
    pub instance: Option<Quota>,
    /// Maximum number of records in the store.
    pub records: Option<u64>,
    /// Maximum percentage of the store's capacity, if several instances share the store.
    pub store_percent: Option<u32>,
    /// Maximum number of jobs waiting for the instance's receivers and gateways.
    pub pending_jobs: Option<u64>,
    /// Links created for one chat.
    pub links: Option<Quota>,
    /// Codes sent to one chat.
    pub codes: Option<Quota>,
    /// Codes sent on behalf of one address of the app's clients.
    pub codes_of_address: Option<Quota>,
    /// Codes sent to one country.
    pub codes_of_country: Option<Quota>,
    /// Codes sent to a block of a thousand consecutive numbers.
    pub codes_of_prefix: Option<Quota>,
    /// Wrong codes for one chat within [`crate::domain::chat_state::ATTEMPT_WINDOW`].
    pub wrong_codes: Option<u32>,
    pub guesses: Option<Quota>,
    pub failure_replies: Option<Quota>,
    /// Repeated success replies.
    pub success_replies: Option<Quota>,
    pub test_callbacks: Option<Quota>,
    /// Messages sent from one number, over all replicas.
    pub replies_per_second: Option<u32>,
}

impl LimitsConfig {
    pub(super) fn read(s: &mut Reader<'_>) -> Self {
        let records = s.setting("records", 0..=u32::MAX);
        let store_percent = s.setting("store_percent", 0..=100);
        let pending_jobs = s.setting("pending_jobs", 0..=u32::MAX);
        let mut number = |name| s.setting(name, 0..=1_000_000);
        let (per_second, burst) = (number("mint_per_second"), number("mint_burst"));
        let (all_per_second, all_burst) = (number("instance_mint_per_second"), number("instance_mint_burst"));
        let ten_minutes = Duration::from_mins(10);
        let per_ten_minutes = |count: u32| (count > 0).then(|| Quota::per(count, ten_minutes));
        Self {
            mint: (per_second > 0).then(|| Quota::sustained(per_second, burst)),
            instance: (all_per_second > 0).then(|| Quota::sustained(all_per_second, all_burst)),
            records: (records > 0).then(|| u64::from(records)),
            store_percent: (store_percent > 0).then_some(store_percent),
            pending_jobs: (pending_jobs > 0).then(|| u64::from(pending_jobs)),
            links: per_ten_minutes(number("links_per_chat_10m")),
            codes: per_ten_minutes(number("codes_per_chat_10m")),
            codes_of_address: per_ten_minutes(number("codes_per_client_ip_10m")),
            codes_of_country: per_ten_minutes(number("codes_per_country_10m")),
            codes_of_prefix: per_ten_minutes(number("codes_per_prefix_10m")),
            wrong_codes: Some(number("wrong_codes_per_chat_15m")).filter(|most| *most > 0),
            guesses: per_ten_minutes(number("guesses_per_10m")),
            failure_replies: per_ten_minutes(number("failure_replies_per_10m")),
            success_replies: per_ten_minutes(number("success_replies_per_10m")),
            test_callbacks: Some(number("test_callbacks_per_minute"))
                .filter(|count| *count > 0)
                .map(|count| Quota::per(count, Duration::from_mins(1))),
            replies_per_second: Some(number("replies_per_second")).filter(|rate| *rate > 0),
        }
    }
}
