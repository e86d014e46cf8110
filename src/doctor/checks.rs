//! The checks that need no API token: genuine webhooks, authenticated webhooks that must verify nothing, and forgeries.

use http::Request;
use jiff::SignedDuration;
use secrecy::ExposeSecret as _;
use url::form_urlencoded;

use super::{
    forge::forgeries,
    probe::{ProbeError, WebhookCounters},
    proxy_fix,
    report::Report,
    target::{CheckTarget, text_with_unknown_code},
};
use crate::{
    domain::InstanceId,
    egress::{Cause, EgressError},
    gateway::{CredentialLocation, SampleMessage, SampleSender, WebhookRequest},
    random,
};

const LIMITED_NOTE: &str = "the sender has used up its wrong codes (guesses_per_10m): a message counted as rate_limited was \
    authenticated and parsed, and would have been code_unknown";
/// Greater than every tolerance for a gateway's clock.
const STALE_BY: SignedDuration = SignedDuration::from_mins(15);

pub(super) async fn run_all(target: &CheckTarget<'_>, report: &mut Report) {
    let before = target.probe.counters().await;
    if before.is_none() {
        report.notes.push(
            "the metrics cannot be read (see --operator-url), so responses are checked by their status only".to_owned(),
        );
    }
    let sample = target.sample(SampleSender::Person, &text_with_unknown_code());
    let Some(webhook) = target.compose_signed(&sample) else {
        report.add("genuine", "a text message", false, "a webhook in this format", "none can be composed");
        report.advice.push(
            "the mapping parses no text message with a phone number; test it with `countersign inspect-webhook`"
                .to_owned(),
        );
        return;
    };
    if let Err(error) = target.probe.post("", &webhook).await {
        report.add("genuine", "the daemon responds", false, "a response", error.to_string());
        report.advice.push(no_response_advice(&target.probe.base, &error));
        return;
    }
    if target.is_send_only() {
        report
            .notes
            .push("this instance only sends SMS (sms_verifies is not set): its webhooks are counted as sms".to_owned());
    }
    check_genuine(target, report).await;
    check_harmless(target, report).await;
    if target.gateway.kind() == "cloud-api" {
        check_handshake(target, report).await;
    }
    check_forged(target, report).await;
    add_advice(target, report);
    report.leaves.push("only counters: metrics, and for 10 minutes the wrong codes of the fictional sender".to_owned());
}

