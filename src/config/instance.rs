//! The configuration of one instance: a WhatsApp number and everything that belongs to it.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{
    callback_headers,
    codes::{CodesConfig, life},
    edge::network,
    limits::LimitsConfig,
    page::PageConfig,
    texts::OwnTexts,
    tls::TlsConfig,
    token::ApiToken,
    weak::weakness,
};
use crate::{
    api::limits::MAX_ATTEMPTS,
    domain::{InstanceId, Language, Mode, Phone, oidc::Client, phone_input, redirect, standard_webhooks},
    reader::{Reader, Table, not_one_of},
};

const MODES: &[(&str, Mode)] =
    &[("same_browser", Mode::SameBrowser), ("prove_phone", Mode::ProvePhone), ("anywhere", Mode::Anywhere)];

/// For which modes only the prefilled text counts, unless a request specifies otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExactText {
    Always,
    ProvePhone,
    Never,
}

const EXACT_TEXTS: &[(&str, ExactText)] =
    &[("always", ExactText::Always), ("prove_phone", ExactText::ProvePhone), ("never", ExactText::Never)];

impl ExactText {
    pub fn applies_to(self, mode: Mode) -> bool {
        match self {
            Self::Always => true,
            Self::ProvePhone => mode == Mode::ProvePhone,
            Self::Never => false,
        }
    }
}

/// What `whatsapp_link` in a response is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LinkStyle {
    /// A `wa.me` URL, which works while this daemon is down. Clicks are not seen.
    #[default]
    WaMe,
    /// A URL of this daemon that redirects there, so that clicks are counted.
    Go,
}

const LINK_STYLES: &[(&str, LinkStyle)] = &[("wa.me", LinkStyle::WaMe), ("go", LinkStyle::Go)];

/// The settings of one instance.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own for the operator")]
pub struct InstanceConfig {
    pub id: InstanceId,
    /// Further ids of this instance in the API, such as the one that it had at the provider before.
    pub aliases: Vec<String>,
    pub name: String,
    pub number: Phone,
    pub tokens: Vec<ApiToken>,
    /// Standard Webhooks secrets, newest first.
    pub callback_secrets: Vec<SecretString>,
    pub callback_url: Option<Url>,
    pub allow_http_callbacks: bool,
    pub callback_allow_networks: Vec<IpNet>,
    pub callback_headers: Vec<(HeaderName, HeaderValue)>,
    pub callback_tls: TlsConfig,
    pub redirect_urls: Vec<Url>,
    pub completion: Mode,
    pub completions_allowed: Vec<Mode>,
    /// Refuse requests that any browser could complete by opening the link.
    pub require_binding: bool,
    /// Allow only the browser that started, on the same device: no reply code and no QR code.
    pub strict_browser: bool,
    pub link_style: LinkStyle,
    pub page: PageConfig,
    pub lang: Language,
    pub texts: OwnTexts,
    pub code_length: u8,
    pub expires: u32,
    pub expires_bounds: (u32, u32),
    pub max_attempts: u32,
    pub exact_text: ExactText,
    /// How many times a person may renew an expired link.
    pub renewals: u32,
    pub codes: CodesConfig,
    pub reply_to_unknown: bool,
    pub disabled: bool,
    pub retention: Duration,
    /// Retention of a link that expired unused.
    pub retention_unused: Duration,
    pub erase_after: Duration,
    pub limits: LimitsConfig,
    /// The clients of the OpenID provider that this instance is.
    pub clients: Vec<Client>,
    /// Read by the gateway selected by its `kind`.
    pub gateway: Table,
    pub gateway_tls: TlsConfig,
}

