//! The embedded store: one SQLite file in a folder of its own, nothing to install.
//!
//! Changes queue for one thread (`writer`) that commits whatever waits as one transaction; reads go to a few threads beside it
//! (`readers`). `schema` has the tables; `conversations`, `messages`, `marks`, `calls` and `trust` have the statements.

mod analytics;
mod belongings;
mod calls;
mod conversations;
mod devices;
mod errors;
mod folder;
mod inbox;
mod marks;
mod media;
mod messages;
mod outbox;
mod presence;
mod readers;
mod rooms;
mod rows;
mod schema;
mod trust;
mod upkeep;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use rusqlite::Connection;

pub(super) use self::errors::in_words;
use self::readers::Readers;
use self::writer::{Desk, Writer};
use super::unsure::Unsure;
use super::{
    CallChange, CallQuery, Calls, Change, ConversationPage, Conversations, DeleteMessage, Load, Lookup, MarkRead, MessageQuery, Messages,
    NewConversation, Opened, Pending, ReadMarks, Recount, Sent, Store, Transitioned, UpkeepStore, Which,
};
use crate::error::{Error, Result};
use crate::metrics::StoreMetrics;
use crate::models::{
    Account, AuditAction, AuditEntry, Call, CallId, Conversation, ConversationHandle, ConversationId, ConversationKey, Feedback, IdClock,
    KeptRooms, Message, MessageId, NewCall, NewMessage, Notices, Participant, ProcessId, Profile, Relation, Revocation, Timestamp,
};

/// Conversations, messages and calls in `samvad.db` of the data folder.
///
/// Dropping it without [`Store::close`] loses nothing: the threads finish what is queued.
pub struct SqliteStore {
    writer: Arc<Writer>,
    readers: Arc<Readers>,
    unsure: Arc<Unsure>,
    metrics: Arc<StoreMetrics>,
    process: [u8; 5],
}

/// How to open the embedded store.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Folder of the file and its lock; made, for its owner alone, if it is not there.
    pub data_dir: PathBuf,
    /// Threads that read, at least one.
    pub reader_threads: usize,
    /// Writes, and as many reads, that may wait before `Overloaded` is answered. 2048 are about a third of a second of work.
    pub queue_len: usize,
    /// The most pages of 4 KiB the file may have; `None` leaves it to the disk.
    pub max_pages: Option<u32>,
}

impl OpenOptions {
    /// What a server uses.
    pub fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned(), reader_threads: 2, queue_len: 2048, max_pages: None }
    }
}

