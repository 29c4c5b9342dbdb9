//! The JSON shapes of conversations and messages, one for sockets and REST alike.
//!
//! Absent fields are left out, never `null`; ids and dates are texts; counts are integers. Source: docs/protocol.md#objects.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::conversation::{Conversation, ConversationKey, LastMessage};
use super::ids::{ConversationId, MessageId};
use super::media::MediaId;
use super::message::{Message, MessageStatus, MessageType};
use super::participant::{Participant, ParticipantKind};
use super::time::Timestamp;

/// A message that is being told. Its JSON is written once for each name its conversation goes by, however many events and answers
/// carry it.
pub struct ToldMessage {
    message: Message,
    // Hardly ever more than one. std Mutex: never held across an await.
    written: Mutex<Vec<(Box<str>, Arc<RawValue>)>>,
}

impl ToldMessage {
    /// Nothing is written yet.
    pub fn new(message: Message) -> Self {
        Self { message, written: Mutex::default() }
    }

    /// The [`MessageView`] for who calls the conversation `spelling`.
    pub fn json(&self, spelling: &str) -> serde_json::Result<Arc<RawValue>> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, json)) = written.iter().find(|(other, _)| **other == *spelling) {
            return Ok(Arc::clone(json));
        }
        let json: Arc<RawValue> = serde_json::value::to_raw_value(&MessageView::new(&self.message, spelling))?.into();
        written.push((spelling.into(), Arc::clone(&json)));
        Ok(json)
    }
}

impl Deref for ToldMessage {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// A message as a listener sees it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Message")]
#[serde(rename_all = "camelCase")]
pub struct MessageView<'a> {
    #[serde(rename = "_id")]
    document_id: MessageId,
    id: MessageId,
    conversation_id: &'a str,
    conversation_key: &'a ConversationKey,
    conversation_ref: ConversationId,
    sender_id: &'a str,
    sender_type: ParticipantKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_avatar: Option<&'a str>,
    recipient_id: &'a str,
    recipient_type: ParticipantKind,
    content: &'a str,
    message_type: MessageType,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_if_whole")]
    media_duration: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnail_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to_id: Option<MessageId>,
    status: MessageStatus,
    timestamp: Timestamp,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_at: Option<Timestamp>,
    is_deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
    deleted_by: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    call_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_duration: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_message_id: Option<&'a str>,
}

impl<'a> MessageView<'a> {
    /// The message with its conversation named as the listener named it.
    pub fn new(message: &'a Message, spelling: &'a str) -> Self {
        let call = message.call.as_ref();
        Self {
            document_id: message.id,
            id: message.id,
            conversation_id: spelling,
            conversation_key: &message.conversation_key,
            conversation_ref: message.conversation_id,
            sender_id: message.sender.id(),
            sender_type: message.sender.kind(),
            sender_name: message.sender_profile.name.as_deref(),
            sender_avatar: message.sender_profile.picture.as_deref(),
            recipient_id: message.recipient.id(),
            recipient_type: message.recipient.kind(),
            content: &message.content,
            message_type: message.message_type,
            media_url: message.media.url.as_deref(),
            media_id: message.media.url.as_deref().and_then(MediaId::of_address).map(|id| id.to_string()),
            media_size: message.media.size_bytes,
            media_duration: message.media.duration_seconds,
            thumbnail_url: message.media.thumbnail_url.as_deref(),
            reply_to: message.reply_to,
            reply_to_id: message.reply_to,
            status: message.status,
            timestamp: message.created_at,
            created_at: message.created_at,
            updated_at: message.updated_at,
            read_at: message.read_at,
            delivered_at: message.delivered_at,
            is_deleted: message.is_deleted,
            deleted_at: message.deleted_at,
            // Who hid it only for himself is nobody else's business.
            deleted_by: if message.is_deleted { &message.deleted_by } else { &[] },
            call_type: call.and_then(|c| c.call_type.as_deref()),
            call_status: call.and_then(|c| c.call_status.as_deref()),
            call_duration: call.and_then(|c| c.call_duration),
            call_id: call.and_then(|c| c.call_id.as_deref()),
            client_message_id: message.client_message_id.as_deref(),
        }
    }

