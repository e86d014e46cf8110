//! The checks, from the gateway's own messages to forgeries.

use std::sync::Arc;

use http::{Method, Request};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use url::form_urlencoded;

use super::{
    card::Card,
    dialect,
    forge::forgeries,
    probe::{Counters, Probe},
};
use crate::{
    clock::Clock,
    config::InstanceConfig,
    domain::{InstanceId, Phone},
    gateway::{Carrier, Draft, Event, Gateway, Ignored, Sample, Webhook, Who},
    random,
};

/// It was read, and what it would have been is not known.
const LIMITED: &str = "the sender's budget of wrong codes is used up (guesses_per_10m): what is told as rate_limited was \
    authenticated and understood, and would have been code_unknown";
/// Past every tolerance for a gateway's clock.
const LATE: SignedDuration = SignedDuration::from_mins(15);

/// The instance under examination.
pub(super) struct Patient<'a> {
    pub(super) gateway: Arc<dyn Gateway>,
    pub(super) config: &'a InstanceConfig,
    others: Vec<Arc<dyn Gateway>>,
    pub(super) probe: Probe,
    /// Whom messages come from.
    phone: String,
    lid: String,
    /// The operator's own.
    own: Option<String>,
}

impl<'a> Patient<'a> {
    pub(super) fn new(
        gateway: Arc<dyn Gateway>,
        config: &'a InstanceConfig,
        others: Vec<Arc<dyn Gateway>>,
        probe: Probe,
        phone: Option<&Phone>,
    ) -> Self {
        let own = phone.map(|phone| phone.digits().to_owned());
        // Somebody else in each run, so that no run finds the budget of wrong codes that another one has used up, and
        // no real person's is touched, unless this instance would answer somebody who is made up.
        let random = u64::from_be_bytes(random::bytes());
        let stranger = format!("447700900{:03}", random % 1_000);
        let lid = format!("190000{:09}", random / 1_000 % 1_000_000_000);
        let phone = own.clone().filter(|_| config.reply_to_unknown).unwrap_or(stranger);
        Self { gateway, config, others, probe, phone, lid, own }
    }

    /// Messages come from the operator's own number from now on, if there is one.
    pub(super) fn speak_as_operator(&mut self) {
        if let Some(own) = &self.own {
            self.phone.clone_from(own);
        }
    }

    /// Whether an SMS to this instance counts for nothing, so that it only sends.
    pub(super) fn only_sends(&self) -> bool {
        let draft = self.draft(&self.sample(Who::Person, &unknown()));
        let event = draft.and_then(|draft| self.parsed(&draft));
        event.is_some_and(|event| event.ignored == Some(Ignored::Sms))
    }

    pub(super) fn now() -> Timestamp {
        Clock::default().wall()
    }

    /// A message of now.
    pub(super) fn sample(&self, who: Who, text: &str) -> Sample {
        let id = random::bytes::<10>().iter().fold(String::new(), |id, byte| format!("{id}{byte:02X}"));
        let (text, at) = (text.to_owned(), Self::now().as_second());
        let to = self.config.number.digits().to_owned();
        Sample { who, id, text, at, phone: self.phone.clone(), to, lid: self.lid.clone() }
    }

    pub(super) fn draft(&self, sample: &Sample) -> Option<Draft> {
        dialect::compose(&*self.gateway, &self.config.gateway, sample)
    }

    pub(super) fn signed(&self, sample: &Sample) -> Option<Draft> {
        let mut draft = self.draft(sample)?;
        self.gateway.proof().sign(&mut draft, Self::now());
        Some(draft)
    }

    /// What our own copy of the dialect reads.
    fn parsed(&self, draft: &Draft) -> Option<Event> {
        let (headers, now) = (http::HeaderMap::new(), Self::now());
        let (query, body) = (draft.query.as_str(), draft.body.as_slice());
        let webhook = Webhook { method: &Method::POST, path_secret: None, query, headers: &headers, body, now };
        self.gateway.parse(&webhook).ok()?.into_iter().next()
    }
}

/// A code that nobody minted, in a text.
fn unknown() -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let code: String = random::bytes::<16>().iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    format!("countersign doctor [{code}]")
}

pub(super) async fn all(patient: &Patient<'_>, card: &mut Card) {
    let before = patient.probe.counters().await;
    if before.is_none() {
        card.notes.push(
            "the metrics cannot be read from here (--operator-url): answers are judged by their status alone"
                .to_owned(),
        );
    }
    let sample = patient.sample(Who::Person, &unknown());
    let Some(draft) = patient.signed(&sample) else {
        card.add("genuine", "a text message", false, "a message in this dialect", "none can be composed");
        card.advice.push("this mapping reads no text message with a phone: try it with inspect-webhook".to_owned());
        return;
    };
    if let Err(error) = patient.probe.post("", &draft).await {
        card.add("genuine", "the daemon answers", false, "an answer", error);
        card.advice.push(format!("nothing answers at {}: is it running, is --url right?", patient.probe.base));
        return;
    }
    if patient.only_sends() {
        card.notes.push(
            "this instance sends codes by SMS and takes none (sms_verifies is not set): its webhooks are told as sms"
                .to_owned(),
        );
    }
    genuine(patient, card).await;
    kinds(patient, card).await;
    if patient.gateway.kind() == "cloud-api" {
        handshake(patient, card).await;
    }
    forged(patient, card).await;
    advise(patient, card);
    card.leaves.push(
        "counters only: metrics, and for 10 minutes a part of the made-up sender's budget of wrong codes".to_owned(),
    );
}

