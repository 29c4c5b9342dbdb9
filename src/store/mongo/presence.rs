//! Who is connected to which process, and since when somebody is not: one document for each person ever seen.

use std::cmp::Reverse;
use std::collections::HashMap;

use async_trait::async_trait;
use bson::{Bson, Document, doc};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::MongoStore;
use super::conversation_document as documents;
use super::conversations::{all_of, is_person};
use super::engine::{Engine, date};
use super::fields::id_forms;
use super::rooms::{date_of, id_of, person, undecodable};
use crate::error::Result;
use crate::models::{Participant, ParticipantKind, ProcessId, Timestamp};
use crate::store::presence::{LeftBehind, PresenceStore, Seen};

/// Questions for partners at once; each is a short walk along an index.
const ASKED_AT_ONCE: usize = 8;
/// How many people's partners are asked for in one question, and the most conversations it may find: of people with more than that
/// between them each is asked for alone.
const ASKED_TOGETHER: usize = 50;
const FOUND_TOGETHER: usize = 500;
/// The most conversations one question for acquaintances reads: nobody has so many with those he asks for.
const READ_AT_MOST: i64 = 2_000;

#[async_trait]
impl PresenceStore for MongoStore {
    async fn note_here(&self, process: ProcessId, at: Timestamp, people: Vec<Participant>) -> Result<()> {
        self.engine.clock()?;
        self.engine.note_here(process, at, &people).await
    }

    async fn note_gone(&self, process: ProcessId, people: Vec<(Participant, Timestamp)>) -> Result<()> {
        self.engine.clock()?;
        self.engine.note_gone(process, &people).await
    }

    async fn seen(&self, process: ProcessId, people: &[Participant], alive_since: Timestamp) -> Result<Vec<Seen>> {
        self.engine.check_open()?;
        self.engine.seen(process, people, alive_since).await
    }

    async fn left_behind(&self, process: ProcessId, alive_since: Timestamp, limit: usize) -> Result<Vec<LeftBehind>> {
        self.engine.check_open()?;
        self.engine.left_behind(process, alive_since, limit).await
    }

    async fn acquaintances(&self, person: &Participant, others: &[Participant]) -> Result<Vec<Participant>> {
        self.engine.check_open()?;
        self.engine.acquaintances(&person.identity(), others).await
    }

    async fn partners_of(&self, people: &[Participant], most: usize) -> Result<Vec<(Participant, Vec<Participant>)>> {
        self.engine.check_open()?;
        let mut all = Vec::with_capacity(people.len());
        for group in people.chunks(ASKED_TOGETHER) {
            match self.engine.partners_together(group, most).await? {
                Some(found) => all.extend(found),
                None => all.extend(self.engine.partners_one_by_one(group, most).await?),
            }
        }
        Ok(all)
    }
}

impl Engine {
    async fn note_here(&self, process: ProcessId, at: Timestamp, people: &[Participant]) -> Result<()> {
        let process = process.to_string();
        let alive = self.processes.update_one(doc! { "_id": &process }, doc! { "$max": { "aliveAt": date(at) } }).upsert(true);
        self.ask("noting the process", &process, alive).await?;
        let write = |person: &Participant| {
            let update = doc! {
                "$addToSet": { "processes": &process },
                "$max": { "seenAt": date(at) },
                "$setOnInsert": { "personType": person.kind().as_str(), "personId": person.identity().id() },
            };
            doc! { "q": { "_id": id_of(&person.identity()) }, "u": update, "upsert": true }
        };
        self.update(self.presence.name(), people.iter().map(write).collect()).await?;
        Ok(())
    }

    async fn note_gone(&self, process: ProcessId, people: &[(Participant, Timestamp)]) -> Result<()> {
        let process = process.to_string();
        let write = |(person, at): &(Participant, Timestamp)| {
            let update = doc! {
                "$pull": { "processes": &process },
                "$max": { "seenAt": date(*at) },
                "$setOnInsert": { "personType": person.kind().as_str(), "personId": person.identity().id() },
            };
            doc! { "q": { "_id": id_of(&person.identity()) }, "u": update, "upsert": true }
        };
        self.update(self.presence.name(), people.iter().map(write).collect()).await?;
        Ok(())
    }

    async fn seen(&self, process: ProcessId, people: &[Participant], alive_since: Timestamp) -> Result<Vec<Seen>> {
        let ids: Vec<Bson> = people.iter().map(|person| id_of(&person.identity())).collect();
        let find = self.presence.find(doc! { "_id": { "$in": ids } });
        let found = self.collect("finding who is connected in", self.database.name(), find).await?;
        let me = process.to_string();
        let others = |document: &Document| -> Vec<String> { processes(document).filter(|process| **process != me).cloned().collect() };
        let alive = if found.iter().any(|document| !others(document).is_empty()) {
            // All of them, however old: a dead one tells when it last saw somebody.
            self.processes_alive(Timestamp::from_millis(0)).await?
        } else {
            HashMap::new()
        };
        let read = |document: &Document| {
            let at = date_of(document, "seenAt").ok_or_else(|| undecodable(document))?;
            let last = others(document).iter().filter_map(|process| alive.get(process).copied()).max();
            let person = person(document).ok_or_else(|| undecodable(document))?;
            Ok(Seen { person, elsewhere: last.is_some_and(|at| at >= alive_since), at: last.map_or(at, |last| last.max(at)) })
        };
        found.iter().map(read).collect()
    }

