//! How much clients may do.

use std::num::NonZeroU32;

use super::reader::Reader;

/// How much a client may do in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateProfile {
    /// For the public.
    Default,
    /// Half of that.
    Strict,
    /// As much as it likes.
    Off,
}

/// Figures instead of the profile's, for all but admins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `LIMIT_MESSAGES_PER_MINUTE`.
    pub messages_per_minute: Option<u32>,
    /// `LIMIT_CALLS_PER_HOUR`.
    pub calls_per_hour: Option<u32>,
    /// `LIMIT_JOINS_PER_MINUTE`.
    pub joins_per_minute: Option<u32>,
    /// `LIMIT_HISTORY_PER_MINUTE`.
    pub history_per_minute: Option<u32>,
    /// `LIMIT_OTHER_PER_MINUTE`.
    pub other_per_minute: Option<u32>,
}

impl Reader<'_> {
    pub(super) fn rate_profile(&mut self) -> RateProfile {
        let parse = |text: &str| match text {
            "default" => Some(RateProfile::Default),
            "strict" => Some(RateProfile::Strict),
            "off" => Some(RateProfile::Off),
            _ => None,
        };
        self.value("RATE_PROFILE", "default, strict or off", parse).unwrap_or(RateProfile::Default)
    }

    pub(super) fn handshakes_per_minute(&mut self, profile: RateProfile) -> Option<NonZeroU32> {
        let count = self.count::<u32>("HANDSHAKES_PER_MINUTE", 0);
        let given = self.raw.get("HANDSHAKES_PER_MINUTE").is_some();
        NonZeroU32::new(match profile {
            RateProfile::Off => 0,
            RateProfile::Strict if !given => count / 2,
            RateProfile::Default | RateProfile::Strict => count,
        })
    }
}
