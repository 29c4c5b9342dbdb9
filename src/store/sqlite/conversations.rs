//! Opening, finding and listing conversations, and what a message changes in its conversation.

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::rows::{self, conversation_columns, member_columns, sql_count};
use crate::error::{Error, Result};
use crate::models::conversation::person_key;
use crate::models::{Conversation, ConversationId, ConversationKey, IdClock, Message, Participant, Profile, Timestamp};
use crate::store::{ConversationPage, Conversations, Lookup, MAX_ALIASES, MAX_PAGE, NewConversation, Opened};

/// Finds or makes the conversation of a pair. No race: there is one writer, and this runs on it.
pub(super) fn open(connection: &Connection, clock: &IdClock, new: &NewConversation) -> Result<Opened> {
    let key = new.pair.key();
    let (id, created) = match find_id(connection, "SELECT id FROM conversation WHERE key = ?1", [key.as_str()])? {
        Some(id) => (id, false),
        None => (create(connection, clock, &key, new)?, true),
    };
    if let Some(alias) = new.alias.as_ref().filter(|alias| **alias != key) {
        add_alias(connection, id, alias, new.at)?;
    }
    let conversation = load(connection, id)?.ok_or_else(|| Error::internal(format!("conversation {id} is gone while being opened")))?;
    Ok(Opened { conversation, created })
}

fn create(connection: &Connection, clock: &IdClock, key: &ConversationKey, new: &NewConversation) -> Result<ConversationId> {
    // Only the id is the clock's: the time of opening is the caller's, no message stands before it.
    let (id, _) = clock.next(new.at);
    let at = new.at.as_millis();
    connection
        .prepare_cached(
            "INSERT INTO conversation(id, key, type, context_type, context_id, last_message_at, created_at, updated_at)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?6, ?6)",
        )?
        .execute(params![id, key.as_str(), new.pair.conversation_type(), new.context_type, new.context_id, at])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO member(conversation, kind, person, position, name, picture, joined_at, last_at) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
    )?;
    for (position, (person, profile)) in (0_i64..).zip(new.pair.both().into_iter().zip(&new.profiles)) {
        insert.execute(params![id, person.kind().as_str(), person.identity().id(), position, profile.name, profile.picture, at])?;
    }
    Ok(ConversationId::from_bytes(id))
}

fn add_alias(connection: &Connection, id: ConversationId, alias: &ConversationKey, at: Timestamp) -> Result<()> {
    let known = aliases(connection, id)?;
    if known.len() >= MAX_ALIASES || known.iter().any(|name| name == alias.as_str()) {
        return Ok(());
    }
    connection.prepare_cached("INSERT INTO alias(conversation, position, name) VALUES(?1, ?2, ?3)")?.execute(params![
        id.bytes(),
        sql_count(known.len()),
        alias.as_str()
    ])?;
    touch(connection, id, at)
}

/// Moves `updated_at` forward.
pub(super) fn touch(connection: &Connection, id: ConversationId, at: Timestamp) -> Result<()> {
    connection
        .prepare_cached("UPDATE conversation SET updated_at = max(updated_at, ?2) WHERE id = ?1")?
        .execute(params![id.bytes(), at.as_millis()])?;
    Ok(())
}

/// The conversation a lookup names.
pub(super) fn find(connection: &Connection, lookup: &Lookup) -> Result<Option<Conversation>> {
    let id = match lookup {
        Lookup::Id(id) => Some(*id),
        Lookup::Key(key) => find_id(connection, "SELECT id FROM conversation WHERE key = ?1", [key.as_str()])?,
        Lookup::Alias(name, person) => find_id(
            connection,
            // Others may give their conversation with this person the same name; a guess would write to the wrong one.
            "SELECT max(conversation) FROM alias JOIN member USING(conversation) WHERE alias.name = ?1 AND kind = ?2 AND person = ?3
             HAVING count(*) = 1",
            params![name.as_str(), person.kind().as_str(), person.identity().id()],
        )?,
    };
    id.map_or(Ok(None), |id| load(connection, id))
}

fn find_id(connection: &Connection, sql: &str, params: impl Params) -> Result<Option<ConversationId>> {
    let id = connection.prepare_cached(sql)?.query_row(params, |row| row.get(0)).optional()?;
    Ok(id.map(ConversationId::from_bytes))
}

/// Reads a conversation with its members and other names.
pub(super) fn load(connection: &Connection, id: ConversationId) -> Result<Option<Conversation>> {
    let mut statement = connection.prepare_cached(concat!("SELECT ", conversation_columns!(), " FROM conversation WHERE id = ?1"))?;
    let Some(mut conversation) = statement.query([id.bytes()])?.next()?.map(rows::conversation).transpose()? else { return Ok(None) };
    let mut statement =
        connection.prepare_cached(concat!("SELECT ", member_columns!(), " FROM member WHERE conversation = ?1 ORDER BY position"))?;
    let mut rows = statement.query([id.bytes()])?;
    let mut unread = Vec::new();
    while let Some(row) = rows.next()? {
        let (member, count) = rows::member(row)?;
        conversation.members.push(member);
        unread.push(count);
    }
    let people = || conversation.members.iter().map(|member| &member.participant);
    conversation.unread = people().zip(unread).map(|(person, count)| (person_key(person, people()), count)).collect();
    conversation.aliases = aliases(connection, id)?;
    Ok(Some(conversation))
}

