//! Counting for the dashboard: pipelines of `$match`, `$project` and `$group` over one day at most.
//!
//! Documents are found through the index by `_id`, which begins with the time in every dialect; an index by date would cost every
//! message that is ever written. Source of the words: `call_document`.

use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use mongodb::Collection;

use super::MongoStore;
use super::engine::{Engine, date};
use super::failure::is_duplicate_key;
use super::fields::whole;
use super::message_document::not_set;
use crate::error::{Error, Result, Source};
use crate::models::analytics::{CallTally, Day, MessageTally, Outcome, With};
use crate::models::{CallId, CallType, MessageType, ParticipantKind, Timestamp};
use crate::store::analytics::{AnalyticsStore, CountedDay};

/// How far the time in an id may lie from the date beside it: other programs make the id first, and on another machine.
const LAG: Duration = Duration::from_secs(300);

#[async_trait::async_trait]
impl AnalyticsStore for MongoStore {
    async fn tally_messages(&self, from: Timestamp, to: Timestamp) -> Result<Vec<MessageTally>> {
        self.engine.check_open()?;
        let mut of_messages = within(from, to, &["timestamp", "createdAt"]);
        of_messages[0].get_document_mut("$match").map_err(Error::internal)?.extend(doc! {
            "isDeleted": not_set(),
            "messageType": { "$ne": MessageType::CallLog.as_str() },
        });
        let group = doc! { "_id": key(doc! {}), "name": { "$max": "$name" }, "n": { "$sum": 1 } };
        of_messages.extend([sides("sender", "recipient", doc! {}), of_astrologers(), doc! { "$group": group }]);
        let groups = self.engine.groups("counting messages of", &self.engine.messages, of_messages).await?;
        groups.iter().map(message_tally).collect()
    }

    async fn tally_calls(&self, from: Timestamp, to: Timestamp) -> Result<Vec<CallTally>> {
        self.engine.check_open()?;
        let mut of_calls = within(from, to, &["initiatedAt", "startedAt", "createdAt"]);
        let more = doc! {
            "video": { "$eq": ["$callType", "video"] },
            "outcome": outcome(),
            // The Node backend knows no other duration than the client's.
            "seconds": { "$ifNull": ["$serverDuration", { "$ifNull": ["$duration", 0] }] },
        };
        let group = doc! {
            "_id": key(doc! { "v": "$video", "o": "$outcome" }),
            "name": { "$max": "$name" },
            "n": { "$sum": 1 },
            "talked": { "$sum": { "$cond": [{ "$gt": ["$seconds", 0] }, 1, 0] } },
            "seconds": { "$sum": "$seconds" },
        };
        of_calls.extend([sides("caller", "recipient", more), of_astrologers(), doc! { "$group": group }]);
        let groups = self.engine.groups("counting calls of", &self.engine.calls, of_calls).await?;
        groups.iter().map(call_tally).collect()
    }

    async fn count_active(&self, since: Timestamp) -> Result<[u64; 2]> {
        self.engine.check_open()?;
        self.engine.show_first(|_, _| true).await;
        let pipeline = vec![
            doc! { "$match": {
                "lastMessageAt": { "$gte": date(since) },
                "lastMessage": { "$nin": [null, "", {}] },
                "participants.type": ParticipantKind::Astrologer.as_str(),
            } },
            doc! { "$group": {
                "_id": { "$in": [ParticipantKind::User.as_str(), "$participants.type"] },
                "n": { "$sum": 1 },
            } },
        ];
        let groups = self.engine.groups("counting active conversations of", &self.engine.conversations, pipeline).await?;
        let mut active = [0; 2];
        for group in &groups {
            active[usize::from(group.get_bool("_id").map_err(Error::internal)?)] = number(group, "n")?;
        }
        Ok(active)
    }

    async fn day_versions(&self, from: Day, to: Day) -> Result<Vec<(Day, u64)>> {
        self.engine.check_open()?;
        let find =
            self.engine.counted_days.find(doc! { "_id": { "$gte": from.number(), "$lte": to.number() } }).projection(doc! { "version": 1 });
        let found = self.engine.collect("reading the versions of days in", self.engine.database.name(), find).await?;
        found.iter().map(day_and_version).collect()
    }

