//! Whether both sides of a login seem to be one person: a signal for the app, never a decision.

use serde::{Deserialize, Serialize};

/// How the side that started and the side that went on compare. `None`: of one of them too little is known. It holds
/// verdicts and countries, never an address.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Risk {
    /// The same /24 of IPv4, or /48 of IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_network: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_country: Option<bool>,
    /// The same kind of device, as far as browsers say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_device: Option<bool>,
    /// ISO 3166 codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_country: Option<String>,
}
