//! Putting conversations right whose counters or latest message may not fit their messages.
//!
//! That happens when a node or the network dies between two writes, and with messages of the Node backend, which counts nothing.
//! A conversation is left alone once it was right twice: a write that was given up may still be carried out when mongod comes back.
//! A counter is only set when nothing moved for a while and it still is what was read, because a message that another node has just
//! stored is counted a moment later.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bson::{Bson, Document, doc};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{Instrument, info, info_span, warn};

use super::append::make_latest;
use super::connect::first_id_of;
use super::conversation_document::{not_newer_than, people, raise_latest, unread_path};
use super::engine::Engine;
use super::failure::story;
use super::fields::stored_whole;
use super::marks::counter;
use super::message_document::{self as documents, Filing, filing, not_set};
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
/// How long a node may have gone on after it was seen for the last time, with what its clock may be off.
const LAST_WORDS: Duration = Duration::from_secs(60);
/// No more messages are looked at: several times what a fast node stores before it shows it.
const LOOK_BACK_MESSAGES: i64 = 20_000;
/// Messages read and shown at once.
const SHOWN_AT_ONCE: usize = 100;

/// What is to be looked at, and whether a write that was given up may still be carried out there.
type Waiting = HashMap<ConversationId, bool>;

/// Conversations to be looked at.
#[derive(Default)]
pub(super) struct Repairs {
    // std Mutex: never held across an await, and it is cheaper.
    waiting: Mutex<Waiting>,
    added: Notify,
}

impl Repairs {
    /// Remembers these for later, after a write on them failed: they are right once two looks have found them so.
    pub(super) fn add(&self, conversations: impl IntoIterator<Item = ConversationId>) {
        self.remember(conversations, true);
    }

    fn remember(&self, conversations: impl IntoIterator<Item = ConversationId>, in_doubt: bool) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(waiting.len());
        for id in conversations.into_iter().take(room) {
            *waiting.entry(id).or_insert(false) |= in_doubt;
        }
        self.added.notify_one();
    }

    fn take(&self) -> Waiting {
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
            match round(engine, &left).await {
                Ok(again) => left = again,
                Err(error) => {
                    warn!("{} conversations are not put right yet: {}", left.len(), story(&error));
                    sleep(PAUSE).await;
                }
            }
            for (id, in_doubt) in engine.repairs.take() {
                *left.entry(id).or_insert(false) |= in_doubt;
            }
        }
    }
}

/// What was seen of a counter: who, what it says, what it should.
type Seen = Vec<(String, Option<i64>, i64)>;

/// Looks twice and mends what did not move. Returns what is to be looked at again: what did, and what is right but was in doubt.
async fn round(engine: &Engine, conversations: &Waiting) -> Result<Waiting> {
    let (mut wrong, mut again) = (Vec::new(), Waiting::new());
    for (id, in_doubt) in conversations {
        match look(engine, *id).await? {
            Some(seen) => wrong.push((*id, seen)),
            None if *in_doubt => drop(again.insert(*id, false)),
            None => {}
        }
    }
    if wrong.is_empty() && again.is_empty() {
        return Ok(again);
    }
    sleep(STILL).await;
    for (id, before) in wrong {
        match look(engine, id).await? {
            Some(now) if now == before => mend(engine, id, now).await?,
            Some(_) => drop(again.insert(id, false)),
            None => {}
        }
    }
    Ok(again)
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

/// At a start: the conversations of the newest messages, because their node may have died before they showed what it stored.
pub(super) async fn look_back(engine: &Engine) -> Result<()> {
    let since = Timestamp::now().minus(LOOK_BACK);
    look_at(engine, doc! { "$gte": first_id_of(since) }).await
}

/// The same for what was stored around the moment another node was last seen.
pub(super) async fn look_around(engine: &Engine, last_seen: Timestamp) -> Result<()> {
    let (from, to) = (last_seen.minus(LAST_WORDS), last_seen.plus(LAST_WORDS));
    look_at(engine, doc! { "$gte": first_id_of(from), "$lt": first_id_of(to) }).await
}

/// Shows the newest messages at once, because people who come back are told what was said by that, and lists the conversations for the rest.
async fn look_at(engine: &Engine, ids: Document) -> Result<()> {
    let find = engine
        .messages
        .find(doc! { "_id": ids, "isDeleted": not_set() })
        .sort(doc! { "_id": -1 })
        .limit(LOOK_BACK_MESSAGES)
        .projection(doc! { "conversationId": 1, "conversationRef": 1 });
    let found = engine.collect("looking back in", engine.database.name(), find).await?;
    let (mut conversations, mut newest) = (HashSet::new(), Vec::new());
    for document in &found {
        let Some(id) = home(engine, document).await? else { continue };
        if conversations.insert(id) {
            newest.push(documents::read_id(document)?);
        }
    }
    for ids in newest.chunks(SHOWN_AT_ONCE) {
        let mut statements = Vec::with_capacity(ids.len());
        let find = engine.messages.find(doc! { "_id": { "$in": ids.iter().copied().map(Bson::from).collect::<Vec<_>>() } });
        for document in engine.collect("looking back in", engine.database.name(), find).await? {
            if let Some(message) = engine.read_message(&document).await? {
                let filter = doc! { "_id": message.conversation_id, "$or": not_newer_than(message.created_at) };
                statements.push(doc! { "q": filter, "u": raise_latest(&message) });
            }
        }
        engine.update(engine.conversations.name(), statements).await?;
    }
    engine.repairs.remember(conversations, false);
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
