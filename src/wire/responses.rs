//! What the server answers: the same objects in acks, events and REST bodies.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::models::view::MessageView;
use crate::models::{MessageId, MessageStatus, Timestamp};
use crate::services::history::{CatchUp, History, HistoryRequest};
use crate::services::messaging::SentMessage;
use crate::store::Change;

/// Bytes of the answer to a message of usual length. Growing would cost more than writing.
const USUAL_BODY: usize = 1024;

/// A page of history as the client asked for it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "HistoryPage")]
#[serde(rename_all = "camelCase")]
pub struct HistoryBody<'a> {
    conversation_id: &'a str,
    messages: Vec<MessageView<'a>>,
    total: u64,
    page: u64,
    limit: usize,
    has_more: bool,
    unread_count: u32,
}

impl<'a> HistoryBody<'a> {
    /// The page, with the conversation named as the client named it.
    pub fn new(history: &'a History, ask: &HistoryRequest, spelling: &'a str) -> Self {
        Self {
            conversation_id: spelling,
            messages: MessageView::all(&history.messages, spelling),
            total: history.total,
            page: ask.page,
            limit: ask.limit,
            has_more: history.has_more,
            unread_count: history.unread,
        }
    }
}

/// What a client missed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CatchUp")]
#[serde(rename_all = "camelCase")]
pub struct CatchUpBody<'a> {
    conversation_id: &'a str,
    messages: Vec<MessageView<'a>>,
    has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<ChangeView>>,
    server_time: Timestamp,
}

impl<'a> CatchUpBody<'a> {
    /// The messages, with the conversation named as the client named it.
    pub fn new(caught_up: &'a CatchUp, spelling: &'a str) -> Self {
        Self {
            conversation_id: spelling,
            messages: MessageView::all(&caught_up.messages, spelling),
            has_more: caught_up.has_more,
            cursor: caught_up.cursor,
            changes: caught_up.changes.as_ref().map(|changes| changes.iter().map(ChangeView::new).collect()),
            server_time: caught_up.server_time,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Change")]
#[serde(rename_all = "camelCase")]
struct ChangeView {
    message_id: MessageId,
    status: MessageStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_deleted: bool,
}

impl ChangeView {
    fn new(change: &Change) -> Self {
        Self {
            message_id: change.message_id,
            status: change.status,
            read_at: change.read_at,
            delivered_at: change.delivered_at,
            is_deleted: change.is_deleted,
        }
    }
}

/// A message that was sent.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Sent")]
pub struct SendBody {
    #[schemars(with = "MessageView")]
    message: Arc<RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

impl SendBody {
    /// The stored message, as the events said it, and whether it had been sent before.
    pub fn new(sent: &SentMessage) -> Result<Self> {
        let message = sent.message.json(&sent.spelling).map_err(Error::internal)?;
        Ok(Self { message, duplicate: !sent.fresh })
    }
}

/// `{"ok":true, …}` around the fields of `body`, which must be an object.
pub fn ok_body<T: Serialize>(body: &T) -> Result<Box<RawValue>> {
    const OK: &[u8] = br#"{"ok":true"#;
    let mut text = Vec::with_capacity(USUAL_BODY);
    text.extend_from_slice(OK);
    serde_json::to_writer(&mut text, body).map_err(Error::internal)?;
    match &text[OK.len()..] {
        b"{}" => {
            text.remove(OK.len());
        }
        [b'{', ..] => text[OK.len()] = b',',
        _ => return Err(Error::internal("an answer is not an object")),
    }
    let text = String::from_utf8(text).map_err(Error::internal)?;
    RawValue::from_string(text).map_err(Error::internal)
}
