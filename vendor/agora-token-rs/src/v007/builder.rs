//! Issuing 007 tokens: services in, text out. This is where Agora's limits are held.

use std::time::{Duration, SystemTime};

use super::{Claims, Payload, Service};
use crate::policy::check_lifetime;
use crate::text::TokenText;
use crate::{AppId, Credentials, Error, Result, RtcService, RtmService, Timestamp, salt};

/// Collects what one token shall grant. Nothing is checked before it is built, so all methods chain.
#[derive(Debug, Clone)]
pub struct Builder {
    issued_at: SystemTime,
    lifetime: Duration,
    services: Vec<Wanted>,
}

#[derive(Debug, Clone)]
enum Wanted {
    Rtc(RtcService),
    Rtm(RtmService),
    General(Service),
}

impl Builder {
    /// Starts a token issued at `issued_at`, the server's present time, that dies `lifetime` later.
    ///
    /// One hour suits calls and live seats; the client renews on Agora's warning. At most 24 hours; fractions of a second are dropped.
    pub fn new(issued_at: SystemTime, lifetime: Duration) -> Self {
        Self { issued_at, lifetime, services: Vec::new() }
    }

    /// Adds access to an RTC channel.
    #[must_use]
    pub fn rtc(mut self, service: RtcService) -> Self {
        self.services.push(Wanted::Rtc(service));
        self
    }

    /// Adds access to RTM.
    #[must_use]
    pub fn rtm(mut self, service: RtmService) -> Self {
        self.services.push(Wanted::Rtm(service));
        self
    }

    /// Adds a service of any type as it is: its names and privilege lifetimes are not held to Agora's limits.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.services.push(Wanted::General(service));
        self
    }

    /// Makes the token, with a fresh salt from the operating system.
    ///
    /// Errors: `NoService`; `ZeroLifetime` and `LifetimeTooLong`; `EmptyField` and `FieldTooLong` for a channel over 63 bytes or an
    /// account over 255; `TimeOutOfRange`; `RandomnessUnavailable`.
    pub fn build(&self, credentials: &Credentials) -> Result<TokenText> {
        self.claims(&credentials.app_id, salt::draw()?)?.sign(&credentials.certificate)
    }

    /// What [`build`](Self::build) would sign, for a salt of the caller's choice. For tests and tools: a salt must not repeat.
    pub fn claims(&self, app_id: &AppId, salt: u32) -> Result<Claims> {
        if self.services.is_empty() {
            return Err(Error::NoService);
        }
        let lifetime = check_lifetime(self.lifetime)?;
        Ok(Claims {
            app_id: app_id.clone(),
            issued_at: Timestamp::try_from(self.issued_at)?,
            lifetime,
            salt,
            services: self.services.iter().map(|wanted| wanted.checked(lifetime)).collect::<Result<_>>()?,
        })
    }
}

impl Wanted {
    fn checked(&self, token_lifetime: Duration) -> Result<Service> {
        match self {
            Self::Rtc(rtc) => Ok(Service {
                privileges: rtc.checked_privileges(token_lifetime)?,
                payload: Payload::Rtc { channel: rtc.channel.clone(), account: rtc.user.as_token_text().into_owned() },
            }),
            Self::Rtm(rtm) => {
                let login = rtm.checked_login(token_lifetime)?;
                Ok(Service::new(Payload::Rtm { user_id: rtm.user_id.clone() }).with_privilege(1, login))
            }
            Self::General(service) => Ok(service.clone()),
        }
    }
}
