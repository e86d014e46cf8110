//! One configured WhatsApp number and everything that belongs to it.

use std::time::Duration;

use ipnet::IpNet;
use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{faults::Faults, page::PageConfig, section::Section, token::ApiToken, weak::weakness};
use crate::domain::{
    Channel, InstanceId, Language, Mode, Phone,
    quota::Quota,
    redirect,
    request::Texts,
    template::{self, Use},
    written,
};

const MODES: &[(&str, Mode)] =
    &[("same_browser", Mode::SameBrowser), ("prove_phone", Mode::ProvePhone), ("anywhere", Mode::Anywhere)];

const CHANNELS: &[(&str, Channel)] = &[("whatsapp", Channel::WhatsApp), ("sms", Channel::Sms)];

/// Where only the prefilled text counts, unless a request says otherwise.
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

/// The settings of one instance.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own for the operator")]
pub struct InstanceConfig {
    pub id: InstanceId,
    pub name: String,
    pub number: Phone,
    pub tokens: Vec<ApiToken>,
    /// Standard Webhooks secrets, newest first.
    pub callback_secrets: Vec<SecretString>,
    pub callback_url: Option<Url>,
    pub allow_http_callbacks: bool,
    pub callback_allow_networks: Vec<IpNet>,
    pub redirect_urls: Vec<Url>,
    pub completion: Mode,
    pub completions_allowed: Vec<Mode>,
    /// Refuse requests that whoever opens the link could complete.
    pub require_binding: bool,
    /// Only the browser that started, on the same device: no reply code, no QR code.
    pub strict_browser: bool,
    pub page: PageConfig,
    pub lang: Language,
    pub texts: Texts,
    pub code_length: u8,
    pub expires: u32,
    pub expires_bounds: (u32, u32),
    pub max_attempts: u32,
    pub exact_text: ExactText,
    /// How often a person may make an expired link anew.
    pub renewals: u32,
    pub codes: Codes,
    pub reply_to_unknown: bool,
    pub disabled: bool,
    pub retention: Duration,
    /// Of a link that nobody used before it expired.
    pub retention_unused: Duration,
    pub erase_after: Duration,
    pub limits: Limits,
    /// Read by the gateway that its `kind` names.
    pub gateway: Section,
}

/// Codes that we send.
#[derive(Clone, Debug)]
pub struct Codes {
    /// Whether the API's caller learns them.
    pub in_response: bool,
    /// Seconds.
    pub expires: u32,
    pub expires_bounds: (u32, u32),
    /// Wrong tries that end one.
    pub attempts: u32,
    /// Empty: whatever there is.
    pub channels: Vec<Channel>,
    /// Whose gateway sends by SMS.
    pub sms_instance: Option<InstanceId>,
    /// Beginnings of the numbers that codes are sent to, in digits. Empty: everywhere.
    pub countries: Vec<String>,
    /// How long [`crate::domain::target::FAILURES`] lock a chat.
    pub locked_for: Option<SignedDuration>,
}

/// `None`: turned off.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of one token.
    pub mint: Option<Quota>,
    /// Of all tokens together.
    pub instance: Option<Quota>,
    /// Records that the store keeps.
    pub records: Option<u64>,
    /// Percent of the store's room, where several instances share it.
    pub store_percent: Option<u32>,
    /// Jobs that wait for its receivers and gateways.
    pub pending_jobs: Option<u64>,
    /// Links minted for one chat.
    pub links: Option<Quota>,
    /// Codes sent to one chat.
    pub codes: Option<Quota>,
    /// Codes sent for one client address of the app.
    pub codes_of_address: Option<Quota>,
    /// Codes sent to one country.
    pub codes_of_country: Option<Quota>,
    /// Codes sent to a thousand numbers beside one another.
    pub codes_of_prefix: Option<Quota>,
    /// Wrong codes for one chat within [`crate::domain::target::WINDOW`].
    pub wrong_codes: Option<u32>,
    pub guesses: Option<Quota>,
    pub failure_replies: Option<Quota>,
    /// Success replies that are repeated.
    pub success_replies: Option<Quota>,
    pub test_callbacks: Option<Quota>,
    /// Of one number, over all replicas.
    pub replies_per_second: Option<u32>,
}

