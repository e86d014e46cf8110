//! The clients of a provider, and what each may do.

use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq as _};
use url::{Host, Url};

use super::Parameters;
use crate::domain::{redirect, wire::wire_enum};

wire_enum! {
    /// Whether the clients of different sectors get different subjects for one person.
    SubjectType {
        /// They do: clients cannot compare their users.
        Pairwise = "pairwise",
        /// All clients get the same subject.
        Public = "public",
    }
}

wire_enum! {
    /// How ID tokens are signed (RFC 7518).
    Algorithm {
        /// RSA with PKCS #1 padding, which every client must support.
        Rs256 = "RS256",
        /// ECDSA on the curve P-256: smaller, and faster to sign.
        Es256 = "ES256",
    }
}

/// The scopes beyond `openid` that a client may request, or that a request was granted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct ClaimScopes {
    /// `phone_number` and `phone_number_verified`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub phone: bool,
    /// `name`: the one that the person shows on WhatsApp.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub profile: bool,
}

impl ClaimScopes {
    /// The scopes that a `scope` parameter names. Unknown ones are ignored.
    pub fn named(scope: &str) -> Self {
        let has = |name| scope.split(' ').any(|word| word == name);
        Self { phone: has("phone"), profile: has("profile") }
    }

    #[must_use]
    pub const fn within(self, allowed: Self) -> Self {
        Self { phone: self.phone && allowed.phone, profile: self.profile && allowed.profile }
    }

    /// The value of a `scope` parameter, with `openid`.
    pub fn words(self) -> String {
        let granted = [("phone", self.phone), ("profile", self.profile)];
        let words = granted.into_iter().filter_map(|(word, granted)| granted.then_some(word));
        std::iter::once("openid").chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// An app that logs people in here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    pub id: String,
    /// As people read it; `None` stands for the name of the instance.
    pub name: Option<String>,
    /// SHA-256 of each secret. Without any, this is a public client: it must use PKCE.
    pub secrets: Vec<[u8; 32]>,
    /// Compared exactly, as RFC 9700, 2.1 demands.
    pub redirect_uris: Vec<String>,
    pub scopes: ClaimScopes,
    pub subject: SubjectType,
    /// With [`SubjectType::Pairwise`]: clients of one sector get the same subjects.
    pub sector: String,
    /// `login_hint` names the chat that must prove the login. Otherwise it has no effect.
    pub login_hint: bool,
    /// People whose number WhatsApp hides may log in. They become other subjects if the number is shown later.
    pub allow_hidden: bool,
    pub algorithm: Algorithm,
    /// What the login is for, shown to the person.
    pub purpose: Option<String>,
}

impl Client {
    /// Whether it cannot keep a secret, as an app on a phone or in a browser.
    pub fn is_public(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Whether this digest belongs to one of the secrets. Constant-time.
    pub fn knows(&self, digest: &[u8; 32]) -> bool {
        let none = Choice::from(0);
        self.secrets.iter().fold(none, |any, secret| any | secret.ct_eq(digest)).into()
    }

    /// Finds the client that a request names.
    pub fn find<'a>(clients: &'a [Self], parameters: &Parameters) -> Option<&'a Self> {
        let id = parameters.get("client_id").ok()??;
        clients.iter().find(|client| client.id == id)
    }
}

/// Checks a redirect URI of the configuration.
///
/// # Errors
/// It is not absolute, has a fragment, would be sent in the clear, or holds a parameter of the response.
pub fn redirect_uri(text: &str) -> Result<(), &'static str> {
    if text.contains('#') {
        return Err("has a fragment, which OAuth forbids");
    }
    let expected = "expected an https:// URL, http:// on a loopback address, or the scheme of an app such as \
                    org.example.app:/in";
    let url = redirect::parse_target(text).ok_or(expected)?;
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err("is http://, which only the loopback addresses may be");
    }
    let ours = ["code", "state", "iss", "error"];
    if url.query_pairs().any(|(name, _)| ours.contains(&&*name)) {
        return Err("holds a parameter that the response gets from here: code, state, iss or error");
    }
    Ok(())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_uris_are_encrypted_local_or_of_an_app() {
        for good in [
            "https://app.example.org/in",
            "https://app.example.org/in?tenant=1",
            "http://127.0.0.1:3000/cb",
            "http://localhost/cb",
            "http://[::1]:9/cb",
            "org.example.app:/in",
        ] {
            assert_eq!(redirect_uri(good), Ok(()), "{good}");
        }
        for bad in [
            "http://app.example.org/in",
            "https://app.example.org/in#x",
            "https://app.example.org/in#",
            "https://user@app.example.org/in",
            "https://app.example.org/in?code=1",
            "https://app.example.org/in?a=1&st%61te=x",
            "//app.example.org/in",
            "/in",
            "javascript:alert(1)",
            "data:text/html,x",
            "app:/in",
            "org.example.app:/in x",
            "",
        ] {
            assert!(redirect_uri(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_granted_is_what_is_asked_and_allowed() {
        let asked = ClaimScopes::named("profile openid email phone phones");
        assert_eq!(asked, ClaimScopes { phone: true, profile: true });
        let granted = asked.within(ClaimScopes { phone: true, profile: false });
        assert_eq!(granted.words(), "openid phone");
        assert_eq!(ClaimScopes::named("openid").words(), "openid");
    }
}