    async fn kept_days(&self, from: Day, to: Day) -> Result<Vec<CountedDay>> {
        self.engine.check_open()?;
        let days = doc! { "_id": { "$gte": from.number(), "$lte": to.number() }, "totals": { "$ne": null } };
        let find = self.engine.counted_days.find(days);
        let found = self.engine.collect("reading counted days in", self.engine.database.name(), find).await?;
        let counted = |document: &Document| {
            // What another version of this program kept in another form is counted again.
            let totals = document.get_str("totals").ok().and_then(|totals| serde_json::from_str(totals).ok());
            let day = day_and_version(document).map(|(day, version)| totals.map(|totals| CountedDay { day, version, totals }));
            day.transpose()
        };
        found.iter().filter_map(counted).collect()
    }

    async fn keep_days(&self, days: Vec<CountedDay>) -> Result<usize> {
        self.engine.clock()?;
        // Side by side, because each waits for the journal.
        let kept = days.into_iter().map(|day| self.engine.keep_day(day));
        Ok(try_join_all(kept).await?.into_iter().filter(|kept| *kept).count())
    }
}

fn day_and_version(document: &Document) -> Result<(Day, u64)> {
    Ok((Day::from_number(number(document, "_id")?.cast_signed()), number(document, "version")?))
}

impl Engine {
    /// Says that what was counted of this moment's day is no longer true.
    pub(super) async fn recount_day(&self, at: Timestamp) -> Result<()> {
        let day = Day::of(at);
        let recount = async {
            let update = || {
                let update = doc! { "$inc": { "version": 1_i64 }, "$unset": { "totals": "" } };
                self.counted_days.update_one(doc! { "_id": day.number() }, update).upsert(true)
            };
            match update().await {
                // Two who make the same document at once: now it is there.
                Err(e) if is_duplicate_key(&e) => update().await,
                outcome => outcome,
            }
        };
        self.ask("counting again", day, recount).await.map(drop)
    }

    /// False if the day has another version by now.
    async fn keep_day(&self, CountedDay { day, version, totals }: CountedDay) -> Result<bool> {
        let totals = serde_json::to_string(&totals).map_err(Error::internal)?;
        let keep = async {
            let filter = doc! { "_id": day.number(), "version": version.cast_signed() };
            let update = doc! { "$set": { "totals": totals } };
            // A day of another version is not found, and cannot be made twice.
            match self.counted_days.update_one(filter, update).upsert(version == 0).await {
                Err(e) if is_duplicate_key(&e) => Ok(false),
                outcome => outcome.map(|done| done.matched_count > 0 || done.upserted_id.is_some()),
            }
        };
        self.ask("keeping the totals of", day, keep).await
    }

    async fn groups(&self, what: &'static str, of: &Collection<Document>, pipeline: Vec<Document>) -> Result<Vec<Document>> {
        self.ask(what, self.database.name(), async { of.aggregate(pipeline).await?.try_collect().await }).await
    }
}

/// What lies in this stretch of time; `at` says when, from the first of these fields that is there.
fn within(from: Timestamp, to: Timestamp, dates: &[&str]) -> Vec<Document> {
    let ids = doc! { "$gte": CallId::from_bytes(from.minus(LAG).first_id()), "$lt": CallId::from_bytes(to.plus(LAG).first_id()) };
    let stretch = doc! { "$gte": date(from), "$lt": date(to) };
    let some_date: Vec<Document> = dates.iter().copied().map(|name| doc! { name: stretch.clone() }).collect();
    let at = dates.iter().rev().fold(Bson::Null, |rest, name| Bson::Document(doc! { "$ifNull": [format!("${name}"), rest] }));
    // The dates of one document may differ by a moment, so that another one than the first lies in the stretch.
    vec![doc! { "$match": { "_id": ids, "$or": some_date } }, doc! { "$addFields": { "at": at } }, doc! { "$match": { "at": stretch } }]
}

