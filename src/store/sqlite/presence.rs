//! Who is connected to which process, and since when somebody is not.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::rows::sql_count;
use crate::error::{Error, Result};
use crate::models::{Participant, ParticipantKind, ProcessId, Timestamp};
use crate::store::presence::{LeftBehind, PresenceStore, Seen};

#[async_trait]
impl PresenceStore for SqliteStore {
    async fn note_here(&self, process: ProcessId, at: Timestamp, people: Vec<Participant>) -> Result<()> {
        self.write(move |connection, _| note_here(connection, process, at, &people)).await
    }

    async fn note_gone(&self, process: ProcessId, people: Vec<(Participant, Timestamp)>) -> Result<()> {
        self.write(move |connection, _| note_gone(connection, process, &people)).await
    }

    async fn seen(&self, process: ProcessId, people: &[Participant], alive_since: Timestamp) -> Result<Vec<Seen>> {
        let people = people.to_vec();
        self.readers.ask(move |connection| seen(connection, process, &people, alive_since)).await
    }

    async fn left_behind(&self, process: ProcessId, alive_since: Timestamp, limit: usize) -> Result<Vec<LeftBehind>> {
        self.readers.ask(move |connection| left_behind(connection, process, alive_since, limit)).await
    }

    async fn acquaintances(&self, person: &Participant, others: &[Participant]) -> Result<Vec<Participant>> {
        let (person, others) = (person.identity(), others.to_vec());
        self.readers.ask(move |connection| acquaintances(connection, &person, others)).await
    }

    async fn partners_of(&self, people: &[Participant], most: usize) -> Result<Vec<(Participant, Vec<Participant>)>> {
        let people = people.to_vec();
        let partners = move |connection: &Connection| {
            people.into_iter().map(|person| partners(connection, &person, most).map(|found| (person, found))).collect()
        };
        self.readers.ask(partners).await
    }
}

const SEEN: &str = "INSERT INTO last_seen(kind, person, at) VALUES(?1, ?2, ?3) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)";

fn note_here(connection: &Connection, process: ProcessId, at: Timestamp, people: &[Participant]) -> Result<()> {
    let process = process.to_string();
    connection
        .prepare_cached(
            "INSERT INTO process(id, alive_at) VALUES(?1, ?2) ON CONFLICT DO UPDATE SET alive_at = max(alive_at, excluded.alive_at)",
        )?
        .execute(params![process, at.as_millis()])?;
    let mut here = connection.prepare_cached("INSERT INTO presence(kind, person, process) VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
    let mut last = connection.prepare_cached(SEEN)?;
    for person in people {
        let (kind, identity) = (person.kind().as_str(), person.identity());
        here.execute(params![kind, identity.id(), process])?;
        last.execute(params![kind, identity.id(), at.as_millis()])?;
    }
    Ok(())
}

fn note_gone(connection: &Connection, process: ProcessId, people: &[(Participant, Timestamp)]) -> Result<()> {
    let process = process.to_string();
    let mut gone = connection.prepare_cached("DELETE FROM presence WHERE kind = ?1 AND person = ?2 AND process = ?3")?;
    let mut last = connection.prepare_cached(SEEN)?;
    for (person, at) in people {
        let (kind, identity) = (person.kind().as_str(), person.identity());
        gone.execute(params![kind, identity.id(), process])?;
        last.execute(params![kind, identity.id(), at.as_millis()])?;
    }
    Ok(())
}

fn seen(connection: &Connection, process: ProcessId, people: &[Participant], alive_since: Timestamp) -> Result<Vec<Seen>> {
    let mut last = connection.prepare_cached("SELECT at FROM last_seen WHERE kind = ?1 AND person = ?2")?;
    let mut leases = connection.prepare_cached(
        "SELECT coalesce(max(alive_at), 0) FROM presence JOIN process ON process.id = presence.process
         WHERE kind = ?1 AND person = ?2 AND process.id <> ?3",
    )?;
    let process = process.to_string();
    let mut found = Vec::new();
    for person in people {
        let (kind, identity) = (person.kind().as_str(), person.identity());
        let Some(at) = last.query_row([kind, identity.id()], |row| row.get::<_, i64>(0)).optional()? else { continue };
        let alive_at: i64 = leases.query_row([kind, identity.id(), &process], |row| row.get(0))?;
        let elsewhere = alive_at >= alive_since.as_millis();
        found.push(Seen { person: identity, elsewhere, at: Timestamp::from_millis(at.max(alive_at)) });
    }
    Ok(found)
}

fn left_behind(connection: &Connection, process: ProcessId, alive_since: Timestamp, limit: usize) -> Result<Vec<LeftBehind>> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, person, presence.process, max(coalesce(last_seen.at, 0), coalesce(alive_at, 0))
         FROM presence LEFT JOIN process ON process.id = presence.process LEFT JOIN last_seen USING(kind, person)
         WHERE presence.process <> ?1 AND coalesce(alive_at, 0) < ?2 LIMIT ?3",
    )?;
    let mut rows = statement.query(params![process.to_string(), alive_since.as_millis(), sql_count(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let process: String = row.get(2)?;
        let process = ProcessId::parse(&process).ok_or_else(|| Error::internal(format!("cannot decode process {process}")))?;
        found.push(LeftBehind { person: person(row)?, process, at: Timestamp::from_millis(row.get(3)?) });
    }
    Ok(found)
}

fn acquaintances(connection: &Connection, me: &Participant, others: Vec<Participant>) -> Result<Vec<Participant>> {
    let mut related = connection.prepare_cached("SELECT 1 FROM relation WHERE user = ?1 AND astrologer = ?2")?;
    // CROSS: from the user's conversations, because an astrologer has many more.
    let mut talked = connection.prepare_cached(
        "SELECT 1 FROM member AS few CROSS JOIN member AS many USING(conversation)
         WHERE few.kind = ?1 AND few.person = ?2 AND many.kind = ?3 AND many.person = ?4",
    )?;
    let mut known = Vec::new();
    for other in others {
        let other = other.identity();
        let [few, many] = if me.kind() == ParticipantKind::User { [me, &other] } else { [&other, me] };
        let is_pair = (few.kind(), many.kind()) == (ParticipantKind::User, ParticipantKind::Astrologer);
        if (is_pair && related.exists([few.id(), many.id()])?)
            || talked.exists([few.kind().as_str(), few.id(), many.kind().as_str(), many.id()])?
        {
            known.push(other);
        }
    }
    Ok(known)
}

fn partners(connection: &Connection, of: &Participant, most: usize) -> Result<Vec<Participant>> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT kind, person FROM member WHERE NOT (kind = ?1 AND person = ?2) AND conversation IN (
             SELECT conversation FROM member WHERE kind = ?1 AND person = ?2 ORDER BY last_at DESC, conversation DESC LIMIT ?3)",
    )?;
    let identity = of.identity();
    let mut rows = statement.query(params![of.kind().as_str(), identity.id(), sql_count(most)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(person(row)?);
    }
    Ok(found)
}

/// The first two columns.
fn person(row: &Row<'_>) -> Result<Participant> {
    let (kind, id): (String, String) = (row.get(0)?, row.get(1)?);
    let known = ParticipantKind::parse(&kind).ok_or_else(|| Error::internal(format!("cannot decode the kind {kind} of {id}")))?;
    Ok(Participant::stored(known, id))
}
