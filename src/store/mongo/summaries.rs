//! What conversations show of their messages, the latest one and the unread counts: written a moment after the messages.
//!
//! A message is acknowledged when it is stored. What its conversation shows follows from the stored messages, so it may be written
//! later, once for everything said meanwhile. Whoever reads such a conversation here has it written first; other nodes and programs see
//! it after [`LINGER`]. What a crash keeps from being written is made good at the next start (`repair::look_back`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bson::{Bson, Document, doc};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{Instrument, info_span, warn};

use super::conversation_document::{raise_latest, unread_path};
use super::engine::{Engine, date};
use super::failure::story;
use crate::error::Result;
use crate::models::{ConversationId, Message, MessageType, Participant};

/// How long messages of a conversation share one write. Showing a conversation costs mongod three times what storing a message does.
const LINGER: Duration = Duration::from_millis(250);
/// The longest a reader waits for a write.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// Conversations in one command, and roughly the bytes of the messages they show.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 4 << 20;

/// What was stored of one conversation and is not shown yet.
pub(super) struct Growth {
    latest: Message,
    /// By person key.
    unread: HashMap<String, i32>,
}

impl Growth {
    /// Whether it is the conversation of this key.
    pub(super) fn is_called(&self, key: &str) -> bool {
        self.latest.conversation_key.as_str() == key
    }

    /// Whether this person takes part in the conversation.
    pub(super) fn concerns(&self, person: &Participant) -> bool {
        [&self.latest.sender, &self.latest.recipient].into_iter().any(|member| member.is_same_identity(person))
    }

    /// One statement, because it costs mongod more than the insert: latest message and counters in one look at the document.
    fn statement(&self, id: ConversationId) -> Result<Document> {
        let mut update = raise_latest(&self.latest);
        if !self.unread.is_empty() {
            let counters = self.unread.iter().map(|(key, count)| Ok((unread_path(key)?, Bson::Int32(*count))));
            update.insert("$inc", counters.collect::<Result<Document>>()?);
        }
        if let Ok(highest) = update.get_document_mut("$max") {
            highest.insert("updatedAt", date(self.latest.created_at));
        }
        Ok(doc! { "q": { "_id": id }, "u": update })
    }
}

type Grown = HashMap<ConversationId, Growth>;

#[derive(Default)]
struct Tables {
    waiting: Grown,
    /// The batch that is being written.
    leaving: Arc<Grown>,
    /// How many batches were taken.
    taken: u64,
}

/// Conversations that grew.
pub(super) struct Summaries {
    // std Mutex: never held across an await, and it is cheaper.
    tables: Mutex<Tables>,
    grown: Notify,
    hurry: Notify,
    /// How many batches were written.
    written: watch::Sender<u64>,
}

impl Default for Summaries {
    fn default() -> Self {
        Self { tables: Mutex::default(), grown: Notify::new(), hurry: Notify::new(), written: watch::Sender::new(0) }
    }
}

impl Summaries {
    /// Takes note of stored messages, each with the key of its recipient; those of a conversation come in their order.
    pub(super) fn add(&self, stored: impl IntoIterator<Item = (Message, String)>) {
        let mut tables = self.tables();
        for (message, recipient_key) in stored {
            let counts = message.message_type != MessageType::CallLog;
            let growth = match tables.waiting.entry(message.conversation_id) {
                Entry::Occupied(known) => {
                    let growth = known.into_mut();
                    growth.latest = message;
                    growth
                }
                Entry::Vacant(new) => new.insert(Growth { latest: message, unread: HashMap::new() }),
            };
            if counts {
                *growth.unread.entry(recipient_key).or_insert(0) += 1;
            }
        }
        drop(tables);
        self.grown.notify_one();
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Arc<Grown> {
        let mut tables = self.tables();
        tables.leaving = Arc::new(std::mem::take(&mut tables.waiting));
        tables.taken += 1;
        Arc::clone(&tables.leaving)
    }

    fn note_written(&self) {
        let mut tables = self.tables();
        tables.leaving = Arc::default();
        self.written.send_replace(tables.taken);
    }

    /// The batch that has to be written before a reader sees what is meant.
    fn batch_of(&self, is_meant: impl Fn(ConversationId, &Growth) -> bool) -> Option<u64> {
        let tables = self.tables();
        let holds = |grown: &Grown| grown.iter().any(|(id, growth)| is_meant(*id, growth));
        if holds(&tables.waiting) { Some(tables.taken + 1) } else { holds(&tables.leaving).then_some(tables.taken) }
    }
}

/// Starts the task that writes. It ends, with everything written, after the last lane, whose end closes `lanes`: until then a lane may
/// wait for it.
pub(super) fn start(engine: &Arc<Engine>, mut lanes: mpsc::Receiver<Infallible>) {
    let writing = Arc::clone(engine);
    let work = async move {
        loop {
            tokio::select! {
                () = writing.summaries.grown.notified() => {}
                _ = lanes.recv() => return writing.show_grown().await,
            }
            tokio::select! {
                () = sleep(LINGER) => {}
                () = writing.summaries.hurry.notified() => {}
            }
            writing.show_grown().await;
        }
    };
    engine.tasks.spawn(work.instrument(info_span!("mongo_summaries")));
}

impl Engine {
    /// Waits until what is meant is shown as far as it was stored before the call.
    pub(super) async fn show_first(&self, is_meant: impl Fn(ConversationId, &Growth) -> bool) {
        let Some(batch) = self.summaries.batch_of(is_meant) else { return };
        let mut written = self.summaries.written.subscribe();
        self.summaries.hurry.notify_one();
        // Past the time the database is in trouble, and the reading that follows says so.
        let _ = timeout(SHOWN_WITHIN, written.wait_for(|written| *written >= batch)).await;
    }

    /// Writes everything that is not shown yet. Conversations for which that is not certain go to the repair.
    async fn show_grown(&self) {
        let grown = self.summaries.take();
        let (mut statements, mut owners, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (id, growth) in grown.iter() {
            let Ok(statement) = growth.statement(*id) else {
                self.repairs.add([*id]);
                continue;
            };
            if statements.len() == BATCH || bytes > BATCH_BYTES {
                self.show(std::mem::take(&mut statements), std::mem::take(&mut owners)).await;
                bytes = 0;
            }
            bytes += growth.latest.content.len();
            statements.push(statement);
            owners.push(*id);
        }
        self.show(statements, owners).await;
        self.summaries.note_written();
    }

    /// Not repeated after a network error, because nobody knows whether the counters have moved.
    async fn show(&self, statements: Vec<Document>, owners: Vec<ConversationId>) {
        match self.update(self.conversations.name(), statements).await {
            Ok(updated) => self.repairs.add(updated.refused.into_iter().filter_map(|index| owners.get(index)).copied()),
            Err(error) => {
                warn!("{} conversations will be put right later: {}", owners.len(), story(&error));
                self.repairs.add(owners);
            }
        }
    }
}