/// Posts and compares with the status and what the daemon says it made of it.
async fn expect(
    patient: &Patient<'_>,
    card: &mut Card,
    (group, name): (&'static str, &str),
    (tail, draft): (&str, &Draft),
    words: &[&str],
) {
    let before = patient.probe.counters().await;
    let status = patient.probe.post(tail, draft).await;
    let after = patient.probe.counters().await;
    let made = made_of(before.as_ref(), after.as_ref());
    let only_sends = group != "harmless" && patient.only_sends();
    let words = if only_sends { &["sms"][..] } else { words };
    let limited = words.contains(&"code_unknown") && made.as_ref().is_some_and(|made| made == &["rate_limited"]);
    if limited && !card.notes.iter().any(|note| note == LIMITED) {
        card.notes.push(LIMITED.to_owned());
    }
    let seen = limited || made.as_ref().is_none_or(|made| made.iter().any(|word| words.contains(&word.as_str())));
    let got = match (&status, &made) {
        (Ok(status), Some(made)) => format!("{status} {}", made.join(", ")),
        (Ok(status), None) => status.to_string(),
        (Err(error), _) => error.clone(),
    };
    card.add(group, name, status == Ok(200) && seen, format!("200 {}", words.join(" or ")), got);
}

fn made_of(before: Option<&Counters>, after: Option<&Counters>) -> Option<Vec<String>> {
    Some(after?.grown(before?, "webhook_events"))
}

async fn genuine(patient: &Patient<'_>, card: &mut Card) {
    let text = unknown();
    let sample = patient.sample(Who::Person, &text);
    let Some(draft) = patient.signed(&sample) else { return };
    let code = &["code_unknown"];
    expect(patient, card, ("genuine", "a text with a code"), ("", &draft), code).await;
    expect(patient, card, ("genuine", "the same request once more (replayed)"), ("", &draft), code).await;
    if let Some(anew) = patient.signed(&sample) {
        expect(patient, card, ("genuine", "the same message, signed anew (duplicate)"), ("", &anew), code).await;
    }
    let chatter = patient.sample(Who::Person, "countersign doctor, without a code");
    if let Some(draft) = patient.signed(&chatter) {
        expect(patient, card, ("genuine", "a text without a code"), ("", &draft), &["no_code"]).await;
    }
    let every = format!("مرحبا \u{202b}{text}\u{202c} Größe 👍 <&> \\/ \u{2028} %20+=");
    if let Some(draft) = patient.signed(&patient.sample(Who::Person, &every)) {
        expect(patient, card, ("genuine", "letters of every sort"), ("", &draft), code).await;
    }
    let proof = patient.gateway.proof();
    for (index, secret) in proof.secrets().iter().enumerate().skip(1) {
        let mut draft = patient.draft(&sample).unwrap_or_default();
        proof.sign_as(secret.expose_secret(), &mut draft, Patient::now());
        let name = format!("signed with secret {} (rotation)", index + 1);
        expect(patient, card, ("genuine", &name), ("", &draft), code).await;
    }
    if let (Carrier::Query(_), Some(secret)) = (proof.carrier(), proof.secrets().first()) {
        let mut draft = draft;
        draft.query = String::new();
        let tail: String = form_urlencoded::byte_serialize(secret.expose_secret().as_bytes()).collect();
        let tail = format!("/{}", tail.replace('+', "%20"));
        expect(patient, card, ("genuine", "the secret as the end of the path"), (&tail, &draft), code).await;
        if patient.gateway.takes_tail("messages-upsert") {
            let tail = format!("{tail}/messages-upsert");
            expect(patient, card, ("genuine", "the event's name behind the secret"), (&tail, &draft), code).await;
        }
    }
}

/// What must verify nobody.
async fn kinds(patient: &Patient<'_>, card: &mut Card) {
    let now = Patient::now().as_second();
    let longest = i64::try_from(patient.config.longest_life().as_secs()).unwrap_or(i64::MAX / 2);
    let too_old = &["message_too_old"];
    for (name, at) in [("stale", now - longest - LATE.as_secs()), ("from the future", now + LATE.as_secs())] {
        let sample = Sample { at, ..patient.sample(Who::Person, &unknown()) };
        let Some(draft) = patient.signed(&sample) else { continue };
        if patient.only_sends() {
            continue;
        }
        if patient.parsed(&draft).is_some_and(|event| event.timestamp.is_some()) {
            expect(patient, card, ("harmless", &format!("a text that is {name}")), ("", &draft), too_old).await;
        } else if name == "stale" {
            card.notes.push("this gateway tells no times: no message of its can be stale".to_owned());
        }
    }
    for (who, name, words) in [
        (Who::Group, "a text in a group", &["group"][..]),
        (Who::Own, "our own message", &["from_me", "status"]),
        (Who::Hidden, "a text of somebody whose number is hidden", &["code_unknown"]),
    ] {
        let Some(draft) = patient.signed(&patient.sample(who, &unknown())) else {
            card.notes.push(format!("not tried, this dialect does not know it: {name}"));
            continue;
        };
        let words = if patient.only_sends() { &[words, &["sms"]].concat() } else { words };
        expect(patient, card, ("harmless", name), ("", &draft), words).await;
        if who == Who::Hidden {
            let phone = patient.parsed(&draft).and_then(|event| event.sender.phone);
            let got = if phone.is_some() { "a phone" } else { "no phone" };
            card.add("harmless", "the digits of a hidden id are no number", phone.is_none(), "no phone", got);
        }
    }
}

/// Meta's subscription.
async fn handshake(patient: &Patient<'_>, card: &mut Card) {
    let token = patient.config.gateway.reader().secret("verify_token");
    let token = token.or_else(|| patient.gateway.proof().secrets().first().cloned()).unwrap_or_default();
    for (name, token, wanted) in [
        ("the handshake", token.expose_secret(), (200, "4815162342")),
        ("the handshake with another token", "another token", (403, "")),
    ] {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("hub.mode", "subscribe"), ("hub.verify_token", token), ("hub.challenge", "4815162342")])
            .finish();
        let url = format!("{}/webhooks/{}?{query}", patient.probe.base, patient.config.id);
        let Ok(request) = Request::get(url).body(Vec::new()) else { continue };
        let answer = patient.probe.send(request).await;
        let (status, body) = answer.map_or((0, Vec::new()), |answer| (answer.status().as_u16(), answer.into_body()));
        let passed = status == wanted.0 && (wanted.1.is_empty() || body == wanted.1.as_bytes());
        card.add("genuine", name, passed, wanted.0.to_string(), status.to_string());
    }
}

