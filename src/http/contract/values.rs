//! Values used in the examples. Tests replace them with values of a running daemon, so that the documented examples are
//! executed.

pub const INSTANCE: &str = "5f0c2a90-0000-4000-8000-000000000001";
pub const UUID: &str = "019aa3f2-6c00-7c31-9d4e-5b1f0c2a90e7";
pub const CODE: &str = "K7QXM2PDTA9V4Z";
/// A request of type `code`, its chat and its code.
pub const CODE_UUID: &str = "019aa3f2-6c00-7c31-9d4e-5b1f0c2a90f1";
pub const CODE_CHAT: &str = "447700900125@c.us";
pub const CODE_NUMBER: &str = "447700900125";
pub const OTP: &str = "508214";
/// A request of Wawp's `list/send`.
pub const AUTH_ID: &str = "019aa3f2-6c00-7c31-9d4e-5b1f0c2a90f3";
/// An API token.
pub const ACCESS_TOKEN: &str = "cst_an-api-token-of-the-instance";
/// In `/l/{handle}`.
pub const HANDLE: &str = "q1bS4AGao_JsAHwxnU5bHwwqkOcpXyk0nQb6nGdW1mSv3T0k";
/// In `/docs/{guide}`.
pub const GUIDE: &str = "gateways";
/// In `/o/{token}`.
pub const LINK_TOKEN: &str = "q1bS4AGao_JsAHwxnU5bHwwqkOfU3hJ8rYtC0aZkq9XbLw2e";
/// In `/d/{token}`.
pub const DISPUTE_TOKEN: &str = "q1bS4AGao_JsAHwxnU5bHwwqkOdVw2Kp8mXc4nTz7QyRb1Ls";
pub const POLL_TOKEN: &str = "q1bS4AGao_JsAHwxnU5bHwwqkOeM5c1vQd7RjTnUy4PzKx8g";
/// In the redirect, and in `redeem`.
pub const REDEEM_TOKEN: &str = "AZqj8mwAfDGdTlsfDCqQ5_4bC9dHnYxTzQmLw3aVk0E";
/// The hidden field of a page's form.
pub const FORM_FIELD: &str = "m3nV6sZc0tWq8yLrXe1uGg";
/// The hidden field of the page behind "this wasn't me".
pub const DISPUTE_FIELD: &str = "d5kP2xGv8nRw1LzTq7YcSg";
/// The hidden field of the start page.
pub const START_FIELD: &str = "b0q7Tz4mXe2nWc9sRy6uVg";
/// The browser's cookie, set by the start page.
pub const COOKIE: &str = "__Host-cs=Zt3vQ8mXr1nWc7sLy5uKpA";
/// The code in the reply to a phone that scanned the QR code.
pub const REPLY_CODE: &str = "7K3Q9X";
/// The verifier and challenge of RFC 7636, appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// In `…/callbacks/{id}`.
pub const CALLBACK: &str = "N2Uua05oWg";
pub const WEBHOOK_ID: &str = "msg_2Zt0nX1cJ8dQkq5w";
/// In `/webhooks/{instance}/{secret}`.
pub const WEBHOOK_SECRET: &str = "a-secret-that-the-gateway-was-given";
/// Signature of a webhook, here as WAHA makes it.
pub const WEBHOOK_SIGNATURE: &str = "1cf7633d5ac3076c2a897c85feca3de1eeab0c0e7812d74f0549051a7df0b153\
    0b3be0164177ce7f1e17247969453608aea66d1141dd559d513b411ca4398471";
pub const CHAT: &str = "447700900123@c.us";
pub const PHONE: &str = "+447700900123";
pub const CREATED: &str = "2026-11-20T10:00:00+00:00";
pub const ENDED: &str = "2026-11-20T10:00:30+00:00";
/// After the last attempt of a callback.
pub const GIVEN_UP: &str = "2026-11-23T14:00:00+00:00";
pub const EXPIRES: &str = "2026-11-20T10:15:00+00:00";
/// When the webhook's message was sent, according to the gateway, in seconds since 1970.
pub const SENT: u32 = 1_795_168_830;
