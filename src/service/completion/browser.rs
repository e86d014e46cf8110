//! The browser behind a request, as far as it is known.

use crate::{
    domain::{
        binding::{Binding, WhatsAppDevice},
        keys::Digest,
    },
    service::login_facts::LoginSide,
};

/// The browser that sends the request.
#[derive(Clone, Copy)]
pub struct ClientBrowser<'a> {
    /// The values of its cookies of our name.
    pub cookies: &'a [String],
    pub ip: Option<std::net::IpAddr>,
    pub user_agent: Option<&'a str>,
}

impl ClientBrowser<'_> {
    /// The binding of this browser, whose cookie has the digest `browser`.
    pub(in crate::service) fn binding(&self, browser: Digest, whatsapp_device: WhatsAppDevice) -> Binding {
        Binding {
            browser,
            whatsapp_device,
            ip: self.ip.map(|ip| ip.to_string()),
            user_agent: self.user_agent.map(|agent| agent.chars().take(300).collect()),
            automatic: false,
        }
    }

    pub(super) fn login_side(&self) -> LoginSide<'_> {
        LoginSide { ip: self.ip, user_agent: self.user_agent }
    }
}
