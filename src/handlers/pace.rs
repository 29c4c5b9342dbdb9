//! How fast one socket may send events, whatever they are, and what becomes of one that will not hear a no.
//!
//! Limits per person (`services/limits.rs`) say what may be done; they are asked after an event was read and answered when they refuse,
//! and both cost something. This stands before the reading: who is too fast is read more slowly, so that his own queue fills up.

use std::time::{Duration, Instant};

/// Events at once after a rest: a dashboard joins hundreds of rooms when it opens.
const AT_ONCE: u32 = 1_000;
/// The time one event takes after that: 200 a second.
const EVERY: Duration = Duration::from_millis(5);
/// Refusals a minute that cost nothing.
const REFUSALS: u32 = 60;
/// How long the next event waits after one more.
const AFTER_REFUSAL: Duration = Duration::from_millis(10);
/// Refusals a minute after which the socket is closed. A client that asked for so much in earnest would ask again all the same.
const TOO_MANY_REFUSALS: u32 = 10_000;
const MINUTE: Duration = Duration::from_secs(60);

/// The pace of one socket.
#[derive(Debug)]
pub(super) struct Pace {
    /// When it has rested; [`AT_ONCE`] events may be this far ahead.
    rested_at: Instant,
    refusals: u32,
    refusals_since: Instant,
}

impl Pace {
    /// Of a socket that is new.
    pub fn new(now: Instant) -> Self {
        Self { rested_at: now, refusals: 0, refusals_since: now }
    }

    /// Counts an event that is about to be read. Returns how long it waits.
    pub fn event(&mut self, now: Instant) -> Duration {
        self.rested_at = self.rested_at.max(now) + EVERY;
        self.rested_at.duration_since(now).saturating_sub(EVERY * AT_ONCE)
    }

    /// Counts an event that was refused for being too much. Returns how long the next one waits; `None` ends the socket.
    pub fn refused(&mut self, now: Instant) -> Option<Duration> {
        if now.duration_since(self.refusals_since) >= MINUTE {
            (self.refusals, self.refusals_since) = (0, now);
        }
        self.refusals += 1;
        let wait = if self.refusals <= REFUSALS { Duration::ZERO } else { AFTER_REFUSAL };
        // Said once: what still arrives until the line is cut is not to be noted line by line.
        (self.refusals != TOO_MANY_REFUSALS + 1).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_events_at_once_and_two_hundred_a_second_wait_for_nothing() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!((0..AT_ONCE).all(|_| pace.event(start).is_zero()));
        assert_eq!(pace.event(start), EVERY);
        let later = start + Duration::from_secs(60);
        assert!((0..400).all(|n| pace.event(later + n * EVERY).is_zero()));
    }

    #[test]
    fn who_asks_on_after_refusals_is_slowed_down_and_then_closed() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!((0..REFUSALS).all(|_| pace.refused(start) == Some(Duration::ZERO)));
        assert!((REFUSALS..TOO_MANY_REFUSALS).all(|_| pace.refused(start) == Some(AFTER_REFUSAL)));
        assert_eq!(pace.refused(start + MINUTE / 2), None);
        assert_eq!(pace.refused(start + MINUTE), Some(Duration::ZERO), "a new minute");
    }
}
