//! Counting for the dashboard.
//!
//! Messages are found through the index by id, calls by their own order: both begin with the time.

use rusqlite::{Connection, Row, params};

use super::SqliteStore;
use crate::error::{Error, Result, Source};
use crate::models::analytics::{CallTally, Day, MessageTally, Outcome, With};
use crate::models::{CallType, ParticipantKind, Timestamp};
use crate::store::analytics::{AnalyticsStore, CountedDay};

#[async_trait::async_trait]
impl AnalyticsStore for SqliteStore {
    async fn tally_messages(&self, from: Timestamp, to: Timestamp) -> Result<Vec<MessageTally>> {
        self.readers.ask(move |connection| messages(connection, from, to)).await
    }

    async fn tally_calls(&self, from: Timestamp, to: Timestamp) -> Result<Vec<CallTally>> {
        self.readers.ask(move |connection| calls(connection, from, to)).await
    }

    async fn count_active(&self, since: Timestamp) -> Result<[u64; 2]> {
        self.readers
            .ask(move |connection| {
                let (admins, users): (u32, u32) = connection
                    .prepare_cached(
                        "SELECT count(*) FILTER (WHERE type = 'admin_astrologer'), count(*) FILTER (WHERE type = 'user_astrologer')
                         FROM conversation WHERE last_message_at >= ?1 AND last_id IS NOT NULL",
                    )?
                    .query_row([since.as_millis()], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok([admins.into(), users.into()])
            })
            .await
    }

    async fn day_versions(&self, from: Day, to: Day) -> Result<Vec<(Day, u64)>> {
        self.readers
            .ask(move |connection| {
                let versions = connection
                    .prepare_cached("SELECT day, version FROM analytics_day WHERE day BETWEEN ?1 AND ?2")?
                    .query_map([from.number(), to.number()], |row| Ok((Day::from_number(row.get(0)?), u64::from(row.get::<_, u32>(1)?))))?
                    .collect::<rusqlite::Result<_>>()?;
                Ok(versions)
            })
            .await
    }

    async fn kept_days(&self, from: Day, to: Day) -> Result<Vec<CountedDay>> {
        self.readers
            .ask(move |connection| {
                let mut statement = connection
                    .prepare_cached("SELECT day, version, totals FROM analytics_day WHERE day BETWEEN ?1 AND ?2 AND totals IS NOT NULL")?;
                let mut rows = statement.query([from.number(), to.number()])?;
                let mut days = Vec::new();
                while let Some(row) = rows.next()? {
                    // What another version of this program kept in another form is counted again.
                    if let Ok(totals) = serde_json::from_str(&row.get::<_, String>(2)?) {
                        days.push(CountedDay { day: Day::from_number(row.get(0)?), version: row.get::<_, u32>(1)?.into(), totals });
                    }
                }
                Ok(days)
            })
            .await
    }

    async fn keep_days(&self, days: Vec<CountedDay>) -> Result<usize> {
        let written =
            |day: CountedDay| Ok((day.day, day.version.cast_signed(), serde_json::to_string(&day.totals).map_err(Error::internal)?));
        let days = days.into_iter().map(written).collect::<Result<Vec<_>>>()?;
        self.write(move |connection, _| {
            let mut known =
                connection.prepare_cached("INSERT INTO analytics_day(day, version) VALUES(?1, 0) ON CONFLICT(day) DO NOTHING")?;
            let mut keep = connection.prepare_cached("UPDATE analytics_day SET totals = ?3 WHERE day = ?1 AND version = ?2")?;
            let mut kept = 0;
            for (day, version, totals) in &days {
                known.execute([day.number()])?;
                kept += keep.execute(params![day.number(), version, totals])?;
            }
            Ok(kept)
        })
        .await
    }
}

/// Says that what was counted of this moment's day is no longer true.
pub(super) fn recount(connection: &Connection, at: Timestamp) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO analytics_day(day, version) VALUES(?1, 1)
             ON CONFLICT(day) DO UPDATE SET version = version + 1, totals = NULL",
        )?
        .execute([Day::of(at).number()])?;
    Ok(())
}

