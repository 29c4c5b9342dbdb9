//! The exact content of a 006 token, and the bytes that are signed.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::hashing::{crc32, digest, hmac_sha256};
use crate::text::{TokenText, TokenVersion};
use crate::wire::Writer;
use crate::{AppCertificate, AppId, Result, Timestamp};

/// The privilege "log in to RTM". The numbers 1 to 4 are those of [`RtcPrivilege`](crate::RtcPrivilege).
pub const RTM_LOGIN: u16 = 1000;

/// Everything a 006 token is made from. The token itself holds the channel and the user only as checksums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The project the token is for.
    pub app_id: AppId,
    /// The RTC channel, or **the account** in an RTM token.
    pub channel: String,
    /// The user as [`User::as_token_text`](crate::User::as_token_text) writes it; empty for anyone, and in an RTM token.
    pub user: String,
    /// Makes two otherwise equal tokens differ.
    pub salt: u32,
    /// The end of the token's own validity; official builders write the time of issue plus 24 hours.
    pub valid_until: Timestamp,
    /// When each privilege ends, by its number.
    pub privileges: BTreeMap<u16, Timestamp>,
}

impl Claims {
    /// Makes the token. The text is the same in every implementation.
    ///
    /// Errors: `FieldTooLong` if there are more than 65 535 privileges or the token would be over 64 KiB.
    pub fn sign(&self, certificate: &AppCertificate) -> Result<TokenText> {
        let message = self.message()?;
        let names = Names { app_id: &self.app_id, channel: &self.channel, user: &self.user };
        let mut content = Writer::default();
        content.string(digest(signature(certificate, &names, &message)), "signature")?;
        content.u32(crc32(&self.channel));
        content.u32(crc32(&self.user));
        content.string(message, "privileges")?;
        TokenText::assemble(TokenVersion::V006, self.app_id.as_str(), &content.into_bytes())
    }

    fn message(&self) -> Result<Vec<u8>> {
        let mut out = Writer::default();
        out.u32(self.salt);
        out.u32(self.valid_until.unix_seconds());
        out.map(&self.privileges.iter().map(|(&key, end)| (key, end.unix_seconds())).collect())?;
        Ok(out.into_bytes())
    }
}

/// The names a signature covers besides the message.
pub(super) struct Names<'a> {
    pub(super) app_id: &'a AppId,
    pub(super) channel: &'a str,
    pub(super) user: &'a str,
}

/// Plain concatenation without lengths, as Agora defines it: the checksums keep "ab" + "c" apart from "a" + "bc".
pub(super) fn signature(certificate: &AppCertificate, names: &Names<'_>, message: &[u8]) -> Hmac<Sha256> {
    let mut mac = hmac_sha256(certificate.ascii(), names.app_id.as_str().as_bytes());
    mac.update(names.channel.as_bytes());
    mac.update(names.user.as_bytes());
    mac.update(message);
    mac
}
