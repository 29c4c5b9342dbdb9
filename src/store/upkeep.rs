//! Looking after what is stored, apart from serving: walking through all of it, counting again, taking it over from another store,
//! and taking a person's name out. For `samvad verify`, `copy`, `export` and `erase`.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::error::Result;
use crate::models::{
    Call, CallId, Conversation, ConversationHandle, ConversationId, LastMessage, Message, MessageId, Participant, Relation,
};

/// What a store offers those who look after it. Both drivers answer alike.
#[async_trait]
pub trait UpkeepStore: Send + Sync + 'static {
    /// Conversations in the order of their ids, those after `after` first; inactive ones too.
    async fn walk_conversations(&self, after: Option<ConversationId>, limit: usize) -> Result<Vec<Conversation>>;

    /// Messages of a conversation in the order of their ids, those after `after` first; deleted and hidden ones too.
    async fn walk_messages(&self, of: &ConversationHandle, after: Option<MessageId>, limit: usize) -> Result<Vec<Message>>;

    /// Calls in the order of their ids, those after `after` first.
    async fn walk_calls(&self, after: Option<CallId>, limit: usize) -> Result<Vec<Call>>;

    /// Every relation that was noted, by user and astrologer.
    async fn relations(&self) -> Result<Vec<Relation>>;

    /// What a conversation says of its messages, and what they are. `None` if it is gone.
    async fn recount(&self, of: ConversationId) -> Result<Option<Recount>>;

    /// Makes what a conversation says of its messages right. Repeating changes nothing. Where other processes write, what they have
    /// changed since the look is left alone: then recounting tells.
    async fn put_right(&self, of: ConversationId) -> Result<()>;

    /// Stores this as it is, ids and times included, in place of whatever had its id. Repeating changes nothing.
    async fn take_over(&self, load: Load) -> Result<()>;

    /// Takes names and pictures of a person out of messages, conversations and calls, with his comments on calls, and forgets his rooms,
    /// when he was seen, his devices and what they were still to be told.
    async fn erase_names(&self, person: &Participant) -> Result<()>;
}

/// What is taken over at once. A conversation comes before its messages.
#[derive(Clone, Debug)]
pub enum Load {
    /// Conversations, with their counts and latest message as they are.
    Conversations(Vec<Conversation>),
    /// Messages of one conversation.
    Messages(ConversationHandle, Vec<Message>),
    /// Calls.
    Calls(Vec<Call>),
    /// Relations.
    Relations(Vec<Relation>),
}

/// What a conversation says of its messages, beside what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recount {
    /// Unread counts by person key, as stored. A missing one is zero.
    pub counted: BTreeMap<String, i64>,
    /// The same, counted again.
    pub real: BTreeMap<String, i64>,
    /// The latest message as stored.
    pub shown: Option<LastMessage>,
    /// Id and text of the newest message that is not deleted.
    pub newest: Option<(MessageId, String)>,
}

impl Recount {
    /// Every person whose count is wrong: key, what it says, what it should.
    pub fn wrong_counts(&self) -> Vec<(&str, i64, i64)> {
        let stored = |key: &str| self.counted.get(key).copied().unwrap_or(0);
        let wrong = self.real.iter().filter(|(key, real)| stored(key) != **real);
        wrong.map(|(key, real)| (key.as_str(), stored(key), *real)).collect()
    }

    /// Whether the latest message is the newest one. Older programs keep its text alone.
    pub fn is_latest_right(&self) -> bool {
        match (&self.shown, &self.newest) {
            (None, None) => true,
            (Some(shown), Some((id, text))) => shown.content == *text && shown.message_id.is_none_or(|shown| shown == *id),
            _ => false,
        }
    }

    /// Whether everything is.
    pub fn is_right(&self) -> bool {
        self.is_latest_right() && self.wrong_counts().is_empty()
    }
}
