//! The tables, how they came to be, and the settings of each connection.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::OpenError;

/// One step for each version of the schema; `PRAGMA user_version` counts the steps taken. Steps are only ever added.
///
/// Tables are clustered by conversation: a page of messages lies in three or four neighbouring leaves, which makes reading it
/// twice as fast as from a table ordered by arrival.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE conversation(
        id BLOB PRIMARY KEY, key TEXT NOT NULL UNIQUE, type TEXT NOT NULL, context_type TEXT NOT NULL, context_id TEXT,
        last_id BLOB, last_content TEXT, last_sender_kind TEXT, last_sender TEXT, last_at INTEGER, last_type TEXT,
        last_message_at INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- kind and person are the identity (every admin is 'admin'). last_at repeats conversation.last_message_at for the index;
    -- unread is the number of messages with unread = 1 addressed to this identity, changed in the same transaction as they are.
    CREATE TABLE member(
        conversation BLOB NOT NULL, kind TEXT NOT NULL, person TEXT NOT NULL, position INTEGER NOT NULL,
        name TEXT, picture TEXT, joined_at INTEGER, unread INTEGER NOT NULL DEFAULT 0, last_at INTEGER NOT NULL,
        PRIMARY KEY(conversation, kind, person)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX member_activity ON member(kind, person, last_at, conversation);

    CREATE TABLE alias(
        conversation BLOB NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY(conversation, position)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX alias_name ON alias(name, conversation);

    -- sender and recipient are ids as the clients know them; recipient_identity is what any admin may read.
    -- unread = 1 while the message counts for its recipient: sent or delivered, not deleted, not hidden by him, no call log.
    -- deleted_by is a JSON list of person keys, NULL when empty.
    CREATE TABLE message(
        conversation BLOB NOT NULL, id BLOB NOT NULL,
        sender_kind TEXT NOT NULL, sender TEXT NOT NULL, sender_name TEXT, sender_picture TEXT,
        recipient_kind TEXT NOT NULL, recipient TEXT NOT NULL, recipient_identity TEXT NOT NULL,
        type TEXT NOT NULL, content TEXT NOT NULL, media_url TEXT, media_size INTEGER, media_duration REAL, thumbnail_url TEXT,
        reply_to BLOB, call_type TEXT, call_status TEXT, call_duration INTEGER, call_id TEXT, client_id TEXT,
        status TEXT NOT NULL, unread INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
        delivered_at INTEGER, read_at INTEGER, is_deleted INTEGER NOT NULL DEFAULT 0, deleted_at INTEGER, deleted_by TEXT,
        PRIMARY KEY(conversation, id)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX message_id ON message(id);
    CREATE UNIQUE INDEX message_client ON message(sender_kind, sender, client_id) WHERE client_id IS NOT NULL;
    CREATE INDEX message_unread ON message(conversation, recipient_kind, recipient_identity) WHERE unread = 1;

    -- Written by check_writable only.
    CREATE TABLE probe(data BLOB NOT NULL) STRICT;
",
    "
    -- caller and callee are ids as the clients know them; the identities are what any admin may list.
    -- notices are bits in the order of Notices::WORDS. Feedback is there once rating is. Times are milliseconds, durations seconds.
    CREATE TABLE call(
        id BLOB PRIMARY KEY,
        caller_kind TEXT NOT NULL, caller TEXT NOT NULL, caller_identity TEXT NOT NULL, caller_name TEXT, caller_picture TEXT,
        callee_kind TEXT NOT NULL, callee TEXT NOT NULL, callee_identity TEXT NOT NULL, callee_name TEXT, callee_picture TEXT,
        type TEXT NOT NULL, channel TEXT NOT NULL, conversation_key TEXT, consultation_id TEXT,
        status TEXT NOT NULL, ring_deadline INTEGER, initiated_at INTEGER NOT NULL, ringing_at INTEGER, answered_at INTEGER,
        connected_at INTEGER, ended_at INTEGER, duration INTEGER NOT NULL DEFAULT 0, server_duration INTEGER NOT NULL DEFAULT 0,
        end_reason TEXT, end_detail TEXT, ended_by_kind TEXT, ended_by TEXT, notices INTEGER NOT NULL DEFAULT 0,
        rating INTEGER, feedback TEXT, rated_by_kind TEXT, rated_by TEXT, rated_at INTEGER, updated_at INTEGER NOT NULL,
        is_open INTEGER NOT NULL AS (ended_at IS NULL OR notices <> 0) VIRTUAL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX call_caller ON call(caller_kind, caller_identity, id);
    CREATE INDEX call_callee ON call(callee_kind, callee_identity, id);
    -- Few rows, however many calls there have been.
    CREATE INDEX call_open ON call(ring_deadline, ended_at) WHERE is_open = 1;
",
    "
    CREATE TABLE relation(
        user TEXT NOT NULL, astrologer TEXT NOT NULL, consultation_id TEXT, at INTEGER NOT NULL, PRIMARY KEY(user, astrologer)
    ) STRICT, WITHOUT ROWID;

    -- The number tells which of two entries of the same moment came later.
    CREATE TABLE audit(
        number INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT
    ) STRICT;
    CREATE INDEX audit_at ON audit(at);
    CREATE INDEX audit_action ON audit(action, at);

    -- person is the id itself, also of an admin: one of them may be shut out while the others stay.
    CREATE TABLE revocation(
        kind TEXT NOT NULL, person TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY(kind, person)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE process(id TEXT PRIMARY KEY, alive_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

    -- rooms is a JSON list of [conversation key, the client's name for it]; seen_at is NULL while connected.
    CREATE TABLE kept_rooms(
        kind TEXT NOT NULL, person TEXT NOT NULL, process TEXT NOT NULL, rooms TEXT NOT NULL, seen_at INTEGER, unheard_since INTEGER,
        PRIMARY KEY(kind, person)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- When somebody last looked at the missed calls.
    CREATE TABLE inbox(
        kind TEXT NOT NULL, person TEXT NOT NULL, missed_seen_at INTEGER NOT NULL, PRIMARY KEY(kind, person)
    ) STRICT, WITHOUT ROWID;
 ",
    "
    -- Who is connected to which process, as long as that lives.
    CREATE TABLE presence(
        kind TEXT NOT NULL, person TEXT NOT NULL, process TEXT NOT NULL, PRIMARY KEY(kind, person, process)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE last_seen(kind TEXT NOT NULL, person TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(kind, person)) STRICT, WITHOUT ROWID;
",
    "
    -- What the dashboard counted of days that are over, as JSON; NULL once a change has made it wrong, which version counts.
    CREATE TABLE analytics_day(day INTEGER PRIMARY KEY, version INTEGER NOT NULL, totals TEXT) STRICT;
 ",
    "
    -- used = 1 once a message names it. The bytes are elsewhere.
    CREATE TABLE media(
        id TEXT PRIMARY KEY, conversation TEXT NOT NULL, kind TEXT NOT NULL, person TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL,
        size INTEGER NOT NULL, state TEXT NOT NULL, used INTEGER NOT NULL DEFAULT 0, width INTEGER, height INTEGER,
        created_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    -- Few rows, however many files there are.
    CREATE INDEX media_unsettled ON media(state, created_at) WHERE NOT (state = 'ready' AND used = 1);
",
    "
    CREATE TABLE device(
        token TEXT PRIMARY KEY, kind TEXT NOT NULL, owner_kind TEXT NOT NULL, owner TEXT NOT NULL, platform TEXT NOT NULL,
        registered_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX device_owner ON device(owner_kind, owner, registered_at);

    -- settled is a JSON list. ended_at is there once it is done or given up; lease_until while somebody works on it.
    CREATE TABLE outbox(
        id TEXT PRIMARY KEY, lane TEXT NOT NULL, collapse TEXT, recipient_kind TEXT, recipient TEXT, body TEXT NOT NULL,
        created_at INTEGER NOT NULL, due_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, attempts INTEGER NOT NULL,
        settled TEXT NOT NULL, state TEXT NOT NULL, lease_owner TEXT, lease_until INTEGER, problem TEXT, ended_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX outbox_due ON outbox(lane, due_at) WHERE state = 'waiting';
    CREATE INDEX outbox_collapse ON outbox(collapse) WHERE state = 'waiting' AND collapse IS NOT NULL;
    CREATE INDEX outbox_ended ON outbox(state, ended_at) WHERE state <> 'waiting';
",
    "
    -- How many sends name a file; used says whether any does.
    ALTER TABLE media ADD COLUMN claims INTEGER NOT NULL DEFAULT 0;
    UPDATE media SET claims = 1 WHERE used = 1;
",
];

// FULL: an answer means the disk has it. 16000 pages bound the log to about 64 MB; smaller values cost a quarter of the rate.
const WRITER: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA wal_autocheckpoint = 16000;
    PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF;";
// mmap saves readers a copy of each page; the writer must not have it, a failing disk would end the process with SIGBUS.
const READER: &str = "PRAGMA query_only = ON; PRAGMA cache_size = -16384; PRAGMA mmap_size = 2147483648; PRAGMA temp_store = MEMORY;";

/// Opens the connection that writes.
pub(super) fn connect_writer(file: &Path, max_pages: Option<u32>) -> rusqlite::Result<Connection> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, WRITER)?;
    if let Some(pages) = max_pages {
        connection.execute_batch(&format!("PRAGMA max_page_count = {pages};"))?;
    }
    Ok(connection)
}

/// Opens a connection that only reads; the file must exist.
pub(super) fn connect_reader(file: &Path) -> rusqlite::Result<Connection> {
    connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY, READER)
}

fn connect(file: &Path, flags: OpenFlags, settings: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(settings)?;
    Ok(connection)
}

/// Brings the tables to the version this program knows. Each step is one transaction, so a crash leaves a whole version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let found = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(OpenError::NewerSchema { found, known });
    }
    for (version, sql) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.execute_batch(&format!("PRAGMA user_version = {version};"))?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_newer_program_is_refused_and_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("PRAGMA user_version = 99;").unwrap();
        assert!(matches!(migrate(&mut connection), Err(OpenError::NewerSchema { found: 99, known }) if known < 99));
        let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 0);
    }

    #[test]
    fn an_older_file_gets_the_tables_it_lacks_and_keeps_what_it_has() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&MIGRATIONS[..2].concat()).unwrap();
        connection.execute_batch("PRAGMA user_version = 2; INSERT INTO probe(data) VALUES(x'07');").unwrap();
        migrate(&mut connection).unwrap();
        for table in [
            "relation",
            "audit",
            "revocation",
            "process",
            "kept_rooms",
            "inbox",
            "presence",
            "last_seen",
            "analytics_day",
            "media",
            "device",
            "outbox",
        ] {
            let rows: u32 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
            assert_eq!(rows, 0, "{table}");
        }
        let kept: Vec<u8> = connection.query_row("SELECT data FROM probe", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, [7]);
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version as usize, MIGRATIONS.len());
    }
}
