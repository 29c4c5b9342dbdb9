//! What the programs beside us keep: who has dealt with whom, and the accounts of astrologers. Only ever read.
//!
//! Their collections have no indexes of ours and may be large, so every question has a time limit of its own; past it the answer is
//! `Unavailable`. A collection that is not there holds nothing. Fields: docs/protocol.md#authorisation and #how-credentials-travel.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};

use super::engine::Engine;
use super::fields::{id_forms, whole};
use crate::error::Result;
use crate::models::{Account, Pair};

const USERS: &str = "users";
const ASTROLOGERS: &str = "astrologers";
const SERVICE_REQUESTS: &str = "servicerequests";
const SESSIONS: &str = "sessions";
const CONSULTATIONS: &str = "consultations";

/// How long the server may look into a collection of others.
const LOOK_FOR: Duration = Duration::from_secs(1);
/// How long a collection that was not there is taken to be missing.
const MISSING_FOR: Duration = Duration::from_secs(60);

impl Engine {
    /// Whether a collection of another program shows that a user and an astrologer have dealt with each other.
    ///
    /// One that does not answer in time hides nothing another one shows; if none shows it, nobody knows: `Unavailable`.
    pub(super) async fn have_dealt(&self, pair: &Pair, phone: Option<&str>) -> Result<bool> {
        let [user, astrologer] = pair.both().map(|person| doc! { "$in": id_forms(person.id()) });
        let mut late = None;
        for (collection, user_field) in [(SERVICE_REQUESTS, "userId"), (SESSIONS, "clientId")] {
            let filter = doc! { user_field: user.clone(), "astrologerId": astrologer.clone() };
            match self.look(collection, filter, doc! { "_id": 1 }).await {
                Ok(None) => {}
                Ok(Some(_)) => return Ok(true),
                Err(error) if error.is_retryable() => late = Some(error),
                Err(error) => return Err(error),
            }
        }
        match self.have_consulted(user, astrologer, phone).await {
            Ok(false) => late.map_or(Ok(false), Err),
            outcome => outcome,
        }
    }

    /// Consultations know the user by phone alone.
    async fn have_consulted(&self, user: Document, astrologer: Document, phone: Option<&str>) -> Result<bool> {
        let phone = match phone.filter(|phone| is_phone(phone)) {
            Some(phone) => phone.to_owned(),
            None => match self.find_phone(user).await? {
                Some(phone) => phone,
                None => return Ok(false),
            },
        };
        // Only a text equals a text: neither `null` nor a number is anybody's phone.
        let filter = doc! { "astrologerId": astrologer, "clientPhone": phone };
        Ok(self.look(CONSULTATIONS, filter, doc! { "_id": 1 }).await?.is_some())
    }

    async fn find_phone(&self, user: Document) -> Result<Option<String>> {
        // Greater than the empty text are texts only.
        let found = self.look(USERS, doc! { "_id": user, "phone": { "$gt": "" } }, doc! { "phone": 1 }).await?;
        Ok(found.and_then(|user| user.get_str("phone").ok().filter(|phone| is_phone(phone)).map(str::to_owned)))
    }

    async fn look(&self, collection: &'static str, filter: Document, fields: Document) -> Result<Option<Document>> {
        let others = self.database.collection::<Document>(collection);
        self.ask("looking into", collection, others.find_one(filter).projection(fields).max_time(LOOK_FOR)).await
    }

    pub(super) async fn find_accounts(&self, astrologers: &[String]) -> Result<Option<Vec<(String, Account)>>> {
        if !self.keeps_accounts().await? {
            return Ok(None);
        }
        let ids: Vec<Bson> = astrologers.iter().flat_map(|id| id_forms(id)).collect();
        if ids.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let others = self.database.collection::<Document>(ASTROLOGERS);
        let find = others
            .find(doc! { "_id": { "$in": ids } })
            .projection(doc! { "activeSession.sessionId": 1, "isSuspended": 1, "isOnline": 1 })
            .max_time(LOOK_FOR);
        let found = self.collect("looking into", ASTROLOGERS, find).await?;
        let (mut by_object_id, mut by_text) = (HashMap::new(), HashMap::new());
        for document in &found {
            match document.get("_id") {
                Some(Bson::ObjectId(id)) => _ = by_object_id.insert(*id, document),
                Some(Bson::String(id)) => _ = by_text.insert(id.as_str(), document),
                _ => {}
            }
        }
        let account = |id: &String| {
            // An ObjectId is what that program makes; it wins where somebody has both.
            let document = ObjectId::parse_str(id).ok().and_then(|id| by_object_id.get(&id)).or_else(|| by_text.get(id.as_str()))?;
            Some((id.clone(), read_account(document)))
        };
        Ok(Some(astrologers.iter().filter_map(account).collect()))
    }

    async fn keeps_accounts(&self) -> Result<bool> {
        if let Some(known) = self.accounts.known(Instant::now()) {
            return Ok(known);
        }
        let names = self.database.list_collection_names().filter(doc! { "name": ASTROLOGERS });
        let is_there = !self.ask("looking for the collection", ASTROLOGERS, names).await?.is_empty();
        self.accounts.learn(is_there, Instant::now());
        Ok(is_there)
    }
}

/// Whether a collection of others is there: once seen it stays, but one that is missing may come.
#[derive(Default)]
pub(super) struct Presence {
    // std Mutex: never held across an await.
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Default)]
enum Seen {
    #[default]
    Never,
    There,
    MissingAt(Instant),
}

impl Presence {
    /// What need not be asked at this moment.
    fn known(&self, now: Instant) -> Option<bool> {
        match *self.seen.lock().unwrap_or_else(PoisonError::into_inner) {
            Seen::There => Some(true),
            Seen::MissingAt(at) if now.saturating_duration_since(at) < MISSING_FOR => Some(false),
            Seen::MissingAt(_) | Seen::Never => None,
        }
    }

    fn learn(&self, is_there: bool, now: Instant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match (is_there, *seen) {
            (true, _) => *seen = Seen::There,
            // Somebody who asked at the same time saw it come.
            (false, Seen::There) => {}
            (false, _) => *seen = Seen::MissingAt(now),
        }
    }
}

fn is_phone(text: &str) -> bool {
    !text.trim().is_empty()
}

/// Their documents are not ours: what does not fit never opens a door. A session that is no text is nobody's.
fn read_account(document: &Document) -> Account {
    let session = document.get_document("activeSession").and_then(|session| session.get_str("sessionId")).ok();
    Account {
        session_id: session.filter(|id| !id.is_empty()).map(str::to_owned),
        is_suspended: document.get("isSuspended").is_some_and(is_true),
        is_switched_on: document.get("isOnline").map(is_true),
    }
}

/// What the Node programs read as true, who do not mind how it is stored.
fn is_true(value: &Bson) -> bool {
    match value {
        Bson::Boolean(flag) => *flag,
        Bson::String(text) => ["true", "1", "yes"].contains(&text.as_str()),
        number => whole(number).is_some_and(|number| number != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_that_is_there_is_never_asked_for_again_and_a_missing_one_once_a_minute() {
        let (presence, start) = (Presence::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(presence.known(start), None);
        presence.learn(false, start);
        assert_eq!([0, 59, 60].map(|seconds| presence.known(after(seconds))), [Some(false), Some(false), None]);
        presence.learn(false, after(60));
        assert_eq!([119, 120].map(|seconds| presence.known(after(seconds))), [Some(false), None]);
        presence.learn(true, after(120));
        presence.learn(false, after(120));
        assert_eq!(presence.known(after(1_000_000)), Some(true));
    }
}
