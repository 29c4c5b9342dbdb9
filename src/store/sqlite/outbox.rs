//! What is still to be said to the outside. Every change runs on the one writer, so a claim needs no tricks.

use async_trait::async_trait;
use rusqlite::{Connection, Params, params};

use super::SqliteStore;
use super::rows::{self, message_columns, outbox_columns, sql_count};
use crate::error::{Error, Result};
use crate::models::{Lease, Message, MessageId, OutboxEntry, OutboxLane, OutboxOutcome, ProcessId, Timestamp};
use crate::store::OutboxStore;

#[async_trait]
impl OutboxStore for SqliteStore {
    async fn put_outbox(&self, entries: Vec<OutboxEntry>) -> Result<Vec<String>> {
        let size_bytes = entries.iter().map(|entry| entry.body.len()).sum();
        self.writer.submit(size_bytes, move |connection, _| put(connection, &entries)).await
    }

    async fn claim_outbox(&self, lane: OutboxLane, lease: Lease, now: Timestamp, limit: usize) -> Result<Vec<OutboxEntry>> {
        // Mostly there is nothing: a look costs no transaction.
        if !self.readers.ask(move |connection| any_due(connection, lane, now)).await? {
            return Ok(Vec::new());
        }
        self.write(move |connection, _| claim(connection, lane, lease, now, limit)).await
    }

    async fn settle_outbox(&self, id: &str, owner: ProcessId, outcome: OutboxOutcome) -> Result<bool> {
        let id = id.to_owned();
        self.write(move |connection, _| settle(connection, &id, owner, &outcome)).await
    }

    async fn note_outbox(&self, id: &str, owner: ProcessId, settled: &[String]) -> Result<bool> {
        let (id, settled) = (id.to_owned(), list(settled)?);
        self.write(move |connection, _| {
            let sql = "UPDATE outbox SET settled = ?3 WHERE id = ?1 AND lease_owner = ?2 AND state = 'waiting'";
            Ok(connection.prepare_cached(sql)?.execute(params![id, owner.to_string(), settled])? > 0)
        })
        .await
    }

    async fn finish_outbox(&self, id: &str) -> Result<bool> {
        let id = id.to_owned();
        self.write(move |connection, _| {
            let sql = "UPDATE outbox SET state = 'done', ended_at = ?2 WHERE id = ?1 AND state = 'waiting'
                       AND (lease_until IS NULL OR lease_until <= ?2)";
            Ok(connection.prepare_cached(sql)?.execute(params![id, Timestamp::now().as_millis()])? > 0)
        })
        .await
    }

    async fn find_outbox(&self, id: &str) -> Result<Option<OutboxEntry>> {
        let id = id.to_owned();
        let sql = concat!("SELECT ", outbox_columns!(), " FROM outbox WHERE id = ?1");
        self.readers.ask(move |connection| Ok(find_all(connection, sql, [id])?.pop())).await
    }

    async fn release_outbox(&self, now: Timestamp) -> Result<()> {
        // The folder's lock says that nobody else is alive.
        self.write(move |connection, _| {
            let sql = "UPDATE outbox SET lease_owner = NULL, lease_until = NULL, due_at = min(due_at, ?1)
                       WHERE state = 'waiting' AND lease_owner IS NOT NULL";
            connection.prepare_cached(sql)?.execute([now.as_millis()])?;
            Ok(())
        })
        .await
    }

    async fn trim_outbox(&self, lane: OutboxLane, keep: usize, now: Timestamp) -> Result<u64> {
        self.write(move |connection, _| {
            let sql = "UPDATE outbox SET state = 'done', ended_at = ?3, problem = 'too many were waiting' WHERE id IN
                       (SELECT id FROM outbox WHERE lane = ?1 AND state = 'waiting' AND (lease_until IS NULL OR lease_until <= ?3)
                        ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?2)";
            let trimmed = connection.prepare_cached(sql)?.execute(params![lane.as_str(), sql_count(keep), now.as_millis()])?;
            Ok(trimmed as u64)
        })
        .await
    }

    async fn purge_outbox(&self, done_before: Timestamp, dead_before: Timestamp) -> Result<()> {
        self.write(move |connection, _| {
            let mut delete = connection.prepare_cached("DELETE FROM outbox WHERE state = ?1 AND ended_at < ?2")?;
            for (state, before) in [("done", done_before), ("dead", dead_before)] {
                delete.execute(params![state, before.as_millis()])?;
            }
            Ok(())
        })
        .await
    }

    async fn dead_outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        let sql = concat!("SELECT ", outbox_columns!(), " FROM outbox WHERE state = 'dead' ORDER BY ended_at, id LIMIT ?1");
        self.readers.ask(move |connection| find_all(connection, sql, [sql_count(limit)])).await
    }

    async fn walk_outbox(&self, after: Option<String>, limit: usize) -> Result<Vec<OutboxEntry>> {
        let sql = concat!("SELECT ", outbox_columns!(), " FROM outbox WHERE id > ?1 ORDER BY id LIMIT ?2");
        self.readers.ask(move |connection| find_all(connection, sql, params![after.unwrap_or_default(), sql_count(limit)])).await
    }

    async fn forget_outbox(&self, ids: Vec<String>) -> Result<()> {
        self.write(move |connection, _| {
            let mut delete = connection.prepare_cached("DELETE FROM outbox WHERE id = ?1")?;
            ids.iter().try_for_each(|id| delete.execute([id]).map(drop))?;
            Ok(())
        })
        .await
    }

    async fn revive_outbox(&self, id: Option<&str>, now: Timestamp, expires_at: Timestamp) -> Result<u64> {
        let id = id.map(str::to_owned);
        self.write(move |connection, _| {
            let sql = "UPDATE outbox SET state = 'waiting', created_at = ?2, due_at = ?2, expires_at = ?3, attempts = 0, ended_at = NULL
                       WHERE state = 'dead' AND (?1 IS NULL OR id = ?1)";
            Ok(connection.prepare_cached(sql)?.execute(params![id, now.as_millis(), expires_at.as_millis()])? as u64)
        })
        .await
    }

    async fn messages_made_since(&self, since: Timestamp, after: Option<MessageId>, limit: usize) -> Result<Vec<Message>> {
        self.readers.ask(move |connection| made_since(connection, since, after, limit)).await
    }
}

