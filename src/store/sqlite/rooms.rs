//! Which rooms identities sit in, for the process that comes after this one.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::conversations;
use crate::error::{Error, Result};
use crate::models::{Conversation, ConversationId, ConversationKey, KeptRooms, Participant, ProcessId, Timestamp};

/// Writes what changed, and that the process is alive.
pub(super) fn remember(connection: &Connection, process: ProcessId, at: Timestamp, rooms: &[KeptRooms]) -> Result<()> {
    let process = process.to_string();
    connection
        .prepare_cached(
            "INSERT INTO process(id, alive_at) VALUES(?1, ?2) ON CONFLICT DO UPDATE SET alive_at = max(alive_at, excluded.alive_at)",
        )?
        .execute(params![process, at.as_millis()])?;
    let mut forget = connection.prepare_cached("DELETE FROM kept_rooms WHERE kind = ?1 AND person = ?2")?;
    let mut keep = connection.prepare_cached(
        "INSERT OR REPLACE INTO kept_rooms(kind, person, process, rooms, seen_at, unheard_since) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for KeptRooms { person, rooms, seen_at, unheard_since } in rooms {
        let (kind, id) = (person.kind().as_str(), person.id());
        if rooms.is_empty() {
            forget.execute(params![kind, id])?;
            continue;
        }
        let list: Vec<(&str, &str)> = rooms.iter().map(|(key, spelling)| (key.as_str(), spelling.as_ref())).collect();
        let list = serde_json::to_string(&list).map_err(Error::internal)?;
        keep.execute(params![kind, id, process, list, seen_at.map(Timestamp::as_millis), unheard_since.map(Timestamp::as_millis)])?;
    }
    Ok(())
}

/// What other processes remembered of these people.
pub(super) fn remembered(connection: &Connection, process: ProcessId, people: &[Participant], since: Timestamp) -> Result<Vec<KeptRooms>> {
    let mut statement = connection.prepare_cached(
        "SELECT rooms, coalesce(seen_at, alive_at) AS seen, unheard_since FROM kept_rooms JOIN process ON process.id = kept_rooms.process
         WHERE kind = ?1 AND person = ?2 AND process.id <> ?3 AND seen >= ?4",
    )?;
    let process = process.to_string();
    let mut found = Vec::new();
    for person in people {
        let mut rows = statement.query(params![person.kind().as_str(), person.id(), process, since.as_millis()])?;
        while let Some(row) = rows.next()? {
            let list: String = row.get(0)?;
            let list: Vec<(String, Arc<str>)> =
                serde_json::from_str(&list).map_err(|e| Error::internal(format!("cannot decode the rooms of {person}: {e}")))?;
            let rooms = list.into_iter().map(|(key, spelling)| (ConversationKey::stored(key), spelling)).collect();
            let time = |at: Option<i64>| at.map(Timestamp::from_millis);
            found.push(KeptRooms { person: person.clone(), rooms, seen_at: time(row.get(1)?), unheard_since: time(row.get(2)?) });
        }
    }
    Ok(found)
}

/// When each other process was last alive.
pub(super) fn others(connection: &Connection, process: ProcessId) -> Result<Vec<(ProcessId, Timestamp)>> {
    let mut statement = connection.prepare_cached("SELECT id, alive_at FROM process WHERE id <> ?1")?;
    let mut rows = statement.query([process.to_string()])?;
    let mut others = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let other = ProcessId::parse(&id).ok_or_else(|| Error::internal(format!("cannot decode process {id}")))?;
        others.push((other, Timestamp::from_millis(row.get(1)?)));
    }
    Ok(others)
}

/// Deletes what is too old to be given back.
pub(super) fn forget(connection: &Connection, before: Timestamp) -> Result<()> {
    let before = before.as_millis();
    connection
        .prepare_cached(
            "DELETE FROM kept_rooms WHERE seen_at < ?1
             OR (seen_at IS NULL AND process NOT IN (SELECT id FROM process WHERE alive_at >= ?1))",
        )?
        .execute([before])?;
    // One may be dead while rooms of those dropped from it still count.
    connection
        .prepare_cached(
            "DELETE FROM process WHERE alive_at < ?1 AND id NOT IN (SELECT process FROM kept_rooms UNION SELECT process FROM presence)",
        )?
        .execute([before])?;
    Ok(())
}

/// The conversations among these in which something was said.
pub(super) fn spoken_since(connection: &Connection, keys: &[ConversationKey], since: Timestamp) -> Result<Vec<Conversation>> {
    let mut statement = connection.prepare_cached("SELECT id FROM conversation WHERE key = ?1 AND last_message_at >= ?2")?;
    let mut found = HashMap::new();
    for key in keys {
        let mut rows = statement.query(params![key.as_str(), since.as_millis()])?;
        while let Some(row) = rows.next()? {
            let id = ConversationId::from_bytes(row.get(0)?);
            found.extend(conversations::load(connection, id)?.map(|conversation| (id, conversation)));
        }
    }
    Ok(found.into_values().collect())
}
