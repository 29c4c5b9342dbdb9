//! Which conversation a client means, opening it, sitting in its room, and listing.
//!
//! Unknown and foreign conversations get the same answers, so that nobody learns what exists. Source: docs/protocol.md#conversation-ids.

use std::sync::Arc;

use moka::sync::Cache;
use tracing::info;

use crate::auth::CurrentUser;
use crate::bus::Topic;
use crate::delivery::{Connection, Joined, MAX_ROOMS};
use crate::error::{Error, Result};
use crate::models::{
    Call, Conversation, ConversationId, ConversationKey, Membership, MessageId, Pair, Participant, ParticipantKind, Profile,
};
use crate::store::{self, ConversationPage, Lookup, NewConversation};
use crate::traces;

use super::Core;
use super::guard::Guard;
use super::limits::Limited;
use super::nodes::Notice;
use super::permissions::{Answer, Operation, Standing};
use super::profiles::Profiles;

/// How many memberships are kept in memory.
const CACHED_MEMBERSHIPS: u64 = 100_000;

/// Finds, opens and lists conversations. Cheap to clone.
#[derive(Clone)]
pub struct Conversations {
    core: Arc<Core>,
    /// By the text that names it, and for other names also by who may use them. Only what never changes is kept here.
    known: Cache<(Option<Participant>, ConversationKey), Arc<Membership>>,
    profiles: Profiles,
    pub(super) guard: Guard,
}

/// What a client's text means to that client.
#[derive(Clone, Debug)]
pub enum Named {
    /// A conversation the asker may see.
    Known(Arc<Membership>),
    /// The asker's own conversation with somebody, which nobody has opened yet.
    NotOpened(Pair),
    /// A canonical key of other people.
    Foreign(Pair),
    /// Anything else: nobody's, or somebody else's.
    Unknown(ConversationKey),
}

/// A request to open a conversation.
pub struct OpenConversation {
    /// With whom.
    pub recipient: Participant,
    /// `consultation`, `service_request`, `support` or `general`.
    pub context_type: String,
    /// Document the context is about.
    pub context_id: Option<String>,
}

impl Conversations {
    pub(super) fn new(core: Arc<Core>, profiles: Profiles, guard: Guard) -> Self {
        Self { core, known: Cache::new(CACHED_MEMBERSHIPS), profiles, guard }
    }

    /// Says what `text` means to `asker`. Errors: `INVALID_ID` if it can name nothing.
    pub async fn resolve(&self, asker: &Participant, text: &str) -> Result<Named> {
        let key = ConversationKey::parse(text).ok_or_else(|| Error::InvalidId("conversationId is not a conversation id".into()))?;
        if let Some(known) = self.find_for(asker, &key).await? {
            return Ok(Named::Known(known));
        }
        let Some(pair) = own_support_pair(asker, &key).or_else(|| key.pair()) else {
            return Ok(Named::Unknown(key));
        };
        if let Some(known) = self.find_for(asker, &pair.key()).await? {
            return Ok(Named::Known(known));
        }
        Ok(if pair.other(asker).is_some() { Named::NotOpened(pair) } else { Named::Foreign(pair) })
    }

    /// What `text` means to `user`, and what the table of permissions says to `operation` on it.
    ///
    /// Errors: `INVALID_ID`, `CONVERSATION_NOT_FOUND`, `FORBIDDEN`. What an admin does with other people's is noted.
    pub(super) async fn access(&self, user: &CurrentUser, text: &str, operation: Operation) -> Result<(Named, Answer)> {
        let named = self.resolve(user.participant(), text).await?;
        if let Named::Known(known) = &named {
            traces::note_conversation(known.key());
        }
        let standing = match &named {
            Named::Known(known) if known.is_participant(user.participant()) => Standing::Party,
            Named::NotOpened(_) => Standing::Party,
            Named::Known(_) | Named::Foreign(_) if user.is_admin() => Standing::Admin,
            Named::Known(_) | Named::Foreign(_) => Standing::Stranger,
            Named::Unknown(_) => Standing::Unknown,
        };
        let subject = || match &named {
            Named::Known(known) => known.key().as_str().to_owned(),
            _ => text.to_owned(),
        };
        let answer = self.guard.decide(user, operation, standing, subject, Error::ConversationNotFound)?;
        Ok((named, answer))
    }

