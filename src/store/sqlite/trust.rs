//! Who has dealt with whom, who looked at what, and whose tokens are refused.

use rusqlite::{Connection, Params, Row, params};

use super::rows::{self, audit_columns, revocation_columns, sql_count};
use crate::error::Result;
use crate::models::{AuditAction, AuditEntry, Pair, Relation, Revocation, Timestamp};

/// Whether a user and an astrologer have a relation or a conversation.
pub(super) fn are_related(connection: &Connection, pair: &Pair) -> Result<bool> {
    let [user, astrologer] = pair.both();
    let known = "SELECT 1 FROM relation WHERE user = ?1 AND astrologer = ?2";
    // CROSS: from the user's conversations, because an astrologer has many more.
    let talked = "SELECT 1 FROM member AS u CROSS JOIN member AS a USING(conversation)
        WHERE u.kind = ?1 AND u.person = ?2 AND a.kind = ?3 AND a.person = ?4";
    let people = params![user.kind().as_str(), user.id(), astrologer.kind().as_str(), astrologer.id()];
    Ok(connection.prepare_cached(known)?.exists([user.id(), astrologer.id()])? || connection.prepare_cached(talked)?.exists(people)?)
}

/// Notes a relation. True if it was new.
pub(super) fn relate(connection: &Connection, relation: &Relation) -> Result<bool> {
    let added = connection
        .prepare_cached("INSERT INTO relation(user, astrologer, consultation_id, at) VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?
        .execute(params![relation.user, relation.astrologer, relation.consultation_id, relation.at.as_millis()])?;
    Ok(added > 0)
}

/// Whether any relation was ever noted.
pub(super) fn has_relations(connection: &Connection) -> Result<bool> {
    Ok(connection.prepare_cached("SELECT 1 FROM relation LIMIT 1")?.exists([])?)
}

/// Adds to the audit trail.
pub(super) fn append_audit(connection: &Connection, entries: &[AuditEntry]) -> Result<()> {
    let mut insert = connection.prepare_cached("INSERT INTO audit(at, actor, action, subject, detail) VALUES(?1, ?2, ?3, ?4, ?5)")?;
    for entry in entries {
        insert.execute(params![entry.at.as_millis(), entry.actor, entry.action.as_str(), entry.subject, entry.detail])?;
    }
    Ok(())
}

/// The newest entries of the audit trail, newest first.
pub(super) fn audit_trail(
    connection: &Connection,
    action: Option<AuditAction>,
    before: Option<Timestamp>,
    limit: usize,
) -> Result<Vec<AuditEntry>> {
    // INDEXED BY: a statement that cannot use the index should fail in the tests rather than sort the whole trail.
    let all = concat!("SELECT ", audit_columns!(), " FROM audit INDEXED BY audit_at WHERE at < ?1 ORDER BY at DESC, number DESC LIMIT ?2");
    let of_kind = concat!(
        "SELECT ",
        audit_columns!(),
        " FROM audit INDEXED BY audit_action WHERE at < ?1 AND action = ?3 ORDER BY at DESC, number DESC LIMIT ?2"
    );
    let (before, limit) = (before.map_or(i64::MAX, Timestamp::as_millis), sql_count(limit));
    match action {
        None => find_all(connection, all, (before, limit), rows::audit_entry),
        Some(action) => find_all(connection, of_kind, (before, limit, action.as_str()), rows::audit_entry),
    }
}

/// Stores a revocation, unless a later one is there.
pub(super) fn revoke(connection: &Connection, revocation: &Revocation) -> Result<()> {
    let person = &revocation.person;
    connection
        .prepare_cached(
            "INSERT INTO revocation(kind, person, until) VALUES(?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
        )?
        .execute(params![person.kind().as_str(), person.id(), revocation.until.as_millis()])?;
    Ok(())
}

/// All revocations, or those of a moment and later.
pub(super) fn revocations(connection: &Connection, since: Option<Timestamp>) -> Result<Vec<Revocation>> {
    let sql = concat!("SELECT ", revocation_columns!(), " FROM revocation WHERE ?1 IS NULL OR until >= ?1");
    find_all(connection, sql, [since.map(Timestamp::as_millis)], rows::revocation)
}

/// Forgets revocations of before this moment. They are few: a look at each is no trouble.
pub(super) fn purge_revocations(connection: &Connection, before: Timestamp) -> Result<()> {
    connection.prepare_cached("DELETE FROM revocation WHERE until < ?1")?.execute([before.as_millis()])?;
    Ok(())
}

fn find_all<T>(connection: &Connection, sql: &str, params: impl Params, read: fn(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}
