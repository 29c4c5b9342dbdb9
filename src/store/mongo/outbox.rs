//! What is still to be said to the outside. Who takes an entry writes his name on it, if nobody else's is there: one conditional update,
//! so that of several nodes one gets each.

use async_trait::async_trait;
use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use mongodb::error::ErrorKind;

use super::MongoStore;
use super::engine::{Engine, date};
use super::failure;
use super::fields::whole;
use crate::error::{Error, Result};
use crate::models::{
    Lease, Message, MessageId, OutboxEntry, OutboxLane, OutboxOutcome, OutboxState, Participant, ParticipantKind, ProcessId, Timestamp,
};
use crate::store::OutboxStore;

#[async_trait]
impl OutboxStore for MongoStore {
    async fn put_outbox(&self, entries: Vec<OutboxEntry>) -> Result<Vec<String>> {
        self.engine.clock()?;
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.engine.put_outbox(&entries).await
    }

    async fn claim_outbox(&self, lane: OutboxLane, lease: Lease, now: Timestamp, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.engine.clock()?;
        self.engine.claim_outbox(lane, lease, now, limit).await
    }

    async fn settle_outbox(&self, id: &str, owner: ProcessId, outcome: OutboxOutcome) -> Result<bool> {
        let now = Timestamp::now();
        let set = match outcome {
            OutboxOutcome::Done { settled } => doc! { "state": "done", "settled": settled, "endedAt": date(now) },
            OutboxOutcome::Later { due_at, settled, problem } => {
                let mut set = doc! { "dueAt": date(due_at), "settled": settled };
                if let Some(problem) = problem {
                    set.insert("problem", problem);
                }
                set
            }
            OutboxOutcome::Dead { problem } => doc! { "state": "dead", "problem": problem, "endedAt": date(now) },
        };
        let update = doc! { "$set": set, "$inc": { "attempts": 1 }, "$unset": { "leaseOwner": "", "leaseUntil": "", "claim": "" } };
        self.engine.change_outbox(id, held_by(owner), update).await
    }

    async fn note_outbox(&self, id: &str, owner: ProcessId, settled: &[String]) -> Result<bool> {
        self.engine.change_outbox(id, held_by(owner), doc! { "$set": { "settled": settled } }).await
    }

    async fn finish_outbox(&self, id: &str) -> Result<bool> {
        let now = Timestamp::now();
        self.engine.change_outbox(id, free(now), doc! { "$set": { "state": "done", "endedAt": date(now) } }).await
    }

    async fn find_outbox(&self, id: &str) -> Result<Option<OutboxEntry>> {
        self.engine.check_open()?;
        let found = self.engine.ask("finding outbox entry", id, self.engine.outbox.find_one(doc! { "_id": id })).await?;
        found.as_ref().map(read).transpose()
    }

    async fn release_outbox(&self, _now: Timestamp) -> Result<()> {
        // Other nodes may live: their leases end by themselves.
        Ok(())
    }

    async fn trim_outbox(&self, lane: OutboxLane, keep: usize, now: Timestamp) -> Result<u64> {
        self.engine.clock()?;
        let mut filter = free(now);
        filter.extend(doc! { "state": "waiting", "lane": lane.as_str() });
        let outbox = &self.engine.outbox;
        let newest_first = outbox.find(filter.clone()).sort(doc! { "createdAt": -1 }).skip(keep as u64).limit(1);
        let found = self.engine.collect("looking what is too much in", outbox.name(), newest_first).await?;
        let Some(last) = found.first() else { return Ok(0) };
        filter.insert("createdAt", doc! { "$lte": last.get_datetime("createdAt").copied().unwrap_or(bson::DateTime::MIN) });
        let set = doc! { "state": "done", "endedAt": date(now), "problem": "too many were waiting" };
        let trimmed = self.engine.ask("trimming", outbox.name(), outbox.update_many(filter, doc! { "$set": set })).await?;
        Ok(trimmed.modified_count)
    }

    async fn purge_outbox(&self, done_before: Timestamp, dead_before: Timestamp) -> Result<()> {
        self.engine.clock()?;
        for (state, before) in [("done", done_before), ("dead", dead_before)] {
            let delete = self.engine.outbox.delete_many(doc! { "state": state, "endedAt": { "$lt": date(before) } });
            self.engine.ask("purging", self.engine.outbox.name(), delete).await?;
        }
        Ok(())
    }

