//! Forgeries with the genuine signature or secret over another body, time or URL.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Forgery, ForgeryBuilder, header_value, hex, with_changed_char};
use crate::{domain::keys::sha256, gateway::WebhookRequest};

/// How far this host's clock may differ from the daemon's.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(60);

impl ForgeryBuilder<'_> {
    /// The genuine credential with other bodies.
    pub(super) fn other_bodies(&mut self) {
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
            bodies.push(("the body reformatted".to_owned(), pretty));
        }
        let text = String::from_utf8_lossy(&genuine).into_owned();
        let another = with_changed_char(self.sender, self.sender.len().max(1) - 1);
        bodies.push(("another sender".to_owned(), text.replace(self.sender, &another).into_bytes()));
        bodies.push(("another code".to_owned(), text.replace("doctor", "Doctor").into_bytes()));
        for (name, body) in bodies {
            self.add(name, WebhookRequest { body, ..self.genuine.clone() });
        }
    }

    /// Signed at other times, or with the timestamp changed after signing.
    pub(super) fn other_times(&mut self) {
        let Some((old, young)) = self.auth.validity() else { return };
        let mut times = vec![
            ("signed too long ago", self.now - old - CLOCK_MARGIN),
            ("signed an hour too early", self.now - old - SignedDuration::from_hours(1)),
            ("signed in 1970", Timestamp::UNIX_EPOCH),
        ];
        if let Some(young) = young {
            times.push(("signed in the future", self.now + young + CLOCK_MARGIN));
            times.push(("signed tomorrow", self.now + SignedDuration::from_hours(24)));
        }
        for (name, at) in times {
            let mut webhook = self.unsigned.clone();
            self.auth.sign(&mut webhook, at);
            self.add(name, webhook);
        }
        let Some(name) = self.auth.timestamp_header() else { return };
        let stamp = header_value(&self.genuine, name).unwrap_or_default();
        let later = (self.now + SignedDuration::from_secs(1)).as_second().to_string();
        let mut with = |what: &str, values: &[&str]| {
            let mut webhook = self.genuine.clone();
            webhook.headers.retain(|(known, _)| known != name);
            webhook.headers.extend(values.iter().map(|value| (name.to_owned(), (*value).to_owned())));
            self.forgeries.push(Forgery { name: what.to_owned(), webhook });
        };
        with("without the signed time", &[]);
        with("with the time twice", &[&stamp, &stamp]);
        with("with the time a second later", &[&later]);
        with("with the time in milliseconds", &[&format!("{stamp}000")]);
        with("with an empty time", &[""]);
        with("with a time in words", &["now"]);
    }

    /// The genuine signature with other URLs.
    pub(super) fn other_urls(&mut self) {
        let query = |query: &str| WebhookRequest { query: query.to_owned(), ..self.genuine.clone() };
        let hash = hex(&sha256(&self.genuine.body));
        let changes = [
            ("a parameter added to the URL", query("a=b")),
            ("an empty parameter added", query("a")),
            ("the hash of the body added to the URL", query(&format!("bodySHA256={hash}"))),
            ("an empty hash of the body", query("bodySHA256=")),
        ];
        for (name, webhook) in changes {
            self.add(name, webhook);
        }
        let mut elsewhere = WebhookRequest { query: "a=b".to_owned(), ..self.unsigned.clone() };
        self.auth.sign(&mut elsewhere, self.now);
        self.add("signed for another URL", WebhookRequest { query: String::new(), ..elsewhere });
    }
}
