//! The outside of a token: its version mark, its limit in size, and a holder that keeps it out of logs.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::{Error, Result};

/// The longest text the readers look at and the builders make: 64 KiB. Real tokens have a few hundred bytes.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// A finished token. It is a bearer secret for its lifetime, so `Debug` hides it and there is no `Display`.
///
/// The alphabet includes `+`, `/` and `=`: percent-encode it in a query string.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

/// Which format a token text claims to be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenVersion {
    /// "AccessToken", read with [`v006::AccessToken`](crate::v006::AccessToken).
    V006,
    /// "AccessToken2", read with [`v007::AccessToken2`](crate::v007::AccessToken2).
    V007,
}

impl TokenText {
    /// Joins the parts of a token; `FieldTooLong` if our own readers would refuse the result for its size.
    pub(crate) fn assemble(version: TokenVersion, clear: &str, content: &[u8]) -> Result<Self> {
        let text = format!("{}{clear}{}", version.prefix(), STANDARD.encode(content));
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::FieldTooLong { field: "token" });
        }
        Ok(Self(text))
    }

    /// The token, to hand to a client.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The token as an owned text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(***)")
    }
}

impl TokenVersion {
    /// Looks at the first three characters alone; `UnsupportedVersion` if they are neither `006` nor `007`.
    pub fn of(text: &str) -> Result<Self> {
        match text.get(..3) {
            Some("006") => Ok(Self::V006),
            Some("007") => Ok(Self::V007),
            _ => Err(Error::UnsupportedVersion),
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::V006 => "006",
            Self::V007 => "007",
        }
    }

    /// What follows the version mark, once the size and the mark have been checked.
    pub(crate) fn strip_from(self, text: &str) -> Result<&str> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::Malformed { at: "length of the text" });
        }
        text.strip_prefix(self.prefix()).ok_or(Error::UnsupportedVersion)
    }
}

/// Strict: standard alphabet, with padding, nothing around it. Other readers tolerate more; two texts for one token help nobody.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|_| Error::Malformed { at: "base64" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_from_three_characters() {
        assert_eq!(TokenVersion::of("006…"), Ok(TokenVersion::V006));
        assert_eq!(TokenVersion::of("007eJ"), Ok(TokenVersion::V007));
        for other in ["", "00", "008", " 007", "00é"] {
            assert_eq!(TokenVersion::of(other), Err(Error::UnsupportedVersion), "{other:?}");
        }
    }

    #[test]
    fn debug_output_never_shows_the_token() {
        let token = TokenText::assemble(TokenVersion::V007, "", b"secret").unwrap();
        assert_eq!(format!("{token:?}"), "TokenText(***)");
    }

    #[test]
    fn too_long_a_token_is_neither_made_nor_read() {
        let content = vec![0; MAX_TEXT_BYTES];
        assert_eq!(TokenText::assemble(TokenVersion::V007, "", &content), Err(Error::FieldTooLong { field: "token" }));
        let text = format!("007{}", "A".repeat(MAX_TEXT_BYTES));
        assert!(matches!(TokenVersion::V007.strip_from(&text), Err(Error::Malformed { .. })));
    }
}
