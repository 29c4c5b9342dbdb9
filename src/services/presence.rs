//! Who is connected here, and since when somebody is not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

// Tokio's clock, so that tests can turn it.
use tokio::time::Instant;

use crate::delivery::Delivery;
use crate::models::Participant;

/// How long it is remembered when somebody left; longer than every grace period.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// Entries are swept out when their number has doubled since the last time, but not before this many.
const SWEEP_FROM: usize = 1024;

/// Whether somebody is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// At least one socket.
    Here,
    /// None since then.
    GoneSince(Instant),
    /// None, and nobody knows since when: not seen since this process began, or too long ago.
    Unknown,
}

/// Takes note of comings and goings. Cheap to clone.
#[derive(Clone)]
pub struct PresenceBook {
    delivery: Arc<Delivery>,
    // std Mutex: never held across an await.
    left: Arc<Mutex<Left>>,
}

#[derive(Default)]
struct Left {
    since: HashMap<Participant, Instant>,
    sweep_at: usize,
}

impl PresenceBook {
    pub(super) fn new(delivery: Arc<Delivery>) -> Self {
        Self { delivery, left: Arc::default() }
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket of this identity came; delivery knows it already.
    pub(super) fn came(&self, person: &Participant) {
        self.left().since.remove(&person.identity());
    }

    /// A socket of this identity left; delivery has forgotten it already. True if it was the last one.
    pub(super) fn went(&self, person: &Participant) -> bool {
        if self.delivery.is_connected(person) {
            return false;
        }
        let now = Instant::now();
        let mut left = self.left();
        left.since.insert(person.identity(), now);
        if left.since.len() > left.sweep_at.max(SWEEP_FROM) {
            left.since.retain(|_, since| now.duration_since(*since) < REMEMBERED_FOR);
            left.sweep_at = left.since.len() * 2;
        }
        true
    }

    /// Whether `person` is here.
    pub fn of(&self, person: &Participant) -> Presence {
        // First the sockets: an entry may be left over from someone who came back in the same instant.
        if self.delivery.is_connected(person) {
            return Presence::Here;
        }
        self.left().since.get(&person.identity()).map_or(Presence::Unknown, |since| Presence::GoneSince(*since))
    }
}
