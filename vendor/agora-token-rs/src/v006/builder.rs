//! Issuing 006 tokens from the same words as 007: a service, the time of issue, a lifetime. The absolute times are worked out here.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{Claims, RTM_LOGIN};
use crate::policy::{MAX_LIFETIME, check_lifetime};
use crate::text::TokenText;
use crate::{AppId, Credentials, Result, RtcService, RtmService, Timestamp, salt};

/// What one 006 token shall grant. Nothing is checked before it is built.
#[derive(Debug, Clone)]
pub struct Builder {
    wanted: Wanted,
    issued_at: SystemTime,
    lifetime: Duration,
}

#[derive(Debug, Clone)]
enum Wanted {
    Rtc(RtcService),
    Rtm(RtmService),
}

impl Builder {
    /// A token for an RTC channel. Privileges without a lifetime of their own end after `lifetime`, at most 24 hours.
    pub fn rtc(service: RtcService, issued_at: SystemTime, lifetime: Duration) -> Self {
        Self { wanted: Wanted::Rtc(service), issued_at, lifetime }
    }

    /// A token for RTM. The login ends after `lifetime` unless the service has its own, at most 24 hours.
    pub fn rtm(service: RtmService, issued_at: SystemTime, lifetime: Duration) -> Self {
        Self { wanted: Wanted::Rtm(service), issued_at, lifetime }
    }

    /// Makes the token, with a fresh salt from the operating system.
    ///
    /// Errors: `ZeroLifetime` and `LifetimeTooLong`; `EmptyField` and `FieldTooLong` for a channel over 63 bytes or an account over
    /// 255; `TimeOutOfRange`; `RandomnessUnavailable`.
    pub fn build(&self, credentials: &Credentials) -> Result<TokenText> {
        self.claims(&credentials.app_id, salt::draw()?)?.sign(&credentials.certificate)
    }

    /// What [`build`](Self::build) would sign, for a salt of the caller's choice. For tests and tools: a salt must not repeat.
    pub fn claims(&self, app_id: &AppId, salt: u32) -> Result<Claims> {
        let lifetime = check_lifetime(self.lifetime)?;
        let (channel, user, lifetimes) = match &self.wanted {
            Wanted::Rtc(rtc) => (rtc.channel.clone(), rtc.user.as_token_text().into_owned(), rtc.checked_privileges(lifetime)?),
            // Agora's own choice: the account stands in the channel's place, and there is no user.
            Wanted::Rtm(rtm) => {
                let login = rtm.checked_login(lifetime)?;
                (rtm.user_id.clone(), String::new(), BTreeMap::from([(RTM_LOGIN, login)]))
            }
        };
        let issued_at = Timestamp::try_from(self.issued_at)?;
        let privileges = lifetimes.into_iter().map(|(key, lifetime)| Ok((key, issued_at.plus(lifetime)?)));
        Ok(Claims {
            app_id: app_id.clone(),
            channel,
            user,
            salt,
            valid_until: issued_at.plus(MAX_LIFETIME)?,
            privileges: privileges.collect::<Result<_>>()?,
        })
    }
}
