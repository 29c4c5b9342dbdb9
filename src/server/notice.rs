//! A line in the log about something that may happen thousands of times a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// How long nothing more is said about the same thing.
const SILENCE: Duration = Duration::from_secs(60);

/// Says the first of many, then how many there were, once a minute at most.
#[derive(Default)]
pub struct Notice(Mutex<Option<(Instant, u64)>>);

impl Notice {
    /// Something happened; `what` describes it.
    pub fn give(&self, what: impl FnOnce() -> String) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unsaid = match &mut *last {
            Some((at, unsaid)) if at.elapsed() < SILENCE => {
                *unsaid += 1;
                return;
            }
            Some((_, unsaid)) => *unsaid,
            None => 0,
        };
        *last = Some((Instant::now(), 0));
        drop(last);
        warn!(unsaid, "{}; further ones are counted and not written for a minute", what());
    }
}
