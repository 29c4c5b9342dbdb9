//! Calls: making them ring, moving them on, and what is left to do about those that are over.
//!
//! New ones are stored together, and steps taken together. Each step is one conditional update of one document, so that of several nodes,
//! and of a deadline and a person, exactly one wins.

use std::collections::HashMap;
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::ReturnDocument;

use super::call_document::{self as documents, MARKS, in_status, left_over, notice_words};
use super::engine::Engine;
use super::failure::again;
use super::together::{Line, MOST_TOGETHER, Request};
use crate::error::{Error, Result};
use crate::models::{Call, CallId, Feedback, IdClock, NewCall, Notices, Participant, Timestamp};
use crate::store::analytics::counted_already;
use crate::store::{CallChange, Transitioned};

/// A call that begins.
pub(super) struct Beginning(Document);

impl Request for Beginning {
    type Answer = ();

    const WHAT: &'static str = "storing a call";

    fn line(engine: &Engine) -> &Line<Self> {
        &engine.new_calls
    }

    async fn carry_out(engine: &Engine, requests: Vec<Self>) -> Vec<Result<()>> {
        engine.store_calls(&requests).await
    }
}

/// A step of a call.
pub(super) struct Step(CallChange);

impl Request for Step {
    type Answer = Transitioned;

    const WHAT: &'static str = "moving on a call";

    fn line(engine: &Engine) -> &Line<Self> {
        &engine.call_steps
    }

    async fn carry_out(engine: &Engine, mut requests: Vec<Self>) -> Vec<Result<Transitioned>> {
        if requests.len() > 1 {
            return engine.take_steps(&requests).await;
        }
        match requests.pop() {
            Some(Self(change)) => vec![engine.take_step(&change).await],
            None => Vec::new(),
        }
    }
}

impl Engine {
    pub(super) async fn create_call(self: &Arc<Self>, clock: &IdClock, new: NewCall) -> Result<Call> {
        let (id, at) = clock.next(new.at);
        let document = documents::write(&new.into_call(CallId::from_bytes(id), at));
        let call = documents::read(&document)?;
        self.together(Beginning(document)).await?;
        Ok(call)
    }

    async fn store_calls(&self, calls: &[Beginning]) -> Vec<Result<()>> {
        let insert = async {
            match self.calls.insert_many(calls.iter().map(|Beginning(document)| document)).ordered(false).await {
                // The refusal of some is an answer, not a failure of the request.
                Err(e) => match &*e.kind {
                    ErrorKind::InsertMany(many) if many.write_concern_error.is_none() => Ok(many.write_errors.clone().unwrap_or_default()),
                    _ => Err(e),
                },
                Ok(_) => Ok(Vec::new()),
            }
        };
        let outcome = self.ask("storing calls in", self.database.name(), insert).await;
        let result = |index| match &outcome {
            Ok(refused) => match refused.iter().find(|refusal| refusal.index == index) {
                None => Ok(()),
                Some(refusal) => Err(Error::internal(format!("storing a call: {} (code {})", refusal.message, refusal.code))),
            },
            Err(error) => Err(again(error)),
        };
        (0..calls.len()).map(result).collect()
    }

    pub(super) async fn find_call(&self, id: CallId) -> Result<Option<Call>> {
        let found = self.ask("finding call", id, self.calls.find_one(doc! { "_id": id })).await?;
        found.map(|document| documents::read(&document)).transpose()
    }

    pub(super) async fn transition_call(self: &Arc<Self>, change: CallChange) -> Result<Transitioned> {
        let at = change.at;
        let taken = self.together(Step(change)).await?;
        if let Transitioned::Applied(call) = &taken
            && counted_already(call, at)
        {
            self.recount_day(call.initiated_at).await?;
        }
        Ok(taken)
    }

    async fn take_step(&self, change: &CallChange) -> Result<Transitioned> {
        if let Some(call) = self.change_call("moving on call", change.id, may_be_taken(change), documents::step(change)).await? {
            return Ok(Transitioned::Applied(Box::new(call)));
        }
        Ok(match self.find_call(change.id).await? {
            Some(call) => Transitioned::Refused(Box::new(call)),
            None => Transitioned::NotFound,
        })
    }

