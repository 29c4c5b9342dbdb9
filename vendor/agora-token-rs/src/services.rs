//! The two services a messaging server grants: RTC (calls and live streams) and RTM (signaling).
//!
//! They hold what is wanted, in the caller's words; the builders of each version check and write it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::policy::{check_account, check_channel, check_lifetime};
use crate::{Result, User};

/// What a user may do in an RTC channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RtcPrivilege {
    /// Join the channel. When this ends, Agora removes the user whatever else is left.
    JoinChannel,
    /// Publish audio. The three publish privileges bite only when the project has co-host authentication switched on.
    PublishAudio,
    /// Publish video.
    PublishVideo,
    /// Publish a data stream.
    PublishDataStream,
}

/// Access to one RTC channel for one user. It always includes joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtcService {
    pub(crate) channel: String,
    pub(crate) user: User,
    /// `None` means as long as the token.
    privileges: BTreeMap<RtcPrivilege, Option<Duration>>,
}

/// Access to RTM (Signaling) for one user, as long as the token unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtmService {
    pub(crate) user_id: String,
    lifetime: Option<Duration>,
}

impl RtcPrivilege {
    /// Every privilege, in ascending order of its number.
    pub const ALL: [Self; 4] = [Self::JoinChannel, Self::PublishAudio, Self::PublishVideo, Self::PublishDataStream];

    /// Its number in tokens of both versions.
    pub const fn key(self) -> u16 {
        match self {
            Self::JoinChannel => 1,
            Self::PublishAudio => 2,
            Self::PublishVideo => 3,
            Self::PublishDataStream => 4,
        }
    }
}

impl RtcService {
    /// A user who may join and listen: Agora's role 2.
    pub fn subscriber(channel: impl Into<String>, user: User) -> Self {
        Self { channel: channel.into(), user, privileges: BTreeMap::new() }.grant(RtcPrivilege::JoinChannel)
    }

    /// A user who may join and publish everything: Agora's role 1.
    pub fn publisher(channel: impl Into<String>, user: User) -> Self {
        RtcPrivilege::ALL.into_iter().fold(Self::subscriber(channel, user), Self::grant)
    }

    /// Adds a privilege that lasts as long as the token.
    ///
    /// The token's own lifetime is written out, never 0: both mean the same to Agora, but only one can be misread.
    #[must_use]
    pub fn grant(mut self, privilege: RtcPrivilege) -> Self {
        self.privileges.insert(privilege, None);
        self
    }

    /// Adds a privilege with a lifetime of its own, counted from the issue of the token. It still ends with the token.
    #[must_use]
    pub fn grant_for(mut self, privilege: RtcPrivilege, lifetime: Duration) -> Self {
        self.privileges.insert(privilege, Some(lifetime));
        self
    }

    /// The names and lifetimes, once Agora's limits have been checked.
    pub(crate) fn checked_privileges(&self, token_lifetime: Duration) -> Result<BTreeMap<u16, Duration>> {
        check_channel(&self.channel)?;
        if let User::Account(account) = &self.user {
            check_account(account)?;
        }
        let checked = |(privilege, lifetime): (&RtcPrivilege, &Option<Duration>)| {
            Ok((privilege.key(), check_lifetime(lifetime.unwrap_or(token_lifetime))?))
        };
        self.privileges.iter().map(checked).collect()
    }
}

impl RtmService {
    /// A user who may log in for as long as the token lasts.
    pub fn new(user_id: impl Into<String>) -> Self {
        Self { user_id: user_id.into(), lifetime: None }
    }

    /// Gives the login a lifetime of its own, counted from the issue of the token. It still ends with the token.
    #[must_use]
    pub fn lasting(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// The lifetime of the login, once Agora's limits have been checked.
    pub(crate) fn checked_login(&self, token_lifetime: Duration) -> Result<Duration> {
        check_account(&self.user_id)?;
        check_lifetime(self.lifetime.unwrap_or(token_lifetime))
    }
}
