//! A record between its reading and its change.

use std::sync::Arc;

use super::{Instance, RequestContext, Service, ServiceError};
use crate::domain::{AnyKind, Kind, Typed, Verification, VerificationId, link::Link, sent_code::SentCode};

/// A record as it was read, and the instance that it belongs to.
pub(super) struct Loaded<K = AnyKind> {
    pub(super) instance: Arc<Instance>,
    pub(super) record: Verification<K>,
    /// A change is refused where the store has another one.
    pub(super) version: u64,
}

impl<K: Kind> Loaded<K> {
    /// [`ServiceError::NotFound`]: it is of the other type.
    pub(super) fn from_any(loaded: Loaded) -> Result<Self, ServiceError> {
        let Loaded { instance, record, version } = loaded;
        let record = Verification::from_any(record).ok_or(ServiceError::NotFound)?;
        Ok(Self { instance, record, version })
    }
}

impl Service {
    /// A record and its version.
    pub(super) async fn load(
        &self,
        cx: &RequestContext,
        id: VerificationId,
    ) -> Result<(u64, Verification), ServiceError> {
        self.load_as(cx, id).await
    }

    /// As [`Service::load`]; one of the other type is not found.
    pub(super) async fn load_as<K: Kind>(
        &self,
        cx: &RequestContext,
        id: VerificationId,
    ) -> Result<(u64, Verification<K>), ServiceError> {
        let stored = cx.store.load(id.into()).await?.ok_or(ServiceError::NotFound)?;
        let record = self.read(cx, &stored).await?;
        Ok((stored.version, Verification::from_any(record).ok_or(ServiceError::NotFound)?))
    }

    /// A record of this instance; another tenant's is not found.
    pub(super) async fn load_of(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        id: VerificationId,
    ) -> Result<Loaded, ServiceError> {
        let (version, record) = self.load(cx, id).await?;
        if record.instance != instance.config.id {
            return Err(ServiceError::NotFound);
        }
        Ok(Loaded { instance: Arc::clone(instance), record, version })
    }

    /// The record that a job is about, unless it is `known`.
    pub async fn record(
        &self,
        cx: &RequestContext,
        id: VerificationId,
        known: Option<&Verification>,
    ) -> Result<Verification, ServiceError> {
        match known.filter(|known| known.id == id) {
            Some(known) => Ok(known.clone()),
            None => Ok(self.load(cx, id).await?.1),
        }
    }
}

/// A record whose type is known.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(super) enum LoadedTyped {
    Link(Loaded<Link>),
    Code(Loaded<SentCode>),
}

impl Loaded {
    pub(super) fn typed(self) -> LoadedTyped {
        let Self { instance, record, version } = self;
        match record.typed() {
            Typed::Link(record) => LoadedTyped::Link(Loaded { instance, record, version }),
            Typed::Code(record) => LoadedTyped::Code(Loaded { instance, record, version }),
        }
    }
}
