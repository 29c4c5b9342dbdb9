//! The real store, watched: a test can wait until nothing is asked of it any more, stop the process at the one instant that matters,
//! when a change is stored and nobody knows, and count what is written of who comes and goes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use samvad::error::Result;
use samvad::metrics::StoreMetrics;
use samvad::models::analytics::{CallTally, Day, MessageTally};
use samvad::models::media::{Attachment, MediaId};
use samvad::models::{
    Account, AuditAction, AuditEntry, Call, CallId, Conversation, ConversationHandle, ConversationId, ConversationKey, Device, Feedback,
    KeptRooms, Lease, Message, MessageId, NewCall, NewMessage, Notices, OutboxEntry, OutboxLane, OutboxOutcome, Participant, ProcessId,
    Profile, Relation, Revocation, Timestamp,
};
use samvad::store::MediaStore;
use samvad::store::analytics::{AnalyticsStore, CountedDay};
use samvad::store::inbox::{ConversationPlace, InboxStore, MissedCalls};
use samvad::store::presence::{LeftBehind, PresenceStore, Seen};
use samvad::store::{
    Belonging, BelongingSort, BelongingStore, CallChange, CallQuery, Calls, Change, ConversationPage, Conversations, DeleteMessage,
    DeviceStore, Load, Lookup, MarkRead, MessageQuery, Messages, NewConversation, Opened, OutboxStore, Pending, ReadMarks, Recount, Sent,
    Store, Transitioned, UpkeepStore,
};

/// A store that hands everything on.
pub struct Watched {
    inner: Arc<dyn Store>,
    asked: AtomicUsize,
    under_way: Arc<AtomicUsize>,
    hold: AtomicBool,
    held: AtomicBool,
    presence_written: Mutex<Written>,
}

/// What was written of who comes and goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How often the store was asked to.
    pub commands: usize,
    /// Somebody is here, for each person.
    pub here: usize,
    /// Somebody is gone, for each person.
    pub gone: usize,
}

/// A question that has not been answered yet.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Watched {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            asked: AtomicUsize::new(0),
            under_way: Arc::default(),
            hold: false.into(),
            held: false.into(),
            presence_written: Mutex::default(),
        }
    }

    /// How many questions there were, if all of them are answered.
    pub fn at_rest(&self) -> Option<usize> {
        (self.under_way.load(Ordering::SeqCst) == 0).then(|| self.asked.load(Ordering::SeqCst))
    }

    /// What was written of who comes and goes, so far.
    pub fn presence_written(&self) -> Written {
        *self.presence_written.lock().expect("not poisoned")
    }

    fn count_written(&self, here: usize, gone: usize) {
        let mut written = self.presence_written.lock().expect("not poisoned");
        *written = Written { commands: written.commands + 1, here: written.here + here, gone: written.gone + gone };
    }

    /// The next step of a call that is stored is never answered.
    pub fn hold_next_step(&self) {
        self.hold.store(true, Ordering::SeqCst);
    }

    /// Whether such a step was stored.
    pub fn holds_a_step(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }

    fn begin(&self) -> UnderWay {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(self.under_way.clone())
    }

    fn watch<T: Send + 'static>(&self, pending: Pending<T>) -> Pending<T> {
        let under_way = self.begin();
        Box::pin(async move {
            let result = pending.await;
            drop(under_way);
            result
        })
    }
}

macro_rules! hand_on {
    ($self:ident.$method:ident($($argument:expr),*)) => {{
        let _under_way = $self.begin();
        $self.inner.$method($($argument),*).await
    }};
}

#[async_trait]
impl DeviceStore for Watched {
    async fn register_device(&self, device: Device) -> Result<()> {
        hand_on!(self.register_device(device))
    }

    async fn unregister_device(&self, owner: &Participant, token: &str) -> Result<bool> {
        hand_on!(self.unregister_device(owner, token))
    }

