//! Which connections there are and which rooms they sit in.
//!
//! Our own table and not the socket library's rooms, because delivery must know which sockets were reached, name the
//! conversation per socket as that socket did, and treat a full buffer as a reason to close exactly that connection.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

// Tokio's clock, so that tests can turn it.
use tokio::time::Instant;

use crate::bus::{Bus, Topic};
use crate::models::{ConversationKey, KeptRooms, Participant, Timestamp};

use super::audience::Audience;
use super::connection::{ByConnection, Connection, ConnectionId};

/// The most unknown conversations one connection may wait for.
pub const MAX_WAITING: usize = 50;

/// The most rooms one connection may sit in.
pub const MAX_ROOMS: usize = 5_000;

/// The most rooms of conversations nobody has opened yet that one connection may sit in; admins' dashboards join one for everybody.
pub const MAX_UNOPENED: usize = 50;

/// How long the rooms of a dropped connection are kept for the next one of its identity.
pub const ROOMS_KEPT: Duration = Duration::from_secs(120);

/// Of each identity at most so many rooms are remembered beyond this process.
const MOST_REMEMBERED: usize = 100;

/// Dropped rooms are swept out when their number has doubled since the last time, but not before this many.
const SWEEP_FROM: usize = 1024;

/// The rooms of a connection that was dropped.
#[derive(Clone)]
pub struct DroppedRooms {
    /// Each with the text the connection knew it by.
    pub rooms: Vec<(ConversationKey, Arc<str>)>,
    /// Those among them that nobody had opened.
    pub unopened: VecDeque<ConversationKey>,
    /// From when on it may have heard nothing.
    pub unheard_since: Timestamp,
}

/// A connection to hand an event to, with the text it knows the conversation by.
pub(super) struct Target {
    pub connection: Arc<Connection>,
    pub spelling: Option<Arc<str>>,
}

#[derive(Default)]
pub(super) struct Registry {
    // std RwLock: never held across an await; joins are rare beside emissions.
    tables: RwLock<Tables>,
}

#[derive(Default)]
struct Tables {
    connections: ByConnection<Seat>,
    // In order of age, for ids grow.
    people: HashMap<Participant, BTreeSet<ConnectionId>>,
    rooms: HashMap<ConversationKey, ByConnection<Arc<str>>>,
    waiting: HashMap<Arc<str>, HashSet<ConnectionId>>,
    dropped: HashMap<Participant, (Instant, DroppedRooms)>,
    sweep_at: usize,
    /// Whose rooms are others than when they were last asked for.
    moved: HashSet<Participant>,
    /// Told which people and rooms are here, so that this node hears of them from the others.
    bus: Option<Bus>,
}

/// A connection and where it sits.
struct Seat {
    connection: Arc<Connection>,
    rooms: HashSet<ConversationKey>,
    /// Those of its rooms whose conversations were not open when it joined, oldest first.
    unopened: VecDeque<ConversationKey>,
    waiting: VecDeque<Arc<str>>,
}

