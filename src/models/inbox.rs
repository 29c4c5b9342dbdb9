//! A row of the inbox: one conversation or one call, in the shape the shipped app decodes. Source: docs/protocol.md#inbox.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::call::{Call, CallSide, CallStatus, CallType};
use super::conversation::Conversation;
use super::ids::{CallId, ConversationId};
use super::message::MessageType;
use super::participant::{Participant, ParticipantKind, Profile};
use super::time::Timestamp;

/// What the support row says before anything was written.
const WELCOME: &str = "Welcome! Write to us whenever you need help.";

/// Up to where somebody's inbox was shown: the last conversation and the last call, each by what orders its list.
///
/// Two places instead of one, so that nothing depends on how the clocks of conversations and calls compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxPosition {
    /// Last activity and id of the last conversation; none was shown yet.
    pub conversation: Option<(Timestamp, ConversationId)>,
    /// The last call; none was shown yet.
    pub call: Option<CallId>,
}

impl InboxPosition {
    /// Reads what `Display` wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (conversation, call) = text.split_once('.')?;
        let conversation = match conversation.split_once('-') {
            None if conversation.is_empty() => None,
            None => return None,
            Some((at, id)) => Some((Timestamp::from_millis(at.parse().ok()?), ConversationId::parse(id)?)),
        };
        let call = if call.is_empty() { None } else { Some(CallId::parse(call)?) };
        Some(Self { conversation, call })
    }
}

impl fmt::Display for InboxPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((at, id)) = self.conversation {
            write!(f, "{}-{id}", at.as_millis())?;
        }
        f.write_str(".")?;
        self.call.map_or(Ok(()), |call| write!(f, "{call}"))
    }
}

/// The other side of a row.
#[derive(Clone, Debug)]
pub struct Contact {
    /// Who.
    pub person: Participant,
    /// Name and picture, as far as they are known.
    pub profile: Profile,
    /// Whether he is connected.
    pub is_online: bool,
}

/// A row. The app drops a list in which one field has another type than here, so nothing is `null` and every count is an integer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "InboxRow")]
#[serde(rename_all = "camelCase")]
pub struct InboxItem {
    #[serde(rename = "_id")]
    document_id: String,
    id: String,
    #[serde(rename = "type")]
    row_type: &'static str,
    contact_name: String,
    contact_id: String,
    contact_type: ParticipantKind,
    avatar: String,
    timestamp: Timestamp,
    preview: String,
    unread_count: u32,
    is_online: bool,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<String>,
    charged_amount: u32,
    conversation_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<CallId>,
}

impl InboxItem {
    /// A conversation as `me` sees it.
    pub fn conversation(conversation: &Conversation, me: &Participant, contact: Contact) -> Self {
        let id = conversation.handle.id.to_string();
        let last = conversation.last_message.as_ref();
        let is_mine = last.and_then(|last| last.sender.as_ref()).is_some_and(|sender| sender.is_same_identity(me));
        let preview = match last {
            None if contact.person.kind() == ParticipantKind::Admin => WELCOME,
            None => "",
            Some(last) if last.content.is_empty() => media_words(last.message_type),
            Some(last) => &last.content,
        };
        Self {
            preview: preview.to_owned(),
            unread_count: conversation.unread_of(me),
            status: if is_mine { "sent" } else { "received" },
            conversation_id: conversation.key().as_str().to_owned(),
            ..Self::new("message", id, conversation.last_message_at, contact)
        }
    }

    /// Support, before the first message. `key` is what the conversation will be called.
    pub fn support(key: &str, at: Timestamp, contact: Contact) -> Self {
        Self {
            preview: WELCOME.to_owned(),
            status: "received",
            conversation_id: key.to_owned(),
            ..Self::new("message", key.to_owned(), at, contact)
        }
    }

    /// A call as the person on `side` sees it.
    pub fn call(call: &Call, side: CallSide, contact: Contact) -> Self {
        let row_type = match call.call_type {
            CallType::Voice => "voiceCall",
            CallType::Video => "videoCall",
        };
        let status = match (call.status, side) {
            (CallStatus::Missed | CallStatus::Rejected | CallStatus::Failed, _) => "missed",
            (CallStatus::Ended, _) if call.duration == 0 => "missed",
            (_, CallSide::Caller) => "outgoing",
            (_, CallSide::Callee) => "incoming",
        };
        Self {
            preview: call.call_type.label().to_owned(),
            status,
            duration: (call.duration > 0).then(|| format!("{}:{:02}", call.duration / 60, call.duration % 60)),
            // One for each call: the app folds rows of one conversation into one.
            conversation_id: format!("call_{}", call.id),
            call_id: Some(call.id),
            ..Self::new(row_type, call.id.to_string(), call.initiated_at, contact)
        }
    }

    fn new(row_type: &'static str, id: String, timestamp: Timestamp, contact: Contact) -> Self {
        let Contact { person, profile, is_online } = contact;
        let person = person.identity();
        let contact_name = match person.kind() {
            // Whoever answers, to the app it is this one.
            ParticipantKind::Admin => "Admin Support".to_owned(),
            ParticipantKind::Astrologer => profile.name.unwrap_or_else(|| "Astrologer".to_owned()),
            ParticipantKind::User => profile.name.unwrap_or_else(|| "User".to_owned()),
        };
        Self {
            document_id: id.clone(),
            id,
            row_type,
            contact_name,
            contact_id: person.id().to_owned(),
            contact_type: person.kind(),
            avatar: profile.picture.unwrap_or_default(),
            timestamp,
            preview: String::new(),
            unread_count: 0,
            is_online,
            status: "received",
            duration: None,
            // There is no billing here; the app wants a number.
            charged_amount: 0,
            conversation_id: String::new(),
            call_id: None,
        }
    }

    /// When; decides the place.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }
}

/// What stands for a message without text.
fn media_words(message_type: MessageType) -> &'static str {
    match message_type {
        MessageType::Image => "Photo",
        MessageType::Audio => "Voice message",
        MessageType::Video => "Video",
        MessageType::File => "File",
        MessageType::Location => "Location",
        MessageType::Text | MessageType::System | MessageType::CallLog => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_and_nothing_else_is_one() {
        let conversation = (Timestamp::from_millis(1_766_224_800_007), ConversationId::from_bytes([7; 12]));
        let call = CallId::from_bytes([9; 12]);
        for conversation in [None, Some(conversation)] {
            for call in [None, Some(call)] {
                let position = InboxPosition { conversation, call };
                assert_eq!(InboxPosition::parse(&position.to_string()), Some(position));
            }
        }
        for text in ["", "5.", "5-.", "x-070707070707070707070707.", ".xyz", "5-070707070707070707070707", "-070707070707070707070707."] {
            assert_eq!(InboxPosition::parse(text), None, "{text}");
        }
    }
}
