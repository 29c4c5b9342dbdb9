//! Opening, finding and listing conversations, and giving those of the original schema the key they lack.

use bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;
use tracing::{error, info};

use super::conversation_document::{self as documents, is_keyless, keys_for, people, unread_path};
use super::engine::{Engine, MAX_SKIP, date};
use super::failure::{is_duplicate_key, story};
use super::fields::{id_forms, stored_whole};
use super::message_document::unread;
use crate::error::{Error, Result};
use crate::models::{
    Conversation, ConversationHandle, ConversationId, ConversationKey, IdClock, Participant, ParticipantKind, Profile, Timestamp,
};
use crate::store::{ConversationPage, Conversations, Lookup, MAX_ALIASES, MAX_PAGE, NewConversation, Opened};

/// Keyless conversations read at once.
const STRAYS_AT_ONCE: i64 = 100;

impl Engine {
    pub(super) async fn open_conversation(&self, clock: &IdClock, new: NewConversation) -> Result<Opened> {
        let key = new.pair.key();
        if let Some(conversation) = self.find_by_key(&key).await? {
            return self.opened(conversation, &new).await;
        }
        let id = ConversationId::from_bytes(clock.next(new.at).0);
        let mut wanted = new.clone();
        wanted.alias = new.alias.clone().filter(|alias| *alias != key);
        let document = documents::write(id, &wanted);
        let insert = async {
            match self.conversations.insert_one(&document).await {
                Err(e) if is_duplicate_key(&e) => Ok(false),
                outcome => outcome.map(|_| true),
            }
        };
        if self.ask("opening conversation", &key, insert).await? {
            return Ok(Opened { conversation: documents::read(&document)?, created: true });
        }
        // Somebody else was first.
        match self.find_by_key(&key).await? {
            Some(conversation) => self.opened(conversation, &new).await,
            None => Err(Error::internal(format!("conversation {key} can neither be made nor found"))),
        }
    }

    /// A conversation that was there, with the alias if it has room for one more.
    async fn opened(&self, conversation: Conversation, new: &NewConversation) -> Result<Opened> {
        let unchanged = |conversation| Ok(Opened { conversation, created: false });
        let Some(alias) = &new.alias else {
            return unchanged(conversation);
        };
        let known = conversation.aliases.iter().any(|a| a == alias.as_str()) || alias == conversation.key();
        if known || conversation.aliases.len() >= MAX_ALIASES {
            return unchanged(conversation);
        }
        // The room is checked again where it is taken: two nodes may add at once.
        let room = format!("aliases.{}", MAX_ALIASES - 1);
        let filter = doc! { "_id": conversation.handle.id, room: { "$exists": false } };
        let update = doc! { "$addToSet": { "aliases": alias.as_str() }, "$max": { "updatedAt": date(new.at) } };
        let add = self.conversations.find_one_and_update(filter, update).return_document(ReturnDocument::After);
        match self.ask("adding an alias to conversation", conversation.key(), add).await? {
            Some(document) => unchanged(documents::read(&document)?),
            None => unchanged(conversation),
        }
    }

    pub(super) async fn find_conversation(&self, lookup: &Lookup) -> Result<Option<Conversation>> {
        match lookup {
            Lookup::Key(key) => self.find_by_key(key).await,
            Lookup::Id(id) => self.find_by_id(*id).await,
            Lookup::Alias(alias, person) => {
                self.show_first(|_, growth| growth.concerns(person)).await;
                let filter = doc! { "aliases": alias.as_str(), "participants": { "$elemMatch": is_person(person) } };
                let mut found = self.collect("finding conversations called", alias, self.conversations.find(filter).limit(2)).await?;
                // Others may give their conversation with this person the same name; a guess would write to the wrong one.
                self.read_found(if found.len() == 1 { found.pop() } else { None }).await
            }
        }
    }

    pub(super) async fn find_by_key(&self, key: &ConversationKey) -> Result<Option<Conversation>> {
        if let Some(document) = self.find_document(key).await? {
            return documents::read(&document).map(Some);
        }
        // It may be there, waiting for the key it is asked by.
        if self.adopt_late_strays().await? == 0 {
            return Ok(None);
        }
        self.find_document(key).await?.map(|document| documents::read(&document)).transpose()
    }

