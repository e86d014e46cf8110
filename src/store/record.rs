//! Stored form of records: a list of numbered fields, sealed, so that a stolen store reveals nothing.
//!
//! # Rules of the format
//!
//! - The first byte is `FORMAT`, or `FORMAT_OIDC` for logins of the OpenID provider and `FORMAT_APPROVAL` for approvals,
//!   whose rules earlier versions do not know. A version reads its own formats and refuses every other.
//! - A field with its default value is left out, so a new field whose default describes the former behaviour needs no
//!   new format. A version that does not know a field writes it back unchanged.
//! - A number is never reused, and the shape of a value never changes. Anything that an older version must not ignore,
//!   and everything new within the state or the code, which are JSON, needs a new format.

mod fields;
mod timeline;

#[cfg(test)]
mod tests;

use serde::{
    Serialize,
    de::{DeserializeOwned, value},
};

use crate::{
    domain::{
        AnyKind, Chat, InstanceId, KeyRing, Kind, Mode, Request, Verification, VerificationId,
        keys::{Digest, KeyId},
        link::{Link, LinkState},
        request::{Callbacks, Texts},
        sent_code::{CodeState, Delivery, SentCode},
        time::from_millis,
    },
    random,
};

use self::fields::{FieldMap, FieldWriter};
use super::{StoreError, StoredRecord};

const FORMAT: u8 = 2;
const FORMAT_OIDC: u8 = 3;
const FORMAT_APPROVAL: u8 = 4;

mod number {
    pub(super) const INSTANCE: u8 = 1;
    pub(super) const KEY: u8 = 2;
    pub(super) const NONCE: u8 = 3;
    pub(super) const CODE_LENGTH: u8 = 4;
    /// Milliseconds after the time in the id.
    pub(super) const CREATED: u8 = 5;
    /// Milliseconds after its creation.
    pub(super) const EXPIRES: u8 = 6;
    pub(super) const MAX_ATTEMPTS: u8 = 7;
    pub(super) const ATTEMPTS: u8 = 8;
    pub(super) const NAME: u8 = 9;
    pub(super) const LANG: u8 = 10;
    pub(super) const CHAT: u8 = 11;
    pub(super) const PROMPT: u8 = 12;
    pub(super) const SUCCESS: u8 = 13;
    pub(super) const FAILED: u8 = 14;
    pub(super) const EXPIRED: u8 = 15;
    pub(super) const CODE: u8 = 16;
    pub(super) const ON_SUCCESS: u8 = 17;
    pub(super) const ON_FAILED: u8 = 18;
    pub(super) const ON_EXPIRED: u8 = 19;
    pub(super) const LINK: u8 = 20;
    pub(super) const REDIRECT_URL: u8 = 21;
    pub(super) const CHALLENGE: u8 = 22;
    pub(super) const COMPLETION: u8 = 23;
    pub(super) const PURPOSE: u8 = 24;
    pub(super) const CLIENT_REF: u8 = 25;
    pub(super) const METADATA: u8 = 26;
    pub(super) const APP_STATE: u8 = 27;
    pub(super) const CLIENT_IP: u8 = 28;
    pub(super) const USER_AGENT: u8 = 29;
    pub(super) const QR: u8 = 30;
    pub(super) const RENEWS: u8 = 31;
    pub(super) const RENEWALS: u8 = 32;
    /// JSON.
    pub(super) const OTP: u8 = 33;
    /// JSON.
    pub(super) const BINDING: u8 = 34;
    /// JSON; absent means pending.
    pub(super) const STATE: u8 = 35;
    /// Absent means that it was created and nothing happened since.
    pub(super) const TIMELINE: u8 = 36;
    pub(super) const FINAL_EXPIRY: u8 = 37;
    pub(super) const EXACT: u8 = 38;
    pub(super) const PREFILLED: u8 = 39;
    /// JSON.
    pub(super) const RISK: u8 = 41;
    pub(super) const TEXT_CHANGED: u8 = 42;
    /// Actors of timeline entries; absent if none is recorded.
    pub(super) const NAMES: u8 = 40;
    /// JSON.
    pub(super) const AUTHORIZATION: u8 = 43;
    pub(super) const TEST: u8 = 44;
    pub(super) const OTHER_WAY_URL: u8 = 45;
    /// JSON.
    pub(super) const APPROVAL: u8 = 46;
}

pub fn encode<K: Kind>(keys: &KeyRing, record: &Verification<K>) -> Vec<u8> {
    let sealed = keys.seal(&context(record.id), &write(record), random::bytes());
    [&[format_of(&record.request)], sealed.as_slice()].concat()
}

const fn format_of(request: &Request) -> u8 {
    if request.authorization.is_some() {
        FORMAT_OIDC
    } else if request.approval.is_some() {
        FORMAT_APPROVAL
    } else {
        FORMAT
    }
}

