//! Responses of the endpoints that are compatible with Wawp.

use serde_json::json;

use super::schema::constant;
use crate::domain::VerificationId;

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
