//! Counting for the dashboard: a `$match` and a `$group` over one day at most. Each stage in between would copy every document.
//!
//! Documents are found through the index by `_id`, which begins with the time in every dialect; an index by date would cost every
//! message that is ever written. Source of the words: `call_document`.

use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use mongodb::Collection;
use serde::Deserialize;
use serde::de::DeserializeOwned;

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

/// How many documents one question is about, more or less: a second's work for the database, where ten are allowed.
const COUNTED_AT_ONCE: u64 = 100_000;
/// Groups the database sends in one go.
const GROUPS_AT_ONCE: u32 = 20_000;
/// A stretch this short is not divided.
const SHORT: Duration = Duration::from_secs(600);
/// The most parts of a stretch.
const MOST_PARTS: u64 = 1_000;

#[async_trait::async_trait]
impl AnalyticsStore for MongoStore {
    async fn tally_messages(&self, from: Timestamp, to: Timestamp) -> Result<Vec<MessageTally>> {
        self.engine.check_open()?;
        let dates = ["timestamp", "createdAt"];
        let mut tallies = Vec::new();
        for (from, to) in self.engine.parts(&self.engine.messages, from, to).await? {
            let mut filter = within(from, to, &dates, ["sender", "recipient"]);
            filter.extend(doc! { "isDeleted": not_set(), "messageType": { "$ne": MessageType::CallLog.as_str() } });
            // One group for each astrologer, not for each hour of his, is half the work and a third of the answer.
            let group = doc! {
                "_id": key("sender", "recipient", vec![]),
                "name": name("sender", "recipient"),
                "hours": { "$push": { "$hour": at(&dates) } },
            };
            let pipeline = vec![doc! { "$match": filter }, doc! { "$group": group }];
            let groups: Vec<MessageGroup> = self.engine.groups("counting messages of", &self.engine.messages, pipeline).await?;
            for group in groups {
                group.tally(&mut tallies)?;
            }
        }
        Ok(tallies)
    }

