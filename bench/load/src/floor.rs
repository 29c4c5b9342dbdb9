//! Modes `floor-mongo` and `floor-sqlite`: what a store alone can take, without a server and without listeners.
//!
//! The same documents or rows, indexes and durability as the server's, in batches of a fixed size: what is left between this and the server
//! is the server. The store must have been seeded (`--messages 0` is enough) and, for its indexes, served once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Args;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Document, RawDocumentBuf, doc};
use mongodb::options::{Acknowledgment, WriteConcern};
use mongodb::{Collection, Database};
use rusqlite::{Connection, OpenFlags, params};
use tokio::task::JoinSet;

use crate::client_ids::{ClientIds, scatter};
use crate::histogram::Histogram;
use crate::proc::{Meter, Processes, Reading};
use crate::report::{Problem, Report, shown};
use crate::seed::{connect, insert_message};
use crate::stock::{Line, Stock};

/// Flags of both floors.
#[derive(Args)]
pub struct Common {
    /// Messages in one batch.
    #[arg(long, default_value_t = 125, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batch: u64,
    /// How many conversations the store was seeded with, and so may be written to.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    conversations: u32,
    /// How many of them are written to, spread evenly.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    active: u32,
    /// Give each message a clientMessageId, ordered by time unless it says random.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "ordered")]
    client_ids: Option<ClientIds>,
    /// Length of the measured window in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds before the window.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=60))]
    warmup: u64,
    /// Put into the report as it is.
    #[arg(long, default_value = "")]
    label: String,
}

#[derive(Args)]
pub struct MongoOptions {
    #[command(flatten)]
    common: Common,
    /// A mongod on this machine.
    #[arg(long)]
    mongodb_uri: String,
    /// Its database.
    #[arg(long, default_value = "samvad")]
    mongodb_db: String,
    /// Batches under way at once, each in conversations of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    writers: u8,
    /// Process id of the database, for CPU.
    #[arg(long, value_delimiter = ',')]
    mongod_pid: Vec<u32>,
}

#[derive(Args)]
pub struct SqliteOptions {
    #[command(flatten)]
    common: Common,
    /// The file of the embedded store, of a server that is not running.
    #[arg(long)]
    sqlite: PathBuf,
}

/// The measured part, by the clock of the writers themselves.
struct Tally {
    opens: Instant,
    closes: Instant,
    messages: AtomicU64,
    latency: Histogram,
}

impl Tally {
    fn start(common: &Common) -> Self {
        let opens = Instant::now() + Duration::from_secs(common.warmup);
        Self { opens, closes: opens + Duration::from_secs(common.seconds), messages: 0.into(), latency: Histogram::new() }
    }

    fn is_open(&self) -> bool {
        Instant::now() < self.closes
    }

    fn note(&self, began: Instant, messages: u64) {
        let now = Instant::now();
        if self.opens <= now && now < self.closes {
            self.messages.fetch_add(messages, Relaxed);
            self.latency.record(now - began);
        }
    }
}

/// The conversation of a writer's message `number`: in turn, so that a batch meets as many as it can.
fn place(common: &Common, writer: u8, writers: u8, number: u64) -> usize {
    let (writer, writers) = (u64::from(writer), u64::from(writers));
    let own = (u64::from(common.active) / writers).max(1);
    let turn = (number % own) * writers + writer;
    (turn * u64::from(common.conversations) / u64::from(common.active).max(writers)) as usize % common.conversations as usize
}

/// Runs `floor-mongo`.
pub async fn mongo(options: MongoOptions) -> Result<Report, Problem> {
    let database = connect(&options.mongodb_uri, &options.mongodb_db).await?;
    let known = database.collection::<Document>("directconversations").count_documents(doc! {}).await;
    if known.map_err(|e| format!("asking MongoDB: {e}"))? < u64::from(options.common.conversations) {
        return Err("the database has fewer conversations: seed it first".to_owned());
    }
    let stock = Arc::new(Stock::new(options.common.conversations, 0, None)?);
    let tally = Arc::new(Tally::start(&options.common));
    let options = Arc::new(options);
    let mut writers = JoinSet::new();
    for writer in 0..options.writers {
        let (options, stock, tally, database) = (options.clone(), stock.clone(), tally.clone(), database.clone());
        writers.spawn(async move { write_on(&options, &stock, &tally, &database, writer).await });
    }
    let meter = Meter { server: Processes(Vec::new()), mongod: Processes(options.mongod_pid.clone()) };
    tokio::time::sleep_until(tally.opens.into()).await;
    let before = meter.read();
    tokio::time::sleep_until(tally.closes.into()).await;
    let used = meter.read().since(before);
    for outcome in writers.join_all().await {
        outcome.map_err(|e| format!("writing to MongoDB: {e}"))?;
    }
    let mut report = report("floor-mongo", &options.common, &tally);
    report.put("writers", options.writers);
    report.put_cpu(used, tally.messages.load(Relaxed));
    report.say(&format!("; CPU s: mongod {}, load {}", shown(used.mongod), shown(used.load)));
    Ok(report)
}

