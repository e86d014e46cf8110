//! What somebody without the secret can try on a genuine webhook. Every one of these must be refused.

use std::collections::HashSet;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::{
    domain::keys::sha256,
    gateway::{Carrier, Draft, Proof},
};

/// More of other instances' secrets are not tried.
const MOST_OTHERS: usize = 8;
/// Our clock may differ from the daemon's by this much.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// One attempt.
pub(super) struct Forgery {
    pub(super) name: String,
    pub(super) draft: Draft,
}

/// Every attempt there is against this proof, none of them twice.
/// `sender` is the phone in the genuine one.
pub(super) fn forgeries(
    proof: &Proof<'_>,
    unsigned: &Draft,
    sender: &str,
    others: &[String],
    now: Timestamp,
) -> Vec<Forgery> {
    let mut genuine = unsigned.clone();
    proof.sign(&mut genuine, now);
    let mut forge = Forge { proof, unsigned, sender, genuine, now, made: Vec::new() };
    forge.proofs();
    forge.places();
    forge.secrets(others);
    if !proof.is_weak() {
        forge.bodies();
    }
    forge.times();
    if proof.signs_query() {
        forge.urls();
    }
    forge.tokens();
    let mut seen = HashSet::from([key(&forge.genuine)]);
    forge.made.retain(|forgery| seen.insert(key(&forgery.draft)));
    forge.made
}

/// Equal for what is one request: headers of different names have no order.
fn key(draft: &Draft) -> (String, Vec<(String, String)>, Vec<u8>) {
    let mut headers = draft.headers.clone();
    headers.sort_by(|one, other| one.0.cmp(&other.0));
    (draft.query.clone(), headers, draft.body.clone())
}

struct Forge<'a> {
    proof: &'a Proof<'a>,
    unsigned: &'a Draft,
    sender: &'a str,
    genuine: Draft,
    now: Timestamp,
    made: Vec<Forgery>,
}

