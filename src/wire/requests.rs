//! Requests of the services, made from payloads. Source of names and aliases: docs/protocol.md#client-events.

use std::sync::Arc;

use crate::delivery::Connection;
use crate::error::{Error, Result};
use crate::models::message::Media;
use crate::models::{MessageId, MessageType, ParticipantKind, Timestamp};
use crate::services::content::Content;
use crate::services::conversations::message_id;
use crate::services::history::{HistoryRequest, MAX_HISTORY_PAGE, Reading};
use crate::services::messaging::{CALL_LOG_ID, DeleteScope, Recipient, SendMessage};
use crate::store::{MAX_PAGE, Which};

use super::Payload;

const DEFAULT_LIMIT: u64 = 50;
const MAX_CLIENT_ID_CHARS: usize = 64;
/// The most message ids one request may name.
const MAX_IDS: usize = 200;

/// `dm:send_message` and the POST routes.
pub fn send_message(payload: &Payload, conversation: Option<String>, from: Option<Arc<Connection>>) -> Result<SendMessage> {
    let message_type = match payload.text(&["messageType"])? {
        None => MessageType::Text,
        Some(word) => MessageType::parse(word).ok_or_else(|| Error::invalid("messageType is not one of the known kinds"))?,
    };
    let media = Media {
        url: payload.text(&["mediaUrl"])?.map(str::to_owned),
        size_bytes: payload.number(&["mediaSize"], 0)?.map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
        duration_seconds: payload.decimal("mediaDuration")?,
        thumbnail_url: payload.text(&["thumbnailUrl"])?.map(str::to_owned),
    };
    let text = payload.text(&["content", "message", "text"])?.unwrap_or_default();
    let client_message_id = payload.text(&["clientMessageId", "tempId", "localId"])?.map(str::to_owned);
    if client_message_id.as_ref().is_some_and(|id| id.chars().count() > MAX_CLIENT_ID_CHARS) {
        return Err(Error::InvalidId(format!("clientMessageId has more than {MAX_CLIENT_ID_CHARS} characters")));
    }
    if client_message_id.as_ref().is_some_and(|id| id.starts_with(CALL_LOG_ID)) {
        return Err(Error::InvalidId(format!("a clientMessageId cannot begin with {CALL_LOG_ID}")));
    }
    Ok(SendMessage {
        conversation,
        recipient: recipient(payload)?,
        content: Content::parse(message_type, text, media)?,
        reply_to: payload.message_id(&["replyTo", "replyToId"])?,
        client_message_id,
        from,
    })
}

/// `recipientId` and `recipientType`, or their names in older requests. Errors: two names that disagree.
pub fn recipient(payload: &Payload) -> Result<Recipient> {
    let agreed = |names: [&'static str; 2]| -> Result<Option<String>> {
        match (payload.text(&names[..1])?, payload.text(&names[1..])?) {
            (Some(a), Some(b)) if a != b => Err(Error::invalid(format!("{} and {} disagree", names[0], names[1]))),
            (a, b) => Ok(a.or(b).map(str::to_owned)),
        }
    };
    let kind = match agreed(["recipientType", "calleeType"])? {
        None => None,
        Some(word) => {
            let kind = ParticipantKind::parse(&word);
            Some(kind.ok_or_else(|| Error::invalid("recipientType must be admin, astrologer or user"))?)
        }
    };
    Ok(Recipient { id: agreed(["recipientId", "calleeId"])?, kind })
}

/// `contextType` and `contextId` of a conversation to be opened.
pub fn context(payload: &Payload) -> Result<(String, Option<String>)> {
    let context_type = payload.text(&["contextType"])?.unwrap_or("general");
    if !["consultation", "service_request", "support", "general"].contains(&context_type) {
        return Err(Error::invalid("contextType must be consultation, service_request, support or general"));
    }
    let context_id = payload.text(&["contextId"])?;
    if context_id.is_some_and(|id| MessageId::parse(id).is_none()) {
        return Err(Error::InvalidId("contextId has 24 hex digits".into()));
    }
    Ok((context_type.to_owned(), context_id.map(str::to_ascii_lowercase)))
}

/// `dm:history` and the GET routes. A limit above the largest page is cut to it.
pub fn history(payload: &Payload, reading: Reading) -> Result<HistoryRequest> {
    let reading = if payload.flag("markRead")? == Some(false) { Reading::Receives } else { reading };
    let (page, limit) = page(payload)?;
    Ok(HistoryRequest { page, limit, before: payload.message_id(&["before"])?, after: payload.message_id(&["after"])?, reading })
}

/// `page` from 1 and `limit` up to the largest page.
pub fn page(payload: &Payload) -> Result<(u64, usize)> {
    Ok((payload.number(&["page"], 1)?.unwrap_or(1), limit(payload, MAX_HISTORY_PAGE)?))
}

fn limit(payload: &Payload, most: usize) -> Result<usize> {
    let limit = payload.number(&["limit"], 1)?.unwrap_or(DEFAULT_LIMIT);
    Ok(usize::try_from(limit).unwrap_or(most).min(most))
}

/// `dm:sync`.
pub struct CatchUpRequest {
    /// Strictly newer than this message; the newest ones if missing.
    pub after: Option<MessageId>,
    /// 1 to 200.
    pub limit: usize,
    /// Tell changes since then.
    pub since: Option<Timestamp>,
}

/// `dm:sync`, and the `after` of a join.
pub fn catch_up(payload: &Payload) -> Result<CatchUpRequest> {
    Ok(CatchUpRequest { after: payload.message_id(&["after"])?, limit: limit(payload, MAX_PAGE)?, since: payload.time("since")? })
}

/// `dm:mark_read`: missing or empty ids mean everything unread; ids that are none are skipped, but not if all are.
pub fn which_messages(payload: &Payload) -> Result<Which> {
    let Some(texts) = payload.texts(&["messageIds", "messageId"])? else { return Ok(Which::AllUnread) };
    if texts.len() > MAX_IDS {
        return Err(Error::invalid(format!("at most {MAX_IDS} messageIds at once")));
    }
    let ids: Vec<MessageId> = texts.iter().filter_map(|text| message_id(text).ok()).collect();
    if ids.is_empty() { Err(Error::InvalidId("none of the messageIds has 24 hex digits".into())) } else { Ok(Which::Ids(ids)) }
}

/// `scope` of `dm:delete_message`.
pub fn delete_scope(payload: &Payload) -> Result<DeleteScope> {
    match payload.text(&["scope"])? {
        None | Some("me") => Ok(DeleteScope::Me),
        Some("everyone") => Ok(DeleteScope::Everyone),
        Some(_) => Err(Error::invalid("scope must be me or everyone")),
    }
}

/// The conversation of a typing event.
pub fn typing_conversation(payload: &Payload) -> Result<&str> {
    payload.require_text(&["conversationId"])
}
