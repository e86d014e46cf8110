//! Validation of requests for a link. Reports every fault at once, with the name of its field.

use serde_json::{Map, Value};
use url::Url;

use crate::{
    api::{Warning, limits},
    config::is_loopback,
    domain::{
        Channel, Mode, Request,
        binding::Binding,
        redirect,
        request::{Callbacks, Texts},
        template::{self, TemplateKind},
    },
    reader::{Faults, Format, Reader},
    service::{
        Instance,
        public_url::redirect_target,
        request_fields::{app_name, chat, client_ip, display_text, named_language},
    },
};

/// Entries of `redirect_urls` that a fault names.
const MAX_NAMED_REDIRECTS: usize = 3;

/// A validated request for a link.
#[derive(Clone, PartialEq, Debug)]
pub struct LinkRequest {
    pub request: Request,
    /// In seconds.
    pub expires: u32,
    pub max_attempts: u32,
    /// The browser that is bound from the start.
    pub binding: Option<Binding>,
    pub warnings: Vec<Warning>,
}

/// Validates a body against the rules of the instance.
pub fn parse(body: &Map<String, Value>, instance: &Instance) -> Result<LinkRequest, Faults> {
    let mut reader = Reader::new(Format::Json, "", body);
    let mint = read(&mut reader, instance);
    let (mint, warnings) = reader.finish_with_warnings(Some(mint))?;
    Ok(LinkRequest { warnings, ..mint })
}

fn read(f: &mut Reader<'_>, instance: &Instance) -> LinkRequest {
    let config = &instance.config;
    let name = app_name(f, &config.name);
    let chat = chat(f);
    let (least, most) = config.expires_bounds;
    let expires = f.number("expires", least..=most).unwrap_or(config.expires);
    let max_attempts = f.number("max_attempts", limits::MAX_ATTEMPTS).unwrap_or(config.max_attempts);
    let named = named_language(f, config.lang);
    let language = named.unwrap_or(config.lang);
    let texts = f.nested("message", texts);
    let callbacks = f.nested("callback", |f| callbacks(f, config.allow_http_callbacks));
    let link = f.read_short("link", limits::URL, |url| redirect_url(redirect::parse(url), url, instance));
    let other_way_url =
        f.read_short("other_way_url", limits::URL, |url| redirect_url(redirect::parse(url), url, instance));
    let redirect_url =
        f.read_short("redirect_url", limits::URL, |url| redirect_url(redirect::parse_target(url), url, instance));
    let challenge = f.read_short("challenge", limits::CHALLENGE, challenge);
    let qr = f.flag("qr", false);
    let completion = completion(f, instance);
    let renewable = f.flag("renewable", true);
    let exact = f.flag("require_exact_text", config.exact_text.applies_to(completion));
    let request = Request {
        lang: named.map_or_else(String::new, |language| language.tag().to_owned()),
        chat,
        texts,
        callbacks,
        link,
        redirect_url,
        other_way_url,
        challenge,
        completion: Some(completion),
        purpose: display_text(f, "purpose", limits::PURPOSE),
        client_ref: f.short_text("client_ref", limits::CLIENT_REF),
        metadata: f.json("metadata", limits::METADATA),
        state: f.short_text("state", limits::STATE),
        client_ip: client_ip(f),
        user_agent: f.short_text("user_agent", limits::USER_AGENT),
        name,
        qr,
        final_expiry: !renewable,
        exact,
        ..Request::default()
    };
    let own = config.texts.of(language);
    let prompt = request.texts.prompt.as_deref().or(own.prompt.as_deref()).unwrap_or_default();
    let length = request.name.chars().count() + request.purpose.as_deref().unwrap_or_default().chars().count();
    if prompt.chars().count() + length + 80 > limits::TEXT {
        f.fault("message.prompt", "is too long: WhatsApp takes 4096 characters in all");
    }
    check_binding(f, &request, instance);
    LinkRequest { request, expires, max_attempts, binding: None, warnings: Vec::new() }
}

