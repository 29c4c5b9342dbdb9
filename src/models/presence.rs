//! Whether somebody is there, in the words of the wire.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::participant::Participant;
use super::time::Timestamp;

/// Whether somebody is connected, and until when he was. Source: docs/protocol.md#presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attendance {
    /// Who.
    pub person: Participant,
    /// Connected, or gone so lately that it does not count yet.
    pub is_online: bool,
    /// When he was last connected, if he is not now and anybody knows.
    pub last_seen: Option<Timestamp>,
}

impl Attendance {
    /// `online` or `offline`.
    pub fn word(&self) -> &'static str {
        if self.is_online { "online" } else { "offline" }
    }
}

impl Serialize for Attendance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Attendance", 5)?;
        object.serialize_field("id", self.person.id())?;
        object.serialize_field("type", self.person.kind().as_str())?;
        object.serialize_field("isOnline", &self.is_online)?;
        object.serialize_field("presence", self.word())?;
        match self.last_seen {
            Some(at) => object.serialize_field("lastSeen", &at)?,
            None => object.skip_field("lastSeen")?,
        }
        object.end()
    }
}
