//! The real store, watched: a test can wait until nothing is asked of it any more, and stop the process at the one instant that
//! matters, when a change is stored and nobody knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use samvad::error::Result;
use samvad::models::{
    Account, AuditAction, AuditEntry, Call, CallId, Conversation, ConversationHandle, ConversationKey, Feedback, KeptRooms, Message,
    MessageId, NewCall, NewMessage, Notices, Participant, ProcessId, Profile, Relation, Revocation, Timestamp,
};
use samvad::store::{
    CallChange, CallQuery, Calls, Change, ConversationPage, Conversations, DeleteMessage, Lookup, MarkRead, MessageQuery, Messages,
    NewConversation, Opened, Pending, ReadMarks, Sent, Store, Transitioned,
};

/// A store that hands everything on.
pub struct Watched {
    inner: Arc<dyn Store>,
    asked: AtomicUsize,
    under_way: Arc<AtomicUsize>,
    hold: AtomicBool,
    held: AtomicBool,
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
        Self { inner, asked: AtomicUsize::new(0), under_way: Arc::default(), hold: false.into(), held: false.into() }
    }

    /// How many questions there were, if all of them are answered.
    pub fn at_rest(&self) -> Option<usize> {
        (self.under_way.load(Ordering::SeqCst) == 0).then(|| self.asked.load(Ordering::SeqCst))
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
impl Store for Watched {
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

    async fn count_messages(&self, conversation: &ConversationHandle, viewer: &str, cap: u64) -> Result<u64> {
        hand_on!(self.count_messages(conversation, viewer, cap))
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
