//! Marking as read, for many conversations at once: every opened chat asks for it, and every message that arrives in one.
//!
//! Find what is unread, mark it, count down, read the counters: four journeys for the whole batch. The counters move by what really
//! changed, so that a repeat changes nothing and other nodes may do the same.

use std::collections::{BTreeMap, HashMap, HashSet};

use bson::{Bson, Document, doc};
use futures_util::future::try_join_all;
use tokio::sync::oneshot;

use super::conversation_document::{shown_count, unread_path};
use super::engine::{Engine, date};
use super::failure::again;
use super::fields::stored_whole;
use super::marks::counter;
use super::message_document::{self as documents, Filing, filed_under, filing, not_set};
use crate::error::{Error, Result};
use crate::models::{ConversationId, MessageId, MessageStatus, Participant, ParticipantKind, Timestamp};
use crate::store::{MarkRead, ReadMarks, Which};

/// A reader who waits for his batch. A batch has at most one of each conversation.
pub(super) struct Read {
    pub(super) mark: MarkRead,
    pub(super) reply: oneshot::Sender<Result<ReadMarks>>,
}

/// One reader and how far his request got.
struct Entry<'a> {
    mark: &'a MarkRead,
    reader: Participant,
    path: String,
    /// Unread until now, with their places; then those that are read through us.
    found: Vec<(Timestamp, MessageId)>,
    failed: Option<Error>,
}

/// Marks and answers.
pub(super) async fn mark_read(engine: &Engine, reads: Vec<Read>) {
    if reads.is_empty() {
        return;
    }
    // Counted before it is counted down, or the counters would be below zero for a moment.
    engine.show_first(|grown, _| reads.iter().any(|read| read.mark.conversation.id == grown)).await;
    let mut entries: Vec<Entry<'_>> = reads.iter().map(|read| Entry::new(&read.mark)).collect();
    let results = match mark_all(engine, &mut entries).await {
        Ok(counts) => conclude(engine, entries, &counts).await,
        Err(error) => entries.iter().map(|_| Err(again(&error))).collect(),
    };
    for (read, result) in reads.into_iter().zip(results) {
        // Whoever asked may have gone away.
        let _ = read.reply.send(result);
    }
}

