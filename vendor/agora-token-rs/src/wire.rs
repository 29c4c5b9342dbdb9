//! Packing: little-endian integers, texts with a 16-bit length in front, and maps in ascending key order.
//!
//! The writer refuses what does not fit, the reader refuses what is cut short; neither ever truncates.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// Appends packed values to a buffer.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn u16(&mut self, value: u16) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    /// A number of entries; `FieldTooLong` when it does not fit 16 bits.
    pub(crate) fn count(&mut self, count: usize, field: &'static str) -> Result<()> {
        let count = u16::try_from(count).map_err(|_| Error::FieldTooLong { field })?;
        self.u16(count);
        Ok(())
    }

    /// The format's `string`, which also holds raw bytes.
    pub(crate) fn string(&mut self, bytes: impl AsRef<[u8]>, field: &'static str) -> Result<()> {
        self.count(bytes.as_ref().len(), field)?;
        self.0.extend(bytes.as_ref());
        Ok(())
    }

    /// Bytes without a length in front.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// The format's `map`.
    pub(crate) fn map(&mut self, entries: &BTreeMap<u16, u32>) -> Result<()> {
        self.count(entries.len(), "privileges")?;
        for (&key, &value) in entries {
            self.u16(key);
            self.u32(value);
        }
        Ok(())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Takes packed values off the front of a slice. `at` names the part for the error.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn u16(&mut self, at: &'static str) -> Result<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(crate) fn i16(&mut self, at: &'static str) -> Result<i16> {
        self.array(at).map(i16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, at: &'static str) -> Result<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// The format's `string` as raw bytes.
    pub(crate) fn bytes(&mut self, at: &'static str) -> Result<&'a [u8]> {
        let length = self.u16(at)?;
        let (head, tail) = self.0.split_at_checked(length.into()).ok_or(Error::Malformed { at })?;
        self.0 = tail;
        Ok(head)
    }

    /// The format's `string` as UTF-8.
    pub(crate) fn text(&mut self, at: &'static str) -> Result<String> {
        let bytes = self.bytes(at)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Error::Malformed { at })
    }

    /// The format's `map`. A repeated key is not an error: the last value wins, as in every official reader.
    pub(crate) fn map(&mut self) -> Result<BTreeMap<u16, u32>> {
        const AT: &str = "privileges";
        // The count is a claim, not a promise: nothing is allocated from it.
        let count = self.u16(AT)?;
        (0..count).map(|_| Ok((self.u16(AT)?, self.u32(AT)?))).collect()
    }

    fn array<const N: usize>(&mut self, at: &'static str) -> Result<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Error::Malformed { at })?;
        self.0 = tail;
        Ok(*head)
    }
}

#[cfg(test)]
mod tests;
