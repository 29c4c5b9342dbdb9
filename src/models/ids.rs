//! Identifiers of stored documents: twelve bytes, written as 24 lower-case hex digits.
//!
//! We make them ourselves in both stores, so that within one process "by id" and "by time" are the same order.

use std::fmt;
use std::sync::Mutex;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::time::Timestamp;

macro_rules! document_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 12]);

        impl $name {
            /// From the twelve bytes of the document id.
            pub fn from_bytes(bytes: [u8; 12]) -> Self {
                Self(bytes)
            }

            /// The twelve bytes of the document id.
            pub fn bytes(self) -> [u8; 12] {
                self.0
            }

            /// The process that made it.
            pub fn process(self) -> [u8; 5] {
                let [_, _, _, _, process @ .., _, _, _] = self.0;
                process
            }

            /// Reads 24 hex digits of either case; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                parse_hex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                // A page of history has hundreds of them: no detour by the formatter.
                serializer.serialize_str(text_of(&hex(&self.0)))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom("an id has 24 hex digits"))
            }
        }
    };
}

document_id!(
    /// The `_id` of a message.
    MessageId
);
document_id!(
    /// The `_id` of a conversation, called `conversationRef` on the wire.
    ConversationId
);
document_id!(
    /// The `_id` of a call.
    CallId
);

fn parse_hex(text: &str) -> Option<[u8; 12]> {
    let digits = text.as_bytes();
    if digits.len() != 24 {
        return None;
    }
    let mut bytes = [0; 12];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

fn write_hex(bytes: &[u8; 12], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(text_of(&hex(bytes)))
}

fn text_of(digits: &[u8; 24]) -> &str {
    std::str::from_utf8(digits).unwrap_or_default()
}

fn hex(bytes: &[u8; 12]) -> [u8; 24] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0u8; 24];
    for (i, byte) in bytes.iter().enumerate() {
        text[2 * i] = DIGITS[usize::from(byte >> 4)];
        text[2 * i + 1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// Makes document ids and the `createdAt` that belongs to them; neither ever goes backwards within a process.
///
/// Layout as in MongoDB: 4 bytes of seconds, 5 random bytes of the process, 3 bytes of counter.
pub struct IdClock {
    process: [u8; 5],
    // std Mutex: never held across an await, and it is cheaper.
    last: Mutex<Last>,
}

struct Last {
    millis: i64,
    second: u32,
    counter: u32,
}

const COUNTER_END: u32 = 1 << 24;

impl IdClock {
    /// A clock whose ids sort after `newest` even if the machine's clock was set back since it was made.
    pub fn new(newest: Option<MessageId>) -> Self {
        let newest_second = newest.map_or(0, |id| {
            let b = id.bytes();
            u32::from_be_bytes([b[0], b[1], b[2], b[3]])
        });
        // One second beyond: the process bytes are new, so within the same second they would decide the order.
        let second = if newest.is_some() { newest_second.saturating_add(1) } else { 0 };
        Self { process: rand::random(), last: Mutex::new(Last { millis: i64::from(second) * 1000, second, counter: 0 }) }
    }

    /// What is in all ids of this clock, and in none of another process.
    pub fn process(&self) -> [u8; 5] {
        self.process
    }

    /// Whether an id was made by this clock, and not by another process.
    pub fn made(&self, id: [u8; 12]) -> bool {
        id[4..9] == self.process
    }

    /// The next id and its time; `now` is the caller's clock. The time is `now`, or the last one given out if that is later.
    pub fn next(&self, now: Timestamp) -> ([u8; 12], Timestamp) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        last.millis = last.millis.max(now.as_millis());
        let second = u32::try_from(last.millis / 1000).unwrap_or(u32::MAX);
        if second > last.second {
            (last.second, last.counter) = (second, 0);
        } else if last.counter + 1 >= COUNTER_END {
            // Sixteen million ids in a second: borrow the next one rather than wrap around.
            (last.second, last.counter) = (last.second + 1, 0);
            last.millis = i64::from(last.second) * 1000;
        } else {
            last.counter += 1;
        }
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&last.second.to_be_bytes());
        bytes[4..9].copy_from_slice(&self.process);
        bytes[9..].copy_from_slice(&last.counter.to_be_bytes()[1..]);
        (bytes, Timestamp::from_millis(last.millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_in_either_case_and_written_in_lower() {
        let id = MessageId::parse("00112233445566778899AaBb").expect("24 hex digits");
        assert_eq!(id.to_string(), "00112233445566778899aabb");
        assert!(MessageId::parse("00112233445566778899AaB").is_none());
        assert!(MessageId::parse("00112233445566778899AaBg").is_none());
    }

    #[test]
    fn ids_and_times_never_go_backwards_even_when_the_clock_does() {
        let newest = MessageId::parse("690000000000000000000005").expect("24 hex digits");
        let clock = IdClock::new(Some(newest));
        let mut before = (newest.bytes(), Timestamp::default());
        for now in [5_000, 1_761_607_680_000, 1_761_607_679_000, 1_761_607_690_123] {
            let next = clock.next(Timestamp::from_millis(now));
            assert!(next.0 > before.0 && next.1 >= before.1);
            before = next;
        }
    }
}
