//! Operations on links: mint, and redeem a completed login.

use serde_json::{Value, json};

use super::{
    examples,
    operation::{Area, Operation, operation},
    schema::{language, text},
    values,
};
use crate::{api::limits, domain::scope::Scope, http::problem::Code};

pub(super) fn operations() -> Vec<Operation> {
    vec![generate(), redeem()]
}

fn generate() -> Operation {
    let about = "Every field is optional. `warnings` says what was accepted and may surprise: unknown fields, unknown \
        placeholders, and logins that are bound to no browser.";
    operation(Area::Links, "POST", "/api/otp/v2/{instance}/generate-link", "generateLink", "Mint a login link")
        .scope(Scope::Mint)
        .about(about)
        .idempotent("cart-7")
        .spends()
        .json(generate_body(), generate_example())
        .envelope("OTP link request created successfully", &examples::link())
        .problems(&[Code::InstanceDisabled, Code::InstanceFull])
}

fn generate_body() -> Value {
    let placeholders = "May hold `<link>`, `<name>`, `<purpose>` and `<code>`, or the same in braces.";
    let template = |about: &str| json!({ "type": ["string", "null"], "maxLength": limits::TEXT, "description": format!("{about} {placeholders}") });
    let url = |about: &str| json!({ "type": ["string", "null"], "format": "uri", "maxLength": limits::URL, "description": about });
    let short =
        |longest: usize, about: &str| json!({ "type": ["string", "null"], "maxLength": longest, "description": about });
    json!({
        "type": "object",
        "properties": {
            "chatId": short(limits::CHAT, "Only this chat can match: a phone number, `<digits>@c.us` or `<id>@lid`."),
            "expires": {
                "type": ["integer", "null"], "minimum": 60, "maximum": 3600, "default": 1800,
                "description": "Seconds until the code is too old; the instance can narrow the bounds.",
            },
            "name": short(limits::APP_NAME, "The application's name in messages; must not be an address."),
            "lang": language(),
            "message": {
                "type": ["object", "null"],
                "properties": {
                    "prompt": template("What the person sends, before the code, with `<name>` and `<purpose>` only; in `prove_phone` they are added where they are missing."),
                    "success": template("The reply to the right message. `<link>` is the hosted page. Below it stand purpose, device, place and the link to object."),
                    "failed": template("The reply when it failed, without `<link>`."),
                    "expired": template("The reply when it came too late, without `<link>`."),
                },
            },
            "callback": {
                "type": ["object", "null"],
                "properties": {
                    "success": url("Receives `link.verified`."),
                    "failed": url("Receives `link.failed`, and `link.expired` if that has no URL."),
                    "expired": url("Receives `link.expired`."),
                },
            },
            "link": url("Your own URL for `<link>`, an entry of the instance's `redirect_urls`, or below one that ends in `/`."),
            "redirect_url": url("Where the person lands: an entry of the instance's `redirect_urls`, or below one that ends in `/`. `uuid`, `token`, `state`, `iss` and `instance` are added and must not be there. A URL of a native app (`com.example.app:/login`) needs a `challenge`."),
            "other_way_url": url("Where the pages send a person who wants to sign in another way, while the login waits and after it has failed; an address as in `redirect_url`, on the web. By default the instance's `page.other_way_url`."),
            "challenge": {
                "type": ["string", "null"], "pattern": "^([A-Za-z0-9_-]{43})?$",
                "description": "Base64url SHA-256 of a verifier that stays in the visitor's session (RFC 7636, S256).",
            },
            "qr": {
                "type": ["boolean", "null"], "default": false,
                "description": "You show a QR code yourself: the reply holds a code to type on your page. Needs a `challenge`.",
            },
            "completion": {
                "type": ["string", "null"], "enum": ["same_browser", "prove_phone", "anywhere", "", null],
                "description": "Where the login ends; one of those that the instance allows.",
            },
            "state": short(limits::STATE, "Comes back in the redirect and nowhere else."),
            "require_exact_text": {
                "type": ["boolean", "null"],
                "description": "Only the prefilled text counts, but for spaces, punctuation and case; another one costs no attempt and gets the link again. By default where the instance says so: in `prove_phone`. Without it `prove_phone` finishes only after a tap on the link in the reply.",
            },
            "renewable": {
                "type": ["boolean", "null"], "default": true,
                "description": "Whether the browser that waited may replace a link that expired, or that was not finished in time, by a new one; never with a `purpose`.",
            },
            "purpose": short(limits::PURPOSE, "What the person agrees to, as messages and pages say it: `Pay 9,000 EUR`; must not be an address."),
            "client_ref": short(limits::CLIENT_REF, "A reference of yours, echoed; lists can filter on it."),
            "metadata": { "description": "Any JSON up to 2 KB, echoed." },
            "max_attempts": {
                "type": ["integer", "null"], "minimum": limits::MAX_ATTEMPTS.start(), "maximum": limits::MAX_ATTEMPTS.end(),
                "default": 5,
                "description": "Wrong senders before it fails; 1 ends it at the first.",
            },
            "client_ip": short(limits::CLIENT_IP, "Where the person's browser is."),
            "user_agent": short(limits::USER_AGENT, "What the person's browser says it is; shown before the tap."),
        },
    })
}

fn generate_example() -> Value {
    json!({
        "name": "Harbour",
        "expires": 900,
        "challenge": values::CHALLENGE,
        "client_ref": "cart 7",
        "message": { "prompt": "Sign me in to <name>", "success": "Hi! Tap to continue: <link>" },
    })
}

fn redeem() -> Operation {
    let about = "Log the person in on this answer, never on the callback `link.verified`. The token of the redirect \
        works once, for 60 seconds, and only with the verifier of the session that minted the link. Within that time \
        a repeat with the same verifier, or without one with the same `Idempotency-Key`, gets the same answer.";
    let short =
        |longest: u32, about: &str| json!({ "type": ["string", "null"], "maxLength": longest, "description": about });
    let body = json!({
        "type": "object",
        "properties": {
            "token": text("The `token` of the redirect."),
            "uuid": text("With `code`, in the place of `token`: the request, when you showed a QR code yourself."),
            "code": text("The six characters of the reply, as the person typed them on your page."),
            "verifier": text("From the session, when the link was minted with a `challenge`."),
            "client_ip": short(45, "With `code`: where the browser is in which it was typed, for `risk`."),
            "user_agent": short(512, "With `code`: what that browser says it is."),
        },
    });
    operation(Area::Links, "POST", "/api/otp/v2/{instance}/redeem", "redeem", "Exchange the redirect's token")
        .scope(Scope::Redeem)
        .about(about)
        .idempotent("redeem-7")
        .json(body, json!({ "token": values::REDEEM_TOKEN, "verifier": values::VERIFIER }))
        .envelope("Login confirmed", &examples::redeemed())
        .problems(&[Code::TokenSpent, Code::TokenRefused])
}