impl InstanceConfig {
    pub(super) fn read(s: &mut Reader<'_>) -> Option<Self> {
        let hint = "a UUID; `countersign new-instance` makes one";
        let id = s.required("id", hint, |s| s.parsed("id", "a UUID"));
        let name = s.required_text("name", "the application's name in messages");
        let number =
            s.required("number", "the WhatsApp number people write to", |s| s.read("number", phone_input::parse_phone));
        let tokens = super::token::read(s);
        let callback_secrets = callback_secrets(s);
        let allow_http_callbacks = s.flag("allow_http_callbacks", false);
        let callback_url = s.url("callback_url");
        if callback_url.as_ref().is_some_and(|url| url.scheme() == "http") && !allow_http_callbacks {
            s.fault("callback_url", "is http://, which needs allow_http_callbacks = true");
        }
        let (expires, expires_bounds) = life(s, "expires");
        let lang = language(s);
        let gateway = s.required("gateway", "write [instance.gateway] with a kind", |s| Some(s.table("gateway")));
        let config = Self {
            // Placeholders for values with a fault, so that everything that depends on the others is still checked.
            id: id.unwrap_or_else(|| InstanceId::from_random([0; 16])),
            aliases: s.list("aliases", alias),
            name: name.unwrap_or_default(),
            number: number.clone().unwrap_or_else(|| "10000000".parse().expect("eight digits are a number")),
            tokens,
            callback_secrets,
            callback_url,
            allow_http_callbacks,
            callback_allow_networks: s.list("callback_allow_networks", network),
            callback_headers: callback_headers::read(s),
            callback_tls: s.nested("callback_tls", TlsConfig::read),
            redirect_urls: s.list("redirect_urls", redirect_url),
            completion: s.choice("completion", MODES).unwrap_or(Mode::SameBrowser),
            completions_allowed: s.choices("completions_allowed", MODES),
            require_binding: s.flag("require_binding", false),
            strict_browser: s.flag("strict_browser", false),
            link_style: s.choice("link_style", LINK_STYLES).unwrap_or_default(),
            page: s.nested("page", PageConfig::read),
            lang,
            texts: s.nested("texts", |s| OwnTexts::read(s, lang)),
            code_length: u8::try_from(s.setting("code_length", 8..=16)).unwrap_or(14),
            expires,
            expires_bounds,
            max_attempts: s.setting("max_attempts", MAX_ATTEMPTS),
            exact_text: s.choice("require_exact_text", EXACT_TEXTS).unwrap_or(ExactText::ProvePhone),
            renewals: s.setting("renewals", 0..=100),
            codes: CodesConfig::read(s),
            reply_to_unknown: s.flag("reply_to_unknown", false),
            disabled: s.flag("disabled", false),
            retention: s.duration("retention"),
            retention_unused: s.duration("retention_unused"),
            erase_after: s.duration("erase_after"),
            limits: s.nested("limits", LimitsConfig::read),
            clients: super::oidc::clients(s),
            gateway: gateway.unwrap_or_default(),
            gateway_tls: s.nested("gateway_tls", TlsConfig::read),
        };
        (id.is_some() && number.is_some()).then_some(config)
    }

    /// Redirect URLs without TLS that do not point to this host: anyone on the network path can read the redeem token.
    pub fn unencrypted_redirects(&self) -> impl Iterator<Item = &Url> {
        self.redirect_urls.iter().filter(|url| url.scheme() == "http" && !super::is_loopback(url))
    }

    /// The longest possible lifetime of this instance's codes.
    pub fn longest_life(&self) -> Duration {
        Duration::from_secs(u64::from(self.expires_bounds.1))
    }
}

fn callback_secrets(s: &mut Reader<'_>) -> Vec<SecretString> {
    let secrets = s.secrets("callback_secrets");
    for (index, secret) in secrets.iter().enumerate() {
        let long_enough = standard_webhooks::key(secret.expose_secret()).is_some_and(|key| key.len() >= 24);
        let key = format!("callback_secrets.{index}");
        if !long_enough {
            s.fault(&key, "expected whsec_ and at least 24 bytes in base64; `countersign new-instance` makes one");
        } else if let Some(why) = weakness(secret.expose_secret()) {
            s.fault(&key, format!("{why}; `countersign new-instance` makes one"));
        }
    }
    if secrets.is_empty() && !s.is_faulty("callback_secrets_file") {
        s.fault("callback_secrets", "is empty: callbacks could not be signed");
    }
    secrets
}

fn alias(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        return Err("expected 1 to 64 letters, digits, - and _");
    }
    if text.parse::<InstanceId>().is_ok() {
        return Err("is a UUID: make it the id");
    }
    Ok(text.to_owned())
}

fn redirect_url(text: &str) -> Result<Url, String> {
    let expected = "expected an http:// or https:// URL, or one of a native app, such as com.example.app:/login";
    let url = redirect::parse_target(text).ok_or(expected)?;
    match redirect::reserved_parameter(&url) {
        Some(ours) => Err(format!("holds the parameter {ours}, which the redirect gets from here")),
        None => Ok(url),
    }
}

fn language(s: &mut Reader<'_>) -> Language {
    let tags: Vec<&str> = Language::all().map(Language::tag).collect();
    let find = |tag: &str| Language::find(tag).ok_or_else(|| not_one_of(tag, &tags));
    let hint = format!("one of {}", tags.join(", "));
    s.required("lang", &hint, |s| s.read("lang", find)).unwrap_or(Language::ENGLISH)
}
