//! What the services ask of storage, in the domain's words; two drivers answer alike.
//!
//! `sqlite` keeps one file, `mongo` keeps the documents the Node backend knows. The suite in `tests/it/store_contract`
//! runs every sentence below on both.

pub mod analytics;
pub mod belongings;
pub mod devices;
pub mod inbox;
pub mod media;
pub mod mongo;
pub mod outbox;
pub mod presence;
pub mod sqlite;
pub mod trouble;
mod unsure;
pub mod upkeep;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

pub use belongings::{Belonging, BelongingSort, BelongingStore};
pub use devices::DeviceStore;
pub use outbox::OutboxStore;

use crate::error::{Error, Result};
use crate::metrics::StoreMetrics;
use crate::models::{
    Account, AuditAction, AuditEntry, Call, CallId, CallStatus, CallType, Conversation, ConversationHandle, ConversationKey, EndReason,
    Feedback, IdClock, KeptRooms, Message, MessageId, MessageStatus, NewCall, NewMessage, Notices, Pair, Participant, ParticipantKind,
    ProcessId, Profile, Relation, Revocation, Timestamp,
};
pub use media::MediaStore;
pub use presence::PresenceStore;

use analytics::AnalyticsStore;
use inbox::InboxStore;

pub use upkeep::{Load, Recount, UpkeepStore};

/// A result that is on its way. The place in the store's order was taken when it was made, not when it is awaited.
pub type Pending<T> = BoxFuture<'static, Result<T>>;

/// The most messages one page may hold.
pub const MAX_PAGE: usize = 200;
/// The most other names one conversation remembers.
pub const MAX_ALIASES: usize = 8;

