//! One service inside a 007 token: its kind, its privileges, and the fields that kind has.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Permissions;

/// A service of any kind, with privileges by number.
///
/// This is the general form: it accepts whatever the format can hold. For calls and signaling prefer
/// [`RtcService`](crate::RtcService) and [`RtmService`](crate::RtmService) with the [`Builder`](super::Builder).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Lifetimes by privilege number, counted from the issue of the token. Written in whole seconds; zero means no limit of its own.
    pub privileges: BTreeMap<u16, Duration>,
    /// The kind of service and its fields.
    pub payload: Payload,
}

/// The kind of a service and the fields of that kind. What the privilege numbers mean depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Type 1. Privileges: 1 join channel, 2 publish audio, 3 publish video, 4 publish data stream.
    Rtc {
        /// The channel's name.
        channel: String,
        /// The user as [`User::as_token_text`](crate::User::as_token_text) writes it; empty admits anyone.
        account: String,
    },
    /// Type 2, Signaling. Privilege: 1 log in.
    Rtm {
        /// The one who may log in.
        user_id: String,
    },
    /// Type 3. Privileges: 1 publish mixed, 2 publish raw.
    Streaming {
        /// The channel's name.
        channel: String,
        /// The user, written as for RTC.
        account: String,
    },
    /// Type 4. Privilege: 1 log in.
    Fpa,
    /// Type 5. Privileges: 1 user, 2 app.
    Chat {
        /// The user; empty in an app token.
        user_id: String,
    },
    /// Type 6. Privileges: 1 publish, 2 play.
    FusionCdn {
        /// The channel's name.
        channel: String,
        /// The user, written as for RTC.
        account: String,
    },
    /// Type 7, APaaS or Education. Privileges: 1 room user, 2 user, 3 app.
    Education {
        /// The room; empty in user and app tokens.
        room_uuid: String,
        /// The user; empty in app tokens.
        user_uuid: String,
        /// The role in the room; −1 when there is none.
        role: i16,
    },
    /// Type 8, RTM2. Privilege: 1 log in.
    RtmWithPermissions {
        /// The one who may log in.
        user_id: String,
        /// What may be read and written.
        permissions: Permissions,
    },
    /// Type 9. No privileges in use.
    ConversationalAi,
    /// Type 10. No privileges in use.
    SpeechToText,
    /// Any other type. It can be written; reading stops in front of it, because nobody knows how long it is.
    Other {
        /// The type's number.
        service_type: u16,
        /// The fields, already packed.
        packed: Vec<u8>,
    },
}

impl Service {
    /// A service without privileges.
    pub fn new(payload: Payload) -> Self {
        Self { privileges: BTreeMap::new(), payload }
    }

    /// Sets the lifetime of one privilege.
    #[must_use]
    pub fn with_privilege(mut self, key: u16, lifetime: Duration) -> Self {
        self.privileges.insert(key, lifetime);
        self
    }
}

impl Payload {
    /// The type's number on the wire.
    pub fn service_type(&self) -> u16 {
        match self {
            Self::Rtc { .. } => 1,
            Self::Rtm { .. } => 2,
            Self::Streaming { .. } => 3,
            Self::Fpa => 4,
            Self::Chat { .. } => 5,
            Self::FusionCdn { .. } => 6,
            Self::Education { .. } => 7,
            Self::RtmWithPermissions { .. } => 8,
            Self::ConversationalAi => 9,
            Self::SpeechToText => 10,
            Self::Other { service_type, .. } => *service_type,
        }
    }
}
