//! What callers send to mint a link: every fault found at once, with the field's name.

use serde_json::{Map, Value};

use super::Instance;
use crate::{
    api::{Warning, problem::FieldFault},
    domain::{
        Chat, Language, Mode, redirect,
        sending::Channel,
        subject::InvalidChat,
        template::{self, Use},
        verification::{Callbacks, Request, Texts},
        whatsapp::LONGEST_TEXT,
    },
};

/// A checked request for a link.
#[derive(Clone, PartialEq, Debug)]
pub struct Mint {
    pub request: Request,
    /// Seconds.
    pub expires: u32,
    pub max_attempts: u32,
    pub warnings: Vec<Warning>,
}

/// Checks a body against the instance's rules.
pub fn mint(body: &Map<String, Value>, instance: &Instance) -> Result<Mint, Vec<FieldFault>> {
    let config = &instance.config;
    let mut fields = Fields::of(body);
    let f = &mut fields;
    let name = f.app_name(&config.name);
    let chat = f.chat("chatId");
    let (least, most) = config.expires_bounds;
    let expires = f.number("expires", least, most).unwrap_or(config.expires);
    let max_attempts = f.number("max_attempts", 1, 100).unwrap_or(config.max_attempts);
    let language = f.language(config.lang);
    let texts = texts(f);
    let callbacks = callbacks(f, config.allow_http_callbacks);
    let link = f.text("link", 2048).filter(|url| f.allowed("link", url, instance));
    let redirect_url = f.text("redirect_url", 2048).filter(|url| f.allowed("redirect_url", url, instance));
    let challenge = f.text("challenge", 43).filter(|text| f.is_challenge(text));
    let qr = f.flag("qr", false);
    let completion = completion(f, instance);
    let renewable = f.flag("renewable", true);
    let exact = f.flag("require_exact_text", config.exact_text.applies_to(completion));
    let request = Request {
        lang: language.tag().to_owned(),
        chat,
        texts,
        callbacks,
        link,
        redirect_url,
        challenge,
        completion: Some(completion),
        purpose: f.shown("purpose"),
        client_ref: f.text("client_ref", 200),
        metadata: f.json("metadata", 2048),
        state: f.text("state", 512),
        client_ip: f.ip("client_ip"),
        user_agent: f.text("user_agent", 512),
        name,
        qr,
        final_expiry: !renewable,
        exact,
        ..Request::default()
    };
    let prompt = request.texts.prompt.as_deref().or(config.texts.prompt.as_deref()).unwrap_or_default();
    let shown = request.name.chars().count() + request.purpose.as_deref().unwrap_or_default().chars().count();
    if prompt.chars().count() + shown + 80 > LONGEST_TEXT {
        f.fault("message.prompt", "is too long: WhatsApp takes 4096 characters in all");
    }
    bindings(f, &request, instance);
    f.unknown("chatId");
    if fields.faults.is_empty() {
        Ok(Mint { request, expires, max_attempts, warnings: fields.warnings })
    } else {
        Err(fields.faults)
    }
}

/// Says what a request is not protected against, and refuses what the instance does not want.
fn bindings(f: &mut Fields<'_>, request: &Request, instance: &Instance) {
    let config = &instance.config;
    let bound = request.challenge.is_some();
    match request.completion {
        Some(Mode::SameBrowser) if !bound && config.require_binding => {
            f.fault("challenge", "is missing, and the instance has require_binding: send the S256 of a verifier");
        }
        Some(Mode::SameBrowser) if !bound => {
            let detail = "no challenge was given: hand out start_url, which binds the browser that uses it; with \
                          whatsapp_link alone whoever opens the link in the reply completes this login";
            f.warn("unbound_completion", detail.to_owned());
        }
        Some(Mode::ProvePhone) if request.chat.is_none() => {
            f.fault("chatId", "is missing: prove_phone confirms the number that the person has stated");
        }
        Some(Mode::ProvePhone) if instance.gateway.channel() == Channel::Sms => {
            f.fault("completion", "is prove_phone, and messages come by SMS, whose sender can be forged");
        }
        Some(Mode::Anywhere) if config.require_binding => {
            f.fault("completion", "is anywhere, which binds nobody, and the instance has require_binding");
        }
        _ => {}
    }
    if request.qr && !bound {
        f.fault("qr", "needs a challenge: the reply's code is redeemed with its verifier");
    }
    if request.qr && config.strict_browser {
        f.fault("qr", "cannot be: with strict_browser nothing finishes on another device");
    }
    let redirects = request.redirect_url.is_some() || !config.redirect_urls.is_empty();
    if redirects && !bound && request.state.is_none() {
        let detail = "neither state nor challenge was given: the app cannot tell whose browser comes back";
        f.warn("unbound_redirect", detail.to_owned());
    }
}