/// Where conversations and messages are kept.
///
/// Every change is durable when its result says so. `Unavailable` and `Overloaded` mean the caller may ask again.
#[async_trait]
pub trait Store:
    AnalyticsStore + BelongingStore + DeviceStore + InboxStore + MediaStore + OutboxStore + PresenceStore + UpkeepStore
{
    /// Returns the conversation of two identities, making it if there is none. Idempotent by key, also against another process.
    ///
    /// `alias` is added to its names unless it is there already or [`MAX_ALIASES`] are.
    async fn open_conversation(&self, new: NewConversation) -> Result<Opened>;

    /// The conversation known by `lookup`.
    async fn find_conversation(&self, lookup: &Lookup) -> Result<Option<Conversation>>;

    /// Writes name and picture of one member, for everyone who lists the conversation. Absent fields stay as they are.
    async fn update_profile(&self, conversation: &ConversationHandle, person: &Participant, profile: &Profile) -> Result<()>;

    /// Active conversations of an identity, by last activity, newest first. `total` counts all of them.
    async fn conversations_of(&self, person: &Participant, page: &ConversationPage) -> Result<Conversations>;

    /// Appends a message, makes it the conversation's latest and adds one to the recipient's unread count.
    ///
    /// Idempotent by `(sender, client_message_id)`: a repeat returns the first message with `fresh: false` and changes nothing;
    /// but if the outcome was unknown until then, the first repeat counts as the send itself.
    /// the same id for another conversation or content is `Conflict`. The store assigns id and time; within a conversation they
    /// never go backwards, and results of one conversation become ready in that order.
    /// Errors: `Overloaded` when the queue to the writer is full; `Unavailable` when the outcome is unknown (repeat with the same client id).
    fn send_message(&self, new: NewMessage) -> Pending<Sent>;

    /// The message with this id, deleted or not.
    async fn find_message(&self, id: MessageId) -> Result<Option<Message>>;

    /// One page of a conversation as `viewer` may see it, oldest first.
    ///
    /// Left out are messages deleted for everyone and those `viewer` deleted for himself. Order is `(createdAt, _id)`.
    /// Where several processes write, a page after a message begins with what may have been stored later than it, in an earlier place.
    /// Errors: `MessageNotFound` when the range names a message that is not of this conversation (one that is deleted still counts).
    async fn messages(&self, query: MessageQuery) -> Result<Messages>;

    /// How many messages `viewer` may see, counting no further than `cap`; with `before`, a message of the conversation, of those older than it.
    ///
    /// Errors: `MessageNotFound` when `before` is not of this conversation.
    async fn count_messages(&self, conversation: &ConversationHandle, viewer: &str, before: Option<MessageId>, cap: u64) -> Result<u64>;

    /// Marks messages addressed to `reader` as read, from sent or delivered only, and makes the unread count right again.
    ///
    /// Takes its place in the order of the conversation's sends, so that what was sent later stays unread.
    fn mark_read(&self, mark: MarkRead) -> Pending<ReadMarks>;

    /// Marks messages as delivered, from sent only. Returns the ids that changed, in no order.
    async fn mark_delivered(&self, messages: &[(ConversationHandle, MessageId)], at: Timestamp) -> Result<Vec<MessageId>>;

    /// Hides a message from one participant. The unread count goes down if it was unread and addressed to him. Repeating changes nothing.
    async fn hide_message(&self, hide: DeleteMessage) -> Result<Option<Message>>;

    /// Deletes a message for everyone and notes who did: text and media are blanked, `lastMessage` falls back to the newest one left,
    /// the recipient's unread count goes down if it was unread. Returns the message as it is now. Repeating changes nothing.
    async fn delete_message(&self, delete: DeleteMessage) -> Result<Option<Message>>;

    /// Status and deletion of those of the newest `limit` messages that changed at or after `since`, oldest first.
    /// A message `viewer` deleted for himself is told as deleted.
    async fn changes_since(&self, conversation: &ConversationHandle, viewer: &str, since: Timestamp, limit: usize) -> Result<Vec<Change>>;

    /// Name and picture the database keeps for a person outside our collections; `None` when it keeps none.
    async fn find_profile(&self, person: &Participant) -> Result<Option<Profile>>;

    /// Stores a call that begins to ring. The store assigns id and time.
    async fn create_call(&self, new: NewCall) -> Result<Call>;

    /// The call with this id.
    async fn find_call(&self, id: CallId) -> Result<Option<Call>>;

    /// Moves a call on, if it still is in one of the states of `change.from`: one conditional update, so that of several who try
    /// at once, also from other processes, exactly one succeeds.
    ///
    /// Sets the time that belongs to the new status, takes the ring deadline away once it does not ring, and stores `change.end`.
    /// Fields of other programs stay as they are.
    /// Errors: `Unavailable` when the outcome is unknown; asking again tells (`Refused` with the call as it is now).
    async fn transition_call(&self, change: CallChange) -> Result<Transitioned>;

    /// Takes notices of calls that are over off the list; repeating changes nothing. Unknown calls are skipped.
    async fn settle_notices(&self, settled: &[(CallId, Notices)]) -> Result<()>;

    /// Calls of a person, any admin's for an admin, newest first.
    ///
    /// Errors: `CallNotFound` when `query.before` names no call.
    async fn calls_of(&self, query: CallQuery) -> Result<Calls>;

    /// Calls that still need somebody: not over, or over with notices left. In the order of their ids, those after `after` first.
    /// Calls of older programs, which have no ring deadline and no notices, are not among them.
    async fn open_calls(&self, after: Option<CallId>, limit: usize) -> Result<Vec<Call>>;

    /// Open calls that ring although their deadline is before `deadline_before`, and those with notices that ended before
    /// `ended_before`, at most `limit` of each.
    async fn overdue_calls(&self, deadline_before: Timestamp, ended_before: Timestamp, limit: usize) -> Result<Vec<Call>>;

    /// Stores what a party thought of a call, if nobody did before. Returns the call as it is now; `None` if there is none.
    async fn rate_call(&self, id: CallId, feedback: Feedback, at: Timestamp) -> Result<Option<Call>>;

    /// Whether the database shows that a user and an astrologer have dealt with each other: a relation of ours, their conversation, or
    /// what other programs keep (`servicerequests`, `sessions`, `consultations`; the last knows the user by phone only).
    ///
    /// `phone` is what the user's token states; without it the driver looks for one in `users`. What is no id is related to nobody.
    /// Errors: `Unavailable` when another program's collection does not answer in time and nothing else shows it.
    async fn are_related(&self, user: &str, astrologer: &str, phone: Option<&str>) -> Result<bool>;

    /// Notes that a user and an astrologer have dealt with each other. Repeating changes nothing. True if it was new.
    ///
    /// Errors: `InvalidId` when one of the two is no id.
    async fn add_relation(&self, relation: Relation) -> Result<bool>;

    /// Whether any relation was ever noted.
    async fn has_relations(&self) -> Result<bool>;

    /// The accounts of these astrologers, in no order; those the database does not know are left out.
    /// `None` where no program keeps accounts; one that begins to is noticed within a minute.
    async fn find_accounts(&self, astrologers: &[String]) -> Result<Option<Vec<(String, Account)>>>;

    /// Adds to the audit trail.
    async fn append_audit(&self, entries: Vec<AuditEntry>) -> Result<()>;

    /// The newest `limit` entries of the audit trail, newest first; only of one kind, and only before a moment, if asked for.
    async fn audit_trail(&self, action: Option<AuditAction>, before: Option<Timestamp>, limit: usize) -> Result<Vec<AuditEntry>>;

    /// Stores a revocation; a later one for the same person replaces it, an earlier one changes nothing.
    async fn revoke(&self, revocation: Revocation) -> Result<()>;

    /// All revocations, or those of this moment and later.
    async fn revocations(&self, since: Option<Timestamp>) -> Result<Vec<Revocation>>;

    /// Forgets revocations of before this moment. The caller knows that every token they refused is refused without them.
    async fn purge_revocations(&self, before: Timestamp) -> Result<()>;

    /// Remembers in which rooms these identities sit, in place of what was remembered of each; one without rooms is forgotten.
    ///
    /// `process` says so, and was alive at that moment. Repeating changes nothing.
    async fn remember_rooms(&self, process: ProcessId, at: Timestamp, rooms: Vec<KeptRooms>) -> Result<()>;

    /// What processes other than `process` remembered of these identities, in no order, if they were seen at or after `since`.
    ///
    /// Who was not dropped was seen when its process was last alive, and has no `unheard_since`.
    async fn remembered_rooms(&self, process: ProcessId, people: &[Participant], since: Timestamp) -> Result<Vec<KeptRooms>>;

    /// When each process other than this one last wrote that it was alive, by its own clock, in no order; forgotten ones left out.
    async fn other_processes(&self, process: ProcessId) -> Result<Vec<(ProcessId, Timestamp)>>;

    /// Forgets processes that were last alive before `before`, with the rooms of who was connected to them, and who was dropped before.
    async fn forget_rooms(&self, before: Timestamp) -> Result<()>;

    /// Those of these conversations that were opened, or in which something was said, at or after `since`; in no order.
    async fn spoken_since(&self, conversations: &[ConversationKey], since: Timestamp) -> Result<Vec<Conversation>>;

    /// Checks that a write would succeed now.
    async fn check_writable(&self) -> Result<()>;

    /// What [`MessageId::process`] says of every message stored by this process; `None` as long as there cannot be any.
    fn id_process(&self) -> Option<[u8; 5]>;

    /// What the store measures itself, its queue as it is now.
    fn metrics(&self) -> &StoreMetrics;

    /// The driver's name: `sqlite` or `mongodb`.
    fn engine(&self) -> &'static str;

    /// Finishes what is queued, flushes and lets go. Later calls answer `Unavailable`.
    async fn close(&self);
}