    async fn drop_device(&self, token: &str, since: Timestamp) -> Result<bool> {
        hand_on!(self.drop_device(token, since))
    }

    async fn devices_of(&self, people: &[Participant]) -> Result<Vec<Device>> {
        hand_on!(self.devices_of(people))
    }
}

#[async_trait]
impl InboxStore for Watched {
    async fn conversations_after(
        &self,
        person: &Participant,
        before: Option<ConversationPlace>,
        limit: usize,
    ) -> Result<Vec<Conversation>> {
        hand_on!(self.conversations_after(person, before, limit))
    }

    async fn conversation_places(
        &self,
        person: &Participant,
        before: Option<ConversationPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationPlace>> {
        hand_on!(self.conversation_places(person, before, limit))
    }

    async fn call_places(&self, person: &Participant, before: Option<CallId>, limit: usize) -> Result<Vec<(Timestamp, CallId)>> {
        hand_on!(self.call_places(person, before, limit))
    }

    async fn count_unread(&self, person: &Participant) -> Result<u64> {
        hand_on!(self.count_unread(person))
    }

    async fn unread_conversations(&self, person: &Participant, limit: usize) -> Result<Vec<Conversation>> {
        hand_on!(self.unread_conversations(person, limit))
    }

    async fn count_missed(&self, person: &Participant, since: Timestamp) -> Result<MissedCalls> {
        hand_on!(self.count_missed(person, since))
    }

    async fn note_missed_seen(&self, person: &Participant, at: Timestamp) -> Result<()> {
        hand_on!(self.note_missed_seen(person, at))
    }
}

#[async_trait]
impl MediaStore for Watched {
    async fn announce_media(&self, attachment: Attachment) -> Result<()> {
        hand_on!(self.announce_media(attachment))
    }

    async fn find_media(&self, id: MediaId) -> Result<Option<Attachment>> {
        hand_on!(self.find_media(id))
    }

    async fn complete_media(&self, id: MediaId, pixels: Option<(u32, u32)>) -> Result<bool> {
        hand_on!(self.complete_media(id, pixels))
    }

    async fn use_media(&self, id: MediaId, owner: &Participant, conversation: &ConversationKey) -> Result<bool> {
        hand_on!(self.use_media(id, owner, conversation))
    }

    async fn release_media(&self, id: MediaId) -> Result<()> {
        hand_on!(self.release_media(id))
    }

    async fn erase_media(&self, id: MediaId) -> Result<()> {
        hand_on!(self.erase_media(id))
    }

    async fn give_up_media(&self, id: MediaId) -> Result<bool> {
        hand_on!(self.give_up_media(id))
    }

    async fn abandoned_media(&self, pending_before: Timestamp, unused_before: Timestamp, limit: usize) -> Result<Vec<Attachment>> {
        hand_on!(self.abandoned_media(pending_before, unused_before, limit))
    }

    async fn forget_media(&self, ids: &[MediaId]) -> Result<Vec<MediaId>> {
        hand_on!(self.forget_media(ids))
    }
}

#[async_trait]
impl OutboxStore for Watched {
    async fn put_outbox(&self, entries: Vec<OutboxEntry>) -> Result<Vec<String>> {
        hand_on!(self.put_outbox(entries))
    }

    async fn claim_outbox(&self, lane: OutboxLane, lease: Lease, now: Timestamp, limit: usize) -> Result<Vec<OutboxEntry>> {
        hand_on!(self.claim_outbox(lane, lease, now, limit))
    }

    async fn settle_outbox(&self, id: &str, owner: ProcessId, outcome: OutboxOutcome) -> Result<bool> {
        hand_on!(self.settle_outbox(id, owner, outcome))
    }

    async fn note_outbox(&self, id: &str, owner: ProcessId, settled: &[String]) -> Result<bool> {
        hand_on!(self.note_outbox(id, owner, settled))
    }

    async fn finish_outbox(&self, id: &str) -> Result<bool> {
        hand_on!(self.finish_outbox(id))
    }

