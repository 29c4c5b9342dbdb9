//! A small world in which people talk and call at random for some weeks, and a list of everything they did: what tests that count
//! again count from. Nothing here reads the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use samvad::models::message::{CallLog, Media};
use samvad::models::{
    CallId, CallStatus, CallType, Conversation, ConversationHandle, ConversationId, EndReason, MessageId, MessageType, NewCall, NewMessage,
    Notices, Pair, Participant, Profile, Timestamp,
};
use samvad::store::{CallChange, CallEnd, DeleteMessage, MarkRead, NewConversation, Store, Transitioned, Which};

use super::people::{admin, astrologer, user};

/// Something said.
pub struct Said {
    pub id: MessageId,
    /// Key of the conversation.
    pub conversation: String,
    pub from: Participant,
    pub to: Participant,
    pub at: Timestamp,
    pub content: String,
    pub kind: MessageType,
    pub is_deleted: bool,
    pub hidden_by: BTreeSet<Participant>,
    pub is_read: bool,
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    Rings,
    Talks,
    Completed,
    /// Answered, and over within a second.
    AtOnce,
    Missed,
    Declined,
    Busy,
    Cancelled,
    CallerGone,
    BothGone,
}

/// Somebody rang somebody.
pub struct Rang {
    pub id: CallId,
    pub from: Participant,
    pub to: Participant,
    pub call_type: CallType,
    pub at: Timestamp,
    pub went: Went,
    pub over_at: Option<Timestamp>,
    /// As the client said, and by the server's clock.
    pub seconds: u32,
    pub server_seconds: u32,
}

/// A conversation that was opened.
pub struct Opened {
    pub id: ConversationId,
    pub people: [Participant; 2],
    pub at: Timestamp,
    handle: ConversationHandle,
    conversation: Conversation,
}

/// Everything that was done.
pub struct World {
    store: Arc<dyn Store>,
    rng: StdRng,
    /// The clock of those who live here.
    now: Timestamp,
    pub said: Vec<Said>,
    pub rang: Vec<Rang>,
    /// By key.
    pub opened: BTreeMap<String, Opened>,
    /// When each last looked at the missed calls.
    pub looked: HashMap<Participant, Timestamp>,
}

/// Two of one id, an underscore, and nobody who talks to an own kind.
pub fn astrologers() -> Vec<Participant> {
    ["a1", "a_2", "x7", "a4"].map(astrologer).to_vec()
}

/// See [`astrologers`].
pub fn users() -> Vec<Participant> {
    ["u1", "u_2", "x7", "u4", "u5"].map(user).to_vec()
}

/// The name somebody goes by; not everybody has one.
pub fn name_of(person: &Participant) -> Option<String> {
    (!person.id().ends_with('4')).then(|| format!("{} {}", person.kind(), person.id()))
}

fn profile(person: &Participant) -> Profile {
    Profile { name: name_of(person), picture: None }
}

