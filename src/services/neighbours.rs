//! Looks whether other nodes write to the same store, and warns when this one does not hear them.
//!
//! Nothing is corrupted then: the store decides who is first. But clients of different nodes hear each other only when they fetch.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, warn};

use crate::bus::NodeId;
use crate::models::Timestamp;

use super::Core;

/// How often it is looked. Twice a node must have written before it counts as living: what the last process left is no neighbour.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Starts looking, where there can be others.
pub(super) fn start(core: &Core) {
    if core.store.engine() != "mongodb" {
        return;
    }
    let (core, stop) = (core.clone(), core.stop.clone());
    core.tasks.clone().spawn(async move {
        let name = core.bus.as_ref().map_or_else(NodeId::random, |bus| bus.me().clone()).to_string();
        stop.run_until_cancelled(Neighbours { core, name, seen: HashMap::new(), warned_of: HashSet::new() }.look_for_ever()).await;
    });
}

struct Neighbours {
    core: Core,
    name: String,
    /// What each wrote last.
    seen: HashMap<String, Timestamp>,
    warned_of: HashSet<String>,
}

impl Neighbours {
    async fn look_for_ever(mut self) {
        loop {
            match self.core.store.meet_nodes(&self.name, self.core.now()).await {
                Ok(others) => self.look_at(others),
                Err(e) => debug!("whether other nodes live is not known: {e}"),
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn look_at(&mut self, others: Vec<(String, Timestamp)>) {
        for (name, seen_at) in others {
            let lives = self.seen.insert(name.clone(), seen_at).is_some_and(|before| before < seen_at);
            if !lives || self.warned_of.contains(&name) {
                continue;
            }
            match &self.core.bus {
                None => warn!(
                    node = %name,
                    "another node lives on this database and REDIS_URL is not set: clients of one do not hear those of the other until they fetch"
                ),
                Some(bus) if bus.is_up() && !bus.knows(&name) => {
                    warn!(node = %name, "another node lives on this database and is not heard over Redis: REDIS_URL or REDIS_PREFIX differ");
                }
                Some(_) => continue,
            }
            self.warned_of.insert(name);
        }
    }
}
