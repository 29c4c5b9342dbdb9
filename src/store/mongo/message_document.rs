//! Documents of `directmessages`, read in the dialects of the Node backend (N) and of the original schema (S), written in ours.
//!
//! Source: docs/protocol.md#directmessage.

use bson::oid::ObjectId;
use bson::raw::{CStr, cstr};
use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};

use super::engine::date;
use super::fields::{Fields, raw_fields, stored_id, stored_number, stored_whole};
use crate::error::Result;
use crate::models::message::{CallLog, Media};
use crate::models::{
    ConversationHandle, ConversationId, ConversationKey, Message, MessageId, MessageStatus, MessageType, NewMessage, Participant, Profile,
    Timestamp,
};

const COLLECTION: &str = "directmessages";

/// A message that is to be stored. Bytes at once, because this is the busiest road.
pub(super) fn write(new: &NewMessage, id: MessageId, at: Timestamp) -> RawDocumentBuf {
    let mut raw = RawDocumentBuf::new();
    let object_id = |bytes| ObjectId::from_bytes(bytes);
    let text = |raw: &mut RawDocumentBuf, name: &'static CStr, value: Option<&str>| {
        if let Some(value) = value {
            raw.append(name, value);
        }
    };
    let value = |raw: &mut RawDocumentBuf, name: &'static CStr, value: Option<Bson>| match value {
        Some(Bson::Int32(number)) => raw.append(name, number),
        Some(Bson::Int64(number)) => raw.append(name, number),
        Some(Bson::Double(number)) => raw.append(name, number),
        Some(Bson::ObjectId(id)) => raw.append(name, id),
        Some(Bson::String(text)) => raw.append(name, text),
        _ => {}
    };
    raw.append(cstr!("_id"), object_id(id.bytes()));
    raw.append(cstr!("conversationId"), new.conversation.key.as_str());
    raw.append(cstr!("conversationRef"), object_id(new.conversation.id.bytes()));
    raw.append(cstr!("senderId"), new.sender.id());
    raw.append(cstr!("senderType"), new.sender.kind().as_str());
    text(&mut raw, cstr!("senderName"), new.sender_profile.name.as_deref());
    text(&mut raw, cstr!("senderAvatar"), new.sender_profile.picture.as_deref());
    raw.append(cstr!("recipientId"), new.recipient.id());
    raw.append(cstr!("recipientType"), new.recipient.kind().as_str());
    raw.append(cstr!("messageType"), new.message_type.as_str());
    raw.append(cstr!("content"), new.content.as_str());
    text(&mut raw, cstr!("mediaUrl"), new.media.url.as_deref());
    value(&mut raw, cstr!("mediaSize"), new.media.size_bytes.map(stored_whole));
    value(&mut raw, cstr!("mediaDuration"), new.media.duration_seconds.map(stored_number));
    text(&mut raw, cstr!("thumbnailUrl"), new.media.thumbnail_url.as_deref());
    raw.append(cstr!("status"), MessageStatus::Sent.as_str());
    if let Some(answered) = new.reply_to {
        // One name for each family of readers.
        raw.append(cstr!("replyTo"), object_id(answered.bytes()));
        raw.append(cstr!("replyToId"), object_id(answered.bytes()));
    }
    if let Some(call) = &new.call {
        text(&mut raw, cstr!("callType"), call.call_type.as_deref());
        text(&mut raw, cstr!("callStatus"), call.call_status.as_deref());
        value(&mut raw, cstr!("callDuration"), call.call_duration.map(stored_whole));
        value(&mut raw, cstr!("callId"), call.call_id.as_deref().map(stored_id));
    }
    text(&mut raw, cstr!("clientMessageId"), new.client_message_id.as_deref());
    raw.append(cstr!("isDeleted"), false);
    raw.append(cstr!("deletedBy"), bson::RawArrayBuf::new());
    raw.append(cstr!("timestamp"), date(at));
    raw.append(cstr!("createdAt"), date(at));
    raw.append(cstr!("updatedAt"), date(at));
    // What Mongoose puts on every document, and expects when it saves one.
    raw.append(cstr!("__v"), 0_i32);
    raw
}

/// How a document names its conversation.
pub(super) enum Filing {
    /// By both names: ours.
    Both(ConversationHandle),
    /// By its key: N.
    Key(ConversationKey),
    /// By its document id: S.
    Id(ConversationId),
}

/// Reads where a message is filed, whatever else is wrong with it.
pub(super) fn filing(document: &Document) -> Result<Filing> {
    let id = document.get_object_id("conversationRef").map(|id| ConversationId::from_bytes(id.bytes()));
    match (document.get("conversationId"), id) {
        (Some(Bson::ObjectId(id)), _) => Ok(Filing::Id(ConversationId::from_bytes(id.bytes()))),
        (Some(Bson::String(key)), Ok(id)) => {
            Ok(Filing::Both(ConversationHandle { key: ConversationKey::stored(key.as_str()), id, filed_by_id: false }))
        }
        (Some(Bson::String(key)), Err(_)) => Ok(Filing::Key(ConversationKey::stored(key.as_str()))),
        _ => Err(Fields::of(COLLECTION, document)?.wrong("conversationId", "is missing")),
    }
}

/// Reads a message of `conversation`.
pub(super) fn read(document: &Document, conversation: &ConversationHandle) -> Result<Message> {
    read_fields(Fields::of(COLLECTION, document)?, conversation)
}

/// The same from its bytes.
pub(super) fn read_raw(document: &RawDocument, conversation: &ConversationHandle) -> Result<Message> {
    read_fields(Fields::of_raw(COLLECTION, &raw_fields(COLLECTION, document)?)?, conversation)
}

