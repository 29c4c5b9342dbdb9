//! Points in time as the wire and the stores keep them: whole milliseconds.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since the epoch. On the wire it is ISO 8601 with exactly three decimals and `Z`,
/// because the shipped clients parse that form and nothing looser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The wall clock now.
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// From milliseconds since the epoch.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Parses an RFC 3339 text or a number of milliseconds; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(millis) = text.parse::<i64>() {
            return Some(Self(millis));
        }
        let parsed = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(parsed.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }

    /// This much earlier.
    #[must_use]
    pub fn minus(self, length: Duration) -> Self {
        Self::from_millis(self.as_millis().saturating_sub(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This much later.
    #[must_use]
    pub fn plus(self, length: Duration) -> Self {
        Self::from_millis(self.as_millis().saturating_add(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The smallest document id of this second: ids begin with the time, so what was made at or after it has this one or a larger one.
    pub fn first_id(self) -> [u8; 12] {
        let second = u32::try_from(self.0.div_euclid(1000).max(0)).unwrap_or(u32::MAX);
        let mut id = [0; 12];
        id[..4].copy_from_slice(&second.to_be_bytes());
        id
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Timestamp {
    fn text(self) -> [u8; 24] {
        let nanos = i128::from(self.0) * 1_000_000;
        // Outside the years 0 to 9999 there is no text a client could read.
        let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().filter(|at| at.year() >= 0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (date, clock) = (at.date(), at.time());
        let mut text = *b"0000-00-00T00:00:00.000Z";
        put(&mut text[0..4], date.year().unsigned_abs());
        put(&mut text[5..7], u32::from(u8::from(date.month())));
        put(&mut text[8..10], u32::from(date.day()));
        put(&mut text[11..13], u32::from(clock.hour()));
        put(&mut text[14..16], u32::from(clock.minute()));
        put(&mut text[17..19], u32::from(clock.second()));
        put(&mut text[20..23], u32::from(clock.millisecond()));
        text
    }
}

/// Writes a number with as many digits as there is room for.
fn put(room: &mut [u8], mut number: u32) {
    for digit in room.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Each message has three of them: no detour by the formatter.
        serializer.serialize_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a time is written as RFC 3339"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_with_three_decimals_and_read_back() {
        let at = Timestamp::from_millis(1_766_224_800_007);
        assert_eq!(at.to_string(), "2025-12-20T10:00:00.007Z");
        assert_eq!(Timestamp::parse("2025-12-20T10:00:00.007Z"), Some(at));
        assert_eq!(Timestamp::parse("1766224800007"), Some(at));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
