//! What keeps a process from its records while it lacks the keys that they are found by.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::StoreError;

/// Shut from the start. Whoever looks for a record under the wrong key finds none, and would conclude that there is none.
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

    /// `why` says which key is missing.
    pub fn shut(&self, why: String) {
        self.0.store(Some(Arc::new(why)));
    }

    /// Why it is shut.
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
