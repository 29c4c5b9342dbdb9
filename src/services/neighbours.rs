//! Warns when another node writes to the same store and this one does not hear it.
//!
//! Nothing is corrupted then: the store decides who is first. But clients of different nodes hear each other only when they fetch.

use std::collections::{HashMap, HashSet};

use tracing::warn;

use crate::models::{ProcessId, Timestamp};

use super::Core;

/// What is known of other nodes.
#[derive(Default)]
pub(super) struct Neighbours {
    /// When each was last alive.
    seen: HashMap<ProcessId, Timestamp>,
    warned_of: HashSet<ProcessId>,
}

impl Neighbours {
    /// Takes note of when the others were last alive. Twice one must have been heard of before it counts as living: what the last
    /// process left is no neighbour.
    pub fn look_at(&mut self, core: &Core, others: &[(ProcessId, Timestamp)]) {
        self.seen.retain(|known, _| others.iter().any(|(other, _)| other == known));
        for &(node, seen_at) in others {
            let lives = self.seen.insert(node, seen_at).is_some_and(|before| before < seen_at);
            if !lives || self.warned_of.contains(&node) {
                continue;
            }
            match &core.bus {
                None => warn!(
                    %node,
                    "another node lives on this database and REDIS_URL is not set: clients of one do not hear those of the other until they fetch"
                ),
                Some(bus) if bus.is_up() && !bus.knows(&node.to_string()) => {
                    warn!(%node, "another node lives on this database and is not heard over Redis: REDIS_URL or REDIS_PREFIX differ");
                }
                Some(_) => continue,
            }
            self.warned_of.insert(node);
        }
    }
}
