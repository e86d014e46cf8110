//! Logins of operators that were ended before their time.

use jiff::Timestamp;

use super::Service;
use crate::{
    random,
    store::{Change, RecordChange, RecordId, StoreError},
};

impl Service {
    /// A login with this nonce opens nothing any more. `until` is when it would have ended by itself.
    pub async fn end_login(&self, nonce: &[u8; 16], until: Timestamp) -> Result<(), StoreError> {
        // That it is there says everything.
        let bytes = self.keys.seal("login", &[], random::bytes());
        let record = RecordChange::new(self.ended_login(nonce), 0, bytes, until);
        let _ = self.store.commit(&Change::of(record)).await?;
        Ok(())
    }

    pub async fn login_has_ended(&self, nonce: &[u8; 16]) -> Result<bool, StoreError> {
        Ok(self.store.load(self.ended_login(nonce)).await?.is_some())
    }

    fn ended_login(&self, nonce: &[u8; 16]) -> RecordId {
        RecordId::new(*self.keys.secret(nonce).as_bytes())
    }
}
