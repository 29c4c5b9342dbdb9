//! Conversations, and the canonical key that makes "the conversation of these two" one thing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ids::{ConversationId, MessageId};
use super::message::MessageType;
use super::participant::{Participant, ParticipantKind, Profile};
use super::time::Timestamp;

/// The text a conversation is known by: the canonical key of its two participants, or the free text an older program gave it.
///
/// `^[A-Za-z0-9_~-]{1,140}$`. Cheap to clone, for it is handed on with every message. Source: docs/protocol.md#conversation-ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationKey(Arc<str>);

impl ConversationKey {
    /// Checks the syntax of a client's text; `None` if it can name nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let legal = (1..=140).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'~' | b'-'));
        legal.then(|| Self(text.into()))
    }

    /// A key read from a stored document, where older programs enforced no syntax.
    pub fn stored(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The two participants a canonical key names; `None` for free text. An underscore inside an id is written `~`.
    pub fn pair(&self) -> Option<Pair> {
        let person =
            |kind, text: &str| (!text.is_empty() && !text.contains('_')).then(|| Participant::new(kind, &text.replace('~', "_")))?;
        let admin = Participant::shared_admin();
        if let Some(user) = self.0.strip_prefix("admin_user_") {
            return Pair::new(admin, person(ParticipantKind::User, user)?);
        }
        if let Some(astrologer) = self.0.strip_prefix("admin_") {
            return Pair::new(admin, person(ParticipantKind::Astrologer, astrologer)?);
        }
        let (user, astrologer) = self.0.strip_prefix("user_")?.split_once('_')?;
        Pair::new(person(ParticipantKind::User, user)?, person(ParticipantKind::Astrologer, astrologer)?)
    }
}

impl ConversationKey {
    /// Which of `lanes` ordered queues this conversation's work goes through; the same everywhere in the process.
    pub fn lane(&self, lanes: usize) -> usize {
        // FNV-1a: cheap, and the spread is good enough for a handful of lanes.
        let hash = self.0.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        usize::try_from(hash % lanes.max(1) as u64).unwrap_or(0)
    }
}

impl fmt::Display for ConversationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ConversationKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ConversationKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::stored)
    }
}

/// Two different identities, in the order their key names them (admin, user, astrologer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair(Participant, Participant);

impl Pair {
    /// The identities of two people; `None` if they are the same one (two admins are).
    pub fn new(a: Participant, b: Participant) -> Option<Self> {
        if a.is_same_identity(&b) {
            return None;
        }
        let rank = |p: &Participant| match p.kind() {
            ParticipantKind::Admin => 0,
            ParticipantKind::User => 1,
            ParticipantKind::Astrologer => 2,
        };
        let (a, b) = (a.identity(), b.identity());
        Some(if (rank(&a), a.id()) <= (rank(&b), b.id()) { Self(a, b) } else { Self(b, a) })
    }

    /// Both participants.
    pub fn both(&self) -> [&Participant; 2] {
        [&self.0, &self.1]
    }

    /// The one who is not `me`; `None` when `me` is neither.
    pub fn other(&self, me: &Participant) -> Option<&Participant> {
        match (self.0.is_same_identity(me), self.1.is_same_identity(me)) {
            (true, _) => Some(&self.1),
            (_, true) => Some(&self.0),
            _ => None,
        }
    }

    /// The canonical key. Source: docs/protocol.md#conversation-ids.
    pub fn key(&self) -> ConversationKey {
        use ParticipantKind::{Admin, Astrologer, User};
        let (a, b) = (self.0.id().replace('_', "~"), self.1.id().replace('_', "~"));
        ConversationKey::stored(match (self.0.kind(), self.1.kind()) {
            (Admin, Astrologer) => format!("admin_{b}"),
            (Admin, _) => format!("admin_user_{b}"),
            (User, Astrologer) => format!("user_{a}_{b}"),
            // Nobody can open one; an older document may hold two users. `user_…` would read as a user and an astrologer.
            (User, _) => format!("users_{a}_{b}"),
            (kind, _) => format!("{kind}_{a}_{b}"),
        })
    }

    /// The word stored as `conversationType`.
    pub fn conversation_type(&self) -> &'static str {
        use ParticipantKind::{Admin, Astrologer, User};
        match (self.0.kind(), self.1.kind()) {
            (Admin, Astrologer) => "admin_astrologer",
            (Admin, _) => "admin_user",
            (User, Astrologer) => "user_astrologer",
            _ => "group",
        }
    }
}

/// One participant of a conversation as stored with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub participant: Participant,
    /// Name and picture at the time they were last seen here.
    pub profile: Profile,
    /// When the conversation was opened for this participant; absent in older documents.
    pub joined_at: Option<Timestamp>,
}

/// What a list shows of the newest message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastMessage {
    /// Which message; absent in older documents.
    pub message_id: Option<MessageId>,
    /// Its text; empty for media without a caption.
    pub content: String,
    /// Who sent it; absent in older documents.
    pub sender: Option<Participant>,
    /// When.
    pub at: Option<Timestamp>,
    /// Its kind.
    pub message_type: MessageType,
}

/// Enough of a conversation for a store to find its messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationHandle {
    /// Canonical key.
    pub key: ConversationKey,
    /// Document id.
    pub id: ConversationId,
    /// True if messages of this conversation may be filed under its document id instead of its key,
    /// as the documents of the original schema are.
    pub filed_by_id: bool,
}

