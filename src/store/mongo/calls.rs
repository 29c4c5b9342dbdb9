//! Calls: making them ring, moving them on, and what is left to do about those that are over.
//!
//! Each step is one conditional update of one document, so that of several nodes, and of a deadline and a person, exactly one wins.

use std::collections::HashMap;

use bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use super::call_document::{self as documents, in_status, nothing_left, notice_words};
use super::engine::Engine;
use crate::error::{Error, Result};
use crate::models::{Call, CallId, Feedback, IdClock, NewCall, Notices, Timestamp};
use crate::store::{CallChange, Transitioned};

/// Calls in one request.
const CALLS_AT_ONCE: usize = 1000;

impl Engine {
    pub(super) async fn create_call(&self, clock: &IdClock, new: NewCall) -> Result<Call> {
        let (id, at) = clock.next(new.at);
        let call = new.into_call(CallId::from_bytes(id), at);
        let document = documents::write(&call);
        self.ask("storing call", call.id, self.calls.insert_one(&document)).await?;
        documents::read(&document)
    }

    pub(super) async fn find_call(&self, id: CallId) -> Result<Option<Call>> {
        let found = self.ask("finding call", id, self.calls.find_one(doc! { "_id": id })).await?;
        found.map(|document| documents::read(&document)).transpose()
    }

    pub(super) async fn transition_call(&self, change: CallChange) -> Result<Transitioned> {
        let filter = doc! { "_id": change.id, "status": in_status(&change.from) };
        if let Some(call) = self.change_call("moving on call", change.id, filter, documents::step(&change)).await? {
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

fn of_many(filter: Document, update: Document) -> Document {
    doc! { "q": filter, "u": update, "multi": true }
}