/// A conversation to be opened.
#[derive(Clone, Debug)]
pub struct NewConversation {
    /// The two identities; they decide the key and the type.
    pub pair: Pair,
    /// What is known of each, in the pair's order.
    pub profiles: [Profile; 2],
    /// `consultation`, `service_request`, `support` or `general`.
    pub context_type: String,
    /// Document the context is about.
    pub context_id: Option<String>,
    /// Another text its participants use for it.
    pub alias: Option<ConversationKey>,
    /// The caller's clock.
    pub at: Timestamp,
}

/// The outcome of opening.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The conversation, with the alias.
    pub conversation: Conversation,
    /// True if this call made it.
    pub created: bool,
}

/// The ways to name a conversation.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// By its key (canonical or free text).
    Key(ConversationKey),
    /// By document id.
    Id(crate::models::ConversationId),
    /// By another name, among the conversations of one identity; one that several of them share names none.
    Alias(ConversationKey, Participant),
}

/// Which part of a list of conversations.
#[derive(Clone, Debug)]
pub struct ConversationPage {
    /// Only those with earlier activity than this conversation.
    pub before: Option<crate::models::ConversationId>,
    /// Leave out this many.
    pub skip: u64,
    /// At most this many, up to [`MAX_PAGE`].
    pub limit: usize,
}