/// Who takes part in which conversation: the part of it that never changes, so it may be kept in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Where its messages are.
    pub handle: ConversationHandle,
    /// Who takes part, at least one.
    pub members: Vec<Member>,
}

impl Membership {
    /// Canonical key.
    pub fn key(&self) -> &ConversationKey {
        &self.handle.key
    }

    /// The member that acts as the same identity as `person`.
    pub fn member(&self, person: &Participant) -> Option<&Member> {
        self.members.iter().find(|m| m.participant.is_same_identity(person))
    }

    /// Whether `person` takes part.
    pub fn is_participant(&self, person: &Participant) -> bool {
        self.member(person).is_some()
    }

    /// The one other participant; `None` in a conversation of more than two or when `me` takes no part.
    pub fn other(&self, me: &Participant) -> Option<&Participant> {
        match self.members.as_slice() {
            [a, b] if a.participant.is_same_identity(me) => Some(&b.participant),
            [a, b] if b.participant.is_same_identity(me) => Some(&a.participant),
            _ => None,
        }
    }

    /// The text that names `person` inside this conversation's documents (`unreadCount`, `deletedBy`): the plain id,
    /// or `<type>~<id>` when another participant has the same id.
    pub fn person_key(&self, person: &Participant) -> String {
        person_key(person, self.members.iter().map(|m| &m.participant))
    }

    /// Whether `text` is its key or document id, and not one of its other names.
    pub fn is_called(&self, text: &str) -> bool {
        text == self.handle.key.as_str() || ConversationId::parse(text) == Some(self.handle.id)
    }

    /// The identities of all who take part.
    pub fn identities(&self) -> impl Iterator<Item = Participant> + '_ {
        self.members.iter().map(|m| m.participant.identity())
    }
}

/// A conversation as stored. Membership and key never change after opening; the rest moves with its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Where its messages are.
    pub handle: ConversationHandle,
    /// The word stored as `conversationType`.
    pub conversation_type: String,
    /// Who takes part, at least one.
    pub members: Vec<Member>,
    /// Newest message that is not deleted.
    pub last_message: Option<LastMessage>,
    /// Orders lists; the time of opening until a message arrives.
    pub last_message_at: Timestamp,
    /// Unread messages by [`Conversation::person_key`]; a missing key is zero.
    pub unread: BTreeMap<String, u32>,
    /// False when closed by an older program.
    pub is_active: bool,
    /// `consultation`, `service_request`, `support` or `general`.
    pub context_type: String,
    /// Document the context is about.
    pub context_id: Option<String>,
    /// Other texts its participants have used for it, at most eight.
    pub aliases: Vec<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When anything of it last changed.
    pub updated_at: Timestamp,
}

impl Conversation {
    /// Canonical key.
    pub fn key(&self) -> &ConversationKey {
        &self.handle.key
    }

    /// The part that never changes.
    pub fn membership(&self) -> Membership {
        Membership { handle: self.handle.clone(), members: self.members.clone() }
    }

    /// Whether `person` takes part.
    pub fn is_participant(&self, person: &Participant) -> bool {
        self.members.iter().any(|m| m.participant.is_same_identity(person))
    }

    /// See [`Membership::person_key`].
    pub fn person_key(&self, person: &Participant) -> String {
        person_key(person, self.members.iter().map(|m| &m.participant))
    }

    /// Unread messages addressed to `person`.
    pub fn unread_of(&self, person: &Participant) -> u32 {
        self.unread.get(&self.person_key(person)).copied().unwrap_or(0)
    }
}

/// See [`Membership::person_key`].
pub fn person_key<'a>(person: &Participant, members: impl IntoIterator<Item = &'a Participant>) -> String {
    let person = person.identity();
    let shared = members.into_iter().any(|m| m.kind() != person.kind() && m.id() == person.id());
    if shared { format!("{}~{}", person.kind(), person.id()) } else { person.id().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(kind: ParticipantKind, id: &str) -> Participant {
        Participant::new(kind, id).expect("legal id")
    }

    #[test]
    fn keys_are_canonical_and_have_one_reading() {
        let admin = person(ParticipantKind::Admin, "ops7");
        let astrologer = person(ParticipantKind::Astrologer, "user_1");
        let user = person(ParticipantKind::User, "a_b");
        for (a, b, key) in
            [(&admin, &astrologer, "admin_user~1"), (&user, &admin, "admin_user_a~b"), (&astrologer, &user, "user_a~b_user~1")]
        {
            let pair = Pair::new(a.clone(), b.clone()).expect("two identities");
            assert_eq!(pair.key().as_str(), key);
            assert_eq!(pair.key().pair(), Some(pair));
        }
        assert!(Pair::new(admin.clone(), Participant::shared_admin()).is_none());
    }

    #[test]
    fn free_text_is_no_pair_and_colons_are_no_key() {
        for free in ["general", "admin_", "user_x", "user_x_y_z", "group_690000000000000000000005"] {
            assert_eq!(ConversationKey::parse(free).expect("legal text").pair(), None, "{free}");
        }
        for bad in ["", "a:b", "a b", &"x".repeat(141)] {
            assert_eq!(ConversationKey::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_shared_id_is_told_apart_by_its_type() {
        let user = person(ParticipantKind::User, "5");
        let astrologer = person(ParticipantKind::Astrologer, "5");
        assert_eq!(person_key(&user, [&user, &astrologer]), "user~5");
        assert_eq!(person_key(&user, [&user, &Participant::shared_admin()]), "5");
    }
}
