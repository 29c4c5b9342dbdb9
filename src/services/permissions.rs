//! Who may do what, as data: two tables, read by the services and walked by a test against a running server.
//!
//! [`reach`] says who may write to or call whom. [`access`] says what becomes of a request about a conversation, message or call, by
//! how the asker stands to it. Source: docs/protocol.md#permissions.

use crate::error::{Error, Result};
use crate::models::{Participant, ParticipantKind};

/// Everything a client can ask for. Every event (`handlers/events.rs`) and every route (`rest/mod.rs`) is one of these, so one that has
/// no answer here does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Facts about the asker or the server, which need no permission.
    Open,
    /// Lists of what is one's own.
    ListOwn,
    /// Something only admins do.
    Administer,
    /// A first message, opening a conversation, a call.
    Reach,
    /// Sitting down in a conversation's room.
    Join,
    /// Leaving it.
    Leave,
    /// Saying that one types.
    Type,
    /// Reading messages or the conversation itself.
    Read,
    /// Marking messages as read.
    MarkRead,
    /// Writing into a conversation one names.
    Write,
    /// Hiding a message from oneself.
    Hide,
    /// Deleting a message for everyone; whose message it is and when it was sent decide too.
    Delete,
    /// Answering or rejecting a call; only as the callee.
    Answer,
    /// Ending a call, noting media, a token, feedback.
    TakePart,
    /// A queued call event without a name.
    TakePartUnnamed,
    /// Looking at a call.
    ShowCall,
    /// Looking at an inbox.
    ReadInbox,
    /// Marking what is in an inbox, and writing and calling from it; whom one reaches is decided besides.
    KeepInbox,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Open,
        Self::ListOwn,
        Self::Administer,
        Self::Reach,
        Self::Join,
        Self::Leave,
        Self::Type,
        Self::Read,
        Self::MarkRead,
        Self::Write,
        Self::Hide,
        Self::Delete,
        Self::Answer,
        Self::TakePart,
        Self::TakePartUnnamed,
        Self::ShowCall,
        Self::ReadInbox,
        Self::KeepInbox,
    ];
}

/// How the asker stands to the thing a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// He takes part in it.
    Party,
    /// It is other people's, and he is an admin.
    Admin,
    /// It is other people's.
    Stranger,
    /// Nobody knows it.
    Unknown,
}

impl Standing {
    /// All of them, in the order of the columns of [`access`].
    pub const ALL: [Self; 4] = [Self::Party, Self::Admin, Self::Stranger, Self::Unknown];
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It is done.
    Yes,
    /// It is done, and noted in the audit trail.
    Audited,
    /// It is answered as if done, and changes nothing.
    Nothing,
    /// The socket waits for a conversation that may come to be, whether there is one or not.
    Waits,
    /// `CONVERSATION_NOT_FOUND`, `MESSAGE_NOT_FOUND` or `CALL_NOT_FOUND`, whether it exists or not.
    NotFound,
    /// `FORBIDDEN`.
    Forbidden,
}

/// The table of things. Columns: party, admin, stranger, unknown.
pub const fn access(operation: Operation) -> [Answer; 4] {
    use Answer::{Audited, Forbidden, NotFound, Nothing, Waits, Yes};
    match operation {
        Operation::Open | Operation::ListOwn => [Yes, Yes, Yes, Yes],
        // Whoever is no admin is a stranger there.
        Operation::Administer => [Yes, Yes, Forbidden, Forbidden],
        // Decided by `reach`, not by what is named.
        Operation::Reach => [Yes, Yes, Yes, Yes],
        // A canonical key names its people, so it is refused outright: see `DM_JOIN_FORBIDDEN`.
        Operation::Join => [Yes, Audited, Waits, Waits],
        Operation::Leave => [Yes, Yes, Nothing, Nothing],
        Operation::Type => [Yes, Yes, Nothing, Nothing],
        Operation::Read => [Yes, Audited, NotFound, NotFound],
        Operation::MarkRead => [Yes, Nothing, NotFound, NotFound],
        Operation::Write => [Yes, NotFound, NotFound, NotFound],
        Operation::Hide => [Yes, Forbidden, NotFound, NotFound],
        Operation::Delete => [Yes, Audited, NotFound, NotFound],
        Operation::Answer | Operation::TakePart => [Yes, NotFound, NotFound, NotFound],
        Operation::TakePartUnnamed => [Yes, Nothing, Nothing, Nothing],
        Operation::ShowCall => [Yes, Audited, NotFound, NotFound],
        // An inbox is named by the id of its owner, who may exist or not.
        Operation::ReadInbox => [Yes, Audited, Forbidden, Forbidden],
        Operation::KeepInbox => [Yes, Forbidden, Forbidden, Forbidden],
    }
}

/// The answer for one standing.
pub const fn answer(operation: Operation, standing: Standing) -> Answer {
    access(operation)[standing as usize]
}

/// Whether one kind of people may write to and call another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Always.
    Yes,
    /// If they have dealt with each other; else `NOT_RELATED`.
    IfRelated,
    /// Never: `FORBIDDEN`.
    No,
}

/// The table of people: who may write to and call whom.
pub const fn reach(from: ParticipantKind, to: ParticipantKind) -> Reach {
    use ParticipantKind::{Admin, Astrologer, User};
    match (from, to) {
        (Admin, Astrologer | User) | (Astrologer | User, Admin) => Reach::Yes,
        (Astrologer, User) | (User, Astrologer) => Reach::IfRelated,
        // Two admins are one identity, so this row only ever meets oneself.
        (Admin, Admin) | (Astrologer, Astrologer) | (User, User) => Reach::No,
    }
}

/// Checks what can be checked without asking the store. True if it depends on whether the two have dealt with each other.
///
/// Errors: `SELF_CONVERSATION_BLOCKED` for the same identity, `FORBIDDEN` for kinds that do not reach each other.
pub(super) fn require_reach(from: &Participant, to: &Participant) -> Result<bool> {
    if from.is_same_identity(to) {
        return Err(Error::SelfConversationBlocked);
    }
    match reach(from.kind(), to.kind()) {
        Reach::Yes => Ok(false),
        Reach::IfRelated => Ok(true),
        Reach::No => Err(Error::Forbidden(format!("one {} cannot reach another {}", from.kind(), to.kind()))),
    }
}