/// A page of conversations.
#[derive(Clone, Debug)]
pub struct Conversations {
    /// Newest activity first.
    pub items: Vec<Conversation>,
    /// Whether there are older ones.
    pub has_more: bool,
    /// All of them, regardless of the page.
    pub total: u64,
}

/// The outcome of a send.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The stored message; the first one if this was a repeat.
    pub message: Message,
    /// False for a repeat.
    pub fresh: bool,
    /// True for a repeat of what another process stored lately: it may have died before it told anyone.
    pub maybe_unheard: bool,
}

impl Sent {
    /// How long after the first send a process may have died without a word.
    const DOUBTED: std::time::Duration = std::time::Duration::from_secs(120);

    fn fresh(message: Message) -> Self {
        Self { message, fresh: true, maybe_unheard: false }
    }

    /// `clock` is this process's, `now` the time of the repeat.
    fn repeat(message: Message, clock: &IdClock, now: Timestamp) -> Self {
        let maybe_unheard = !clock.made(message.id.bytes()) && now.since(message.created_at) < Self::DOUBTED;
        Self { message, fresh: false, maybe_unheard }
    }
}

/// Which part of a conversation.
#[derive(Clone, Copy, Debug)]
pub enum Range {
    /// The newest, leaving out this many of them.
    Latest {
        /// How many of the newest to leave out.
        skip: u64,
    },
    /// The newest of those older than this message.
    Before(MessageId),
    /// The oldest of those newer than this message.
    After(MessageId),
}

/// A question for messages.
#[derive(Clone, Debug)]
pub struct MessageQuery {
    /// Which conversation.
    pub conversation: ConversationHandle,
    /// Person key of the asker, whose own deletions are left out. See [`Conversation::person_key`].
    pub viewer: String,
    /// Which part.
    pub range: Range,
    /// At most this many, up to [`MAX_PAGE`].
    pub limit: usize,
}

/// A page of messages.
#[derive(Clone, Debug)]
pub struct Messages {
    /// Oldest first.
    pub items: Vec<Message>,
    /// Whether there are more in the direction of the range.
    pub has_more: bool,
    /// How many of the first items of a page after a message stand before it.
    pub late: usize,
}

/// Which messages a reader has read.
#[derive(Clone, Debug)]
pub enum Which {
    /// Every unread one that the store accepted before this request.
    AllUnread,
    /// These, as far as they are addressed to the reader and unread.
    Ids(Vec<MessageId>),
}

/// A reader has read messages.
#[derive(Clone, Debug)]
pub struct MarkRead {
    /// Where.
    pub conversation: ConversationHandle,
    /// Who; an admin reads what is addressed to any admin.
    pub reader: Participant,
    /// The reader's name in this conversation. See [`Conversation::person_key`].
    pub reader_key: String,
    /// Which.
    pub which: Which,
    /// The caller's clock.
    pub at: Timestamp,
}

/// The outcome of reading.
#[derive(Clone, Debug, Default)]
pub struct ReadMarks {
    /// Messages that were unread until now, oldest first.
    pub ids: Vec<MessageId>,
    /// What the reader has left to read.
    pub unread: u32,
}