fn put(connection: &Connection, entries: &[OutboxEntry]) -> Result<Vec<String>> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO outbox(id, lane, collapse, recipient_kind, recipient, body, created_at, due_at, expires_at, attempts, settled, state,
            lease_owner, lease_until, problem)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT DO NOTHING",
    )?;
    let mut collapse = connection.prepare_cached(
        "UPDATE outbox SET state = 'done', ended_at = ?3 WHERE collapse = ?1 AND state = 'waiting' AND id <> ?2 AND created_at <= ?4
         AND (lease_until IS NULL OR lease_until <= ?3)",
    )?;
    let mut new = Vec::with_capacity(entries.len());
    for entry in entries {
        let inserted = insert.execute(params![
            entry.id,
            entry.lane.as_str(),
            entry.collapse,
            entry.recipient.as_ref().map(|person| person.kind().as_str()),
            entry.recipient.as_ref().map(|person| person.id()),
            entry.body,
            entry.created_at.as_millis(),
            entry.due_at.as_millis(),
            entry.expires_at.as_millis(),
            entry.attempts,
            list(&entry.settled)?,
            entry.state.as_str(),
            entry.lease.map(|lease| lease.owner.to_string()),
            entry.lease.map(|lease| lease.until.as_millis()),
            entry.problem,
        ])?;
        if inserted == 0 {
            continue;
        }
        if entry.collapse.is_some() {
            let now = Timestamp::now().as_millis();
            collapse.execute(params![entry.collapse, entry.id, now, entry.created_at.as_millis()])?;
        }
        new.push(entry.id.clone());
    }
    Ok(new)
}

fn any_due(connection: &Connection, lane: OutboxLane, now: Timestamp) -> Result<bool> {
    let sql = "SELECT 1 FROM outbox INDEXED BY outbox_due WHERE lane = ?1 AND state = 'waiting' AND due_at <= ?2
               AND (lease_until IS NULL OR lease_until <= ?2) LIMIT 1";
    Ok(connection.prepare_cached(sql)?.exists(params![lane.as_str(), now.as_millis()])?)
}

fn claim(connection: &Connection, lane: OutboxLane, lease: Lease, now: Timestamp, limit: usize) -> Result<Vec<OutboxEntry>> {
    let sql = concat!(
        "SELECT ",
        outbox_columns!(),
        " FROM outbox INDEXED BY outbox_due WHERE lane = ?1 AND state = 'waiting' AND due_at <= ?2
          AND (lease_until IS NULL OR lease_until <= ?2) ORDER BY due_at, id LIMIT ?3"
    );
    let mut due = find_all(connection, sql, params![lane.as_str(), now.as_millis(), sql_count(limit)])?;
    let mut take = connection.prepare_cached("UPDATE outbox SET lease_owner = ?2, lease_until = ?3 WHERE id = ?1")?;
    for entry in &mut due {
        take.execute(params![entry.id, lease.owner.to_string(), lease.until.as_millis()])?;
        entry.lease = Some(lease);
    }
    Ok(due)
}

fn settle(connection: &Connection, id: &str, owner: ProcessId, outcome: &OutboxOutcome) -> Result<bool> {
    let now = Timestamp::now().as_millis();
    let mut settle = connection.prepare_cached(
        "UPDATE outbox SET state = ?3, settled = coalesce(?4, settled), due_at = coalesce(?5, due_at), problem = coalesce(?6, problem),
            ended_at = ?7, attempts = attempts + 1, lease_owner = NULL, lease_until = NULL
         WHERE id = ?1 AND lease_owner = ?2 AND state = 'waiting'",
    )?;
    let owner = owner.to_string();
    let changed = match outcome {
        OutboxOutcome::Done { settled } => settle.execute(params![id, owner, "done", list(settled)?, None::<i64>, None::<String>, now])?,
        OutboxOutcome::Later { due_at, settled, problem } => {
            settle.execute(params![id, owner, "waiting", list(settled)?, due_at.as_millis(), problem, None::<i64>])?
        }
        OutboxOutcome::Dead { problem } => settle.execute(params![id, owner, "dead", None::<String>, None::<i64>, problem, now])?,
    };
    Ok(changed > 0)
}

fn made_since(connection: &Connection, since: Timestamp, after: Option<MessageId>, limit: usize) -> Result<Vec<Message>> {
    // Ids begin with the second they were made in.
    let mut first = [0; 12];
    first[..4].copy_from_slice(&u32::try_from(since.as_millis() / 1000).unwrap_or_default().to_be_bytes());
    let first = after.map_or(first, MessageId::bytes);
    let sql = concat!("SELECT ", message_columns!(), " FROM message INDEXED BY message_id WHERE id > ?1 ORDER BY id LIMIT ?2");
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![first, sql_count(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(rows::message(row)?);
    }
    Ok(found)
}

fn list(settled: &[String]) -> Result<String> {
    serde_json::to_string(settled).map_err(Error::internal)
}

fn find_all(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<OutboxEntry>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(rows::outbox_entry(row)?);
    }
    Ok(found)
}
