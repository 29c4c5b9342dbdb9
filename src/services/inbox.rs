//! The inbox: conversations and calls of one person in one list, newest first, and what of it was not looked at.
//!
//! The list is a merge of two streams the store has in order already. A page reads one page of each; a page with a number first passes
//! over what stands before it, by places alone. Source: docs/protocol.md#inbox.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::auth::CurrentUser;
use crate::error::{Error, Result};
use crate::models::inbox::{Contact, InboxItem, InboxPosition};
use crate::models::participant::SHARED_ADMIN_ID;
use crate::models::{
    Call, CallSide, CallType, Conversation, ConversationId, ConversationKey, Pair, Participant, ParticipantKind, Profile, Timestamp,
};
use crate::store::inbox::{ConversationPlace, MAX_PLACES, MissedCalls};
use crate::store::{CallQuery, Lookup, Which};

use super::Core;
use super::addressing::Recipient;
use super::calling::{Calling, InitiateCall, OfferedCall};
use super::conversations::{Named, message_id};
use super::guard::Guard;
use super::limits::Limited;
use super::messaging::{Messaging, ReadMessages, SendMessage};
use super::permissions::{Operation, Standing};
use super::presence_changes::PresenceChanges;
use super::profiles::Profiles;

/// How many rows a page with a number may have before it. Each is read, though only its place; the cursor knows no such limit.
pub const MAX_PASSED_OVER: u64 = 10_000;
/// Calls missed longer ago are no news to anybody.
const MISSED_WITHIN: Duration = Duration::from_secs(90 * 24 * 3600);
/// Conversations marked as read in one go, and how many times.
const MARK_AT_ONCE: usize = 200;
const MARK_ROUNDS: usize = 5;

/// Shows and keeps inboxes. Cheap to clone.
#[derive(Clone)]
pub struct Inbox(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    messaging: Messaging,
    calling: Calling,
    presence: PresenceChanges,
    profiles: Profiles,
    guard: Guard,
}

/// Which page.
#[derive(Clone, Copy, Debug)]
pub struct InboxRequest {
    /// From 1.
    pub page: u64,
    /// Rows, at least one.
    pub limit: usize,
    /// Go on from here instead.
    pub after: Option<InboxPosition>,
}

/// A page of an inbox.
pub struct InboxPage {
    /// Newest first.
    pub items: Vec<InboxItem>,
    /// Where to go on, if there is more.
    pub next: Option<InboxPosition>,
}

/// What somebody has not looked at.
pub struct UnseenCounts {
    /// Messages left to read.
    pub messages: u64,
    /// Calls nobody answered.
    pub missed: MissedCalls,
}

/// What became of marking everything.
#[derive(Default)]
pub struct AllRead {
    /// How many conversations had something unread.
    pub conversations: usize,
    /// How many messages were marked.
    pub messages: usize,
    /// More conversations than are marked in one go are left.
    pub has_more: bool,
}

/// The conversation with support, which every inbox but the admins' own has, opened or not.
struct Support {
    key: ConversationKey,
    conversation: Option<Conversation>,
}

/// A row before anything about the other side is known.
enum Row {
    Conversation(Conversation),
    Call(Call),
    Support(ConversationKey, Timestamp),
}

impl Row {
    fn at(&self) -> Timestamp {
        match self {
            Self::Conversation(conversation) => conversation.last_message_at,
            Self::Call(call) => call.initiated_at,
            Self::Support(_, at) => *at,
        }
    }

    /// The other side, and what is stored of it.
    fn contact(&self, owner: &Participant) -> (Participant, Profile) {
        match self {
            Self::Conversation(conversation) => {
                let other = conversation.members.iter().find(|member| !member.participant.is_same_identity(owner));
                other.map_or_else(|| (owner.clone(), Profile::default()), |other| (other.participant.identity(), other.profile.clone()))
            }
            Self::Call(call) => match call.side_of(owner) {
                Some(CallSide::Callee) => (call.caller.identity(), call.caller_profile.clone()),
                _ => (call.callee.identity(), call.callee_profile.clone()),
            },
            Self::Support(..) => (Participant::shared_admin(), Profile::default()),
        }
    }