/// A deletion, for oneself or for everyone.
#[derive(Clone, Debug)]
pub struct DeleteMessage {
    /// Where.
    pub conversation: ConversationHandle,
    /// Which.
    pub message: MessageId,
    /// Person key of who deletes. See [`Conversation::person_key`].
    pub by: String,
    /// Person key of the recipient, whose unread count may change.
    pub recipient_key: String,
    /// The caller's clock.
    pub at: Timestamp,
}

/// What changed of a message a client already has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which message.
    pub message_id: MessageId,
    /// How far it got.
    pub status: MessageStatus,
    /// When it was read.
    pub read_at: Option<Timestamp>,
    /// When it was delivered.
    pub delivered_at: Option<Timestamp>,
    /// Gone for everyone, or for the viewer.
    pub is_deleted: bool,
}

/// A step of a call.
#[derive(Clone, Debug)]
pub struct CallChange {
    /// Which call.
    pub id: CallId,
    /// Only from one of these states.
    pub from: Vec<CallStatus>,
    /// To this one.
    pub to: CallStatus,
    /// Set where `to` is final.
    pub end: Option<CallEnd>,
    /// When.
    pub at: Timestamp,
}

impl CallChange {
    /// Whether they differ in nothing but the call, the time and who ended it.
    pub fn is_like(&self, other: &Self) -> bool {
        let ends_alike = match (&self.end, &other.end) {
            (Some(one), Some(other)) => {
                one.reason == other.reason
                    && one.detail == other.detail
                    && (one.duration, one.server_duration, one.notices) == (other.duration, other.server_duration, other.notices)
            }
            (None, None) => true,
            _ => false,
        };
        ends_alike && self.from == other.from && self.to == other.to
    }
}

/// How a call ends.
#[derive(Clone, Debug)]
pub struct CallEnd {
    /// Why.
    pub reason: EndReason,
    /// The finer reason.
    pub detail: String,
    /// Which party ended it; nobody if the server did.
    pub by: Option<Participant>,
    /// Whole seconds, as [`crate::models::call::believable_duration`] says.
    pub duration: u32,
    /// Whole seconds by the server's clock.
    pub server_duration: u32,
    /// What is to be done about it.
    pub notices: Notices,
}

/// The outcome of a step.
#[derive(Clone, Debug)]
pub enum Transitioned {
    /// Done; the call as it is now.
    Applied(Box<Call>),
    /// It was in none of the states; the call as it is.
    Refused(Box<Call>),
    /// There is no such call.
    NotFound,
}

/// Which calls.
#[derive(Clone, Debug)]
pub struct CallQuery {
    /// Whose, on either side.
    pub person: Participant,
    /// Only of this kind.
    pub call_type: Option<CallType>,
    /// Only in one of these states; all if empty.
    pub statuses: Vec<CallStatus>,
    /// Only calls older than this one.
    pub before: Option<CallId>,
    /// Leave out this many.
    pub skip: u64,
    /// At most this many, up to [`MAX_PAGE`].
    pub limit: usize,
    /// Count all that match, regardless of `before` and page, no further than this.
    pub count_up_to: u64,
}

/// A page of calls.
#[derive(Clone, Debug)]
pub struct Calls {
    /// Newest first.
    pub items: Vec<Call>,
    /// Whether there are older ones.
    pub has_more: bool,
    /// All that match, up to the cap asked for.
    pub total: u64,
}

/// The pair of a user and an astrologer. Errors: `InvalidId` when one of the texts is no id.
fn require_pair(user: &str, astrologer: &str) -> Result<Pair> {
    let person = |kind, id: &str| Participant::new(kind, id).ok_or_else(|| Error::InvalidId(format!("{kind}: this is no id")));
    let (user, astrologer) = (person(ParticipantKind::User, user)?, person(ParticipantKind::Astrologer, astrologer)?);
    Pair::new(user, astrologer).ok_or_else(|| Error::internal("a user is never an astrologer"))
}
