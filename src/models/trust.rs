//! Facts the trust boundary rests on: who has dealt with whom, whose account is in order, and who looked at what.

use super::participant::Participant;
use super::time::Timestamp;

/// A user has consulted an astrologer, as an admin's program said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Id of the user.
    pub user: String,
    /// Id of the astrologer.
    pub astrologer: String,
    /// Document of the consultation.
    pub consultation_id: Option<String>,
    /// When it was said.
    pub at: Timestamp,
}

/// What the database keeps about an astrologer's account, which is another program's to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The one session that is valid; absent when nobody is signed in.
    pub session_id: Option<String>,
    /// Whether the account may not be used.
    pub is_suspended: bool,
    /// Whether the astrologer has switched himself on; absent where nobody keeps that.
    pub is_switched_on: Option<bool>,
}

/// What an audit entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditAction {
    /// An admin read a conversation or call he takes no part in.
    Read,
    /// An admin deleted a message of others.
    Delete,
    /// Sessions were revoked.
    Revoke,
    /// A relation was added.
    Relate,
    /// A credential looked like an admin key and was none.
    RefusedKey,
}

impl AuditAction {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Read, Self::Delete, Self::Revoke, Self::Relate, Self::RefusedKey];

    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Delete => "delete",
            Self::Revoke => "revoke",
            Self::Relate => "relate",
            Self::RefusedKey => "refused_key",
        }
    }

    /// Reads the stored word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }
}

/// One line of the audit trail. Never holds message text or credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: `admin:<id>`, with the name of the key if it has one; the address for a refused key.
    pub actor: String,
    /// What.
    pub action: AuditAction,
    /// About whom or what: a participant, a conversation key, a call or message id.
    pub subject: String,
    /// More of it, for people.
    pub detail: Option<String>,
}

/// Tokens of a person issued at or before this moment are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Whose.
    pub person: Participant,
    /// Up to when.
    pub until: Timestamp,
}
