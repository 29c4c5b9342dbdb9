//! What Agora honours, which is less than the format can hold. Builders check this; claims and readers do not.

use std::time::Duration;

use crate::{Error, Result};

/// The longest lifetime Agora honours: 24 hours. Builders refuse more, because a longer token would die early and without a word.
pub const MAX_LIFETIME: Duration = Duration::from_secs(86_400);

/// The longest channel name, in UTF-8 bytes.
pub const MAX_CHANNEL_BYTES: usize = 63;

/// The longest account or RTM user id, in UTF-8 bytes.
pub const MAX_ACCOUNT_BYTES: usize = 255;

/// Whole seconds, between one second and 24 hours. A fraction is dropped.
pub(crate) fn check_lifetime(lifetime: Duration) -> Result<Duration> {
    let whole = Duration::from_secs(lifetime.as_secs());
    if whole.is_zero() {
        Err(Error::ZeroLifetime)
    } else if whole > MAX_LIFETIME {
        Err(Error::LifetimeTooLong)
    } else {
        Ok(whole)
    }
}

/// A channel that can exist. Which characters Agora accepts is left to Agora: its list has changed before.
pub(crate) fn check_channel(channel: &str) -> Result<()> {
    check_name(channel, "channel", MAX_CHANNEL_BYTES)
}

/// An account or user id that names someone.
pub(crate) fn check_account(account: &str) -> Result<()> {
    check_name(account, "account", MAX_ACCOUNT_BYTES)
}

fn check_name(name: &str, field: &'static str, max_bytes: usize) -> Result<()> {
    if name.is_empty() {
        Err(Error::EmptyField { field })
    } else if name.len() > max_bytes {
        Err(Error::FieldTooLong { field })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_run_from_a_second_to_a_day() {
        assert_eq!(check_lifetime(Duration::from_millis(999)), Err(Error::ZeroLifetime));
        assert_eq!(check_lifetime(Duration::from_millis(1_999)), Ok(Duration::from_secs(1)));
        assert_eq!(check_lifetime(MAX_LIFETIME), Ok(MAX_LIFETIME));
        assert_eq!(check_lifetime(MAX_LIFETIME + Duration::from_secs(1)), Err(Error::LifetimeTooLong));
    }

    #[test]
    fn an_absolute_time_dressed_as_a_lifetime_is_refused() {
        assert_eq!(check_lifetime(Duration::from_secs(1_700_003_600)), Err(Error::LifetimeTooLong));
    }

    #[test]
    fn names_are_measured_in_bytes() {
        assert_eq!(check_channel(&"c".repeat(63)), Ok(()));
        assert_eq!(check_channel(&"é".repeat(32)), Err(Error::FieldTooLong { field: "channel" }));
        assert_eq!(check_account(&"u".repeat(255)), Ok(()));
        assert_eq!(check_account(&"u".repeat(256)), Err(Error::FieldTooLong { field: "account" }));
        assert_eq!(check_channel(""), Err(Error::EmptyField { field: "channel" }));
    }
}