/// Posts a request and checks the status and, by the daemon's metrics, the result.
async fn check_result(
    target: &CheckTarget<'_>,
    report: &mut Report,
    (group, name): (&'static str, &str),
    (tail, webhook): (&str, &WebhookRequest),
    words: &[&str],
) {
    let before = target.probe.counters().await;
    let status = target.probe.post(tail, webhook).await;
    let after = target.probe.counters().await;
    let results = new_results(before.as_ref(), after.as_ref());
    let cause = if status == Ok(200) { String::new() } else { new_cause(before.as_ref(), after.as_ref()) };
    let only_sends = group != "harmless" && target.is_send_only();
    let words = if only_sends { &["sms"][..] } else { words };
    let limited =
        words.contains(&"code_unknown") && results.as_ref().is_some_and(|results| results == &["rate_limited"]);
    if limited && !report.notes.iter().any(|note| note == LIMITED_NOTE) {
        report.notes.push(LIMITED_NOTE.to_owned());
    }
    let expected =
        limited || results.as_ref().is_none_or(|results| results.iter().any(|word| words.contains(&word.as_str())));
    let got = match (&status, &results) {
        (Ok(200), Some(results)) => format!("200 {}", results.join(", ")),
        (Ok(status), Some(_)) => format!("{status} {cause}").trim_end().to_owned(),
        (Ok(status), None) => status.to_string(),
        (Err(error), _) => error.to_string(),
    };
    report.add(group, name, status == Ok(200) && expected, format!("200 {}", words.join(" or ")), got);
}

fn new_results(before: Option<&WebhookCounters>, after: Option<&WebhookCounters>) -> Option<Vec<String>> {
    Some(after?.increased(before?, "webhook_events"))
}

/// Why the daemon refused the webhook. Empty if something else refused it, such as a proxy.
fn new_cause(before: Option<&WebhookCounters>, after: Option<&WebhookCounters>) -> String {
    let causes = before.zip(after).map(|(before, after)| after.increased(before, "webhooks_rejected"));
    causes.unwrap_or_default().join(", ")
}

async fn check_genuine(target: &CheckTarget<'_>, report: &mut Report) {
    let text = text_with_unknown_code();
    let sample = target.sample(SampleSender::Person, &text);
    let Some(webhook) = target.compose_signed(&sample) else { return };
    let code = &["code_unknown"];
    check_result(target, report, ("genuine", "a text with a code"), ("", &webhook), code).await;
    check_result(target, report, ("genuine", "the same request again (replayed)"), ("", &webhook), code).await;
    if let Some(resigned) = target.compose_signed(&sample) {
        check_result(target, report, ("genuine", "the same message, signed again (duplicate)"), ("", &resigned), code)
            .await;
    }
    let without_code = target.sample(SampleSender::Person, "countersign doctor, without a code");
    if let Some(webhook) = target.compose_signed(&without_code) {
        check_result(target, report, ("genuine", "a text without a code"), ("", &webhook), &["no_code"]).await;
    }
    let letters = format!("مرحبا \u{202b}{text}\u{202c} Größe 👍 <&> \\/ \u{2028} %20+=");
    if let Some(webhook) = target.compose_signed(&target.sample(SampleSender::Person, &letters)) {
        check_result(target, report, ("genuine", "letters of several scripts"), ("", &webhook), code).await;
    }
    let auth = target.gateway.webhook_auth();
    for (index, secret) in auth.secrets().iter().enumerate().skip(1) {
        let mut webhook = target.compose(&sample).unwrap_or_default();
        auth.sign_with(secret.expose_secret(), &mut webhook, CheckTarget::now());
        let name = format!("signed with secret {} (rotation)", index + 1);
        check_result(target, report, ("genuine", &name), ("", &webhook), code).await;
    }
    if let (CredentialLocation::Query(_), Some(secret)) = (auth.credential_location(), auth.secrets().first()) {
        let mut webhook = webhook;
        webhook.query = String::new();
        let tail: String = form_urlencoded::byte_serialize(secret.expose_secret().as_bytes()).collect();
        let tail = format!("/{}", tail.replace('+', "%20"));
        check_result(target, report, ("genuine", "the secret as the end of the path"), (&tail, &webhook), code).await;
        if target.gateway.accepts_path_suffix("messages-upsert") {
            let tail = format!("{tail}/messages-upsert");
            check_result(target, report, ("genuine", "the event's name after the secret"), (&tail, &webhook), code)
                .await;
        }
    }
}

/// Webhooks that are authenticated and must verify nothing.
async fn check_harmless(target: &CheckTarget<'_>, report: &mut Report) {
    let now = CheckTarget::now().as_second();
    let longest = i64::try_from(target.config.longest_life().as_secs()).unwrap_or(i64::MAX / 2);
    let too_old = &["message_too_old"];
    for (name, at) in [("stale", now - longest - STALE_BY.as_secs()), ("from the future", now + STALE_BY.as_secs())] {
        let sample = SampleMessage { timestamp: at, ..target.sample(SampleSender::Person, &text_with_unknown_code()) };
        let Some(webhook) = target.compose_signed(&sample) else { continue };
        if target.is_send_only() {
            continue;
        }
        if target.parse(&webhook).is_some_and(|event| event.timestamp.is_some()) {
            check_result(target, report, ("harmless", &format!("a text that is {name}")), ("", &webhook), too_old)
                .await;
        } else if name == "stale" {
            report.notes.push("this gateway sends no timestamps: stale messages cannot be checked".to_owned());
        }
    }
    for (who, name, words) in [
        (SampleSender::Group, "a text in a group", &["group"][..]),
        (SampleSender::OwnNumber, "a message from the own number", &["from_me", "status"]),
        (SampleSender::HiddenNumber, "a text from a person with a hidden number", &["code_unknown"]),
    ] {
        let Some(webhook) = target.compose_signed(&target.sample(who, &text_with_unknown_code())) else {
            report.notes.push(format!("not checked, this gateway has no such message: {name}"));
            continue;
        };
        let words = if target.is_send_only() { &[words, &["sms"]].concat() } else { words };
        check_result(target, report, ("harmless", name), ("", &webhook), words).await;
        if who == SampleSender::HiddenNumber {
            let phone = target.parse(&webhook).and_then(|event| event.sender.phone);
            let got = if phone.is_some() { "a phone" } else { "no phone" };
            report.add("harmless", "the digits of a hidden id are not a number", phone.is_none(), "no phone", got);
        }
    }
}

/// Meta's subscription handshake.
async fn check_handshake(target: &CheckTarget<'_>, report: &mut Report) {
    let token = target.config.gateway.reader().secret("verify_token");
    let token = token.or_else(|| target.gateway.webhook_auth().secrets().first().cloned()).unwrap_or_default();
    for (name, token, expected_response) in [
        ("the handshake", token.expose_secret(), (200, "4815162342")),
        ("the handshake with another token", "another token", (403, "")),
    ] {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("hub.mode", "subscribe"), ("hub.verify_token", token), ("hub.challenge", "4815162342")])
            .finish();
        let url = format!("{}/webhooks/{}?{query}", target.probe.base, target.config.id);
        let mut request = Request::get(url);
        if let Some((name, value)) = target.probe.doctor_header(&[]) {
            request = request.header(name, value);
        }
        let Ok(request) = request.body(Vec::new()) else { continue };
        let answer = target.probe.send(request).await;
        let (status, body) = answer.map_or((0, Vec::new()), |answer| (answer.status().as_u16(), answer.into_body()));
        let passed =
            status == expected_response.0 && (expected_response.1.is_empty() || body == expected_response.1.as_bytes());
        report.add("genuine", name, passed, expected_response.0.to_string(), status.to_string());
    }
}

