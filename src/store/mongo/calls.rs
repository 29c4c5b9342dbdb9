//! Calls: making them ring, moving them on, and what is left to do about those that are over.
//!
//! New ones are stored in batches. Each step is one conditional update of one document, so that of several nodes, and of a deadline and
//! a person, exactly one wins.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bson::{Bson, Document, doc};
use futures_util::FutureExt;
use mongodb::error::ErrorKind;
use mongodb::options::ReturnDocument;
use tokio::sync::oneshot;
use tracing::error;

use super::call_document::{self as documents, in_status, nothing_left, notice_words};
use super::engine::Engine;
use super::failure::again;
use crate::error::{Error, Result};
use crate::models::{Call, CallId, Feedback, IdClock, NewCall, Notices, Timestamp};
use crate::store::analytics::counted_already;
use crate::store::{CallChange, Transitioned};

/// Calls in one request.
const CALLS_AT_ONCE: usize = 1000;
/// New calls that may wait; past it callers are told to come back.
const MOST_WAITING: usize = 2048;

/// Calls that begin while others are being stored, and go in one request after them: each alone would cost several times as much.
/// A lone one waits for nobody.
#[derive(Default)]
pub(super) struct NewCalls(Mutex<Gathered>);

#[derive(Default)]
struct Gathered {
    under_way: bool,
    waiting: Vec<Beginning>,
}

struct Beginning {
    document: Document,
    reply: oneshot::Sender<Result<()>>,
}

impl NewCalls {
    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        // std Mutex: never held across an await.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that wait; without any, the end of the task is noted in the same step.
    fn take(&self) -> Vec<Beginning> {
        let mut gathered = self.gathered();
        let count = gathered.waiting.len().min(CALLS_AT_ONCE);
        gathered.under_way = count > 0;
        gathered.waiting.drain(..count).collect()
    }
}

impl Engine {
    pub(super) async fn create_call(self: &Arc<Self>, clock: &IdClock, new: NewCall) -> Result<Call> {
        let (id, at) = clock.next(new.at);
        let document = documents::write(&new.into_call(CallId::from_bytes(id), at));
        let call = documents::read(&document)?;
        let (reply, stored) = oneshot::channel();
        {
            let mut gathered = self.new_calls.gathered();
            if gathered.waiting.len() >= MOST_WAITING {
                return Err(Error::overloaded());
            }
            gathered.waiting.push(Beginning { document, reply });
            if !gathered.under_way {
                gathered.under_way = true;
                // In a task of its own: whoever asked first may go away while others wait.
                self.tasks.spawn(store_new_calls(Arc::clone(self)));
            }
        }
        stored.await.unwrap_or_else(|_| Err(Error::unavailable("storing a call was given up")))?;
        Ok(call)
    }

    pub(super) async fn find_call(&self, id: CallId) -> Result<Option<Call>> {
        let found = self.ask("finding call", id, self.calls.find_one(doc! { "_id": id })).await?;
        found.map(|document| documents::read(&document)).transpose()
    }

    pub(super) async fn transition_call(&self, change: CallChange) -> Result<Transitioned> {
        let filter = doc! { "_id": change.id, "status": in_status(&change.from) };
        if let Some(call) = self.change_call("moving on call", change.id, filter, documents::step(&change)).await? {
            if counted_already(&call, change.at) {
                self.recount_day(call.initiated_at).await?;
            }
            return Ok(Transitioned::Applied(Box::new(call)));
        }
        Ok(match self.find_call(change.id).await? {
            Some(call) => Transitioned::Refused(Box::new(call)),
            None => Transitioned::NotFound,
        })
    }

    pub(super) async fn rate_call(&self, id: CallId, feedback: Feedback, at: Timestamp) -> Result<Option<Call>> {
        let filter = doc! { "_id": id, "quality.rating": null };
        match self.change_call("rating call", id, filter, documents::rating(&feedback, at)).await? {
            Some(call) => Ok(Some(call)),
            None => self.find_call(id).await,
        }
    }