    fn item(&self, owner: &Participant, contact: Contact) -> InboxItem {
        match self {
            Self::Conversation(conversation) => InboxItem::conversation(conversation, owner, contact),
            Self::Call(call) => InboxItem::call(call, call.side_of(owner).unwrap_or(CallSide::Caller), contact),
            Self::Support(key, at) => InboxItem::support(key.as_str(), *at, contact),
        }
    }
}

/// Whether a conversation comes next, given when the first of each stream is; `None` at the end of both.
fn takes_conversation(conversation: Option<Timestamp>, call: Option<Timestamp>) -> Option<bool> {
    match (conversation, call) {
        (None, None) => None,
        (Some(conversation), Some(call)) => Some(conversation >= call),
        (conversation, _) => Some(conversation.is_some()),
    }
}

impl Inbox {
    pub(super) fn new(
        core: Arc<Core>,
        messaging: Messaging,
        calling: Calling,
        presence: PresenceChanges,
        profiles: Profiles,
        guard: Guard,
    ) -> Self {
        Self(Arc::new(Inner { core, messaging, calling, presence, profiles, guard }))
    }

    /// Whose inbox `id` names to `user`: his own, or for admins that of an astrologer, unless they say it is a user's.
    ///
    /// Errors: `FORBIDDEN` for anybody else's, whether there is such a person or not; `INVALID_ID`.
    pub fn owner(&self, user: &CurrentUser, id: &str, kind: Option<ParticipantKind>, operation: Operation) -> Result<Participant> {
        let is_own_kind = kind.is_none_or(|kind| kind == user.kind());
        let is_own = is_own_kind && if user.is_admin() { id == SHARED_ADMIN_ID } else { id == user.participant().id() };
        let (owner, standing) = if is_own {
            (user.identity(), Standing::Party)
        } else if user.is_admin() {
            let owner = Participant::new(kind.unwrap_or(ParticipantKind::Astrologer), id);
            (owner.ok_or_else(|| Error::InvalidId("the path names nobody's id".into()))?, Standing::Admin)
        } else {
            (user.identity(), Standing::Stranger)
        };
        self.0.guard.decide(user, operation, standing, || format!("inbox of {owner}"), Error::NotFound)?;
        Ok(owner)
    }

    /// One page. The row of support is always on the first one: in its place, or as the last row where that is further down.
    ///
    /// Errors: `INVALID_PAYLOAD` for a page with more than [`MAX_PASSED_OVER`] rows before it; `CALL_NOT_FOUND` for a made-up position.
    pub async fn page(&self, user: &CurrentUser, owner: &Participant, ask: InboxRequest) -> Result<InboxPage> {
        let guard = &self.0.guard;
        guard.limits.count(user, Limited::Other)?;
        let _turn = guard.limits.turn().await;
        let limit = ask.limit.max(1);
        let support = self.support_of(owner).await?;
        let of_support = usize::from(support.is_some());
        let left_out = support.as_ref().and_then(|support| support.conversation.as_ref()).map(|c| c.handle.id);
        let is_first = ask.after.is_none() && ask.page <= 1;
        let start = match ask.after {
            Some(after) => after,
            None if is_first => InboxPosition::default(),
            None => {
                let before = (ask.page - 1).saturating_mul(limit as u64).saturating_sub(of_support as u64);
                if before > MAX_PASSED_OVER {
                    return Err(Error::invalid(format!("pages end after {MAX_PASSED_OVER} rows: go on with the cursor")));
                }
                self.pass_over(owner, left_out, before).await?
            }
        };
        let take = if is_first { limit - of_support } else { limit };
        let (mut rows, next, has_more) = self.rows(owner, start, left_out, take).await?;
        if let Some(support) = support.filter(|_| is_first) {
            let (row, at) = match support.conversation {
                Some(conversation) => {
                    let at = rows.iter().position(|row| row.at() < conversation.last_message_at).unwrap_or(rows.len());
                    (Row::Conversation(conversation), at)
                }
                None => {
                    let last = rows.last().map_or_else(|| self.0.core.now(), Row::at);
                    (Row::Support(support.key, last), rows.len())
                }
            };
            rows.insert(at, row);
        }
        Ok(InboxPage { items: self.items(owner, rows).await?, next: has_more.then_some(next) })
    }