    async fn find_outbox(&self, id: &str) -> Result<Option<OutboxEntry>> {
        hand_on!(self.find_outbox(id))
    }

    async fn release_outbox(&self, now: Timestamp) -> Result<()> {
        hand_on!(self.release_outbox(now))
    }

    async fn trim_outbox(&self, lane: OutboxLane, keep: usize, now: Timestamp) -> Result<u64> {
        hand_on!(self.trim_outbox(lane, keep, now))
    }

    async fn purge_outbox(&self, done_before: Timestamp, dead_before: Timestamp) -> Result<()> {
        hand_on!(self.purge_outbox(done_before, dead_before))
    }

    async fn dead_outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        hand_on!(self.dead_outbox(limit))
    }

    async fn revive_outbox(&self, id: Option<&str>, now: Timestamp, expires_at: Timestamp) -> Result<u64> {
        hand_on!(self.revive_outbox(id, now, expires_at))
    }

    async fn walk_outbox(&self, after: Option<String>, limit: usize) -> Result<Vec<OutboxEntry>> {
        hand_on!(self.walk_outbox(after, limit))
    }

    async fn forget_outbox(&self, ids: Vec<String>) -> Result<()> {
        hand_on!(self.forget_outbox(ids))
    }

    async fn messages_made_since(&self, since: Timestamp, after: Option<MessageId>, limit: usize) -> Result<Vec<Message>> {
        hand_on!(self.messages_made_since(since, after, limit))
    }
}

#[async_trait]
impl PresenceStore for Watched {
    async fn note_here(&self, process: ProcessId, at: Timestamp, people: Vec<Participant>) -> Result<()> {
        self.count_written(people.len(), 0);
        hand_on!(self.note_here(process, at, people))
    }

    async fn note_gone(&self, process: ProcessId, people: Vec<(Participant, Timestamp)>) -> Result<()> {
        self.count_written(0, people.len());
        hand_on!(self.note_gone(process, people))
    }

    async fn seen(&self, process: ProcessId, people: &[Participant], alive_since: Timestamp) -> Result<Vec<Seen>> {
        hand_on!(self.seen(process, people, alive_since))
    }

    async fn left_behind(&self, process: ProcessId, alive_since: Timestamp, limit: usize) -> Result<Vec<LeftBehind>> {
        hand_on!(self.left_behind(process, alive_since, limit))
    }

    async fn acquaintances(&self, person: &Participant, others: &[Participant]) -> Result<Vec<Participant>> {
        hand_on!(self.acquaintances(person, others))
    }

    async fn partners_of(&self, people: &[Participant], most: usize) -> Result<Vec<(Participant, Vec<Participant>)>> {
        hand_on!(self.partners_of(people, most))
    }
}

#[async_trait]
impl BelongingStore for Watched {
    async fn walk_belongings(&self, sort: BelongingSort, after: Option<String>, limit: usize) -> Result<Vec<Belonging>> {
        hand_on!(self.walk_belongings(sort, after, limit))
    }

    async fn put_belongings(&self, belongings: Vec<Belonging>) -> Result<()> {
        hand_on!(self.put_belongings(belongings))
    }
}

#[async_trait]
impl UpkeepStore for Watched {
    async fn walk_conversations(&self, after: Option<ConversationId>, limit: usize) -> Result<Vec<Conversation>> {
        hand_on!(self.walk_conversations(after, limit))
    }

    async fn walk_messages(&self, of: &ConversationHandle, after: Option<MessageId>, limit: usize) -> Result<Vec<Message>> {
        hand_on!(self.walk_messages(of, after, limit))
    }

    async fn walk_calls(&self, after: Option<CallId>, limit: usize) -> Result<Vec<Call>> {
        hand_on!(self.walk_calls(after, limit))
    }

    async fn relations(&self) -> Result<Vec<Relation>> {
        hand_on!(self.relations())
    }

    async fn recount(&self, of: ConversationId) -> Result<Option<Recount>> {
        hand_on!(self.recount(of))
    }