impl World {
    /// A world without people's deeds; it is `ago` before now.
    pub fn new(store: Arc<dyn Store>, seed: u64, ago: Duration) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let (said, rang) = (Vec::new(), Vec::new());
        Self { store, rng, now: Timestamp::now().minus(ago), said, rang, opened: BTreeMap::new(), looked: HashMap::new() }
    }

    /// Nothing happens until this moment.
    pub fn pass_to(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
    }

    /// Lets so many things happen until `until`, the last of them shortly before it.
    pub async fn live(&mut self, deeds: i64, until: Timestamp) {
        for left in (1..=deeds).rev() {
            // Some things happen in the same millisecond.
            if self.rng.random_bool(0.8) {
                let pace = (until.as_millis() - self.now.as_millis()) / (left + 1);
                let next = self.now.as_millis() + self.rng.random_range(0..=2 * pace.max(1));
                self.now = Timestamp::from_millis(next).min(until);
            }
            match self.rng.random_range(0..100) {
                0..48 => self.say().await,
                48..80 => self.ring().await,
                80..86 => self.take_back().await,
                86..91 => self.hide().await,
                91..96 => self.read().await,
                _ => self.look().await,
            }
        }
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from.choose(&mut self.rng).expect("not empty").clone()
    }

    /// Two people, one of whom writes to or calls the other. Not every admin goes by the shared id.
    fn two(&mut self) -> (Participant, Participant) {
        let someone = |this: &mut Self| match this.rng.random_range(0..3) {
            0 => this.pick(&users()),
            1 => this.pick(&astrologers()),
            _ => this.pick(&[admin("admin"), admin("ops7")]),
        };
        loop {
            let (from, to) = (someone(self), someone(self));
            if from.kind() != to.kind() {
                return (from, to);
            }
        }
    }

    async fn open(&mut self, a: &Participant, b: &Participant) -> String {
        let pair = Pair::new(a.clone(), b.clone()).expect("two kinds");
        let key = pair.key().as_str().to_owned();
        if !self.opened.contains_key(&key) {
            let people = pair.both().map(Clone::clone);
            let profiles = pair.both().map(profile);
            let new = NewConversation { pair, profiles, context_type: "general".into(), context_id: None, alias: None, at: self.now };
            let conversation = self.store.open_conversation(new).await.expect("opened").conversation;
            let handle = conversation.handle.clone();
            self.opened.insert(key.clone(), Opened { id: handle.id, people, at: self.now, handle, conversation });
        }
        key
    }

    async fn say(&mut self) {
        let (from, to) = self.two();
        let key = self.open(&from, &to).await;
        let kind = self.pick(&[MessageType::Text, MessageType::Text, MessageType::Text, MessageType::Image, MessageType::CallLog]);
        let content = if kind == MessageType::Image { String::new() } else { format!("said {}", self.rng.random::<u32>()) };
        let media = Media { url: (kind == MessageType::Image).then(|| "https://x/i.png".to_owned()), ..Media::default() };
        let call = (kind == MessageType::CallLog).then(|| CallLog { call_type: Some("voice".into()), ..CallLog::default() });
        let opened = &self.opened[&key];
        let new = NewMessage {
            conversation: opened.handle.clone(),
            sender: from.clone(),
            sender_profile: profile(&from),
            recipient: to.clone(),
            recipient_key: opened.conversation.person_key(&to),
            message_type: kind,
            content: content.clone(),
            media,
            reply_to: None,
            call,
            client_message_id: None,
            at: self.now,
        };
        let message = self.store.send_message(new).await.expect("sent").message;
        let hidden_by = BTreeSet::new();
        let at = message.created_at;
        self.said.push(Said {
            id: message.id,
            conversation: key,
            from,
            to,
            at,
            content,
            kind,
            is_deleted: false,
            hidden_by,
            is_read: false,
        });
    }

    async fn ring(&mut self) {
        let (from, to) = self.two();
        let call_type = self.pick(&[CallType::Voice, CallType::Video]);
        let went = self.pick(&[
            Went::Rings,
            Went::Talks,
            Went::Completed,
            Went::Completed,
            Went::Completed,
            Went::AtOnce,
            Went::Missed,
            Went::Missed,
            Went::Declined,
            Went::Busy,
            Went::Cancelled,
            Went::CallerGone,
            Went::BothGone,
        ]);
        let new = NewCall {
            caller: from.clone(),
            caller_profile: profile(&from),
            callee: to.clone(),
            callee_profile: profile(&to),
            call_type,
            channel: format!("call_{:016x}", self.rng.random::<u64>()),
            conversation_key: Pair::new(from.clone(), to.clone()).expect("two kinds").key(),
            consultation_id: None,
            status: CallStatus::Ringing,
            // Nobody ends it meanwhile.
            ring_for: Duration::from_secs(400 * 24 * 3600),
            at: self.now,
        };
        let call = self.store.create_call(new).await.expect("rings");
        let answered_at = call.initiated_at.plus(Duration::from_secs(3));
        let was_answered = matches!(went, Went::Talks | Went::Completed | Went::AtOnce | Went::BothGone);
        if was_answered {
            self.step(call.id, CallStatus::Answered, None, answered_at).await;
        }
        let server_seconds: u32 = if matches!(went, Went::Completed | Went::BothGone) { self.rng.random_range(1..4_000) } else { 0 };
        let seconds = server_seconds.saturating_sub(1).max(server_seconds.min(1));
        let (status, reason, detail) = match went {
            Went::Rings | Went::Talks => {
                let (at, over_at) = (call.initiated_at, None);
                return self.rang.push(Rang { id: call.id, from, to, call_type, at, went, over_at, seconds, server_seconds });
            }
            Went::Completed | Went::AtOnce => (CallStatus::Ended, EndReason::Completed, "completed"),
            Went::Missed => (CallStatus::Missed, EndReason::NoAnswer, "timeout"),
            Went::Declined => (CallStatus::Rejected, EndReason::Rejected, "declined"),
            Went::Busy => (CallStatus::Rejected, EndReason::Rejected, "busy"),
            Went::Cancelled => (CallStatus::Ended, EndReason::Cancelled, "caller_cancelled"),
            Went::CallerGone => (CallStatus::Ended, EndReason::NetworkError, "caller_gone"),
            Went::BothGone => (CallStatus::Ended, EndReason::NetworkError, "both_gone"),
        };
        let (duration, detail) = (seconds, detail.to_owned());
        let end = CallEnd { reason, detail, by: None, duration, server_duration: server_seconds, notices: Notices::default() };
        let over_at = answered_at.plus(Duration::from_secs(server_seconds.into()));
        self.step(call.id, status, Some(end), over_at).await;
        let (at, over_at) = (call.initiated_at, Some(over_at));
        self.rang.push(Rang { id: call.id, from, to, call_type, at, went, over_at, seconds, server_seconds });
    }

    async fn step(&self, id: CallId, to: CallStatus, end: Option<CallEnd>, at: Timestamp) {
        let change = CallChange { id, from: CallStatus::ALL.to_vec(), to, end, at };
        assert!(matches!(self.store.transition_call(change).await.expect("asked"), Transitioned::Applied(_)));
    }

    fn deletion(&self, said: &Said, by: &Participant) -> DeleteMessage {
        let opened = &self.opened[&said.conversation];
        let key = |person| opened.conversation.person_key(person);
        DeleteMessage { conversation: opened.handle.clone(), message: said.id, by: key(by), recipient_key: key(&said.to), at: self.now }
    }

    async fn take_back(&mut self) {
        let Some(at) = (0..self.said.len()).collect::<Vec<_>>().choose(&mut self.rng).copied() else { return };
        let deletion = self.deletion(&self.said[at], &self.said[at].from);
        self.store.delete_message(deletion).await.expect("deleted");
        self.said[at].is_deleted = true;
    }

    async fn hide(&mut self) {
        let Some(at) = (0..self.said.len()).collect::<Vec<_>>().choose(&mut self.rng).copied() else { return };
        let by = if self.rng.random() { self.said[at].to.identity() } else { self.said[at].from.identity() };
        let deletion = self.deletion(&self.said[at], &by);
        self.store.hide_message(deletion).await.expect("hidden");
        self.said[at].hidden_by.insert(by);
    }

    async fn read(&mut self) {
        let keys: Vec<String> = self.opened.keys().cloned().collect();
        let Some(key) = keys.choose(&mut self.rng) else { return };
        let side = self.rng.random_range(0..2);
        let opened = &self.opened[key];
        let reader = opened.people[side].clone();
        let reader_key = opened.conversation.person_key(&reader);
        let conversation = opened.handle.clone();
        let mark = MarkRead { conversation, reader: reader.clone(), reader_key, which: Which::AllUnread, at: self.now };
        self.store.mark_read(mark).await.expect("marked");
        for said in self.said.iter_mut().filter(|said| said.conversation == *key && said.to.is_same_identity(&reader)) {
            // What counts as unread is marked, nothing else is.
            said.is_read |= !said.is_deleted && !said.hidden_by.contains(&reader) && said.kind != MessageType::CallLog;
        }
    }

    async fn look(&mut self) {
        let person = if self.rng.random() { self.pick(&users()) } else { self.pick(&astrologers()) };
        self.store.note_missed_seen(&person, self.now).await.expect("noted");
        let at = self.now;
        self.looked.entry(person).and_modify(|seen| *seen = (*seen).max(at)).or_insert(at);
    }
}
