//! Which rooms an identity sits in, as far as others must know who take over from a server that is gone.

use std::sync::Arc;

use super::conversation::ConversationKey;
use super::participant::Participant;
use super::time::Timestamp;

/// A server process. A new one after each start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId(u64);

impl ProcessId {
    /// A new one.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The rooms of one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRooms {
    /// Whose.
    pub person: Participant,
    /// Each with the text the person's client knew it by.
    pub rooms: Vec<(ConversationKey, Arc<str>)>,
    /// The last moment it was seen there; nothing while it is connected.
    pub seen_at: Option<Timestamp>,
    /// From when on it may have heard nothing, where the server noticed.
    pub unheard_since: Option<Timestamp>,
}
