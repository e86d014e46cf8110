//! What callers send to ask for a code, and to have one checked.

use serde_json::{Map, Value};

use super::{Instance, input::Fields};
use crate::{
    api::{Warning, problem::FieldFault},
    domain::{
        Chat, Language, Subject, VerificationId,
        otp::{LENGTHS, Shape},
        sending::Channel,
        typed,
        verification::Request,
    },
};

/// A checked request for a code.
#[derive(Clone, PartialEq, Debug)]
pub struct CodeRequest {
    pub request: Request,
    pub chat: Chat,
    pub shape: Shape,
    /// Seconds.
    pub expires: u32,
    pub channels: Vec<Channel>,
    pub footer: Option<String>,
    pub warnings: Vec<Warning>,
}

/// A code that somebody typed.
#[derive(Clone, PartialEq, Eq)]
pub struct Typed {
    pub whose: Whose,
    pub code: String,
}

/// Which code was typed.
#[derive(Clone, PartialEq, Eq)]
pub enum Whose {
    /// The one that counts for this chat.
    Chat(Chat),
    /// The one of this request.
    Request(VerificationId),
}

/// Checks a body of `request-code` against the instance's rules.
pub fn request(body: &Map<String, Value>, instance: &Instance) -> Result<CodeRequest, Vec<FieldFault>> {
    let config = &instance.config;
    let mut fields = Fields::of(body);
    let f = &mut fields;
    let chat = chat(f);
    let length = f.number("length", *LENGTHS.start(), *LENGTHS.end()).unwrap_or(u32::from(Shape::USUAL.length));
    let shape = Shape {
        length: u8::try_from(length).unwrap_or(Shape::USUAL.length),
        letters: f.flag("useLetter", false),
        digits: f.flag("useNumber", true),
        capitals: f.flag("allCapital", false),
    };
    if !shape.letters && !shape.digits {
        f.fault("useNumber", "is false, and so is useLetter: nothing is left to make a code of");
    }
    let (least, most) = config.codes.expires_bounds;
    let expires = f.number("expires", least, most).unwrap_or(config.codes.expires);
    let name = f.app_name(&config.name);
    let language = f.language(config.lang);
    let request = Request {
        name,
        lang: language.tag().to_owned(),
        chat: chat.clone(),
        purpose: f.text("purpose", 100),
        client_ref: f.text("client_ref", 200),
        metadata: f.json("metadata", 2048),
        client_ip: f.ip("client_ip"),
        user_agent: f.text("user_agent", 512),
        ..Request::default()
    };
    let channels = channels(f, instance, chat.as_ref());
    destination(f, instance, chat.as_ref());
    f.unknown("");
    let warnings = std::mem::take(&mut fields.warnings);
    match chat {
        Some(chat) if fields.faults.is_empty() => {
            Ok(CodeRequest { request, chat, shape, expires, channels, footer: None, warnings })
        }
        _ => Err(fields.faults),
    }
}

/// A request with nothing but a chat: six digits.
pub fn plain(
    chat: Chat,
    language: Language,
    expires: u32,
    instance: &Instance,
) -> Result<CodeRequest, Vec<FieldFault>> {
    let empty = Map::new();
    let mut fields = Fields::of(&empty);
    let channels = channels(&mut fields, instance, Some(&chat));
    destination(&mut fields, instance, Some(&chat));
    if !fields.faults.is_empty() {
        return Err(fields.faults);
    }
    let request = Request {
        name: instance.config.name.clone(),
        lang: language.tag().to_owned(),
        chat: Some(chat.clone()),
        ..Request::default()
    };
    Ok(CodeRequest { request, chat, shape: Shape::USUAL, expires, channels, footer: None, warnings: Vec::new() })
}

/// Checks a body of `validate-code`.
pub fn typed(body: &Map<String, Value>) -> Result<Typed, Vec<FieldFault>> {
    let mut fields = Fields::of(body);
    let whose = match (fields.text("uuid", 36), body.contains_key("chatId")) {
        (Some(_), true) => {
            fields.fault("uuid", "stands beside chatId: send one of them");
            None
        }
        (Some(text), false) => fields.parsed("uuid", &text, "a UUID").map(Whose::Request),
        (None, _) => chat(&mut fields).map(Whose::Chat),
    };
    let code = fields.text("code", typed::LONGEST);
    if code.is_none() && !fields.faults.iter().any(|fault| fault.field == "code") {
        fields.fault("code", "is missing: what the person typed");
    }
    match (whose, code) {
        (Some(whose), Some(code)) if fields.faults.is_empty() => Ok(Typed { whose, code }),
        _ => Err(fields.faults),
    }
}

fn chat(f: &mut Fields<'_>) -> Option<Chat> {
    let before = f.faults.len();
    let chat = f.chat("chatId");
    if chat.is_none() && f.faults.len() == before {
        f.fault("chatId", "is missing: <digits>@c.us, a phone number or <id>@lid");
    }
    chat
}

/// Codes go only to the countries that the operator named, if any. A chat without a number has none.
fn destination(f: &mut Fields<'_>, instance: &Instance, chat: Option<&Chat>) {
    let (Some(chat), countries) = (chat, &instance.config.codes.countries) else { return };
    let allowed = |digits: &str| countries.iter().any(|country| digits.starts_with(country.as_str()));
    let allowed = match chat.subject() {
        Subject::Phone(phone) => allowed(phone.digits()),
        Subject::Lid(_) | Subject::Bsuid(_) => false,
    };
    if !countries.is_empty() && !allowed {
        f.fault("chatId", "is in no country that this instance sends codes to (code_countries)");
    }
}

/// Those that can reach this chat.
fn channels(f: &mut Fields<'_>, instance: &Instance, chat: Option<&Chat>) -> Vec<Channel> {
    let has_phone = chat.is_none_or(|chat| matches!(chat.subject(), Subject::Phone(_)));
    let channels: Vec<Channel> =
        instance.channels().into_iter().filter(|&channel| has_phone || channel != Channel::Sms).collect();
    if channels.is_empty() {
        f.fault("chatId", "expected a phone number: this instance sends codes by SMS");
    }
    channels
}
