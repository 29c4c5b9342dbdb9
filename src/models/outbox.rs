//! What is still to be said to the outside: to phones by way of Google and Apple, and to a webhook.

use super::participant::Participant;
use super::rooms::ProcessId;
use super::time::Timestamp;

/// Which of the three queues an entry waits in. They never wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutboxLane {
    /// Rings and what stops them.
    Calls,
    /// Messages.
    Chats,
    /// Events for the webhook.
    Webhooks,
}

impl OutboxLane {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Calls, Self::Chats, Self::Webhooks];

    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Chats => "chats",
            Self::Webhooks => "webhooks",
        }
    }

    /// Reads the stored word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == text)
    }
}

/// How far an entry got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutboxState {
    /// It is to be sent when it is due.
    #[default]
    Waiting,
    /// Nothing is left to do. Kept for a while, so that nobody begins anew.
    Done,
    /// Given up, and kept for people to look at and to send again.
    Dead,
}

impl OutboxState {
    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }

    /// Reads the stored word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Waiting, Self::Done, Self::Dead].into_iter().find(|state| state.as_str() == text)
    }
}

/// Somebody works on an entry; nobody else touches it until the lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who.
    pub owner: ProcessId,
    /// Until when.
    pub until: Timestamp,
}

/// One thing to be said to the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Made from what it is about (`message:…`, `ring:…`), so that the same thing is never queued twice.
    pub id: String,
    /// Where it waits.
    pub lane: OutboxLane,
    /// Of several that wait under the same word only the newest is worth sending.
    pub collapse: Option<String>,
    /// Whose devices it is for; nobody's for a webhook.
    pub recipient: Option<Participant>,
    /// What is to be said, as JSON of the services. Holds no device tokens and no media tokens.
    pub body: String,
    /// When it came to be.
    pub created_at: Timestamp,
    /// When it is to be tried next.
    pub due_at: Timestamp,
    /// From when on it is of no use any more.
    pub expires_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// Devices ([`super::Device::fingerprint`]) that need it no more: they were reached, may have been, or can never be.
    pub settled: Vec<String>,
    /// How far it got.
    pub state: OutboxState,
    /// Who works on it.
    pub lease: Option<Lease>,
    /// What went wrong last, for people.
    pub problem: Option<String>,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboxOutcome {
    /// Nothing is left to do.
    Done {
        /// See [`OutboxEntry::settled`].
        settled: Vec<String>,
    },
    /// It is tried again.
    Later {
        /// When.
        due_at: Timestamp,
        /// See [`OutboxEntry::settled`].
        settled: Vec<String>,
        /// Why it was not done.
        problem: Option<String>,
    },
    /// Given up.
    Dead {
        /// Why.
        problem: String,
    },
}
