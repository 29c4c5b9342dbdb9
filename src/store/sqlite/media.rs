//! Attachments: what is known of the files, which are elsewhere.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::rows::sql_count;
use crate::error::{Error, Result};
use crate::models::media::{Attachment, AttachmentState, MediaId, MediaType};
use crate::models::{ConversationKey, Participant, ParticipantKind, Timestamp};
use crate::store::media::MediaStore;

const COLUMNS: &str = "id, conversation, kind, person, name, type, size, state, width, height, created_at";

#[async_trait]
impl MediaStore for SqliteStore {
    async fn announce_media(&self, attachment: Attachment) -> Result<()> {
        self.write(move |connection, _| write(connection, "INSERT", &attachment, false)).await
    }

    async fn find_media(&self, id: MediaId) -> Result<Option<Attachment>> {
        self.readers.ask(move |connection| find(connection, id)).await
    }

    async fn complete_media(&self, id: MediaId, pixels: Option<(u32, u32)>) -> Result<bool> {
        let work = move |connection: &Connection| {
            let changed = connection
                .prepare_cached("UPDATE media SET state = 'ready', width = ?2, height = ?3 WHERE id = ?1 AND state = 'pending'")?
                .execute(params![id.to_string(), pixels.map(|p| p.0), pixels.map(|p| p.1)])?;
            Ok(changed > 0)
        };
        self.write(move |connection, _| work(connection)).await
    }

    async fn use_media(&self, id: MediaId, owner: &Participant, conversation: &ConversationKey) -> Result<bool> {
        let (owner, conversation) = (owner.identity(), conversation.clone());
        let work = move |connection: &Connection| {
            let changed = connection
                .prepare_cached(
                    "UPDATE media SET used = 1, claims = claims + 1
                     WHERE id = ?1 AND state = 'ready' AND kind = ?2 AND person = ?3 AND conversation = ?4",
                )?
                .execute(params![id.to_string(), owner.kind().as_str(), owner.id(), conversation.as_str()])?;
            Ok(changed > 0)
        };
        self.write(move |connection, _| work(connection)).await
    }

    async fn release_media(&self, id: MediaId) -> Result<()> {
        let work = move |connection: &Connection| {
            // Both sides read what was there before.
            let sql = "UPDATE media SET used = claims > 1, claims = claims - 1 WHERE id = ?1 AND state = 'ready' AND claims > 0";
            connection.prepare_cached(sql)?.execute([id.to_string()])?;
            Ok(())
        };
        self.write(move |connection, _| work(connection)).await
    }

    async fn erase_media(&self, id: MediaId) -> Result<()> {
        let work = move |connection: &Connection| {
            connection.prepare_cached("UPDATE media SET state = 'erased' WHERE id = ?1")?.execute([id.to_string()])?;
            Ok(())
        };
        self.write(move |connection, _| work(connection)).await
    }

    async fn give_up_media(&self, id: MediaId) -> Result<bool> {
        let work = move |connection: &Connection| {
            let changed = connection
                .prepare_cached(
                    "UPDATE media SET state = 'erased' WHERE id = ?1 AND (state = 'pending' OR (state = 'ready' AND used = 0))",
                )?
                .execute([id.to_string()])?;
            Ok(changed > 0)
        };
        self.write(move |connection, _| work(connection)).await
    }

    async fn abandoned_media(&self, pending_before: Timestamp, unused_before: Timestamp, limit: usize) -> Result<Vec<Attachment>> {
        self.readers.ask(move |connection| abandoned(connection, pending_before, unused_before, limit)).await
    }

    async fn forget_media(&self, ids: &[MediaId]) -> Result<Vec<MediaId>> {
        let ids = ids.to_vec();
        let work = move |connection: &Connection| {
            let mut delete = connection.prepare_cached("DELETE FROM media WHERE id = ?1 AND NOT (state = 'ready' AND used = 1)")?;
            let mut forgotten = Vec::new();
            for id in ids {
                if delete.execute([id.to_string()])? > 0 {
                    forgotten.push(id);
                }
            }
            Ok(forgotten)
        };
        self.write(move |connection, _| work(connection)).await
    }
}

/// As it is, in place of one with its id.
pub(super) fn put(connection: &Connection, attachment: &Attachment, is_used: bool) -> Result<()> {
    write(connection, "INSERT OR REPLACE", attachment, is_used)
}

/// All of them by id, each with whether a message names it.
pub(super) fn walk(connection: &Connection, after: &str, limit: usize) -> Result<Vec<(Attachment, bool)>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS}, used FROM media WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    let mut rows = statement.query(params![after, sql_count(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((read(row)?, row.get(11)?));
    }
    Ok(found)
}

fn write(connection: &Connection, insert: &str, new: &Attachment, is_used: bool) -> Result<()> {
    let owner = new.owner.identity();
    let sql = format!("{insert} INTO media({COLUMNS}, used, claims) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12)");
    connection.prepare_cached(&sql)?.execute(params![
        new.id.to_string(),
        new.conversation.as_str(),
        owner.kind().as_str(),
        owner.id(),
        new.name,
        new.media_type.mime,
        i64::try_from(new.size_bytes).map_err(Error::internal)?,
        new.state.as_str(),
        new.pixels.map(|p| p.0),
        new.pixels.map(|p| p.1),
        new.created_at.as_millis(),
        is_used,
    ])?;
    Ok(())
}

fn find(connection: &Connection, id: MediaId) -> Result<Option<Attachment>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM media WHERE id = ?1"))?;
    statement.query_row([id.to_string()], |row| Ok(read(row))).optional()?.transpose()
}

fn abandoned(connection: &Connection, pending: Timestamp, unused: Timestamp, limit: usize) -> Result<Vec<Attachment>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM media WHERE NOT (state = 'ready' AND used = 1)
         AND (state = 'erased' OR (state = 'pending' AND created_at < ?1) OR (state = 'ready' AND created_at < ?2)) LIMIT ?3"
    ))?;
    let mut rows = statement.query(params![pending.as_millis(), unused.as_millis(), sql_count(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn read(row: &Row<'_>) -> Result<Attachment> {
    let (id, kind, mime, state): (String, String, String, String) = (row.get(0)?, row.get(2)?, row.get(5)?, row.get(7)?);
    let wrong = |what: &str| Error::internal(format!("cannot decode {what} of attachment {id}"));
    let (width, height): (Option<u32>, Option<u32>) = (row.get(8)?, row.get(9)?);
    Ok(Attachment {
        id: MediaId::parse(&id).ok_or_else(|| wrong("the id"))?,
        conversation: ConversationKey::stored(row.get::<_, String>(1)?),
        owner: Participant::stored(ParticipantKind::parse(&kind).ok_or_else(|| wrong("the owner"))?, row.get::<_, String>(3)?),
        name: row.get(4)?,
        media_type: MediaType::find(&mime).ok_or_else(|| wrong("the type"))?,
        size_bytes: u64::try_from(row.get::<_, i64>(6)?).map_err(|_| wrong("the size"))?,
        state: AttachmentState::parse(&state).ok_or_else(|| wrong("the state"))?,
        pixels: width.zip(height),
        created_at: Timestamp::from_millis(row.get(10)?),
    })
}
