//! Blocks access to records while the process lacks keys by which they are found.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::StoreError;

/// Closed until it is opened. A look-up under the wrong key finds nothing, which would pass for proof that there is no
/// record.
#[derive(Clone, Debug)]
pub struct KeyGate(Arc<ArcSwapOption<String>>);

impl Default for KeyGate {
    fn default() -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee("the keys of look-ups are not read yet".to_owned())))
    }
}

impl KeyGate {
    pub fn open(&self) {
        if self.missing_key().is_some() {
            self.0.store(None);
        }
    }

    /// `why` names the missing key.
    pub fn close(&self, why: String) {
        self.0.store(Some(Arc::new(why)));
    }

    /// Which key is missing, if the gate is closed.
    pub fn missing_key(&self) -> Option<Arc<String>> {
        self.0.load_full()
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &*self.0.load() {
            None => Ok(()),
            Some(why) => Err(StoreError::Unavailable(why.as_str().to_owned())),
        }
    }
}
