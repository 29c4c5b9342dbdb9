//! Requests of the services, made from payloads. Source of names and aliases: docs/protocol.md#client-events.

use std::sync::Arc;

use crate::delivery::Connection;
use crate::error::{Error, Result};
use crate::models::inbox::InboxPosition;
use crate::models::media::MediaId;
use crate::models::message::Media;
use crate::models::participant::SHARED_ADMIN_ID;
use crate::models::{MessageId, MessageType, Participant, ParticipantKind, Platform, Timestamp};
use crate::services::addressing::Recipient;
use crate::services::attachments::Announce;
use crate::services::content::Content;
use crate::services::conversations::message_id;
use crate::services::history::{HistoryRequest, MAX_HISTORY_PAGE, Reading};
use crate::services::inbox::InboxRequest;
use crate::services::messaging::{CALL_LOG_ID, DeleteScope, SendMessage};
use crate::services::presence_changes::{MAX_ASKED, Wanted};
use crate::services::push::DeviceTokens;
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
    let content = match payload.text(&["mediaId"])? {
        None => Content::parse(message_type, text, media)?,
        Some(_) if media.url.is_some() || media.thumbnail_url.is_some() => {
            return Err(Error::invalid("a message has a mediaId, or a mediaUrl and thumbnailUrl, not both"));
        }
        Some(id) => {
            let id = MediaId::parse(id).ok_or_else(|| Error::InvalidId("a media id has 32 hex digits".into()))?;
            Content::parse_with_attachment(message_type, text, media, id)?
        }
    };
    Ok(SendMessage {
        conversation,
        recipient: recipient(payload)?,
        content,
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

/// `page`, `limit` and `cursor` of an inbox.
pub fn inbox(payload: &Payload) -> Result<InboxRequest> {
    let (page, limit) = page(payload)?;
    let after = payload.text(&["cursor"])?.map(|text| InboxPosition::parse(text).ok_or_else(|| Error::invalid("this is no cursor")));
    Ok(InboxRequest { page, limit, after: after.transpose()? })
}

/// `type` of a person, where an id alone does not say enough.
pub fn person_type(payload: &Payload) -> Result<Option<ParticipantKind>> {
    let word = payload.text(&["type", "userType"])?;
    word.map(|word| ParticipantKind::parse(word).ok_or_else(|| Error::invalid("type must be admin, astrologer or user"))).transpose()
}

/// `contactId`, and `contactType` where it is not the kind of people one has to do with: users for astrologers, astrologers for the
/// others, and support by its own id.
pub fn contact(payload: &Payload, of: ParticipantKind) -> Result<Participant> {
    let id = payload.require_text(&["contactId", "recipientId"])?;
    let kind = match payload.text(&["contactType", "recipientType"])? {
        Some(word) => ParticipantKind::parse(word).ok_or_else(|| Error::invalid("contactType must be admin, astrologer or user"))?,
        None if id == SHARED_ADMIN_ID => ParticipantKind::Admin,
        None if of == ParticipantKind::Astrologer => ParticipantKind::User,
        None => ParticipantKind::Astrologer,
    };
    Participant::new(kind, id).ok_or_else(|| Error::InvalidId("contactId is not the id of such a contact".into()))
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

/// `presence:get`: ids, each alone or as `type:id`, in a list or separated by commas. What can be nobody's id is left out.
pub fn wanted_people(payload: &Payload) -> Result<Vec<Wanted>> {
    let texts = payload.texts(&["ids"])?.ok_or_else(|| Error::invalid("ids is required"))?;
    let ids: Vec<&str> = texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|id| !id.is_empty()).collect();
    if ids.len() > MAX_ASKED {
        return Err(Error::invalid(format!("at most {MAX_ASKED} ids at once")));
    }
    let wanted = |id: &str| match id.split_once(':') {
        Some((kind, id)) => Some(Wanted::Person(Participant::new(ParticipantKind::parse(kind)?, id)?)),
        None => Some(Wanted::Id(id.to_owned())),
    };
    Ok(ids.into_iter().filter_map(wanted).collect())
}

/// `POST /api/media/uploads`.
pub fn announce(payload: &Payload) -> Result<Announce> {
    Ok(Announce {
        conversation: payload.require_text(&["conversationId"])?.to_owned(),
        name: payload.text(&["name", "fileName"])?.unwrap_or_default().to_owned(),
        mime: payload.require_text(&["mimeType", "contentType"])?.to_owned(),
        size_bytes: payload.number(&["size"], 1)?.ok_or_else(|| Error::invalid("size is required"))?,
    })
}

/// The conversation of a typing event.
pub fn typing_conversation(payload: &Payload) -> Result<&str> {
    payload.require_text(&["conversationId"])
}

/// `/api/fcm/register`.
pub fn device_tokens(payload: &Payload) -> Result<DeviceTokens> {
    let platform = payload.text(&["platform"])?.unwrap_or("android");
    let platform = Platform::parse(platform).ok_or_else(|| Error::invalid("platform must be android, ios or web"))?;
    DeviceTokens::new(platform, payload.text(&["fcmToken", "token"])?, payload.text(&["voipToken"])?)
}
