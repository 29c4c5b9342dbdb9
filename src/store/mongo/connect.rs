//! How the driver reaches the deployment: the URI with our defaults, and preparing it until that succeeds.

use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, doc};
use mongodb::options::{Acknowledgment, ClientOptions, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, error::ErrorKind};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::engine::{Engine, date};
use super::failure::{failed, story};
use super::{indexes, repair};
use crate::error::{Error, Result};
use crate::models::{MessageId, Timestamp};

/// How long a primary is looked for, unless the URI says otherwise.
const SELECT_WITHIN: Duration = Duration::from_secs(5);
/// How long the members may take to agree, unless the URI says otherwise.
const AGREE_WITHIN: Duration = Duration::from_secs(5);
/// Connections at most, unless the URI says otherwise: the lanes, their steps, and readers.
const CONNECTIONS: u32 = 48;
/// When a connection that a rush needed and nobody has used since is closed, unless the URI says otherwise: by itself the driver keeps it, with
/// its buffers.
const IDLE: Duration = Duration::from_secs(60);
/// How long start-up waits for the first attempt to prepare.
const PREPARE_WITHIN: Duration = Duration::from_secs(10);
/// The pause between attempts to prepare doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// An id from further ahead than this is a mistake, not a clock that runs fast, and must not carry ours away.
const FAST_CLOCK: i64 = 24 * 3600 * 1000;

/// Reads the URI. Nothing is asked of the deployment yet, except DNS for `mongodb+srv`.
pub(super) async fn connect(uri: &str, database: &str) -> Result<Arc<Engine>> {
    let parse = async { timeout(SELECT_WITHIN, ClientOptions::parse(uri)).await };
    let mut options =
        parse.await.map_err(|_| Error::unavailable("DNS did not answer for the MongoDB URI"))?.map_err(|e| match &*e.kind {
            ErrorKind::DnsResolve { .. } | ErrorKind::Io(_) => failed("resolving", "the MongoDB URI", e),
            _ => Error::invalid(format!("the MongoDB URI cannot be used: {e}")),
        })?;
    let concern = write_concern(options.write_concern.take())?;
    options.write_concern = Some(concern.clone());
    // What we wrote must be there when we read.
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    options.app_name.get_or_insert_with(|| "samvad".to_owned());
    options.server_selection_timeout.get_or_insert(SELECT_WITHIN);
    options.connect_timeout.get_or_insert(SELECT_WITHIN);
    options.max_pool_size.get_or_insert(CONNECTIONS);
    options.max_idle_time.get_or_insert(IDLE);
    let client = Client::with_options(options).map_err(|e| Error::invalid(format!("the MongoDB URI cannot be used: {e}")))?;
    Ok(Arc::new(Engine::new(client, database, concern_document(&concern))))
}

/// Majority and journal, unless the URI says otherwise.
fn write_concern(asked: Option<WriteConcern>) -> Result<WriteConcern> {
    let mut concern = asked.unwrap_or_default();
    if concern.w == Some(Acknowledgment::Nodes(0)) {
        return Err(Error::invalid("the MongoDB URI says w=0: a message could be lost without anyone noticing. Leave it out, or say w=1"));
    }
    if concern.journal == Some(false) {
        warn!("the MongoDB URI says journal=false: the newest messages are lost when mongod crashes");
    }
    concern.w.get_or_insert(Acknowledgment::Majority);
    concern.journal.get_or_insert(true);
    concern.w_timeout.get_or_insert(AGREE_WITHIN);
    Ok(concern)
}

fn concern_document(concern: &WriteConcern) -> Document {
    let mut document = Document::new();
    match &concern.w {
        Some(Acknowledgment::Nodes(nodes)) => document.insert("w", i64::from(*nodes)),
        Some(Acknowledgment::Custom(tag)) => document.insert("w", tag),
        _ => document.insert("w", "majority"),
    };
    document.insert("j", concern.journal.unwrap_or(true));
    let wait = concern.w_timeout.unwrap_or(AGREE_WITHIN).as_millis();
    document.insert("wtimeout", i64::try_from(wait).unwrap_or(i64::MAX));
    document
}

/// Prepares in the background until it succeeds; returns after the first attempt, or when that takes too long.
pub(super) async fn start_preparing(engine: &Arc<Engine>) {
    let (tried, first_attempt) = oneshot::channel();
    let preparing = Arc::clone(engine);
    engine.tasks.spawn(async move {
        let closed = preparing.closed.clone();
        closed.run_until_cancelled(prepare_until_done(&preparing, tried)).await;
    });
    if timeout(PREPARE_WITHIN, first_attempt).await.is_err() {
        warn!("MongoDB is still being prepared (building indexes takes long on old data); until then writes are refused");
    }
}

async fn prepare_until_done(engine: &Engine, tried: oneshot::Sender<()>) {
    let mut tried = Some(tried);
    let mut pause = Duration::from_millis(250);
    loop {
        let outcome = prepare(engine).await;
        if let Err(error) = &outcome {
            warn!("MongoDB is not ready, writes are refused until it is: {}", story(error));
        }
        if let Some(tried) = tried.take() {
            let _ = tried.send(());
        }
        if outcome.is_ok() {
            info!(db.name = engine.database.name(), "MongoDB database {} is ready", engine.database.name());
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Indexes, what conversations and calls of the original schema lack, and the newest id. Safe to repeat, also on several nodes at once.
async fn prepare(engine: &Engine) -> Result<()> {
    engine.check_primary().await?;
    indexes::ensure(engine).await?;
    engine.adopt_strays().await?;
    engine.adopt_calls().await?;
    let newest = newest_message(engine).await?;
    engine.set_prepared(newest);
    if let Err(error) = repair::look_back(engine).await {
        warn!("the newest conversations were not checked after the start: {}", story(&error));
    }
    Ok(())
}

async fn newest_message(engine: &Engine) -> Result<Option<MessageId>> {
    let limit = Timestamp::from_millis(Timestamp::now().as_millis() + FAST_CLOCK);
    let filter = doc! { "_id": { "$lt": first_id_of(limit) } };
    let newest = engine.messages.find_one(filter).sort(doc! { "_id": -1 }).projection(doc! { "_id": 1 });
    let newest = engine.ask("reading the newest message of", engine.database.name(), newest).await?;
    Ok(newest.and_then(|d| d.get_object_id("_id").ok()).map(|id| MessageId::from_bytes(id.bytes())))
}

/// The smallest id of that second.
pub(super) fn first_id_of(at: Timestamp) -> ObjectId {
    let second = u32::try_from(date(at).timestamp_millis() / 1000).unwrap_or_default();
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&second.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unacknowledged_writes_are_refused_and_the_uri_may_ask_for_less_than_majority() {
        let refused = connect("mongodb://127.0.0.1:1/?w=0", "x").await.err().expect("refused");
        assert!(refused.to_string().contains("w=0"), "{refused}");
        let engine = connect("mongodb://127.0.0.1:1/?w=1&wtimeoutMS=70", "x").await.expect("nothing is asked yet");
        assert_eq!(engine.write_concern, doc! { "w": 1_i64, "j": true, "wtimeout": 70_i64 });
        let engine = connect("mongodb://127.0.0.1:1", "x").await.expect("nothing is asked yet");
        assert_eq!(engine.write_concern, doc! { "w": "majority", "j": true, "wtimeout": 5000_i64 });
    }
}
