//! Compares the two sides of a login, to indicate whether they are the same person: a signal for the app, never a
//! decision.

use serde::{Deserialize, Serialize};

/// Comparison of the side that started the login with the side that continued it. `None` means that too little is known
/// about one of them. It holds verdicts and countries, never an address.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Risk {
    /// Whether both are in the same /24 (IPv4) or /48 (IPv6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_network: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_country: Option<bool>,
    /// Whether both are the same kind of device, according to their browsers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_device: Option<bool>,
    /// ISO 3166 code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_country: Option<String>,
}