/// Returns the conversations' counters as they are afterwards.
async fn mark_all(engine: &Engine, entries: &mut [Entry<'_>]) -> Result<HashMap<ConversationId, Document>> {
    find(engine, entries).await?;
    let touched: Vec<ConversationId> = entries.iter().filter(|e| !e.found.is_empty()).map(Entry::conversation).collect();
    let counted = async {
        set_read(engine, entries).await?;
        count_down(engine, entries).await
    };
    if let Err(error) = counted.await {
        // Some may be read without having been counted down.
        engine.repairs.add(touched);
        return Err(error);
    }
    let ids: Vec<Bson> = entries.iter().map(|e| e.conversation().into()).collect();
    let find = engine.conversations.find(doc! { "_id": { "$in": ids } }).projection(doc! { "unreadCount": 1 });
    let found = engine.collect("reading the counters in", engine.database.name(), find).await?;
    let id = |d: &Document| d.get_object_id("_id").map(|id| ConversationId::from_bytes(id.bytes())).ok();
    Ok(found.into_iter().filter_map(|d| Some((id(&d)?, d))).collect())
}

/// Fills `found`, oldest first.
async fn find(engine: &Engine, entries: &mut [Entry<'_>]) -> Result<()> {
    let owners = Owners::of(entries);
    let mut named = Vec::new();
    let mut everything: BTreeMap<ParticipantKind, Vec<Bson>> = BTreeMap::new();
    for entry in entries.iter() {
        match &entry.mark.which {
            Which::Ids(ids) => named.extend(ids.iter().copied().map(Bson::from)),
            Which::AllUnread => everything.entry(entry.reader.kind()).or_default().extend(filed_under(&entry.mark.conversation)),
        }
    }
    let mut filters = Vec::new();
    if !named.is_empty() {
        // Without the conversations: with them the server would weigh three indexes against each other.
        filters.push(doc! { "_id": { "$in": named } });
    }
    for (kind, conversations) in everything {
        filters.push(doc! { "conversationId": { "$in": conversations }, "recipientType": kind.as_str() });
    }
    let finds = filters.into_iter().map(|mut filter| {
        filter.extend(documents::not_read());
        // What was said is not needed to see whether it is unread.
        let find = engine.messages.find(filter).projection(doc! { "content": 0, "mediaUrl": 0, "thumbnailUrl": 0 });
        engine.collect("finding what is unread in", engine.database.name(), find)
    });
    for document in try_join_all(finds).await?.into_iter().flatten() {
        // A message of no conversation asked for is nobody's, whichever id somebody gave.
        let owner = filing(&document).ok().and_then(|filing| owners.find(&filing));
        if let Some(entry) = owner.and_then(|owner| entries.get_mut(owner)) {
            entry.take(&document);
        }
    }
    for entry in entries {
        entry.found.sort_unstable();
        // Both queries find a message of this conversation that a reader elsewhere named.
        entry.found.dedup();
    }
    Ok(())
}

async fn set_read(engine: &Engine, entries: &mut [Entry<'_>]) -> Result<()> {
    let (owners, statements): (Vec<usize>, Vec<Document>) =
        entries.iter().enumerate().filter(|(_, entry)| !entry.found.is_empty()).map(|(owner, entry)| (owner, entry.set_read())).unzip();
    let updated = engine.update(engine.messages.name(), statements).await?;
    refuse(entries, &owners, &updated.refused);
    if updated.modified == entries.iter().map(|entry| entry.found.len()).sum::<usize>() {
        return Ok(());
    }
    // Another node marked or deleted some in between: only what bears our mark was ours.
    for entry in entries.iter_mut().filter(|entry| !entry.found.is_empty()) {
        let marked = doc! { "status": MessageStatus::Read.as_str(), "readAt": date(entry.mark.at) };
        let ids = entry.found.iter().map(|(_, id)| *id).collect();
        let ours: HashSet<MessageId> = engine.of_these(ids, marked).await?.into_iter().collect();
        entry.found.retain(|(_, id)| ours.contains(id));
    }
    Ok(())
}

async fn count_down(engine: &Engine, entries: &mut [Entry<'_>]) -> Result<()> {
    let (owners, statements): (Vec<usize>, Vec<Document>) = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| !entry.found.is_empty())
        .map(|(owner, entry)| {
            let by = stored_whole(-i64::try_from(entry.found.len()).unwrap_or(i64::MAX));
            (owner, doc! { "q": { "_id": entry.conversation() }, "u": { "$inc": { &entry.path: by } } })
        })
        .unzip();
    let updated = engine.update(engine.conversations.name(), statements).await?;
    engine.repairs.add(updated.refused.iter().filter_map(|index| owners.get(*index)).map(|owner| entries[*owner].conversation()));
    refuse(entries, &owners, &updated.refused);
    Ok(())
}

/// The log says why; those who asked learn that it was not done.
fn refuse(entries: &mut [Entry<'_>], owners: &[usize], refused: &[usize]) {
    for index in refused {
        if let Some(entry) = owners.get(*index).and_then(|owner| entries.get_mut(*owner)) {
            entry.failed = Some(Error::internal(format!("marking as read in conversation {} was refused", entry.mark.conversation.key)));
        }
    }
}

async fn conclude(engine: &Engine, entries: Vec<Entry<'_>>, counts: &HashMap<ConversationId, Document>) -> Vec<Result<ReadMarks>> {
    let mut results = Vec::with_capacity(entries.len());
    for entry in entries {
        results.push(entry.conclude(engine, counts).await);
    }
    results
}

impl<'a> Entry<'a> {
    fn new(mark: &'a MarkRead) -> Self {
        let path = unread_path(&mark.reader_key);
        let (path, failed) = path.map_or_else(|error| (String::new(), Some(error)), |path| (path, None));
        Self { mark, reader: mark.reader.identity(), path, found: Vec::new(), failed }
    }

    fn conversation(&self) -> ConversationId {
        self.mark.conversation.id
    }

    /// Keeps the message if it is one the reader has left to read. The rule is that of `message_document::unread`.
    fn take(&mut self, document: &Document) {
        if self.failed.is_some() {
            return;
        }
        let message = match documents::read(document, &self.mark.conversation) {
            Ok(message) => message,
            Err(error) => {
                self.failed = Some(error);
                self.found.clear();
                return;
            }
        };
        let is_asked_for = match &self.mark.which {
            Which::AllUnread => true,
            Which::Ids(ids) => ids.contains(&message.id),
        };
        let is_mine = message.recipient.is_same_identity(&self.reader);
        if is_asked_for && is_mine && message.is_unread() && !message.deleted_by.contains(&self.mark.reader_key) {
            self.found.push((message.created_at, message.id));
        }
    }

    fn set_read(&self) -> Document {
        let at = date(self.mark.at);
        let mut filter = doc! {
            "_id": { "$in": self.found.iter().map(|(_, id)| Bson::from(*id)).collect::<Vec<_>>() },
            "isDeleted": not_set(),
            "deletedBy": { "$ne": &self.mark.reader_key },
        };
        filter.extend(documents::not_read());
        let set = doc! { "$set": { "status": MessageStatus::Read.as_str(), "readAt": at }, "$max": { "updatedAt": at } };
        doc! { "q": filter, "u": set, "multi": true }
    }

    async fn conclude(self, engine: &Engine, counts: &HashMap<ConversationId, Document>) -> Result<ReadMarks> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let conversation = &self.mark.conversation;
        let ids = self.found.into_iter().map(|(_, id)| id).collect();
        let counts = counts.get(&conversation.id).ok_or(Error::ConversationNotFound)?;
        let count = counter(counts, &self.path).unwrap_or(0);
        // Messages of the Node backend were never counted, and a node that died may have left a miscount: then the messages decide.
        let is_suspicious = count < 0 || (count != 0 && matches!(self.mark.which, Which::AllUnread));
        if !is_suspicious {
            return Ok(ReadMarks { ids, unread: shown_count(count) });
        }
        let left = engine.count_unread(conversation, &self.reader, &self.mark.reader_key).await?;
        if i64::try_from(left) != Ok(count) {
            engine.repairs.add([conversation.id]);
        }
        Ok(ReadMarks { ids, unread: u32::try_from(left).unwrap_or(u32::MAX) })
    }
}

/// Which entry a message belongs to, by either way of filing.
struct Owners {
    by_key: HashMap<String, usize>,
    by_id: HashMap<ConversationId, usize>,
}

impl Owners {
    fn of(entries: &[Entry<'_>]) -> Self {
        let (mut by_key, mut by_id) = (HashMap::new(), HashMap::new());
        for (owner, entry) in entries.iter().enumerate() {
            let conversation = &entry.mark.conversation;
            by_key.insert(conversation.key.as_str().to_owned(), owner);
            if conversation.filed_by_id {
                by_key.insert(conversation.id.to_string(), owner);
                by_id.insert(conversation.id, owner);
            }
        }
        Self { by_key, by_id }
    }

    fn find(&self, filing: &Filing) -> Option<usize> {
        match filing {
            Filing::Both(handle) => self.by_key.get(handle.key.as_str()),
            Filing::Key(key) => self.by_key.get(key.as_str()),
            Filing::Id(id) => self.by_id.get(id),
        }
        .copied()
    }
}