    /// The same, where only an opened conversation will do. Errors: also `CONVERSATION_NOT_FOUND` where there is none yet.
    pub(super) async fn require(&self, user: &CurrentUser, text: &str, operation: Operation) -> Result<Arc<Membership>> {
        match self.access(user, text, operation).await? {
            (Named::Known(known), _) => Ok(known),
            _ => Err(Error::ConversationNotFound),
        }
    }

    /// A conversation by its key, if this identity takes part or is the admin.
    pub(super) async fn find_known(&self, person: &Participant, key: &ConversationKey) -> Result<Option<Arc<Membership>>> {
        self.find_for(person, key).await
    }

    /// A conversation by key, document id or alias, if the asker takes part or is an admin.
    async fn find_for(&self, asker: &Participant, key: &ConversationKey) -> Result<Option<Arc<Membership>>> {
        let may_see = |m: &Membership| asker.kind() == ParticipantKind::Admin || m.is_participant(asker);
        let text = key.as_str();
        for owner in [None, Some(asker.identity())] {
            if let Some(known) = self.known.get(&(owner, key.clone())).filter(|m| may_see(m)) {
                return Ok(Some(known));
            }
        }
        let store = &self.core.store;
        let mut found = store.find_conversation(&Lookup::Key(key.clone())).await?;
        if found.is_none()
            && let Some(id) = ConversationId::parse(text)
        {
            found = store.find_conversation(&Lookup::Id(id)).await?;
        }
        if let Some(conversation) = found {
            let known = self.remember(key, None, &conversation);
            if may_see(&known) {
                return Ok(Some(known));
            }
        }
        let alias = store.find_conversation(&Lookup::Alias(key.clone(), asker.identity())).await?;
        Ok(alias.map(|conversation| self.remember(key, Some(asker.identity()), &conversation)))
    }

    /// Keeps what was read of a conversation elsewhere.
    pub(super) fn note(&self, conversation: &Conversation) {
        self.remember(conversation.key(), None, conversation);
    }

    fn remember(&self, name: &ConversationKey, owner: Option<Participant>, conversation: &Conversation) -> Arc<Membership> {
        let known = Arc::new(conversation.membership());
        self.known.insert((owner, name.clone()), Arc::clone(&known));
        known
    }

    /// Opens the conversation of `user` and `recipient`, or returns the one there is, and whether this call made it.
    ///
    /// Errors: as [`super::relations::Relations::require`], `RATE_LIMITED`.
    pub async fn open(&self, user: &CurrentUser, open: OpenConversation) -> Result<(Conversation, bool)> {
        self.guard.limits.count(user, Limited::Other)?;
        self.open_called(user, open, None).await
    }

    /// The same for a request that is counted already. `alias` is the text the client used, if it is not the key.
    pub(super) async fn open_called(
        &self,
        user: &CurrentUser,
        open: OpenConversation,
        alias: Option<ConversationKey>,
    ) -> Result<(Conversation, bool)> {
        self.guard.relations.require(user, &open.recipient).await?;
        let pair = Pair::new(user.identity(), open.recipient).ok_or(Error::SelfConversationBlocked)?;
        let mut profiles: [Profile; 2] = Default::default();
        for (profile, person) in profiles.iter_mut().zip(pair.both()) {
            let stated = user.participant().is_same_identity(person).then(|| user.profile());
            *profile = self.profiles.of(person, stated).await?;
        }
        let key = pair.key();
        let new = NewConversation {
            pair,
            profiles,
            context_type: open.context_type,
            context_id: open.context_id,
            alias: alias.clone().filter(|alias| *alias != key),
            at: self.core.now(),
        };
        let opened = self.core.store.open_conversation(new).await?;
        self.core.delivery.opened(&key);
        if opened.created {
            info!(conversation.key = %key, participant = %user.participant(), "a conversation was opened");
        }
        let known = self.remember(&key, None, &opened.conversation);
        if let Some(alias) = alias {
            let participants: Vec<_> = known.identities().collect();
            // The name may mean two conversations of somebody from now on.
            for person in &participants {
                self.known.invalidate(&(Some(person.clone()), alias.clone()));
            }
            self.core.delivery.admit_waiting(alias.as_str(), &key, &participants);
            let topics = participants.iter().cloned().map(Topic::Person).collect();
            self.core.tell_nodes(topics, || Notice::Opened { alias: alias.as_str().to_owned(), key, participants });
        }
        Ok((opened.conversation, opened.created))
    }