    async fn left_behind(&self, process: ProcessId, alive_since: Timestamp, limit: usize) -> Result<Vec<LeftBehind>> {
        let all = self.processes_alive(Timestamp::from_millis(0)).await?;
        let me = process.to_string();
        let living: Vec<&String> = all.iter().filter(|(_, at)| **at >= alive_since).map(|(name, _)| name).chain([&me]).collect();
        let find = self
            .presence
            .find(doc! { "processes": { "$elemMatch": { "$nin": living.clone() } } })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = self.collect("finding who was left behind in", self.database.name(), find).await?;
        let mut left = Vec::new();
        for document in &found {
            let at = date_of(document, "seenAt").ok_or_else(|| undecodable(document))?;
            let person = person(document).ok_or_else(|| undecodable(document))?;
            for name in processes(document).filter(|name| !living.contains(name)) {
                let process = ProcessId::parse(name).ok_or_else(|| undecodable(document))?;
                let at = all.get(name).map_or(at, |alive_at| at.max(*alive_at));
                left.push(LeftBehind { person: person.clone(), process, at });
            }
        }
        left.truncate(limit);
        Ok(left)
    }

    async fn acquaintances(&self, me: &Participant, others: &[Participant]) -> Result<Vec<Participant>> {
        let forms: Vec<Bson> = others.iter().flat_map(|other| id_forms(other.identity().id())).collect();
        if forms.is_empty() {
            return Ok(Vec::new());
        }
        let shared = doc! { "participants": { "$elemMatch": is_person(me) }, "participants.id": { "$in": forms } };
        let find = self.conversations.find(shared).projection(doc! { "participants": 1 }).limit(READ_AT_MOST);
        let mut met = Vec::new();
        for document in &self.collect("finding the acquaintances of", me, find).await? {
            met.extend(documents::people_in(document)?);
        }
        let kind = |kind: ParticipantKind| -> Vec<&str> { others.iter().filter(|o| o.kind() == kind).map(Participant::id).collect() };
        let related = match me.kind() {
            ParticipantKind::User => doc! { "userId": me.id(), "astrologerId": { "$in": kind(ParticipantKind::Astrologer) } },
            ParticipantKind::Astrologer => doc! { "astrologerId": me.id(), "userId": { "$in": kind(ParticipantKind::User) } },
            ParticipantKind::Admin => return Ok(among(others, &met)),
        };
        let find = self.relations.find(related).projection(doc! { "userId": 1, "astrologerId": 1 });
        for document in &self.collect("finding the relations of", me, find).await? {
            for (field, kind) in [("userId", ParticipantKind::User), ("astrologerId", ParticipantKind::Astrologer)] {
                met.push(Participant::stored(kind, document.get_str(field).map_err(|_| undecodable(document))?));
            }
        }
        Ok(among(others, &met))
    }

    /// `None` if they talk too much, or one of them is an admin, who takes part in more than can be looked through here.
    async fn partners_together(&self, people: &[Participant], most: usize) -> Result<Option<Vec<(Participant, Vec<Participant>)>>> {
        if people.len() < 2 || people.iter().any(|person| person.kind() == ParticipantKind::Admin) {
            return Ok(None);
        }
        let ids: Vec<&str> = people.iter().map(Participant::id).collect();
        let find = self
            .conversations
            .find(doc! { "participants.id": { "$in": ids } })
            .projection(doc! { "participants": 1, "lastMessageAt": 1 })
            .limit(i64::try_from(FOUND_TOGETHER + 1).unwrap_or(i64::MAX));
        let mut found = self.collect("finding the partners of many in", self.database.name(), find).await?;
        if found.len() > FOUND_TOGETHER {
            return Ok(None);
        }
        found.sort_by_key(|document| Reverse((date_of(document, "lastMessageAt"), document.get_object_id("_id").ok())));
        let conversations: Vec<Vec<Participant>> = found.iter().map(documents::people_in).collect::<Result<_>>()?;
        let mut of_each: HashMap<Participant, Vec<&Vec<Participant>>> = HashMap::new();
        for conversation in &conversations {
            for person in conversation {
                of_each.entry(person.identity()).or_default().push(conversation);
            }
        }
        let partners = |person: &Participant| {
            let theirs = of_each.get(&person.identity()).map(Vec::as_slice).unwrap_or_default();
            (person.clone(), partners_in(person, theirs.iter().take(most).copied()))
        };
        Ok(Some(people.iter().map(partners).collect()))
    }

    async fn partners_one_by_one(&self, people: &[Participant], most: usize) -> Result<Vec<(Participant, Vec<Participant>)>> {
        let people = people.to_vec();
        let asked = people.into_iter().map(|person| async move {
            let find = self
                .conversations
                .find(all_of(&person))
                .sort(doc! { "lastMessageAt": -1, "_id": -1 })
                .projection(doc! { "participants": 1 })
                .limit(i64::try_from(most).unwrap_or(i64::MAX));
            let found = self.collect("finding the partners of", &person, find).await?;
            let conversations: Vec<Vec<Participant>> = found.iter().map(documents::people_in).collect::<Result<_>>()?;
            let partners = partners_in(&person, &conversations);
            Ok((person, partners))
        });
        stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).try_collect().await
    }
}

/// The others of these conversations, each once.
fn partners_in<'a>(of: &Participant, conversations: impl IntoIterator<Item = &'a Vec<Participant>>) -> Vec<Participant> {
    let mut partners = Vec::new();
    for person in conversations.into_iter().flatten().map(Participant::identity) {
        if !person.is_same_identity(of) && !partners.contains(&person) {
            partners.push(person);
        }
    }
    partners
}

fn among(others: &[Participant], met: &[Participant]) -> Vec<Participant> {
    others.iter().map(Participant::identity).filter(|other| met.iter().any(|person| person.is_same_identity(other))).collect()
}

fn processes(document: &Document) -> impl Iterator<Item = &String> {
    let names = document.get_array("processes").map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(|name| if let Bson::String(name) = name { Some(name) } else { None })
}
