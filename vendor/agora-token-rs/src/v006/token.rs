//! Reading and verifying a 006 token. Its channel and user are checksums, so the verifier has to know them already.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use hmac::Mac;

use super::claims::{Names, signature};
use crate::hashing::crc32;
use crate::text::{TokenVersion, decode_base64};
use crate::wire::Reader;
use crate::{AppCertificate, AppId, Error, Result, Timestamp, User};

const APP_ID_BYTES: usize = 32;

/// A 006 token that could be read. Reading it proves nothing: ask [`verify`](Self::verify) and the other verdicts.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    app_id: AppId,
    channel_crc: u32,
    user_crc: u32,
    salt: u32,
    valid_until: Timestamp,
    privileges: BTreeMap<u16, Timestamp>,
    signature: Vec<u8>,
    /// The very bytes the signature covers, after the names.
    message: Vec<u8>,
}

impl AccessToken {
    /// Reads a token.
    ///
    /// Errors: `UnsupportedVersion` without `006` in front; `Malformed` for everything else, bytes that no signature covers included.
    pub fn parse(text: &str) -> Result<Self> {
        let text = TokenVersion::V006.strip_from(text)?;
        let malformed_app_id = Error::Malformed { at: "app id" };
        let (app_id, content) = text.split_at_checked(APP_ID_BYTES).ok_or(malformed_app_id.clone())?;
        let app_id = AppId::parse(app_id).map_err(|_| malformed_app_id)?;

        let content = decode_base64(content)?;
        let mut input = Reader::new(&content);
        let signature = input.bytes("signature")?.to_vec();
        let channel_crc = input.u32("channel checksum")?;
        let user_crc = input.u32("user checksum")?;
        let message = input.bytes("message")?.to_vec();
        if !input.rest().is_empty() {
            return Err(Error::Malformed { at: "end of the content" });
        }

        let mut input = Reader::new(&message);
        let salt = input.u32("salt")?;
        let valid_until = Timestamp::from_unix_seconds(input.u32("end of validity")?);
        let privileges = input.map()?.into_iter().map(|(key, end)| (key, Timestamp::from_unix_seconds(end))).collect();
        Ok(Self { app_id, channel_crc, user_crc, salt, valid_until, privileges, signature, message })
    }

    /// `Ok` if this certificate signed the token for exactly this channel and user.
    ///
    /// For an RTM token the account is the `channel` and the user is `User::Uid(0)`. Says nothing about expiry.
    /// Errors: `ChannelOrUserMismatch` if a checksum differs, `SignatureMismatch` (compared in constant time) for the rest.
    pub fn verify(&self, certificate: &AppCertificate, channel: &str, user: &User) -> Result<()> {
        let user = user.as_token_text();
        if self.channel_crc != crc32(channel) || self.user_crc != crc32(&user) {
            return Err(Error::ChannelOrUserMismatch);
        }
        let names = Names { app_id: &self.app_id, channel, user: &user };
        signature(certificate, &names, &self.message).verify_slice(&self.signature).map_err(|_| Error::SignatureMismatch)
    }

    /// Whether the token names this App ID, letter case included.
    pub fn is_for_app(&self, app_id: &AppId) -> bool {
        self.app_id == *app_id
    }

    /// Whether the token's own validity has ended at `now`; the very second of its end counts as ended. Privileges may end earlier.
    pub fn is_expired_at(&self, now: SystemTime) -> bool {
        now >= SystemTime::from(self.valid_until)
    }

    /// The project the token names.
    pub fn app_id(&self) -> &AppId {
        &self.app_id
    }

    /// The CRC-32 of the channel's name, or of the account in an RTM token.
    pub fn channel_crc(&self) -> u32 {
        self.channel_crc
    }

    /// The CRC-32 of the user's text; zero for anyone.
    pub fn user_crc(&self) -> u32 {
        self.user_crc
    }

    /// The token's salt.
    pub fn salt(&self) -> u32 {
        self.salt
    }

    /// The end of the token's own validity.
    pub fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// When each privilege ends, by its number, as written: zero stands for no end of its own.
    pub fn privileges(&self) -> &BTreeMap<u16, Timestamp> {
        &self.privileges
    }

    /// The signature as it stands in the token: 32 bytes if it is to have a chance.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// Leaves out the signature and the signed bytes: with them a log line could be turned back into the token.
impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("app_id", &self.app_id)
            .field("valid_until", &self.valid_until)
            .field("privileges", &self.privileges)
            .finish_non_exhaustive()
    }
}
