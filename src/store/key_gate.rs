//! Blocks access to records while the process lacks keys by which they are found.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::StoreError;

/// Shut until it is opened. A look-up under the wrong key finds nothing, which would pass for proof that there is no
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
        if self.lacks().is_some() {
            self.0.store(None);
        }
    }

    /// `why` names the missing key.
    pub fn shut(&self, why: String) {
        self.0.store(Some(Arc::new(why)));
    }

    /// Why the gate is shut, if it is.
    pub fn lacks(&self) -> Option<Arc<String>> {
        self.0.load_full()
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &*self.0.load() {
            None => Ok(()),
            Some(why) => Err(StoreError::Unavailable(why.as_str().to_owned())),
        }
    }
}