async fn write_on(options: &MongoOptions, stock: &Stock, tally: &Tally, database: &Database, writer: u8) -> mongodb::error::Result<()> {
    let durable = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
    let messages: Collection<RawDocumentBuf> = database.collection("directmessages");
    let mut number = 0;
    while tally.is_open() {
        let began = Instant::now();
        let lines: Vec<Line> = (number..number + options.common.batch)
            .map(|number| {
                stock.line_now(writer, number, place(&options.common, writer, options.writers, number), options.common.client_ids)
            })
            .collect();
        number += options.common.batch;
        let documents: Vec<_> = lines.iter().map(|line| stock.message_document(line)).collect();
        messages.insert_many(documents).ordered(false).write_concern(durable.clone()).await?;
        // As many statements as conversations, not as messages.
        let mut grown: BTreeMap<usize, (&Line, i32)> = BTreeMap::new();
        for line in &lines {
            let growth = grown.entry(line.pair).or_insert((line, 0));
            *growth = (line, growth.1 + 1);
        }
        let updates: Vec<Document> = grown.values().map(|(line, count)| update(stock, line, *count)).collect();
        let concern = doc! { "w": "majority", "j": true };
        let command = doc! { "update": "directconversations", "updates": updates, "ordered": false, "writeConcern": concern };
        database.run_command(command).await?;
        tally.note(began, options.common.batch);
    }
    Ok(())
}

fn update(stock: &Stock, line: &Line, count: i32) -> Document {
    let [_, recipient] = stock.people(line);
    let at = DateTime::from_millis(line.at_ms);
    doc! {
        "q": { "_id": ObjectId::from_bytes(stock.conversation(line.pair)) },
        "u": {
            "$set": stock.latest(line),
            "$max": { "lastMessageAt": at, "updatedAt": at },
            "$inc": { format!("unreadCount.{}", recipient.id): count },
        },
    }
}

/// Runs `floor-sqlite`.
pub fn sqlite(options: &SqliteOptions) -> Result<Report, Problem> {
    let common = &options.common;
    let stock = Stock::new(common.conversations, 0, None)?;
    let meter = Meter { server: Processes(Vec::new()), mongod: Processes(Vec::new()) };
    let tally = Tally::start(common);
    let used = commit_on(options, &stock, &tally, &meter).map_err(|e| format!("{}: {e}", options.sqlite.display()))?;
    let mut report = report("floor-sqlite", common, &tally);
    let messages = tally.messages.load(Relaxed);
    report.put_cpu(used, messages);
    report.say(&format!("; CPU s {}", shown(used.load)));
    Ok(report)
}

fn commit_on(options: &SqliteOptions, stock: &Stock, tally: &Tally, meter: &Meter) -> rusqlite::Result<Reading> {
    let common = &options.common;
    let mut connection = Connection::open_with_flags(&options.sqlite, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // The server's own settings.
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA wal_autocheckpoint = 16000; PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;",
    )?;
    let mut number = 0;
    let mut before = None;
    while tally.is_open() {
        let began = Instant::now();
        if began >= tally.opens && before.is_none() {
            before = Some(meter.read());
        }
        let transaction = connection.transaction()?;
        for number in number..number + common.batch {
            let pair = place(common, 0, 1, scatter(number));
            let line = stock.line_now(0, number, pair, common.client_ids);
            insert_message(&transaction, stock, &line)?;
            make_latest(&transaction, stock, &line)?;
        }
        transaction.commit()?;
        number += common.batch;
        tally.note(began, common.batch);
    }
    let after = meter.read();
    Ok(after.since(before.unwrap_or(after)))
}

fn make_latest(connection: &Connection, stock: &Stock, line: &Line) -> rusqlite::Result<()> {
    let [sender, recipient] = stock.people(line);
    let id = stock.conversation(line.pair);
    connection
        .prepare_cached(
            "UPDATE conversation SET last_id = ?2, last_content = ?3, last_sender_kind = ?4, last_sender = ?5, last_at = ?6,
                last_type = 'text', last_message_at = max(last_message_at, ?6), updated_at = max(updated_at, ?6) WHERE id = ?1",
        )?
        .execute(params![id, line.id, line.content, sender.kind, sender.id, line.at_ms])?;
    connection
        .prepare_cached(
            "UPDATE member SET last_at = max(last_at, ?2), unread = unread + (kind = ?3 AND person = ?4) WHERE conversation = ?1",
        )?
        .execute(params![id, line.at_ms, recipient.kind, recipient.id])?;
    Ok(())
}

fn report(mode: &str, common: &Common, tally: &Tally) -> Report {
    let messages = tally.messages.load(Relaxed);
    let per_second = messages as f64 / common.seconds as f64;
    let mut report = Report::plain(mode, &common.label);
    report.put("seconds", common.seconds);
    report.put("warmup", common.warmup);
    report.put("batch", common.batch);
    report.put("active", common.active);
    report.put("client_ids", common.client_ids.map(ClientIds::name));
    report.put_number("messages_per_s", Some(per_second));
    report.put("batch_ms", tally.latency.summary());
    if messages == 0 {
        report.fault("no batch was stored in the window".to_owned());
    }
    report.say(&format!(
        " batches of {}: {per_second:.0} messages/s; a batch p50 {:.2} p99 {:.2} ms",
        common.batch,
        tally.latency.quantile_ms(0.5),
        tally.latency.quantile_ms(0.99),
    ));
    report
}
