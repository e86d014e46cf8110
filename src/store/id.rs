//! Ids of records.

use std::fmt;

use crate::domain::{Partition, VerificationId};

/// Length of a locator in bytes.
const LOCATOR: usize = 10;

/// The id of a record: sixteen opaque bytes. The last five bits are its partition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId([u8; 16]);

/// Where a record is stored: the last ten bytes of its id. A locator holds one record at a time; a reader that knows
/// the whole id also compares the other bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locator([u8; LOCATOR]);

impl RecordId {
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub fn partition(self) -> Partition {
        self.locator().partition()
    }

    /// The same id in another partition.
    #[must_use]
    pub fn within(self, partition: Partition) -> Self {
        VerificationId::from(self).in_partition(partition).into()
    }

    pub fn locator(self) -> Locator {
        let (_, locator) = self.0.split_last_chunk().expect("16 is more than 10");
        Locator(*locator)
    }

    /// The bytes before the locator.
    pub(super) fn head(self) -> [u8; 6] {
        let (head, _) = self.0.split_first_chunk().expect("16 is more than 6");
        *head
    }

    pub(super) fn from_parts(head: [u8; 6], locator: Locator) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&head);
        bytes[6..].copy_from_slice(&locator.0);
        Self(bytes)
    }
}

impl Locator {
    pub const fn new(bytes: [u8; LOCATOR]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; LOCATOR] {
        &self.0
    }

    /// `None` if the length is wrong.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub fn partition(self) -> Partition {
        Partition::from_byte(self.0[LOCATOR - 1])
    }
}

impl From<VerificationId> for RecordId {
    fn from(id: VerificationId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<RecordId> for VerificationId {
    fn from(RecordId(bytes): RecordId) -> Self {
        Self::from_bytes(bytes)
    }
}

/// Written as a UUID, since most records are verifications.
impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        VerificationId::from(*self).fmt(f)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
