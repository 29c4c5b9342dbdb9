//! What the store keeps of attachments; the bytes are elsewhere.

use async_trait::async_trait;

use crate::error::Result;
use crate::models::media::{Attachment, MediaId};
use crate::models::{ConversationKey, Participant, Timestamp};

/// Attachments, from their announcement until they are forgotten.
#[async_trait]
pub trait MediaStore: Send + Sync + 'static {
    /// Keeps an attachment that was announced.
    async fn announce_media(&self, attachment: Attachment) -> Result<()>;

    /// The attachment with this id, in whatever state.
    async fn find_media(&self, id: MediaId) -> Result<Option<Attachment>>;

    /// Makes a pending attachment ready. False if it was not pending; then nothing changes.
    async fn complete_media(&self, id: MediaId, pixels: Option<(u32, u32)>) -> Result<bool>;

    /// Notes that a message of its owner in this conversation names it, so that it stays. False, and nothing changes, unless it is ready,
    /// his and of this conversation. It is counted, so that [`MediaStore::release_media`] takes back one and no other.
    async fn use_media(&self, id: MediaId, owner: &Participant, conversation: &ConversationKey) -> Result<bool>;

    /// Takes back one [`MediaStore::use_media`], whose message will never be. What another one still holds stays; one that nobody holds
    /// changes in nothing.
    async fn release_media(&self, id: MediaId) -> Result<()>;

    /// Notes that its message is gone for everyone, whatever its state. Repeating changes nothing.
    async fn erase_media(&self, id: MediaId) -> Result<()>;

    /// Makes an attachment erased that is pending, or ready and named by no message. False, and nothing changes, for any other.
    async fn give_up_media(&self, id: MediaId) -> Result<bool>;

    /// At most `limit` that are erased, pending since before `pending_before`, or ready and named by no message and announced before
    /// `unused_before`; in no order.
    async fn abandoned_media(&self, pending_before: Timestamp, unused_before: Timestamp, limit: usize) -> Result<Vec<Attachment>>;

    /// Forgets these, unless a message has named one of them meanwhile. Returns those it forgot.
    async fn forget_media(&self, ids: &[MediaId]) -> Result<Vec<MediaId>>;
}