fn aliases(connection: &Connection, id: ConversationId) -> Result<Vec<String>> {
    let mut statement = connection.prepare_cached("SELECT name FROM alias WHERE conversation = ?1 ORDER BY position")?;
    let names = statement.query_map([id.bytes()], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(names)
}

/// One page of someone's conversations.
pub(super) fn page(connection: &Connection, person: &Participant, page: &ConversationPage) -> Result<Conversations> {
    let (kind, identity) = (person.kind().as_str(), person.identity());
    let limit = page.limit.min(MAX_PAGE);
    // Activity and id together are the order, so that conversations of the same millisecond are neither repeated nor left out.
    let (at, before) = match page.before {
        Some(id) => (last_activity(connection, id, kind, identity.id())?, id),
        None => (i64::MAX, ConversationId::from_bytes([u8::MAX; 12])),
    };
    let mut statement = connection.prepare_cached(
        "SELECT conversation FROM member WHERE kind = ?1 AND person = ?2 AND (last_at, conversation) < (?3, ?4)
         ORDER BY last_at DESC, conversation DESC LIMIT ?5 OFFSET ?6",
    )?;
    let mut ids = statement
        .query_map(params![kind, identity.id(), at, before.bytes(), sql_count(limit + 1), sql_count(page.skip)], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<[u8; 12]>>>()?;
    let has_more = ids.len() > limit;
    ids.truncate(limit);
    let items = ids
        .into_iter()
        .map(ConversationId::from_bytes)
        .map(|id| load(connection, id)?.ok_or_else(|| Error::internal(format!("conversation {id} has a member but no row"))));
    let items = items.collect::<Result<_>>()?;
    let total = connection
        .prepare_cached("SELECT count(*) FROM member WHERE kind = ?1 AND person = ?2")?
        .query_row(params![kind, identity.id()], |row| row.get::<_, u32>(0))?;
    Ok(Conversations { items, has_more, total: u64::from(total) })
}

fn last_activity(connection: &Connection, id: ConversationId, kind: &str, person: &str) -> Result<i64> {
    connection
        .prepare_cached("SELECT last_at FROM member WHERE conversation = ?1 AND kind = ?2 AND person = ?3")?
        .query_row(params![id.bytes(), kind, person], |row| row.get(0))
        .optional()?
        .ok_or(Error::ConversationNotFound)
}

/// Writes what is known of one member.
pub(super) fn update_profile(connection: &Connection, id: ConversationId, person: &Participant, profile: &Profile) -> Result<()> {
    let changed = connection
        .prepare_cached(
            "UPDATE member SET name = coalesce(?4, name), picture = coalesce(?5, picture)
             WHERE conversation = ?1 AND kind = ?2 AND person = ?3",
        )?
        .execute(params![id.bytes(), person.kind().as_str(), person.identity().id(), profile.name, profile.picture])?;
    if changed == 0 { Err(Error::ConversationNotFound) } else { Ok(()) }
}

/// Makes a fresh message its conversation's latest and counts it for its recipient.
pub(super) fn append(connection: &Connection, message: &Message) -> Result<()> {
    let (id, at) = (message.conversation_id, message.created_at);
    if set_last(connection, id, Some(message))? == 0 {
        return Err(Error::ConversationNotFound);
    }
    // Activity only moves forward, also past the time of opening, which is another clock's.
    connection
        .prepare_cached(
            "UPDATE conversation SET last_message_at = max(last_message_at, ?2), updated_at = max(updated_at, ?2) WHERE id = ?1",
        )?
        .execute(params![id.bytes(), at.as_millis()])?;
    let recipient = message.recipient.identity();
    connection
        .prepare_cached(
            "UPDATE member SET last_at = max(last_at, ?2), unread = unread + (?3 AND kind = ?4 AND person = ?5) WHERE conversation = ?1",
        )?
        .execute(params![id.bytes(), at.as_millis(), message.is_unread(), recipient.kind().as_str(), recipient.id()])?;
    Ok(())
}

/// Writes what lists show of the newest message. `last_message_at` stays: a deletion does not reorder lists.
pub(super) fn set_last(connection: &Connection, id: ConversationId, last: Option<&Message>) -> Result<usize> {
    let changed = connection
        .prepare_cached(
            "UPDATE conversation SET last_id = ?2, last_content = ?3, last_sender_kind = ?4, last_sender = ?5, last_at = ?6, last_type = ?7
             WHERE id = ?1",
        )?
        .execute(params![
            id.bytes(),
            last.map(|m| m.id.bytes()),
            last.map(|m| m.content.as_str()),
            last.map(|m| m.sender.kind().as_str()),
            last.map(|m| m.sender.id()),
            last.map(|m| m.created_at.as_millis()),
            last.map(|m| m.message_type.as_str()),
        ])?;
    Ok(changed)
}

/// Writes the unread count of one member.
pub(super) fn set_unread(connection: &Connection, id: ConversationId, person: &Participant, unread: u32) -> Result<()> {
    connection
        .prepare_cached("UPDATE member SET unread = ?4 WHERE conversation = ?1 AND kind = ?2 AND person = ?3 AND unread <> ?4")?
        .execute(params![id.bytes(), person.kind().as_str(), person.identity().id(), unread])?;
    Ok(())
}
