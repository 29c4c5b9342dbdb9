//! Mode `seed`: fills a store with the messages of `stock`, straight, without a server.
//!
//! MongoDB: an empty database; start the server on it afterwards, it makes its indexes. SQLite: a `data.db` that the server has made and
//! left, because the tables are the server's own; a schema this mode does not know fails at the first row.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::{Acknowledgment, ClientOptions, ServerAddress, WriteConcern};
use mongodb::{Client, Database};
use rusqlite::{Connection, params};
use tokio::task::JoinSet;

use crate::client_ids::ClientIds;
use crate::report::{Problem, Report};
use crate::stock::{Line, Ring, Stock, name};

#[derive(Args)]
pub struct Options {
    /// A mongod on this machine.
    #[arg(long, required_unless_present = "sqlite", conflicts_with = "sqlite")]
    mongodb_uri: Option<String>,
    /// Its database, without messages so far.
    #[arg(long, default_value = "samvad")]
    mongodb_db: String,
    /// The file of the embedded store, of a server that is not running.
    #[arg(long)]
    sqlite: Option<PathBuf>,
    /// How many messages; 0 makes the conversations alone.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(0..=16_000_000))]
    messages: u64,
    /// How many calls that are over.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=16_000_000))]
    calls: u64,
    /// How many conversations.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    conversations: u32,
    /// Give each message a clientMessageId, ordered by time unless it says random.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "ordered")]
    client_ids: Option<ClientIds>,
    /// Put into the report as it is.
    #[arg(long, default_value = "")]
    label: String,
}

/// Messages in one insert, and inserts under way at once.
const BATCH: u64 = 5000;
const AT_ONCE: usize = 4;

/// Runs the mode.
pub async fn run(options: Options) -> Result<Report, Problem> {
    let stock = Stock::new(options.conversations, options.messages, options.client_ids)?;
    let began = Instant::now();
    match (&options.mongodb_uri, &options.sqlite) {
        (Some(uri), _) => fill_mongo(&connect(uri, &options.mongodb_db).await?, stock, options.calls).await?,
        (None, Some(file)) => fill_sqlite(file, &stock, options.calls).map_err(|e| format!("{}: {e}", file.display()))?,
        (None, None) => return Err("neither --mongodb-uri nor --sqlite".to_owned()),
    }
    let took = began.elapsed().as_secs_f64();
    let mut report = Report::plain("seed", &options.label);
    report.put("messages", options.messages);
    report.put("calls", options.calls);
    report.put("conversations", options.conversations);
    report.put("client_ids", options.client_ids.map(ClientIds::name));
    report.put_number("took_s", Some(took));
    report.say(&format!(" {} messages in {} conversations: {took:.1} s", options.messages, options.conversations));
    Ok(report)
}

/// A database of a mongod that can only be this machine's.
pub async fn connect(uri: &str, database: &str) -> Result<Database, Problem> {
    let mut options = ClientOptions::parse(uri).await.map_err(|e| format!("the URI of MongoDB: {e}"))?;
    if !options.hosts.iter().all(is_loopback) {
        return Err("a load generator takes loopback addresses only, written as numbers".to_owned());
    }
    options.server_selection_timeout = Some(Duration::from_secs(10));
    let client = Client::with_options(options).map_err(|e| format!("connecting to MongoDB: {e}"))?;
    Ok(client.database(database))
}

fn is_loopback(server: &ServerAddress) -> bool {
    match server {
        ServerAddress::Tcp { host, .. } => host.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback()),
        _ => false,
    }
}

async fn fill_mongo(database: &Database, stock: Stock, calls: u64) -> Result<(), Problem> {
    let failed = |e: mongodb::error::Error| format!("filling MongoDB: {e}");
    let messages = database.collection::<RawDocumentBuf>("directmessages");
    if stock.lines() > 0 && messages.find_one(doc! {}).await.map_err(failed)?.is_some() {
        return Err(format!("the database {} has messages already", database.name()));
    }
    // Nobody waits for these writes; the last one below does.
    let quick = WriteConcern::builder().w(Acknowledgment::Nodes(1)).build();
    let conversations: Vec<Document> = (0..stock.pairs().len()).map(|pair| stock.conversation_document(pair)).collect();
    database.collection::<Document>("directconversations").insert_many(conversations).write_concern(quick.clone()).await.map_err(failed)?;

    let stock = Arc::new(stock);
    let mut inserts: JoinSet<mongodb::error::Result<()>> = JoinSet::new();
    for first in (0..stock.lines()).step_by(BATCH as usize) {
        if inserts.len() >= AT_ONCE
            && let Some(done) = inserts.join_next().await
        {
            done.map_err(|e| format!("an insert failed: {e}"))?.map_err(failed)?;
        }
        let (stock, messages, quick) = (stock.clone(), messages.clone(), quick.clone());
        inserts.spawn(async move {
            let lines = first..(first + BATCH).min(stock.lines());
            let documents = lines.map(|number| stock.message_document(&stock.line(number)));
            messages.insert_many(documents).ordered(false).write_concern(quick).await.map(drop)
        });
    }
    while let Some(done) = inserts.join_next().await {
        done.map_err(|e| format!("an insert failed: {e}"))?.map_err(failed)?;
    }
    let of_calls = database.collection::<Document>("calls");
    for first in (0..calls).step_by(BATCH as usize) {
        let documents = (first..(first + BATCH).min(calls)).map(|number| stock.call_document(&stock.ring(number, calls)));
        of_calls.insert_many(documents).ordered(false).write_concern(quick.clone()).await.map_err(failed)?;
    }
    // A checkpoint, so that no run that follows pays for these writes.
    database.client().database("admin").run_command(doc! { "fsync": 1 }).await.map_err(failed)?;
    Ok(())
}

