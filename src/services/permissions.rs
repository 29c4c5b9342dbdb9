//! Who may write to whom and call whom, by kind. Source: docs/protocol.md#permissions.

use crate::error::{Error, Result};
use crate::models::{Participant, ParticipantKind};

/// Checks that `sender` may write to or call `recipient`.
///
/// Errors: `SELF_CONVERSATION_BLOCKED` for the same identity, `FORBIDDEN` for kinds that do not talk to each other.
pub fn require_may_reach(sender: &Participant, recipient: &Participant) -> Result<()> {
    use ParticipantKind::{Admin, Astrologer, User};
    if sender.is_same_identity(recipient) {
        return Err(Error::SelfConversationBlocked);
    }
    match (sender.kind(), recipient.kind()) {
        (Admin, Astrologer | User) | (Astrologer, Admin | User) | (User, Admin | Astrologer) => Ok(()),
        (from, to) => Err(Error::Forbidden(format!("one {from} cannot reach another {to}"))),
    }
}