    async fn support_of(&self, owner: &Participant) -> Result<Option<Support>> {
        let Some(pair) = Pair::new(owner.clone(), Participant::shared_admin()) else { return Ok(None) };
        let key = pair.key();
        let conversation = self.0.core.store.find_conversation(&Lookup::Key(key.clone())).await?;
        Ok(Some(Support { key, conversation }))
    }

    /// The position after so many rows from the newest.
    async fn pass_over(&self, owner: &Participant, left_out: Option<ConversationId>, count: u64) -> Result<InboxPosition> {
        let store = &self.0.core.store;
        let mut position = InboxPosition::default();
        let mut left = usize::try_from(count).unwrap_or(usize::MAX);
        let (mut conversations, mut calls) = (VecDeque::<ConversationPlace>::new(), VecDeque::new());
        let (mut all_conversations, mut all_calls) = (false, false);
        let mut read_up_to = None;
        while left > 0 {
            if conversations.is_empty() && !all_conversations {
                let more = left.saturating_add(2).min(MAX_PLACES);
                let places = store.conversation_places(owner, read_up_to, more).await?;
                all_conversations = places.len() < more;
                read_up_to = places.last().copied().or(read_up_to);
                conversations.extend(places.into_iter().filter(|(_, id)| Some(*id) != left_out));
                if conversations.is_empty() && !all_conversations {
                    continue;
                }
            }
            if calls.is_empty() && !all_calls {
                let more = left.saturating_add(1).min(MAX_PLACES);
                let places = store.call_places(owner, position.call, more).await?;
                all_calls = places.len() < more;
                calls.extend(places);
            }
            match takes_conversation(conversations.front().map(|(at, _)| *at), calls.front().map(|(at, _)| *at)) {
                Some(true) => position.conversation = conversations.pop_front().or(position.conversation),
                Some(false) => position.call = calls.pop_front().map(|(_, id)| id).or(position.call),
                None => break,
            }
            left -= 1;
        }
        Ok(position)
    }

    /// The rows after a position, where they end, and whether there are more.
    async fn rows(
        &self,
        owner: &Participant,
        start: InboxPosition,
        left_out: Option<ConversationId>,
        take: usize,
    ) -> Result<(Vec<Row>, InboxPosition, bool)> {
        let store = &self.0.core.store;
        // One more than asked for tells whether there are more; one more still for the one that is left out.
        let calls = CallQuery {
            person: owner.clone(),
            call_type: None,
            statuses: Vec::new(),
            before: start.call,
            skip: 0,
            limit: take + 1,
            count_up_to: 0,
        };
        let (conversations, calls) =
            futures_util::try_join!(store.conversations_after(owner, start.conversation, take + 2), store.calls_of(calls))?;
        let mut conversations = conversations.into_iter().filter(|c| Some(c.handle.id) != left_out).peekable();
        let mut calls = calls.items.into_iter().peekable();
        let (mut rows, mut end) = (Vec::with_capacity(take), start);
        while rows.len() < take {
            match takes_conversation(conversations.peek().map(|c| c.last_message_at), calls.peek().map(|call| call.initiated_at)) {
                Some(true) => rows.extend(conversations.next().map(|conversation| {
                    end.conversation = Some((conversation.last_message_at, conversation.handle.id));
                    Row::Conversation(conversation)
                })),
                Some(false) => rows.extend(calls.next().map(|call| {
                    end.call = Some(call.id);
                    Row::Call(call)
                })),
                None => break,
            }
        }
        let has_more = conversations.peek().is_some() || calls.peek().is_some();
        Ok((rows, end, has_more))
    }

    /// Rows with what is known of the other sides, each of which is looked up once.
    async fn items(&self, owner: &Participant, rows: Vec<Row>) -> Result<Vec<InboxItem>> {
        let Inner { presence, profiles, .. } = &*self.0;
        let contacts: Vec<_> = rows.iter().map(|row| row.contact(owner)).collect();
        let people: HashSet<Participant> = contacts.iter().map(|(person, _)| person.identity()).collect();
        let online = presence.online(&people.into_iter().collect::<Vec<_>>()).await?;
        let mut items = Vec::with_capacity(rows.len());
        for (row, (person, stored)) in rows.into_iter().zip(contacts) {
            let profile = if stored.name.is_some() {
                stored
            } else {
                let known = profiles.of(&person, None).await?;
                Profile { name: known.name, picture: stored.picture.or(known.picture) }
            };
            let is_online = online.contains(&person.identity());
            items.push(row.item(owner, Contact { person, profile, is_online }));
        }
        Ok(items)
    }

