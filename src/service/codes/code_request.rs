//! Validation of requests for a code, and of requests to check a code.

use jiff::SignedDuration;
use serde_json::{Map, Value};

use crate::{
    api::{Warning, limits},
    domain::{Channel, Chat, Language, Request, Subject, VerificationId, otp::CodeFormat},
    reader::{Faults, Format, Reader},
    service::{Instance, request_fields},
};

/// A validated request for a code.
#[derive(Clone, PartialEq, Debug)]
pub struct CodeRequest {
    pub request: Request,
    pub chat: Chat,
    pub shape: CodeFormat,
    /// In seconds.
    pub expires: u32,
    pub channels: Vec<Channel>,
    pub footer: Option<String>,
    /// Minimum time between two requests for one chat, by any caller.
    pub cooldown: Option<SignedDuration>,
    pub warnings: Vec<Warning>,
}

/// A code typed by a person.
#[derive(Clone, PartialEq, Eq)]
pub struct ValidationRequest {
    pub selector: CodeSelector,
    pub code: String,
}

/// The code to compare it with.
#[derive(Clone, PartialEq, Eq)]
pub enum CodeSelector {
    /// The active code of this chat.
    Chat(Chat),
    /// The code of this request.
    Request(VerificationId),
}

/// Validates a body of `parse-code` against the rules of the instance.
pub fn parse(body: &Map<String, Value>, instance: &Instance) -> Result<CodeRequest, Faults> {
    let mut reader = Reader::new(Format::Json, "", body);
    let request = read(&mut reader, instance);
    let (request, warnings) = reader.finish_with_warnings(request)?;
    Ok(CodeRequest { warnings, ..request })
}

fn read(f: &mut Reader<'_>, instance: &Instance) -> Option<CodeRequest> {
    let config = &instance.config;
    let chat = chat(f);
    let length = f.number("length", limits::CODE_LENGTH).and_then(|length| u8::try_from(length).ok());
    let shape = CodeFormat {
        length: length.unwrap_or(CodeFormat::SIX_DIGITS.length),
        letters: f.flag("useLetter", false),
        digits: f.flag("useNumber", true),
        upper_case: f.flag("allCapital", false),
    };
    if !shape.letters && !shape.digits {
        f.fault("useNumber", "is false, and so is useLetter: nothing is left to make a code of");
    }
    let (least, most) = config.codes.expires_bounds;
    let expires = f.number("expires", least..=most).unwrap_or(config.codes.expires);
    let name = request_fields::app_name(f, &config.name);
    let language = request_fields::language(f, config.lang);
    let request = Request {
        name,
        lang: language.tag().to_owned(),
        chat: chat.clone(),
        purpose: f.short_text("purpose", limits::PURPOSE),
        client_ref: f.short_text("client_ref", limits::CLIENT_REF),
        metadata: f.json("metadata", limits::METADATA),
        client_ip: request_fields::client_ip(f),
        user_agent: f.short_text("user_agent", limits::USER_AGENT),
        ..Request::default()
    };
    let channels = channels(f, instance, chat.as_ref());
    request_fields::check_country(f, instance, chat.as_ref());
    Some(CodeRequest {
        request,
        chat: chat?,
        shape,
        expires,
        channels,
        footer: None,
        cooldown: None,
        warnings: Vec::new(),
    })
}

/// A request that names only a chat, for a code of six digits.
pub fn for_chat(chat: Chat, language: Language, expires: u32, instance: &Instance) -> Result<CodeRequest, Faults> {
    let empty = Map::new();
    let mut f = Reader::new(Format::Json, "", &empty);
    let channels = channels(&mut f, instance, Some(&chat));
    request_fields::check_country(&mut f, instance, Some(&chat));
    let request = Request {
        name: instance.config.name.clone(),
        lang: language.tag().to_owned(),
        chat: Some(chat.clone()),
        ..Request::default()
    };
    let shape = CodeFormat::SIX_DIGITS;
    f.finish(Some(CodeRequest {
        request,
        chat,
        shape,
        expires,
        channels,
        footer: None,
        cooldown: None,
        warnings: Vec::new(),
    }))
}

/// Validates a body of `validate-code`.
pub fn parse_validation(body: &Map<String, Value>) -> Result<ValidationRequest, Faults> {
    let mut f = Reader::new(Format::Json, "", body);
    let whose = if f.has("uuid") {
        if body.contains_key("chatId") {
            f.fault("uuid", "stands beside chatId: send one of them");
        }
        f.read_short("uuid", limits::UUID, |text| text.trim().parse().map_err(|_| "expected a UUID"))
            .map(CodeSelector::Request)
    } else {
        chat(&mut f).map(CodeSelector::Chat)
    };
    let code = f.required("code", "what the person typed", |f| f.short_text("code", limits::TYPED));
    let typed = whose.zip(code).map(|(whose, code)| ValidationRequest { selector: whose, code });
    f.finish(typed)
}

fn chat(f: &mut Reader<'_>) -> Option<Chat> {
    f.required("chatId", "<digits>@c.us, a phone number or <id>@lid", request_fields::chat)
}

/// The channels of the instance that can reach this chat.
fn channels(f: &mut Reader<'_>, instance: &Instance, chat: Option<&Chat>) -> Vec<Channel> {
    let has_phone = chat.is_none_or(|chat| matches!(chat.subject(), Subject::Phone(_)));
    let channels: Vec<Channel> =
        instance.channels().into_iter().filter(|&channel| has_phone || channel != Channel::Sms).collect();
    if channels.is_empty() {
        f.fault("chatId", "expected a phone number: this instance sends codes by SMS");
    }
    channels
}
