//! Reading messages: single ones, pages, and what changed.

use std::time::Duration;

use bson::{Bson, Document, doc};

use super::conversations::earlier;
use super::engine::{Engine, MAX_SKIP, date};
use super::message_document::{self as documents, Filing, filing, not_set, of_conversation};
use crate::error::{Error, Result};
use crate::models::{ConversationHandle, Message, MessageId, Timestamp};
use crate::store::{Change, MAX_PAGE, MessageQuery, Messages, Range};

/// How far before a message another process may still store one: a write takes ten seconds at most before it is given up, the members
/// five to agree, and the rest is for clocks that differ and a mongod that stood still. Source: docs/protocol.md#reconnecting.
const OVERLAP: Duration = Duration::from_secs(60);
/// Messages looked at for that.
const OVERLAP_LOOKED_AT: i64 = 1_000;

impl Engine {
    pub(super) async fn find_message(&self, id: MessageId) -> Result<Option<Message>> {
        let found = self.ask("finding message", id, self.messages.find_one(doc! { "_id": id })).await?;
        match found {
            Some(document) => self.read_message(&document).await,
            None => Ok(None),
        }
    }

    /// Reads a message of any conversation. `None` when its conversation is gone: then nobody takes part in it.
    pub(super) async fn read_message(&self, document: &Document) -> Result<Option<Message>> {
        let conversation = match filing(document)? {
            Filing::Both(handle) => Some(handle),
            Filing::Id(id) => self.find_by_id(id).await?.map(|c| c.handle),
            Filing::Key(key) => match self.find_by_key(&key).await? {
                Some(conversation) => Some(conversation.handle),
                // The original schema has also been fed with the hex of the id.
                None => match crate::models::ConversationId::parse(key.as_str()) {
                    Some(id) => self.find_by_id(id).await?.map(|c| c.handle),
                    None => None,
                },
            },
        };
        conversation.map(|handle| documents::read(document, &handle)).transpose()
    }

    pub(super) async fn page_of_messages(&self, query: MessageQuery) -> Result<Messages> {
        let conversation = &query.conversation;
        let mut filter = visible_to(conversation, &query.viewer);
        let (mut direction, mut skip) = (-1, 0);
        let mut late = Vec::new();
        match query.range {
            Range::Latest { skip: newest } => skip = newest,
            Range::Before(id) => {
                let at = self.place_of(conversation, id).await?;
                filter.extend(earlier("createdAt", at, id.into()));
            }
            Range::After(id) => {
                let place = self.place_of(conversation, id).await?;
                late = self.late_before(&query, id, place).await?;
                let at = date(place);
                // The first condition repeats the others, for the index.
                filter.insert("createdAt", doc! { "$gte": at });
                filter.insert("$or", [doc! { "createdAt": { "$gt": at } }, doc! { "createdAt": at, "_id": { "$gt": id } }].to_vec());
                direction = 1;
            }
        }
        let limit = query.limit.min(MAX_PAGE);
        let messages = self.raw_messages();
        let find = messages
            .find(filter)
            .sort(doc! { "createdAt": direction, "_id": direction })
            .skip(skip.min(MAX_SKIP))
            .limit(i64::try_from(limit).unwrap_or(0) + 1);
        let mut found = self.collect("reading messages of conversation", &conversation.key, find).await?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let mut items: Vec<Message> = found.iter().map(|d| documents::read_raw(d, conversation)).collect::<Result<_>>()?;
        if direction < 0 {
            items.reverse();
        }
        // Whoever goes on goes on from an end.
        for end in items.first().into_iter().chain(items.last()) {
            self.places.insert(end.id, (conversation.id, end.created_at));
        }
        let late_count = late.len();
        late.append(&mut items);
        Ok(Messages { items: late, has_more, late: late_count })
    }

