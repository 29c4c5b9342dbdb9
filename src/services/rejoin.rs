//! Who comes back soon gets the rooms of the connection that was dropped, and what was said there meanwhile: the shipped apps never
//! join again by themselves. Source: docs/protocol.md#reconnecting.
//!
//! What this process knows itself costs no question. After a restart, or where other servers run, the store is asked for many clients
//! at once: two questions for a batch of them, and one more for each room in which something was said.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use moka::sync::Cache;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::bus::Topic;
use crate::delivery::{Audience, Connection, DroppedRooms, ROOMS_KEPT, ServerEvent, UNHEARD};
use crate::error::Result;
use crate::models::{ConversationKey, KeptRooms, Message, MessageId, Participant, Timestamp, ToldMessage};
use crate::store::{MessageQuery, Range};

use super::messaging::Messaging;
use super::neighbours::Neighbours;
use super::{Core, batches};

/// The most messages of one room that are told again.
const TOLD_AGAIN: usize = 100;
/// How many conversations are remembered as having said something lately.
const REMEMBERED: u64 = 200_000;
/// How much later than it was a message may be remembered.
const NOTED_AHEAD: Duration = Duration::from_secs(1);
/// How long changes of rooms are collected before they are written. A server that is killed forgets those of this long.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Identities of one write.
const WRITTEN_AT_ONCE: usize = 1_000;
/// How often the process says that it is alive, and looks for others.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// How often rooms nobody will ask for are deleted.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Clients that wait for the store; beyond it they get nothing back.
const QUEUE_LEN: usize = 50_000;
/// Clients of one question.
const ASKED_AT_ONCE: usize = 256;
/// How long they are collected: a single one hardly waits, of a crowd many share their questions.
const LINGER: Duration = Duration::from_millis(5);
const LINGER_IN_A_CROWD: Duration = Duration::from_millis(150);
/// So many at once are a crowd.
const CROWD: usize = 4;
/// How far times may be ahead of the clock.
const AHEAD: Duration = Duration::from_secs(3);
/// Rooms whose messages are read at once.
const READ_AT_ONCE: usize = 16;
/// A store that is away is asked so many times again, each time after the pause.
const ATTEMPTS: usize = 60;
const PAUSE: Duration = Duration::from_secs(1);

/// In which conversations something was said lately, so that coming back to silent rooms costs no question.
#[derive(Clone)]
pub(super) struct Recent {
    spoken: Cache<ConversationKey, Timestamp>,
    /// The newest message this process has stored and is telling.
    told: Arc<Mutex<Option<MessageId>>>,
}

impl Recent {
    pub fn new() -> Self {
        // Longer than rooms are kept, by more than a client may have been deaf before.
        let spoken = Cache::builder().max_capacity(REMEMBERED).time_to_live(ROOMS_KEPT + Duration::from_secs(120)).build();
        Self { spoken, told: Arc::default() }
    }

    /// A message stored by this process is about to be told.
    pub fn note_told(&self, message: MessageId) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = (*told).max(Some(message));
    }

    fn told(&self) -> Option<MessageId> {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was said.
    pub fn note(&self, message: &Message) {
        self.note_at(&message.conversation_key, message.created_at);
    }

    /// Something was said, or may have been. A second more is noted, so that a busy conversation is written down once in a second.
    pub fn note_at(&self, conversation: &ConversationKey, at: Timestamp) {
        if self.spoken.get(conversation).is_none_or(|until| until < at) {
            self.spoken.insert(conversation.clone(), at.plus(NOTED_AHEAD));
        }
    }

    /// False only if certainly nothing was said here since then.
    fn may_have_spoken(&self, conversation: &ConversationKey, since: Timestamp) -> bool {
        let forgets = self.spoken.entry_count() >= REMEMBERED;
        self.spoken.get(conversation).map_or(forgets, |last| last >= since)
    }
}

/// What is known beyond this process. Cheap to clone.
#[derive(Clone)]
pub(super) struct Rejoin {
    since: Timestamp,
    /// Others were alive lately: what this process has not heard of may have happened all the same.
    others: Arc<AtomicBool>,
    returning: mpsc::Sender<Returning>,
}

/// When a client came.
#[derive(Clone, Copy)]
struct Came {
    at: Timestamp,
    /// The newest message told before. What this process stores later, the client hears as it is said.
    told: Option<MessageId>,
}

/// What a client may not have heard.
#[derive(Clone, Copy)]
struct Unheard {
    since: Timestamp,
    /// None for somebody who hears nothing before he sits in the room.
    came: Option<Came>,
}