    /// The conversation of the two parties of a call, opened if need be: whoever may call may write.
    pub(super) async fn of_call(&self, call: &Call) -> Result<Arc<Membership>> {
        let pair = Pair::new(call.caller.clone(), call.callee.clone()).ok_or(Error::SelfConversationBlocked)?;
        let key = pair.key();
        if let Some(known) = self.find_for(&call.caller, &key).await? {
            return Ok(known);
        }
        let profiles = pair.both().map(|person| {
            let is_caller = call.caller.is_same_identity(person);
            if is_caller { call.caller_profile.clone() } else { call.callee_profile.clone() }
        });
        let new = NewConversation { pair, profiles, context_type: "general".into(), context_id: None, alias: None, at: self.core.now() };
        let opened = self.core.store.open_conversation(new).await?;
        self.core.delivery.opened(&key);
        if opened.created {
            info!(conversation.key = %key, participant = %call.caller, "a conversation was opened");
        }
        Ok(self.remember(&key, None, &opened.conversation))
    }

    /// Writes the sender's current name and picture into a conversation that still shows others.
    pub(super) async fn refresh_profile(&self, user: &CurrentUser, known: &Arc<Membership>) -> Result<()> {
        let Some(member) = known.member(user.participant()).filter(|_| !user.is_admin()) else { return Ok(()) };
        let stated = user.profile();
        let differs = |new: &Option<String>, old: &Option<String>| new.is_some() && new != old;
        if !differs(&stated.name, &member.profile.name) && !differs(&stated.picture, &member.profile.picture) {
            return Ok(());
        }
        self.core.store.update_profile(&known.handle, &user.identity(), stated).await?;
        // Names change rarely, and one conversation may be known under several texts: forget them all.
        self.known.invalidate_all();
        self.core.tell_nodes(vec![Topic::Everybody], || Notice::Profiles);
        Ok(())
    }

    /// Another node has written a name or picture.
    pub(super) fn heard_profiles(&self) {
        self.known.invalidate_all();
    }

    /// Another node has opened a conversation under a name of its own.
    pub(super) fn heard_opened(&self, alias: &str, key: &ConversationKey, participants: &[Participant]) {
        for person in participants {
            self.known.invalidate(&(Some(person.clone()), ConversationKey::stored(alias)));
        }
        self.core.delivery.admit_waiting(alias, key, participants);
    }