/// Why the embedded store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error("another server uses {}", dir.display())]
    InUse {
        /// The data folder.
        dir: PathBuf,
    },
    /// The folder cannot be made or written to.
    #[error("cannot use the data folder {}: {source}", dir.display())]
    Folder {
        /// The data folder.
        dir: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A newer program wrote the file.
    #[error("the database has schema version {found}, this program knows {known}: use the newer program")]
    NewerSchema {
        /// Version in the file.
        found: u32,
        /// Version of this program.
        known: u32,
    },
    /// SQLite cannot open the file.
    #[error("cannot open the database: {0}")]
    Database(#[from] rusqlite::Error),
    /// The system refuses another thread.
    #[error("cannot start the store's threads: {0}")]
    Thread(#[from] std::io::Error),
}

impl SqliteStore {
    /// Opens or creates the store in a folder.
    ///
    /// Blocks: up to five seconds while another process holds the folder, then `InUse`.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(OpenOptions::new(data_dir))
    }

    /// Opens or creates the store, with settings other than a server's.
    pub fn open_with(options: OpenOptions) -> Result<Self, OpenError> {
        let lock = Arc::new(folder::claim(&options.data_dir)?);
        let file = options.data_dir.join("samvad.db");
        let mut connection = schema::connect_writer(&file, options.max_pages)?;
        schema::migrate(&mut connection)?;
        let clock = IdClock::new(newest_id(&connection)?);
        let process = clock.process();
        let readers = (0..options.reader_threads.max(1)).map(|_| schema::connect_reader(&file)).collect::<rusqlite::Result<_>>()?;
        let readers = Readers::start(readers, options.queue_len, &lock)?;
        let reconnect = Box::new(move || schema::connect_writer(&file, options.max_pages));
        let metrics: Arc<StoreMetrics> = Arc::default();
        let desk = Desk { connection, reconnect, clock, lock: Box::new(lock), metrics: Arc::clone(&metrics) };
        let writer = Writer::start(desk, options.queue_len)?;
        Ok(Self { writer: Arc::new(writer), readers: Arc::new(readers), unsure: Arc::default(), metrics, process })
    }

    fn write<T, F>(&self, work: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &IdClock) -> Result<T> + Send + 'static,
    {
        self.writer.submit(0, work)
    }
}

#[async_trait]
impl UpkeepStore for SqliteStore {
    async fn walk_conversations(&self, after: Option<ConversationId>, limit: usize) -> Result<Vec<Conversation>> {
        self.readers.ask(move |connection| upkeep::conversations(connection, after, limit)).await
    }

    async fn walk_messages(&self, of: &ConversationHandle, after: Option<MessageId>, limit: usize) -> Result<Vec<Message>> {
        let id = of.id;
        self.readers.ask(move |connection| upkeep::messages_of(connection, id, after, limit)).await
    }

    async fn walk_calls(&self, after: Option<CallId>, limit: usize) -> Result<Vec<Call>> {
        self.readers.ask(move |connection| upkeep::calls_by_id(connection, after, limit)).await
    }

    async fn relations(&self) -> Result<Vec<Relation>> {
        self.readers.ask(upkeep::relations).await
    }

    async fn recount(&self, of: ConversationId) -> Result<Option<Recount>> {
        self.readers.ask(move |connection| upkeep::recount(connection, of)).await
    }

    async fn put_right(&self, of: ConversationId) -> Result<()> {
        self.write(move |connection, _| upkeep::put_right(connection, of)).await
    }

    async fn take_over(&self, load: Load) -> Result<()> {
        self.write(move |connection, _| upkeep::take_over(connection, &load)).await
    }

    async fn erase_names(&self, person: &Participant) -> Result<()> {
        let person = person.clone();
        self.write(move |connection, _| upkeep::erase_names(connection, &person)).await
    }
}

/// Ids of conversations and calls count too: they come from the same clock.
fn newest_id(connection: &Connection) -> rusqlite::Result<Option<MessageId>> {
    let sql = "SELECT max(id) FROM (SELECT max(id) AS id FROM message UNION ALL SELECT max(id) FROM conversation
               UNION ALL SELECT max(id) FROM call)";
    let id: Option<[u8; 12]> = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(id.map(MessageId::from_bytes))
}

#[async_trait]
impl Store for SqliteStore {
    async fn open_conversation(&self, new: NewConversation) -> Result<Opened> {
        self.write(move |connection, clock| conversations::open(connection, clock, &new)).await
    }

    async fn find_conversation(&self, lookup: &Lookup) -> Result<Option<Conversation>> {
        let lookup = lookup.clone();
        self.readers.ask(move |connection| conversations::find(connection, &lookup)).await
    }

    async fn update_profile(&self, conversation: &ConversationHandle, person: &Participant, profile: &Profile) -> Result<()> {
        let (id, person, profile) = (conversation.id, person.clone(), profile.clone());
        self.write(move |connection, _| conversations::update_profile(connection, id, &person, &profile)).await
    }

    async fn conversations_of(&self, person: &Participant, page: &ConversationPage) -> Result<Conversations> {
        let (person, page) = (person.clone(), page.clone());
        self.readers.ask(move |connection| conversations::page(connection, &person, &page)).await
    }

