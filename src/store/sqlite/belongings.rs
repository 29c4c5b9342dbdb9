//! Devices, attachments and marks as they are, for those who copy, export and erase.

use async_trait::async_trait;
use rusqlite::{Connection, params};

use super::rows::{self, device_columns, sql_count};
use super::{SqliteStore, devices, media};
use crate::error::{Error, Result};
use crate::models::{Participant, ParticipantKind, Timestamp};
use crate::store::belongings::{Belonging, BelongingSort, BelongingStore};

#[async_trait]
impl BelongingStore for SqliteStore {
    async fn walk_belongings(&self, sort: BelongingSort, after: Option<String>, limit: usize) -> Result<Vec<Belonging>> {
        let after = after.unwrap_or_default();
        self.readers
            .ask(move |connection| match sort {
                BelongingSort::Devices => walk_devices(connection, &after, limit),
                BelongingSort::Attachments => {
                    let found = media::walk(connection, &after, limit)?;
                    Ok(found.into_iter().map(|(attachment, is_used)| Belonging::Attachment(attachment, is_used)).collect())
                }
                BelongingSort::MissedSeen => {
                    let found = marks(connection, "inbox", "missed_seen_at", &after, limit)?;
                    Ok(found.into_iter().map(|(person, at)| Belonging::MissedSeen(person, at)).collect())
                }
                BelongingSort::LastSeen => {
                    let found = marks(connection, "last_seen", "at", &after, limit)?;
                    Ok(found.into_iter().map(|(person, at)| Belonging::LastSeen(person, at)).collect())
                }
            })
            .await
    }

    async fn put_belongings(&self, belongings: Vec<Belonging>) -> Result<()> {
        self.write(move |connection, _| belongings.iter().try_for_each(|belonging| put(connection, belonging))).await
    }
}

fn walk_devices(connection: &Connection, after: &str, limit: usize) -> Result<Vec<Belonging>> {
    let sql = concat!("SELECT ", device_columns!(), " FROM device WHERE token > ?1 ORDER BY token LIMIT ?2");
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![after, sql_count(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Belonging::Device(rows::device(row)?));
    }
    Ok(found)
}

fn marks(connection: &Connection, table: &str, column: &str, after: &str, limit: usize) -> Result<Vec<(Participant, Timestamp)>> {
    let (kind, person) = after.split_once(':').unwrap_or_default();
    let sql = format!("SELECT kind, person, {column} FROM {table} WHERE (kind, person) > (?1, ?2) ORDER BY kind, person LIMIT ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![kind, person, sql_count(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (kind, person): (String, String) = (row.get(0)?, row.get(1)?);
        let kind = ParticipantKind::parse(&kind).ok_or_else(|| Error::internal(format!("cannot decode {kind}:{person} of {table}")))?;
        found.push((Participant::stored(kind, person), Timestamp::from_millis(row.get(2)?)));
    }
    Ok(found)
}

fn put(connection: &Connection, belonging: &Belonging) -> Result<()> {
    let mark = |sql: &str, person: &Participant, at: &Timestamp| -> Result<()> {
        let person = person.identity();
        connection.prepare_cached(sql)?.execute(params![person.kind().as_str(), person.id(), at.as_millis()])?;
        Ok(())
    };
    match belonging {
        Belonging::Device(device) => devices::put(connection, device),
        Belonging::Attachment(attachment, is_used) => media::put(connection, attachment, *is_used),
        Belonging::MissedSeen(person, at) => {
            mark("INSERT OR REPLACE INTO inbox(kind, person, missed_seen_at) VALUES(?1, ?2, ?3)", person, at)
        }
        Belonging::LastSeen(person, at) => mark("INSERT OR REPLACE INTO last_seen(kind, person, at) VALUES(?1, ?2, ?3)", person, at),
    }
}