    /// Steps of several calls, each as conditional as one alone. One command says how many were taken, but not which: each leaves the mark
    /// of its statement in the document, by which it is told from the same step of another node.
    async fn take_steps(&self, steps: &[Step]) -> Vec<Result<Transitioned>> {
        let alike = Alike::all(steps.iter().map(|Step(change)| change));
        let found = async {
            let refused = self.update(self.calls.name(), alike.iter().map(Alike::statement).collect()).await?.refused;
            let ids: Vec<CallId> = steps.iter().map(|Step(change)| change.id).collect();
            let find = self.calls.find(doc! { "_id": { "$in": ids } });
            let found = self.collect("finding calls in", self.database.name(), find).await?;
            let by_id = |document: Document| Ok((documents::read_id(&document)?, document));
            Ok((refused, found.into_iter().map(by_id).collect::<Result<HashMap<_, _>>>()?))
        };
        let (refused, documents) = match found.await {
            Ok(found) => found,
            Err(error) => return steps.iter().map(|_| Err(again(&error))).collect(),
        };
        let mut outcomes: Vec<Result<Transitioned>> = steps.iter().map(|_| Ok(Transitioned::NotFound)).collect();
        for (index, statement) in alike.iter().enumerate() {
            for (place, change) in &statement.steps {
                let (Some(document), Some(outcome)) = (documents.get(&change.id), outcomes.get_mut(*place)) else { continue };
                let marks = document.get_array(MARKS).map(Vec::as_slice).unwrap_or_default();
                *outcome = if marks.iter().any(|left| left.as_object_id() == Some(statement.mark)) {
                    documents::read(document).map(|call| Transitioned::Applied(Box::new(documents::as_after(change, call))))
                } else if refused.contains(&index) {
                    // One document that cannot be changed ends the statement, and the others are none the worse for it.
                    self.take_step(change).await
                } else {
                    documents::read(document).map(|call| Transitioned::Refused(Box::new(call)))
                };
            }
        }
        outcomes
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
        for settled in settled.chunks(MOST_TOGETHER) {
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
            of_many(doc! { "_id": ids, "notify": nothing_else }, doc! { "$unset": left_over() }.into())
        });
        if self.update_calls(whole.collect()).await? == settled.len() {
            return Ok(());
        }
        let parts = alike().map(|(words, ids)| {
            of_many(doc! { "_id": ids, "notify": { "$in": words } }, doc! { "$pull": { "notify": { "$in": words } } }.into())
        });
        // A command of its own: the statements of one may run in any order.
        if self.update_calls(parts.collect()).await? > 0 {
            let empty =
                alike().map(|(_, ids)| of_many(doc! { "_id": ids, "notify": { "$size": 0 } }, doc! { "$unset": left_over() }.into()));
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

/// The most steps of one statement: who ended each call is looked for among all of them.
const MOST_ALIKE: usize = 50;

/// Steps that differ in nothing but the call and who took it. One statement for all of them costs mongod half as much as one for each.
struct Alike<'a> {
    /// With their places among all steps; no call twice, for of its steps one may be taken.
    steps: Vec<(usize, &'a CallChange)>,
    mark: ObjectId,
}

impl<'a> Alike<'a> {
    fn all(steps: impl Iterator<Item = &'a CallChange>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (place, change) in steps.enumerate() {
            match all.iter_mut().find(|alike| alike.has_room_for(change)) {
                Some(alike) => alike.steps.push((place, change)),
                None => all.push(Self { steps: vec![(place, change)], mark: ObjectId::new() }),
            }
        }
        all
    }

    fn has_room_for(&self, change: &CallChange) -> bool {
        self.steps.len() < MOST_ALIKE
            && self.steps.first().is_some_and(|(_, first)| first.is_like(change))
            && self.steps.iter().all(|(_, other)| other.id != change.id)
    }

    /// All at the time of the last of them, a few milliseconds later than the others.
    fn statement(&self) -> Document {
        let Some((_, last)) = self.steps.iter().max_by_key(|(_, change)| change.at) else { return Document::new() };
        let ids: Vec<CallId> = self.steps.iter().map(|(_, change)| change.id).collect();
        let filter = doc! { "_id": { "$in": ids }, "status": in_status(&last.from) };
        let mut update = documents::step(last);
        fn ended_by(change: &CallChange) -> Option<&Participant> {
            change.end.as_ref()?.by.as_ref()
        }
        if self.steps.iter().all(|(_, change)| ended_by(change) == ended_by(last)) {
            update.insert("$push", doc! { MARKS: self.mark });
            return of_many(filter, update.into());
        }
        let ended_by = self.steps.iter().filter_map(|(_, change)| Some((change.id, ended_by(change)?)));
        of_many(filter, documents::steps_by(update, ended_by, self.mark))
    }
}

fn may_be_taken(change: &CallChange) -> Document {
    doc! { "_id": change.id, "status": in_status(&change.from) }
}

fn of_many(filter: Document, update: Bson) -> Document {
    doc! { "q": filter, "u": update, "multi": true }
}
