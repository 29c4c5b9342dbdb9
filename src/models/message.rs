//! Messages: what was said, by whom, and how far it got.

use schemars::JsonSchema;
use serde::Serialize;

use super::conversation::ConversationHandle;
use super::conversation::ConversationKey;
use super::ids::{ConversationId, MessageId};
use super::participant::{Participant, Profile};
use super::time::Timestamp;

/// The union of the kinds both families of clients know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum MessageType {
    #[default]
    Text,
    Image,
    Audio,
    Video,
    File,
    Location,
    System,
    CallLog,
}

impl MessageType {
    /// The word on the wire and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::File => "file",
            Self::Location => "location",
            Self::System => "system",
            Self::CallLog => "call_log",
        }
    }

    /// Reads the word of the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Text, Self::Image, Self::Audio, Self::Video, Self::File, Self::Location, Self::System, Self::CallLog]
            .into_iter()
            .find(|t| t.as_str() == text)
    }
}

/// How far a message got. It only moves forward: sent, delivered, read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageStatus {
    /// Stored.
    #[default]
    Sent,
    /// Handed to a connected client of the recipient.
    Delivered,
    /// Marked as read by the recipient.
    Read,
    /// Set by older programs only.
    Failed,
}

impl MessageStatus {
    /// The word on the wire and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }

    /// Reads the word of a document.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Sent, Self::Delivered, Self::Read, Self::Failed].into_iter().find(|s| s.as_str() == text)
    }

    /// Whether the recipient still has it to read.
    pub fn is_unread(self) -> bool {
        matches!(self, Self::Sent | Self::Delivered)
    }
}

/// Media a message points at; the bytes live elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Media {
    /// `https` address.
    pub url: Option<String>,
    /// Bytes.
    pub size_bytes: Option<i64>,
    /// Seconds.
    pub duration_seconds: Option<f64>,
    /// `https` address of a preview.
    pub thumbnail_url: Option<String>,
}

/// What a `call_log` message says about its call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallLog {
    /// `voice` or `video`.
    pub call_type: Option<String>,
    /// `completed`, `missed`, `declined` or `cancelled`.
    pub call_status: Option<String>,
    /// Whole seconds.
    pub call_duration: Option<i64>,
    /// Hex id of the call.
    pub call_id: Option<String>,
}

/// A message that a store has not yet accepted. Whoever made it has checked that both people are participants.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMessage {
    /// Where it goes.
    pub conversation: ConversationHandle,
    /// Who says it, with the id the client knows (an admin keeps his own).
    pub sender: Participant,
    /// What is shown of the sender.
    pub sender_profile: Profile,
    /// Whom it is addressed to.
    pub recipient: Participant,
    /// The conversation's name for the recipient, whose unread count grows. See [`super::Conversation::person_key`].
    pub recipient_key: String,
    /// Kind.
    pub message_type: MessageType,
    /// Text; may be empty when there is media.
    pub content: String,
    /// Media it points at.
    pub media: Media,
    /// Message of the same conversation it answers.
    pub reply_to: Option<MessageId>,
    /// Set for `call_log` messages.
    pub call: Option<CallLog>,
    /// The sender's own id for it; a second message with the same one is the same message.
    pub client_message_id: Option<String>,
    /// The caller's clock; the store moves it forward if need be.
    pub at: Timestamp,
}

impl NewMessage {
    /// The stored form, with the id and time the store chose.
    pub fn into_message(self, id: MessageId, created_at: Timestamp) -> Message {
        Message {
            id,
            conversation_key: self.conversation.key,
            conversation_id: self.conversation.id,
            sender: self.sender,
            sender_profile: self.sender_profile,
            recipient: self.recipient,
            message_type: self.message_type,
            content: self.content,
            media: self.media,
            status: MessageStatus::Sent,
            reply_to: self.reply_to,
            call: self.call,
            client_message_id: self.client_message_id,
            created_at,
            updated_at: created_at,
            delivered_at: None,
            read_at: None,
            is_deleted: false,
            deleted_at: None,
            deleted_by: Vec::new(),
        }
    }
}

/// A stored message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Document id; with `created_at` it orders a conversation.
    pub id: MessageId,
    /// Canonical key of its conversation.
    pub conversation_key: ConversationKey,
    /// Document id of its conversation.
    pub conversation_id: ConversationId,
    /// Who said it.
    pub sender: Participant,
    /// What is shown of the sender.
    pub sender_profile: Profile,
    /// Whom it is addressed to.
    pub recipient: Participant,
    /// Kind.
    pub message_type: MessageType,
    /// Text; blank once deleted for everyone.
    pub content: String,
    /// Media it points at.
    pub media: Media,
    /// How far it got.
    pub status: MessageStatus,
    /// Message it answers.
    pub reply_to: Option<MessageId>,
    /// Set for `call_log` messages.
    pub call: Option<CallLog>,
    /// The sender's own id for it.
    pub client_message_id: Option<String>,
    /// When the store accepted it.
    pub created_at: Timestamp,
    /// When anything of it last changed.
    pub updated_at: Timestamp,
    /// When a client of the recipient was handed it.
    pub delivered_at: Option<Timestamp>,
    /// When the recipient read it.
    pub read_at: Option<Timestamp>,
    /// Deleted for everyone.
    pub is_deleted: bool,
    /// When it was deleted for everyone.
    pub deleted_at: Option<Timestamp>,
    /// Person keys of those who deleted it for themselves. See [`super::Conversation::person_key`].
    pub deleted_by: Vec<String>,
}

impl Message {
    /// Whether it counts as unread for its recipient.
    pub fn is_unread(&self) -> bool {
        self.status.is_unread() && !self.is_deleted && self.message_type != MessageType::CallLog
    }

    /// Whether the same `clientMessageId` used for `other` means the same message sent again.
    pub fn is_repeat_of(&self, other: &NewMessage) -> bool {
        self.conversation_id == other.conversation.id
            && (self.is_deleted || (self.content == other.content && self.media.url == other.media.url))
            && self.message_type == other.message_type
    }
}