async fn check_forged(target: &CheckTarget<'_>, report: &mut Report) {
    let sample = target.sample(SampleSender::Person, &text_with_unknown_code());
    let Some(unsigned) = target.compose(&sample) else { return };
    let auth = target.gateway.webhook_auth();
    let other_secrets = target.others.iter().flat_map(|other| other.webhook_auth().secrets());
    let other_secrets: Vec<String> = other_secrets.map(|secret| secret.expose_secret().to_owned()).collect();
    for forgery in forgeries(&auth, &unsigned, &sample.phone, &other_secrets, CheckTarget::now()) {
        let status = target.probe.post("", &forgery.webhook).await;
        add_refusal(report, forgery.name, &status);
    }
    let mut webhook = unsigned;
    auth.sign(&mut webhook, CheckTarget::now());
    let nowhere = InstanceId::from_random(random::bytes()).to_string();
    let status = target.probe.post_to(&nowhere, "", &webhook).await;
    add_refusal(report, "a genuine request at an instance that does not exist".to_owned(), &status);
    let status = target.probe.post("/x/y", &WebhookRequest { query: String::new(), ..webhook.clone() }).await;
    if matches!(auth.credential_location(), CredentialLocation::Query(_)) {
        add_refusal(report, "a wrong secret in the path".to_owned(), &status);
    }
}

fn add_refusal(report: &mut Report, name: String, status: &Result<u16, ProbeError>) {
    let got = status.as_ref().map_or_else(ToString::to_string, ToString::to_string);
    let passed = status.as_ref().is_ok_and(|status| matches!(status, 400 | 401 | 403 | 404 | 405 | 413 | 429));
    report.add("forged", name, passed, "401", got);
}