    async fn put_right(&self, of: ConversationId) -> Result<()> {
        hand_on!(self.put_right(of))
    }

    async fn take_over(&self, load: Load) -> Result<()> {
        hand_on!(self.take_over(load))
    }

    async fn erase_names(&self, person: &Participant) -> Result<()> {
        hand_on!(self.erase_names(person))
    }
}

// The dashboard has nothing to do with how calls go: not watched.
#[async_trait]
impl AnalyticsStore for Watched {
    async fn tally_messages(&self, from: Timestamp, to: Timestamp) -> Result<Vec<MessageTally>> {
        self.inner.tally_messages(from, to).await
    }

    async fn tally_calls(&self, from: Timestamp, to: Timestamp) -> Result<Vec<CallTally>> {
        self.inner.tally_calls(from, to).await
    }

    async fn count_active(&self, since: Timestamp) -> Result<[u64; 2]> {
        self.inner.count_active(since).await
    }

    async fn day_versions(&self, from: Day, to: Day) -> Result<Vec<(Day, u64)>> {
        self.inner.day_versions(from, to).await
    }

    async fn kept_days(&self, from: Day, to: Day) -> Result<Vec<CountedDay>> {
        self.inner.kept_days(from, to).await
    }

    async fn keep_days(&self, days: Vec<CountedDay>) -> Result<usize> {
        self.inner.keep_days(days).await
    }
}

#[async_trait]
impl Store for Watched {
    fn id_process(&self) -> Option<[u8; 5]> {
        self.inner.id_process()
    }

    fn metrics(&self) -> &StoreMetrics {
        self.inner.metrics()
    }

    async fn open_conversation(&self, new: NewConversation) -> Result<Opened> {
        hand_on!(self.open_conversation(new))
    }

    async fn find_conversation(&self, lookup: &Lookup) -> Result<Option<Conversation>> {
        hand_on!(self.find_conversation(lookup))
    }

    async fn update_profile(&self, conversation: &ConversationHandle, person: &Participant, profile: &Profile) -> Result<()> {
        hand_on!(self.update_profile(conversation, person, profile))
    }

    async fn conversations_of(&self, person: &Participant, page: &ConversationPage) -> Result<Conversations> {
        hand_on!(self.conversations_of(person, page))
    }

    fn send_message(&self, new: NewMessage) -> Pending<Sent> {
        self.watch(self.inner.send_message(new))
    }

    async fn find_message(&self, id: MessageId) -> Result<Option<Message>> {
        hand_on!(self.find_message(id))
    }

    async fn messages(&self, query: MessageQuery) -> Result<Messages> {
        hand_on!(self.messages(query))
    }

    async fn count_messages(&self, conversation: &ConversationHandle, viewer: &str, before: Option<MessageId>, cap: u64) -> Result<u64> {
        hand_on!(self.count_messages(conversation, viewer, before, cap))
    }

    fn mark_read(&self, mark: MarkRead) -> Pending<ReadMarks> {
        self.watch(self.inner.mark_read(mark))
    }

    async fn mark_delivered(&self, messages: &[(ConversationHandle, MessageId)], at: Timestamp) -> Result<Vec<MessageId>> {
        hand_on!(self.mark_delivered(messages, at))
    }

    async fn hide_message(&self, hide: DeleteMessage) -> Result<Option<Message>> {
        hand_on!(self.hide_message(hide))
    }

    async fn delete_message(&self, delete: DeleteMessage) -> Result<Option<Message>> {
        hand_on!(self.delete_message(delete))
    }

    async fn changes_since(&self, conversation: &ConversationHandle, viewer: &str, since: Timestamp, limit: usize) -> Result<Vec<Change>> {
        hand_on!(self.changes_since(conversation, viewer, since, limit))
    }

    async fn find_profile(&self, person: &Participant) -> Result<Option<Profile>> {
        hand_on!(self.find_profile(person))
    }