    fn send_message(&self, new: NewMessage) -> Pending<Sent> {
        let size_bytes = new.content.len() + new.media.url.as_ref().map_or(0, String::len);
        let Some(claim) = Unsure::claim(&new) else {
            return self.writer.submit(size_bytes, move |connection, clock| messages::send(connection, clock, new));
        };
        let assigned = Arc::new(OnceLock::new());
        let (unsure, id) = (Arc::clone(&self.unsure), Arc::clone(&assigned));
        let sending = self.writer.submit(size_bytes, move |connection, clock| {
            let sent = messages::send(connection, clock, new)?;
            if sent.fresh {
                let _ = id.set(sent.message.id);
            }
            Ok(sent)
        });
        Box::pin(async move {
            let mut outcome = sending.await;
            match (&mut outcome, assigned.get()) {
                (Ok(sent), _) if !sent.fresh => sent.fresh = unsure.settle(&claim, &sent.message),
                // A commit that failed may have reached the disk all the same.
                (Err(_), Some(id)) => unsure.note(claim, *id),
                _ => {}
            }
            outcome
        })
    }

    async fn find_message(&self, id: MessageId) -> Result<Option<Message>> {
        self.readers.ask(move |connection| messages::find(connection, id)).await
    }

    async fn messages(&self, query: MessageQuery) -> Result<Messages> {
        self.readers.ask(move |connection| messages::page(connection, &query)).await
    }

    async fn count_messages(&self, conversation: &ConversationHandle, viewer: &str, before: Option<MessageId>, cap: u64) -> Result<u64> {
        let (id, viewer) = (conversation.id, viewer.to_owned());
        self.readers.ask(move |connection| messages::count(connection, id, &viewer, before, cap)).await
    }

    fn mark_read(&self, mark: MarkRead) -> Pending<ReadMarks> {
        let size_bytes = match &mark.which {
            Which::AllUnread => 0,
            Which::Ids(ids) => ids.len() * size_of::<MessageId>(),
        };
        self.writer.submit(size_bytes, move |connection, _| marks::read(connection, &mark))
    }

    async fn mark_delivered(&self, messages: &[(ConversationHandle, MessageId)], at: Timestamp) -> Result<Vec<MessageId>> {
        let messages = messages.to_vec();
        self.write(move |connection, _| marks::delivered(connection, &messages, at)).await
    }

    async fn hide_message(&self, hide: DeleteMessage) -> Result<Option<Message>> {
        self.write(move |connection, _| marks::hide(connection, &hide)).await
    }

    async fn delete_message(&self, delete: DeleteMessage) -> Result<Option<Message>> {
        self.write(move |connection, _| marks::delete(connection, &delete)).await
    }

    async fn changes_since(&self, conversation: &ConversationHandle, viewer: &str, since: Timestamp, limit: usize) -> Result<Vec<Change>> {
        let (id, viewer) = (conversation.id, viewer.to_owned());
        self.readers.ask(move |connection| messages::changes(connection, id, &viewer, since, limit)).await
    }

    async fn find_profile(&self, _person: &Participant) -> Result<Option<Profile>> {
        // The file holds nothing beside our own tables.
        Ok(None)
    }

    async fn create_call(&self, new: NewCall) -> Result<Call> {
        self.write(move |connection, clock| calls::create(connection, clock, new)).await
    }

    async fn find_call(&self, id: CallId) -> Result<Option<Call>> {
        self.readers.ask(move |connection| calls::find(connection, id)).await
    }

    async fn transition_call(&self, change: CallChange) -> Result<Transitioned> {
        self.write(move |connection, _| calls::transition(connection, change)).await
    }

    async fn settle_notices(&self, settled: &[(CallId, Notices)]) -> Result<()> {
        let settled = settled.to_vec();
        self.write(move |connection, _| calls::settle(connection, &settled)).await
    }

    async fn calls_of(&self, query: CallQuery) -> Result<Calls> {
        self.readers.ask(move |connection| calls::page(connection, &query)).await
    }

    async fn open_calls(&self, after: Option<CallId>, limit: usize) -> Result<Vec<Call>> {
        self.readers.ask(move |connection| calls::open(connection, after, limit)).await
    }

    async fn overdue_calls(&self, deadline_before: Timestamp, ended_before: Timestamp, limit: usize) -> Result<Vec<Call>> {
        self.readers.ask(move |connection| calls::overdue(connection, deadline_before, ended_before, limit)).await
    }