    async fn find_document(&self, key: &ConversationKey) -> Result<Option<Document>> {
        self.show_first(|_, growth| growth.is_called(key.as_str())).await;
        let find = self.conversations.find_one(doc! { "conversationId": key.as_str() });
        self.ask("finding conversation", key, find).await
    }

    pub(super) async fn find_by_id(&self, id: ConversationId) -> Result<Option<Conversation>> {
        self.show_first(|grown, _| grown == id).await;
        let find = self.conversations.find_one(doc! { "_id": id });
        let found = self.ask("finding conversation", id, find).await?;
        self.read_found(found).await
    }

    async fn read_found(&self, found: Option<Document>) -> Result<Option<Conversation>> {
        match found {
            None => Ok(None),
            Some(document) if is_keyless(&document) => {
                self.adopt(&document).await?;
                let again = self.conversations.find_one(doc! { "_id": document.get("_id") });
                let again = self.ask("reading again", "a conversation that was given its key", again).await?;
                again.map(|document| documents::read(&document)).transpose()
            }
            Some(document) => documents::read(&document).map(Some),
        }
    }

    pub(super) async fn update_profile(&self, conversation: &ConversationHandle, person: &Participant, profile: &Profile) -> Result<()> {
        let mut set = Document::new();
        if let Some(name) = &profile.name {
            set.insert("participants.$.name", name);
        }
        if let Some(picture) = &profile.picture {
            set.insert("participants.$.profilePicture", picture);
            set.insert("participants.$.avatar", picture);
        }
        if set.is_empty() {
            return Ok(());
        }
        let filter = doc! { "_id": conversation.id, "participants": { "$elemMatch": is_person(person) } };
        let update = self.conversations.update_one(filter, doc! { "$set": set });
        self.ask("updating a profile in conversation", &conversation.key, update).await?;
        Ok(())
    }

    pub(super) async fn conversations_of(&self, person: &Participant, page: &ConversationPage) -> Result<Conversations> {
        self.show_first(|_, growth| growth.concerns(person)).await;
        // Without a key they have no place in the list either.
        self.adopt_late_strays().await?;
        let mine = active(person);
        let mut filter = mine.clone();
        if let Some(before) = page.before {
            // One of other people must look like one that does not exist.
            let cursor = self.find_by_id(before).await?.filter(|c| c.is_participant(person)).ok_or(Error::ConversationNotFound)?;
            filter.extend(earlier("lastMessageAt", cursor.last_message_at, before.into()));
        }
        let limit = page.limit.min(MAX_PAGE);
        let find = self
            .conversations
            .find(filter)
            .sort(doc! { "lastMessageAt": -1, "_id": -1 })
            .skip(page.skip.min(MAX_SKIP))
            .limit(i64::try_from(limit).unwrap_or(0) + 1);
        let total = self.count("counting the conversations of", person, &self.conversations, mine, None);
        let (mut found, total) = tokio::try_join!(self.collect("listing the conversations of", person, find), total)?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let items = found.iter().map(documents::read).collect::<Result<_>>()?;
        Ok(Conversations { items, has_more, total })
    }

    /// The same for what another program has added since the start; before that, preparing does it.
    pub(super) async fn adopt_late_strays(&self) -> Result<usize> {
        if self.prepared_clock().is_ok() { self.adopt_strays().await } else { Ok(0) }
    }

    /// Gives every conversation of the original schema its key. Returns how many there were.
    ///
    /// In the order of their ids, so that several nodes that do this at once come to the same result.
    pub(super) async fn adopt_strays(&self) -> Result<usize> {
        let mut adopted = 0;
        loop {
            let find = self.conversations.find(doc! { "conversationId": null }).sort(doc! { "_id": 1 }).limit(STRAYS_AT_ONCE);
            let strays = self.collect("finding conversations without a key in", self.database.name(), find).await?;
            if strays.is_empty() {
                return Ok(adopted);
            }
            for stray in strays {
                self.adopt(&stray).await?;
                adopted += 1;
            }
        }
    }