    async fn create_call(&self, new: NewCall) -> Result<Call> {
        hand_on!(self.create_call(new))
    }

    async fn find_call(&self, id: CallId) -> Result<Option<Call>> {
        hand_on!(self.find_call(id))
    }

    async fn transition_call(&self, change: CallChange) -> Result<Transitioned> {
        let under_way = self.begin();
        let result = self.inner.transition_call(change).await;
        drop(under_way);
        if matches!(result, Ok(Transitioned::Applied(_))) && self.hold.load(Ordering::SeqCst) {
            self.held.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        result
    }

    async fn settle_notices(&self, settled: &[(CallId, Notices)]) -> Result<()> {
        hand_on!(self.settle_notices(settled))
    }

    async fn calls_of(&self, query: CallQuery) -> Result<Calls> {
        hand_on!(self.calls_of(query))
    }

    async fn open_calls(&self, after: Option<CallId>, limit: usize) -> Result<Vec<Call>> {
        hand_on!(self.open_calls(after, limit))
    }

    async fn overdue_calls(&self, deadline_before: Timestamp, ended_before: Timestamp, limit: usize) -> Result<Vec<Call>> {
        hand_on!(self.overdue_calls(deadline_before, ended_before, limit))
    }

    async fn rate_call(&self, id: CallId, feedback: Feedback, at: Timestamp) -> Result<Option<Call>> {
        hand_on!(self.rate_call(id, feedback, at))
    }

    async fn are_related(&self, user: &str, astrologer: &str, phone: Option<&str>) -> Result<bool> {
        hand_on!(self.are_related(user, astrologer, phone))
    }

    async fn add_relation(&self, relation: Relation) -> Result<bool> {
        hand_on!(self.add_relation(relation))
    }

    async fn has_relations(&self) -> Result<bool> {
        hand_on!(self.has_relations())
    }

    async fn find_accounts(&self, astrologers: &[String]) -> Result<Option<Vec<(String, Account)>>> {
        hand_on!(self.find_accounts(astrologers))
    }

    async fn append_audit(&self, entries: Vec<AuditEntry>) -> Result<()> {
        hand_on!(self.append_audit(entries))
    }

    async fn audit_trail(&self, action: Option<AuditAction>, before: Option<Timestamp>, limit: usize) -> Result<Vec<AuditEntry>> {
        hand_on!(self.audit_trail(action, before, limit))
    }

    async fn revoke(&self, revocation: Revocation) -> Result<()> {
        hand_on!(self.revoke(revocation))
    }

    async fn revocations(&self, since: Option<Timestamp>) -> Result<Vec<Revocation>> {
        hand_on!(self.revocations(since))
    }

    async fn purge_revocations(&self, before: Timestamp) -> Result<()> {
        hand_on!(self.purge_revocations(before))
    }

    // Rooms are remembered by a clock of their own and have nothing to do with calls: not watched.
    async fn remember_rooms(&self, process: ProcessId, at: Timestamp, rooms: Vec<KeptRooms>) -> Result<()> {
        self.inner.remember_rooms(process, at, rooms).await
    }

    async fn remembered_rooms(&self, process: ProcessId, people: &[Participant], since: Timestamp) -> Result<Vec<KeptRooms>> {
        self.inner.remembered_rooms(process, people, since).await
    }

    async fn other_processes(&self, process: ProcessId) -> Result<Vec<(ProcessId, Timestamp)>> {
        self.inner.other_processes(process).await
    }

    async fn forget_rooms(&self, before: Timestamp) -> Result<()> {
        self.inner.forget_rooms(before).await
    }

    async fn spoken_since(&self, conversations: &[ConversationKey], since: Timestamp) -> Result<Vec<Conversation>> {
        self.inner.spoken_since(conversations, since).await
    }

    async fn check_writable(&self) -> Result<()> {
        hand_on!(self.check_writable())
    }

    fn engine(&self) -> &'static str {
        self.inner.engine()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
