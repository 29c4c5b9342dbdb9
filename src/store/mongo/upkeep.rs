//! Walking through everything, counting again, taking over, taking names out. See [`crate::store::UpkeepStore`].

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};

use super::call_document;
use super::conversation_document::{self as conversations, people, put_latest, unread_path};
use super::engine::{Engine, date};
use super::fields::{Fields, stored_id, stored_whole};
use super::marks::counter;
use super::message_document::{self as documents, of_conversation};
use super::rooms::id_of;
use crate::error::{Error, Result};
use crate::models::{
    Call, CallId, Conversation, ConversationHandle, ConversationId, Message, MessageId, NewMessage, Notices, Participant, Relation,
};
use crate::store::{Load, Recount};

impl Engine {
    pub(super) async fn walk_conversations(&self, after: Option<ConversationId>, limit: usize) -> Result<Vec<Conversation>> {
        let find = self.conversations.find(later_than(after)).sort(doc! { "_id": 1 }).limit(most(limit));
        let found = self.collect("walking through conversations of", self.database.name(), find).await?;
        found.iter().map(conversations::read).collect()
    }

    pub(super) async fn walk_messages(&self, of: &ConversationHandle, after: Option<MessageId>, limit: usize) -> Result<Vec<Message>> {
        let mut filter = later_than(after);
        filter.insert("conversationId", of_conversation(of));
        let find = self.messages.find(filter).sort(doc! { "_id": 1 }).limit(most(limit));
        let found = self.collect("walking through conversation", &of.key, find).await?;
        found.iter().map(|document| documents::read(document, of)).collect()
    }

    pub(super) async fn walk_calls(&self, after: Option<CallId>, limit: usize) -> Result<Vec<Call>> {
        let find = self.calls.find(later_than(after)).sort(doc! { "_id": 1 }).limit(most(limit));
        let found = self.collect("walking through calls of", self.database.name(), find).await?;
        found.iter().map(call_document::read).collect()
    }

    pub(super) async fn relations(&self) -> Result<Vec<Relation>> {
        let find = self.relations.find(doc! {}).sort(doc! { "userId": 1, "astrologerId": 1 });
        let found = self.collect("reading relations of", self.database.name(), find).await?;
        let relation = |document: &Document| {
            let fields = Fields::of("samvadrelations", document)?;
            Ok(Relation {
                user: fields.text("userId")?,
                astrologer: fields.text("astrologerId")?,
                consultation_id: fields.find_filled("consultationId")?,
                at: fields.find_date("createdAt")?.unwrap_or_else(|| fields.id_time()),
            })
        };
        found.iter().map(relation).collect()
    }

    pub(super) async fn recount(&self, of: ConversationId) -> Result<Option<Recount>> {
        Ok(self.look_at_counts(of).await?.map(|(_, recount)| recount))
    }

    /// The document it was read from, too: what is put right is put right only in place of what was read.
    async fn look_at_counts(&self, of: ConversationId) -> Result<Option<(Document, Recount)>> {
        let find = self.conversations.find_one(doc! { "_id": of });
        let Some(document) = self.ask("reading conversation", of, find).await? else { return Ok(None) };
        let conversation = conversations::read(&document)?;
        let (mut counted, mut real) = (BTreeMap::new(), BTreeMap::new());
        for (person, key) in people(&conversation) {
            if let Some(count) = counter(&document, &unread_path(&key)?) {
                counted.insert(key.clone(), count);
            }
            let count = self.count_unread(&conversation.handle, &person, &key).await?;
            real.insert(key, i64::try_from(count).unwrap_or(i64::MAX));
        }
        let newest = self.newest_left(&conversation.handle).await?.map(|message| (message.id, message.content));
        Ok(Some((document, Recount { counted, real, shown: conversation.last_message, newest })))
    }

