//! The driver for MongoDB: the documents the Node backend knows, shared with it and with other nodes of ours.
//!
//! What changes the order of a conversation goes through a lane (`lanes`), where sends (`append`) and reads (`reads`) are batched.
//! Everything else asks the database at once. Only single-document atomicity is used: no transactions, no change streams, no
//! pipelines, so that DocumentDB and FerretDB have a chance. Source of the shapes: docs/protocol.md#models.
//! Collections of other programs (`others`) are only read.

mod analytics;
mod append;
mod belongings;
mod call_document;
mod call_lists;
mod calls;
mod connect;
mod conversation_document;
mod conversations;
mod deletions;
mod devices;
mod engine;
mod failure;
mod fields;
mod inbox;
mod indexes;
mod lanes;
mod marks;
mod media;
mod message_document;
mod messages;
mod others;
mod outbox;
mod presence;
mod reads;
mod repair;
mod rooms;
mod summaries;
mod together;
mod trust;
mod updates;
mod upkeep;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tracing::warn;

use self::engine::Engine;
pub(super) use self::failure::in_words;
use self::lanes::Lanes;
use super::{
    CallChange, CallQuery, Calls, Change, ConversationPage, Conversations, DeleteMessage, Load, Lookup, MarkRead, MessageQuery, Messages,
    NewConversation, Opened, Pending, ReadMarks, Recount, Sent, Store, Transitioned, UpkeepStore,
};
use crate::error::Result;
use crate::metrics::StoreMetrics;
use crate::models::{
    Account, AuditAction, AuditEntry, Call, CallId, Conversation, ConversationHandle, ConversationId, ConversationKey, Feedback, IdClock,
    KeptRooms, Message, MessageId, NewCall, NewMessage, Notices, Participant, ProcessId, Profile, Relation, Revocation, Timestamp,
};

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
        Self::connect_with(uri, database, lanes::lanes_here()).await
    }

    /// The same with so many queues for what is written, between which conversations are divided.
    pub async fn connect_with(uri: &str, database: &str, lanes: NonZeroUsize) -> Result<Self> {
        let engine = connect::connect(uri, database).await?;
        let (lanes, at_work) = Lanes::start(&engine, lanes);
        connect::start_preparing(&engine).await;
        summaries::start(&engine, at_work);
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

    async fn count_messages(&self, conversation: &ConversationHandle, viewer: &str, before: Option<MessageId>, cap: u64) -> Result<u64> {
        self.engine.check_open()?;
        self.engine.count_messages(conversation, viewer, before, cap).await
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

    async fn create_call(&self, new: NewCall) -> Result<Call> {
        let clock = self.engine.clock()?;
        self.engine.create_call(clock, new).await
    }

    async fn find_call(&self, id: CallId) -> Result<Option<Call>> {
        self.engine.check_open()?;
        self.engine.find_call(id).await
    }

    async fn transition_call(&self, change: CallChange) -> Result<Transitioned> {
        self.engine.clock()?;
        self.engine.transition_call(change).await
    }

    async fn settle_notices(&self, settled: &[(CallId, Notices)]) -> Result<()> {
        self.engine.clock()?;
        self.engine.settle_notices(settled).await
    }

    async fn calls_of(&self, query: CallQuery) -> Result<Calls> {
        self.engine.check_open()?;
        self.engine.calls_of(query).await
    }

    async fn open_calls(&self, after: Option<CallId>, limit: usize) -> Result<Vec<Call>> {
        self.engine.check_open()?;
        self.engine.open_calls(after, limit).await
    }

    async fn overdue_calls(&self, deadline_before: Timestamp, ended_before: Timestamp, limit: usize) -> Result<Vec<Call>> {
        self.engine.check_open()?;
        self.engine.overdue_calls(deadline_before, ended_before, limit).await
    }

    async fn rate_call(&self, id: CallId, feedback: Feedback, at: Timestamp) -> Result<Option<Call>> {
        self.engine.clock()?;
        self.engine.rate_call(id, feedback, at).await
    }

    async fn are_related(&self, user: &str, astrologer: &str, phone: Option<&str>) -> Result<bool> {
        self.engine.check_open()?;
        let Ok(pair) = super::require_pair(user, astrologer) else { return Ok(false) };
        self.engine.are_related(&pair, phone).await
    }

    async fn add_relation(&self, relation: Relation) -> Result<bool> {
        self.engine.clock()?;
        super::require_pair(&relation.user, &relation.astrologer)?;
        self.engine.add_relation(&relation).await
    }

    async fn has_relations(&self) -> Result<bool> {
        self.engine.check_open()?;
        self.engine.has_relations().await
    }

    async fn find_accounts(&self, astrologers: &[String]) -> Result<Option<Vec<(String, Account)>>> {
        self.engine.check_open()?;
        self.engine.find_accounts(astrologers).await
    }

    async fn append_audit(&self, entries: Vec<AuditEntry>) -> Result<()> {
        self.engine.clock()?;
        self.engine.append_audit(&entries).await
    }

    async fn audit_trail(&self, action: Option<AuditAction>, before: Option<Timestamp>, limit: usize) -> Result<Vec<AuditEntry>> {
        self.engine.check_open()?;
        self.engine.audit_trail(action, before, limit).await
    }

    async fn revoke(&self, revocation: Revocation) -> Result<()> {
        self.engine.clock()?;
        self.engine.revoke(&revocation).await
    }

    async fn revocations(&self, since: Option<Timestamp>) -> Result<Vec<Revocation>> {
        self.engine.check_open()?;
        self.engine.revocations(since).await
    }

    async fn purge_revocations(&self, before: Timestamp) -> Result<()> {
        self.engine.clock()?;
        self.engine.purge_revocations(before).await
    }

    async fn remember_rooms(&self, process: ProcessId, at: Timestamp, rooms: Vec<KeptRooms>) -> Result<()> {
        self.engine.clock()?;
        self.engine.remember_rooms(process, at, &rooms).await
    }

    async fn remembered_rooms(&self, process: ProcessId, people: &[Participant], since: Timestamp) -> Result<Vec<KeptRooms>> {
        self.engine.check_open()?;
        self.engine.remembered_rooms(process, people, since).await
    }

    async fn other_processes(&self, process: ProcessId) -> Result<Vec<(ProcessId, Timestamp)>> {
        self.engine.check_open()?;
        self.engine.other_processes(process).await
    }

    async fn forget_rooms(&self, before: Timestamp) -> Result<()> {
        self.engine.clock()?;
        self.engine.forget_rooms(before).await
    }

    async fn spoken_since(&self, conversations: &[ConversationKey], since: Timestamp) -> Result<Vec<Conversation>> {
        self.engine.check_open()?;
        self.engine.spoken_since(conversations, since).await
    }

    async fn check_writable(&self) -> Result<()> {
        self.engine.clock()?;
        self.engine.check_primary().await
    }

    fn id_process(&self) -> Option<[u8; 5]> {
        self.engine.prepared_clock().ok().map(IdClock::process)
    }

    fn metrics(&self) -> &StoreMetrics {
        self.engine.metrics.note_queue(self.lanes.waiting());
        &self.engine.metrics
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

#[async_trait]
impl UpkeepStore for MongoStore {
    async fn walk_conversations(&self, after: Option<ConversationId>, limit: usize) -> Result<Vec<Conversation>> {
        // Prepared first: until then older conversations may have no keys.
        self.engine.clock()?;
        self.engine.walk_conversations(after, limit).await
    }

    async fn walk_messages(&self, of: &ConversationHandle, after: Option<MessageId>, limit: usize) -> Result<Vec<Message>> {
        self.engine.check_open()?;
        self.engine.walk_messages(of, after, limit).await
    }

    async fn walk_calls(&self, after: Option<CallId>, limit: usize) -> Result<Vec<Call>> {
        self.engine.check_open()?;
        self.engine.walk_calls(after, limit).await
    }

    async fn relations(&self) -> Result<Vec<Relation>> {
        self.engine.check_open()?;
        self.engine.relations().await
    }

    async fn recount(&self, of: ConversationId) -> Result<Option<Recount>> {
        self.engine.check_open()?;
        self.engine.recount(of).await
    }

    async fn put_right(&self, of: ConversationId) -> Result<()> {
        self.engine.clock()?;
        self.engine.put_right(of).await
    }

    async fn take_over(&self, load: Load) -> Result<()> {
        self.engine.clock()?;
        self.engine.take_over(load).await
    }

    async fn erase_names(&self, person: &Participant) -> Result<()> {
        self.engine.clock()?;
        self.engine.erase_names(person).await
    }
}

impl Drop for MongoStore {
    fn drop(&mut self) {
        // The lanes drain what they have and end; nobody owns them any more.
        self.engine.closed.cancel();
    }
}