    async fn tally_calls(&self, from: Timestamp, to: Timestamp) -> Result<Vec<CallTally>> {
        self.engine.check_open()?;
        let dates = ["initiatedAt", "startedAt", "createdAt"];
        // The Node backend knows no other duration than the client's.
        let seconds = || doc! { "$ifNull": ["$serverDuration", { "$ifNull": ["$duration", 0] }] };
        let mut tallies = Vec::new();
        for (from, to) in self.engine.parts(&self.engine.calls, from, to).await? {
            let filter = within(from, to, &dates, ["caller", "recipient"]);
            let more = vec![doc! { "$hour": at(&dates) }, doc! { "$eq": ["$callType", "video"] }, outcome()];
            let group = doc! {
                "_id": key("caller", "recipient", more),
                "name": name("caller", "recipient"),
                "n": { "$sum": 1 },
                "talked": { "$sum": { "$cond": [{ "$gt": [seconds(), 0] }, 1, 0] } },
                "seconds": { "$sum": seconds() },
            };
            let pipeline = vec![doc! { "$match": filter }, doc! { "$group": group }];
            let groups: Vec<CallGroup> = self.engine.groups("counting calls of", &self.engine.calls, pipeline).await?;
            for group in groups {
                tallies.push(group.tally()?);
            }
        }
        Ok(tallies)
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
        let groups: Vec<Document> = self.engine.groups("counting active conversations of", &self.engine.conversations, pipeline).await?;
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

    /// A stretch of time in parts with not too many documents each, whole if there are few.
    async fn parts(&self, of: &Collection<Document>, from: Timestamp, to: Timestamp) -> Result<Vec<(Timestamp, Timestamp)>> {
        let length = to.since(from);
        let count = if length <= SHORT {
            0
        } else {
            // Only the index is read.
            self.count("counting documents of", self.database.name(), of, doc! { "_id": ids(from, to) }, None).await?
        };
        Ok(divide(from, to, count.div_ceil(COUNTED_AT_ONCE)))
    }

    async fn groups<T>(&self, what: &'static str, of: &Collection<Document>, pipeline: Vec<Document>) -> Result<Vec<T>>
    where
        T: DeserializeOwned + Unpin + Send + Sync,
    {
        self.ask(what, self.database.name(), async {
            of.aggregate(pipeline).allow_disk_use(true).batch_size(GROUPS_AT_ONCE).with_type::<T>().await?.try_collect().await
        })
        .await
    }
}

/// So many parts of a stretch of time, but at least one and not endlessly many; each begins where the one before ends.
fn divide(from: Timestamp, to: Timestamp, parts: u64) -> Vec<(Timestamp, Timestamp)> {
    let (length, parts) = (to.since(from).as_secs(), parts.clamp(1, MOST_PARTS));
    let border = |n: u64| if n == parts { to } else { from.plus(Duration::from_secs(length * n / parts)) };
    (0..parts).map(|n| (border(n), border(n + 1))).collect()
}

/// The ids of what came to be in this stretch of time, and a little around it.
fn ids(from: Timestamp, to: Timestamp) -> Document {
    doc! { "$gte": CallId::from_bytes(from.minus(LAG).first_id()), "$lt": CallId::from_bytes(to.plus(LAG).first_id()) }
}

/// What lies in this stretch of time, by the first of these fields that is there, and is between an astrologer and somebody else.
fn within(from: Timestamp, to: Timestamp, dates: &[&str], [one, two]: [&str; 2]) -> Document {
    let stretch = doc! { "$gte": date(from), "$lt": date(to) };
    let by_date = (0..dates.len()).map(|first| {
        let mut condition: Document = dates[..first].iter().map(|missing| ((*missing).to_owned(), Bson::Null)).collect();
        condition.insert(dates[first], stretch.clone());
        condition
    });
    let astrologer = ParticipantKind::Astrologer.as_str();
    // `customer` is an older word.
    let others = doc! { "$in": ["admin", "user", "customer"] };
    let side = |one: &str, two: &str| doc! { format!("{one}Type"): astrologer, format!("{two}Type"): others.clone() };
    let both = vec![doc! { "$or": by_date.collect::<Vec<_>>() }, doc! { "$or": [side(one, two), side(two, one)] }];
    doc! { "_id": ids(from, to), "$and": both }
}

/// When it was: the first of these fields that is there.
fn at(dates: &[&str]) -> Bson {
    dates.iter().rev().fold(Bson::Null, |rest, name| Bson::Document(doc! { "$ifNull": [format!("${name}"), rest] }))
}

/// A field of the astrologer's side, or of the other one's.
fn field(one: &str, two: &str, name: &str, of_astrologer: bool) -> Document {
    let is_one = doc! { "$eq": [format!("${one}Type"), ParticipantKind::Astrologer.as_str()] };
    let (his, others) = (format!("${one}{name}"), format!("${two}{name}"));
    if of_astrologer {
        doc! { "$cond": [is_one, his, others] }
    } else {
        doc! { "$cond": [is_one, others, his] }
    }
}

fn name(one: &str, two: &str) -> Document {
    doc! { "$max": field(one, two, "Name", true) }
}

/// The astrologer's id, the other one's kind, and more. A list: a document costs the database more.
fn key(one: &str, two: &str, more: Vec<Document>) -> Bson {
    let key = [field(one, two, "Id", true), field(one, two, "Type", false)];
    Bson::Array(key.into_iter().chain(more).map(Bson::Document).collect())
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

#[derive(Deserialize)]
struct MessageGroup {
    #[serde(rename = "_id")]
    key: (Bson, String),
    name: Option<Bson>,
    hours: Vec<usize>,
}

impl MessageGroup {
    fn tally(self, tallies: &mut Vec<MessageTally>) -> Result<()> {
        let (astrologer, with) = (id(self.key.0), with(&self.key.1)?);
        let name = text(self.name);
        let mut counts = [0; 24];
        for hour in self.hours {
            *counts.get_mut(hour).ok_or_else(|| unknown("hour"))? += 1;
        }
        let hours = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
        tallies.extend(hours.map(|(hour, count)| MessageTally { hour, astrologer: astrologer.clone(), name: name.clone(), with, count }));
        Ok(())
    }
}

#[derive(Deserialize)]
struct CallGroup {
    #[serde(rename = "_id")]
    key: (Bson, String, usize, bool, String),
    name: Option<Bson>,
    n: Bson,
    talked: Bson,
    seconds: Bson,
}

impl CallGroup {
    fn tally(self) -> Result<CallTally> {
        let (astrologer, kind, hour, is_video, outcome) = self.key;
        let number = |value: &Bson, name| whole(value).and_then(|n| u64::try_from(n).ok()).ok_or_else(|| unknown(name));
        Ok(CallTally {
            hour,
            astrologer: id(astrologer),
            name: text(self.name),
            with: with(&kind)?,
            call_type: if is_video { CallType::Video } else { CallType::Voice },
            outcome: Outcome::parse(&outcome).ok_or_else(|| unknown(&outcome))?,
            count: number(&self.n, "n")?,
            talked: number(&self.talked, "talked")?,
            seconds: number(&self.seconds, "seconds")?,
        })
    }
}

fn id(value: Bson) -> String {
    match value {
        Bson::String(id) => id,
        Bson::ObjectId(id) => id.to_hex(),
        _ => String::new(),
    }
}

fn text(value: Option<Bson>) -> Option<String> {
    match value {
        Some(Bson::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn with(word: &str) -> Result<With> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_day_are_the_day() {
        let day = Day::from_number(20_000);
        for (parts, made) in [(0, 1), (1, 1), (2, 2), (7, 7), (50_000, 1_000)] {
            let divided = divide(day.start(), day.end(), parts);
            assert_eq!(divided.len(), made);
            assert_eq!((divided[0].0, divided[made - 1].1), (day.start(), day.end()));
            assert!(divided.windows(2).all(|two| two[0].1 == two[1].0), "{divided:?}");
            assert!(divided.iter().all(|(from, to)| from < to), "{divided:?}");
        }
        assert_eq!(divide(day.start(), day.start(), 3).len(), 3);
    }
}
