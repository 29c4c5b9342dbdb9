//! Which rooms identities sit in, for the process that comes after this one, or another that runs beside it.

use std::collections::HashMap;
use std::sync::Arc;

use bson::{Bson, Document, doc};

use super::conversation_document as documents;
use super::engine::{Engine, date};
use super::repair;
use crate::error::{Error, Result};
use crate::models::{Conversation, ConversationKey, KeptRooms, Participant, ParticipantKind, ProcessId, Timestamp};

impl Engine {
    /// One command for the rooms, whatever their number, and one for the process.
    pub(super) async fn remember_rooms(&self, process: ProcessId, at: Timestamp, rooms: &[KeptRooms]) -> Result<()> {
        let process = process.to_string();
        let (gone, kept): (Vec<&KeptRooms>, Vec<&KeptRooms>) = rooms.iter().partition(|kept| kept.rooms.is_empty());
        if !gone.is_empty() {
            let ids: Vec<Bson> = gone.iter().map(|kept| id_of(&kept.person)).collect();
            let delete = self.kept_rooms.delete_many(doc! { "_id": { "$in": ids } });
            self.ask("forgetting rooms in", self.database.name(), delete).await?;
        }
        // Replacing whole documents: each statement may be repeated.
        let write = |kept: &&KeptRooms| doc! { "q": { "_id": id_of(&kept.person) }, "u": document(kept, &process), "upsert": true };
        self.update(self.kept_rooms.name(), kept.iter().map(write).collect()).await?;
        let alive = self.processes.update_one(doc! { "_id": &process }, doc! { "$max": { "aliveAt": date(at) } }).upsert(true);
        self.ask("noting the process", &process, alive).await?;
        Ok(())
    }

    pub(super) async fn remembered_rooms(&self, process: ProcessId, people: &[Participant], since: Timestamp) -> Result<Vec<KeptRooms>> {
        let ids: Vec<Bson> = people.iter().map(id_of).collect();
        let find = self.kept_rooms.find(doc! { "_id": { "$in": ids }, "process": { "$ne": process.to_string() } });
        let found = self.collect("finding rooms in", self.database.name(), find).await?;
        let mut alive = None;
        let mut kept = Vec::with_capacity(found.len());
        for document in &found {
            let seen_at = match date_of(document, "seenAt") {
                Some(at) => Some(at),
                None => {
                    if alive.is_none() {
                        alive = Some(self.processes_alive(since).await?);
                    }
                    alive.as_ref().and_then(|alive| alive.get(document.get_str("process").ok()?).copied())
                }
            };
            if seen_at.is_some_and(|at| at >= since) {
                kept.push(KeptRooms {
                    person: person(document).ok_or_else(|| undecodable(document))?,
                    rooms: rooms(document).ok_or_else(|| undecodable(document))?,
                    seen_at,
                    unheard_since: date_of(document, "unheardSince"),
                });
            }
        }
        Ok(kept)
    }

    /// There are as many as were started lately.
    pub(super) async fn processes_alive(&self, since: Timestamp) -> Result<HashMap<String, Timestamp>> {
        let find = self.processes.find(doc! { "aliveAt": { "$gte": date(since) } });
        let found = self.collect("finding processes in", self.database.name(), find).await?;
        let alive = |document: &Document| Some((document.get_str("_id").ok()?.to_owned(), date_of(document, "aliveAt")?));
        found.iter().map(|document| alive(document).ok_or_else(|| undecodable(document))).collect()
    }

    pub(super) async fn other_processes(&self, process: ProcessId) -> Result<Vec<(ProcessId, Timestamp)>> {
        let find = self.processes.find(doc! { "_id": { "$ne": process.to_string() } });
        let found = self.collect("finding other processes in", self.database.name(), find).await?;
        let other = |document: &Document| Some((ProcessId::parse(document.get_str("_id").ok()?)?, date_of(document, "aliveAt")?));
        found.iter().map(|document| other(document).ok_or_else(|| undecodable(document))).collect()
    }

    pub(super) async fn forget_rooms(&self, before: Timestamp) -> Result<()> {
        let alive: Vec<Bson> = self.processes_alive(before).await?.into_keys().map(Bson::String).collect();
        let of_the_dead = doc! { "seenAt": { "$exists": false }, "process": { "$nin": alive } };
        let old = doc! { "$or": [{ "seenAt": { "$lt": date(before) } }, of_the_dead] };
        self.ask("forgetting rooms in", self.database.name(), self.kept_rooms.delete_many(old)).await?;
        // Who was dropped has his own time in his rooms, so these do not need their process.
        let old = doc! { "aliveAt": { "$lt": date(before) } };
        let dead = self.collect("finding dead processes in", self.database.name(), self.processes.find(old.clone())).await?;
        for last_seen in dead.iter().filter_map(|process| date_of(process, "aliveAt")) {
            // Unless it ended in order, its last conversations may not show what it stored.
            repair::look_around(self, last_seen).await?;
        }
        self.ask("forgetting processes in", self.database.name(), self.processes.delete_many(old)).await?;
        Ok(())
    }

    pub(super) async fn spoken_since(&self, keys: &[ConversationKey], since: Timestamp) -> Result<Vec<Conversation>> {
        let keys: Vec<&str> = keys.iter().map(ConversationKey::as_str).collect();
        self.show_first(|_, growth| keys.iter().any(|key| growth.is_called(key))).await;
        let find = self.conversations.find(doc! { "conversationId": { "$in": keys }, "lastMessageAt": { "$gte": date(since) } });
        let found = self.collect("finding conversations in", self.database.name(), find).await?;
        found.iter().map(documents::read).collect()
    }
}

pub(super) fn id_of(person: &Participant) -> Bson {
    Bson::String(person.to_string())
}

fn document(kept: &KeptRooms, process: &str) -> Document {
    let rooms: Vec<Bson> =
        kept.rooms.iter().map(|(key, spelling)| doc! { "conversationId": key.as_str(), "spelling": spelling.as_ref() }.into()).collect();
    let mut document = doc! {
        "_id": id_of(&kept.person),
        "personType": kept.person.kind().as_str(),
        "personId": kept.person.id(),
        "process": process,
        "rooms": rooms,
    };
    for (name, at) in [("seenAt", kept.seen_at), ("unheardSince", kept.unheard_since)] {
        if let Some(at) = at {
            document.insert(name, date(at));
        }
    }
    document
}

pub(super) fn undecodable(document: &Document) -> Error {
    Error::internal(format!("cannot decode {:?} of our own collections", document.get("_id")))
}

pub(super) fn date_of(document: &Document, name: &str) -> Option<Timestamp> {
    document.get_datetime(name).ok().map(|at| Timestamp::from_millis(at.timestamp_millis()))
}

pub(super) fn person(document: &Document) -> Option<Participant> {
    Some(Participant::stored(ParticipantKind::parse(document.get_str("personType").ok()?)?, document.get_str("personId").ok()?.to_owned()))
}

fn rooms(document: &Document) -> Option<Vec<(ConversationKey, Arc<str>)>> {
    let room = |room: &Document| {
        let spelling = room.get_str("spelling").ok()?;
        Some((ConversationKey::stored(room.get_str("conversationId").ok()?), Arc::from(spelling)))
    };
    document.get_array("rooms").ok()?.iter().map(|value| room(value.as_document()?)).collect()
}
