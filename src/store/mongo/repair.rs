//! Putting conversations right whose counters or latest message may not fit their messages.
//!
//! That happens when a node or the network dies between two writes, and with messages of the Node backend, which counts nothing.
//! A counter is only set when nothing moved for a while and it still is what was read, because a message that another node has just
//! stored is counted a moment later.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bson::{Bson, Document, doc};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{Instrument, info, info_span, warn};

use super::append::make_latest;
use super::connect::first_id_of;
use super::conversation_document::{people, unread_path};
use super::engine::Engine;
use super::failure::story;
use super::fields::stored_whole;
use super::marks::counter;
use super::message_document::{Filing, filing};
use crate::error::Result;
use crate::models::{Conversation, ConversationId, Timestamp};

/// Conversations remembered; beyond it the next read of everything finds the miscount.
const MOST: usize = 10_000;
/// How long a conversation has to be still before it is believed.
const STILL: Duration = Duration::from_secs(2);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(5);
/// Messages stored this long before a start may belong to a node that died.
const LOOK_BACK: Duration = Duration::from_secs(300);
/// At a start no more messages are looked at.
const LOOK_BACK_MESSAGES: i64 = 5_000;

/// Conversations to be looked at.
#[derive(Default)]
pub(super) struct Repairs {
    // std Mutex: never held across an await, and it is cheaper.
    waiting: Mutex<HashSet<ConversationId>>,
    added: Notify,
}

impl Repairs {
    /// Remembers these for later.
    pub(super) fn add(&self, conversations: impl IntoIterator<Item = ConversationId>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(waiting.len());
        waiting.extend(conversations.into_iter().take(room));
        self.added.notify_one();
    }

    fn take(&self) -> HashSet<ConversationId> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starts the task that works the list off; it ends with `close`.
pub(super) fn start(engine: &Arc<Engine>) {
    let repairing = Arc::clone(engine);
    let work = async move {
        let closed = repairing.closed.clone();
        closed.run_until_cancelled(work_off(&repairing)).await;
    };
    engine.tasks.spawn(work.instrument(info_span!("mongo_repair")));
}

async fn work_off(engine: &Engine) {
    loop {
        engine.repairs.added.notified().await;
        // Everything that gathers in the meantime shares one pause.
        let mut left = engine.repairs.take();
        while !left.is_empty() {
            match round(engine, left.iter().copied().collect()).await {
                Ok(moving) => left = moving,
                Err(error) => {
                    warn!("{} conversations are not put right yet: {}", left.len(), story(&error));
                    sleep(PAUSE).await;
                }
            }
            left.extend(engine.repairs.take());
        }
    }
}

/// What was seen of a counter: who, what it says, what it should.
type Seen = Vec<(String, Option<i64>, i64)>;

/// Looks twice and mends what did not move. Returns what did, to be looked at again.
async fn round(engine: &Engine, conversations: Vec<ConversationId>) -> Result<HashSet<ConversationId>> {
    let mut wrong = Vec::new();
    for id in conversations {
        if let Some(seen) = look(engine, id).await? {
            wrong.push((id, seen));
        }
    }
    let mut moving = HashSet::new();
    if wrong.is_empty() {
        return Ok(moving);
    }
    sleep(STILL).await;
    for (id, before) in wrong {
        match look(engine, id).await? {
            Some(now) if now == before => mend(engine, id, now).await?,
            Some(_) => {
                moving.insert(id);
            }
            None => {}
        }
    }
    Ok(moving)
}

/// Makes the newest message the latest, and returns the counters if one is wrong.
async fn look(engine: &Engine, id: ConversationId) -> Result<Option<Seen>> {
    let Some(conversation) = engine.find_by_id(id).await? else {
        return Ok(None);
    };
    show_newest(engine, &conversation).await?;
    let stored = engine.conversations.find_one(doc! { "_id": id }).projection(doc! { "unreadCount": 1 });
    let Some(stored) = engine.ask("reading the counters of conversation", id, stored).await? else {
        return Ok(None);
    };
    let mut seen = Vec::new();
    for (person, key) in people(&conversation) {
        let path = unread_path(&key)?;
        let count = engine.count_unread(&conversation.handle, &person, &key).await?;
        seen.push((path.clone(), counter(&stored, &path), i64::try_from(count).unwrap_or(i64::MAX)));
    }
    let is_wrong = seen.iter().any(|(_, counted, real)| counted.unwrap_or(0) != *real);
    Ok(is_wrong.then_some(seen))
}

async fn show_newest(engine: &Engine, conversation: &Conversation) -> Result<()> {
    let Some(newest) = engine.newest_left(&conversation.handle).await? else {
        return Ok(());
    };
    let shown = conversation.last_message.as_ref();
    let is_shown = shown.is_some_and(|last| last.message_id == Some(newest.id) || last.at.is_some_and(|at| at >= newest.created_at));
    if is_shown { Ok(()) } else { make_latest(engine, conversation.handle.id, &newest).await }
}

async fn mend(engine: &Engine, id: ConversationId, seen: Seen) -> Result<()> {
    for (path, counted, real) in seen.into_iter().filter(|(_, counted, real)| counted.unwrap_or(0) != *real) {
        let mut filter = doc! { "_id": id };
        filter.insert(&path, counted.map_or(Bson::Null, stored_whole));
        let update = engine.conversations.update_one(filter, doc! { "$set": { &path: stored_whole(real) } });
        let mended = engine.ask("mending a counter of conversation", id, update).await?;
        if mended.modified_count > 0 {
            info!(conversation.r#ref = %id, "an unread count of conversation {id} was {}, now {real}", counted.unwrap_or(0));
        }
    }
    Ok(())
}

/// Puts the conversations of the newest messages on the list: their node may have died before it counted them.
pub(super) async fn look_back(engine: &Engine) -> Result<()> {
    let since = Timestamp::from_millis(Timestamp::now().as_millis() - i64::try_from(LOOK_BACK.as_millis()).unwrap_or(0));
    let find = engine
        .messages
        .find(doc! { "_id": { "$gte": first_id_of(since) } })
        .sort(doc! { "_id": -1 })
        .limit(LOOK_BACK_MESSAGES)
        .projection(doc! { "conversationId": 1, "conversationRef": 1 });
    let newest = engine.collect("looking back in", engine.database.name(), find).await?;
    let mut conversations = HashSet::new();
    for document in &newest {
        conversations.extend(home(engine, document).await?);
    }
    engine.repairs.add(conversations);
    Ok(())
}

/// The conversation of a message, without reading it where the message says enough.
async fn home(engine: &Engine, document: &Document) -> Result<Option<ConversationId>> {
    Ok(match filing(document)? {
        Filing::Both(handle) => Some(handle.id),
        Filing::Id(id) => Some(id),
        Filing::Key(key) => engine.find_by_key(&key).await?.map(|c| c.handle.id),
    })
}
