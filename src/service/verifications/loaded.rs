//! Records between reading and changing: loading by id or instance, with the version that a change must match.

use std::sync::Arc;

use crate::{
    domain::{AnyKind, Kind, TypedVerification, Verification, VerificationId, link::Link, sent_code::SentCode},
    service::{Instance, RequestContext, ServiceError, verifications::Verifications},
};

/// A record as it was read, and its instance.
pub(in crate::service) struct Loaded<K = AnyKind> {
    pub(in crate::service) instance: Arc<Instance>,
    pub(in crate::service) record: Verification<K>,
    /// The store rejects a change if its record has another version by then.
    pub(in crate::service) version: u64,
}

impl<K: Kind> Loaded<K> {
    /// Fails with [`ServiceError::NotFound`] if the record is of the other type.
    pub(in crate::service) fn from_any(loaded: Loaded) -> Result<Self, ServiceError> {
        let Loaded { instance, record, version } = loaded;
        let record = Verification::from_any(record).ok_or(ServiceError::NotFound)?;
        Ok(Self { instance, record, version })
    }
}

impl Verifications {
    /// Loads a record with its version.
    pub(in crate::service) async fn load(
        &self,
        cx: &RequestContext,
        id: VerificationId,
    ) -> Result<(u64, Verification), ServiceError> {
        self.load_as(cx, id).await
    }

    /// Like [`Self::load`], but a record of the other type counts as not found.
    pub(in crate::service) async fn load_as<K: Kind>(
        &self,
        cx: &RequestContext,
        id: VerificationId,
    ) -> Result<(u64, Verification<K>), ServiceError> {
        let stored = cx.store.load(id.into()).await?.ok_or(ServiceError::NotFound)?;
        let record = self.read(cx, &stored).await?;
        Ok((stored.version, Verification::from_any(record).ok_or(ServiceError::NotFound)?))
    }

    /// Loads a record of this instance; a record of another instance counts as not found.
    pub(in crate::service) async fn load_of(
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

    /// The record that a job concerns: `known` if it is that record, else loaded from the store.
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

/// A loaded record, by type.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(in crate::service) enum LoadedTyped {
    Link(Loaded<Link>),
    Code(Loaded<SentCode>),
}

impl Loaded {
    pub(in crate::service) fn typed(self) -> LoadedTyped {
        let Self { instance, record, version } = self;
        match record.into_typed() {
            TypedVerification::Link(record) => LoadedTyped::Link(Loaded { instance, record, version }),
            TypedVerification::Code(record) => LoadedTyped::Code(Loaded { instance, record, version }),
        }
    }
}
