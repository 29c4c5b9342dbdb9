//! Salts come from the operating system, afresh for each token.

use crate::{Error, Result};

/// Any 32-bit value is a valid salt.
pub(crate) fn draw() -> Result<u32> {
    getrandom::u32().map_err(|source| Error::RandomnessUnavailable { reason: source.to_string() })
}