/// Warns about protections that a request lacks, and refuses what the instance does not allow.
fn check_binding(f: &mut Reader<'_>, request: &Request, instance: &Instance) {
    let config = &instance.config;
    if !instance.gateway.verifies() {
        f.fault("instance", "receives SMS, which do not count: set sms_verifies, or use an instance of WhatsApp");
    }
    let bound = request.challenge.is_some();
    match request.completion {
        Some(Mode::SameBrowser) if !bound && config.require_binding => {
            f.fault("challenge", "is missing, and the instance has require_binding: send the S256 of a verifier");
        }
        // With a `state`, the app itself refuses a browser that did not start the login.
        Some(Mode::SameBrowser) if !bound && request.state.is_none() => {
            let detail = "neither challenge nor state was given: hand out start_url, which binds the browser that uses \
                          it; with whatsapp_link alone anyone who opens the link in the reply completes this login";
            f.warn("unbound_completion", detail);
        }
        Some(Mode::ProvePhone) if request.chat.is_none() => {
            f.fault("chatId", "is missing: prove_phone confirms the number that the person has stated");
        }
        Some(Mode::ProvePhone) if is_test_number(request, instance) => {
            f.fault(
                "chatId",
                "is a test number: its code is fixed and it belongs to no subscriber, so it proves nothing",
            );
        }
        Some(Mode::ProvePhone) if instance.gateway.channel() == Channel::Sms => {
            f.fault("completion", "is prove_phone, and messages come by SMS, whose sender can be forged");
        }
        Some(Mode::Anywhere) if config.require_binding => {
            f.fault("completion", "is anywhere, which binds no browser, and the instance has require_binding");
        }
        Some(Mode::Anywhere | Mode::SameBrowser | Mode::ProvePhone) | None => {}
    }
    if !bound && redirect_target(instance, request).is_some_and(|url| redirect::is_private_use(&url)) {
        let why = "is missing: any app on the phone can claim the scheme of redirect_url, so redeem needs a verifier";
        f.fault("challenge", why);
    }
    if request.qr && !bound {
        f.fault("qr", "needs a challenge: the reply's code is redeemed with its verifier");
    }
    if request.qr && config.strict_browser {
        f.fault("qr", "cannot be: with strict_browser nothing finishes on another device");
    }
    let own = config.texts.of(instance.language(Some(request)));
    let success = request.texts.success.as_deref().or(own.success.as_deref());
    if request.completion != Some(Mode::Anywhere) && success.is_some_and(|text| !template::mentions(text, "link")) {
        let detail = "the success text has no <link>: a person who did not come from start_url cannot finish";
        f.warn("no_link", detail);
    }
    let redirects = request.redirect_url.is_some() || !config.redirect_urls.is_empty();
    if redirects && !bound && request.state.is_none() {
        let detail = "neither state nor challenge was given: the app cannot tell whose browser comes back";
        f.warn("unbound_redirect", detail);
    }
}

fn is_test_number(request: &Request, instance: &Instance) -> bool {
    request.chat.as_ref().is_some_and(|chat| instance.config.codes.test_number(chat.subject()).is_some())
}

fn texts(f: &mut Reader<'_>) -> Texts {
    let mut text = |used_as: TemplateKind| {
        let text = f.short_text(used_as.as_str(), limits::TEXT)?;
        let lint = template::lint(&text, used_as);
        for error in lint.errors {
            f.fault(used_as.as_str(), error);
        }
        for warning in lint.warnings {
            let field = f.key(used_as.as_str());
            f.warn("unknown_placeholder", format!("{field}: {warning}"));
        }
        Some(text)
    };
    Texts {
        prompt: text(TemplateKind::Prompt),
        success: text(TemplateKind::Success),
        failed: text(TemplateKind::Failed),
        expired: text(TemplateKind::Expired),
        code: None,
    }
}

fn callbacks(f: &mut Reader<'_>, allow_http: bool) -> Callbacks {
    let mut url = |name: &str| f.read_short(name, limits::URL, |text| callback_url(text, allow_http));
    Callbacks { success: url("success"), failed: url("failed"), expired: url("expired") }
}

/// The URL as given, if callbacks may be sent to it.
fn callback_url(text: &str, allow_http: bool) -> Result<String, &'static str> {
    match redirect::parse(text) {
        Some(url) if url.fragment().is_some() => Err("has a fragment, which is never sent"),
        Some(url) if url.scheme() == "http" && !allow_http => {
            Err("is http://; callbacks go to https:// unless the instance has allow_http_callbacks")
        }
        Some(_) => Ok(text.to_owned()),
        None => Err("expected an https:// URL without credentials"),
    }
}

fn completion(f: &mut Reader<'_>, instance: &Instance) -> Mode {
    let config = &instance.config;
    let allowed: Vec<Mode> =
        std::iter::once(config.completion).chain(config.completions_allowed.iter().copied()).collect();
    let asked = f.read_short("completion", limits::COMPLETION, |word| {
        let asked = allowed.iter().find(|mode| mode.as_str() == word);
        asked.copied().ok_or_else(|| {
            let words: Vec<&str> = allowed.iter().map(|mode| mode.as_str()).collect();
            format!("expected one of {}; the instance allows no other", words.join(", "))
        })
    });
    asked.unwrap_or(config.completion)
}

/// The URL as given, if the instance allows sending a person there.
fn redirect_url(parsed: Option<Url>, text: &str, instance: &Instance) -> Result<String, String> {
    let entries = &instance.config.redirect_urls;
    // `dev` is for apps under development, which run on this machine.
    let on_this_machine = |url: &Url| instance.gateway.fake_phone("").is_some() && is_loopback(url);
    let url = parsed.filter(|url| redirect::is_allowed(url, entries) || on_this_machine(url));
    let url = url.ok_or_else(|| not_allowed(entries))?;
    match redirect::reserved_parameter(&url) {
        Some(ours) => Err(format!("holds the parameter {ours}, which the redirect gets from here")),
        None => Ok(text.to_owned()),
    }
}

/// Names the allowed addresses, as far as a sentence can.
fn not_allowed(entries: &[Url]) -> String {
    let shown: Vec<&str> = entries.iter().take(MAX_NAMED_REDIRECTS).map(Url::as_str).collect();
    let allowed = match entries.len() - shown.len() {
        _ if entries.is_empty() => "it is empty".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    };
    format!(
        "is no entry of the instance's redirect_urls, and not below one that ends in / ({allowed}); add it to \
         redirect_urls in the configuration"
    )
}

fn challenge(text: &str) -> Result<String, &'static str> {
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let shaped = text.len() == limits::CHALLENGE && text.bytes().all(alphabet);
    let expected = "expected 43 characters: the base64url SHA-256 of a verifier (RFC 7636, S256)";
    shaped.then(|| text.to_owned()).ok_or(expected)
}
