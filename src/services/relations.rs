//! Whether a user and an astrologer have dealt with each other: only then they may write to and call each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use tracing::info;

use crate::auth::CurrentUser;
use crate::error::{Error, Result};
use crate::models::{AuditAction, Participant, ParticipantKind, Relation};

use super::Core;
use super::audit::Audit;
use super::permissions::require_reach;

/// How long a relation is taken for granted once it was found. People hardly ever become strangers again.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// How many are kept.
const KNOWN: u64 = 100_000;

/// When relations are checked; see `RELATION_CHECK`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelationCheck {
    /// Always.
    On,
    /// Once a relation was noted: until then nobody has told the server about relations at all.
    OnceNoted,
    /// Never.
    #[default]
    Off,
}

/// Answers who may reach whom. Cheap to clone.
#[derive(Clone)]
pub struct Relations {
    core: Arc<Core>,
    audit: Audit,
    /// User and astrologer who are related. That two are not is asked again every time, so a new relation counts at once.
    known: Cache<(String, String), ()>,
    /// That there are any, for [`RelationCheck::OnceNoted`].
    noted: Arc<AtomicBool>,
}

impl Relations {
    pub(super) fn new(core: Arc<Core>, audit: Audit) -> Self {
        let known = Cache::builder().max_capacity(KNOWN).time_to_live(KNOWN_FOR).build();
        Self { core, audit, known, noted: Arc::default() }
    }

    /// Checks that `user` may write to and call `other`, for the first time.
    ///
    /// Errors: `SELF_CONVERSATION_BLOCKED`, `FORBIDDEN`, `NOT_RELATED`, whether `other` exists or not.
    pub async fn require(&self, user: &CurrentUser, other: &Participant) -> Result<()> {
        let depends = require_reach(user.participant(), other)?;
        if !depends || !self.is_checked().await? {
            return Ok(());
        }
        let (client, astrologer) = match other.kind() {
            ParticipantKind::Astrologer => (user.participant(), other),
            _ => (other, user.participant()),
        };
        let pair = (client.id().to_owned(), astrologer.id().to_owned());
        if self.known.contains_key(&pair) {
            return Ok(());
        }
        // Only the user's own token says the user's phone.
        let phone = user.phone().filter(|_| user.kind() == ParticipantKind::User);
        if self.core.store.are_related(&pair.0, &pair.1, phone).await? {
            self.known.insert(pair, ());
            return Ok(());
        }
        Err(Error::NotRelated)
    }

    async fn is_checked(&self) -> Result<bool> {
        match self.core.rules.relation_check {
            RelationCheck::On => Ok(true),
            RelationCheck::Off => Ok(false),
            RelationCheck::OnceNoted => {
                if !self.noted.load(Ordering::Relaxed) && self.core.store.has_relations().await? {
                    self.noted.store(true, Ordering::Relaxed);
                }
                Ok(self.noted.load(Ordering::Relaxed))
            }
        }
    }

    /// Notes that two have dealt with each other. True if it was new. The caller has checked that an admin says so.
    pub async fn add(
        &self,
        admin: &CurrentUser,
        user: &Participant,
        astrologer: &Participant,
        consultation_id: Option<String>,
    ) -> Result<bool> {
        let relation =
            Relation { user: user.id().to_owned(), astrologer: astrologer.id().to_owned(), consultation_id, at: self.core.now() };
        let is_new = self.core.store.add_relation(relation).await?;
        self.noted.store(true, Ordering::Relaxed);
        self.audit.note(admin, AuditAction::Relate, format!("{user} {astrologer}"), None);
        if is_new {
            info!(participant = %admin.participant(), user = %user, astrologer = %astrologer, "a relation was noted");
        }
        Ok(is_new)
    }
}