    pub(super) async fn put_right(&self, of: ConversationId) -> Result<()> {
        let Some((document, recount)) = self.look_at_counts(of).await? else { return Ok(()) };
        for (key, _, real) in recount.wrong_counts() {
            let path = unread_path(key)?;
            let mut filter = doc! { "_id": of };
            filter.insert(&path, counter(&document, &path).map_or(Bson::Null, stored_whole));
            let update = self.conversations.update_one(filter, doc! { "$set": { &path: stored_whole(real) } });
            self.ask("mending a counter of conversation", of, update).await?;
        }
        if !recount.is_latest_right() {
            let conversation = conversations::read(&document)?;
            let update = match self.newest_left(&conversation.handle).await? {
                Some(message) => put_latest(&message),
                None => doc! { "$unset": { "lastMessage": "", "lastMessageSenderId": "", "lastMessageSenderType": "" } },
            };
            let seen = document.get("lastMessage").cloned().unwrap_or(Bson::Null);
            let update = self.conversations.update_one(doc! { "_id": of, "lastMessage": { "$eq": seen } }, update);
            self.ask("mending the latest message of conversation", of, update).await?;
        }
        Ok(())
    }

    pub(super) async fn take_over(&self, load: Load) -> Result<()> {
        let (collection, written) = match &load {
            Load::Conversations(all) => (&self.conversations, all.iter().map(conversation_document).collect::<Result<Vec<_>>>()?),
            Load::Messages(handle, all) => (&self.messages, all.iter().map(|m| message_document(handle, m)).collect::<Result<_>>()?),
            Load::Calls(all) => (&self.calls, all.iter().map(whole_call).collect()),
            Load::Relations(all) => {
                for relation in all {
                    self.add_relation(relation).await?;
                }
                return Ok(());
            }
        };
        let put = |document: Document| doc! { "q": { "_id": document.get("_id").cloned() }, "u": document, "upsert": true };
        let updated = self.update(collection.name(), written.into_iter().map(put).collect()).await?;
        if updated.refused.is_empty() {
            return Ok(());
        }
        Err(Error::Conflict(format!("{} documents were refused: others with the same unique names are there", updated.refused.len())))
    }

    pub(super) async fn erase_names(&self, person: &Participant) -> Result<()> {
        let person = person.identity();
        let (kind, id) = (person.kind().as_str(), person.id());
        let by = |id_name: &str, kind_name: &str| doc! { id_name: id, kind_name: kind };
        let unset = |names: &[&str]| doc! { "$unset": names.iter().map(|name| ((*name).to_owned(), Bson::from(""))).collect::<Document>() };
        let statements = [
            (&self.messages, by("senderId", "senderType"), unset(&["senderName", "senderAvatar"])),
            (
                &self.conversations,
                doc! { "participants": { "$elemMatch": { "id": id, "type": kind } } },
                unset(&["participants.$.name", "participants.$.profilePicture", "participants.$.avatar"]),
            ),
            (&self.calls, by("callerId", "callerType"), unset(&["callerName", "callerAvatar"])),
            (&self.calls, by("recipientId", "recipientType"), unset(&["recipientName", "recipientAvatar"])),
            (&self.calls, by("quality.ratedBy", "quality.ratedByType"), unset(&["quality.feedback"])),
        ];
        for (collection, filter, update) in statements {
            self.ask("erasing a name in", collection.name(), collection.update_many(filter, update)).await?;
        }
        for collection in [&self.kept_rooms, &self.presence, &self.inboxes] {
            let delete = collection.delete_many(doc! { "_id": id_of(&person) });
            self.ask("forgetting what is remembered of", &person, delete).await?;
        }
        let owned = self.devices.delete_many(doc! { "ownerType": kind, "ownerId": id });
        self.ask("forgetting the devices of", &person, owned).await?;
        let waiting = self.outbox.delete_many(doc! { "recipientType": kind, "recipientId": id });
        self.ask("forgetting what is still to be told to", &person, waiting).await?;
        Ok(())
    }
}

fn later_than(id: Option<impl Into<Bson>>) -> Document {
    id.map_or_else(Document::new, |id| doc! { "_id": { "$gt": id } })
}

/// To the database a limit of zero is no limit.
fn most(limit: usize) -> i64 {
    i64::try_from(limit.max(1)).unwrap_or(i64::MAX)
}

