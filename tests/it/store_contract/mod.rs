//! What every store promises: the sentences of `samvad::store::Store`, each written once and run on every driver.

mod changes;
mod conversations;
mod marks;
mod only_sqlite;
mod pages;
mod rooms;
mod sending;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use samvad::models::message::{CallLog, Media};
use samvad::models::{
    Conversation, ConversationId, ConversationKey, KeptRooms, Message, MessageId, MessageStatus, MessageType, NewMessage, Pair,
    Participant, ProcessId, Profile, Timestamp,
};
use samvad::store::{
    Change, ConversationPage, DeleteMessage, Lookup, MAX_ALIASES, MAX_PAGE, MarkRead, MessageQuery, NewConversation, Opened, Range, Store,
    Which,
};

use crate::support::people::{admin, astrologer, at, profile, user};
use crate::support::stores::{self, on_every_driver};

// Words of the tests.

fn new_conversation(pair: Pair) -> NewConversation {
    let profiles = [Profile::default(), Profile::default()];
    NewConversation { pair, profiles, context_type: "general".into(), context_id: None, alias: None, at: at(0) }
}

async fn open(store: &Arc<dyn Store>, a: &Participant, b: &Participant) -> Conversation {
    let pair = Pair::new(a.clone(), b.clone()).unwrap();
    store.open_conversation(new_conversation(pair)).await.unwrap().conversation
}

async fn reload(store: &Arc<dyn Store>, conversation: &Conversation) -> Conversation {
    store.find_conversation(&Lookup::Id(conversation.handle.id)).await.unwrap().unwrap()
}

trait Ids {
    fn ids(&self) -> Vec<ConversationId>;
}

impl Ids for samvad::store::Conversations {
    fn ids(&self) -> Vec<ConversationId> {
        self.items.iter().map(|conversation| conversation.handle.id).collect()
    }
}

fn everything() -> ConversationPage {
    ConversationPage { before: None, skip: 0, limit: MAX_PAGE }
}

async fn list(store: &Arc<dyn Store>, person: &Participant, page: ConversationPage) -> samvad::store::Conversations {
    store.conversations_of(person, &page).await.unwrap()
}

/// A text from `sender` to the other one, at the start of the tests.
fn say(conversation: &Conversation, sender: &Participant, text: &str) -> NewMessage {
    let recipient = conversation.members.iter().map(|m| &m.participant).find(|p| !p.is_same_identity(sender)).unwrap();
    NewMessage {
        conversation: conversation.handle.clone(),
        sender: sender.clone(),
        sender_profile: Profile::default(),
        recipient: recipient.clone(),
        recipient_key: conversation.person_key(recipient),
        message_type: MessageType::Text,
        content: text.to_owned(),
        media: Media::default(),
        reply_to: None,
        call: None,
        client_message_id: None,
        at: at(0),
    }
}

fn say_at(conversation: &Conversation, sender: &Participant, text: &str, offset_ms: i64) -> NewMessage {
    NewMessage { at: at(offset_ms), ..say(conversation, sender, text) }
}

fn with_client_id(id: &str, new: NewMessage) -> NewMessage {
    NewMessage { client_message_id: Some(id.to_owned()), ..new }
}

async fn send(store: &Arc<dyn Store>, new: NewMessage) -> Message {
    let sent = store.send_message(new).await.unwrap();
    assert!(sent.fresh, "{sent:?}");
    sent.message
}

/// A user and an astrologer, and ten messages "0" to "9" from the one to the other.
pub(crate) async fn ten_messages(store: &Arc<dyn Store>) -> (Conversation, Vec<Message>) {
    let conversation = open(store, &user("u1"), &astrologer("a1")).await;
    let mut messages = Vec::new();
    for n in 0..10 {
        messages.push(send(store, say(&conversation, &user("u1"), &n.to_string())).await);
    }
    (conversation, messages)
}

fn latest(conversation: &Conversation, viewer: &Participant) -> MessageQuery {
    let viewer = conversation.person_key(viewer);
    MessageQuery { conversation: conversation.handle.clone(), viewer, range: Range::Latest { skip: 0 }, limit: MAX_PAGE }
}

fn contents(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.content.clone()).collect()
}

async fn texts(store: &Arc<dyn Store>, conversation: &Conversation, viewer: &Participant) -> Vec<String> {
    contents(&store.messages(latest(conversation, viewer)).await.unwrap().items)
}

fn read_all(conversation: &Conversation, reader: &Participant) -> MarkRead {
    let reader_key = conversation.person_key(reader);
    MarkRead { conversation: conversation.handle.clone(), reader: reader.clone(), reader_key, which: Which::AllUnread, at: at(0) }
}

fn read_ids(conversation: &Conversation, reader: &Participant, ids: impl Into<Vec<MessageId>>) -> MarkRead {
    MarkRead { which: Which::Ids(ids.into()), ..read_all(conversation, reader) }
}

/// A deletion by `by`, for hiding and for deleting alike.
fn delete(conversation: &Conversation, message: &Message, by: &Participant) -> DeleteMessage {
    DeleteMessage {
        conversation: conversation.handle.clone(),
        message: message.id,
        by: conversation.person_key(by),
        recipient_key: conversation.person_key(&message.recipient),
        at: at(0),
    }
}
