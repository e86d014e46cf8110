//! Operator logins that were revoked before they expired.

use std::sync::Arc;

use jiff::Timestamp;

use super::RequestContext;
use crate::{
    domain::KeyRing,
    random,
    store::{Change, RecordChange, RecordId, StoreError},
};

/// The revocations.
pub struct OperatorLogins {
    keys: Arc<KeyRing>,
}

impl OperatorLogins {
    pub(super) const fn new(keys: Arc<KeyRing>) -> Self {
        Self { keys }
    }

    /// Revokes the login with this nonce. `until` is when the login expires anyway; the revocation is kept until then.
    pub async fn revoke(&self, cx: &RequestContext, nonce: &[u8; 16], until: Timestamp) -> Result<(), StoreError> {
        // The existence of the record is the whole information.
        let bytes = self.keys.seal("login", &[], random::bytes());
        let record = RecordChange::new(self.revocation_id(nonce), 0, bytes, until);
        let _ = cx.store.commit(&Change::of(record)).await?;
        Ok(())
    }

    pub async fn is_revoked(&self, cx: &RequestContext, nonce: &[u8; 16]) -> Result<bool, StoreError> {
        Ok(cx.store.load(self.revocation_id(nonce)).await?.is_some())
    }

    fn revocation_id(&self, nonce: &[u8; 16]) -> RecordId {
        RecordId::new(*self.keys.secret_digest(nonce).as_bytes())
    }
}