    /// What stands shortly before a message and may have been stored after it, so that who has that message may lack it. Oldest first.
    ///
    /// One process stores in the order of its places, but for writes it gave up; of others nobody knows.
    async fn late_before(&self, query: &MessageQuery, id: MessageId, at: Timestamp) -> Result<Vec<Message>> {
        let conversation = &query.conversation;
        let from = at.minus(OVERLAP);
        // The index has all of it.
        let find = self
            .messages
            .find(doc! { "conversationId": of_conversation(conversation), "createdAt": { "$gte": date(from), "$lte": date(at) } })
            .projection(doc! { "_id": 1, "createdAt": 1 })
            .sort(doc! { "createdAt": -1, "_id": -1 })
            .limit(OVERLAP_LOOKED_AT);
        let found = self.collect("looking back in conversation", &conversation.key, find).await?;
        let ids = found.iter().map(documents::read_id).collect::<Result<Vec<_>>>()?;
        let in_doubt = self.doubted_since(from);
        let is_late = |other: &MessageId| *other != id && (in_doubt || other.bytes()[4..9] != id.bytes()[4..9]);
        let after = ids.iter().skip_while(|other| **other != id);
        let late: Vec<Bson> = after.filter(|other| is_late(other)).take(MAX_PAGE).map(|id| (*id).into()).collect();
        if late.is_empty() {
            return Ok(Vec::new());
        }
        let mut filter = visible_to(conversation, &query.viewer);
        filter.insert("_id", doc! { "$in": late });
        let find = self.messages.find(filter).sort(doc! { "createdAt": 1, "_id": 1 });
        let late = self.collect("reading messages of conversation", &conversation.key, find).await?;
        late.iter().map(|d| documents::read(d, conversation)).collect()
    }

    /// When a message of this conversation was stored, visible or not. That never changes, nor does its conversation.
    async fn place_of(&self, conversation: &ConversationHandle, id: MessageId) -> Result<Timestamp> {
        if let Some((_, at)) = self.places.get(&id).filter(|(of, _)| *of == conversation.id) {
            return Ok(at);
        }
        let find = self
            .messages
            .find_one(doc! { "_id": id, "conversationId": of_conversation(conversation) })
            .projection(doc! { "createdAt": 1, "timestamp": 1 });
        match self.ask("finding message", id, find).await? {
            Some(document) => Ok(documents::read_place(&document)?.0),
            None => Err(Error::MessageNotFound),
        }
    }

    pub(super) async fn count_messages(
        &self,
        conversation: &ConversationHandle,
        viewer: &str,
        before: Option<MessageId>,
        cap: u64,
    ) -> Result<u64> {
        // To the database a limit of zero is no limit.
        if cap == 0 {
            return Ok(0);
        }
        let mut filter = visible_to(conversation, viewer);
        if let Some(id) = before {
            filter.extend(earlier("createdAt", self.place_of(conversation, id).await?, id.into()));
        }
        self.count("counting messages of conversation", &conversation.key, &self.messages, filter, Some(cap)).await
    }

    pub(super) async fn changes_since(
        &self,
        conversation: &ConversationHandle,
        viewer: &str,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<Change>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let find = self
            .messages
            .find(doc! { "conversationId": of_conversation(conversation) })
            .projection(doc! { "content": 0, "mediaUrl": 0, "thumbnailUrl": 0 })
            .sort(doc! { "createdAt": -1, "_id": -1 })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let newest = self.collect("reading changes of conversation", &conversation.key, find).await?;
        let messages = newest.iter().rev().map(|d| documents::read(d, conversation)).collect::<Result<Vec<Message>>>()?;
        let change = |m: Message| Change {
            message_id: m.id,
            status: m.status,
            read_at: m.read_at,
            delivered_at: m.delivered_at,
            is_deleted: m.is_deleted || m.deleted_by.iter().any(|key| key == viewer),
        };
        Ok(messages.into_iter().filter(|m| m.updated_at >= since).map(change).collect())
    }
}

/// The messages of a conversation that one participant is shown.
fn visible_to(conversation: &ConversationHandle, viewer: &str) -> Document {
    doc! {
        "conversationId": of_conversation(conversation),
        "isDeleted": not_set(),
        "deletedBy": { "$ne": viewer },
    }
}
