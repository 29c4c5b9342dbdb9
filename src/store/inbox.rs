//! What the inbox asks of storage: a person's conversations and calls as two streams that can be gone on with from any place, and
//! what of them has not been looked at.

use async_trait::async_trait;

use crate::error::Result;
use crate::models::{CallId, Conversation, ConversationId, Participant, Timestamp};

/// The most places one question answers with.
pub const MAX_PLACES: usize = 1_000;

/// Where a conversation stands in somebody's list: by last activity, then by id.
pub type ConversationPlace = (Timestamp, ConversationId);

/// Questions of the inbox. Everything about admins is about all of them, for they are one identity.
#[async_trait]
pub trait InboxStore: Send + Sync + 'static {
    /// Active conversations of a person that stand after `before`, newest activity first, at most `limit`, up to [`super::MAX_PAGE`].
    ///
    /// Unlike the cursor of [`super::Store::conversations_of`] a place stays where it is when its conversation moves.
    async fn conversations_after(&self, person: &Participant, before: Option<ConversationPlace>, limit: usize)
    -> Result<Vec<Conversation>>;

    /// The places alone, in the same order, at most `limit`, up to [`MAX_PLACES`]: for passing over many.
    async fn conversation_places(
        &self,
        person: &Participant,
        before: Option<ConversationPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationPlace>>;

    /// Beginning and id of a person's calls that are older than `before`, newest first, at most `limit`, up to [`MAX_PLACES`].
    async fn call_places(&self, person: &Participant, before: Option<CallId>, limit: usize) -> Result<Vec<(Timestamp, CallId)>>;

    /// How many messages a person has left to read, over all active conversations.
    async fn count_unread(&self, person: &Participant) -> Result<u64>;

    /// Active conversations in which a person has something left to read, in no order, at most `limit`.
    async fn unread_conversations(&self, person: &Participant, limit: usize) -> Result<Vec<Conversation>>;

    /// Calls to a person that nobody answered, begun at or after `since`, and over after the person last looked.
    async fn count_missed(&self, person: &Participant, since: Timestamp) -> Result<MissedCalls>;

    /// Notes that a person has looked at the missed calls. A moment before one noted already changes nothing. Calls stay as they are.
    async fn note_missed_seen(&self, person: &Participant, at: Timestamp) -> Result<()>;
}

/// Missed calls that were not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MissedCalls {
    /// With sound alone.
    pub voice: u64,
    /// With picture.
    pub video: u64,
}