    async fn rate_call(&self, id: CallId, feedback: Feedback, at: Timestamp) -> Result<Option<Call>> {
        self.write(move |connection, _| calls::rate(connection, id, feedback, at)).await
    }

    async fn are_related(&self, user: &str, astrologer: &str, _phone: Option<&str>) -> Result<bool> {
        // No other program writes to the file, so nothing in it is known by phone.
        let Ok(pair) = super::require_pair(user, astrologer) else { return Ok(false) };
        self.readers.ask(move |connection| trust::are_related(connection, &pair)).await
    }

    async fn add_relation(&self, relation: Relation) -> Result<bool> {
        super::require_pair(&relation.user, &relation.astrologer)?;
        self.write(move |connection, _| trust::relate(connection, &relation)).await
    }

    async fn has_relations(&self) -> Result<bool> {
        self.readers.ask(trust::has_relations).await
    }

    async fn find_accounts(&self, _astrologers: &[String]) -> Result<Option<Vec<(String, Account)>>> {
        // The file holds nothing beside our own tables.
        Ok(None)
    }

    async fn append_audit(&self, entries: Vec<AuditEntry>) -> Result<()> {
        self.write(move |connection, _| trust::append_audit(connection, &entries)).await
    }

    async fn audit_trail(&self, action: Option<AuditAction>, before: Option<Timestamp>, limit: usize) -> Result<Vec<AuditEntry>> {
        self.readers.ask(move |connection| trust::audit_trail(connection, action, before, limit)).await
    }

    async fn revoke(&self, revocation: Revocation) -> Result<()> {
        self.write(move |connection, _| trust::revoke(connection, &revocation)).await
    }

    async fn revocations(&self, since: Option<Timestamp>) -> Result<Vec<Revocation>> {
        self.readers.ask(move |connection| trust::revocations(connection, since)).await
    }

    async fn purge_revocations(&self, before: Timestamp) -> Result<()> {
        self.write(move |connection, _| trust::purge_revocations(connection, before)).await
    }

    async fn remember_rooms(&self, process: ProcessId, at: Timestamp, rooms: Vec<KeptRooms>) -> Result<()> {
        self.write(move |connection, _| rooms::remember(connection, process, at, &rooms)).await
    }

    async fn remembered_rooms(&self, process: ProcessId, people: &[Participant], since: Timestamp) -> Result<Vec<KeptRooms>> {
        let people = people.to_vec();
        self.readers.ask(move |connection| rooms::remembered(connection, process, &people, since)).await
    }

    async fn other_processes(&self, process: ProcessId) -> Result<Vec<(ProcessId, Timestamp)>> {
        self.readers.ask(move |connection| rooms::others(connection, process)).await
    }

    async fn forget_rooms(&self, before: Timestamp) -> Result<()> {
        self.write(move |connection, _| rooms::forget(connection, before)).await
    }

    async fn spoken_since(&self, conversations: &[ConversationKey], since: Timestamp) -> Result<Vec<Conversation>> {
        let keys = conversations.to_vec();
        self.readers.ask(move |connection| rooms::spoken_since(connection, &keys, since)).await
    }

    async fn check_writable(&self) -> Result<()> {
        // More than a page, so that the file has to find room; the next check, or a message, uses the pages it frees.
        self.write(|connection, _| {
            connection.execute("INSERT INTO probe(data) VALUES(zeroblob(16384))", [])?;
            connection.execute("DELETE FROM probe", [])?;
            Ok(())
        })
        .await
    }

    fn id_process(&self) -> Option<[u8; 5]> {
        Some(self.process)
    }

    fn metrics(&self) -> &StoreMetrics {
        self.metrics.note_queue(self.writer.waiting());
        &self.metrics
    }

    fn engine(&self) -> &'static str {
        "sqlite"
    }

    async fn close(&self) {
        let (writer, readers) = (self.writer.clone(), self.readers.clone());
        // Readers first: the writer can empty the log only when nobody reads from it.
        let closed = tokio::task::spawn_blocking(move || {
            readers.close();
            writer.close();
        });
        if let Err(error) = closed.await {
            tracing::error!("closing the store failed: {}", Error::internal(error));
        }
    }
}
