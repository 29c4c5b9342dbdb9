//! What a node can listen to, and the name each has in Redis.

use crate::models::{CallId, ConversationKey, Participant};

use super::packet::NodeId;

/// One thing nodes say something about. A node listens to those its sockets need.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What concerns every node.
    Everybody,
    /// What concerns the sockets of an identity.
    Person(Participant),
    /// What concerns the sockets in a conversation's room.
    Conversation(ConversationKey),
    /// What concerns the nodes that look after a call.
    Call(CallId),
}

impl Topic {
    /// The channel in Redis.
    pub(super) fn channel(&self, prefix: &str) -> String {
        match self {
            Self::Everybody => format!("{prefix}everybody"),
            Self::Person(person) => format!("{prefix}person:{person}"),
            Self::Conversation(key) => format!("{prefix}conversation:{key}"),
            Self::Call(id) => format!("{prefix}call:{id}"),
        }
    }
}

/// The set of people connected to a node; it vanishes with the node.
pub(super) fn people_of(prefix: &str, node: &NodeId) -> String {
    format!("{prefix}here:{node}")
}

/// The calls somebody may have to hear of, by when that is over.
pub(super) fn calls_of(prefix: &str, person: &Participant) -> String {
    format!("{prefix}calls:{person}")
}
