//! The audit trail: what admins looked at and changed, and who tried keys that are none. Never message text, never credentials.
//!
//! Written a moment later, in batches, so that reading is not delayed; what cannot be written is at least logged.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::mpsc;
use tracing::warn;

use crate::auth::CurrentUser;
use crate::models::{AuditAction, AuditEntry};

use super::{Core, batches};

/// Entries waiting to be written.
const QUEUE_LEN: usize = 4096;
/// The most of one write.
const BATCH: usize = 500;
/// The same thing by the same person is noted once in this time: a chat scrolled through is one look.
const ONCE_IN: Duration = Duration::from_secs(600);
/// How many such things are remembered.
const REMEMBERED: u64 = 20_000;
/// The pause before a write that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Notes what is to be noted. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    core: Arc<Core>,
    queue: mpsc::Sender<AuditEntry>,
    recent: Cache<(String, AuditAction, String), ()>,
}

impl Audit {
    pub(super) fn start(core: &Arc<Core>) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE_LEN);
        core.tasks.spawn(write(core.clone(), receiver));
        Self { core: core.clone(), queue, recent: Cache::builder().max_capacity(REMEMBERED).time_to_live(ONCE_IN).build() }
    }

    /// Notes what an admin did to `subject`.
    pub fn note(&self, admin: &CurrentUser, action: AuditAction, subject: String, detail: Option<String>) {
        let actor = match admin.admin_key_name() {
            Some(name) => format!("{} by key {name}", admin.participant()),
            None => admin.participant().to_string(),
        };
        self.push(actor, action, subject, detail);
    }

    /// Notes that somebody at `address` tried an admin key that is none.
    pub fn note_refused_key(&self, address: Option<IpAddr>) {
        let address = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        self.push(address, AuditAction::RefusedKey, "admin key".into(), None);
    }

    fn push(&self, actor: String, action: AuditAction, subject: String, detail: Option<String>) {
        if matches!(action, AuditAction::Read | AuditAction::RefusedKey) {
            let seen = (actor.clone(), action, subject.clone());
            if self.recent.contains_key(&seen) {
                return;
            }
            self.recent.insert(seen, ());
        }
        let entry = AuditEntry { at: self.core.now(), actor, action, subject, detail };
        if let Err(lost) = self.queue.try_send(entry) {
            let (mpsc::error::TrySendError::Full(entry) | mpsc::error::TrySendError::Closed(entry)) = lost;
            warn!(actor = entry.actor, action = entry.action.as_str(), subject = entry.subject, "an audit entry is only here");
        }
    }
}

async fn write(core: Arc<Core>, mut receiver: mpsc::Receiver<AuditEntry>) {
    loop {
        let batch = batches::next(&core, &mut receiver, BATCH, Duration::ZERO).await;
        if batch.is_empty() {
            return;
        }
        while let Err(e) = core.store.append_audit(batch.clone()).await {
            if !e.is_retryable() || core.stop.is_cancelled() {
                warn!(entries = batch.len(), "audit entries were not stored: {e}");
                for entry in &batch {
                    warn!(actor = entry.actor, action = entry.action.as_str(), subject = entry.subject, "an audit entry is only here");
                }
                break;
            }
            // The queue holds what comes meanwhile.
            let _ = core.stop.run_until_cancelled(tokio::time::sleep(RETRY_AFTER)).await;
        }
    }
}
