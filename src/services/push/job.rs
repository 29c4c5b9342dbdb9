//! What waits to be said to the outside, as it is written down. Bodies hold no device tokens and no media tokens.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::models::{Call, CallId, CallSide, Lease, Message, MessageId, OutboxEntry, OutboxLane, OutboxState, Participant, Timestamp};

use super::{MESSAGE_LIFETIME, PushMessages, STOP_LIFETIME, WEBHOOK_LIFETIME};

/// The most bytes of a message's text that a phone is sent.
const TEXT_BYTES: usize = 512;
/// The most bytes of a name or an address of a picture.
const NAME_BYTES: usize = 128;
const PICTURE_BYTES: usize = 512;

/// One thing to be said.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "camelCase")]
pub(super) enum Job {
    /// A message, to its recipient's devices.
    Message(Box<MessageJob>),
    /// A call rings, to the callee's devices.
    Ring { call: Box<Call> },
    /// It rings no more, to the devices that ring.
    Stop { call: CallId, callee: Participant, reason: String, at: Timestamp },
    /// The other side hung up, to a side without a socket.
    End { call: CallId, side: CallSide, to: Participant, duration: u32, at: Timestamp },
    /// An event, to the webhook.
    Event { event: String, about: String, data: Value, at: Timestamp },
}

/// What a phone is told of a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageJob {
    pub id: MessageId,
    pub conversation: String,
    pub sender: Participant,
    pub sender_name: String,
    pub sender_avatar: String,
    pub recipient: Participant,
    pub message_type: String,
    pub content: String,
    pub at: Timestamp,
    /// For which messages phones are told: what other nodes know is asked when it is written down, and not after that.
    #[serde(skip)]
    pub told_for: PushMessages,
}

impl MessageJob {
    pub fn new(message: &Message, told_for: PushMessages) -> Self {
        let name = message.sender_profile.name.as_deref().filter(|name| !name.is_empty());
        let picture = message.sender_profile.picture.as_deref().filter(|address| address.len() <= PICTURE_BYTES);
        let content = match message.content.trim() {
            "" => label(message.message_type.as_str()),
            text => cut(text, TEXT_BYTES),
        };
        Self {
            id: message.id,
            conversation: message.conversation_key.as_str().to_owned(),
            sender: message.sender.clone(),
            sender_name: cut(name.unwrap_or_else(|| who(&message.sender)), NAME_BYTES),
            sender_avatar: picture.unwrap_or_default().to_owned(),
            recipient: message.recipient.identity(),
            message_type: message.message_type.as_str().to_owned(),
            content,
            at: message.created_at,
            told_for,
        }
    }
}

/// What is shown of somebody without a name.
pub(super) fn who(person: &Participant) -> &'static str {
    use crate::models::ParticipantKind::{Admin, Astrologer, User};
    match person.kind() {
        Admin => "Support",
        Astrologer => "Astrologer",
        User => "User",
    }
}

/// What is shown of a message without a text.
fn label(message_type: &str) -> String {
    match message_type {
        "image" => "Photo",
        "audio" => "Voice message",
        "video" => "Video",
        "location" => "Location",
        _ => "File",
    }
    .to_owned()
}

/// At most so many bytes, cut between characters, with a sign that it was.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most - '…'.len_utf8()).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    format!("{}…", &text[..end])
}

impl Job {
    pub fn lane(&self) -> OutboxLane {
        match self {
            Self::Message(_) => OutboxLane::Chats,
            Self::Ring { .. } | Self::Stop { .. } | Self::End { .. } => OutboxLane::Calls,
            Self::Event { .. } => OutboxLane::Webhooks,
        }
    }

    /// Whose devices it is for.
    pub fn recipient(&self) -> Option<Participant> {
        match self {
            Self::Message(message) => Some(message.recipient.clone()),
            Self::Ring { call } => Some(call.callee.identity()),
            Self::Stop { callee, .. } => Some(callee.identity()),
            Self::End { to, .. } => Some(to.identity()),
            Self::Event { .. } => None,
        }
    }

    /// The name that keeps it from being queued twice.
    pub fn id(&self) -> String {
        match self {
            Self::Message(message) => format!("message:{}", message.id),
            Self::Ring { call } => ring_id(call.id),
            Self::Stop { call, .. } => format!("stop:{call}"),
            Self::End { call, side, .. } => {
                format!("end:{call}:{}", if *side == CallSide::Caller { "caller" } else { "callee" })
            }
            Self::Event { event, about, .. } => format!("event:{event}:{about}"),
        }
    }

    /// As an entry nobody works on yet.
    pub fn entry(&self, now: Timestamp) -> serde_json::Result<OutboxEntry> {
        let (created_at, expires_at) = match self {
            Self::Message(message) => (message.at, message.at.plus(MESSAGE_LIFETIME)),
            Self::Ring { call } => (call.initiated_at, call.ring_deadline.unwrap_or(call.initiated_at)),
            Self::Stop { at, .. } | Self::End { at, .. } => (*at, at.plus(STOP_LIFETIME)),
            Self::Event { at, .. } => (*at, at.plus(WEBHOOK_LIFETIME)),
        };
        let collapse = match self {
            Self::Message(message) => Some(format!("{} {}", message.recipient, message.conversation)),
            _ => None,
        };
        Ok(OutboxEntry {
            id: self.id(),
            lane: self.lane(),
            collapse,
            recipient: self.recipient(),
            body: serde_json::to_string(self)?,
            created_at,
            due_at: now,
            expires_at,
            attempts: 0,
            settled: Vec::new(),
            state: OutboxState::Waiting,
            lease: None::<Lease>,
            problem: None,
        })
    }
}

/// The name of a ring's entry.
pub(super) fn ring_id(call: CallId) -> String {
    format!("ring:{call}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("short", 512), "short");
        let long = "नमस्ते ".repeat(60);
        let short = cut(&long, TEXT_BYTES);
        assert!(short.len() <= TEXT_BYTES && short.len() > TEXT_BYTES - 8 && short.ends_with('…'), "{}", short.len());
        assert_eq!(cut("ééé", 5), "é…");
    }
}
