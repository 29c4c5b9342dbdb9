//! Sends nobody knows the outcome of: the store failed in the middle, the sender was refused, and the message may be there all the same.
//!
//! When its sender repeats it, it turns out. Then nobody has heard of it yet, so the repeat counts as the first send, once.

use std::time::Duration;

use moka::sync::Cache;

use crate::models::{Message, MessageId, NewMessage, ParticipantKind};

/// Whoever has not repeated by then shows it as failed, or was gone.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// Of more the oldest are forgotten: their repeats are answered as repeats and heard by nobody.
const REMEMBERED: u64 = 100_000;
/// Attempts of one send, of which at most one is stored.
const ATTEMPTS: usize = 32;

/// Whose, and the sender's own id for it.
pub(super) type Claim = (ParticipantKind, String, String);

pub(super) struct Unsure(Cache<Claim, Vec<MessageId>>);

impl Default for Unsure {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build())
    }
}

impl Unsure {
    /// What names a send that can be repeated.
    pub(super) fn claim(new: &NewMessage) -> Option<Claim> {
        Some((new.sender.kind(), new.sender.id().to_owned(), new.client_message_id.clone()?))
    }

    /// The message may have been stored under this id.
    pub(super) fn note(&self, claim: Claim, id: MessageId) {
        let mut ids = self.0.get(&claim).unwrap_or_default();
        ids.truncate(ATTEMPTS - 1);
        ids.push(id);
        self.0.insert(claim, ids);
    }

    /// Whether this message was in doubt until now. True once.
    pub(super) fn settle(&self, claim: &Claim, message: &Message) -> bool {
        let was_unsure = self.0.get(claim).is_some_and(|ids| ids.contains(&message.id));
        was_unsure && self.0.remove(claim).is_some()
    }
}
