//! The authorization request in its page. Nothing is stored before a person acts, so fetching the page costs nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp, fmt::serde::timestamp::millisecond::required as millis};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        Chat,
        keys::Digest,
        oidc::{Accepted, Authorization, Client},
    },
    random,
    service::{Instance, Oidc, RequestContext, ServiceError},
};

/// How long a person may look at the page.
const PAGE_LIFE: SignedDuration = SignedDuration::from_mins(30);

/// A request as its page carries it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PageRequest {
    pub authorization: Authorization,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) chat: Option<Chat>,
    /// Tag of the language of the page and of the messages.
    pub lang: String,
    /// The browser whose page this is; `None` while the request is on its way to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    browser: Option<Digest>,
    #[serde(with = "millis")]
    at: Timestamp,
}

impl PageRequest {
    /// A request that was accepted at `now`.
    pub fn new(accepted: Accepted, lang: &str, now: Timestamp) -> Self {
        let Accepted { authorization, chat, language } = accepted;
        let lang = language.map_or(lang, |language| language.tag()).to_owned();
        Self { authorization, chat, lang, browser: None, at: now }
    }
}

impl Oidc {
    /// The request, readable and usable only here. With a cookie, only the browser that has it can use the result.
    pub fn seal_request(&self, instance: &Instance, request: &PageRequest, cookie: Option<&str>) -> String {
        let browser = cookie.map(|cookie| self.page_browser(instance, cookie));
        let request = PageRequest { browser, ..request.clone() };
        let plain = serde_json::to_vec(&request).expect("a request has only string keys");
        URL_SAFE_NO_PAD.encode(self.keys.seal(&context(instance), &plain, random::bytes()))
    }

    /// Opens a request that [`Self::seal_request`] returned for no browser in particular.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if it is not ours or too old, or if its client or redirect URI was removed.
    pub fn open_request(&self, instance: &Instance, sealed: &str, now: Timestamp) -> Result<PageRequest, ServiceError> {
        let request = self.unseal(instance, sealed, now).ok_or(ServiceError::NotFound)?;
        if request.browser.is_some() { Err(ServiceError::NotFound) } else { Ok(request) }
    }

    /// Opens the request of a page. Returns it with the cookie that it belongs to, among `cookies`.
    ///
    /// # Errors
    /// As [`Self::open_request`], and [`ServiceError::Refused`] if the page belongs to another browser.
    pub fn open_page<'a>(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        sealed: &str,
        cookies: &'a [String],
    ) -> Result<(PageRequest, &'a str), ServiceError> {
        let request = self.unseal(instance, sealed, cx.now()).ok_or(ServiceError::NotFound)?;
        let browser = request.browser.ok_or(ServiceError::Refused)?;
        let own = cookies.iter().find(|cookie| self.page_browser(instance, cookie).matches(browser));
        Ok((request, own.ok_or(ServiceError::Refused)?))
    }

    fn unseal(&self, instance: &Instance, sealed: &str, now: Timestamp) -> Option<PageRequest> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let plain = self.keys.open(&context(instance), &sealed).ok()?;
        let request: PageRequest = serde_json::from_slice(&plain).ok()?;
        let is_fresh = now.duration_since(request.at) < PAGE_LIFE;
        let client = client_of(instance, &request.authorization)?;
        let is_registered = client.redirect_uris.contains(&request.authorization.to.redirect_uri);
        (is_fresh && is_registered).then_some(request)
    }

    /// As stored with a link, so that the page's browser is the one that the link is bound to.
    pub(super) fn page_browser(&self, instance: &Instance, cookie: &str) -> Digest {
        self.keys.permanent_digest("browser", instance.config.id, cookie.as_bytes())
    }
}

/// The client that started a login, as it is configured now.
pub(super) fn client_of<'a>(instance: &'a Instance, authorization: &Authorization) -> Option<&'a Client> {
    instance.config.clients.iter().find(|client| client.id == authorization.client)
}

fn context(instance: &Instance) -> String {
    format!("authorization request:{}", instance.config.id)
}