fn texts(f: &mut Fields<'_>) -> Texts {
    f.within("message", |f| {
        let mut text = |used_as: Use| {
            let text = f.text(used_as.as_str(), LONGEST_TEXT)?;
            let lint = template::lint(&text, used_as);
            for error in lint.errors {
                f.fault(used_as.as_str(), &error);
            }
            for warning in lint.warnings {
                let field = f.path(used_as.as_str());
                f.warn("unknown_placeholder", format!("{field}: {warning}"));
            }
            Some(text)
        };
        Texts {
            prompt: text(Use::Prompt),
            success: text(Use::Success),
            failed: text(Use::Failed),
            expired: text(Use::Expired),
            code: None,
        }
    })
}

fn callbacks(f: &mut Fields<'_>, allow_http: bool) -> Callbacks {
    f.within("callback", |f| {
        let mut url = |name: &str| {
            let text = f.text(name, 2048)?;
            match redirect::parse(&text) {
                Some(url) if url.fragment().is_some() => f.fault(name, "has a fragment, which is never sent"),
                Some(url) if url.scheme() == "http" && !allow_http => {
                    f.fault(name, "is http://; callbacks go to https:// unless the instance has allow_http_callbacks");
                }
                Some(_) => {}
                None => f.fault(name, "expected an https:// URL without credentials"),
            }
            Some(text)
        };
        Callbacks { success: url("success"), failed: url("failed"), expired: url("expired") }
    })
}

fn completion(f: &mut Fields<'_>, instance: &Instance) -> Mode {
    let config = &instance.config;
    let Some(word) = f.text("completion", 40) else { return config.completion };
    let allowed: Vec<Mode> =
        std::iter::once(config.completion).chain(config.completions_allowed.iter().copied()).collect();
    let asked = allowed.iter().find(|mode| mode.as_str() == word);
    asked.copied().unwrap_or_else(|| {
        let words: Vec<&str> = allowed.iter().map(|mode| mode.as_str()).collect();
        f.fault("completion", &format!("expected one of {}; the instance allows no other", words.join(", ")));
        config.completion
    })
}