pub fn decode(keys: &KeyRing, stored: &StoredRecord) -> Result<Verification, StoreError> {
    let broken = |what: &str| StoreError::Corrupt(format!("record {}: {what}", stored.id));
    let sealed = match stored.bytes.split_first() {
        Some((&(FORMAT | FORMAT_OIDC | FORMAT_APPROVAL), sealed)) => sealed,
        Some((other, _)) => return Err(broken(&format!("format {other} is not known to this version"))),
        None => return Err(broken("empty")),
    };
    let id = VerificationId::from(stored.id);
    let sealed_away = |_| StoreError::Sealed(format!("record {id}"));
    let plain = keys.open(&context(id), sealed).map_err(sealed_away)?;
    read(id, &plain).ok_or_else(|| broken("its fields cannot be read"))
}

fn context(id: VerificationId) -> String {
    format!("record:{id}")
}

fn write<K: Kind>(record: &Verification<K>) -> Vec<u8> {
    let request = &record.request;
    let mut fields = FieldWriter::default();
    fields.bytes(number::INSTANCE, record.instance.as_bytes());
    fields.bytes(number::KEY, record.key.as_bytes());
    fields.bytes(number::NONCE, &record.nonce);
    let (link, sent_code) = (record.as_link(), record.as_code());
    fields.number(number::CODE_LENGTH, link.map_or(0, |link| link.code_length.into()));
    fields.number(number::CREATED, zigzag(record.created_at.as_millisecond().wrapping_sub(record.id.created_millis())));
    let lives = record.expires_at.as_millisecond().wrapping_sub(record.created_at.as_millisecond());
    fields.number(number::EXPIRES, zigzag(lives));
    fields.number(number::MAX_ATTEMPTS, record.max_attempts.into());
    fields.number(number::ATTEMPTS, record.attempts.into());
    fields.text(number::NAME, Some(request.name.as_str()).filter(|name| !name.is_empty()));
    fields.text(number::LANG, Some(request.lang.as_str()).filter(|lang| !lang.is_empty()));
    fields.text(number::CHAT, request.chat.as_ref().map(Chat::as_given));
    let Texts { prompt, success, failed, expired, code } = &request.texts;
    fields.text(number::PROMPT, prompt.as_deref());
    fields.text(number::SUCCESS, success.as_deref());
    fields.text(number::FAILED, failed.as_deref());
    fields.text(number::EXPIRED, expired.as_deref());
    fields.text(number::CODE, code.as_deref());
    let Callbacks { success, failed, expired } = &request.callbacks;
    fields.text(number::ON_SUCCESS, success.as_deref());
    fields.text(number::ON_FAILED, failed.as_deref());
    fields.text(number::ON_EXPIRED, expired.as_deref());
    fields.text(number::LINK, request.link.as_deref());
    fields.text(number::REDIRECT_URL, request.redirect_url.as_deref());
    fields.text(number::OTHER_WAY_URL, request.other_way_url.as_deref());
    fields.text(number::CHALLENGE, request.challenge.as_deref());
    fields.text(number::COMPLETION, request.completion.map(Mode::as_str));
    fields.text(number::PURPOSE, request.purpose.as_deref());
    fields.text(number::CLIENT_REF, request.client_ref.as_deref());
    fields.text(number::METADATA, request.metadata.as_deref());
    fields.text(number::APP_STATE, request.state.as_deref());
    fields.text(number::CLIENT_IP, request.client_ip.as_deref());
    fields.text(number::USER_AGENT, request.user_agent.as_deref());
    fields.number(number::QR, request.qr.into());
    if let Some(renews) = &request.renews {
        fields.bytes(number::RENEWS, renews.as_bytes());
    }
    fields.number(number::RENEWALS, request.renewals.into());
    fields.number(number::FINAL_EXPIRY, request.final_expiry.into());
    fields.number(number::EXACT, request.exact.into());
    if let Some(prefilled) = link.and_then(|link| link.prefilled) {
        fields.bytes(number::PREFILLED, prefilled.as_bytes());
    }
    fields.number(number::TEXT_CHANGED, link.is_some_and(|link| link.text_changed).into());
    fields.number(number::TEST, request.test.into());
    json(&mut fields, number::RISK, link.and_then(|link| link.risk.as_ref()));
    json(&mut fields, number::AUTHORIZATION, request.authorization.as_ref());
    json(&mut fields, number::APPROVAL, request.approval.as_ref());
    json(&mut fields, number::OTP, sent_code.map(|code| &code.delivery));
    json(&mut fields, number::BINDING, link.and_then(|link| link.binding.as_ref()));
    json(&mut fields, number::STATE, link.map(|link| &link.state).filter(|state| **state != LinkState::Pending));
    json(&mut fields, number::STATE, sent_code.map(|code| &code.state).filter(|state| **state != CodeState::Pending));
    if !timeline::is_default(record) {
        fields.bytes(number::TIMELINE, &timeline::write(record));
    }
    let names = timeline::write_names(record);
    if !names.is_empty() {
        fields.bytes(number::NAMES, &names);
    }
    fields.finish(&record.unknown)
}

