//! The events clients may send, as data. What is not in this table is ignored.

use crate::services::permissions::Operation;

/// An event of the protocol. Source: docs/protocol.md#client-events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientEvent {
    JoinConversation,
    LeaveConversation,
    SendMessage,
    TypingStart,
    TypingStop,
    MarkRead,
    History,
    Sync,
    DeleteMessage,
    GetStats,
    RefreshAuth,
    GetPresence,
    InitiateCall,
    AcceptCall,
    RejectCall,
    ConnectCall,
    EndCall,
    CallToken,
    BareCall,
}

/// Names on the wire. `dm:read` is an older spelling; the past forms of calls are what the server says, and some clients say too.
const EVENTS: &[(&str, ClientEvent)] = &[
    ("dm:send_message", ClientEvent::SendMessage),
    ("dm:typing_start", ClientEvent::TypingStart),
    ("dm:typing_stop", ClientEvent::TypingStop),
    ("dm:mark_read", ClientEvent::MarkRead),
    ("dm:read", ClientEvent::MarkRead),
    ("dm:join_conversation", ClientEvent::JoinConversation),
    ("dm:leave_conversation", ClientEvent::LeaveConversation),
    ("dm:history", ClientEvent::History),
    ("dm:sync", ClientEvent::Sync),
    ("dm:delete_message", ClientEvent::DeleteMessage),
    ("get_stats", ClientEvent::GetStats),
    ("auth:refresh", ClientEvent::RefreshAuth),
    ("presence:get", ClientEvent::GetPresence),
    ("call:initiate", ClientEvent::InitiateCall),
    ("call:accept", ClientEvent::AcceptCall),
    ("call:accepted", ClientEvent::AcceptCall),
    ("call:reject", ClientEvent::RejectCall),
    ("call:rejected", ClientEvent::RejectCall),
    ("call:connected", ClientEvent::ConnectCall),
    ("call:end", ClientEvent::EndCall),
    ("call:ended", ClientEvent::EndCall),
    ("call:token", ClientEvent::CallToken),
    ("call", ClientEvent::BareCall),
];

/// Every event by name, and what it is to the table of permissions.
pub fn operations() -> impl Iterator<Item = (&'static str, Operation)> {
    EVENTS.iter().map(|(name, event)| (*name, event.operation()))
}

impl ClientEvent {
    /// What the table of permissions calls it. An event without an answer there does not compile.
    pub fn operation(self) -> Operation {
        match self {
            Self::JoinConversation => Operation::Join,
            Self::LeaveConversation => Operation::Leave,
            // By whom it names: a conversation, or a person.
            Self::SendMessage => Operation::Write,
            Self::TypingStart | Self::TypingStop => Operation::Type,
            Self::MarkRead => Operation::MarkRead,
            Self::History | Self::Sync => Operation::Read,
            // By its scope: for oneself, or for everyone.
            Self::DeleteMessage => Operation::Delete,
            Self::GetStats | Self::RefreshAuth => Operation::Open,
            // Of strangers it says nothing.
            Self::GetPresence => Operation::ListOwn,
            Self::InitiateCall => Operation::Reach,
            Self::AcceptCall | Self::RejectCall => Operation::Answer,
            Self::ConnectCall | Self::EndCall | Self::CallToken => Operation::TakePart,
            Self::BareCall => Operation::TakePartUnnamed,
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        EVENTS.iter().find(|(known, _)| *known == name).map(|(_, event)| *event)
    }
}
