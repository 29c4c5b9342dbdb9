//! The two streams of an inbox, and what was not looked at. When somebody last looked is in a small collection of our own.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;

use super::MongoStore;
use super::call_document::{in_status, read_place as read_call_place};
use super::call_lists::of_person;
use super::conversation_document::{self as documents, read_place, unread_path};
use super::conversations::{active, earlier};
use super::engine::{Engine, date};
use super::fields::whole;
use crate::error::{Error, Result};
use crate::models::{CallId, CallStatus, Conversation, Participant, ParticipantKind, Timestamp};
use crate::store::inbox::{ConversationPlace, InboxStore, MAX_PLACES, MissedCalls};
use crate::store::{CallQuery, MAX_PAGE};

#[async_trait::async_trait]
impl InboxStore for MongoStore {
    async fn conversations_after(
        &self,
        person: &Participant,
        before: Option<ConversationPlace>,
        limit: usize,
    ) -> Result<Vec<Conversation>> {
        self.engine.check_open()?;
        let found = self.engine.conversation_stream(person, before, limit.min(MAX_PAGE), None).await?;
        found.iter().map(documents::read).collect()
    }

    async fn conversation_places(
        &self,
        person: &Participant,
        before: Option<ConversationPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationPlace>> {
        self.engine.check_open()?;
        let fields = doc! { "lastMessageAt": 1, "lastMessage.timestamp": 1, "createdAt": 1 };
        let found = self.engine.conversation_stream(person, before, limit.min(MAX_PLACES), Some(fields)).await?;
        found.iter().map(read_place).collect()
    }

    async fn call_places(&self, person: &Participant, before: Option<CallId>, limit: usize) -> Result<Vec<(Timestamp, CallId)>> {
        self.engine.check_open()?;
        self.engine.call_places(person, before, limit.min(MAX_PLACES)).await
    }

    async fn count_unread(&self, person: &Participant) -> Result<u64> {
        self.engine.check_open()?;
        self.engine.sum_unread(person).await
    }

    async fn unread_conversations(&self, person: &Participant, limit: usize) -> Result<Vec<Conversation>> {
        self.engine.check_open()?;
        let found = self.engine.with_unread(person, limit, None).await?;
        found.iter().map(documents::read).collect()
    }

    async fn count_missed(&self, person: &Participant, since: Timestamp) -> Result<MissedCalls> {
        self.engine.check_open()?;
        self.engine.count_missed(person, since).await
    }

    async fn note_missed_seen(&self, person: &Participant, at: Timestamp) -> Result<()> {
        self.engine.clock()?;
        let note = self
            .engine
            .inboxes
            .update_one(doc! { "_id": person.identity().to_string() }, doc! { "$max": { "missedSeenAt": date(at) } })
            .upsert(true);
        self.engine.ask("noting missed calls as seen by", person, note).await.map(drop)
    }
}

/// The most conversations with something unread whose counts are added up.
const MOST_UNREAD: usize = 10_000;

impl Engine {
    async fn conversation_stream(
        &self,
        person: &Participant,
        before: Option<ConversationPlace>,
        limit: usize,
        fields: Option<Document>,
    ) -> Result<Vec<Document>> {
        // To the database a limit of zero is no limit.
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.show_first(|_, growth| growth.concerns(person)).await;
        self.adopt_late_strays().await?;
        let mut filter = active(person);
        if let Some((at, id)) = before {
            filter.extend(earlier("lastMessageAt", at, id.into()));
        }
        let mut find =
            self.conversations.find(filter).sort(doc! { "lastMessageAt": -1, "_id": -1 }).limit(i64::try_from(limit).unwrap_or(i64::MAX));
        if let Some(fields) = fields {
            find = find.projection(fields);
        }
        self.collect("listing the conversations of", person, find).await
    }

    async fn call_places(&self, person: &Participant, before: Option<CallId>, limit: usize) -> Result<Vec<(Timestamp, CallId)>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let query = CallQuery { person: person.identity(), call_type: None, statuses: Vec::new(), before, skip: 0, limit, count_up_to: 0 };
        let find = self
            .calls
            .find(of_person(&query, before))
            .sort(doc! { "_id": -1 })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .projection(doc! { "initiatedAt": 1, "startedAt": 1, "createdAt": 1 });
        let found = self.collect("listing the calls of", person, find).await?;
        found.iter().map(read_call_place).collect()
    }

    /// Conversations whose counter says that a person has something left to read.
    async fn with_unread(&self, person: &Participant, limit: usize, fields: Option<Document>) -> Result<Vec<Document>> {
        self.show_first(|_, growth| growth.concerns(person)).await;
        self.adopt_late_strays().await?;
        let identity = person.identity();
        let mut filter = active(person);
        // Which of the two names counts depends on the other participants; reading decides.
        let plain = unread_path(identity.id())?;
        let typed = unread_path(&format!("{}~{}", identity.kind(), identity.id()))?;
        filter.insert("$or", vec![doc! { plain: { "$gt": 0 } }, doc! { typed: { "$gt": 0 } }]);
        let mut find = self.conversations.find(filter).limit(i64::try_from(limit.max(1)).unwrap_or(i64::MAX));
        if let Some(fields) = fields {
            find = find.projection(fields);
        }
        self.collect("finding what is unread for", person, find).await
    }

    async fn sum_unread(&self, person: &Participant) -> Result<u64> {
        let fields = doc! { "conversationId": 1, "participants": 1, "unreadCount": 1, "createdAt": 1 };
        let found = self.with_unread(person, MOST_UNREAD, Some(fields)).await?;
        let counts = found.iter().map(|document| Ok(u64::from(documents::read(document)?.unread_of(person))));
        counts.sum()
    }

    async fn count_missed(&self, person: &Participant, since: Timestamp) -> Result<MissedCalls> {
        let seen = self.inboxes.find_one(doc! { "_id": person.identity().to_string() });
        let seen = self.ask("finding what was seen by", person, seen).await?;
        let seen = seen.and_then(|document| document.get_datetime("missedSeenAt").ok().copied());
        let mut filter = doc! {
            "recipientType": person.kind().as_str(),
            "_id": { "$gte": CallId::from_bytes(since.first_id()) },
            "status": in_status(&[CallStatus::Missed]),
        };
        if person.kind() != ParticipantKind::Admin {
            filter.insert("recipientId", person.id());
        }
        if let Some(seen) = seen {
            // The Node backend did not always say when a call was over.
            let after = |name: &str| doc! { name: { "$gt": seen } };
            filter.insert("$or", vec![after("endedAt"), doc! { "endedAt": null, "startedAt": { "$gt": seen } }]);
        }
        let count = vec![doc! { "$match": filter }, doc! { "$group": { "_id": "$callType", "n": { "$sum": 1 } } }];
        let count = async { self.calls.aggregate(count).await?.try_collect::<Vec<_>>().await };
        let mut missed = MissedCalls::default();
        for group in self.ask("counting the missed calls of", person, count).await? {
            let n = group.get("n").and_then(whole).and_then(|n| u64::try_from(n).ok());
            let n = n.ok_or_else(|| Error::internal("a count that is no number"))?;
            match group.get("_id") {
                Some(Bson::String(word)) if word == "video" => missed.video += n,
                _ => missed.voice += n,
            }
        }
        Ok(missed)
    }
}
