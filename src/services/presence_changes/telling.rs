//! Who is told that somebody came or went.

use std::collections::{HashMap, HashSet};

use tracing::debug;

use crate::delivery::{Audience, ServerEvent};
use crate::error::Result;
use crate::models::{Attendance, Participant};

use super::{Inner, PresenceChanges};

/// Of somebody's partners at most so many are told: those he talked to last.
const MOST_TOLD: usize = 100;
/// Changes of one event.
const CHANGES_PER_EVENT: usize = 200;

impl PresenceChanges {
    /// These people have come or gone, for everybody. Whatever else is to happen then belongs here.
    pub(super) async fn decided(&self, changes: &[Attendance]) {
        if changes.is_empty() {
            return;
        }
        debug!(changes = changes.len(), "people came or went");
        let now = self.0.core.now();
        for change in changes {
            self.0.push.presence_changed(&change.person, change.is_online, now);
        }
        if let Err(e) = self.tell(changes).await {
            // Who asks is told; nobody is told twice for it.
            debug!("partners were not told who came and went: {e}");
        }
        if let Err(e) = self.tell_status(changes).await {
            debug!("admins were not told which astrologers came and went: {e}");
        }
    }

    /// Tells those who talk with them, and the admins; each of them hears of all in one event.
    async fn tell(&self, changes: &[Attendance]) -> Result<()> {
        let Inner { core, partners, .. } = &*self.0;
        let unknown: Vec<Participant> =
            changes.iter().map(|change| &change.person).filter(|person| !partners.contains_key(*person)).cloned().collect();
        if !unknown.is_empty() {
            for (person, found) in core.store.partners_of(&unknown, MOST_TOLD).await? {
                partners.insert(person, found.into());
            }
        }
        let mut news: HashMap<Participant, Vec<&Attendance>> = HashMap::new();
        for change in changes {
            let known = partners.get(&change.person).unwrap_or_default();
            let admins = [Participant::shared_admin()];
            let listeners: HashSet<&Participant> = known.iter().chain(&admins).filter(|one| **one != change.person).collect();
            for listener in listeners {
                // Nobody to tell it to, unless another node has them.
                if core.bus.is_some() || core.delivery.is_connected(listener) {
                    news.entry(listener.clone()).or_default().push(change);
                }
            }
        }
        for (listener, changes) in news {
            for some in changes.chunks(CHANGES_PER_EVENT) {
                let event = ServerEvent::PresenceChanged(some.iter().copied().cloned().collect());
                core.delivery.emit(&Audience::people([listener.clone()]), &event);
            }
        }
        Ok(())
    }
}
