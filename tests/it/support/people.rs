//! People and moments of the tests.

use std::sync::LazyLock;

use samvad::models::{Participant, ParticipantKind, Profile, Timestamp};

static START: LazyLock<i64> = LazyLock::new(|| Timestamp::now().as_millis());

/// A moment, in milliseconds from the start of the tests.
pub fn at(offset_ms: i64) -> Timestamp {
    Timestamp::from_millis(*START + offset_ms)
}

/// A user.
pub fn user(id: &str) -> Participant {
    Participant::new(ParticipantKind::User, id).unwrap()
}

/// An astrologer.
pub fn astrologer(id: &str) -> Participant {
    Participant::new(ParticipantKind::Astrologer, id).unwrap()
}

/// An admin with an id of his own.
pub fn admin(id: &str) -> Participant {
    Participant::new(ParticipantKind::Admin, id).unwrap()
}

/// A name and a picture.
pub fn profile(name: &str, picture: &str) -> Profile {
    Profile { name: Some(name.into()), picture: Some(picture.into()) }
}
