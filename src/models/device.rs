//! Phones and browsers that can be reached while no socket of theirs is connected.

use super::participant::Participant;
use super::time::Timestamp;

/// What sort of address a device token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A registration token of Firebase Cloud Messaging.
    Fcm,
    /// A PushKit token of Apple, in hex digits: it makes an iPhone ring like a telephone.
    Voip,
}

impl DeviceKind {
    /// The word on the wire and in the stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fcm => "fcm",
            Self::Voip => "voip",
        }
    }

    /// Reads the stored word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Fcm, Self::Voip].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Platform {
    Android,
    Ios,
    Web,
}

impl Platform {
    /// The word on the wire and in the stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Android => "android",
            Self::Ios => "ios",
            Self::Web => "web",
        }
    }

    /// Reads the word of the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Android, Self::Ios, Self::Web].into_iter().find(|platform| platform.as_str() == text)
    }
}

/// A device token and whose it is. Has no `Debug`: tokens are never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    /// What the push service calls the device; one owner at a time.
    pub token: String,
    /// Whose service that is.
    pub kind: DeviceKind,
    /// Who is reached by it.
    pub owner: Participant,
    /// What it is.
    pub platform: Platform,
    /// When its owner registered it last.
    pub registered_at: Timestamp,
}

impl Device {
    /// Of one owner and kind only this many are kept, the newest.
    pub const KEPT: usize = 5;

    /// A short name that does not give the token away: the first 16 hex digits of its SHA-256.
    pub fn fingerprint(&self) -> String {
        Self::fingerprint_of(&self.token)
    }

    /// The same of a token alone.
    pub fn fingerprint_of(token: &str) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The token for people: enough to tell two of them apart, too little to send with.
    pub fn masked_token(&self) -> String {
        let chars: Vec<char> = self.token.chars().collect();
        if chars.len() < 24 {
            return "…".into();
        }
        let ends = |part: &[char]| part.iter().collect::<String>();
        format!("{}…{}", ends(&chars[..6]), ends(&chars[chars.len() - 4..]))
    }
}
