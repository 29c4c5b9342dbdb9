//! Walking through everything, counting again, taking over, taking names out. See [`crate::store::UpkeepStore`].

use std::collections::BTreeMap;

use rusqlite::{Connection, Params, params};

use super::messages::Put;
use super::rows::{self, call_columns, message_columns, sql_count};
use super::{calls, conversations, messages};
use crate::error::{Error, Result};
use crate::models::{Call, CallId, Conversation, ConversationId, Message, MessageId, Participant, Relation, Timestamp};
use crate::store::{Load, Recount};

/// Whether a message counts for its recipient (`?4` is his person key), worked out from what it is.
macro_rules! counts {
    () => {
        "status IN ('sent', 'delivered') AND is_deleted = 0 AND type <> 'call_log' \
         AND (deleted_by IS NULL OR NOT EXISTS (SELECT 1 FROM json_each(deleted_by) WHERE value = ?4))"
    };
}

pub(super) fn conversations(connection: &Connection, after: Option<ConversationId>, limit: usize) -> Result<Vec<Conversation>> {
    let mut statement = connection.prepare_cached("SELECT id FROM conversation WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let ids = statement
        .query_map(params![after.map_or([0; 12], ConversationId::bytes), sql_count(limit)], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<[u8; 12]>>>()?;
    let load = |id| conversations::load(connection, ConversationId::from_bytes(id)).transpose();
    ids.into_iter().filter_map(load).collect()
}

pub(super) fn messages_of(connection: &Connection, of: ConversationId, after: Option<MessageId>, limit: usize) -> Result<Vec<Message>> {
    let sql = concat!("SELECT ", message_columns!(), " FROM message WHERE conversation = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    all(connection, sql, params![of.bytes(), after.map_or([0; 12], MessageId::bytes), sql_count(limit)], rows::message)
}

pub(super) fn calls_by_id(connection: &Connection, after: Option<CallId>, limit: usize) -> Result<Vec<Call>> {
    let sql = concat!("SELECT ", call_columns!(), " FROM call WHERE id > ?1 ORDER BY id LIMIT ?2");
    all(connection, sql, params![after.map_or([0; 12], CallId::bytes), sql_count(limit)], rows::call)
}

pub(super) fn relations(connection: &Connection) -> Result<Vec<Relation>> {
    let mut statement =
        connection.prepare_cached("SELECT user, astrologer, consultation_id, at FROM relation ORDER BY user, astrologer")?;
    let relation = |row: &rusqlite::Row<'_>| {
        let at = Timestamp::from_millis(row.get(3)?);
        Ok(Relation { user: row.get(0)?, astrologer: row.get(1)?, consultation_id: row.get(2)?, at })
    };
    Ok(statement.query_map([], relation)?.collect::<rusqlite::Result<_>>()?)
}

fn all<T>(connection: &Connection, sql: &str, params: impl Params, read: impl Fn(&rusqlite::Row<'_>) -> Result<T>) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

pub(super) fn recount(connection: &Connection, of: ConversationId) -> Result<Option<Recount>> {
    let Some(conversation) = conversations::load(connection, of)? else { return Ok(None) };
    let (mut counted, mut real) = (BTreeMap::new(), BTreeMap::new());
    for member in &conversation.members {
        let person = member.participant.identity();
        let key = conversation.person_key(&person);
        let count = connection
            .prepare_cached(concat!(
                "SELECT count(*) FROM message WHERE conversation = ?1 AND recipient_kind = ?2 AND recipient_identity = ?3 AND ",
                counts!()
            ))?
            .query_row(params![of.bytes(), person.kind().as_str(), person.id(), key], |row| row.get::<_, i64>(0))?;
        // What the next reader would be told, if the marks on the messages are wrong and the count is not.
        let marked: i64 = connection
            .prepare_cached(
                "SELECT count(*) FROM message WHERE conversation = ?1 AND recipient_kind = ?2 AND recipient_identity = ?3 AND unread = 1",
            )?
            .query_row(params![of.bytes(), person.kind().as_str(), person.id()], |row| row.get(0))?;
        let stored = i64::from(conversation.unread_of(&person));
        counted.insert(key.clone(), if marked == count { stored } else { marked });
        real.insert(key, count);
    }
    let newest = messages::newest(connection, of)?.map(|message| (message.id, message.content));
    Ok(Some(Recount { counted, real, shown: conversation.last_message, newest }))
}

pub(super) fn put_right(connection: &Connection, of: ConversationId) -> Result<()> {
    let Some(conversation) = conversations::load(connection, of)? else { return Ok(()) };
    for member in &conversation.members {
        let person = member.participant.identity();
        let of_person = params![of.bytes(), person.kind().as_str(), person.id(), conversation.person_key(&person)];
        connection
            .prepare_cached(concat!(
                "UPDATE message SET unread = (",
                counts!(),
                ") WHERE conversation = ?1 AND recipient_kind = ?2 AND recipient_identity = ?3 AND unread <> (",
                counts!(),
                ")"
            ))?
            .execute(of_person)?;
        let unread = connection
            .prepare_cached(
                "SELECT count(*) FROM message WHERE conversation = ?1 AND recipient_kind = ?2 AND recipient_identity = ?3 AND unread = 1",
            )?
            .query_row(params![of.bytes(), person.kind().as_str(), person.id()], |row| row.get(0))?;
        conversations::set_unread(connection, of, &person, unread)?;
    }
    let newest = messages::newest(connection, of)?;
    conversations::set_last(connection, of, newest.as_ref())?;
    Ok(())
}

pub(super) fn take_over(connection: &Connection, load: &Load) -> Result<()> {
    match load {
        Load::Conversations(all) => all.iter().try_for_each(|conversation| put_conversation(connection, conversation)),
        Load::Messages(handle, all) => {
            let Some(conversation) = conversations::load(connection, handle.id)? else { return Err(Error::ConversationNotFound) };
            all.iter().try_for_each(|message| put_message(connection, &conversation, message))
        }
        Load::Calls(all) => all.iter().try_for_each(|call| calls::put(connection, call, Put::InPlace)),
        Load::Relations(all) => all.iter().try_for_each(|relation| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO relation(user, astrologer, consultation_id, at) VALUES(?1, ?2, ?3, ?4)")?
                .execute(params![relation.user, relation.astrologer, relation.consultation_id, relation.at.as_millis()])?;
            Ok(())
        }),
    }
}

fn put_conversation(connection: &Connection, conversation: &Conversation) -> Result<()> {
    let (id, last) = (conversation.handle.id.bytes(), conversation.last_message.as_ref());
    let last_sender = last.and_then(|last| last.sender.as_ref());
    // The table wants all of the latest message or none of it; documents of older programs may hold a part.
    let last_id = last.filter(|last| last.sender.is_some() && last.at.is_some()).and_then(|last| last.message_id);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO conversation(id, key, type, context_type, context_id, last_id, last_content, last_sender_kind, last_sender,
                last_at, last_type, last_message_at, created_at, updated_at)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            id,
            conversation.key().as_str(),
            conversation.conversation_type,
            conversation.context_type,
            conversation.context_id,
            last_id.map(MessageId::bytes),
            last.map(|last| last.content.as_str()),
            last_sender.map(|sender| sender.kind().as_str()),
            last_sender.map(Participant::id),
            last.and_then(|last| last.at).map(Timestamp::as_millis),
            last.map(|last| last.message_type.as_str()),
            conversation.last_message_at.as_millis(),
            conversation.created_at.as_millis(),
            conversation.updated_at.as_millis(),
        ])?;
    for table in ["member", "alias"] {
        connection.prepare_cached(&format!("DELETE FROM {table} WHERE conversation = ?1"))?.execute([id])?;
    }
    let mut member = connection.prepare_cached(
        "INSERT OR REPLACE INTO member(conversation, kind, person, position, name, picture, joined_at, unread, last_at)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (position, one) in (0_i64..).zip(&conversation.members) {
        let person = one.participant.identity();
        member.execute(params![
            id,
            person.kind().as_str(),
            person.id(),
            position,
            one.profile.name,
            one.profile.picture,
            one.joined_at.map(Timestamp::as_millis),
            conversation.unread_of(&person),
            conversation.last_message_at.as_millis(),
        ])?;
    }
    let mut alias = connection.prepare_cached("INSERT INTO alias(conversation, position, name) VALUES(?1, ?2, ?3)")?;
    for (position, name) in (0_i64..).zip(&conversation.aliases) {
        alias.execute(params![id, position, name])?;
    }
    Ok(())
}

fn put_message(connection: &Connection, conversation: &Conversation, message: &Message) -> Result<()> {
    let is_hidden = message.deleted_by.contains(&conversation.person_key(&message.recipient));
    messages::put(connection, message, message.is_unread() && !is_hidden, Put::InPlace)
}

pub(super) fn erase_names(connection: &Connection, person: &Participant) -> Result<()> {
    let identity = person.identity();
    let who = params![identity.kind().as_str(), identity.id()];
    for sql in [
        "UPDATE message SET sender_name = NULL, sender_picture = NULL WHERE sender_kind = ?1 AND sender = ?2",
        "UPDATE member SET name = NULL, picture = NULL WHERE kind = ?1 AND person = ?2",
        "UPDATE call SET caller_name = NULL, caller_picture = NULL WHERE caller_kind = ?1 AND caller_identity = ?2",
        "UPDATE call SET callee_name = NULL, callee_picture = NULL WHERE callee_kind = ?1 AND callee_identity = ?2",
        "UPDATE call SET feedback = NULL WHERE rated_by_kind = ?1 AND rated_by = ?2",
        "DELETE FROM kept_rooms WHERE kind = ?1 AND person = ?2",
        "DELETE FROM last_seen WHERE kind = ?1 AND person = ?2",
        "DELETE FROM inbox WHERE kind = ?1 AND person = ?2",
        "DELETE FROM device WHERE owner_kind = ?1 AND owner = ?2",
        "DELETE FROM outbox WHERE recipient_kind = ?1 AND recipient = ?2",
    ] {
        connection.prepare_cached(sql)?.execute(who)?;
    }
    Ok(())
}