    async fn dead_outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.engine.check_open()?;
        // To the database a limit of zero is no limit.
        if limit == 0 {
            return Ok(Vec::new());
        }
        let find = self.engine.outbox.find(doc! { "state": "dead" }).sort(doc! { "endedAt": 1, "_id": 1 });
        let find = find.limit(i64::try_from(limit).unwrap_or(i64::MAX));
        self.engine.collect("finding what was given up in", self.engine.outbox.name(), find).await?.iter().map(read).collect()
    }

    async fn walk_outbox(&self, after: Option<String>, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.engine.check_open()?;
        // To the database a limit of zero is no limit.
        let limit = i64::try_from(limit.max(1)).unwrap_or(i64::MAX);
        let find = self.engine.outbox.find(doc! { "_id": { "$gt": after.unwrap_or_default() } }).sort(doc! { "_id": 1 }).limit(limit);
        let found = self.engine.collect("walking through", self.engine.outbox.name(), find).await?;
        found.iter().map(read).collect()
    }

    async fn forget_outbox(&self, ids: Vec<String>) -> Result<()> {
        self.engine.clock()?;
        let delete = self.engine.outbox.delete_many(doc! { "_id": { "$in": ids } });
        self.engine.ask("forgetting entries of", self.engine.outbox.name(), delete).await.map(drop)
    }

    async fn revive_outbox(&self, id: Option<&str>, now: Timestamp, expires_at: Timestamp) -> Result<u64> {
        self.engine.clock()?;
        let mut filter = doc! { "state": "dead" };
        if let Some(id) = id {
            filter.insert("_id", id);
        }
        let set = doc! { "state": "waiting", "createdAt": date(now), "dueAt": date(now), "expiresAt": date(expires_at), "attempts": 0_i64 };
        let update = self.engine.outbox.update_many(filter, doc! { "$set": set, "$unset": { "endedAt": "" } });
        Ok(self.engine.ask("reviving entries of", self.engine.outbox.name(), update).await?.modified_count)
    }

    async fn messages_made_since(&self, since: Timestamp, after: Option<MessageId>, limit: usize) -> Result<Vec<Message>> {
        self.engine.check_open()?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        // Ids begin with the second they were made in.
        let mut first = [0; 12];
        first[..4].copy_from_slice(&u32::try_from(since.as_millis() / 1000).unwrap_or_default().to_be_bytes());
        let first = ObjectId::from_bytes(after.map_or(first, MessageId::bytes));
        let find = self.engine.messages.find(doc! { "_id": { "$gt": first } }).sort(doc! { "_id": 1 });
        let find = find.limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = self.engine.collect("reading the newest of", self.engine.messages.name(), find).await?;
        let mut messages = Vec::with_capacity(found.len());
        for document in &found {
            messages.extend(self.engine.read_message(document).await?);
        }
        Ok(messages)
    }
}

impl Engine {
    async fn put_outbox(&self, entries: &[OutboxEntry]) -> Result<Vec<String>> {
        let documents = entries.iter().map(write).collect::<Result<Vec<_>>>()?;
        let insert = async {
            match self.outbox.insert_many(&documents).ordered(false).await {
                Ok(_) => Ok(Vec::new()),
                Err(e) => match &*e.kind {
                    ErrorKind::InsertMany(many)
                        if many.write_concern_error.is_none()
                            && many.write_errors.iter().flatten().all(|refused| refused.code == failure::DUPLICATE_KEY) =>
                    {
                        Ok(many.write_errors.iter().flatten().map(|refused| refused.index).collect::<Vec<_>>())
                    }
                    _ => Err(e),
                },
            }
        };
        let known = self.ask("adding to", self.outbox.name(), insert).await?;
        let new: Vec<&OutboxEntry> =
            entries.iter().enumerate().filter(|(index, _)| !known.contains(index)).map(|(_, entry)| entry).collect();
        let now = Timestamp::now();
        let superseded = new.iter().filter_map(|entry| {
            let mut older = free(now);
            let created = doc! { "$lte": date(entry.created_at) };
            older.extend(
                doc! { "collapse": entry.collapse.as_ref()?, "state": "waiting", "_id": { "$ne": &entry.id }, "createdAt": created },
            );
            Some(doc! { "q": older, "u": { "$set": { "state": "done", "endedAt": date(now) } }, "multi": true })
        });
        // Of two under one word in the same batch each would take the other one out.
        let mut newest: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
        for (index, entry) in new.iter().enumerate() {
            if let Some(word) = &entry.collapse {
                newest.insert(word, index);
            }
        }
        let last_only: Vec<Document> = new
            .iter()
            .filter(|entry| entry.collapse.is_some())
            .zip(superseded)
            .filter(|(entry, _)| entry.collapse.as_deref().and_then(|word| newest.get(word)).is_some_and(|at| new[*at].id == entry.id))
            .map(|(_, statement)| statement)
            .collect();
        self.update(self.outbox.name(), last_only).await?;
        Ok(new.into_iter().map(|entry| entry.id.clone()).collect())
    }