fn fill_sqlite(file: &Path, stock: &Stock, calls: u64) -> rusqlite::Result<()> {
    let mut connection = Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; PRAGMA wal_autocheckpoint = 16000;")?;
    let transaction = connection.transaction()?;
    for (index, pair) in stock.pairs().iter().enumerate() {
        let (newest, unread) = stock.summary(index);
        let (id, begins) = (stock.conversation(index), stock.begins_ms());
        let last_at = newest.as_ref().map_or(begins, |line| line.at_ms);
        transaction
            .prepare_cached(
                "INSERT INTO conversation(id, key, type, context_type, last_id, last_content, last_sender_kind, last_sender, last_at,
                    last_type, last_message_at, created_at, updated_at)
                 VALUES(?1, ?2, 'user_astrologer', 'general', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?9)",
            )?
            .execute(params![
                id,
                pair.conversation,
                newest.as_ref().map(|line| line.id),
                newest.as_ref().map(|line| line.content),
                newest.as_ref().map(|line| stock.people(line)[0].kind),
                newest.as_ref().map(|line| &stock.people(line)[0].id),
                newest.as_ref().map(|line| line.at_ms),
                newest.as_ref().map(|_| "text"),
                last_at,
                begins,
            ])?;
        for (position, (person, unread)) in (0_i64..).zip(pair.sides.iter().zip(unread)) {
            transaction
                .prepare_cached(
                    "INSERT INTO member(conversation, kind, person, position, name, joined_at, unread, last_at)
                     VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![id, person.kind, person.id, position, name(person), begins, unread, last_at])?;
        }
    }
    transaction.commit()?;
    for first in (0..stock.lines()).step_by(10 * BATCH as usize) {
        let transaction = connection.transaction()?;
        for number in first..(first + 10 * BATCH).min(stock.lines()) {
            insert_message(&transaction, stock, &stock.line(number))?;
        }
        transaction.commit()?;
    }
    for first in (0..calls).step_by(10 * BATCH as usize) {
        let transaction = connection.transaction()?;
        for number in first..(first + 10 * BATCH).min(calls) {
            insert_call(&transaction, stock, &stock.ring(number, calls))?;
        }
        transaction.commit()?;
    }
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA optimize;")
}

fn insert_call(connection: &Connection, stock: &Stock, ring: &Ring) -> rusqlite::Result<()> {
    let [caller, callee] = stock.parties(ring);
    connection
        .prepare_cached(
            "INSERT INTO call(id, caller_kind, caller, caller_identity, caller_name, callee_kind, callee, callee_identity, callee_name, type,
                channel, conversation_key, status, initiated_at, ringing_at, answered_at, ended_at, duration, server_duration, end_reason,
                end_detail, updated_at)
             VALUES(?1, ?2, ?3, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12, ?13, ?14, ?15, ?15, ?16, ?17, ?14)",
        )?
        .execute(params![
            ring.id,
            caller.kind,
            caller.id,
            name(caller),
            callee.kind,
            callee.id,
            name(callee),
            ring.call_type,
            ring.channel,
            stock.key_of(ring),
            ring.status,
            ring.at_ms,
            ring.answered_ms,
            ring.ended_ms,
            ring.seconds,
            ring.end_reason,
            ring.end_detail,
        ])?;
    Ok(())
}

/// Inserts a row as the server does.
pub fn insert_message(connection: &Connection, stock: &Stock, line: &Line) -> rusqlite::Result<()> {
    let [sender, recipient] = stock.people(line);
    let read_at = line.is_read.then_some(line.at_ms);
    connection
        .prepare_cached(
            "INSERT INTO message(conversation, id, sender_kind, sender, sender_name, recipient_kind, recipient, recipient_identity, type,
                content, client_id, status, unread, created_at, updated_at, delivered_at, read_at)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, 'text', ?8, ?9, ?10, ?11, ?12, ?12, ?13, ?13)",
        )?
        .execute(params![
            stock.conversation(line.pair),
            line.id,
            sender.kind,
            sender.id,
            name(sender),
            recipient.kind,
            recipient.id,
            line.content,
            line.client_id,
            if line.is_read { "read" } else { "sent" },
            !line.is_read,
            line.at_ms,
            read_at,
        ])?;
    Ok(())
}
