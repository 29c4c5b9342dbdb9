//! Appending and reading messages.
//!
//! One clock makes ids and times of this file, so the order by id *is* the order `(createdAt, _id)`, and the table is already in it.

use rusqlite::{Connection, Params, Row, params};

use super::conversations;
use super::rows::{self, message_columns, sql_count};
use crate::error::{Error, Result};
use crate::models::message::CallLog;
use crate::models::{ConversationId, IdClock, Message, MessageId, NewMessage, Timestamp};
use crate::store::{Change, MAX_PAGE, MessageQuery, Messages, Range, Sent};

/// What a viewer (`?2`) may see. The list of those who deleted a message for themselves is read only where there is one.
macro_rules! visible {
    () => {
        "conversation = ?1 AND is_deleted = 0
         AND (deleted_by IS NULL OR NOT EXISTS (SELECT 1 FROM json_each(deleted_by) WHERE value = ?2))"
    };
}

/// Appends a message, or finds the one it repeats.
pub(super) fn send(connection: &Connection, clock: &IdClock, new: NewMessage) -> Result<Sent> {
    if let Some(first) = find_first(connection, &new)? {
        return if first.is_repeat_of(&new) {
            Ok(Sent::repeat(first, clock, new.at))
        } else {
            Err(Error::Conflict("clientMessageId was used for another message".to_owned()))
        };
    }
    let (id, at) = clock.next(new.at);
    let message = new.into_message(MessageId::from_bytes(id), at);
    put(connection, &message, message.is_unread(), Put::New)?;
    conversations::append(connection, &message)?;
    Ok(Sent::fresh(message))
}

fn find_first(connection: &Connection, new: &NewMessage) -> Result<Option<Message>> {
    let Some(client_id) = &new.client_message_id else { return Ok(None) };
    find_one(
        connection,
        concat!("SELECT ", message_columns!(), " FROM message WHERE sender_kind = ?1 AND sender = ?2 AND client_id = ?3"),
        params![new.sender.kind().as_str(), new.sender.id(), client_id],
    )
}

/// A new row, or one in place of whatever had its id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    New,
    InPlace,
}

macro_rules! insert {
    ($verb:literal) => {
        concat!(
            $verb,
            " INTO message(conversation, id, sender_kind, sender, sender_name, sender_picture, recipient_kind, recipient,
                recipient_identity, type, content, media_url, media_size, media_duration, thumbnail_url, reply_to, call_type, call_status,
                call_duration, call_id, client_id, status, unread, created_at, updated_at, delivered_at, read_at, is_deleted, deleted_at,
                deleted_by)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26,
                ?27, ?28, ?29, ?30)"
        )
    };
}

/// Writes all of a message; `counts` says whether it counts as unread.
pub(super) fn put(connection: &Connection, message: &Message, counts: bool, put: Put) -> Result<()> {
    let sql = if put == Put::New { insert!("INSERT") } else { insert!("INSERT OR REPLACE") };
    let no_call = CallLog::default();
    let call = message.call.as_ref().unwrap_or(&no_call);
    let deleted_by = (!message.deleted_by.is_empty()).then(|| serde_json::to_string(&message.deleted_by));
    connection.prepare_cached(sql)?.execute(params![
        message.conversation_id.bytes(),
        message.id.bytes(),
        message.sender.kind().as_str(),
        message.sender.id(),
        message.sender_profile.name,
        message.sender_profile.picture,
        message.recipient.kind().as_str(),
        message.recipient.id(),
        message.recipient.identity().id(),
        message.message_type.as_str(),
        message.content,
        message.media.url,
        message.media.size_bytes,
        message.media.duration_seconds,
        message.media.thumbnail_url,
        message.reply_to.map(MessageId::bytes),
        call.call_type,
        call.call_status,
        call.call_duration,
        call.call_id,
        message.client_message_id,
        message.status.as_str(),
        counts,
        message.created_at.as_millis(),
        message.updated_at.as_millis(),
        message.delivered_at.map(Timestamp::as_millis),
        message.read_at.map(Timestamp::as_millis),
        message.is_deleted,
        message.deleted_at.map(Timestamp::as_millis),
        deleted_by.transpose().map_err(Error::internal)?,
    ])?;
    Ok(())
}

/// The message with this id, wherever it is.
pub(super) fn find(connection: &Connection, id: MessageId) -> Result<Option<Message>> {
    find_one(connection, concat!("SELECT ", message_columns!(), " FROM message WHERE id = ?1"), [id.bytes()])
}

/// The message with this id, if it is of this conversation.
pub(super) fn find_in(connection: &Connection, conversation: ConversationId, id: MessageId) -> Result<Option<Message>> {
    find_one(
        connection,
        concat!("SELECT ", message_columns!(), " FROM message WHERE conversation = ?1 AND id = ?2"),
        params![conversation.bytes(), id.bytes()],
    )
}

