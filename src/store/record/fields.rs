//! A list of fields, each with number, length and value. Fields with their default value are left out.

use std::collections::BTreeMap;

/// Longest encoded number in bytes.
const MAX_VARINT_LEN: usize = 10;

#[derive(Default)]
pub(super) struct FieldWriter(Vec<u8>);

impl FieldWriter {
    pub(super) fn bytes(&mut self, field: u8, value: &[u8]) {
        self.0.push(field);
        put_number(&mut self.0, value.len() as u64);
        self.0.extend(value);
    }

    pub(super) fn number(&mut self, field: u8, value: u64) {
        if value != 0 {
            let mut bytes = Vec::with_capacity(MAX_VARINT_LEN);
            put_number(&mut bytes, value);
            self.bytes(field, &bytes);
        }
    }

    pub(super) fn text(&mut self, field: u8, value: Option<&str>) {
        if let Some(value) = value {
            self.bytes(field, value.as_bytes());
        }
    }

    /// Adds the fields of [`FieldMap::rest`].
    pub(super) fn finish(mut self, rest: &[u8]) -> Vec<u8> {
        self.0.extend(rest);
        self.0
    }
}

/// The fields not taken yet.
pub(super) struct FieldMap<'a>(BTreeMap<u8, &'a [u8]>);

impl<'a> FieldMap<'a> {
    pub(super) fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut fields = BTreeMap::new();
        while let Some((&field, rest)) = bytes.split_first() {
            bytes = rest;
            let value = take_bytes(&mut bytes)?;
            fields.insert(field, value);
        }
        Some(Self(fields))
    }

    pub(super) fn bytes(&mut self, field: u8) -> Option<&'a [u8]> {
        self.0.remove(&field)
    }

    pub(super) fn array<const N: usize>(&mut self, field: u8) -> Option<[u8; N]> {
        self.bytes(field)?.try_into().ok()
    }

    pub(super) fn number(&mut self, field: u8) -> Option<u64> {
        self.bytes(field).map_or(Some(0), |mut bytes| take_number(&mut bytes))
    }

    pub(super) fn text(&mut self, field: u8) -> Option<String> {
        self.bytes(field).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The fields that were not taken, which a later version has written.
    pub(super) fn rest(self) -> Vec<u8> {
        let mut rest = FieldWriter::default();
        self.0.into_iter().for_each(|(field, value)| rest.bytes(field, value));
        rest.0
    }
}

/// LEB128: seven bits a byte, the lowest first; the eighth bit says that more follow.
pub(super) fn put_number(bytes: &mut Vec<u8>, mut value: u64) {
    while let [low, ..] = value.to_le_bytes()
        && value > 0x7f
    {
        bytes.push(low | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

pub(super) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..MAX_VARINT_LEN {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(place * 7).ok()?)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

pub(super) fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    put_number(bytes, value.len() as u64);
    bytes.extend(value);
}

pub(super) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(bytes)?).ok()?;
    let (value, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(value in any::<u64>()) {
            let mut bytes = Vec::new();
            put_number(&mut bytes, value);
            prop_assert_eq!(take_number(&mut bytes.as_slice()), Some(value));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let fields = FieldMap::read(&bytes).map(FieldMap::rest);
            if let Some(rest) = fields {
                prop_assert!(FieldMap::read(&rest).is_some());
            }
        }
    }
}
