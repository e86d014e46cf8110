//! Limits on what callers may send. Handlers enforce them, and the contract documents them. Lengths are in characters
//! unless stated otherwise.

use std::ops::RangeInclusive;

use crate::domain::{normalize, otp, whatsapp};

/// One of the two answers to a request for an approval.
pub const ANSWER: usize = 60;
pub const APP_NAME: usize = 100;
/// Base64url of a SHA-256.
pub const CHALLENGE: usize = 43;
pub const CHAT: usize = 200;
/// The longest textual form of an IPv6 address.
pub const CLIENT_IP: usize = 45;
pub const CLIENT_REF: usize = 200;
pub const COMPLETION: usize = 40;
/// The text between the title and the answers of a request for an approval.
pub const DESCRIPTION: usize = 1024;
pub const FOOTER: usize = 200;
pub const LANGUAGE: usize = 35;
pub const PURPOSE: usize = 100;
pub const STATE: usize = 512;
pub const TEXT: usize = whatsapp::MAX_TEXT_LENGTH;
/// A code as a person typed it, with spaces and marks.
pub const TYPED: usize = normalize::MAX_INPUT_LENGTH;
pub const URL: usize = 2048;
pub const USER_AGENT: usize = 512;
/// Including hyphens.
pub const UUID: usize = 36;

/// In bytes of JSON.
pub const METADATA: usize = 2048;
/// In bytes: longer than any message id.
pub const MAX_QUESTION_LEN: usize = 512;
/// In bytes.
pub const IDEMPOTENCY_KEY: RangeInclusive<usize> = 1..=255;

pub const CODE_LENGTH: RangeInclusive<u32> = otp::LENGTHS;
pub const MAX_ATTEMPTS: RangeInclusive<u32> = 1..=100;
/// In digits: enough to narrow a list, too few to identify a phone number.
pub const PHONE_ENDING: RangeInclusive<usize> = 4..=8;

/// Number of entries in one page of a list.
pub const PAGE: RangeInclusive<u32> = 1..=200;
/// Entries in one page of requests, unless `limit` says otherwise.
pub const REQUESTS_DEFAULT: u32 = 50;
/// Entries in one page of callbacks, unless `limit` says otherwise.
pub const CALLBACKS_DEFAULT: u32 = 100;

/// Duration of a long poll in seconds: less than the idle timeout of common proxies.
pub const WAIT: RangeInclusive<u32> = 0..=55;
