//! What happens to a message after it was sent: delivered, read, hidden, deleted. The unread count moves in the same transaction.

use rusqlite::{Connection, params};

use super::{analytics, conversations, messages};
use crate::error::{Error, Result};
use crate::models::{ConversationHandle, ConversationId, Message, MessageId, Participant, Timestamp};
use crate::store::{DeleteMessage, MarkRead, ReadMarks, Which};

/// Marks messages as read and counts again what is left, which also mends a count that was ever wrong.
pub(super) fn read(connection: &Connection, mark: &MarkRead) -> Result<ReadMarks> {
    let conversation = mark.conversation.id;
    let ids = match &mark.which {
        Which::AllUnread => unread_ids(connection, conversation, &mark.reader)?,
        Which::Ids(ids) => ids.clone(),
    };
    let (kind, identity) = (mark.reader.kind().as_str(), mark.reader.identity());
    let mut update = connection.prepare_cached(
        "UPDATE message SET status = 'read', unread = 0, read_at = ?5, updated_at = max(updated_at, ?5)
         WHERE conversation = ?1 AND id = ?2 AND recipient_kind = ?3 AND recipient_identity = ?4 AND unread = 1",
    )?;
    let mut marked = Vec::with_capacity(ids.len());
    for id in ids {
        if update.execute(params![conversation.bytes(), id.bytes(), kind, identity.id(), mark.at.as_millis()])? > 0 {
            marked.push(id);
        }
    }
    marked.sort_unstable();
    let unread = count_unread(connection, conversation, &mark.reader)?;
    conversations::set_unread(connection, conversation, &mark.reader, unread)?;
    if !marked.is_empty() {
        conversations::touch(connection, conversation, mark.at)?;
    }
    Ok(ReadMarks { ids: marked, unread })
}

// INDEXED BY below: without statistics SQLite prefers to walk the whole conversation, and a statement that cannot use the index
// should fail in the tests rather than be slow.

fn unread_ids(connection: &Connection, conversation: ConversationId, reader: &Participant) -> Result<Vec<MessageId>> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM message INDEXED BY message_unread
             WHERE conversation = ?1 AND recipient_kind = ?2 AND recipient_identity = ?3 AND unread = 1 ORDER BY id",
    )?;
    let ids = statement
        .query_map(params![conversation.bytes(), reader.kind().as_str(), reader.identity().id()], |row| row.get(0))?
        .map(|id| id.map(MessageId::from_bytes))
        .collect::<rusqlite::Result<_>>()?;
    Ok(ids)
}

fn count_unread(connection: &Connection, conversation: ConversationId, reader: &Participant) -> Result<u32> {
    let count = connection
        .prepare_cached(
            "SELECT count(*) FROM message INDEXED BY message_unread
             WHERE conversation = ?1 AND recipient_kind = ?2 AND recipient_identity = ?3 AND unread = 1",
        )?
        .query_row(params![conversation.bytes(), reader.kind().as_str(), reader.identity().id()], |row| row.get(0))?;
    Ok(count)
}

/// Marks messages as delivered, from sent only; delivered ones still count as unread.
pub(super) fn delivered(connection: &Connection, messages: &[(ConversationHandle, MessageId)], at: Timestamp) -> Result<Vec<MessageId>> {
    let mut update = connection.prepare_cached(
        "UPDATE message SET status = 'delivered', delivered_at = ?3, updated_at = max(updated_at, ?3)
         WHERE conversation = ?1 AND id = ?2 AND status = 'sent'",
    )?;
    let mut changed = Vec::new();
    for (conversation, id) in messages {
        if update.execute(params![conversation.id.bytes(), id.bytes(), at.as_millis()])? > 0 {
            changed.push(*id);
        }
    }
    Ok(changed)
}

/// Hides a message from one participant.
pub(super) fn hide(connection: &Connection, hide: &DeleteMessage) -> Result<Option<Message>> {
    let Some(mut message) = messages::find_in(connection, hide.conversation.id, hide.message)? else { return Ok(None) };
    if message.deleted_by.contains(&hide.by) {
        return Ok(Some(message));
    }
    message.deleted_by.push(hide.by.clone());
    message.updated_at = message.updated_at.max(hide.at);
    let deleted_by = serde_json::to_string(&message.deleted_by).map_err(Error::internal)?;
    connection
        .prepare_cached("UPDATE message SET deleted_by = ?3, updated_at = ?4 WHERE conversation = ?1 AND id = ?2")?
        .execute(params![message.conversation_id.bytes(), message.id.bytes(), deleted_by, message.updated_at.as_millis()])?;
    if hide.by == hide.recipient_key {
        stop_counting(connection, &message)?;
    }
    conversations::touch(connection, message.conversation_id, hide.at)?;
    Ok(Some(message))
}

/// Deletes a message for everyone.
pub(super) fn delete(connection: &Connection, delete: &DeleteMessage) -> Result<Option<Message>> {
    let Some(mut message) = messages::find_in(connection, delete.conversation.id, delete.message)? else { return Ok(None) };
    if message.is_deleted {
        return Ok(Some(message));
    }
    let conversation = message.conversation_id;
    stop_counting(connection, &message)?;
    if !message.deleted_by.contains(&delete.by) {
        message.deleted_by.push(delete.by.clone());
    }
    let deleted_by = serde_json::to_string(&message.deleted_by).map_err(Error::internal)?;
    connection
        .prepare_cached(
            "UPDATE message SET is_deleted = 1, deleted_at = ?3, deleted_by = ?4, updated_at = max(updated_at, ?3), content = '', media_url = NULL,
             media_size = NULL, media_duration = NULL, thumbnail_url = NULL WHERE conversation = ?1 AND id = ?2",
        )?
        .execute(params![conversation.bytes(), message.id.bytes(), delete.at.as_millis(), deleted_by])?;
    // Whether or not it was the latest: the newest one left is.
    let newest = messages::newest(connection, conversation)?;
    conversations::set_last(connection, conversation, newest.as_ref())?;
    conversations::touch(connection, conversation, delete.at)?;
    analytics::recount(connection, message.created_at)?;
    messages::find_in(connection, conversation, message.id)
}

/// Takes a message out of its recipient's unread count, if it is in it.
fn stop_counting(connection: &Connection, message: &Message) -> Result<()> {
    let (conversation, recipient) = (message.conversation_id, message.recipient.identity());
    let counted = connection
        .prepare_cached("UPDATE message SET unread = 0 WHERE conversation = ?1 AND id = ?2 AND unread = 1")?
        .execute(params![conversation.bytes(), message.id.bytes()])?;
    if counted > 0 {
        let unread = count_unread(connection, conversation, &recipient)?;
        conversations::set_unread(connection, conversation, &recipient, unread)?;
    }
    Ok(())
}