fn conversation_document(conversation: &Conversation) -> Result<Document> {
    let members: Vec<Document> = conversation.members.iter().map(conversations::write_member).collect();
    let mut unread = Document::new();
    for (key, count) in &conversation.unread {
        let path = unread_path(key)?;
        unread.insert(path.strip_prefix("unreadCount.").unwrap_or(&path), stored_whole(i64::from(*count)));
    }
    let mut document = doc! {
        "_id": conversation.handle.id,
        "conversationId": conversation.key().as_str(),
        "participants": members,
        "conversationType": &conversation.conversation_type,
        "lastMessageAt": date(conversation.last_message_at),
        "unreadCount": unread,
        "isActive": conversation.is_active,
        "contextType": &conversation.context_type,
        "aliases": &conversation.aliases,
        "createdAt": date(conversation.created_at),
        "updatedAt": date(conversation.updated_at),
        "__v": 0,
    };
    if let Some(context) = &conversation.context_id {
        document.insert("contextId", stored_id(context));
    }
    if let Some(last) = &conversation.last_message {
        let mut shown = Document::new();
        if let Some(at) = last.at {
            shown.insert("timestamp", date(at));
        }
        if let Some(id) = last.message_id {
            shown.insert("messageId", id);
        }
        shown.insert("content", &last.content);
        if let Some(sender) = &last.sender {
            shown.extend(doc! { "senderId": sender.id(), "senderType": sender.kind().as_str() });
            document.extend(doc! { "lastMessageSenderId": sender.id(), "lastMessageSenderType": sender.kind().as_str() });
        }
        shown.insert("messageType", last.message_type.as_str());
        document.insert("lastMessage", shown);
    }
    Ok(document)
}

fn message_document(handle: &ConversationHandle, message: &Message) -> Result<Document> {
    let new = NewMessage {
        conversation: handle.clone(),
        sender: message.sender.clone(),
        sender_profile: message.sender_profile.clone(),
        recipient: message.recipient.clone(),
        // Not part of the document.
        recipient_key: String::new(),
        message_type: message.message_type,
        content: message.content.clone(),
        media: message.media.clone(),
        reply_to: message.reply_to,
        call: message.call.clone(),
        client_message_id: message.client_message_id.clone(),
        at: message.created_at,
    };
    let mut document = Document::try_from(documents::write(&new, message.id, message.created_at)).map_err(Error::internal)?;
    document.extend(doc! {
        "status": message.status.as_str(),
        "isDeleted": message.is_deleted,
        "deletedBy": &message.deleted_by,
        "updatedAt": date(message.updated_at),
    });
    let times = [("deliveredAt", message.delivered_at), ("readAt", message.read_at), ("deletedAt", message.deleted_at)];
    document.extend(times.into_iter().filter_map(|(name, at)| Some((name.to_owned(), date(at?).into()))));
    Ok(document)
}

fn whole_call(call: &Call) -> Document {
    let mut document = call_document::write(call);
    document.extend(doc! { "duration": stored_whole(call.duration.into()), "serverDuration": stored_whole(call.server_duration.into()) });
    let optional = [
        ("answeredAt", call.answered_at.map(|at| date(at).into())),
        ("acceptedAt", call.answered_at.map(|at| date(at).into())),
        ("connectedAt", call.connected_at.map(|at| date(at).into())),
        ("endedAt", call.ended_at.map(|at| date(at).into())),
        ("endReason", call.end_reason.map(|reason| Bson::from(reason.as_str()))),
        ("endDetail", call.end_detail.as_deref().map(Bson::from)),
        ("endedBy", call.ended_by.as_ref().map(|by| by.id().into())),
        ("endedByType", call.ended_by.as_ref().map(|by| by.kind().as_str().into())),
    ];
    document.extend(optional.into_iter().filter_map(|(name, value): (&str, Option<Bson>)| Some((name.to_owned(), value?))));
    if call.notices != Notices::default() {
        document.insert("notify", call_document::notice_words(call.notices));
    } else if call.status.is_over() {
        document.remove("open");
    }
    if let Some(feedback) = &call.feedback {
        let mut quality = doc! { "rating": stored_whole(feedback.rating.into()), "ratedAt": date(call.updated_at) };
        if let Some(comment) = &feedback.comment {
            quality.insert("feedback", comment);
        }
        if let Some(by) = &feedback.by {
            quality.extend(doc! { "ratedBy": by.id(), "ratedByType": by.kind().as_str() });
        }
        document.insert("quality", quality);
    }
    document
}