    /// The same for many.
    pub fn all(messages: &'a [Message], spelling: &'a str) -> Vec<Self> {
        messages.iter().map(|m| Self::new(m, spelling)).collect()
    }
}

/// Whole numbers are written as integers: the shipped app drops a message that says `12.0` where it wants `12`.
#[expect(clippy::ref_option, clippy::cast_possible_truncation, reason = "serde's signature; the range is checked")]
fn whole_if_whole<S: serde::Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(number) if number.fract() == 0.0 && number.abs() < 9e15 => serializer.serialize_i64(*number as i64),
        Some(number) => serializer.serialize_f64(*number),
        None => serializer.serialize_none(),
    }
}

/// A conversation as one participant (or an admin who looks) sees it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Conversation")]
#[serde(rename_all = "camelCase")]
pub struct ConversationView<'a> {
    #[serde(rename = "_id")]
    document_id: ConversationId,
    id: ConversationId,
    conversation_id: &'a ConversationKey,
    conversation_key: &'a ConversationKey,
    conversation_ref: ConversationId,
    conversation_type: &'a str,
    participants: Vec<MemberView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_message: Option<LastMessageView<'a>>,
    last_message_text: &'a str,
    last_message_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_message_sender_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_message_sender_type: Option<ParticipantKind>,
    unread_count: u32,
    is_active: bool,
    context_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_id: Option<&'a str>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Member")]
#[serde(rename_all = "camelCase")]
struct MemberView<'a> {
    id: &'a str,
    r#type: ParticipantKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile_picture: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    joined_at: Option<Timestamp>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LastMessage")]
#[serde(rename_all = "camelCase")]
struct LastMessageView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_type: Option<ParticipantKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
    message_type: MessageType,
}

impl<'a> ConversationView<'a> {
    /// The conversation with the unread count of `asker`.
    pub fn new(conversation: &'a Conversation, asker: &Participant) -> Self {
        let sender = conversation.last_message.as_ref().and_then(|m| m.sender.as_ref());
        Self {
            document_id: conversation.handle.id,
            id: conversation.handle.id,
            conversation_id: conversation.key(),
            conversation_key: conversation.key(),
            conversation_ref: conversation.handle.id,
            conversation_type: &conversation.conversation_type,
            participants: conversation
                .members
                .iter()
                .map(|m| MemberView {
                    id: m.participant.id(),
                    r#type: m.participant.kind(),
                    name: m.profile.name.as_deref(),
                    profile_picture: m.profile.picture.as_deref(),
                    avatar: m.profile.picture.as_deref(),
                    joined_at: m.joined_at,
                })
                .collect(),
            last_message: conversation.last_message.as_ref().map(LastMessageView::new),
            last_message_text: conversation.last_message.as_ref().map_or("", |m| &m.content),
            last_message_at: conversation.last_message_at,
            last_message_sender_id: sender.map(Participant::id),
            last_message_sender_type: sender.map(Participant::kind),
            unread_count: if conversation.is_participant(asker) { conversation.unread_of(asker) } else { 0 },
            is_active: conversation.is_active,
            context_type: &conversation.context_type,
            context_id: conversation.context_id.as_deref(),
            created_at: conversation.created_at,
            updated_at: conversation.updated_at,
        }
    }
}

impl<'a> LastMessageView<'a> {
    fn new(last: &'a LastMessage) -> Self {
        Self {
            message_id: last.message_id,
            content: &last.content,
            sender_id: last.sender.as_ref().map(Participant::id),
            sender_type: last.sender.as_ref().map(Participant::kind),
            timestamp: last.at,
            message_type: last.message_type,
        }
    }
}
