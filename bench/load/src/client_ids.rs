//! Client ids of messages, as apps make them: ordered by time, or random.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;

/// How the ids are made. It matters to a store: ordered ones go to the end of its index, random ones all over it.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClientIds {
    /// UUIDs of version 7: the time first.
    Ordered,
    /// UUIDs of version 4, as most apps make them.
    Random,
}

impl ClientIds {
    /// The id of message `number` of the sender at `place` in a run.
    pub fn make(self, at_ms: u64, run: u32, place: u64, number: u64) -> String {
        match self {
            Self::Ordered => {
                let (at, place) = (at_ms & 0xffff_ffff_ffff, place & 0xffff_ffff);
                format!(
                    "{:08x}-{:04x}-7{:03x}-8{:03x}-{place:08x}{:04x}",
                    at >> 16,
                    at & 0xffff,
                    number & 0xfff,
                    number >> 12 & 0xfff,
                    run & 0xffff
                )
            }
            Self::Random => {
                let high = scatter(u64::from(run) << 32 | place);
                let (high, low) = (scatter(high ^ number), scatter(high.wrapping_add(number)));
                format!(
                    "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
                    high >> 32,
                    high >> 16 & 0xffff,
                    high & 0xfff,
                    low >> 52,
                    low & 0xffff_ffff_ffff
                )
            }
        }
    }

    /// As it stands in a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Random => "random",
        }
    }
}

/// Milliseconds since the epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// A number that looks random and is the same for the same input (the finisher of SplitMix64).
pub fn scatter(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_uuids_no_two_alike_and_ordered_ones_grow_with_time() {
        for kind in [ClientIds::Ordered, ClientIds::Random] {
            let ids: HashSet<_> = (0..50).flat_map(|place| (0..50).map(move |number| kind.make(1, 7, place, number))).collect();
            assert_eq!(ids.len(), 2500);
            assert!(ids.iter().all(|id| id.len() == 36));
        }
        assert!(ClientIds::Ordered.make(1_000_000, 7, 3, 9) < ClientIds::Ordered.make(1_000_001, 7, 0, 0));
    }
}