impl Forge<'_> {
    fn add(&mut self, name: impl Into<String>, draft: Draft) {
        self.made.push(Forgery { name: name.into(), draft });
    }

    /// What the carrier holds, prefix included.
    fn value(&self) -> String {
        match self.proof.carrier() {
            Carrier::Header(name) => header(&self.genuine, &name).unwrap_or_default(),
            Carrier::Query(name) => {
                let mut pairs = form_urlencoded::parse(self.genuine.query.as_bytes());
                pairs.find(|(key, _)| *key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
            }
        }
    }

    /// The genuine request with other values in the carrier.
    fn carrying(&self, values: &[&str]) -> Draft {
        let mut draft = self.genuine.clone();
        match self.proof.carrier() {
            Carrier::Header(name) => {
                draft.headers.retain(|(known, _)| *known != name);
                draft.headers.extend(values.iter().map(|value| (name.clone(), (*value).to_owned())));
            }
            Carrier::Query(name) => {
                let pairs = values.iter().map(|value| (name.as_str(), *value));
                draft.query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            }
        }
        draft
    }

    /// The proof itself, spoiled.
    fn proofs(&mut self) {
        let value = self.value();
        let prefix = self.proof.prefix().to_owned();
        let bare = value.strip_prefix(&prefix).unwrap_or(&value).to_owned();
        let wrong = format!("{prefix}{}", flipped(&bare, 0));
        self.add("no proof", self.carrying(&[]));
        if matches!(self.proof.carrier(), Carrier::Header(_)) {
            self.add("the proof twice", self.carrying(&[&value, &value]));
            self.add("the proof, then a wrong one", self.carrying(&[&value, &wrong]));
        }
        self.add("a wrong proof, then the proof", self.carrying(&[&wrong, &value]));
        let mut values: Vec<(String, String)> = Vec::new();
        let mut say = |name: &str, value: String| values.push((name.to_owned(), value));
        say("an empty proof", String::new());
        say("only the prefix", prefix.clone());
        let length = bare.chars().count();
        for eighth in 1..8 {
            let cut: String = bare.chars().take(length * eighth / 8).collect();
            say(&format!("the first {eighth}/8 of the proof"), format!("{prefix}{cut}"));
        }
        say(
            "without its last character",
            format!("{prefix}{}", bare.chars().take(length.max(1) - 1).collect::<String>()),
        );
        say("without its first character", format!("{prefix}{}", bare.chars().skip(1).collect::<String>()));
        for place in 0..8 {
            let changed = flipped(&bare, length * place / 8);
            say(&format!("one character changed, at {place}/8"), format!("{prefix}{changed}"));
        }
        say("one character more", format!("{value}0"));
        say("one character before", format!("0{value}"));
        say("twice in a row", format!("{value}{value}"));
        say("twice, with a comma", format!("{value},{value}"));
        say("in upper case", value.to_uppercase());
        say("in lower case", value.to_lowercase());
        say("with letters of the other case", swapped(&value));
        say("backwards", format!("{prefix}{}", bare.chars().rev().collect::<String>()));
        say("a space within", format!("{prefix}{}", spaced(&bare)));
        say("in quotes", format!("\"{value}\""));
        say("all zeros", format!("{prefix}{}", "0".repeat(length)));
        say("base64 of it", STANDARD.encode(&value));
        say("hash of it", hex(&sha256(value.as_bytes())));
        if !self.proof.is_list() {
            say("two schemes in one", format!("Bearer Bearer {value}"));
        }
        for word in ["null", "undefined", "true", "*", "[object Object]", "{}", "' OR '1'='1", "none", "%00", "$secret"]
        {
            say(&format!("the word {word}"), word.to_owned());
        }
        if !prefix.is_empty() {
            say("without its prefix", bare.clone());
            say("with the prefix twice", format!("{prefix}{value}"));
            say("with another prefix", format!("md5={bare}"));
        }
        for (name, value) in values {
            let draft = self.carrying(&[&value]);
            self.add(name, draft);
        }
    }

    /// The proof where it does not belong.
    fn places(&mut self) {
        let (value, bare) = (self.value(), self.carrying(&[]));
        let carrier = self.proof.carrier();
        let pair = |name: &str| form_urlencoded::Serializer::new(String::new()).append_pair(name, &value).finish();
        for name in ["x-signature", "x-secret", "x-forwarded-authorization", "cookie"] {
            let mut draft = bare.clone();
            draft.headers.push((name.to_owned(), value.clone()));
            self.add(format!("the proof in the header {name}"), draft);
        }
        match &carrier {
            Carrier::Header(name) => {
                let query = pair(name);
                self.add("the proof in the query", Draft { query, ..bare });
            }
            Carrier::Query(name) => {
                for other in [name.to_uppercase(), format!("{name}[]"), format!("{name}%20"), format!(" {name}")] {
                    let query = pair(&other);
                    self.add(format!("the parameter named {other:?}"), Draft { query, ..bare.clone() });
                }
                let mut draft = bare;
                draft.headers.push(("authorization".to_owned(), format!("Bearer {value}")));
                self.add("the proof in the header authorization", draft);
            }
        }
    }

    /// Made with another secret.
    fn secrets(&mut self, others: &[String]) {
        let own = self.proof.secrets().iter().map(|secret| secret.expose_secret().to_owned()).collect::<Vec<_>>();
        let secret = own.first().cloned().unwrap_or_default();
        let length = secret.chars().count();
        let mut tried = vec![
            ("no secret".to_owned(), String::new()),
            ("a random secret".to_owned(), hex(&crate::random::bytes::<32>())),
            ("a shortened secret".to_owned(), secret.chars().take(length.max(1) - 1).collect()),
            ("half of the secret".to_owned(), secret.chars().take(length / 2).collect()),
            ("a longer secret".to_owned(), format!("{secret}0")),
            ("the secret backwards".to_owned(), secret.chars().rev().collect()),
            ("the secret in upper case".to_owned(), secret.to_uppercase()),
            ("the secret with one character changed".to_owned(), flipped(&secret, length / 2)),
            ("base64 of the secret".to_owned(), STANDARD.encode(&secret)),
        ];
        for published in ["secret", "changeme", "password", "admin", "test"] {
            tried.push((format!("the published default {published:?}"), published.to_owned()));
        }
        for (index, other) in others.iter().filter(|other| !own.contains(other)).take(MOST_OTHERS).enumerate() {
            tried.push((format!("another instance's secret, {}", index + 1), other.clone()));
        }
        for (name, secret) in tried.into_iter().filter(|(_, secret)| !own.contains(secret)) {
            let mut draft = self.unsigned.clone();
            self.proof.sign_as(&secret, &mut draft, self.now);
            self.add(name, draft);
        }
    }

    /// A genuine proof over another body.
    fn bodies(&mut self) {
        let genuine = self.genuine.body.clone();
        let mut bodies: Vec<(String, Vec<u8>)> = Vec::new();
        for place in 0..8 {
            let mut body = genuine.clone();
            let at = body.len() * place / 8;
            if let Some(byte) = body.get_mut(at) {
                *byte ^= 1;
            }
            bodies.push((format!("one byte of the body changed, at {place}/8"), body));
        }
        for (name, end) in [("a space", " "), ("a line end", "\n"), ("a digit", "0")] {
            bodies.push((format!("{name} after the body"), [&genuine, end.as_bytes()].concat()));
        }
        bodies.push(("a byte order mark before the body".to_owned(), ["\u{feff}".as_bytes(), &genuine].concat()));
        bodies.push(("the body without its end".to_owned(), genuine[..genuine.len().max(1) - 1].to_vec()));
        bodies.push(("the body without its start".to_owned(), genuine.iter().skip(1).copied().collect()));
        bodies.push(("no body".to_owned(), Vec::new()));
        bodies.push(("an empty object".to_owned(), b"{}".to_vec()));
        if let Ok(value) = serde_json::from_slice::<Value>(&genuine) {
            let pretty = serde_json::to_vec_pretty(&value).unwrap_or_default();
            bodies.push(("the body written anew".to_owned(), pretty));
        }
        let text = String::from_utf8_lossy(&genuine).into_owned();
        let another = flipped(self.sender, self.sender.len().max(1) - 1);
        bodies.push(("another sender".to_owned(), text.replace(self.sender, &another).into_bytes()));
        bodies.push(("another code".to_owned(), text.replace("doctor", "Doctor").into_bytes()));
        for (name, body) in bodies {
            self.add(name, Draft { body, ..self.genuine.clone() });
        }
    }

    /// Signed at another time, or with the time changed afterwards.
    fn times(&mut self) {
        let Some((old, young)) = self.proof.lifetime() else { return };
        let mut times = vec![
            ("signed too long ago", self.now - old - MARGIN),
            ("signed an hour too early", self.now - old - SignedDuration::from_hours(1)),
            ("signed in 1970", Timestamp::UNIX_EPOCH),
        ];
        if let Some(young) = young {
            times.push(("signed in the future", self.now + young + MARGIN));
            times.push(("signed tomorrow", self.now + SignedDuration::from_hours(24)));
        }
        for (name, at) in times {
            let mut draft = self.unsigned.clone();
            self.proof.sign(&mut draft, at);
            self.add(name, draft);
        }
        let Some(name) = self.proof.time_header() else { return };
        let stamp = header(&self.genuine, name).unwrap_or_default();
        let later = (self.now + SignedDuration::from_secs(1)).as_second().to_string();
        let mut with = |what: &str, values: &[&str]| {
            let mut draft = self.genuine.clone();
            draft.headers.retain(|(known, _)| known != name);
            draft.headers.extend(values.iter().map(|value| (name.to_owned(), (*value).to_owned())));
            self.made.push(Forgery { name: what.to_owned(), draft });
        };
        with("without the signed time", &[]);
        with("with the time twice", &[&stamp, &stamp]);
        with("with the time a second later", &[&later]);
        with("with the time in milliseconds", &[&format!("{stamp}000")]);
        with("with an empty time", &[""]);
        with("with a time in words", &["now"]);
    }

    /// A genuine proof for another URL.
    fn urls(&mut self) {
        let query = |query: &str| Draft { query: query.to_owned(), ..self.genuine.clone() };
        let hash = hex(&sha256(&self.genuine.body));
        let tricks = [
            ("a parameter added to the URL", query("a=b")),
            ("an empty parameter added", query("a")),
            ("the hash of the body added to the URL", query(&format!("bodySHA256={hash}"))),
            ("an empty hash of the body", query("bodySHA256=")),
        ];
        for (name, draft) in tricks {
            self.add(name, draft);
        }
        let mut elsewhere = Draft { query: "a=b".to_owned(), ..self.unsigned.clone() };
        self.proof.sign(&mut elsewhere, self.now);
        self.add("signed for another URL", Draft { query: String::new(), ..elsewhere });
    }

    /// Tokens that choose their own algorithm, or say something else than was signed.
    fn tokens(&mut self) {
        let value = self.value();
        let Some(token) = value.strip_prefix("Bearer ") else { return };
        let parts: Vec<&str> = token.split('.').collect();
        let [head, claims, mac] = parts[..] else { return };
        let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let mut more: Value =
            URL_SAFE_NO_PAD.decode(claims).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
        more["exp"] = json!(4_102_444_800_i64);
        let more = encode(&more);
        let none = encode(&json!({ "alg": "none", "typ": "JWT" }));
        for (name, token) in [
            ("a token without an algorithm", format!("{none}.{claims}.")),
            ("a token without an algorithm, signed", format!("{none}.{claims}.{mac}")),
            ("a token with other claims", format!("{head}.{more}.{mac}")),
            ("a token without a signature", format!("{head}.{claims}.")),
            ("a token in two parts", format!("{head}.{claims}")),
            ("a token in four parts", format!("{token}.{mac}")),
            ("a token of another kind", format!("{}.{claims}.{mac}", encode(&json!({ "alg": "RS256" })))),
            ("a token within a token", format!("{token}.{token}")),
        ] {
            let draft = self.carrying(&[&format!("Bearer {token}")]);
            self.add(name, draft);
        }
        let draft = self.carrying(&[token]);
        self.add("a token without Bearer", draft);
    }
}

fn header(draft: &Draft, name: &str) -> Option<String> {
    draft.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

/// Another character of the same sort at one place.
fn flipped(text: &str, place: usize) -> String {
    let other = |c: char| match c {
        '0' => '1',
        'a' => 'b',
        'A' => 'B',
        c if c.is_ascii_digit() => '0',
        c if c.is_ascii_uppercase() => 'A',
        _ => 'a',
    };
    text.chars().enumerate().map(|(index, c)| if index == place { other(c) } else { c }).collect()
}

fn swapped(text: &str) -> String {
    let swap = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    text.chars().map(swap).collect()
}

fn spaced(text: &str) -> String {
    let half = text.chars().count() / 2;
    let (before, after): (String, String) = (text.chars().take(half).collect(), text.chars().skip(half).collect());
    format!("{before} {after}")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
