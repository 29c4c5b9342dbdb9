//! A moment as tokens hold it: whole Unix seconds in 32 bits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Error, Result};

/// A moment in whole seconds since 1970, as written in a token.
///
/// Deliberately not convertible from a `Duration`: a lifetime and a moment are different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u32);

impl Timestamp {
    /// Takes seconds since 1970, as a 006 privilege or a test vector states them.
    pub const fn from_unix_seconds(seconds: u32) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970.
    pub const fn unix_seconds(self) -> u32 {
        self.0
    }

    /// The moment `lifetime` later; `TimeOutOfRange` when that is after 2106. Fractions of a second are dropped.
    pub(crate) fn plus(self, lifetime: Duration) -> Result<Self> {
        let seconds = u64::from(self.0).checked_add(lifetime.as_secs()).ok_or(Error::TimeOutOfRange)?;
        u32::try_from(seconds).map(Self).map_err(|_| Error::TimeOutOfRange)
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = Error;

    /// Rounds down to the second; `TimeOutOfRange` before 1970 and after 2106.
    fn try_from(moment: SystemTime) -> Result<Self> {
        let since_epoch = moment.duration_since(UNIX_EPOCH).map_err(|_| Error::TimeOutOfRange)?;
        u32::try_from(since_epoch.as_secs()).map(Self).map_err(|_| Error::TimeOutOfRange)
    }
}

impl From<Timestamp> for SystemTime {
    fn from(moment: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_secs(moment.0.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_outside_32_bits_are_refused() {
        let last = SystemTime::from(Timestamp(u32::MAX));
        assert_eq!(Timestamp::try_from(last), Ok(Timestamp(u32::MAX)));
        assert_eq!(Timestamp::try_from(last + Duration::from_secs(1)), Err(Error::TimeOutOfRange));
        assert_eq!(Timestamp::try_from(UNIX_EPOCH - Duration::from_secs(1)), Err(Error::TimeOutOfRange));
        assert_eq!(Timestamp(u32::MAX).plus(Duration::from_secs(1)), Err(Error::TimeOutOfRange));
        assert_eq!(Timestamp(u32::MAX).plus(Duration::MAX), Err(Error::TimeOutOfRange));
    }
}