fn read_fields(fields: Fields<'_>, conversation: &ConversationHandle) -> Result<Message> {
    let created_at = created_at(fields)?;
    let is_deleted = fields.find_flag("isDeleted")?.unwrap_or(false);
    let message_type = fields.find_word("messageType", MessageType::parse, "is no kind of message")?.unwrap_or(MessageType::Text);
    let media = Media {
        url: fields.find_filled("mediaUrl")?,
        size_bytes: fields.find_whole("mediaSize")?,
        duration_seconds: fields.find_number("mediaDuration")?,
        thumbnail_url: fields.find_filled("thumbnailUrl")?,
    };
    let content = fields.find_text("content")?.unwrap_or_default();
    // N keeps the text of what it calls deleted.
    let (content, media) = if is_deleted { (String::new(), Media::default()) } else { (content, media) };
    Ok(Message {
        id: MessageId::from_bytes(fields.id()),
        conversation_key: conversation.key.clone(),
        conversation_id: conversation.id,
        sender: fields.participant("senderType", "senderId")?,
        sender_profile: Profile { name: fields.find_filled("senderName")?, picture: fields.find_filled("senderAvatar")? },
        recipient: fields.participant("recipientType", "recipientId")?,
        message_type,
        content,
        media,
        status: status(fields)?,
        reply_to: fields.find_object_id("replyTo")?.or(fields.find_object_id("replyToId")?).map(MessageId::from_bytes),
        call: call(fields)?,
        client_message_id: fields.find_filled("clientMessageId")?,
        created_at,
        updated_at: fields.find_date("updatedAt")?.unwrap_or(created_at),
        delivered_at: fields.find_date("deliveredAt")?,
        read_at: fields.find_date("readAt")?,
        is_deleted,
        deleted_at: fields.find_date("deletedAt")?,
        deleted_by: fields.texts("deletedBy")?,
    })
}

/// What decides the place of a message; needs `createdAt`, `timestamp` and `_id`.
pub(super) fn read_place(document: &Document) -> Result<(Timestamp, MessageId)> {
    let fields = Fields::of(COLLECTION, document)?;
    Ok((created_at(fields)?, MessageId::from_bytes(fields.id())))
}

/// The id alone.
pub(super) fn read_id(document: &Document) -> Result<MessageId> {
    Fields::of(COLLECTION, document).map(|fields| MessageId::from_bytes(fields.id()))
}

fn created_at(fields: Fields<'_>) -> Result<Timestamp> {
    Ok(fields.find_date("createdAt")?.or(fields.find_date("timestamp")?).unwrap_or_else(|| fields.id_time()))
}

fn status(fields: Fields<'_>) -> Result<MessageStatus> {
    if fields.find_date("readAt")?.is_some() {
        return Ok(MessageStatus::Read);
    }
    Ok(fields.find_word("status", MessageStatus::parse, "is none we know")?.unwrap_or(MessageStatus::Sent))
}

fn call(fields: Fields<'_>) -> Result<Option<CallLog>> {
    let call = CallLog {
        call_type: fields.find_filled("callType")?,
        call_status: fields.find_filled("callStatus")?,
        call_duration: fields.find_whole("callDuration")?,
        call_id: fields.find_filled("callId")?,
    };
    Ok((call != CallLog::default()).then_some(call))
}

/// The values of `conversationId` that mean this conversation.
pub(super) fn filed_under(conversation: &ConversationHandle) -> Vec<Bson> {
    let key = Bson::String(conversation.key.as_str().to_owned());
    if conversation.filed_by_id { vec![key, conversation.id.into(), Bson::String(conversation.id.to_string())] } else { vec![key] }
}

/// The messages of a conversation, in whichever way they are filed.
pub(super) fn of_conversation(conversation: &ConversationHandle) -> Document {
    doc! { "$in": filed_under(conversation) }
}

/// What `reader` has left to read of a conversation: one rule for counting and for marking. Source: docs/protocol.md#unread.
pub(super) fn unread(conversation: &ConversationHandle, reader: &Participant, reader_key: &str) -> Document {
    let mut filter = doc! {
        "conversationId": of_conversation(conversation),
        "recipientType": reader.kind().as_str(),
        "isDeleted": not_set(),
        "messageType": { "$ne": MessageType::CallLog.as_str() },
        // Who hid a message from himself has it no longer to read.
        "deletedBy": { "$ne": reader_key },
    };
    filter.extend(not_read());
    // What is addressed to one admin is addressed to all.
    if !reader.is_same_identity(&Participant::shared_admin()) {
        filter.insert("recipientId", reader.id());
    }
    filter
}

/// A message that nobody has read.
pub(super) fn not_read() -> Document {
    come_to(&[MessageStatus::Sent, MessageStatus::Delivered])
}

/// A message that has not come to anybody.
pub(super) fn not_delivered() -> Document {
    come_to(&[MessageStatus::Sent])
}

/// An unread message with one of these statuses; a missing one means `sent`. The second half is the condition of an index.
fn come_to(statuses: &[MessageStatus]) -> Document {
    let stored = statuses.iter().map(|status| Bson::from(status.as_str())).chain([Bson::Null]);
    let mut filter = doc! { "status": { "$in": stored.collect::<Vec<_>>() } };
    filter.extend(without_read_at());
    filter
}

/// A message without a time of reading: what is not read, but for documents of programs that set no more than the status.
pub(super) fn without_read_at() -> Document {
    doc! { "readAt": null }
}

/// A flag that is false, or absent as in older documents.
pub(super) fn not_set() -> Bson {
    Bson::Document(doc! { "$in": [false, null] })
}
