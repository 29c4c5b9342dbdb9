//! Names and pictures of people who are not here to state them: looked up in the database and kept for a while.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::error::Result;
use crate::models::{Participant, ParticipantKind, Profile};
use crate::store::Store;

/// How long an answer is kept, also that there is none.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// How many are kept.
const KEPT: u64 = 50_000;

/// Looks people up. Cheap to clone.
#[derive(Clone)]
pub(super) struct Profiles {
    store: Arc<dyn Store>,
    known: Cache<Participant, Profile>,
}

impl Profiles {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, known: Cache::builder().max_capacity(KEPT).time_to_live(KEPT_FOR).build() }
    }

    /// What to show of `person`, whose own credential states `stated` if it is he who asks.
    pub async fn of(&self, person: &Participant, stated: Option<&Profile>) -> Result<Profile> {
        if person.kind() == ParticipantKind::Admin {
            // Whoever answers as support, it is "Admin" to the others.
            return Ok(Profile { name: Some("Admin".into()), picture: None });
        }
        if let Some(stated) = stated.filter(|p| p.name.is_some()) {
            return Ok(stated.clone());
        }
        if let Some(known) = self.known.get(person) {
            return Ok(known);
        }
        let found = self.store.find_profile(person).await?;
        let profile = found.or_else(|| stated.cloned()).unwrap_or_default();
        self.known.insert(person.clone(), profile.clone());
        Ok(profile)
    }
}
