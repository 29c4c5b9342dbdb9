//! How far messages got, besides `reads`: delivered, and the counter that a deletion moves. The status only moves forward.

use std::collections::{HashMap, HashSet};

use bson::{Bson, Document, doc};

use super::conversation_document::unread_path;
use super::engine::{Engine, date};
use super::fields::whole;
use super::message_document::{self as documents, of_conversation};
use crate::error::Result;
use crate::models::{ConversationHandle, MessageId, MessageStatus, Timestamp};

/// Ids in one request; old databases hold thousands of messages nobody ever marked.
const IDS_AT_ONCE: usize = 1000;

impl Engine {
    /// Those of `ids` for which `filter` holds, in the order given. Only asked when another node changed something in between.
    pub(super) async fn of_these(&self, ids: Vec<MessageId>, mut filter: Document) -> Result<Vec<MessageId>> {
        filter.insert("_id", doc! { "$in": ids.iter().copied().map(Bson::from).collect::<Vec<_>>() });
        let find = self.messages.find(filter).projection(doc! { "_id": 1 });
        let found = self.collect("reading back messages of", self.database.name(), find).await?;
        let found = found.iter().map(documents::read_id).collect::<Result<HashSet<_>>>()?;
        Ok(ids.into_iter().filter(|id| found.contains(id)).collect())
    }

    /// Takes one from an unread counter.
    pub(super) async fn count_one_down(&self, conversation: &ConversationHandle, person_key: &str) -> Result<()> {
        let update = doc! { "$inc": { unread_path(person_key)?: -1 } };
        let update = self.conversations.update_one(doc! { "_id": conversation.id }, update);
        let counted = self.ask("counting down in conversation", &conversation.key, update).await;
        if counted.is_err() {
            self.repairs.add([conversation.id]);
        }
        counted.map(drop)
    }

    pub(super) async fn mark_delivered(&self, messages: &[(ConversationHandle, MessageId)], at: Timestamp) -> Result<Vec<MessageId>> {
        let mut changed = Vec::with_capacity(messages.len());
        for messages in messages.chunks(IDS_AT_ONCE) {
            changed.extend(self.set_delivered(messages, at).await?);
        }
        Ok(changed)
    }

    async fn set_delivered(&self, messages: &[(ConversationHandle, MessageId)], at: Timestamp) -> Result<Vec<MessageId>> {
        // Grouped, so that a message is only found in the conversation it was said to be of.
        let mut by_conversation: HashMap<_, (&ConversationHandle, Vec<Bson>)> = HashMap::new();
        for (conversation, id) in messages {
            by_conversation.entry(conversation.id).or_insert_with(|| (conversation, Vec::new())).1.push((*id).into());
        }
        let places = by_conversation
            .into_values()
            .map(|(conversation, ids)| doc! { "_id": { "$in": ids }, "conversationId": of_conversation(conversation) });
        let places: Vec<Document> = places.collect();
        let Some((first, others)) = places.split_first() else {
            return Ok(Vec::new());
        };
        let mut filter = if others.is_empty() {
            first.clone()
        } else {
            doc! { "$or": places }
        };
        filter.insert("status", MessageStatus::Sent.as_str());
        let find = self.messages.find(filter).projection(doc! { "_id": 1 });
        let found = self.collect("finding messages to be delivered in", self.database.name(), find).await?;
        let ids = found.iter().map(documents::read_id).collect::<Result<Vec<_>>>()?;
        if ids.is_empty() {
            return Ok(ids);
        }
        let filter = doc! {
            "_id": { "$in": ids.iter().copied().map(Bson::from).collect::<Vec<_>>() },
            "status": MessageStatus::Sent.as_str(),
        };
        let set =
            doc! { "$set": { "status": MessageStatus::Delivered.as_str(), "deliveredAt": date(at) }, "$max": { "updatedAt": date(at) } };
        let update = self.ask("marking as delivered in", self.database.name(), self.messages.update_many(filter, set)).await?;
        if update.modified_count == ids.len() as u64 {
            return Ok(ids);
        }
        self.of_these(ids, doc! { "deliveredAt": date(at) }).await
    }
}

/// Reads `unreadCount.<key>` of a conversation.
pub(super) fn counter(document: &Document, path: &str) -> Option<i64> {
    let (outer, key) = path.split_once('.')?;
    document.get_document(outer).ok()?.get(key).and_then(whole)
}