impl InstanceConfig {
    pub(super) fn read(mut section: Section, faults: &mut Faults) -> Option<Self> {
        let s = &mut section;
        let id = s.parsed("id", "a UUID", faults);
        if id.is_none() && !s.has("id") {
            faults.add(s.key("id"), "is missing: a UUID; `countersign new-instance` makes one");
        }
        let valid = id.is_some();
        let name = s.required_text("name", "the application's name in messages", faults);
        let number = s
            .text("number", faults)
            .and_then(|text| written::phone(&text).map_err(|why| faults.add(s.key("number"), why.to_string())).ok());
        if number.is_none() && !s.has("number") {
            faults.add(s.key("number"), "is missing: the WhatsApp number people write to");
        }
        let valid = valid && number.is_some();
        let tokens = super::token::read(s, faults);
        let callback_secrets = callback_secrets(s, faults);
        let allow_http_callbacks = s.flag("allow_http_callbacks", faults);
        let callback_url = s.url("callback_url", faults);
        if callback_url.as_ref().is_some_and(|url| url.scheme() == "http") && !allow_http_callbacks {
            faults.add(s.key("callback_url"), "is http://, which needs allow_http_callbacks = true");
        }
        let networks = s.list("callback_allow_networks", "a network such as 10.0.0.0/8", faults);
        let completion = s.choice("completion", MODES, faults).unwrap_or(Mode::SameBrowser);
        let lang_text = s.text("lang", faults).unwrap_or_default();
        let lang = Language::find(&lang_text).unwrap_or_else(|| {
            let tags: Vec<&str> = Language::all().map(Language::tag).collect();
            faults.add(s.key("lang"), super::section::not_one_of(&lang_text, &tags));
            Language::ENGLISH
        });
        let code_length = u8::try_from(s.number("code_length", 8..=16, faults)).unwrap_or(14);
        let (expires_min, expires_max) =
            (s.number("expires_min", 10..=86_400, faults), s.number("expires_max", 10..=86_400, faults));
        let expires = s.number("expires", 10..=86_400, faults);
        if !(expires_min..=expires_max).contains(&expires) {
            faults.add(
                s.key("expires"),
                format!("must lie between expires_min {expires_min} and expires_max {expires_max}"),
            );
        }
        let config = Self {
            id: id.unwrap_or_else(|| InstanceId::from_random([0; 16])),
            name,
            number: number.unwrap_or_else(|| "10000000".parse().expect("eight digits are a number")),
            tokens,
            callback_secrets,
            callback_url,
            allow_http_callbacks,
            callback_allow_networks: networks,
            redirect_urls: urls(s, "redirect_urls", faults),
            completion,
            completions_allowed: modes(s, faults),
            require_binding: s.flag("require_binding", faults),
            strict_browser: s.flag("strict_browser", faults),
            page: PageConfig::read(s.section("page", faults), faults),
            lang,
            texts: texts(s, faults),
            code_length,
            expires,
            expires_bounds: (expires_min, expires_max),
            max_attempts: s.number("max_attempts", 1..=100, faults),
            exact_text: s.choice("require_exact_text", EXACT_TEXTS, faults).unwrap_or(ExactText::ProvePhone),
            renewals: s.number("renewals", 0..=100, faults),
            codes: codes(s, faults),
            reply_to_unknown: s.flag("reply_to_unknown", faults),
            disabled: s.flag("disabled", faults),
            retention: s.duration("retention", faults),
            retention_unused: s.duration("retention_unused", faults),
            erase_after: s.duration("erase_after", faults),
            limits: limits(s, faults),
            gateway: s.section("gateway", faults),
        };
        if !s.has("gateway") {
            faults.add(s.key("gateway"), "is missing: write [instance.gateway] with a kind");
        }
        section.finish(faults);
        valid.then_some(config)
    }

    /// Where people are sent unencrypted, beyond this host: whoever is on the way reads the redeem token.
    pub fn unencrypted_redirects(&self) -> impl Iterator<Item = &Url> {
        self.redirect_urls.iter().filter(|url| url.scheme() == "http" && !super::is_loopback(url))
    }

    /// The longest that any of this instance's codes can live.
    pub fn longest_life(&self) -> Duration {
        Duration::from_secs(u64::from(self.expires_bounds.1))
    }
}

fn callback_secrets(s: &mut Section, faults: &mut Faults) -> Vec<SecretString> {
    let secrets = s.secrets("callback_secrets", faults);
    for (index, secret) in secrets.iter().enumerate() {
        let long_enough = crate::config::decode_whsec(secret.expose_secret()).is_some_and(|key| key.len() >= 24);
        let key = s.key(&format!("callback_secrets.{index}"));
        if !long_enough {
            faults.add(key, "expected whsec_ and at least 24 bytes in base64; `countersign new-instance` makes one");
        } else if let Some(why) = weakness(secret.expose_secret()) {
            faults.add(key, format!("{why}; `countersign new-instance` makes one"));
        }
    }
    if secrets.is_empty() {
        faults.add(s.key("callback_secrets"), "is empty: callbacks could not be signed");
    }
    secrets
}

fn urls(s: &mut Section, name: &str, faults: &mut Faults) -> Vec<Url> {
    let mut urls = Vec::new();
    for (index, text) in s.texts(name, faults).into_iter().enumerate() {
        match redirect::parse(&text) {
            Some(url) => {
                if let Some(ours) = redirect::reserved(&url) {
                    let problem = format!("holds the parameter {ours}, which the redirect gets from here");
                    faults.add(s.key(&format!("{name}.{index}")), problem);
                }
                urls.push(url);
            }
            None => faults.add(s.key(&format!("{name}.{index}")), "expected an http:// or https:// URL"),
        }
    }
    urls
}

