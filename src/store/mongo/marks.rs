//! How far messages got, besides `reads`: delivered, and the counter that a deletion moves. The status only moves forward.

use std::collections::HashSet;

use bson::{Bson, Document, doc};

use super::conversation_document::unread_path;
use super::engine::{Engine, date};
use super::fields::whole;
use super::message_document as documents;
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
        let ids: Vec<MessageId> = messages.iter().map(|(_, id)| *id).collect();
        let mut filter = doc! { "_id": { "$in": ids.iter().copied().map(Bson::from).collect::<Vec<_>>() } };
        filter.extend(documents::not_delivered());
        let set =
            doc! { "$set": { "status": MessageStatus::Delivered.as_str(), "deliveredAt": date(at) }, "$max": { "updatedAt": date(at) } };
        let update = self.ask("marking as delivered in", self.database.name(), self.messages.update_many(filter, set)).await?;
        match update.modified_count {
            0 => Ok(Vec::new()),
            all if all == ids.len() as u64 => Ok(ids),
            _ => self.of_these(ids, doc! { "deliveredAt": date(at) }).await,
        }
    }
}

/// Reads `unreadCount.<key>` of a conversation.
pub(super) fn counter(document: &Document, path: &str) -> Option<i64> {
    let (outer, key) = path.split_once('.')?;
    document.get_document(outer).ok()?.get(key).and_then(whole)
}
