//! Responses of the endpoints that are compatible with Wawp.

use serde_json::json;

use super::schema::{constant, words};
use crate::domain::{Reason, Status, VerificationId};

wire! {
    pub struct WawpSent {
        #[schema(constant("success"))]
        pub code: &'static str,
        /// A message for people.
        pub message: &'static str,
        /// The lifetime of the code, in seconds.
        #[schema(json!({ "type": "integer" }))]
        pub expires_in: u32,
        /// Identifies the request.
        #[schema(json!({ "type": "string" }))]
        pub job_id: VerificationId,
    }

    pub struct WawpVerified {
        #[schema(constant("success"))]
        pub code: &'static str,
        /// A message for people.
        pub message: &'static str,
        #[schema(constant(true))]
        pub verified: bool,
        /// `true` for a test number, whose code is fixed: validation proves nothing. Otherwise absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub test: Option<bool>,
    }

    pub struct WawpListSent {
        #[schema(constant("success"))]
        pub code: &'static str,
        /// A message for people.
        pub message: &'static str,
        /// How long the person can answer, in seconds.
        #[schema(json!({ "type": "integer" }))]
        pub expires_in: u32,
        /// Identifies the request, and is what `verify` takes.
        #[schema(json!({ "type": "string" }))]
        pub auth_id: VerificationId,
        /// The same as `auth_id`.
        #[schema(json!({ "type": "string" }))]
        pub job_id: VerificationId,
    }

    pub struct WawpListVerified {
        #[schema(constant("success"))]
        pub code: &'static str,
        /// `expired` is also a request that ended without an answer in another way: canceled, or after too many messages
        /// of other numbers.
        #[schema(words(&["pending", "approved", "rejected", "expired"]))]
        pub status: &'static str,
        /// Whether the person has approved.
        pub verified: bool,
    }
}

impl WawpListSent {
    pub fn new(expires_in: u32, id: VerificationId) -> Self {
        Self { code: "success", message: "Approval request sent successfully", expires_in, auth_id: id, job_id: id }
    }
}

impl WawpListVerified {
    pub fn new(status: Status, reason: Option<Reason>) -> Self {
        let status = match status {
            Status::Pending => "pending",
            Status::Verified => "approved",
            Status::Failed if reason == Some(Reason::Rejected) => "rejected",
            Status::Failed | Status::Expired | Status::Canceled | Status::Sent | Status::Validated => "expired",
        };
        Self { code: "success", status, verified: status == "approved" }
    }
}

impl WawpSent {
    pub fn new(expires_in: u32, job_id: VerificationId) -> Self {
        Self { code: "success", message: "Verification code sent successfully", expires_in, job_id }
    }
}

impl WawpVerified {
    /// `test`: the number is one for tests.
    pub fn new(test: bool) -> Self {
        Self { code: "success", message: "Verification code is valid", verified: true, test: test.then_some(true) }
    }
}
