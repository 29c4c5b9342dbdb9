//! Storing a batch of messages: one insert, then one update that makes the conversations show and count them.
//!
//! Both are acknowledged before anyone is answered. The update is not repeated after a network error, because nobody knows whether its
//! counters have moved; such conversations are put right by `repair`.

use std::collections::{HashMap, HashSet};

use bson::{Bson, Document, doc};
use futures_util::{FutureExt, StreamExt, stream};
use mongodb::error::ErrorKind;
use tokio::sync::oneshot;

use super::conversation_document::{raise_latest, unread_path};
use super::engine::{Engine, date};
use super::failure::{self, again};
use super::message_document;
use crate::error::{Error, Result};
use crate::models::{ConversationId, IdClock, Message, MessageId, NewMessage, Timestamp};
use crate::store::Sent;

/// Repeated sends looked up at once.
const LOOKUPS_AT_ONCE: usize = 8;

/// A send that waits for its batch.
pub(super) struct Append {
    pub(super) new: NewMessage,
    pub(super) reply: oneshot::Sender<Result<Sent>>,
}

impl Append {
    /// How much of a batch it takes, roughly.
    pub(super) fn size_bytes(&self) -> usize {
        512 + self.new.content.len()
    }
}

/// One send with the id and time it got.
struct Entry {
    append: Append,
    id: MessageId,
    at: Timestamp,
}

/// What became of one message at the insert.
enum Inserted {
    Stored,
    /// The unique index has the client's id already.
    Known,
    Failed(Error),
}

/// Stores and answers in the order of the queue.
pub(super) async fn append(engine: &Engine, clock: &IdClock, sends: Vec<Append>) {
    if sends.is_empty() {
        return;
    }
    let entry = |append: Append| {
        let (id, at) = clock.next(append.new.at);
        Entry { append, id: MessageId::from_bytes(id), at }
    };
    let entries: Vec<Entry> = sends.into_iter().map(entry).collect();
    let inserted = insert(engine, &entries).await;
    show(engine, &entries, &inserted).await;

    let mut repeats = find_repeats(engine, &entries, &inserted).await;
    for (entry, outcome) in entries.into_iter().zip(inserted) {
        let Append { new, reply } = entry.append;
        let result = match outcome {
            // Also when its conversation could not be brought up to date: the message is durable, and the repair is on its way. A
            // refusal would make the sender repeat what is stored, and nobody would ever hear it.
            Inserted::Stored => Ok(Sent { message: new.into_message(entry.id, entry.at), fresh: true }),
            Inserted::Known => repeats.remove(&entry.id).unwrap_or_else(|| Err(Error::internal("a repeated send was not looked up"))),
            Inserted::Failed(error) => Err(error),
        };
        let _ = reply.send(result);
    }
}

async fn insert(engine: &Engine, entries: &[Entry]) -> Vec<Inserted> {
    let documents: Vec<_> = entries.iter().map(|e| message_document::write(&e.append.new, e.id, e.at)).collect();
    let messages = engine.raw_messages();
    // The refusal of some is an answer, not a failure of the request.
    let insert = async {
        match messages.insert_many(documents).ordered(false).await {
            Err(e) => match &*e.kind {
                ErrorKind::InsertMany(many) if many.write_concern_error.is_none() => Ok(many.write_errors.clone().unwrap_or_default()),
                _ => Err(e),
            },
            Ok(_) => Ok(Vec::new()),
        }
    };
    let refused = match engine.ask("storing messages in", engine.database.name(), insert).await {
        Ok(refused) => refused,
        Err(error) => {
            // Some may be stored, and then nothing shows or counts them.
            engine.repairs.add(entries.iter().map(|e| e.append.new.conversation.id));
            return entries.iter().map(|_| Inserted::Failed(again(&error))).collect();
        }
    };
    let mut inserted: Vec<Inserted> = entries.iter().map(|_| Inserted::Stored).collect();
    for refusal in refused {
        let (Some(outcome), Some(entry)) = (inserted.get_mut(refusal.index), entries.get(refusal.index)) else {
            continue;
        };
        *outcome = if refusal.code == failure::DUPLICATE_KEY && entry.append.new.client_message_id.is_some() {
            Inserted::Known
        } else {
            Inserted::Failed(Error::internal(format!("storing message {}: {} (code {})", entry.id, refusal.message, refusal.code)))
        };
    }
    inserted
}

