//! The separate questions about a 007 token. Only the signature says whether the other answers can be believed.

use std::time::{Duration, SystemTime};

use super::signing::SigningKey;
use super::{AccessToken2, Payload, Service};
use crate::{AppCertificate, AppId, Result, RtcPrivilege, User};

const RTM_LOGIN: u16 = 1;

impl AccessToken2 {
    /// `Ok` if this certificate signed exactly these bytes, else `SignatureMismatch`. Compared in constant time.
    ///
    /// Says nothing about expiry, App ID or what is granted. During a rotation, ask once per certificate.
    pub fn verify_signature(&self, certificate: &AppCertificate) -> Result<()> {
        let claims = self.claims();
        SigningKey::derive(certificate, claims.issued_at, claims.salt).verify(&self.signed, &self.signature)
    }

    /// Whether the token names this App ID, letter case included.
    pub fn is_for_app(&self, app_id: &AppId) -> bool {
        self.claims().app_id == *app_id
    }

    /// When the whole token dies. Agora ends it after 24 hours at the latest, even if it says more.
    pub fn expires_at(&self) -> SystemTime {
        SystemTime::from(self.claims().issued_at) + self.claims().lifetime
    }

    /// Whether the token is dead at `now`; the very second of its end counts as dead.
    pub fn is_expired_at(&self, now: SystemTime) -> bool {
        now >= self.expires_at()
    }

    /// When this user's privilege in this channel ends, or `None` if no RTC service grants it.
    ///
    /// A token without an account admits any user. Publishing ends with joining, because Agora then removes the user; so a service
    /// that does not grant joining grants nothing. If several services answer, the latest end counts.
    pub fn rtc_privilege_ends_at(&self, channel: &str, user: &User, privilege: RtcPrivilege) -> Option<SystemTime> {
        let user = user.as_token_text();
        let admits = |service: &&Service| match &service.payload {
            Payload::Rtc { channel: named, account } => named == channel && (account.is_empty() || *account == user),
            _ => false,
        };
        let end = |service: &Service| {
            let joining = self.privilege_end(service, RtcPrivilege::JoinChannel.key())?;
            Some(joining.min(self.privilege_end(service, privilege.key())?))
        };
        self.claims().services.iter().filter(admits).filter_map(end).max()
    }

    /// When this user's RTM login ends, or `None` if no RTM service grants it. If several services answer, the latest end counts.
    pub fn rtm_login_ends_at(&self, user_id: &str) -> Option<SystemTime> {
        let admits = |service: &&Service| matches!(&service.payload, Payload::Rtm { user_id: named } if named == user_id);
        self.claims().services.iter().filter(admits).filter_map(|service| self.privilege_end(service, RTM_LOGIN)).max()
    }

    /// Zero means no limit of its own; nothing outlives the token.
    fn privilege_end(&self, service: &Service, key: u16) -> Option<SystemTime> {
        let own = *service.privileges.get(&key)?;
        let limit = if own == Duration::ZERO { self.claims().lifetime } else { own.min(self.claims().lifetime) };
        Some(SystemTime::from(self.claims().issued_at) + limit)
    }
}