impl Unheard {
    /// `process` is in the ids of what this process stores.
    fn covers(self, id: MessageId, created_at: Timestamp, process: Option<[u8; 5]>) -> bool {
        let is_ours = process == Some(id.process());
        let before_it_came = match self.came {
            None => true,
            Some(came) if is_ours => Some(id) <= came.told,
            // The times of other processes may be a little ahead of this clock.
            Some(came) => created_at <= came.at.plus(AHEAD),
        };
        created_at >= self.since && before_it_came
    }
}

/// A client that waits for what the store knows.
pub(super) struct Returning {
    connection: Arc<Connection>,
    came: Came,
    /// Its rooms, where this process has dropped it.
    dropped: Option<DroppedRooms>,
}

impl Rejoin {
    /// The queue's other end goes to [`start`].
    pub fn new(core: &Arc<Core>) -> (Self, mpsc::Receiver<Returning>) {
        let (returning, queue) = mpsc::channel(QUEUE_LEN);
        // Until the store has said otherwise.
        let others = Arc::new(AtomicBool::new(true));
        (Self { since: core.now(), others, returning }, queue)
    }

    fn asks(&self) -> bool {
        self.others.load(Ordering::Relaxed)
    }

    /// Whether this process has heard of everything that was said since then.
    fn has_heard_all_since(&self, since: Timestamp) -> bool {
        since >= self.since && !self.asks()
    }
}

/// Starts what remembers rooms, and what gives them back.
pub(super) fn start(messaging: &Messaging, mut queue: mpsc::Receiver<Returning>) {
    let (core, rejoin) = (messaging.core.clone(), messaging.rejoin.clone());
    messaging.core.tasks.spawn(async move { remember(&core, &rejoin).await });
    let messaging = messaging.clone();
    messaging.core.tasks.clone().spawn(async move {
        let stop = messaging.core.stop.clone();
        let mut linger = LINGER;
        loop {
            let batch = batches::next(&messaging.core, &mut queue, ASKED_AT_ONCE, linger).await;
            linger = if batch.len() >= CROWD { LINGER_IN_A_CROWD } else { LINGER };
            if batch.is_empty() || stop.run_until_cancelled(messaging.give_back_many(batch)).await.is_none() {
                return;
            }
        }
    });
}

/// Writes which rooms changed, a moment later and many at once, until the server stops; then whatever is left.
async fn remember(core: &Core, rejoin: &Rejoin) {
    let (mut alive_at, mut forget_at) = (Instant::now(), Instant::now() + FORGET_EVERY);
    let mut neighbours = Neighbours::new(core);
    let mut stopping = false;
    while !stopping {
        stopping = core.stop.run_until_cancelled(sleep(WRITE_EVERY)).await.is_none();
        if Instant::now() >= alive_at {
            alive_at = Instant::now() + ALIVE_EVERY;
            match core.store.other_processes(core.process).await {
                Ok(others) => {
                    let lately = core.now().minus(ROOMS_KEPT + ALIVE_EVERY);
                    rejoin.others.store(others.iter().any(|(_, alive_at)| *alive_at >= lately), Ordering::Relaxed);
                    let missed = neighbours.look_at(core, &others);
                    if let (Some(since), Some(bus)) = (missed, &core.bus) {
                        bus.report_missed(since).await;
                    }
                }
                Err(e) => debug!("whether other servers run is not known: {e}"),
            }
            // A file belongs to one process, and need not be written to for nobody's sake.
            if !stopping && (core.delivery.connections() > 0 || core.store.engine() == "mongodb") {
                write(core, Vec::new()).await;
            }
        }
        loop {
            let moved = core.delivery.take_moved(WRITTEN_AT_ONCE);
            let count = moved.len();
            if count == 0 || !write(core, moved).await || count < WRITTEN_AT_ONCE {
                break;
            }
        }
        if Instant::now() >= forget_at && !stopping {
            forget_at = Instant::now() + FORGET_EVERY;
            if let Err(e) = core.store.forget_rooms(core.now().minus(2 * ROOMS_KEPT)).await {
                debug!("old rooms are deleted later: {e}");
            }
        }
    }
}

/// False if the store did not take them; they are written again then.
async fn write(core: &Core, rooms: Vec<KeptRooms>) -> bool {
    let people: Vec<Participant> = rooms.iter().map(|kept| kept.person.clone()).collect();
    match core.store.remember_rooms(core.process, core.now(), rooms).await {
        Ok(()) => true,
        Err(e) => {
            debug!(identities = people.len(), "rooms are remembered later: {e}");
            core.delivery.put_back_moved(people);
            false
        }
    }
}

