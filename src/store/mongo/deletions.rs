//! Deleting a message, for oneself or for everyone. The state before the change, which one update returns, decides about the counter.

use bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use super::conversation_document::{self as conversations, put_latest};
use super::engine::{Engine, date};
use super::message_document::{self as documents, not_set, of_conversation};
use crate::error::Result;
use crate::models::{ConversationHandle, Message, MessageId};
use crate::store::DeleteMessage;

/// How often `lastMessage` is compared again when sends of other nodes keep changing it. After that one of them is the latest.
const ATTEMPTS: usize = 5;

impl Engine {
    pub(super) async fn hide_message(&self, hide: DeleteMessage) -> Result<Option<Message>> {
        self.show_first(|grown, _| grown == hide.conversation.id).await;
        let mut filter = in_conversation(&hide);
        filter.insert("deletedBy", doc! { "$ne": &hide.by });
        let update = doc! { "$addToSet": { "deletedBy": &hide.by }, "$max": { "updatedAt": date(hide.at) } };
        let Some(before) = self.change(&hide, filter, update).await? else {
            return self.read_back(&hide).await;
        };
        if hide.by == hide.recipient_key && is_counted(&before, &hide) {
            self.count_one_down(&hide.conversation, &hide.recipient_key).await?;
        }
        self.read_back(&hide).await
    }

    pub(super) async fn delete_message(&self, delete: DeleteMessage) -> Result<Option<Message>> {
        self.show_first(|grown, _| grown == delete.conversation.id).await;
        let mut filter = in_conversation(&delete);
        filter.insert("isDeleted", not_set());
        let update = doc! {
            "$set": { "isDeleted": true, "content": "", "deletedAt": date(delete.at) },
            "$addToSet": { "deletedBy": &delete.by },
            "$unset": { "mediaUrl": "", "mediaSize": "", "mediaDuration": "", "thumbnailUrl": "" },
            "$max": { "updatedAt": date(delete.at) },
        };
        if let Some(before) = self.change(&delete, filter, update).await?
            && is_counted(&before, &delete)
        {
            self.count_one_down(&delete.conversation, &delete.recipient_key).await?;
        }
        let message = self.read_back(&delete).await?;
        if let Some(message) = &message {
            // Also when it was deleted before: whoever did it may have died right after.
            self.forget_latest(&delete.conversation, delete.message).await?;
            self.recount_day(message.created_at).await?;
        }
        Ok(message)
    }

    /// Changes the message and returns what it was; `None` when there was nothing to change.
    async fn change(&self, delete: &DeleteMessage, filter: Document, update: Document) -> Result<Option<Message>> {
        let change = self.messages.find_one_and_update(filter, update).return_document(ReturnDocument::Before);
        let before = self.ask("deleting message", delete.message, change).await;
        if before.is_err() {
            // It may be done without having been counted down.
            self.repairs.add([delete.conversation.id]);
        }
        before?.map(|document| documents::read(&document, &delete.conversation)).transpose()
    }

    async fn read_back(&self, delete: &DeleteMessage) -> Result<Option<Message>> {
        let find = self.messages.find_one(in_conversation(delete));
        let found = self.ask("finding message", delete.message, find).await?;
        found.map(|document| documents::read(&document, &delete.conversation)).transpose()
    }

    /// Lets `lastMessage` fall back to the newest message left, if it shows `gone` or does not say what it shows.
    async fn forget_latest(&self, conversation: &ConversationHandle, gone: MessageId) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let find = self.conversations.find_one(doc! { "_id": conversation.id });
            let Some(document) = self.ask("reading conversation", &conversation.key, find).await? else {
                return Ok(());
            };
            let shown = conversations::read(&document)?.last_message;
            let is_stale = shown.is_some_and(|last| last.message_id.is_none_or(|id| id == gone));
            if !is_stale {
                return Ok(());
            }
            let update = match self.newest_left(conversation).await? {
                Some(message) => put_latest(&message),
                None => {
                    doc! { "$unset": { "lastMessage": "", "lastMessageSenderId": "", "lastMessageSenderType": "" } }
                }
            };
            // Only in place of what was read: a message that has arrived since then is the latest.
            let seen = document.get("lastMessage").cloned().unwrap_or(Bson::Null);
            let filter = doc! { "_id": conversation.id, "lastMessage": { "$eq": seen } };
            let update = self.conversations.update_one(filter, update);
            if self.ask("updating conversation", &conversation.key, update).await?.matched_count > 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The newest message that is not deleted for everyone.
    pub(super) async fn newest_left(&self, conversation: &ConversationHandle) -> Result<Option<Message>> {
        let filter = doc! { "conversationId": of_conversation(conversation), "isDeleted": not_set() };
        let find = self.messages.find_one(filter).sort(doc! { "createdAt": -1, "_id": -1 });
        let found = self.ask("finding the newest message of conversation", &conversation.key, find).await?;
        found.map(|document| documents::read(&document, conversation)).transpose()
    }
}

fn in_conversation(delete: &DeleteMessage) -> Document {
    doc! { "_id": delete.message, "conversationId": of_conversation(&delete.conversation) }
}

/// Whether the recipient's counter counts it. Source: docs/protocol.md#unread.
fn is_counted(before: &Message, delete: &DeleteMessage) -> bool {
    before.is_unread() && !before.deleted_by.contains(&delete.recipient_key)
}
