//! The browser behind a request, as far as it is known.

use crate::service::login_details::LoginSide;

/// The browser that sends the request.
#[derive(Clone, Copy)]
pub struct Browser<'a> {
    /// The values of its cookies of our name.
    pub cookies: &'a [String],
    pub ip: Option<std::net::IpAddr>,
    pub user_agent: Option<&'a str>,
}

impl Browser<'_> {
    pub(super) fn login_side(&self) -> LoginSide<'_> {
        LoginSide { ip: self.ip, user_agent: self.user_agent }
    }
}