fn modes(s: &mut Section, faults: &mut Faults) -> Vec<Mode> {
    let words: Vec<&str> = MODES.iter().map(|(word, _)| *word).collect();
    let mut modes = Vec::new();
    for (index, text) in s.texts("completions_allowed", faults).into_iter().enumerate() {
        match MODES.iter().find(|(word, _)| *word == text) {
            Some((_, mode)) => modes.push(*mode),
            None => {
                faults.add(s.key(&format!("completions_allowed.{index}")), super::section::not_one_of(&text, &words));
            }
        }
    }
    modes
}

fn codes(s: &mut Section, faults: &mut Faults) -> Codes {
    let mut seconds = |name| s.number(name, 10..=86_400, faults);
    let (least, most) = (seconds("code_expires_min"), seconds("code_expires_max"));
    let expires = seconds("code_expires");
    if !(least..=most).contains(&expires) {
        let problem = format!("must lie between code_expires_min {least} and code_expires_max {most}");
        faults.add(s.key("code_expires"), problem);
    }
    let words: Vec<&str> = CHANNELS.iter().map(|(word, _)| *word).collect();
    let mut channels = Vec::new();
    for (index, text) in s.texts("channels", faults).into_iter().enumerate() {
        match CHANNELS.iter().find(|(word, _)| *word == text) {
            Some((_, channel)) if channels.contains(channel) => {
                faults.add(s.key(&format!("channels.{index}")), "stands there twice");
            }
            Some((_, channel)) => channels.push(*channel),
            None => faults.add(s.key(&format!("channels.{index}")), super::section::not_one_of(&text, &words)),
        }
    }
    let mut countries = Vec::new();
    for (index, text) in s.texts("code_countries", faults).into_iter().enumerate() {
        match text.strip_prefix('+').filter(|digits| {
            (1..=7).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && !digits.starts_with('0')
        }) {
            Some(digits) => countries.push(digits.to_owned()),
            None => faults.add(s.key(&format!("code_countries.{index}")), "expected a calling code such as +44"),
        }
    }
    let locked_for = SignedDuration::try_from(s.duration("locked_for", faults)).unwrap_or(SignedDuration::MAX);
    Codes {
        countries,
        locked_for: Some(locked_for).filter(|locked_for| !locked_for.is_zero()),
        in_response: s.flag("code_in_response", faults),
        expires,
        expires_bounds: (least, most),
        attempts: s.number("code_attempts", 1..=20, faults),
        channels,
        sms_instance: s.parsed("sms_instance", "the id of another [[instance]]", faults),
    }
}

fn texts(s: &mut Section, faults: &mut Faults) -> Texts {
    let mut section = s.section("texts", faults);
    let mut text = |used_as: Use| {
        let text = section.text(used_as.as_str(), faults)?;
        for error in template::lint(&text, used_as).errors {
            faults.add(section.key(used_as.as_str()), error);
        }
        Some(text)
    };
    let texts = Texts {
        prompt: text(Use::Prompt),
        success: text(Use::Success),
        failed: text(Use::Failed),
        expired: text(Use::Expired),
        code: text(Use::Code),
    };
    section.finish(faults);
    texts
}

fn limits(s: &mut Section, faults: &mut Faults) -> Limits {
    let mut section = s.section("limits", faults);
    let records = section.number("records", 0..=u32::MAX, faults);
    let store_percent = section.number("store_percent", 0..=100, faults);
    let pending_jobs = section.number("pending_jobs", 0..=u32::MAX, faults);
    let mut number = |name| section.number(name, 0..=1_000_000, faults);
    let (per_second, burst) = (number("mint_per_second"), number("mint_burst"));
    let (all_per_second, all_burst) = (number("instance_mint_per_second"), number("instance_mint_burst"));
    let ten_minutes = Duration::from_mins(10);
    let per_ten_minutes = |count: u32| (count > 0).then(|| Quota::per(count, ten_minutes));
    let limits = Limits {
        mint: (per_second > 0).then(|| Quota::sustained(per_second, burst)),
        instance: (all_per_second > 0).then(|| Quota::sustained(all_per_second, all_burst)),
        records: (records > 0).then(|| u64::from(records)),
        store_percent: (store_percent > 0).then_some(store_percent),
        pending_jobs: (pending_jobs > 0).then(|| u64::from(pending_jobs)),
        links: per_ten_minutes(number("links_per_chat_10m")),
        codes: per_ten_minutes(number("codes_per_chat_10m")),
        codes_of_address: per_ten_minutes(number("codes_per_client_ip_10m")),
        codes_of_country: per_ten_minutes(number("codes_per_country_10m")),
        codes_of_prefix: per_ten_minutes(number("codes_per_prefix_10m")),
        wrong_codes: Some(number("wrong_codes_per_chat_15m")).filter(|most| *most > 0),
        guesses: per_ten_minutes(number("guesses_per_10m")),
        failure_replies: per_ten_minutes(number("failure_replies_per_10m")),
        success_replies: per_ten_minutes(number("success_replies_per_10m")),
        test_callbacks: Some(number("test_callbacks_per_minute"))
            .filter(|count| *count > 0)
            .map(|count| Quota::per(count, Duration::from_mins(1))),
        replies_per_second: Some(number("replies_per_second")).filter(|rate| *rate > 0),
    };
    section.finish(faults);
    limits
}
