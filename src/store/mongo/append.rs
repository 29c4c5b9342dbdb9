//! Storing a batch of messages: one insert, acknowledged before anyone is answered. What the conversations show of them follows in
//! `summaries`.

use std::collections::HashMap;
use std::time::Instant;

use bson::doc;
use futures_util::{FutureExt, StreamExt, stream};
use mongodb::error::ErrorKind;
use tokio::sync::oneshot;

use super::conversation_document::{not_newer_than, raise_latest};
use super::engine::Engine;
use super::failure::{self, again};
use super::message_document;
use crate::error::{Error, Result};
use crate::models::{ConversationId, IdClock, Message, MessageId, NewMessage, Timestamp};
use crate::store::Sent;
use crate::store::unsure::Unsure;

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
    let stored = entries.iter().zip(&inserted).filter(|(_, outcome)| matches!(outcome, Inserted::Stored));
    engine
        .summaries
        .add(stored.map(|(entry, _)| (entry.append.new.clone().into_message(entry.id, entry.at), entry.append.new.recipient_key.clone())));

    let mut repeats = find_repeats(engine, clock, &entries, &inserted).await;
    for (entry, outcome) in entries.into_iter().zip(inserted) {
        let Append { new, reply } = entry.append;
        let result = match outcome {
            Inserted::Stored => Ok(Sent::fresh(new.into_message(entry.id, entry.at))),
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
    let began = Instant::now();
    let refused = match engine.ask("storing messages in", engine.database.name(), insert).await {
        Ok(refused) => {
            engine.metrics.note_commit(began.elapsed(), entries.len());
            refused
        }
        Err(error) => {
            engine.metrics.failed_commits.inc();
            // Some may be stored, and then nobody has heard of them, and nothing shows or counts them.
            engine.note_doubt();
            for Entry { append, id, .. } in entries {
                if let Some(claim) = Unsure::claim(&append.new) {
                    engine.unsure.note(claim, *id);
                }
            }
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

/// What to answer those whose client id is known.
async fn find_repeats(engine: &Engine, clock: &IdClock, entries: &[Entry], inserted: &[Inserted]) -> HashMap<MessageId, Result<Sent>> {
    let known = entries.iter().zip(inserted).filter(|(_, outcome)| matches!(outcome, Inserted::Known));
    let lookups: Vec<_> =
        known.map(|(entry, _)| async { (entry.id, find_first(engine, clock, &entry.append.new).await) }.boxed()).collect();
    stream::iter(lookups).buffer_unordered(LOOKUPS_AT_ONCE).collect().await
}

/// The message that used this client id first.
async fn find_first(engine: &Engine, clock: &IdClock, new: &NewMessage) -> Result<Sent> {
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
        let was_unsure = Unsure::claim(new).is_some_and(|claim| engine.unsure.settle(&claim, &message));
        Ok(if was_unsure { Sent::fresh(message) } else { Sent::repeat(message, clock, new.at) })
    } else {
        Err(Error::Conflict("this clientMessageId belongs to another message".to_owned()))
    }
}

/// Makes `message` the latest unless something newer is. Safe to repeat.
pub(super) async fn make_latest(engine: &Engine, id: ConversationId, message: &Message) -> Result<()> {
    let update = engine.conversations.update_one(doc! { "_id": id, "$or": not_newer_than(message.created_at) }, raise_latest(message));
    engine.ask("updating conversation", id, update).await?;
    Ok(())
}
