//! What is asked of storage about things still to be said to the outside. The suite in `tests/it/store_outbox.rs` runs every sentence on
//! both drivers.

use async_trait::async_trait;

use crate::error::Result;
use crate::models::{Lease, Message, MessageId, OutboxEntry, OutboxLane, OutboxOutcome, ProcessId, Timestamp};

/// Where entries wait until they are done.
#[async_trait]
pub trait OutboxStore: Send + Sync {
    /// Adds entries. One whose id is known, in whatever state, is left as it is. Returns the ids that are new.
    ///
    /// Of those that wait under the same [`OutboxEntry::collapse`], nobody works on and are older, the ones before are done with it.
    async fn put_outbox(&self, entries: Vec<OutboxEntry>) -> Result<Vec<String>>;

    /// Takes up to `limit` entries that wait and are due, and that nobody works on, the longest due first. Of several who ask at once,
    /// also from other processes, one gets each.
    async fn claim_outbox(&self, lane: OutboxLane, lease: Lease, now: Timestamp, limit: usize) -> Result<Vec<OutboxEntry>>;

    /// Notes what became of an entry and lets go of it; it counts as one more attempt. False, and nothing changes, if `owner` does not
    /// work on it any more.
    async fn settle_outbox(&self, id: &str, owner: ProcessId, outcome: OutboxOutcome) -> Result<bool>;

    /// Notes devices that need it no more, while `owner` goes on with the others.
    async fn note_outbox(&self, id: &str, owner: ProcessId, settled: &[String]) -> Result<bool>;

    /// Makes an entry done that waits and nobody works on. True if it was.
    async fn finish_outbox(&self, id: &str) -> Result<bool>;

    /// The entry with this id.
    async fn find_outbox(&self, id: &str) -> Result<Option<OutboxEntry>>;

    /// Ends the leases of processes that cannot live any more, because this store is one process's alone; none where it is not.
    async fn release_outbox(&self, now: Timestamp) -> Result<()>;

    /// Makes done all but the newest `keep` entries that wait in a lane and nobody works on. Returns how many those were.
    async fn trim_outbox(&self, lane: OutboxLane, keep: usize, now: Timestamp) -> Result<u64>;

    /// Forgets entries that were done before `done_before` and those that were given up before `dead_before`.
    async fn purge_outbox(&self, done_before: Timestamp, dead_before: Timestamp) -> Result<()>;

    /// Entries that were given up, oldest first.
    async fn dead_outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>>;

    /// Entries in whatever state, in the order of their ids, those after `after` first.
    async fn walk_outbox(&self, after: Option<String>, limit: usize) -> Result<Vec<OutboxEntry>>;

    /// Forgets these entries, in whatever state, also one somebody works on. Repeating changes nothing.
    async fn forget_outbox(&self, ids: Vec<String>) -> Result<()>;

    /// Lets entries that were given up wait again, all or one, as if they came to be now. Returns how many.
    async fn revive_outbox(&self, id: Option<&str>, now: Timestamp, expires_at: Timestamp) -> Result<u64>;

    /// Messages that came to be at or after `since`, in the order of their ids, those after `after` first.
    async fn messages_made_since(&self, since: Timestamp, after: Option<MessageId>, limit: usize) -> Result<Vec<Message>>;
}
