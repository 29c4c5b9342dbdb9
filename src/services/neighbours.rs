//! What the store knows of the other nodes, beside what is heard of them.
//!
//! A node that writes to the same store and is not heard here is either set up wrongly, which is warned of, or cut off from Redis. Nothing is
//! corrupted then: the store decides who is first. If it comes back it says itself what it could not tell; if it ends like that, nobody
//! does, and the clients here are told to catch up.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

// Tokio's clock, so that tests can turn it.
use tokio::time::Instant;
use tracing::{info, warn};

use crate::bus::Sight;
use crate::models::{ProcessId, Timestamp};

use super::Core;

/// A node that has not written for so long counts as ended: two signs of life are missing. Were it only slow, it would be looked at anew.
const SILENT_FOR: Duration = Duration::from_secs(12);

/// What is known of other nodes.
pub(super) struct Neighbours {
    /// When this node began: before that its clients heard nothing.
    began: Timestamp,
    seen: HashMap<ProcessId, Seen>,
    warned_of: HashSet<ProcessId>,
}

struct Seen {
    /// Its last sign of life, by its own clock.
    alive_at: Timestamp,
    /// When that was found.
    found: Instant,
    /// Since when it may have stored what nobody here has heard.
    unheard_since: Option<Timestamp>,
    /// Clients were told so after its last sign of life.
    made_good: bool,
}

impl Neighbours {
    pub fn new(core: &Core) -> Self {
        Self { began: core.now(), seen: HashMap::new(), warned_of: HashSet::new() }
    }

    /// Takes note of when the others were last alive. Twice one must have been heard of before it counts as living: what the last
    /// process left is no neighbour.
    ///
    /// Returns since when clients here may have missed what a node stored that has ended meanwhile without being heard.
    pub fn look_at(&mut self, core: &Core, others: &[(ProcessId, Timestamp)]) -> Option<Timestamp> {
        self.seen.retain(|known, _| others.iter().any(|(other, _)| other == known));
        let mut missed: Option<Timestamp> = None;
        for &(node, alive_at) in others {
            let found = Instant::now();
            let seen = self.seen.entry(node).or_insert(Seen { alive_at, found, unheard_since: None, made_good: false });
            let lives = seen.alive_at < alive_at;
            if lives {
                (seen.alive_at, seen.found, seen.made_good) = (alive_at, found, false);
            }
            if lives {
                warn_of(core, node, &mut self.warned_of);
            }
            if let Some(since) = seen.look(core, node, lives, self.began) {
                missed = Some(missed.map_or(since, |earlier| earlier.min(since)));
            }
        }
        missed
    }
}

impl Seen {
    fn look(&mut self, core: &Core, node: ProcessId, lives: bool, began: Timestamp) -> Option<Timestamp> {
        // While this node is cut off itself it knows nothing of others, and tells its clients so afterwards.
        let bus = core.bus.as_ref().filter(|bus| bus.is_up())?;
        match bus.sight_of(node) {
            Sight::Heard | Sight::Ended => self.unheard_since = None,
            Sight::SilentSince(since) if !self.made_good => self.unheard_since = Some(since),
            Sight::Never if lives => drop(self.unheard_since.get_or_insert(began)),
            Sight::SilentSince(_) | Sight::Never => {}
        }
        if self.found.elapsed() < SILENT_FOR {
            return None;
        }
        let since = self.unheard_since.take()?;
        self.made_good = true;
        info!(%node, "another node has ended without a goodbye; what it stored last may not have been heard");
        Some(since)
    }
}

/// Once for each.
fn warn_of(core: &Core, node: ProcessId, warned_of: &mut HashSet<ProcessId>) {
    if warned_of.contains(&node) {
        return;
    }
    match &core.bus {
        None => warn!(
            %node,
            "another node lives on this database and REDIS_URL is not set: clients of one do not hear those of the other until they fetch"
        ),
        Some(bus) if bus.is_up() && bus.sight_of(node) == Sight::Never => {
            warn!(%node, "another node lives on this database and is not heard over Redis: REDIS_URL or REDIS_PREFIX differ");
        }
        Some(bus) if bus.is_up() && matches!(bus.sight_of(node), Sight::SilentSince(_)) => {
            warn!(%node, "another node lives on this database and is not heard over Redis any more: it may be cut off from it");
        }
        Some(_) => return,
    }
    warned_of.insert(node);
}
