//! What every part of the driver shares: the collections, the clock of ids, and one way to ask with a time limit.

use std::fmt;
use std::future::IntoFuture;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use moka::sync::Cache;
use mongodb::action::Find;
use mongodb::{Client, Collection, Database};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::calls::{Beginning, Step};
use super::failure::{self, failed};
use super::fields::whole;
use super::others::Presence;
use super::repair::Repairs;
use super::summaries::Summaries;
use super::together::Line;
use crate::error::{Error, Result};
use crate::metrics::StoreMetrics;
use crate::models::{CallId, ConversationId, IdClock, MessageId, Timestamp};
use crate::store::unsure::Unsure;

/// The most entries a list may skip: far beyond every end, and with any limit still a number the database can count to.
pub(super) const MAX_SKIP: u64 = 1 << 53;

/// How many places are kept.
const MOST_PLACES: u64 = 20_000;

/// No single request to the database takes longer; past it the outcome is unknown.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long the question for a primary may take.
const HELLO_WITHIN: Duration = Duration::from_secs(2);

/// The driver without its lanes. Its methods live in the files named after what they do.
pub(super) struct Engine {
    client: Client,
    pub(super) database: Database,
    pub(super) conversations: Collection<Document>,
    pub(super) messages: Collection<Document>,
    pub(super) calls: Collection<Document>,
    pub(super) relations: Collection<Document>,
    pub(super) audit: Collection<Document>,
    pub(super) revocations: Collection<Document>,
    pub(super) kept_rooms: Collection<Document>,
    pub(super) processes: Collection<Document>,
    pub(super) devices: Collection<Document>,
    pub(super) outbox: Collection<Document>,
    pub(super) inboxes: Collection<Document>,
    pub(super) presence: Collection<Document>,
    pub(super) counted_days: Collection<Document>,
    pub(super) media: Collection<Document>,
    /// Whether another program keeps accounts of astrologers.
    pub(super) accounts: Presence,
    /// Commands sent as they are inherit nothing from the client.
    pub(super) write_concern: Document,
    /// Set once indexes are there and the newest id is known: the proof that writing is safe.
    clock: OnceLock<IdClock>,
    pub(super) summaries: Summaries,
    pub(super) repairs: Repairs,
    pub(super) unsure: Unsure,
    pub(super) metrics: StoreMetrics,
    /// Where messages stand that somebody is likely to ask on from: the conversation and the time.
    pub(super) places: Cache<MessageId, (ConversationId, Timestamp)>,
    pub(super) new_calls: Line<Beginning>,
    pub(super) call_steps: Line<Step>,
    /// When a write was given up last, in milliseconds.
    doubted: AtomicI64,
    /// Cancelled by `close`; tasks drain and end.
    pub(super) closed: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Engine {
    pub(super) fn new(client: Client, database: &str, write_concern: Document) -> Self {
        let database = client.database(database);
        Self {
            conversations: database.collection("directconversations"),
            messages: database.collection("directmessages"),
            calls: database.collection("calls"),
            relations: database.collection("samvadrelations"),
            audit: database.collection("samvadaudit"),
            revocations: database.collection("samvadrevocations"),
            kept_rooms: database.collection("samvadrooms"),
            processes: database.collection("samvadprocesses"),
            devices: database.collection("samvaddevices"),
            outbox: database.collection("samvadoutbox"),
            inboxes: database.collection("samvadinboxes"),
            presence: database.collection("samvadpresence"),
            counted_days: database.collection("samvadanalytics"),
            media: database.collection("samvadmedia"),
            accounts: Presence::default(),
            client,
            database,
            write_concern,
            clock: OnceLock::new(),
            summaries: Summaries::default(),
            repairs: Repairs::default(),
            unsure: Unsure::default(),
            metrics: StoreMetrics::default(),
            places: Cache::new(MOST_PLACES),
            new_calls: Line::default(),
            call_steps: Line::default(),
            doubted: AtomicI64::new(i64::MIN),
            closed: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// The messages, written as bytes we put together ourselves.
    pub(super) fn raw_messages(&self) -> Collection<RawDocumentBuf> {
        self.messages.clone_with_type()
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed.is_cancelled() { Err(Error::unavailable("the store is closed")) } else { Ok(()) }
    }

    /// The clock of ids. Errors: `Unavailable` before the database is prepared and after `close`.
    pub(super) fn clock(&self) -> Result<&IdClock> {
        self.check_open()?;
        self.prepared_clock()
    }

    /// The same for what was queued before `close`.
    pub(super) fn prepared_clock(&self) -> Result<&IdClock> {
        self.clock.get().ok_or_else(|| Error::unavailable("MongoDB is not prepared yet"))
    }

    pub(super) fn set_prepared(&self, newest: Option<MessageId>) {
        self.clock.get_or_init(|| IdClock::new(newest));
    }

    /// A write was given up and may still be carried out.
    pub(super) fn note_doubt(&self) {
        self.doubted.fetch_max(Timestamp::now().as_millis(), Ordering::Relaxed);
    }

    /// Whether a write was given up at or after this moment.
    pub(super) fn doubted_since(&self, at: Timestamp) -> bool {
        self.doubted.load(Ordering::Relaxed) >= at.as_millis()
    }

    /// Waits for an answer, no longer than the limit. `what` and `id` go into the error.
    pub(super) async fn ask<T>(
        &self,
        what: &'static str,
        id: impl fmt::Display,
        request: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> Result<T> {
        match timeout(ANSWER_WITHIN, request.into_future()).await {
            Ok(answer) => answer.map_err(|e| failed(what, id, e)),
            Err(_) => Err(failure::no_answer(what, id)),
        }
    }

    /// Reads everything a query finds.
    pub(super) async fn collect<T>(&self, what: &'static str, id: impl fmt::Display, find: Find<'_, T>) -> Result<Vec<T>>
    where
        T: DeserializeOwned + Unpin + Send + Sync,
    {
        self.ask(what, id, async { find.await?.try_collect().await }).await
    }

    /// How many documents there are of this kind, counted no further than `most`, which is not zero.
    ///
    /// The command and not what the driver makes of counting, a pipeline, which costs mongod a fifth more. Asked twice at most, as the
    /// driver does with reading.
    pub(super) async fn count(
        &self,
        what: &'static str,
        id: impl fmt::Display,
        of: &Collection<Document>,
        filter: Document,
        most: Option<u64>,
    ) -> Result<u64> {
        let mut command = doc! { "count": of.name(), "query": filter };
        if let Some(most) = most {
            command.insert("limit", i64::try_from(most).unwrap_or(i64::MAX));
        }
        if let Some(concern) = self.database.read_concern().and_then(|concern| bson::serialize_to_bson(concern).ok()) {
            command.insert("readConcern", concern);
        }
        let counted = async {
            match self.database.run_command(command.clone()).await {
                Err(e) if failure::is_passing(&e) => self.database.run_command(command).await,
                answer => answer,
            }
        };
        let answer = self.ask(what, &id, counted).await?;
        let count = answer.get("n").and_then(whole).and_then(|n| u64::try_from(n).ok());
        count.ok_or_else(|| Error::internal(format!("{what} {id}: no number in {answer}")))
    }

    /// Whether the server that answers takes writes.
    pub(super) async fn check_primary(&self) -> Result<()> {
        let admin = self.client.database("admin");
        let hello = admin.run_command(doc! { "hello": 1 });
        let answer = timeout(HELLO_WITHIN, hello.into_future())
            .await
            .map_err(|_| failure::no_answer("asking for the primary of", self.database.name()))?
            .map_err(|e| failed("asking for the primary of", self.database.name(), e))?;
        match answer.get_bool("isWritablePrimary").or_else(|_| answer.get_bool("ismaster")) {
            Ok(true) => Ok(()),
            _ => Err(Error::unavailable("the MongoDB server that answers is not a primary")),
        }
    }

    /// Ends the connections.
    pub(super) async fn let_go(&self) {
        // A cursor somebody still holds would keep it waiting.
        let _ = timeout(HELLO_WITHIN, self.client.clone().shutdown().immediate(true).into_future()).await;
    }
}

/// A date as stored.
pub(super) fn date(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millis())
}

impl From<MessageId> for Bson {
    fn from(id: MessageId) -> Self {
        Self::ObjectId(ObjectId::from_bytes(id.bytes()))
    }
}

impl From<ConversationId> for Bson {
    fn from(id: ConversationId) -> Self {
        Self::ObjectId(ObjectId::from_bytes(id.bytes()))
    }
}

impl From<CallId> for Bson {
    fn from(id: CallId) -> Self {
        Self::ObjectId(ObjectId::from_bytes(id.bytes()))
    }
}