    /// The call after the update; `None` if the filter does not hold.
    async fn change_call(&self, what: &'static str, id: CallId, filter: Document, update: Document) -> Result<Option<Call>> {
        let change = self.calls.find_one_and_update(filter, update).return_document(ReturnDocument::After);
        let changed = self.ask(what, id, change).await?;
        changed.map(|document| documents::read(&document)).transpose()
    }

    pub(super) async fn settle_notices(&self, settled: &[(CallId, Notices)]) -> Result<()> {
        for settled in settled.chunks(CALLS_AT_ONCE) {
            self.settle(settled).await?;
        }
        Ok(())
    }

    /// Usually everything left is settled at once: one statement for all calls of which the same is. Otherwise the words are taken off
    /// the lists, and whoever takes the last one, this node or another, finds the list empty afterwards.
    async fn settle(&self, settled: &[(CallId, Notices)]) -> Result<()> {
        let mut alike: HashMap<Vec<&str>, Vec<Bson>> = HashMap::new();
        for (id, notices) in settled {
            alike.entry(notice_words(*notices)).or_default().push((*id).into());
        }
        let alike = || alike.iter().map(|(words, ids)| (words, doc! { "$in": ids }));
        let whole = alike().map(|(words, ids)| {
            let nothing_else = doc! { "$exists": true, "$not": { "$elemMatch": { "$nin": words } } };
            of_many(doc! { "_id": ids, "notify": nothing_else }, doc! { "$unset": nothing_left() })
        });
        if self.update_calls(whole.collect()).await? == settled.len() {
            return Ok(());
        }
        let parts = alike()
            .map(|(words, ids)| of_many(doc! { "_id": ids, "notify": { "$in": words } }, doc! { "$pull": { "notify": { "$in": words } } }));
        // A command of its own: the statements of one may run in any order.
        if self.update_calls(parts.collect()).await? > 0 {
            let empty = alike().map(|(_, ids)| of_many(doc! { "_id": ids, "notify": { "$size": 0 } }, doc! { "$unset": nothing_left() }));
            self.update_calls(empty.collect()).await?;
        }
        Ok(())
    }

    /// Returns how many calls are different now.
    async fn update_calls(&self, statements: Vec<Document>) -> Result<usize> {
        let updated = self.update(self.calls.name(), statements).await?;
        if updated.refused.is_empty() { Ok(updated.modified) } else { Err(Error::internal("settling notices was refused")) }
    }
}

async fn store_new_calls(engine: Arc<Engine>) {
    loop {
        let batch = engine.new_calls.take();
        if batch.is_empty() {
            return;
        }
        // A panic would leave everybody after it waiting; these learn that theirs was given up.
        if AssertUnwindSafe(store_batch(&engine, batch)).catch_unwind().await.is_err() {
            error!("storing calls panicked");
        }
    }
}

async fn store_batch(engine: &Engine, batch: Vec<Beginning>) {
    let documents: Vec<&Document> = batch.iter().map(|beginning| &beginning.document).collect();
    let insert = async {
        match engine.calls.insert_many(documents).ordered(false).await {
            // The refusal of some is an answer, not a failure of the request.
            Err(e) => match &*e.kind {
                ErrorKind::InsertMany(many) if many.write_concern_error.is_none() => Ok(many.write_errors.clone().unwrap_or_default()),
                _ => Err(e),
            },
            Ok(_) => Ok(Vec::new()),
        }
    };
    let outcome = engine.ask("storing calls in", engine.database.name(), insert).await;
    for (index, Beginning { reply, .. }) in batch.into_iter().enumerate() {
        let result = match &outcome {
            Ok(refused) => match refused.iter().find(|refusal| refusal.index == index) {
                None => Ok(()),
                Some(refusal) => Err(Error::internal(format!("storing a call: {} (code {})", refusal.message, refusal.code))),
            },
            Err(error) => Err(again(error)),
        };
        // Whoever asked may have gone away.
        let _ = reply.send(result);
    }
}

fn of_many(filter: Document, update: Document) -> Document {
    doc! { "q": filter, "u": update, "multi": true }
}