/// Who of the two sides is the astrologer, and who the other is.
fn sides(one: &str, two: &str, more: Document) -> Document {
    let is_one = || doc! { "$eq": [format!("${one}Type"), ParticipantKind::Astrologer.as_str()] };
    let choose = |field: &str| doc! { "$cond": [is_one(), format!("${one}{field}"), format!("${two}{field}")] };
    let other = doc! { "$cond": [is_one(), format!("${two}Type"), format!("${one}Type")] };
    let mut fields = doc! {
        "hour": { "$hour": "$at" },
        "astrologer": choose("Id"),
        "kind": choose("Type"),
        "with": other,
        "name": choose("Name"),
    };
    fields.extend(more);
    doc! { "$project": fields }
}

/// Those between an astrologer and somebody else. `customer` is an older word.
fn of_astrologers() -> Document {
    doc! { "$match": { "kind": ParticipantKind::Astrologer.as_str(), "with": { "$in": ["admin", "user", "customer"] } } }
}

fn key(more: Document) -> Document {
    let mut key = doc! { "h": "$hour", "a": "$astrologer", "w": "$with" };
    key.extend(more);
    key
}

/// The words of both dialects, in the order in which they decide.
fn outcome() -> Document {
    let is = |field: &str, words: &[&str]| doc! { "$in": [format!("${field}"), words] };
    let answered = doc! { "$gt": [{ "$ifNull": ["$answeredAt", "$acceptedAt"] }, null] };
    let branch = |case: Document, then: &str| doc! { "case": case, "then": then };
    doc! { "$switch": {
        "branches": [
            branch(doc! { "$or": [is("status", &["missed"]), is("endReason", &["no_answer", "missed", "timeout"])] }, "missed"),
            branch(doc! { "$or": [is("status", &["rejected"]), is("endReason", &["rejected", "declined"])] }, "rejected"),
            branch(is("endReason", &["completed"]), "completed"),
            branch(doc! { "$and": [
                is("status", &["ended"]),
                { "$ne": ["$endReason", "cancelled"] },
                { "$or": [{ "$ne": ["$endReason", "network_error"] }, answered] },
            ] }, "completed"),
        ],
        "default": "other",
    } }
}

fn message_tally(group: &Document) -> Result<MessageTally> {
    let key = group.get_document("_id").map_err(Error::internal)?;
    Ok(MessageTally { hour: hour(key)?, astrologer: astrologer(key), name: name(group), with: with(key)?, count: number(group, "n")? })
}

fn call_tally(group: &Document) -> Result<CallTally> {
    let key = group.get_document("_id").map_err(Error::internal)?;
    let word = key.get_str("o").map_err(Error::internal)?;
    Ok(CallTally {
        hour: hour(key)?,
        astrologer: astrologer(key),
        name: name(group),
        with: with(key)?,
        call_type: if key.get_bool("v").map_err(Error::internal)? { CallType::Video } else { CallType::Voice },
        outcome: Outcome::parse(word).ok_or_else(|| unknown(word))?,
        count: number(group, "n")?,
        talked: number(group, "talked")?,
        seconds: number(group, "seconds")?,
    })
}

fn hour(key: &Document) -> Result<usize> {
    usize::try_from(number(key, "h")?).map_err(Error::internal)
}

fn astrologer(key: &Document) -> String {
    match key.get("a") {
        Some(Bson::String(id)) => id.clone(),
        Some(Bson::ObjectId(id)) => id.to_hex(),
        _ => String::new(),
    }
}

fn name(group: &Document) -> Option<String> {
    group.get_str("name").ok().filter(|name| !name.is_empty()).map(str::to_owned)
}

fn with(key: &Document) -> Result<With> {
    let word = key.get_str("w").map_err(Error::internal)?;
    ParticipantKind::parse(word).and_then(With::kind).ok_or_else(|| unknown(word))
}

fn number(document: &Document, name: &str) -> Result<u64> {
    let number = document.get(name).and_then(whole).and_then(|n| u64::try_from(n).ok());
    number.ok_or_else(|| unknown(name))
}

fn unknown(word: &str) -> Error {
    let source: Source = format!("analytics: {word:?} means nothing here").into();
    Error::internal(source)
}