fn messages(connection: &Connection, from: Timestamp, to: Timestamp) -> Result<Vec<MessageTally>> {
    let mut statement = connection.prepare_cached(
        "SELECT created_at / 3600000 % 24 AS hour, iif(sender_kind = 'astrologer', sender, recipient) AS astrologer,
            iif(sender_kind = 'astrologer', recipient_kind, sender_kind) AS other,
            max(iif(sender_kind = 'astrologer', sender_name, NULL)), count(*)
         FROM message INDEXED BY message_id
         WHERE id >= ?1 AND id < ?2 AND created_at >= ?3 AND created_at < ?4 AND is_deleted = 0 AND type <> 'call_log'
            AND (sender_kind = 'astrologer') <> (recipient_kind = 'astrologer')
         GROUP BY hour, astrologer, other",
    )?;
    let mut rows = statement.query(params![from.first_id(), past(to), from.as_millis(), to.as_millis()])?;
    let mut tallies = Vec::new();
    while let Some(row) = rows.next()? {
        tallies.push(MessageTally {
            hour: hour(row)?,
            astrologer: row.get(1)?,
            with: with(row)?,
            name: row.get(3)?,
            count: row.get::<_, u32>(4)?.into(),
        });
    }
    Ok(tallies)
}

fn calls(connection: &Connection, from: Timestamp, to: Timestamp) -> Result<Vec<CallTally>> {
    let mut statement = connection.prepare_cached(
        "SELECT initiated_at / 3600000 % 24 AS hour, iif(caller_kind = 'astrologer', caller, callee) AS astrologer,
            iif(caller_kind = 'astrologer', callee_kind, caller_kind) AS other,
            max(iif(caller_kind = 'astrologer', caller_name, callee_name)), count(*), type,
            CASE WHEN status = 'missed' OR end_reason = 'no_answer' THEN 'missed'
                 WHEN status = 'rejected' OR end_reason = 'rejected' THEN 'rejected'
                 WHEN end_reason = 'completed' THEN 'completed'
                 WHEN status = 'ended' AND end_reason IS NOT 'cancelled'
                    AND (end_reason IS NOT 'network_error' OR answered_at IS NOT NULL) THEN 'completed'
                 ELSE 'other' END AS outcome,
            sum(server_duration > 0), sum(server_duration)
         FROM call
         WHERE id >= ?1 AND id < ?2 AND initiated_at >= ?3 AND initiated_at < ?4
            AND (caller_kind = 'astrologer') <> (callee_kind = 'astrologer')
         GROUP BY hour, astrologer, other, type, outcome",
    )?;
    let mut rows = statement.query(params![from.first_id(), past(to), from.as_millis(), to.as_millis()])?;
    let mut tallies = Vec::new();
    while let Some(row) = rows.next()? {
        let (call_type, outcome): (String, String) = (row.get(5)?, row.get(6)?);
        tallies.push(CallTally {
            hour: hour(row)?,
            astrologer: row.get(1)?,
            with: with(row)?,
            name: row.get(3)?,
            count: row.get::<_, u32>(4)?.into(),
            call_type: CallType::parse(&call_type).ok_or_else(|| unknown(&call_type))?,
            outcome: Outcome::parse(&outcome).ok_or_else(|| unknown(&outcome))?,
            talked: row.get::<_, u32>(7)?.into(),
            seconds: row.get::<_, i64>(8)?.unsigned_abs(),
        });
    }
    Ok(tallies)
}

/// The first id after the second of this moment: the clock that makes ids lets none lag behind its own time.
fn past(to: Timestamp) -> [u8; 12] {
    Timestamp::from_millis(to.as_millis().saturating_add(1_000)).first_id()
}

fn hour(row: &Row<'_>) -> Result<usize> {
    Ok(usize::from(row.get::<_, u8>(0)?))
}

fn with(row: &Row<'_>) -> Result<With> {
    let word: String = row.get(2)?;
    ParticipantKind::parse(&word).and_then(With::kind).ok_or_else(|| unknown(&word))
}

fn unknown(word: &str) -> Error {
    let source: Source = format!("analytics: the word {word:?} means nothing here").into();
    Error::internal(source)
}