/// What the batch means to one conversation.
struct Growth<'a> {
    latest: &'a Entry,
    unread: HashMap<&'a str, i32>,
}

/// Counts the stored messages and makes them the latest. Conversations for which that is not certain go to the repair.
async fn show(engine: &Engine, entries: &[Entry], inserted: &[Inserted]) {
    let mut order = Vec::new();
    let mut grown: HashMap<ConversationId, Growth<'_>> = HashMap::new();
    for (entry, _) in entries.iter().zip(inserted).filter(|(_, outcome)| matches!(outcome, Inserted::Stored)) {
        let new = &entry.append.new;
        let growth = grown.entry(new.conversation.id).or_insert_with(|| {
            order.push(new.conversation.id);
            Growth { latest: entry, unread: HashMap::new() }
        });
        // The queue is in order, so the last one is the newest.
        growth.latest = entry;
        if new.message_type != crate::models::MessageType::CallLog {
            *growth.unread.entry(&new.recipient_key).or_insert(0) += 1;
        }
    }
    if order.is_empty() {
        return;
    }
    let mut broken = HashSet::new();
    let (mut statements, mut owners) = (Vec::with_capacity(order.len()), Vec::with_capacity(order.len()));
    for id in order {
        match grown.get(&id).map(|growth| update(id, growth)) {
            Some(Ok(statement)) => {
                owners.push(id);
                statements.push(statement);
            }
            _ => {
                broken.insert(id);
            }
        }
    }
    match engine.update(engine.conversations.name(), statements).await {
        Ok(updated) => broken.extend(updated.refused.into_iter().filter_map(|index| owners.get(index)).copied()),
        Err(error) => {
            tracing::warn!("{} conversations will be put right later: {}", owners.len(), failure::story(&error));
            broken.extend(owners);
        }
    }
    engine.repairs.add(broken);
}

/// One statement, because it costs mongod more than the insert: latest message and counters in one look at the document.
fn update(id: ConversationId, growth: &Growth<'_>) -> Result<Document> {
    let Entry { append, id: message_id, at } = growth.latest;
    let mut update = raise_latest(&append.new.clone().into_message(*message_id, *at));
    if !growth.unread.is_empty() {
        let counters = growth.unread.iter().map(|(key, count)| Ok((unread_path(key)?, Bson::Int32(*count))));
        update.insert("$inc", counters.collect::<Result<Document>>()?);
    }
    if let Ok(highest) = update.get_document_mut("$max") {
        highest.insert("updatedAt", date(*at));
    }
    Ok(doc! { "q": { "_id": id }, "u": update })
}

/// What to answer those whose client id is known.
async fn find_repeats(engine: &Engine, entries: &[Entry], inserted: &[Inserted]) -> HashMap<MessageId, Result<Sent>> {
    let known = entries.iter().zip(inserted).filter(|(_, outcome)| matches!(outcome, Inserted::Known));
    let lookups: Vec<_> = known.map(|(entry, _)| async { (entry.id, find_first(engine, &entry.append.new).await) }.boxed()).collect();
    stream::iter(lookups).buffer_unordered(LOOKUPS_AT_ONCE).collect().await
}

/// The message that used this client id first.
async fn find_first(engine: &Engine, new: &NewMessage) -> Result<Sent> {
    let filter = doc! {
        "senderType": new.sender.kind().as_str(),
        "senderId": new.sender.id(),
        "clientMessageId": new.client_message_id.as_deref(),
    };
    let found = engine.messages.find_one(filter);
    let found = engine.ask("looking for the first message of", &new.sender, found).await?;
    let Some(message) = (match &found {
        Some(document) => engine.read_message(document).await?,
        None => None,
    }) else {
        return Err(Error::internal(format!("a unique index refused a message of {}, but not for its client id", new.sender)));
    };
    if message.is_repeat_of(new) {
        Ok(Sent { message, fresh: false })
    } else {
        Err(Error::Conflict("this clientMessageId belongs to another message".to_owned()))
    }
}

/// Makes `message` the latest unless something newer is. Safe to repeat.
pub(super) async fn make_latest(engine: &Engine, id: ConversationId, message: &Message) -> Result<()> {
    let update = engine.conversations.update_one(doc! { "_id": id }, raise_latest(message));
    engine.ask("updating conversation", id, update).await?;
    Ok(())
}