    /// How much of an inbox was not looked at: unread messages, and calls missed in the last 90 days.
    pub async fn unseen(&self, user: &CurrentUser, owner: &Participant) -> Result<UnseenCounts> {
        let Inner { core, guard, .. } = &*self.0;
        guard.limits.count(user, Limited::Other)?;
        let since = core.now().minus(MISSED_WITHIN);
        let (messages, missed) = futures_util::try_join!(core.store.count_unread(owner), core.store.count_missed(owner, since))?;
        Ok(UnseenCounts { messages, missed })
    }

    /// Marks one message as read, if it is addressed to `user`. Errors: `MESSAGE_NOT_FOUND` where he takes no part.
    pub async fn read_message(&self, user: &CurrentUser, message: &str) -> Result<ReadMessages> {
        let Inner { core, messaging, guard, .. } = &*self.0;
        let id = message_id(message)?;
        guard.limits.count(user, Limited::Other)?;
        let found = core.store.find_message(id).await?.ok_or(Error::MessageNotFound)?;
        let Named::Known(known) = messaging.conversations.resolve(user.participant(), found.conversation_key.as_str()).await? else {
            return Err(Error::MessageNotFound);
        };
        messaging.mark_known_read(user, &known, Which::Ids(vec![id])).await
    }

    /// Marks everything addressed to `user` as read, conversation by conversation, so many of them in one go.
    pub async fn read_all(&self, user: &CurrentUser) -> Result<AllRead> {
        let Inner { core, messaging, guard, .. } = &*self.0;
        guard.limits.count(user, Limited::Other)?;
        let _turn = guard.limits.turn().await;
        let mut all = AllRead::default();
        for _ in 0..MARK_ROUNDS {
            let unread = core.store.unread_conversations(&user.identity(), MARK_AT_ONCE).await?;
            let mut marked = 0;
            for conversation in &unread {
                marked += messaging.mark_known_read(user, &conversation.membership(), Which::AllUnread).await?.message_ids.len();
            }
            all.conversations += unread.len();
            all.messages += marked;
            all.has_more = unread.len() == MARK_AT_ONCE;
            // A counter that is wrong would be found for ever.
            if !all.has_more || marked == 0 {
                break;
            }
        }
        Ok(all)
    }

    /// Notes that `user` has looked at the missed calls; the calls stay as they are. Returns the moment that counts.
    pub async fn see_missed(&self, user: &CurrentUser) -> Result<Timestamp> {
        let Inner { core, guard, .. } = &*self.0;
        guard.limits.count(user, Limited::Other)?;
        let at = core.now();
        core.store.note_missed_seen(&user.identity(), at).await?;
        Ok(at)
    }

    /// Sends to somebody, as a socket would; the row of the conversation afterwards, and whether the message is new.
    pub async fn send(&self, user: &CurrentUser, to: &Participant, send: SendMessage) -> Result<(InboxItem, bool)> {
        let Inner { core, messaging, .. } = &*self.0;
        let recipient = Recipient { id: Some(to.id().to_owned()), kind: Some(to.kind()) };
        let sent = messaging.send_message(user, SendMessage { recipient, conversation: None, ..send }).await?.await?;
        let lookup = Lookup::Id(sent.message.conversation_id);
        let conversation = core.store.find_conversation(&lookup).await?.ok_or(Error::ConversationNotFound)?;
        Ok((self.item(user, Row::Conversation(conversation)).await?, sent.fresh))
    }

    /// Rings somebody, as a socket would; the row of the call, and the way into its channel.
    pub async fn call(&self, user: &CurrentUser, to: Participant, call_type: CallType) -> Result<(InboxItem, OfferedCall)> {
        let ask = InitiateCall { callee: to, call_type, consultation_id: None, from: None };
        let offered = self.0.calling.initiate(user, ask).await?;
        Ok((self.item(user, Row::Call(offered.call.clone())).await?, offered))
    }

    async fn item(&self, user: &CurrentUser, row: Row) -> Result<InboxItem> {
        let mut items = self.items(&user.identity(), vec![row]).await?;
        items.pop().ok_or_else(|| Error::internal("a row without an item"))
    }
}