fn add_advice(target: &CheckTarget<'_>, report: &mut Report) {
    let answered = |group: &str, answer: &str| {
        report.checks.iter().filter(|check| check.group == group && check.got.starts_with(answer)).count()
    };
    let (processed, refused, accepted) =
        (answered("genuine", "200"), answered("genuine", "401"), answered("forged", "2"));
    let mut advice = Vec::new();
    if refused > 0 {
        let caused_by = |cause: &str| {
            report
                .checks
                .iter()
                .any(|check| check.group == "genuine" && check.got.starts_with("401") && check.got.contains(cause))
        };
        let base = &target.probe.base;
        advice.push(if caused_by("changed body") {
            let fix = proxy_fix::CHANGED_BODY;
            format!("a proxy between here and the daemon changes bodies, which invalidates signatures; configure {base} to pass them on unchanged ({fix})")
        } else if caused_by("no signature") {
            let location = target.gateway.webhook_auth().describe();
            let fix = proxy_fix::DROPPED_HEADER;
            format!("a proxy between here and the daemon drops a header; webhooks are authenticated by {location}, which did not arrive ({fix})")
        } else if processed == 0 {
            format!(
                "genuine webhooks arrive unchanged and are refused; the daemon at {base} has other secrets than this \
                 configuration, so restart or reload it"
            )
        } else {
            "some genuine webhooks are refused; a proxy in between changes some of them".to_owned()
        });
    }
    advice.extend(proxy_advice(target, report));
    if accepted > 0 {
        advice.push(format!(
            "forged webhooks are accepted: the server at {} is not this daemon, or another version of it",
            target.probe.base
        ));
    }
    report.advice.extend(advice);
}

/// What to do if every webhook gets the same response from something other than the daemon.
fn proxy_advice(target: &CheckTarget<'_>, report: &Report) -> Option<String> {
    let base = &target.probe.base;
    let genuine: Vec<&str> =
        report.checks.iter().filter(|check| check.group == "genuine").map(|check| check.got.as_str()).collect();
    let first = genuine.first().and_then(|got| got.split(' ').next())?;
    if !genuine.iter().all(|got| got.starts_with(first)) {
        return None;
    }
    let advice = match first {
        "301" | "302" | "307" | "308" => format!(
            "{base} answers with a redirect ({first}), which gateways do not follow: enter the address that it leads to at \
             the gateway, and as public_url, or remove the redirect ({})",
            proxy_fix::REDIRECT
        ),
        "403" => format!(
            "something in front of the daemon refuses webhooks (403), such as a firewall or the proxy's login; allow POST \
             /webhooks/{} ({})",
            target.config.id,
            proxy_fix::FORBIDDEN
        ),
        "404" => format!(
            "{base} does not know this instance (404): the daemon there has another configuration, or the proxy another path"
        ),
        "405" => format!("{base} is no countersign (405): a proxy serves something else at /webhooks"),
        "413" => {
            format!("a proxy refuses the size of webhooks (413): allow bodies of 4 MiB ({})", proxy_fix::TOO_LARGE)
        }
        "502" | "503" | "504" => format!(
            "{base} answers {first}: if that is the proxy, it cannot reach the daemon ({}); if it is the daemon, \
             `countersign status` says why",
            proxy_fix::UNREACHABLE
        ),
        _ => return None,
    };
    Some(advice)
}

/// What to do if not even the first webhook got a response.
fn no_response_advice(base: &str, error: &ProbeError) -> String {
    match error {
        ProbeError::Egress(EgressError { cause: Cause::Tls(why), .. }) => format!(
            "gateways will not trust {base} ({why}): serve a certificate for this name with its whole chain ({})",
            proxy_fix::CERTIFICATE
        ),
        _ => format!("no response from {base}: is it running, is --url right?"),
    }
}
