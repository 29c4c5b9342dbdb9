//! The driver for MongoDB: the documents the Node backend knows, shared with it and with other nodes of ours.
//!
//! What changes the order of a conversation goes through a lane (`lanes`), where sends (`append`) and reads (`reads`) are batched.
//! Everything else asks the database at once. Only single-document atomicity is used: no transactions, no change streams, no
//! pipelines, so that DocumentDB and FerretDB have a chance. Source of the shapes: docs/protocol.md#models.

mod append;
mod connect;
mod conversation_document;
mod conversations;
mod deletions;
mod engine;
mod failure;
mod fields;
mod indexes;
mod lanes;
mod marks;
mod message_document;
mod messages;
mod reads;
mod repair;
mod updates;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tracing::warn;

use self::engine::Engine;
use self::lanes::Lanes;
use super::{
    Change, ConversationPage, Conversations, DeleteMessage, Lookup, MarkRead, MessageQuery, Messages, NewConversation, Opened, Pending,
    ReadMarks, Sent, Store,
};
use crate::error::Result;
use crate::models::{Conversation, ConversationHandle, Message, MessageId, NewMessage, Participant, Profile, Timestamp};

/// How long `close` waits for what is queued.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// A store in MongoDB 4.4 or later.
pub struct MongoStore {
    engine: Arc<Engine>,
    lanes: Lanes,
}

impl MongoStore {
    /// Opens `database` of the deployment at `uri`.
    ///
    /// Returns even when the deployment does not answer: preparing (indexes, the newest id) goes on in the background, and until it is
    /// done every write answers `Unavailable`.
    /// Errors: `InvalidPayload` when the URI cannot be read or asks for unacknowledged writes.
    pub async fn connect(uri: &str, database: &str) -> Result<Self> {
        let engine = connect::connect(uri, database).await?;
        let lanes = Lanes::start(&engine);
        connect::start_preparing(&engine).await;
        repair::start(&engine);
        Ok(Self { engine, lanes })
    }
}

#[async_trait]
impl Store for MongoStore {
    async fn open_conversation(&self, new: NewConversation) -> Result<Opened> {
        let clock = self.engine.clock()?;
        self.engine.open_conversation(clock, new).await
    }

    async fn find_conversation(&self, lookup: &Lookup) -> Result<Option<Conversation>> {
        self.engine.check_open()?;
        self.engine.find_conversation(lookup).await
    }

    async fn update_profile(&self, conversation: &ConversationHandle, person: &Participant, profile: &Profile) -> Result<()> {
        self.engine.clock()?;
        self.engine.update_profile(conversation, person, profile).await
    }

    async fn conversations_of(&self, person: &Participant, page: &ConversationPage) -> Result<Conversations> {
        self.engine.check_open()?;
        self.engine.conversations_of(person, page).await
    }

    fn send_message(&self, new: NewMessage) -> Pending<Sent> {
        self.lanes.append(new)
    }

    async fn find_message(&self, id: MessageId) -> Result<Option<Message>> {
        self.engine.check_open()?;
        self.engine.find_message(id).await
    }

    async fn messages(&self, query: MessageQuery) -> Result<Messages> {
        self.engine.check_open()?;
        self.engine.page_of_messages(query).await
    }

    async fn count_messages(&self, conversation: &ConversationHandle, viewer: &str, cap: u64) -> Result<u64> {
        self.engine.check_open()?;
        self.engine.count_messages(conversation, viewer, cap).await
    }

    fn mark_read(&self, mark: MarkRead) -> Pending<ReadMarks> {
        self.lanes.read(mark)
    }

    async fn mark_delivered(&self, messages: &[(ConversationHandle, MessageId)], at: Timestamp) -> Result<Vec<MessageId>> {
        self.engine.clock()?;
        self.engine.mark_delivered(messages, at).await
    }

    async fn hide_message(&self, hide: DeleteMessage) -> Result<Option<Message>> {
        // In the lane too: its messages are then whole, counted and shown as the latest, before it takes them back.
        self.lanes.step(hide.conversation.id, |engine| async move { engine.hide_message(hide).await }.boxed()).await
    }

    async fn delete_message(&self, delete: DeleteMessage) -> Result<Option<Message>> {
        self.lanes.step(delete.conversation.id, |engine| async move { engine.delete_message(delete).await }.boxed()).await
    }

    async fn changes_since(&self, conversation: &ConversationHandle, viewer: &str, since: Timestamp, limit: usize) -> Result<Vec<Change>> {
        self.engine.check_open()?;
        self.engine.changes_since(conversation, viewer, since, limit).await
    }

    async fn find_profile(&self, person: &Participant) -> Result<Option<Profile>> {
        self.engine.check_open()?;
        self.engine.find_profile(person).await
    }

    async fn check_writable(&self) -> Result<()> {
        self.engine.clock()?;
        self.engine.check_primary().await
    }

    fn engine(&self) -> &'static str {
        "mongodb"
    }

    async fn close(&self) {
        self.engine.closed.cancel();
        self.engine.tasks.close();
        if tokio::time::timeout(CLOSE_WITHIN, self.engine.tasks.wait()).await.is_err() {
            warn!("some writes were still waiting for MongoDB when the store was closed");
        }
        self.engine.let_go().await;
    }
}

impl Drop for MongoStore {
    fn drop(&mut self) {
        // The lanes drain what they have and end; nobody owns them any more.
        self.engine.closed.cancel();
    }
}