impl Registry {
    /// An empty one that keeps the bus, if there is one, informed.
    pub fn new(bus: Option<Bus>) -> Self {
        Self { tables: RwLock::new(Tables { bus, ..Tables::default() }) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection. Returns the oldest ones of its identity beyond `most`; they are still there.
    pub fn add(&self, connection: &Arc<Connection>, most: usize) -> Vec<Arc<Connection>> {
        let mut guard = self.write();
        let tables = &mut *guard;
        let seat = Seat { connection: Arc::clone(connection), rooms: HashSet::new(), unopened: VecDeque::new(), waiting: VecDeque::new() };
        tables.connections.insert(connection.id(), seat);
        let ids = tables.people.entry(connection.identity().clone()).or_default();
        if ids.is_empty()
            && let Some(bus) = &tables.bus
        {
            bus.follow(Topic::Person(connection.identity().clone()));
        }
        ids.insert(connection.id());
        let beyond = ids.len().saturating_sub(most);
        ids.iter().take(beyond).filter_map(|id| Some(Arc::clone(&tables.connections.get(id)?.connection))).collect()
    }

    /// Removes a connection. If it was dropped, and may have heard nothing for `unheard`, its rooms are kept for the next one.
    pub fn remove(&self, connection: &Connection, unheard: Option<Duration>) {
        let mut tables = self.write();
        let Some(seat) = tables.connections.remove(&connection.id()) else { return };
        if !seat.rooms.is_empty() {
            tables.moved.insert(connection.identity().clone());
        }
        let mut rooms = Vec::new();
        for key in seat.rooms {
            let spelling = tables.rooms.get(&key).and_then(|room| room.get(&connection.id())).cloned();
            tables.rise(&key, connection.id());
            rooms.extend(spelling.map(|spelling| (key, spelling)));
        }
        if let Some(unheard) = unheard.filter(|_| !rooms.is_empty()) {
            tables.keep_rooms(connection.identity(), rooms, seat.unopened, unheard);
        }
        for spelling in seat.waiting {
            drop_from(&mut tables.waiting, &spelling, |room| room.remove(&connection.id()), HashSet::is_empty);
        }
        let was_last = drop_from(&mut tables.people, connection.identity(), |ids| ids.remove(&connection.id()), BTreeSet::is_empty);
        if let Some(bus) = tables.bus.as_ref().filter(|_| was_last) {
            bus.unfollow(&Topic::Person(connection.identity().clone()));
        }
    }

    pub fn join(&self, connection: &Connection, conversation: &ConversationKey, spelling: &str) -> bool {
        let mut tables = self.write();
        tables.stop_waiting(connection.id(), spelling);
        if let Some(seat) = tables.connections.get_mut(&connection.id()) {
            seat.unopened.retain(|key| key != conversation);
        }
        tables.sit(connection.id(), conversation, spelling.into())
    }

    /// Joins a room whose conversation is not open; the connection leaves the oldest of more than [`MAX_UNOPENED`].
    pub fn join_unopened(&self, connection: &Connection, conversation: &ConversationKey, spelling: &str) -> bool {
        let mut tables = self.write();
        tables.stop_waiting(connection.id(), spelling);
        if !tables.sit(connection.id(), conversation, spelling.into()) {
            return false;
        }
        let Some(seat) = tables.connections.get_mut(&connection.id()) else { return true };
        seat.unopened.retain(|key| key != conversation);
        seat.unopened.push_back(conversation.clone());
        if seat.unopened.len() > MAX_UNOPENED
            && let Some(oldest) = seat.unopened.pop_front()
        {
            seat.rooms.remove(&oldest);
            drop_from(&mut tables.rooms, &oldest, |room| room.remove(&connection.id()).is_some(), HashMap::is_empty);
        }
        true
    }

    /// Lets everybody stay in the room of a conversation that is open now.
    pub fn opened(&self, conversation: &ConversationKey) {
        if !self.read().rooms.contains_key(conversation) {
            return;
        }
        let mut guard = self.write();
        let Tables { rooms, connections, .. } = &mut *guard;
        for id in rooms.get(conversation).into_iter().flat_map(HashMap::keys) {
            if let Some(seat) = connections.get_mut(id) {
                seat.unopened.retain(|key| key != conversation);
            }
        }
    }

    pub fn wait(&self, connection: &Connection, spelling: &str) {
        let mut tables = self.write();
        tables.stop_waiting(connection.id(), spelling);
        let spelling: Arc<str> = spelling.into();
        let Some(seat) = tables.connections.get_mut(&connection.id()) else { return };
        seat.waiting.push_back(Arc::clone(&spelling));
        let oldest = if seat.waiting.len() > MAX_WAITING { seat.waiting.front().cloned() } else { None };
        tables.waiting.entry(spelling).or_default().insert(connection.id());
        if let Some(oldest) = oldest {
            tables.stop_waiting(connection.id(), &oldest);
        }
    }

    pub fn leave(&self, connection: &Connection, spelling: &str) -> Option<ConversationKey> {
        let mut tables = self.write();
        tables.stop_waiting(connection.id(), spelling);
        let seat = tables.connections.get(&connection.id())?;
        let sits_as = |key: &&ConversationKey| {
            key.as_str() == spelling || tables.rooms.get(*key).and_then(|r| r.get(&connection.id())).is_some_and(|s| s.as_ref() == spelling)
        };
        let key = seat.rooms.iter().find(sits_as)?.clone();
        if let Some(seat) = tables.connections.get_mut(&connection.id()) {
            seat.rooms.remove(&key);
            seat.unopened.retain(|unopened| *unopened != key);
        }
        tables.moved.insert(connection.identity().clone());
        tables.rise(&key, connection.id());
        Some(key)
    }

    pub fn admit_waiting(&self, spelling: &str, conversation: &ConversationKey, participants: &[Participant]) {
        // Nearly every send comes by here and nearly nobody waits, so look before taking the write lock.
        if !self.read().waiting.contains_key(spelling) {
            return;
        }
        let mut tables = self.write();
        let waiting: Vec<ConnectionId> = tables.waiting.get(spelling).into_iter().flatten().copied().collect();
        for id in waiting {
            let takes_part =
                tables.connections.get(&id).is_some_and(|seat| participants.iter().any(|p| p.is_same_identity(seat.connection.identity())));
            if takes_part {
                tables.stop_waiting(id, spelling);
                tables.sit(id, conversation, spelling.into());
            }
        }
    }

    pub fn spelling_of(&self, connection: &Connection, conversation: &ConversationKey) -> Option<Arc<str>> {
        self.read().rooms.get(conversation)?.get(&connection.id()).cloned()
    }

    /// The rooms of the connection of this identity that was dropped last, if that was not too long ago.
    pub fn dropped_rooms(&self, person: &Participant) -> Option<DroppedRooms> {
        let tables = self.read();
        let (at, rooms) = tables.dropped.get(&person.identity())?;
        (at.elapsed() < ROOMS_KEPT).then(|| rooms.clone())
    }

    /// Keeps rooms another process had, as if they had been dropped here, so long ago.
    pub fn recall(&self, person: &Participant, rooms: DroppedRooms, ago: Duration) {
        let at = Instant::now().checked_sub(ago).unwrap_or_else(Instant::now);
        self.write().dropped.entry(person.identity()).or_insert((at, rooms));
    }

    /// Takes at most `most` identities whose rooms have changed, each with those it has now.
    pub fn take_moved(&self, most: usize) -> Vec<KeptRooms> {
        let mut tables = self.write();
        let moved: Vec<Participant> = tables.moved.iter().take(most).cloned().collect();
        for person in &moved {
            tables.moved.remove(person);
        }
        moved.into_iter().map(|person| tables.rooms_of(person)).collect()
    }

    /// These are to be taken again.
    pub fn put_back_moved(&self, people: impl IntoIterator<Item = Participant>) {
        self.write().moved.extend(people);
    }

    pub fn has_person(&self, person: &Participant) -> bool {
        self.read().people.contains_key(&person.identity())
    }

    pub fn has(&self, id: ConnectionId) -> bool {
        self.read().connections.contains_key(&id)
    }

    pub fn len(&self) -> usize {
        self.read().connections.len()
    }

    pub fn all(&self) -> Vec<Arc<Connection>> {
        self.read().connections.values().map(|seat| Arc::clone(&seat.connection)).collect()
    }

    /// The connections of each audience, each once, all looked up at the same instant.
    pub fn resolve<const N: usize>(&self, audiences: [&Audience<'_>; N]) -> [Vec<Target>; N] {
        let tables = self.read();
        audiences.map(|audience| tables.resolve(audience))
    }
}

impl Tables {
    /// Where an identity sits with all its connections, or sat before it was dropped.
    fn rooms_of(&self, person: Participant) -> KeptRooms {
        let mut rooms: Vec<(ConversationKey, Arc<str>)> = Vec::new();
        // The youngest first: that is the one somebody looks at.
        for id in self.people.get(&person).into_iter().flatten().rev() {
            let Some(seat) = self.connections.get(id) else { continue };
            for key in seat
                .rooms
                .iter()
                .filter(|key| !rooms.iter().any(|(known, _)| known == *key))
                .take(MOST_REMEMBERED - rooms.len())
                .collect::<Vec<_>>()
            {
                let spelling = self.rooms.get(key).and_then(|room| room.get(id)).cloned();
                rooms.extend(spelling.map(|spelling| (key.clone(), spelling)));
            }
        }
        if !rooms.is_empty() {
            return KeptRooms { person, rooms, seen_at: None, unheard_since: None };
        }
        match self.dropped.get(&person).filter(|(at, _)| at.elapsed() < ROOMS_KEPT) {
            Some((at, dropped)) => {
                let rooms = dropped.rooms.iter().take(MOST_REMEMBERED).cloned().collect();
                let seen_at = Timestamp::now().minus(at.elapsed());
                KeptRooms { person, rooms, seen_at: Some(seen_at), unheard_since: Some(dropped.unheard_since) }
            }
            None => KeptRooms { person, rooms, seen_at: None, unheard_since: None },
        }
    }

    fn keep_rooms(
        &mut self,
        person: &Participant,
        rooms: Vec<(ConversationKey, Arc<str>)>,
        unopened: VecDeque<ConversationKey>,
        unheard: Duration,
    ) {
        let unheard_since = Timestamp::now().minus(unheard);
        self.dropped.insert(person.clone(), (Instant::now(), DroppedRooms { rooms, unopened, unheard_since }));
        if self.dropped.len() > self.sweep_at.max(SWEEP_FROM) {
            self.dropped.retain(|_, (at, _)| at.elapsed() < ROOMS_KEPT);
            self.sweep_at = self.dropped.len() * 2;
        }
    }

    fn resolve(&self, audience: &Audience<'_>) -> Vec<Target> {
        let tables = self;
        let room = audience.conversation.and_then(|key| tables.rooms.get(key));
        let left_out = audience.not_in.and_then(|key| tables.rooms.get(key));
        let about = audience.about.and_then(|key| tables.rooms.get(key));
        let canonical: Option<Arc<str>> = audience.about.map(|key| audience.called.unwrap_or(key.as_str()).into());

        // Each connection is one identity's, so none comes twice but by a part that names it again.
        let in_room = room.into_iter().flat_map(HashMap::keys);
        let people = &audience.identities;
        let named_before = |index: usize| people[..index].iter().any(|other| other.is_same_identity(&people[index]));
        let in_person = (0..people.len())
            .filter(|index| !named_before(*index))
            .filter_map(|index| tables.people.get(&people[index].identity()))
            .flatten()
            .filter(|id| !room.is_some_and(|room| room.contains_key(id)));
        let is_alone = |id: &&ConnectionId| {
            let in_person = || people.iter().filter_map(|p| tables.people.get(&p.identity())).any(|ids| ids.contains(id));
            !room.is_some_and(|room| room.contains_key(id)) && !in_person()
        };
        audience
            .connection
            .iter()
            .filter(is_alone)
            .chain(in_room)
            .chain(in_person)
            .filter(|id| Some(**id) != audience.not_connection)
            .filter(|id| !left_out.is_some_and(|room| room.contains_key(id)))
            .filter_map(|id| {
                let connection = Arc::clone(&tables.connections.get(id)?.connection);
                let hidden = audience.not_identity.as_ref().is_some_and(|p| p.is_same_identity(connection.identity()))
                    || audience.not_page_of.is_some_and(|other| connection.may_share_page_with_one_from(other));
                let spelling = about.and_then(|room| room.get(id)).cloned().or_else(|| canonical.clone());
                (!hidden).then_some(Target { connection, spelling })
            })
            .collect()
    }

    /// False if the connection sits in too many rooms already.
    fn sit(&mut self, id: ConnectionId, conversation: &ConversationKey, spelling: Arc<str>) -> bool {
        // A connection that is already gone must not be put back into a room by a slow join.
        let Some(seat) = self.connections.get_mut(&id) else { return true };
        if seat.rooms.len() >= MAX_ROOMS && !seat.rooms.contains(conversation) {
            return false;
        }
        seat.rooms.insert(conversation.clone());
        let identity = seat.connection.identity();
        let room = self.rooms.entry(conversation.clone()).or_default();
        if room.is_empty()
            && let Some(bus) = &self.bus
        {
            bus.follow(Topic::Conversation(conversation.clone()));
        }
        let before = room.insert(id, Arc::clone(&spelling));
        // Apps join again whenever a chat is opened; only what is new is worth a write.
        if before != Some(spelling) && !self.moved.contains(identity) {
            self.moved.insert(identity.clone());
        }
        true
    }

    /// Takes a connection out of a room.
    fn rise(&mut self, conversation: &ConversationKey, id: ConnectionId) {
        let was_last = drop_from(&mut self.rooms, conversation, |room| room.remove(&id).is_some(), HashMap::is_empty);
        if let Some(bus) = self.bus.as_ref().filter(|_| was_last) {
            bus.unfollow(&Topic::Conversation(conversation.clone()));
        }
    }

    fn stop_waiting(&mut self, id: ConnectionId, spelling: &str) {
        if let Some(seat) = self.connections.get_mut(&id) {
            seat.waiting.retain(|s| s.as_ref() != spelling);
        }
        drop_from(&mut self.waiting, spelling, |room| room.remove(&id), HashSet::is_empty);
    }
}

/// Changes one room and forgets it when nobody is left, so that rooms cannot pile up. True if that was so.
fn drop_from<K, Q, V>(rooms: &mut HashMap<K, V>, key: &Q, change: impl FnOnce(&mut V) -> bool, is_empty: impl FnOnce(&V) -> bool) -> bool
where
    K: std::borrow::Borrow<Q> + std::hash::Hash + Eq,
    Q: std::hash::Hash + Eq + ?Sized,
{
    let Some(room) = rooms.get_mut(key) else { return false };
    let was_last = change(room) && is_empty(room);
    if was_last {
        rooms.remove(key);
    }
    was_last
}
