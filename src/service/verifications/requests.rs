//! Reading, listing and cancelling verifications on behalf of API callers.

use std::{fmt::Write as _, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;

use crate::{
    domain::{
        Chat, OtpType, StateMachine as _, Status, Subject, Verification, VerificationId, link::Link,
        sent_code::SentCode, time::from_millis,
    },
    service::{
        Instance, RequestContext, ServiceError,
        verifications::{LoadedTyped, Verifications},
    },
    store::{Index, Position, RecordId, StoredRecord},
};

/// Maximum records read for one page. Filters beyond the index are applied after reading.
pub const MAX_RECORDS_READ: usize = 1_000;
/// Records per read when a filter may reject most of them, to keep the number of round trips low.
const FILTERED_BATCH: usize = 250;

/// Selects the records of a list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub otp_type: Option<OtpType>,
    pub chat: Option<Chat>,
    pub client_ref: Option<String>,
    /// Last digits of the phone that was requested or verified.
    pub phone_last: Option<String>,
    pub created_after: Option<Timestamp>,
    pub created_before: Option<Timestamp>,
}

/// Part of a list, newest first.
pub struct Page {
    /// Fewer than were asked for, though more may follow, if [`MAX_RECORDS_READ`] were read.
    pub records: Vec<Verification>,
    /// `None` only at the end of the list.
    pub next_cursor: Option<String>,
}

impl Verifications {
    /// A record of this instance; a record of another instance counts as not found.
    pub async fn get(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        id: VerificationId,
    ) -> Result<Verification, ServiceError> {
        let (_, record) = self.load(cx, id).await?;
        if record.instance == instance.config.id { Ok(record) } else { Err(ServiceError::NotFound) }
    }

    /// Cancels a pending verification; one that has ended stays as it is.
    pub async fn cancel(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        id: VerificationId,
    ) -> Result<Verification, ServiceError> {
        match self.load_of(cx, instance, id).await?.typed() {
            LoadedTyped::Link(link) => Ok(self.apply(cx, link, Link::CANCEL, None).await?.record.into_any()),
            LoadedTyped::Code(code) => Ok(self.apply(cx, code, SentCode::CANCEL, None).await?.record.into_any()),
        }
    }

    pub async fn list(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        filter: &Filter,
        cursor: Option<Position>,
        limit: usize,
    ) -> Result<Page, ServiceError> {
        let lists = match (&filter.chat, &filter.client_ref) {
            (Some(chat), _) => self.chat_indexes(instance, chat.subject()),
            (None, Some(client_ref)) => self.ref_indexes(instance, client_ref),
            (None, None) => vec![Index::all(instance.config.id)],
        };
        let by_chat = filter.chat.is_some() && filter.client_ref.is_some();
        let narrowed = by_chat || filter.status.is_some() || filter.otp_type.is_some() || filter.phone_last.is_some();
        let step = if narrowed { FILTERED_BATCH.max(limit + 1) } else { limit + 1 };
        let mut after = cursor.or_else(|| filter.created_before.map(before));
        let mut records = Vec::new();
        let mut read = 0;
        loop {
            let batch = cx.store.list(&lists, after.as_ref(), step).await?;
            let last_batch = batch.len() < step;
            for stored in batch {
                let readable = self.decode_or_report(instance, &stored);
                let created_at = readable.as_ref().map_or_else(|| created_at(&stored), |record| record.created_at);
                if filter.created_after.is_some_and(|after| created_at < after) {
                    return Ok(Page { records, next_cursor: None });
                }
                if records.len() == limit || read == MAX_RECORDS_READ {
                    return Ok(Page { records, next_cursor: after.as_ref().map(encode_cursor) });
                }
                read += 1;
                after = Some(Position { created_at, id: stored.id });
                records.extend(
                    readable.filter(|record| belongs(instance, filter, record) && passes(filter, record, cx.now())),
                );
            }
            if last_batch {
                return Ok(Page { records, next_cursor: None });
            }
        }
    }
}

fn passes(filter: &Filter, record: &Verification, now: Timestamp) -> bool {
    let status = filter.status.is_none_or(|status| record.status(now) == status);
    let otp_type = filter.otp_type.is_none_or(|otp_type| record.otp_type() == otp_type);
    let client_ref = filter.client_ref.is_none() || record.request.client_ref == filter.client_ref;
    let phone = filter.phone_last.as_deref().is_none_or(|digits| has_phone_ending(record, digits));
    status && otp_type && client_ref && phone && filter.created_before.is_none_or(|before| record.created_at < before)
}

/// Checks instance and chat against the record itself, because list entries are not authenticated. An erased record no
/// longer names a chat and passes the chat filter.
fn belongs(instance: &Instance, filter: &Filter, record: &Verification) -> bool {
    let requested_chat = record.request.chat.as_ref().map(Chat::subject);
    let named = requested_chat.or_else(|| record.proof().map(|proof| &proof.subject));
    let chat = filter.chat.as_ref().zip(named);
    record.instance == instance.config.id
        && chat.is_none_or(|(wanted, named)| wanted.subject().canonical() == named.canonical())
}

/// The position before all records created at `time`.
fn before(time: Timestamp) -> Position {
    Position { created_at: time, id: RecordId::new([0; 16]) }
}

fn encode_cursor(position: &Position) -> String {
    let mut text = String::new();
    let _ = write!(text, "{}.{}", position.created_at.as_millisecond(), VerificationId::from(position.id).simple());
    URL_SAFE_NO_PAD.encode(text)
}

/// Parses a `next_cursor`.
pub fn decode_cursor(cursor: &str) -> Option<Position> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (millis, id) = text.split_once('.')?;
    Some(Position { created_at: from_millis(millis.parse().ok()?), id: id.parse::<VerificationId>().ok()?.into() })
}

/// When a record was created, according to its id.
pub(in crate::service) fn created_at(stored: &StoredRecord) -> Timestamp {
    from_millis(VerificationId::from(stored.id).created_millis())
}

/// Whether the phone number that a record asks for, or was proved by, has this ending.
pub(in crate::service) fn has_phone_ending(record: &Verification, ending: &str) -> bool {
    let proved = record.proof().map(|proof| &proof.subject);
    let requested_chat = record.request.chat.as_ref().map(Chat::subject);
    proved.into_iter().chain(requested_chat).any(|subject| match subject {
        Subject::Phone(phone) => phone.digits().ends_with(ending),
        Subject::Lid(_) | Subject::Bsuid(_) => false,
    })
}
