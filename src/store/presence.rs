//! What the store keeps of who is connected, and since when somebody is not.

use async_trait::async_trait;

use crate::error::Result;
use crate::models::{Participant, ProcessId, Timestamp};

/// What is kept of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who.
    pub person: Participant,
    /// Whether another process that lives has said that he is connected to it.
    pub elsewhere: bool,
    /// The last moment he is known to have been connected.
    pub at: Timestamp,
}

/// Somebody who was connected to a process that died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// Who.
    pub person: Participant,
    /// The process.
    pub process: ProcessId,
    /// The last moment he is known to have been connected.
    pub at: Timestamp,
}

/// Who is connected to which process. What a process has said counts as long as it says that it lives
/// ([`super::Store::remember_rooms`]).
#[async_trait]
pub trait PresenceStore: Send + Sync + 'static {
    /// Notes that these identities are connected to `process`, which was alive at that moment. Repeating changes nothing.
    async fn note_here(&self, process: ProcessId, at: Timestamp, people: Vec<Participant>) -> Result<()>;

    /// Notes that these are not connected to `process` any more, and when each was last. An earlier moment changes nothing.
    async fn note_gone(&self, process: ProcessId, people: Vec<(Participant, Timestamp)>) -> Result<()>;

    /// What is known of these identities, in no order; nothing of those never seen.
    ///
    /// Who is not noted as gone from a process that was last alive before `alive_since` was seen when that process last was.
    async fn seen(&self, process: ProcessId, people: &[Participant], alive_since: Timestamp) -> Result<Vec<Seen>>;

    /// At most `limit` who are noted as connected to processes, other than this one, that were last alive before `alive_since`.
    async fn left_behind(&self, process: ProcessId, alive_since: Timestamp, limit: usize) -> Result<Vec<LeftBehind>>;

    /// Those among `others` who have a conversation with `person`, or a relation that was noted; in no order.
    async fn acquaintances(&self, person: &Participant, others: &[Participant]) -> Result<Vec<Participant>>;

    /// With whom each of these identities talks: the others of its `most` conversations with the latest activity, in no order.
    async fn partners_of(&self, people: &[Participant], most: usize) -> Result<Vec<(Participant, Vec<Participant>)>>;
}