/// The newest message of a conversation that is not deleted for everyone.
pub(super) fn newest(connection: &Connection, conversation: ConversationId) -> Result<Option<Message>> {
    find_one(
        connection,
        concat!("SELECT ", message_columns!(), " FROM message WHERE conversation = ?1 AND is_deleted = 0 ORDER BY id DESC LIMIT 1"),
        [conversation.bytes()],
    )
}

/// One page, oldest first.
pub(super) fn page(connection: &Connection, query: &MessageQuery) -> Result<Messages> {
    let (conversation, viewer) = (query.conversation.id.bytes(), query.viewer.as_str());
    let key = query.conversation.key.as_str();
    let limit = query.limit.min(MAX_PAGE);
    // One more than asked for tells whether there are more.
    let fetch = sql_count(limit + 1);
    let (mut items, newest_first) = match query.range {
        Range::Latest { skip } => {
            let sql =
                concat!("SELECT ", message_columns!("?5"), " FROM message WHERE ", visible!(), " ORDER BY id DESC LIMIT ?3 OFFSET ?4");
            (find_all(connection, sql, params![conversation, viewer, fetch, sql_count(skip), key])?, true)
        }
        Range::Before(cursor) => {
            require_in(connection, query.conversation.id, cursor)?;
            let sql =
                concat!("SELECT ", message_columns!("?5"), " FROM message WHERE ", visible!(), " AND id < ?4 ORDER BY id DESC LIMIT ?3");
            (find_all(connection, sql, params![conversation, viewer, fetch, cursor.bytes(), key])?, true)
        }
        Range::After(cursor) => {
            require_in(connection, query.conversation.id, cursor)?;
            let sql = concat!("SELECT ", message_columns!("?5"), " FROM message WHERE ", visible!(), " AND id > ?4 ORDER BY id LIMIT ?3");
            (find_all(connection, sql, params![conversation, viewer, fetch, cursor.bytes(), key])?, false)
        }
    };
    let has_more = items.len() > limit;
    items.truncate(limit);
    if newest_first {
        items.reverse();
    }
    // One writer: what is stored later stands later.
    Ok(Messages { items, has_more, late: 0 })
}

/// How many messages a viewer may see, of all or of those before one, up to `cap`.
pub(super) fn count(
    connection: &Connection,
    conversation: ConversationId,
    viewer: &str,
    before: Option<MessageId>,
    cap: u64,
) -> Result<u64> {
    let first = |row: &Row<'_>| row.get::<_, u32>(0);
    let (id, cap) = (conversation.bytes(), sql_count(cap));
    let count = match before {
        None => connection
            .prepare_cached(concat!("SELECT count(*) FROM (SELECT 1 FROM message WHERE ", visible!(), " LIMIT ?3)"))?
            .query_row(params![id, viewer, cap], first)?,
        Some(before) => {
            require_in(connection, conversation, before)?;
            connection
                .prepare_cached(concat!("SELECT count(*) FROM (SELECT 1 FROM message WHERE ", visible!(), " AND id < ?4 LIMIT ?3)"))?
                .query_row(params![id, viewer, cap, before.bytes()], first)?
        }
    };
    Ok(u64::from(count))
}

/// What changed among the newest `limit` messages.
pub(super) fn changes(
    connection: &Connection,
    conversation: ConversationId,
    viewer: &str,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<Change>> {
    let sql = concat!(
        "SELECT ",
        message_columns!(),
        " FROM (SELECT * FROM message WHERE conversation = ?1 ORDER BY id DESC LIMIT ?2) AS message WHERE updated_at >= ?3 ORDER BY id"
    );
    let changed = find_all(connection, sql, params![conversation.bytes(), sql_count(limit), since.as_millis()])?;
    let change = |message: Message| Change {
        message_id: message.id,
        status: message.status,
        read_at: message.read_at,
        delivered_at: message.delivered_at,
        is_deleted: message.is_deleted || message.deleted_by.iter().any(|key| key == viewer),
    };
    Ok(changed.into_iter().map(change).collect())
}

fn require_in(connection: &Connection, conversation: ConversationId, id: MessageId) -> Result<()> {
    let known = connection
        .prepare_cached("SELECT 1 FROM message WHERE conversation = ?1 AND id = ?2")?
        .exists(params![conversation.bytes(), id.bytes()])?;
    if known { Ok(()) } else { Err(Error::MessageNotFound) }
}

fn find_one(connection: &Connection, sql: &str, params: impl Params) -> Result<Option<Message>> {
    connection.prepare_cached(sql)?.query(params)?.next()?.map(rows::message).transpose()
}

fn find_all(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<Message>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        messages.push(rows::message(row)?);
    }
    Ok(messages)
}