impl Messaging {
    /// Gives a new connection the rooms its identity lost with the last one, and tells it what it missed there.
    pub(super) fn give_back_rooms(&self, connection: &Arc<Connection>) {
        let came = Came { at: self.core.now(), told: self.recent.told() };
        let dropped = self.core.delivery.dropped_rooms(connection.identity());
        if dropped.as_ref().map_or(!self.rejoin.asks(), |dropped| self.rejoin.has_heard_all_since(dropped.unheard_since)) {
            if let Some(DroppedRooms { rooms, unopened, unheard_since }) = dropped {
                debug!(connection.id = %connection.id(), rooms = rooms.len(), "a client gets its rooms back");
                let unheard = Unheard { since: unheard_since, came: Some(came) };
                for (key, spelling) in rooms {
                    if self.recent.may_have_spoken(&key, unheard_since) {
                        let (this, connection) = (self.clone(), Arc::clone(connection));
                        self.core.tasks.spawn(async move { this.give_back(&connection, &key, &spelling, unheard).await });
                    } else {
                        self.sit_again(connection, &key, &spelling, &unopened);
                    }
                }
            }
            return;
        }
        if self.rejoin.returning.try_send(Returning { connection: Arc::clone(connection), came, dropped }).is_err() {
            debug!(connection.id = %connection.id(), "too many come back at once; this one has to join by itself");
        }
    }

    /// The same for many, with what the store knows.
    async fn give_back_many(&self, batch: Vec<Returning>) {
        let mut unknown: Vec<Participant> = batch.iter().filter(|r| r.dropped.is_none()).map(|r| r.connection.identity().clone()).collect();
        unknown.sort_unstable_by_key(ToString::to_string);
        unknown.dedup();
        if !unknown.is_empty() {
            let now = self.core.now();
            let find = || self.core.store.remembered_rooms(self.core.process, &unknown, now.minus(ROOMS_KEPT));
            let Some(found) = self.insist("rooms", find).await else { return };
            for KeptRooms { person, rooms, seen_at, unheard_since } in found {
                let seen_at = seen_at.unwrap_or(now);
                // What nobody had opened is like any other room: what is said there decides.
                let unopened = VecDeque::new();
                let rooms = DroppedRooms { rooms, unopened, unheard_since: unheard_since.unwrap_or_else(|| seen_at.minus(UNHEARD)) };
                // The other devices of this person come too.
                self.core.delivery.recall_rooms(&person, rooms, now.since(seen_at));
            }
        }
        let returning: Vec<(Arc<Connection>, Came, DroppedRooms)> = batch
            .into_iter()
            .filter_map(|Returning { connection, came, dropped }| {
                let rooms = dropped.or_else(|| self.core.delivery.dropped_rooms(connection.identity()))?;
                self.core.delivery.is_there(connection.id()).then_some((connection, came, rooms))
            })
            .collect();
        let keys: HashSet<&ConversationKey> = returning.iter().flat_map(|(.., dropped)| dropped.rooms.iter().map(|(key, _)| key)).collect();
        let Some(since) = returning.iter().map(|(.., dropped)| dropped.unheard_since).min() else { return };
        let keys: Vec<ConversationKey> = keys.into_iter().cloned().collect();
        let Some(spoken) = self.insist("what was said", || self.core.store.spoken_since(&keys, since)).await else { return };
        let mut last: HashMap<ConversationKey, Timestamp> = HashMap::with_capacity(spoken.len());
        for conversation in &spoken {
            self.conversations.note(conversation);
            last.insert(conversation.key().clone(), conversation.last_message_at);
        }
        let mut rooms = Vec::new();
        for (connection, came, DroppedRooms { rooms: its, unopened, unheard_since }) in returning {
            debug!(connection.id = %connection.id(), rooms = its.len(), "a client gets its rooms back");
            for (key, spelling) in its {
                let has_spoken = last.get(&key).is_some_and(|at| *at >= unheard_since);
                // Also what was said here while the store was asked.
                if has_spoken || self.recent.may_have_spoken(&key, unheard_since) {
                    rooms.push((Arc::clone(&connection), key, spelling, Unheard { since: unheard_since, came: Some(came) }));
                } else {
                    self.sit_again(&connection, &key, &spelling, &unopened);
                }
            }
        }
        let told = rooms.into_iter().map(|(connection, key, spelling, unheard)| async move {
            self.give_back(&connection, &key, &spelling, unheard).await;
        });
        stream::iter(told).buffer_unordered(READ_AT_ONCE).collect::<Vec<()>>().await;
    }

    /// Asks until the store answers, for a minute.
    async fn insist<T, F: Future<Output = Result<T>>>(&self, what: &'static str, ask: impl Fn() -> F) -> Option<T> {
        for _ in 0..ATTEMPTS {
            match ask().await {
                Ok(answer) => return Some(answer),
                Err(e) if e.is_retryable() => debug!("asking again for {what}: {e}"),
                Err(e) => {
                    warn!("clients that came back have to join by themselves, for {what} cannot be read: {e}");
                    return None;
                }
            }
            sleep(PAUSE).await;
        }
        warn!("clients that came back have to join by themselves: the store was away");
        None
    }