    /// Puts a connection into the room of the conversation it names, or lets it wait for one nobody knows.
    ///
    /// The answer is the same whether an unknown conversation exists or not.
    /// Errors: `INVALID_ID`; `DM_JOIN_FORBIDDEN` for a canonical key of other people; `CONFLICT` for more than [`MAX_ROOMS`].
    /// Of more than [`crate::delivery::MAX_UNOPENED`] rooms nobody has opened yet it leaves the oldest; admins do not.
    pub async fn join(&self, user: &CurrentUser, connection: &Arc<Connection>, text: &str) -> Result<Joined> {
        let delivery = &self.core.delivery;
        let too_many = || Error::Conflict(format!("a connection sits in at most {MAX_ROOMS} rooms; leave some"));
        let sit = |key: &ConversationKey| delivery.join(connection, key, text).then_some(()).ok_or_else(too_many);
        let joined = |key: &ConversationKey, unread_count| Joined {
            conversation_id: text.to_owned(),
            success: true,
            conversation_key: key.as_str().to_owned(),
            unread_count,
        };
        self.guard.limits.count(user, Limited::Joins)?;
        let named = match self.access(user, text, Operation::Join).await? {
            // Its people are named, so there is nothing to wait for.
            (Named::Foreign(_), Answer::Waits) => return Err(Error::DmJoinForbidden),
            (named, _) => named,
        };
        match named {
            Named::Known(known) => {
                sit(known.key())?;
                self.core.hears(Topic::Conversation(known.key().clone())).await;
                let unread = self.unread(user, &known).await?;
                Ok(joined(known.key(), unread))
            }
            // Anybody can make up thousands of these. Admins' dashboards really join one for every astrologer.
            Named::NotOpened(pair) if !user.is_admin() => {
                let seated = delivery.join_unopened(connection, &pair.key(), text);
                seated.then_some(()).ok_or_else(too_many)?;
                self.core.hears(Topic::Conversation(pair.key())).await;
                Ok(joined(&pair.key(), 0))
            }
            Named::NotOpened(pair) | Named::Foreign(pair) => {
                sit(&pair.key())?;
                self.core.hears(Topic::Conversation(pair.key())).await;
                Ok(joined(&pair.key(), 0))
            }
            Named::Unknown(key) => {
                delivery.wait(connection, text);
                Ok(joined(&key, 0))
            }
        }
    }

    /// Takes a connection out of a room, by whatever name of the conversation. Leaving where one does not sit does nothing.
    pub async fn leave(&self, user: &CurrentUser, connection: &Connection, text: &str) -> Result<Option<ConversationKey>> {
        self.guard.limits.count(user, Limited::Other)?;
        if let Some(left) = self.core.delivery.leave(connection, text) {
            return Ok(Some(left));
        }
        Ok(match self.resolve(user.participant(), text).await? {
            Named::Known(known) => self.core.delivery.leave(connection, known.key().as_str()),
            Named::NotOpened(pair) | Named::Foreign(pair) => self.core.delivery.leave(connection, pair.key().as_str()),
            Named::Unknown(_) => None,
        })
    }

    async fn unread(&self, user: &CurrentUser, known: &Membership) -> Result<u32> {
        if !known.is_participant(user.participant()) {
            return Ok(0);
        }
        let conversation = self.core.store.find_conversation(&Lookup::Id(known.handle.id)).await?;
        Ok(conversation.map_or(0, |c| c.unread_of(user.participant())))
    }

    /// The conversation as it is now. Errors: `CONVERSATION_NOT_FOUND`.
    pub async fn get(&self, user: &CurrentUser, text: &str) -> Result<Conversation> {
        self.guard.limits.count(user, Limited::Other)?;
        let known = self.require(user, text, Operation::Read).await?;
        self.core.store.find_conversation(&Lookup::Id(known.handle.id)).await?.ok_or(Error::ConversationNotFound)
    }

    /// The conversations `user` takes part in, by last activity.
    pub async fn list(&self, user: &CurrentUser, page: &ConversationPage) -> Result<store::Conversations> {
        self.guard.limits.count(user, Limited::Other)?;
        self.core.store.conversations_of(&user.identity(), page).await
    }
}

/// The words older apps use for "my conversation with support".
fn own_support_pair(asker: &Participant, key: &ConversationKey) -> Option<Pair> {
    let support = || Pair::new(asker.clone(), Participant::shared_admin());
    match asker.kind() {
        ParticipantKind::Admin => None,
        _ if matches!(key.as_str(), "admin" | "admin_admin" | "admin_conversation") => support(),
        // A user may say `admin_<own id>`, as astrologers do.
        _ if key.as_str().strip_prefix("admin_").is_some_and(|id| id.replace('~', "_") == asker.id() || id == asker.id()) => support(),
        _ => None,
    }
}

/// Reads a message id a client sent. Errors: `INVALID_ID`.
pub fn message_id(text: &str) -> Result<MessageId> {
    MessageId::parse(text).ok_or_else(|| Error::InvalidId("a message id has 24 hex digits".into()))
}
