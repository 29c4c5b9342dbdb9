//! The two streams of an inbox, and what was not looked at.

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::sql_count;
use super::{SqliteStore, calls, conversations};
use crate::error::{Error, Result};
use crate::models::{CallId, Conversation, ConversationId, Participant, Timestamp};
use crate::store::MAX_PAGE;
use crate::store::inbox::{ConversationPlace, InboxStore, MAX_PLACES, MissedCalls};

#[async_trait::async_trait]
impl InboxStore for SqliteStore {
    async fn conversations_after(
        &self,
        person: &Participant,
        before: Option<ConversationPlace>,
        limit: usize,
    ) -> Result<Vec<Conversation>> {
        let person = person.identity();
        self.readers
            .ask(move |connection| {
                let places = places(connection, &person, before, limit.min(MAX_PAGE))?;
                places.into_iter().map(|(_, id)| load(connection, id)).collect()
            })
            .await
    }

    async fn conversation_places(
        &self,
        person: &Participant,
        before: Option<ConversationPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationPlace>> {
        let person = person.identity();
        self.readers.ask(move |connection| places(connection, &person, before, limit.min(MAX_PLACES))).await
    }

    async fn call_places(&self, person: &Participant, before: Option<CallId>, limit: usize) -> Result<Vec<(Timestamp, CallId)>> {
        let person = person.identity();
        self.readers.ask(move |connection| calls::places(connection, &person, before, limit.min(MAX_PLACES))).await
    }

    async fn count_unread(&self, person: &Participant) -> Result<u64> {
        let person = person.identity();
        self.readers
            .ask(move |connection| {
                let sum: u32 = connection
                    .prepare_cached(
                        "SELECT coalesce(sum(unread), 0) FROM member INDEXED BY member_activity WHERE kind = ?1 AND person = ?2",
                    )?
                    .query_row(params![person.kind().as_str(), person.id()], |row| row.get(0))?;
                Ok(u64::from(sum))
            })
            .await
    }

    async fn unread_conversations(&self, person: &Participant, limit: usize) -> Result<Vec<Conversation>> {
        let person = person.identity();
        self.readers
            .ask(move |connection| {
                let ids = connection
                    .prepare_cached(
                        "SELECT conversation FROM member INDEXED BY member_activity WHERE kind = ?1 AND person = ?2 AND unread > 0 LIMIT ?3",
                    )?
                    .query_map(params![person.kind().as_str(), person.id(), sql_count(limit)], |row| row.get(0))?
                    .collect::<rusqlite::Result<Vec<[u8; 12]>>>()?;
                ids.into_iter().map(|id| load(connection, ConversationId::from_bytes(id))).collect()
            })
            .await
    }

    async fn count_missed(&self, person: &Participant, since: Timestamp) -> Result<MissedCalls> {
        let person = person.identity();
        self.readers.ask(move |connection| missed(connection, &person, since)).await
    }

    async fn note_missed_seen(&self, person: &Participant, at: Timestamp) -> Result<()> {
        let person = person.identity();
        self.write(move |connection, _| {
            connection
                .prepare_cached(
                    "INSERT INTO inbox(kind, person, missed_seen_at) VALUES(?1, ?2, ?3)
                     ON CONFLICT(kind, person) DO UPDATE SET missed_seen_at = max(missed_seen_at, ?3)",
                )?
                .execute(params![person.kind().as_str(), person.id(), at.as_millis()])?;
            Ok(())
        })
        .await
    }
}

fn load(connection: &Connection, id: ConversationId) -> Result<Conversation> {
    conversations::load(connection, id)?.ok_or_else(|| Error::internal(format!("conversation {id} has a member but no row")))
}

fn places(
    connection: &Connection,
    person: &Participant,
    before: Option<ConversationPlace>,
    limit: usize,
) -> Result<Vec<ConversationPlace>> {
    let (at, id) = before.map_or((i64::MAX, [u8::MAX; 12]), |(at, id)| (at.as_millis(), id.bytes()));
    // All of it is in the index.
    let mut statement = connection.prepare_cached(
        "SELECT last_at, conversation FROM member INDEXED BY member_activity
         WHERE kind = ?1 AND person = ?2 AND (last_at, conversation) < (?3, ?4) ORDER BY last_at DESC, conversation DESC LIMIT ?5",
    )?;
    let places = statement
        .query_map(params![person.kind().as_str(), person.id(), at, id, sql_count(limit)], |row| {
            Ok((Timestamp::from_millis(row.get(0)?), ConversationId::from_bytes(row.get(1)?)))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(places)
}

fn missed(connection: &Connection, person: &Participant, since: Timestamp) -> Result<MissedCalls> {
    let (kind, id) = (person.kind().as_str(), person.id());
    let seen: Option<i64> = connection
        .prepare_cached("SELECT missed_seen_at FROM inbox WHERE kind = ?1 AND person = ?2")?
        .query_row([kind, id], |row| row.get(0))
        .optional()?;
    let (voice, video): (u32, u32) = connection
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE type = 'voice'), count(*) FILTER (WHERE type = 'video') FROM call INDEXED BY call_callee
             WHERE callee_kind = ?1 AND callee_identity = ?2 AND id >= ?3 AND initiated_at >= ?4 AND status = 'missed' AND ended_at > ?5",
        )?
        .query_row(params![kind, id, CallId::from_bytes(since.first_id()).bytes(), since.as_millis(), seen.unwrap_or(i64::MIN)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok(MissedCalls { voice: voice.into(), video: video.into() })
}