    /// Writes the key of a keyless conversation, and what else lists and counters need. The first who does it decides.
    async fn adopt(&self, document: &Document) -> Result<()> {
        let [wanted, own] = keys_for(document);
        // The index decides; looking first is for the time before it is there.
        if self.find_document(&wanted).await?.is_none() && self.try_adopt(document, &wanted).await? {
            return Ok(());
        }
        // The pair has a conversation already: both stay, this one under a name of its own.
        if self.try_adopt(document, &own).await? {
            return Ok(());
        }
        Err(Error::internal(format!("directconversations {own}: it can get neither of its keys")))
    }

    /// False if the key is taken.
    async fn try_adopt(&self, document: &Document, key: &ConversationKey) -> Result<bool> {
        let mut set = doc! { "conversationId": key.as_str(), "filedById": true };
        match documents::read_keyless(document, key.clone()) {
            Ok(conversation) => {
                set.insert("lastMessageAt", date(conversation.last_message_at));
                // That program counted differently, under the ids of single admins.
                for (person, person_key) in people(&conversation) {
                    let count = self.count_unread(&conversation.handle, &person, &person_key).await?;
                    set.insert(unread_path(&person_key)?, stored_whole(i64::try_from(count).unwrap_or(i64::MAX)));
                }
            }
            // Whoever asks for it learns that; others must not wait for its key.
            Err(unreadable) => error!("{}", story(&unreadable)),
        }
        let filter = doc! { "_id": document.get("_id"), "conversationId": null };
        let update = async {
            match self.conversations.update_one(filter, doc! { "$set": set }).await {
                Err(e) if is_duplicate_key(&e) => Ok(false),
                outcome => outcome.map(|_| true),
            }
        };
        let done = self.ask("giving a key to conversation", key, update).await?;
        if done {
            info!(conversation.id = %key, "a conversation of the original schema is now known as {key}");
        }
        Ok(done)
    }

    pub(super) async fn count_unread(&self, conversation: &ConversationHandle, reader: &Participant, reader_key: &str) -> Result<u64> {
        let unread = unread(conversation, reader, reader_key);
        self.count("counting what is unread in conversation", &conversation.key, &self.messages, unread, None).await
    }

    pub(super) async fn find_profile(&self, person: &Participant) -> Result<Option<Profile>> {
        let collection = match person.kind() {
            ParticipantKind::Admin => return Ok(None),
            ParticipantKind::Astrologer => "astrologers",
            ParticipantKind::User => "users",
        };
        let people = self.database.collection::<Document>(collection);
        let find = people
            .find_one(doc! { "_id": { "$in": id_forms(person.id()) } })
            .projection(doc! { "name": 1, "profilePicture": 1, "profileImage": 1, "avatar": 1 });
        let found = self.ask("finding the profile of", person, find).await?;
        // Their documents are not ours: what is no text is left out.
        let text = |document: &Document, name: &str| document.get_str(name).ok().filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(found.map(|d| Profile {
            name: text(&d, "name"),
            picture: ["profilePicture", "profileImage", "avatar"].into_iter().find_map(|name| text(&d, name)),
        }))
    }
}

/// A member who acts as the same identity: any admin is every admin.
pub(super) fn is_person(person: &Participant) -> Document {
    match person.kind() {
        ParticipantKind::Admin => doc! { "type": person.kind().as_str() },
        kind => doc! { "id": person.id(), "type": kind.as_str() },
    }
}

/// The conversations of a person.
pub(super) fn all_of(person: &Participant) -> Document {
    let mut mine = doc! { "participants": { "$elemMatch": is_person(person) } };
    if person.kind() == ParticipantKind::Admin {
        // Says nothing new, but the planner does not see that the index of the admins' conversations will do.
        mine.insert("participants.type", person.kind().as_str());
    }
    mine
}

/// The conversations of a person that are not closed.
pub(super) fn active(person: &Participant) -> Document {
    let mut mine = all_of(person);
    mine.insert("isActive", doc! { "$in": [true, null] });
    mine
}

/// What comes after a cursor in an order by `(field, _id)`, newest first.
pub(super) fn earlier(field: &str, at: Timestamp, id: Bson) -> Document {
    let at = date(at);
    // The first condition repeats the others, for the index.
    doc! { field: { "$lte": at }, "$or": [{ field: { "$lt": at } }, { field: at, "_id": { "$lt": id } }] }
}
