//! The three people somebody who just started the server can be.

use std::time::Duration;

use crate::models::{Participant, ParticipantKind};

use super::{MintError, Verifier};

/// How long their tokens live.
pub const DEMO_TTL: Duration = Duration::from_secs(24 * 3600);

const PEOPLE: [(ParticipantKind, &str, &str); 3] = [
    (ParticipantKind::Admin, "demo-admin", "Demo admin"),
    (ParticipantKind::Astrologer, "demo-astrologer", "Demo astrologer"),
    (ParticipantKind::User, "demo-user", "Demo user"),
];

/// Somebody to try the server as.
pub struct DemoPerson {
    /// What they are.
    pub kind: ParticipantKind,
    /// Their id.
    pub id: &'static str,
    /// Their name, as others see it.
    pub name: &'static str,
    /// What they sign in with, good for [`DEMO_TTL`].
    pub token: String,
}

impl Verifier {
    /// An admin, an astrologer and a user with fresh tokens. Errors: this server cannot sign any.
    pub fn demo_people(&self) -> Result<Vec<DemoPerson>, MintError> {
        let person = |(kind, id, name)| {
            let participant = Participant::new(kind, id)?;
            Some(self.mint(&participant, Some(name), DEMO_TTL).map(|token| DemoPerson { kind, id, name, token }))
        };
        PEOPLE.into_iter().filter_map(person).collect()
    }
}