/// Reads one object and remembers what is wrong with it.
pub(super) struct Fields<'a> {
    table: &'a Map<String, Value>,
    prefix: String,
    pub(super) faults: Vec<FieldFault>,
    pub(super) warnings: Vec<Warning>,
    asked: Vec<String>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(table: &'a Map<String, Value>) -> Self {
        Self { table, prefix: String::new(), faults: Vec::new(), warnings: Vec::new(), asked: Vec::new() }
    }

    pub(super) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn fault(&mut self, name: &str, detail: &str) {
        let field = if name.starts_with("message.") { name.to_owned() } else { self.path(name) };
        self.faults.push(FieldFault { field, detail: detail.to_owned() });
    }

    pub(super) fn warn(&mut self, code: &'static str, detail: String) {
        self.warnings.push(Warning { code, detail });
    }

    fn get(&mut self, name: &str) -> Option<&Value> {
        self.asked.push(name.to_owned());
        self.table.get(name).filter(|value| !value.is_null())
    }

    /// At most `longest` characters; empty counts as absent.
    pub(super) fn text(&mut self, name: &str, longest: usize) -> Option<String> {
        let text = match self.get(name)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => {
                self.fault(name, "expected a string");
                return None;
            }
        };
        if text.chars().count() > longest {
            self.fault(name, &format!("is longer than {longest} characters"));
            return None;
        }
        (!text.is_empty()).then_some(text)
    }

    /// The application's name, as messages show it.
    pub(super) fn app_name(&mut self, default: &str) -> String {
        self.shown("name").unwrap_or_else(|| default.to_owned())
    }

    /// A text that people see in messages.
    pub(super) fn shown(&mut self, name: &str) -> Option<String> {
        let text = self.text(name, 100)?;
        if text.contains("://") || text.to_lowercase().contains("www.") {
            self.fault(name, "holds an address; it is shown in messages and must not be a link");
        }
        Some(text)
    }

    /// One that is not built in falls back, with a warning.
    pub(super) fn language(&mut self, default: Language) -> Language {
        let Some(asked) = self.text("lang", 35) else { return default };
        Language::find(&asked).unwrap_or_else(|| {
            let fallback = default.tag();
            self.warn("unknown_language", format!("{asked:?} is not a built-in language; {fallback} is used"));
            default
        })
    }

    pub(super) fn ip(&mut self, name: &str) -> Option<String> {
        let text = self.text(name, 45)?;
        self.parsed::<std::net::IpAddr>(name, &text, "an IP address").map(|ip| ip.to_string())
    }

    pub(super) fn parsed<T: std::str::FromStr>(&mut self, name: &str, text: &str, expected: &str) -> Option<T> {
        let parsed = text.trim().parse().ok();
        if parsed.is_none() {
            self.fault(name, &format!("expected {expected}"));
        }
        parsed
    }

    /// In any spelling.
    pub(super) fn chat(&mut self, name: &str) -> Option<Chat> {
        let text = self.text(name, 200)?;
        text.parse().map_err(|why: InvalidChat| self.fault(name, &why.to_string())).ok()
    }

    pub(super) fn number(&mut self, name: &str, least: u32, most: u32) -> Option<u32> {
        let number = match self.get(name)? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let number = number.and_then(|number| u32::try_from(number).ok()).filter(|n| (least..=most).contains(n));
        if number.is_none() {
            self.fault(name, &format!("expected a whole number from {least} to {most}"));
        }
        number
    }

    /// As JSON has it, or as forms write it.
    pub(super) fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.get(name) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) if matches!(text.as_str(), "true" | "1") => true,
            Some(Value::String(text)) if matches!(text.as_str(), "false" | "0") => false,
            Some(Value::Number(number)) if matches!(number.as_u64(), Some(0 | 1)) => number.as_u64() == Some(1),
            Some(_) => {
                self.fault(name, "expected true or false");
                default
            }
        }
    }

    /// Any JSON, kept as text.
    pub(super) fn json(&mut self, name: &str, longest: usize) -> Option<String> {
        let text = self.get(name)?.to_string();
        if text.len() > longest {
            self.fault(name, &format!("is larger than {longest} bytes of JSON"));
            return None;
        }
        Some(text)
    }

    fn allowed(&mut self, name: &str, text: &str, instance: &Instance) -> bool {
        let url = redirect::parse(text).filter(|url| redirect::allowed(url, &instance.config.redirect_urls));
        let Some(url) = url else {
            self.fault(name, "is no entry of the instance's redirect_urls, and not below one that ends in /");
            return false;
        };
        if let Some(ours) = redirect::reserved(&url) {
            self.fault(name, &format!("holds the parameter {ours}, which the redirect gets from here"));
            return false;
        }
        true
    }

    fn is_challenge(&mut self, text: &str) -> bool {
        let shaped = text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !shaped {
            self.fault("challenge", "expected 43 characters: the base64url SHA-256 of a verifier (RFC 7636, S256)");
        }
        shaped
    }

    /// Reads an inner object with the same care.
    fn within<T: Default>(&mut self, name: &str, read: impl FnOnce(&mut Fields<'_>) -> T) -> T {
        self.asked.push(name.to_owned());
        let table = match self.table.get(name) {
            None | Some(Value::Null) => return T::default(),
            Some(Value::Object(table)) => table,
            Some(_) => {
                self.fault(name, "expected an object");
                return T::default();
            }
        };
        let mut inner =
            Fields { table, prefix: format!("{name}."), faults: Vec::new(), warnings: Vec::new(), asked: Vec::new() };
        let value = read(&mut inner);
        inner.unknown("success");
        self.faults.append(&mut inner.faults);
        self.warnings.append(&mut inner.warnings);
        value
    }

    /// Unknown fields are ignored, as the clients of the old API expect, and reported.
    pub(super) fn unknown(&mut self, _last: &str) {
        let known: Vec<&str> = self.asked.iter().map(String::as_str).collect();
        let mut warnings = Vec::new();
        for name in self.table.keys().filter(|name| !known.contains(&name.as_str())) {
            let near =
                template::nearest(name, &known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            let shown: String = template::clean(name).chars().take(60).collect();
            let field = self.path(&shown);
            warnings.push(Warning {
                code: "unknown_field",
                detail: format!("{field} is not a field and was ignored{near}"),
            });
        }
        self.warnings.append(&mut warnings);
    }
}