fn json<T: Serialize>(fields: &mut FieldWriter, field: u8, value: Option<&T>) {
    if let Some(value) = value {
        fields.bytes(field, &serde_json::to_vec(value).expect("a record has only string keys"));
    }
}

fn read(id: VerificationId, plain: &[u8]) -> Option<Verification> {
    let mut fields = FieldMap::read(plain)?;
    let created = id.created_millis().checked_add(unzigzag(fields.number(number::CREATED)?))?;
    let expires = created.checked_add(unzigzag(fields.number(number::EXPIRES)?))?;
    let request = Request {
        name: fields.text(number::NAME).unwrap_or_default(),
        lang: fields.text(number::LANG).unwrap_or_default(),
        chat: known(fields.text(number::CHAT), |chat| chat.parse().ok())?,
        texts: Texts {
            prompt: fields.text(number::PROMPT),
            success: fields.text(number::SUCCESS),
            failed: fields.text(number::FAILED),
            expired: fields.text(number::EXPIRED),
            code: fields.text(number::CODE),
        },
        callbacks: Callbacks {
            success: fields.text(number::ON_SUCCESS),
            failed: fields.text(number::ON_FAILED),
            expired: fields.text(number::ON_EXPIRED),
        },
        link: fields.text(number::LINK),
        redirect_url: fields.text(number::REDIRECT_URL),
        other_way_url: fields.text(number::OTHER_WAY_URL),
        challenge: fields.text(number::CHALLENGE),
        completion: known(fields.text(number::COMPLETION), word)?,
        purpose: fields.text(number::PURPOSE),
        client_ref: fields.text(number::CLIENT_REF),
        metadata: fields.text(number::METADATA),
        state: fields.text(number::APP_STATE),
        client_ip: fields.text(number::CLIENT_IP),
        user_agent: fields.text(number::USER_AGENT),
        qr: fields.number(number::QR)? != 0,
        renews: fields.array(number::RENEWS).map(VerificationId::from_bytes),
        renewals: fields.number(number::RENEWALS)?.try_into().ok()?,
        final_expiry: fields.number(number::FINAL_EXPIRY)? != 0,
        exact: fields.number(number::EXACT)? != 0,
        authorization: from_json(fields.bytes(number::AUTHORIZATION))?,
        approval: from_json(fields.bytes(number::APPROVAL))?,
        test: fields.number(number::TEST)? != 0,
    };
    let kind = match from_json::<Delivery>(fields.bytes(number::OTP))? {
        Some(otp) => {
            let state = from_json(fields.bytes(number::STATE))?.unwrap_or(CodeState::Pending);
            AnyKind::Code(SentCode { delivery: otp, state })
        }
        None => AnyKind::Link(Link {
            code_length: fields.number(number::CODE_LENGTH)?.try_into().ok()?,
            prefilled: fields.array(number::PREFILLED).map(Digest::from_bytes),
            text_changed: fields.number(number::TEXT_CHANGED)? != 0,
            binding: from_json(fields.bytes(number::BINDING))?,
            risk: from_json(fields.bytes(number::RISK))?,
            state: from_json(fields.bytes(number::STATE))?.unwrap_or(LinkState::Pending),
        }),
    };
    let mut record = Verification {
        id,
        instance: InstanceId::from_bytes(fields.array(number::INSTANCE)?),
        key: KeyId::from_bytes(fields.array(number::KEY)?),
        nonce: fields.array(number::NONCE)?,
        created_at: from_millis(created),
        expires_at: from_millis(expires),
        max_attempts: fields.number(number::MAX_ATTEMPTS)?.try_into().ok()?,
        attempts: fields.number(number::ATTEMPTS)?.try_into().ok()?,
        request,
        details: kind,
        timeline: Vec::new(),
        unknown: Vec::new(),
    };
    record.timeline = match fields.bytes(number::TIMELINE) {
        Some(bytes) => timeline::read(bytes, record.created_at)?,
        None => timeline::default(record.created_at),
    };
    timeline::read_names(fields.bytes(number::NAMES).unwrap_or_default(), &mut record.timeline)?;
    record.unknown = fields.rest();
    Some(record)
}

/// The outer `None` means that the value is invalid.
#[expect(clippy::option_option, reason = "absent and unreadable differ")]
fn from_json<T: DeserializeOwned>(bytes: Option<&[u8]>) -> Option<Option<T>> {
    bytes.map_or(Some(None), |bytes| serde_json::from_slice(bytes).ok().map(Some))
}

/// The outer `None` means that the value is invalid.
#[expect(clippy::option_option, reason = "absent and unreadable differ")]
fn known<T>(text: Option<String>, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    text.map_or(Some(None), |text| read(&text).map(Some))
}

/// A value of a closed list.
fn word<T: DeserializeOwned>(text: &str) -> Option<T> {
    T::deserialize(value::StrDeserializer::<value::Error>::new(text)).ok()
}

/// Zigzag encoding: small numbers of either sign become small unsigned numbers.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
