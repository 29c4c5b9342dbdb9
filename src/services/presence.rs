//! Who is connected here, since when somebody is not, and whether he is connected to another node instead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

// Tokio's clock, so that tests can turn it.
use tokio::time::Instant;

use crate::bus::Bus;
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
    bus: Option<Bus>,
    // std Mutex: never held across an await.
    left: Arc<Mutex<Left>>,
}

#[derive(Default)]
struct Left {
    since: HashMap<Participant, Instant>,
    sweep_at: usize,
}

impl PresenceBook {
    pub(super) fn new(delivery: Arc<Delivery>, bus: Option<Bus>) -> Self {
        Self { delivery, bus, left: Arc::default() }
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
        self.note_seen(person);
        true
    }

    fn note_seen(&self, person: &Participant) {
        let now = Instant::now();
        let mut left = self.left();
        left.since.insert(person.identity(), now);
        if left.since.len() > left.sweep_at.max(SWEEP_FROM) {
            left.since.retain(|_, since| now.duration_since(*since) < REMEMBERED_FOR);
            left.sweep_at = left.since.len() * 2;
        }
    }

    /// Whether `person` has a socket, here or on another node. No, if nobody can be asked.
    pub async fn is_anywhere(&self, person: &Participant) -> bool {
        self.delivery.is_connected(person) || self.asked(person).await == Some(true)
    }

    /// Whether `person` may have a socket on another node. Yes, if nobody can be asked. Counts as seen just now, so that it is asked
    /// again only after another period of grace.
    pub async fn may_be_elsewhere(&self, person: &Participant) -> bool {
        let may_be = self.asked(person).await != Some(false);
        if may_be {
            self.note_seen(person);
        }
        may_be
    }

    /// Those among these who have a socket on another node. `None` if there is no bus, or it does not say.
    pub async fn are_elsewhere(&self, people: &[Participant]) -> Option<Vec<Participant>> {
        self.bus.as_ref()?.are_elsewhere(people).await
    }

    async fn asked(&self, person: &Participant) -> Option<bool> {
        match &self.bus {
            Some(bus) => bus.has_elsewhere(&person.identity()).await,
            None => Some(false),
        }
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