    async fn claim_outbox(&self, lane: OutboxLane, lease: Lease, now: Timestamp, limit: usize) -> Result<Vec<OutboxEntry>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut due = free(now);
        due.extend(doc! { "lane": lane.as_str(), "state": "waiting", "dueAt": { "$lte": date(now) } });
        let find = self.outbox.find(due.clone()).sort(doc! { "dueAt": 1 }).limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = self.collect("looking what is due in", self.outbox.name(), find.projection(doc! { "_id": 1 })).await?;
        let ids: Vec<Bson> = found.iter().filter_map(|document| document.get("_id").cloned()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // What tells this claim from an earlier one of the same process.
        let claim = ObjectId::new();
        let ids = doc! { "$in": ids };
        due.insert("_id", ids.clone());
        let set = doc! { "leaseOwner": lease.owner.to_string(), "leaseUntil": date(lease.until), "claim": claim };
        let update = self.outbox.update_many(due, doc! { "$set": set });
        if self.ask("claiming entries of", self.outbox.name(), update).await?.modified_count == 0 {
            return Ok(Vec::new());
        }
        let find = self.outbox.find(doc! { "_id": ids, "claim": claim }).sort(doc! { "dueAt": 1 });
        self.collect("reading entries of", self.outbox.name(), find).await?.iter().map(read).collect()
    }

    async fn change_outbox(&self, id: &str, mut filter: Document, update: Document) -> Result<bool> {
        self.clock()?;
        filter.extend(doc! { "_id": id, "state": "waiting" });
        Ok(self.ask("changing outbox entry", id, self.outbox.update_one(filter, update)).await?.matched_count > 0)
    }
}

/// Nobody works on it.
fn free(now: Timestamp) -> Document {
    doc! { "$or": [{ "leaseUntil": null }, { "leaseUntil": { "$lte": date(now) } }] }
}

fn held_by(owner: ProcessId) -> Document {
    doc! { "leaseOwner": owner.to_string() }
}

fn write(entry: &OutboxEntry) -> Result<Document> {
    let mut document = doc! {
        "_id": &entry.id,
        "lane": entry.lane.as_str(),
        "body": &entry.body,
        "createdAt": date(entry.created_at),
        "dueAt": date(entry.due_at),
        "expiresAt": date(entry.expires_at),
        "attempts": i64::from(entry.attempts),
        "settled": &entry.settled,
        "state": entry.state.as_str(),
    };
    if let Some(word) = &entry.collapse {
        document.insert("collapse", word);
    }
    if let Some(person) = &entry.recipient {
        document.extend(doc! { "recipientType": person.kind().as_str(), "recipientId": person.id() });
    }
    if let Some(lease) = &entry.lease {
        document.extend(doc! { "leaseOwner": lease.owner.to_string(), "leaseUntil": date(lease.until) });
    }
    if let Some(problem) = &entry.problem {
        document.insert("problem", problem);
    }
    Ok(document)
}

fn read(document: &Document) -> Result<OutboxEntry> {
    let text = |name: &str| document.get_str(name).ok();
    let time = |name: &str| Some(Timestamp::from_millis(document.get_datetime(name).ok()?.timestamp_millis()));
    let read = || {
        Some(OutboxEntry {
            id: text("_id")?.to_owned(),
            lane: OutboxLane::parse(text("lane")?)?,
            collapse: text("collapse").map(str::to_owned),
            recipient: match text("recipientType") {
                None => None,
                Some(kind) => Some(Participant::stored(ParticipantKind::parse(kind)?, text("recipientId")?)),
            },
            body: text("body")?.to_owned(),
            created_at: time("createdAt")?,
            due_at: time("dueAt")?,
            expires_at: time("expiresAt")?,
            attempts: u32::try_from(whole(document.get("attempts")?)?).ok()?,
            settled: document.get_array("settled").ok()?.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<_>>()?,
            state: OutboxState::parse(text("state")?)?,
            lease: match text("leaseOwner") {
                None => None,
                Some(owner) => Some(Lease { owner: ProcessId::parse(owner)?, until: time("leaseUntil")? }),
            },
            problem: text("problem").map(str::to_owned),
        })
    };
    read().ok_or_else(|| failed_entry(document))
}

fn failed_entry(document: &Document) -> Error {
    Error::internal(format!("cannot decode outbox entry {:?}", document.get("_id")))
}