    async fn give_back(&self, connection: &Arc<Connection>, key: &ConversationKey, spelling: &Arc<str>, unheard: Unheard) {
        if let Err(e) = self.tell_again(connection, key, spelling, unheard).await {
            // It still hears what is said from now on, and may ask for the rest itself.
            warn!(connection.id = %connection.id(), "what was missed is not told again: {e}");
            self.sit(connection, key, spelling);
        }
    }

    /// Where nothing was said.
    fn sit_again(&self, connection: &Arc<Connection>, key: &ConversationKey, spelling: &str, unopened: &VecDeque<ConversationKey>) {
        if unopened.contains(key) {
            // It may have been opened since, by whoever then wrote elsewhere; the next message says so.
            let _ = self.core.delivery.join_unopened(connection, key, spelling);
        } else {
            self.sit(connection, key, spelling);
        }
    }

    fn sit(&self, connection: &Arc<Connection>, key: &ConversationKey, spelling: &str) {
        // Whoever has joined by himself meanwhile keeps his own spelling.
        if self.core.delivery.spelling_of(connection, key).is_none() && !self.core.delivery.join(connection, key, spelling) {
            debug!(connection.id = %connection.id(), "there are too many rooms to get them all back");
        }
    }

    /// In the order of the conversation: what was said before is told before, and what is said next is heard after it.
    async fn tell_again(&self, connection: &Arc<Connection>, key: &ConversationKey, spelling: &Arc<str>, unheard: Unheard) -> Result<()> {
        let Some(known) = self.conversations.find_known(connection.identity(), key).await? else {
            self.sit(connection, key, spelling);
            return Ok(());
        };
        // What other nodes say after the page was read must be heard here.
        let _held = match &self.core.bus {
            Some(bus) => Some(bus.hold(Topic::Conversation(key.clone())).await),
            None => None,
        };
        // An admin who only looks on hears nothing before he sits in the room.
        let looks_on = !known.is_participant(connection.identity());
        let unheard = if looks_on { Unheard { came: None, ..unheard } } else { unheard };
        let query = MessageQuery {
            conversation: known.handle.clone(),
            viewer: known.person_key(connection.identity()),
            range: Range::Latest { skip: 0 },
            limit: TOLD_AGAIN,
        };
        let (store, this) = (Arc::clone(&self.core.store), self.clone());
        let (connection, key, spelling) = (Arc::clone(connection), key.clone(), Arc::clone(spelling));
        let told = self.lanes.enqueue(
            &known.handle.key.clone(),
            move || Box::pin(async move { store.messages(query).await }),
            move |page| {
                let audience = Audience::connection(connection.id()).about(&key).called(Some(&spelling));
                let process = this.core.store.id_process();
                let missed = page.items.into_iter().filter(|m| unheard.covers(m.id, m.created_at, process) && !is_shown(&connection, m));
                for mut message in missed {
                    this.attachments.show(&mut message);
                    let message = Arc::new(ToldMessage::new(message));
                    let for_it = message.recipient.is_same_identity(connection.identity());
                    let reached = this.core.delivery.emit(&audience, &ServerEvent::MessageReceived(Arc::clone(&message)));
                    if for_it && reached.count() > 0 {
                        this.receipts.delivered_message(&known.handle, &message);
                    }
                }
                this.sit(&connection, &key, &spelling);
            },
        )?;
        told.await
    }
}

/// Whether the client shows this message already.
fn is_shown(connection: &Connection, message: &Message) -> bool {
    connection.shows_own_messages() && message.sender.is_same_identity(connection.identity())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_its_own_messages_a_process_tells_again_what_it_had_told_before_a_client_came() {
        let id = |process: u8, number: u8| MessageId::from_bytes([1, 2, 3, 4, process, 0, 0, 0, 0, 0, 0, number]);
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        let ours = Some([7, 0, 0, 0, 0]);
        let unheard = |told| Unheard { since: at(100), came: Some(Came { at: at(110), told }) };
        assert!(unheard(Some(id(7, 2))).covers(id(7, 2), at(105), ours) && !unheard(Some(id(7, 2))).covers(id(7, 3), at(105), ours));
        // The first it ever stored are heard live by who came before them.
        assert!(!unheard(None).covers(id(7, 1), at(111), ours));
        assert!(unheard(None).covers(id(6, 9), at(105), ours) && !unheard(None).covers(id(6, 9), at(99), ours));
        assert!(unheard(None).covers(id(6, 9), at(112), ours) && !unheard(None).covers(id(6, 9), at(114), ours));
        assert!(Unheard { since: at(100), came: None }.covers(id(7, 3), at(200), ours));
    }
}
