//! Validation of requests for an approval: a message with two links, of which the person answers with one.

use serde_json::{Map, Value};

use super::LinkRequest;
use crate::{
    api::limits,
    domain::{Channel, Language, Mode, Request, approval::Approval, message_codes, template},
    gateway::{self, CodeDelivery},
    reader::{Faults, Format, Reader},
    service::{Instance, request_fields},
};

/// How long the person can answer, in seconds.
pub const LIFETIME_SECS: u32 = 900;

/// Validates the parameters against the rules of the instance.
pub fn parse(values: &Map<String, Value>, instance: &Instance) -> Result<LinkRequest, Faults> {
    let mut f = Reader::new(Format::Form, "", values);
    if let Some(why) = unable(instance) {
        f.fault("instance_id", why);
    }
    let chat = f.required("chatId", "a phone number, country code first", request_fields::chat);
    request_fields::check_country(&mut f, instance, chat.as_ref());
    if chat.as_ref().is_some_and(|chat| instance.config.codes.test_number(chat.subject()).is_some()) {
        f.fault("chatId", "is a test number, which no person answers from");
    }
    let (approve, reject) = (answer(&mut f, "item1"), answer(&mut f, "item2"));
    let said = |text: &Option<String>| text.as_deref().map(message_codes::text_said);
    if approve.is_some() && said(&approve) == said(&reject) {
        f.fault("item2", "differs from item1 in no letter and no digit, and only these are compared");
    }
    let title = shown_text(&mut f, "title", limits::PURPOSE).map(|title| title.replace('\n', " "));
    let description = shown_text(&mut f, "description", limits::DESCRIPTION);
    let footer = shown_text(&mut f, "footer", limits::FOOTER);
    let language = f.text("lang").and_then(|tag| Language::find(&tag)).unwrap_or(instance.config.lang);
    let (chat, (approve, reject)) = f.finish(chat.zip(approve.zip(reject)))?;
    let request = Request {
        name: instance.config.name.clone(),
        lang: language.tag().to_owned(),
        chat: Some(chat),
        purpose: Some(title.unwrap_or_else(|| instance.config.name.clone())),
        completion: Some(Mode::ProvePhone),
        final_expiry: true,
        exact: true,
        approval: Some(Approval { approve, reject, description, footer }),
        ..Request::default()
    };
    let max_attempts = instance.config.max_attempts;
    Ok(LinkRequest { request, expires: LIFETIME_SECS, max_attempts, binding: None, warnings: Vec::new() })
}

/// Why the instance cannot ask for an approval: the message starts a conversation with a text of the app.
fn unable(instance: &Instance) -> Option<String> {
    let kind = instance.gateway.kind();
    let why = match gateway::kind_of(&*instance.gateway).map(|kind| kind.codes) {
        _ if instance.gateway.channel() == Channel::Sms => "sends SMS, whose sender can be forged",
        Some(CodeDelivery::Text) => return None,
        Some(CodeDelivery::Template | CodeDelivery::TemplateOrSms) => {
            "starts a conversation only with an approved template, which cannot hold the two answers"
        }
        Some(CodeDelivery::DayWindow | CodeDelivery::SmsOrDayWindow) => {
            "sends a text only within 24 hours of the person's last message"
        }
        Some(CodeDelivery::None) | None => "can only answer a person who has written",
    };
    Some(format!(
        "is an instance whose gateway ({kind}) {why}: send a code (auth/otp), hand out a link with a purpose \
         (generate-link), or use an instance with another gateway"
    ))
}

/// An answer, without what WhatsApp would read as formatting and without brackets, which mark the code.
fn answer(f: &mut Reader<'_>, name: &str) -> Option<String> {
    let text = f.required(name, "the text of an answer", |f| f.short_text(name, limits::ANSWER))?;
    let text = template::sanitize_value(&text).trim().to_owned();
    if message_codes::text_said(&text).is_empty() {
        f.fault(name, "has no letter and no digit, and only these are compared");
        return None;
    }
    Some(text)
}

/// A text of any number of lines.
fn shown_text(f: &mut Reader<'_>, name: &str, longest: usize) -> Option<String> {
    let text = f.short_text(name, longest)?;
    let lines: Vec<String> = text.lines().map(template::remove_control).collect();
    Some(lines.join("\n").trim().to_owned()).filter(|text| !text.is_empty())
}
