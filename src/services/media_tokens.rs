//! Tokens for Agora's channels. Never stored, never logged; only for a channel the server itself named.

use std::time::{Duration, SystemTime};

use agora_token_rs::{Credentials, RtcService, TokenVersion, User, v006, v007};
use rand::Rng;
use tracing::error;

use crate::models::Timestamp;

/// The media user tokens are made for: any. The apps join with the `uid` they are told, or with 0.
pub const ANY_UID: u32 = 0;

/// Makes tokens, if the server has Agora credentials.
#[derive(Clone, Debug, Default)]
pub struct MediaTokens(Option<Issuer>);

#[derive(Clone, Debug)]
struct Issuer {
    credentials: Credentials,
    version: TokenVersion,
    lifetime: Duration,
}

/// What a client needs to join a channel. Without credentials token, app id and expiry are absent.
#[derive(Clone, Default)]
pub struct MediaToken {
    /// The token.
    pub token: Option<String>,
    /// `AGORA_APP_ID`.
    pub app_id: Option<String>,
    /// When the token ends.
    pub expires_at: Option<Timestamp>,
}

impl MediaTokens {
    /// Tokens of this version that last for `lifetime`, at most 24 hours.
    pub fn new(credentials: Credentials, version: TokenVersion, lifetime: Duration) -> Self {
        Self(Some(Issuer { credentials, version, lifetime }))
    }

    /// A token to send and receive in `channel`.
    pub fn issue(&self, channel: &str, now: Timestamp) -> MediaToken {
        let Some(issuer) = &self.0 else { return MediaToken::default() };
        let issued_at = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or_default());
        let service = RtcService::publisher(channel, User::Uid(ANY_UID));
        let token = match issuer.version {
            TokenVersion::V006 => v006::Builder::rtc(service, issued_at, issuer.lifetime).build(&issuer.credentials),
            TokenVersion::V007 => v007::Builder::new(issued_at, issuer.lifetime).rtc(service).build(&issuer.credentials),
        };
        let app_id = Some(issuer.credentials.app_id.as_str().to_owned());
        match token {
            Ok(token) => MediaToken { token: Some(token.as_str().to_owned()), app_id, expires_at: Some(now.plus(issuer.lifetime)) },
            Err(e) => {
                error!("a media token could not be made: {e}");
                MediaToken { app_id, ..MediaToken::default() }
            }
        }
    }
}

/// A name for a channel, which nobody can guess: `call_`, 13 digits of milliseconds, `_`, 9 random letters and digits.
pub fn channel_name(now: Timestamp) -> String {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut random = rand::rng();
    let tail: String = (0..9).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect();
    format!("call_{:013}_{tail}", now.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_names_keep_their_form_and_do_not_repeat() {
        let now = Timestamp::from_millis(1_766_224_800_007);
        let names: std::collections::HashSet<String> = (0..10_000).map(|_| channel_name(now)).collect();
        assert_eq!(names.len(), 10_000);
        for name in names {
            assert!(name.starts_with("call_1766224800007_") && name.len() == 28, "{name}");
        }
    }

    #[test]
    fn without_credentials_there_is_no_token() {
        let token = MediaTokens::default().issue("call_x", Timestamp::now());
        assert!(token.token.is_none() && token.app_id.is_none() && token.expires_at.is_none());
    }
}