async fn forged(patient: &Patient<'_>, card: &mut Card) {
    let sample = patient.sample(Who::Person, &unknown());
    let Some(unsigned) = patient.draft(&sample) else { return };
    let proof = patient.gateway.proof();
    let theirs = patient.others.iter().flat_map(|other| other.proof().secrets());
    let theirs: Vec<String> = theirs.map(|secret| secret.expose_secret().to_owned()).collect();
    for forgery in forgeries(&proof, &unsigned, &sample.phone, &theirs, Patient::now()) {
        let status = patient.probe.post("", &forgery.draft).await;
        refused(card, forgery.name, &status);
    }
    let mut draft = unsigned;
    proof.sign(&mut draft, Patient::now());
    let nowhere = InstanceId::from_random(random::bytes()).to_string();
    let status = patient.probe.post_to(&nowhere, "", &draft).await;
    refused(card, "a genuine request at an instance that does not exist".to_owned(), &status);
    let status = patient.probe.post("/x/y", &Draft { query: String::new(), ..draft.clone() }).await;
    if matches!(proof.carrier(), Carrier::Query(_)) {
        refused(card, "a wrong secret in the path".to_owned(), &status);
    }
}

fn refused(card: &mut Card, name: String, status: &Result<u16, String>) {
    let got = status.as_ref().map_or_else(Clone::clone, ToString::to_string);
    let passed = status.as_ref().is_ok_and(|status| matches!(status, 400 | 401 | 403 | 404 | 405 | 413 | 429));
    card.add("forged", name, passed, "401", got);
}

fn advise(patient: &Patient<'_>, card: &mut Card) {
    let answered = |group: &str, answer: &str| {
        card.checks.iter().filter(|check| check.group == group && check.got.starts_with(answer)).count()
    };
    let (refused, accepted) = (answered("genuine", "401"), answered("forged", "2"));
    let mut advice = Vec::new();
    if refused > 0 && refused == answered("genuine", "") {
        advice.push(format!(
            "genuine webhooks are refused: the daemon at {} was started with other secrets (restart or reload it), or \
             something in between changes bodies or drops headers (try --url with its own address)",
            patient.probe.base
        ));
    } else if refused > 0 {
        advice.push("some genuine webhooks are refused: something in between changes some bodies".to_owned());
    }
    if accepted > 0 {
        advice.push(format!(
            "forged webhooks are accepted: whatever answers at {} is not this daemon, or not this version of it",
            patient.probe.base
        ));
    }
    card.advice.extend(advice);
}
