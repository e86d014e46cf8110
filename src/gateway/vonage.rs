//! Vonage's Messages API: a token that holds the hash of the body. What is not signed is refused like any
//! other forgery: Vonage repeats for a day whatever is not answered with 200.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Event, Gateway, Ignored, Malformed, Progress, Proof, Sent, Webhook,
    addressee::Addressee,
    cloud_api,
    credentials::{self, Purpose, Reader, basic},
    ids::Ids,
    json::{self, instant, text},
    scheme::Scheme,
    sent_with_id,
};
use crate::domain::{Subject, sending::Channel};

pub(super) fn build(reader: &mut Reader<'_>) -> Arc<dyn Gateway> {
    let channels = [("whatsapp", Channel::WhatsApp), ("sms", Channel::Sms)];
    let channel = reader.table.choice("channel", &channels).unwrap_or(Channel::WhatsApp);
    let sms_verifies = reader.sms_verifies(channel);
    let from = reader.text("from");
    if from.is_none() && reader.purpose != Purpose::Inspect {
        reader.table.fault("from", "is missing: the number that sends");
    }
    let api_key = reader.sending("api_key", "Vonage's API key, to send replies");
    let api_secret = reader.sending("api_secret", "it belongs to api_key");
    Arc::new(Vonage {
        signature_secrets: reader.webhook_secrets(),
        url: reader.base_url(Some("https://api.nexmo.com")),
        authorization: basic(api_key.expose_secret(), &api_secret).into(),
        channel,
        sms_verifies,
        from: from.unwrap_or_default(),
    })
}

struct Vonage {
    signature_secrets: Vec<SecretString>,
    url: String,
    authorization: SecretString,
    channel: Channel,
    sms_verifies: bool,
    from: String,
}

impl Gateway for Vonage {
    fn kind(&self) -> &'static str {
        "vonage"
    }

    fn proof(&self) -> Proof<'_> {
        Proof { scheme: &Scheme::BodyJwt, secrets: &self.signature_secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<Event>, Malformed> {
        let body = json::parse(webhook.body)?;
        let event = match text(&body, "/message_type") {
            None if body.get("status").is_some() => {
                Event::status(text(&body, "/message_uuid"), text(&body, "/status").and_then(Progress::of))
            }
            // The senders of other channels are no phones.
            Some(_) if text(&body, "/channel") != Some(self.channel.as_str()) => Event::ignored(Ignored::Event),
            Some(_) if self.channel == Channel::Sms && !self.sms_verifies => Event::ignored(Ignored::Sms),
            Some(kind) => read_message(&body, kind)?,
            None => Event::ignored(Ignored::Event),
        };
        let addressee =
            Addressee::default().is(text(&body, "/to").filter(|_| event.ignored.is_none()), Some(&self.from));
        Ok(vec![event.to(&addressee)])
    }

    fn channel(&self) -> Channel {
        self.channel
    }

    fn believes(&self) -> Option<&'static str> {
        self.sms_verifies.then_some(credentials::SMS_VERIFIES)
    }

    fn address(&self, subject: &Subject) -> String {
        cloud_api::digits(subject)
    }

    fn text_message(&self, chat_id: &str, _subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let message = json!({
            "message_type": "text", "text": text, "to": chat_id, "from": self.from, "channel": self.channel.as_str(),
        });
        let authorization = ("authorization", self.authorization.expose_secret());
        json::post(&format!("{}/v1/messages", self.url), &[authorization], &message)
    }

    fn sent(&self, response: &Response<Vec<u8>>) -> Sent {
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        sent_with_id(response, &body, &["/message_uuid"])
    }
}

fn read_message(body: &Value, kind: &str) -> Result<Event, Malformed> {
    let id = text(body, "/message_uuid").ok_or_else(|| Malformed("a message without an id".to_owned()))?;
    let user = text(body, "/whatsapp/sender/user_id");
    let from = text(body, "/from").or(user);
    let on_whatsapp = text(body, "/channel") == Some("whatsapp");
    let words = text(body, "/text").filter(|_| kind == "text");
    let ids = Ids::default().phone(from.and_then(|digits| digits.parse().ok()));
    let ids = [user, from].into_iter().fold(ids, |ids, id| ids.bsuid(id.filter(|_| on_whatsapp)));
    let event = Event {
        ignored: words.is_none().then_some(Ignored::NonText),
        message_id: Some(id.to_owned()),
        chat_id: from.map(str::to_owned),
        weak: !on_whatsapp,
        push_name: text(body, "/profile/name").map(str::to_owned),
        text: words.map(str::to_owned),
        timestamp: instant(body, "/timestamp"),
        ..Event::default()
    };
    Ok(event.sent_by(ids))
}
