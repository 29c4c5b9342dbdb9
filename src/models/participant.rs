//! Who takes part: an id together with its kind. The same id of two kinds is two people.

use std::fmt;
use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The id every admin shares for membership, unread counts and the personal room. Source: docs/protocol.md#identity.
pub const SHARED_ADMIN_ID: &str = "admin";

/// The three kinds of people the marketplace knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PersonType")]
#[serde(rename_all = "lowercase")]
pub enum ParticipantKind {
    /// Staff of the marketplace.
    Admin,
    /// A consultant.
    Astrologer,
    /// A customer.
    User,
}

impl ParticipantKind {
    /// The word on the wire and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Astrologer => "astrologer",
            Self::User => "user",
        }
    }

    /// Reads the word of the wire; `customer` is an older word for `user`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "admin" => Some(Self::Admin),
            "astrologer" => Some(Self::Astrologer),
            "user" | "customer" => Some(Self::User),
            _ => None,
        }
    }
}

impl fmt::Display for ParticipantKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One person: kind and id together. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Participant {
    kind: ParticipantKind,
    id: Arc<str>,
}

impl Participant {
    /// A person with a checked id: `^[A-Za-z0-9_-]{1,64}$`, and `admin` only for admins. `None` otherwise.
    pub fn new(kind: ParticipantKind, id: &str) -> Option<Self> {
        let legal = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let reserved = id == SHARED_ADMIN_ID && kind != ParticipantKind::Admin;
        (legal && !reserved).then(|| Self { kind, id: id.into() })
    }

    /// A person read from a stored document, where older programs enforced no syntax.
    pub fn stored(kind: ParticipantKind, id: impl Into<Arc<str>>) -> Self {
        Self { kind, id: id.into() }
    }

    /// The identity all admins share.
    pub fn shared_admin() -> Self {
        static ID: LazyLock<Arc<str>> = LazyLock::new(|| SHARED_ADMIN_ID.into());
        Self { kind: ParticipantKind::Admin, id: Arc::clone(&ID) }
    }

    /// Admin, astrologer or user.
    pub fn kind(&self) -> ParticipantKind {
        self.kind
    }

    /// The id as the client knows it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The identity that membership, unread counts and rooms go by: an admin with an id of his own counts as the shared admin.
    pub fn identity(&self) -> Self {
        match self.kind {
            ParticipantKind::Admin => Self::shared_admin(),
            _ => self.clone(),
        }
    }

    /// Whether both act as the same identity (any two admins do).
    pub fn is_same_identity(&self, other: &Self) -> bool {
        self.kind == other.kind && (self.kind == ParticipantKind::Admin || self.id == other.id)
    }
}

impl fmt::Display for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

impl fmt::Debug for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As `kind:id`, for other nodes only: clients see the parts under names of their own.
impl Serialize for Participant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Participant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let person = text.split_once(':').and_then(|(kind, id)| Some(Self::stored(ParticipantKind::parse(kind)?, id)));
        person.ok_or_else(|| serde::de::Error::custom("a person is written as kind:id"))
    }
}

/// What is shown of a person beside the id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Display name, when known.
    pub name: Option<String>,
    /// Address of a picture, when known.
    pub picture: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_admin_belongs_to_admins_alone_and_ids_have_a_syntax() {
        assert!(Participant::new(ParticipantKind::User, "admin").is_none());
        assert!(Participant::new(ParticipantKind::Admin, "admin").is_some());
        for bad in ["", "a.b", "$where", "a:b", "é", &"x".repeat(65)] {
            assert!(Participant::new(ParticipantKind::User, bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn every_admin_is_one_identity() {
        let ops = Participant::new(ParticipantKind::Admin, "ops7").expect("legal id");
        assert_eq!(ops.identity(), Participant::shared_admin());
        assert!(ops.is_same_identity(&Participant::shared_admin()));
    }
}
