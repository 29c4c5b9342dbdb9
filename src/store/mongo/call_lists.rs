//! Lists of calls: of a person, and of what still needs somebody. And giving calls of the original schema the names lists ask for.
//!
//! The order is that of the ids, which begin with the time in every dialect.

use bson::{Document, doc};
use tracing::info;

use super::call_document::{self as documents, in_status, names_missing, of_type};
use super::engine::{Engine, MAX_SKIP, date};
use crate::error::{Error, Result};
use crate::models::{Call, CallId, ParticipantKind, Timestamp};
use crate::store::{CallQuery, Calls, MAX_PAGE};

/// Calls of the original schema read at once.
const STRAYS_AT_ONCE: i64 = 500;

impl Engine {
    pub(super) async fn calls_of(&self, query: CallQuery) -> Result<Calls> {
        if let Some(before) = query.before {
            let find = self.calls.find_one(doc! { "_id": before }).projection(doc! { "_id": 1 });
            self.ask("finding call", before, find).await?.ok_or(Error::CallNotFound)?;
        }
        let limit = query.limit.min(MAX_PAGE);
        let find = self
            .calls
            .find(of_person(&query, query.before))
            .sort(doc! { "_id": -1 })
            .skip(query.skip.min(MAX_SKIP))
            .limit(i64::try_from(limit).unwrap_or(0) + 1);
        let mut found = self.collect("listing the calls of", &query.person, find).await?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let items = found.iter().map(documents::read).collect::<Result<_>>()?;
        // To the database a limit of zero is no limit.
        let total = if query.count_up_to == 0 {
            0
        } else {
            self.count("counting the calls of", &query.person, &self.calls, of_person(&query, None), Some(query.count_up_to)).await?
        };
        Ok(Calls { items, has_more, total })
    }

    pub(super) async fn open_calls(&self, after: Option<CallId>, limit: usize) -> Result<Vec<Call>> {
        let mut filter = doc! { "open": true };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": after });
        }
        self.find_open(filter, doc! { "_id": 1 }, limit).await
    }

    pub(super) async fn overdue_calls(&self, deadline_before: Timestamp, ended_before: Timestamp, limit: usize) -> Result<Vec<Call>> {
        let rings = doc! { "open": true, "ringDeadline": { "$lt": date(deadline_before) } };
        let mut overdue = self.find_open(rings, doc! { "ringDeadline": 1 }, limit).await?;
        // No date is the same as `null`, so that the index leads to the oldest end and past the calls that are not over.
        let is_over = doc! { "open": true, "ringDeadline": null, "endedAt": { "$lt": date(ended_before) } };
        overdue.extend(self.find_open(is_over, doc! { "endedAt": 1 }, limit).await?);
        Ok(overdue)
    }

    async fn find_open(&self, filter: Document, order: Document, limit: usize) -> Result<Vec<Call>> {
        // To the database a limit of zero is no limit.
        if limit == 0 {
            return Ok(Vec::new());
        }
        let find = self.calls.find(filter).sort(order).limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = self.collect("finding open calls in", self.database.name(), find).await?;
        found.iter().map(documents::read).collect()
    }

    /// Writes the names that lists ask for into calls of the original schema. Several nodes may do this at once.
    pub(super) async fn adopt_calls(&self) -> Result<()> {
        let mut last = CallId::from_bytes([0; 12]);
        let mut adopted = 0;
        loop {
            // By id, because one without a callee, or that cannot be changed, would be found for ever.
            let filter = doc! { "_id": { "$gt": last }, "recipientId": null, "calleeId": { "$ne": null } };
            let find = self.calls.find(filter).sort(doc! { "_id": 1 }).limit(STRAYS_AT_ONCE);
            let strays = self.collect("finding calls of the original schema in", self.database.name(), find).await?;
            let Some(newest) = strays.last() else { break };
            last = documents::read_id(newest)?;
            self.adopt_some(&strays).await?;
            adopted += strays.len();
        }
        if adopted > 0 {
            info!("{adopted} calls of the original schema can be listed now");
        }
        Ok(())
    }

    async fn adopt_some(&self, strays: &[Document]) -> Result<()> {
        let statement = |stray: &Document, names: Document| {
            doc! { "q": { "_id": stray.get("_id"), "recipientId": null }, "u": { "$set": names } }
        };
        let updated = self.update(self.calls.name(), strays.iter().map(|stray| statement(stray, names_missing(stray))).collect()).await?;
        // That schema lets two calls have one channel, N's index does not: then the older one keeps the name to itself.
        let without_channel = |stray: &Document| {
            let mut names = names_missing(stray);
            names.remove("channelName");
            statement(stray, names)
        };
        let again = updated.refused.into_iter().filter_map(|index| strays.get(index)).map(without_channel).collect();
        // What is refused even now is in the log; it is found by its id all the same.
        self.update(self.calls.name(), again).await.map(drop)
    }
}

/// Calls of a person on either side, any admin's for an admin.
pub(super) fn of_person(query: &CallQuery, before: Option<CallId>) -> Document {
    let side = |id: &str, kind: &str| {
        let mut side = doc! { kind: query.person.kind().as_str() };
        if query.person.kind() != ParticipantKind::Admin {
            side.insert(id, query.person.id());
        }
        // In each branch, so that both indexes begin where the page does.
        if let Some(before) = before {
            side.insert("_id", doc! { "$lt": before });
        }
        side
    };
    let mut filter = doc! { "$or": [side("callerId", "callerType"), side("recipientId", "recipientType")] };
    if let Some(call_type) = query.call_type {
        filter.insert("callType", of_type(call_type));
    }
    if !query.statuses.is_empty() {
        filter.insert("status", in_status(&query.statuses));
    }
    filter
}
