//! The only place that emits. It knows every connection, which rooms it sits in, and turns one event into one packet per socket.
//!
//! An emission is a hint, never the delivery itself: what matters is in the store, and a client that cannot keep up is
//! disconnected so that it comes back and catches up.

mod audience;
mod call_event;
mod connection;
mod event;
mod registry;
mod relay;

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tracing::{error, info, warn};

pub use audience::Audience;
pub use call_event::{CallBase, CallConnected, CallEnded, CallMissed, CallOffer, CallRejected};
pub use connection::{Connection, ConnectionId, Cut, Origin, Outlet, Transport, Undelivered};
pub use event::{
    AstrologerStatus, Connected, Failure, Joined, MessageDeleted, MessagesDelivered, MessagesRead, Resync, Said, ServerEvent, Stats,
    Typing, everything_said,
};
pub use registry::{DroppedRooms, MAX_ROOMS, MAX_UNOPENED, MAX_WAITING, ROOMS_KEPT};
pub use relay::Mark;

use crate::bus::{Bus, Kind};
use crate::metrics::Metrics;
use crate::models::{ConversationKey, KeptRooms, Participant, ParticipantKind};
use registry::{Registry, Target};
use relay::{Relay, Relayed};

/// Emits events to connections. One for the whole process.
#[derive(Default)]
pub struct Delivery {
    registry: Registry,
    limits: SocketLimits,
    bus: Option<Bus>,
    metrics: Arc<Metrics>,
}

/// How many sockets one identity may have at once.
#[derive(Clone, Copy, Debug)]
pub struct SocketLimits {
    each: usize,
    admins: usize,
}

impl SocketLimits {
    /// So many each (`MAX_SOCKETS_PER_IDENTITY`), and at least a thousand for the admins, who are one identity together.
    pub fn new(each: usize) -> Self {
        Self { each, admins: each.max(1_000) }
    }

    fn of(self, person: &Participant) -> usize {
        if person.kind() == ParticipantKind::Admin { self.admins } else { self.each }
    }
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self::new(50)
    }
}

/// How long a client may have been deaf before anybody noticed: a missed heartbeat, or a buffer that filled up.
pub const UNHEARD: Duration = Duration::from_secs(60);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The client said goodbye: it wants nothing back.
    OnPurpose,
    /// The line broke; until then the client heard everything.
    Dropped,
    /// Nothing was heard of the client for a while.
    Silent,
}

/// Who was handed an event.
#[derive(Default)]
pub struct Reached(Vec<Arc<Connection>>);

impl Reached {
    /// Whether a connection of this identity was among them.
    pub fn includes(&self, person: &Participant) -> bool {
        self.0.iter().any(|c| c.identity().is_same_identity(person))
    }

    /// How many connections.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Delivery {
    /// With these limits, and the way to the other nodes if there are any.
    pub fn new(limits: SocketLimits, bus: Option<Bus>) -> Self {
        Self { registry: Registry::new(bus.clone()), limits, bus, metrics: Arc::default() }
    }

    /// The same, counting there.
    #[must_use]
    pub fn counting(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// Emits one event to everybody of the audience: each socket gets each of the event's names once, with the conversation
    /// named as that socket named it.
    ///
    /// A connection whose buffer is full is closed. An audience that names nobody reaches nobody (and is logged as our mistake).
    /// Those connected to other nodes hear it too; who is reached there is not known here.
    pub fn emit(&self, audience: &Audience<'_>, event: &ServerEvent) -> Reached {
        self.emit_marked(audience, event, || None)
    }

    /// The same; a node that reaches the marked person gives the mark to [`Delivery::emit_relayed`]'s caller there.
    pub fn emit_marked(&self, audience: &Audience<'_>, event: &ServerEvent, mark: impl FnOnce() -> Option<Mark>) -> Reached {
        if audience.is_empty() {
            error!(event = event.names()[0], "an event was emitted to an empty audience");
            return Reached::default();
        }
        let [targets] = self.registry.resolve([audience]);
        let reached = self.hand_out(targets, event.names(), |spelling| event.render(spelling));
        self.relay(&[(audience, event)], mark);
        reached
    }

    /// Emits two events to two audiences that are looked up at the same instant. For the mark see [`Delivery::emit_marked`].
    pub fn emit_both(
        &self,
        first: (&Audience<'_>, &ServerEvent),
        second: (&Audience<'_>, &ServerEvent),
        mark: impl FnOnce() -> Option<Mark>,
    ) -> [Reached; 2] {
        let [to_first, to_second] = self.registry.resolve([first.0, second.0]);
        let reached = [(to_first, first.1), (to_second, second.1)]
            .map(|(targets, event)| self.hand_out(targets, event.names(), |spelling| event.render(spelling)));
        self.relay(&[first, second], mark);
        reached
    }

    /// Tells the other nodes, after those here. Costs nothing without a bus.
    fn relay(&self, emissions: &[(&Audience<'_>, &ServerEvent)], mark: impl FnOnce() -> Option<Mark>) {
        let Some(bus) = &self.bus else { return };
        let relayed = emissions.iter().filter_map(|(audience, event)| Relayed::new(audience, event).transpose());
        let written = relayed.collect::<serde_json::Result<Vec<_>>>().and_then(|emissions| {
            let mut topics = Vec::new();
            for topic in emissions.iter().flat_map(Relayed::topics) {
                if !topics.contains(&topic) {
                    topics.push(topic);
                }
            }
            let mark = if topics.is_empty() { None } else { mark() };
            Ok((topics, serde_json::to_vec(&Relay { emissions, mark })?))
        });
        match written {
            Ok((topics, _)) if topics.is_empty() => {}
            Ok((topics, body)) => bus.tell(topics, Kind::Emission, body),
            Err(e) => error!("an emission cannot be written for other nodes: {e}"),
        }
    }

    /// Emits here what another node emitted. Returns its mark if the marked person was reached. Errors: it is none of ours.
    pub fn emit_relayed(&self, body: &[u8]) -> serde_json::Result<Option<Mark>> {
        let Relay { emissions, mark } = serde_json::from_slice(body)?;
        let mut reached = Vec::with_capacity(emissions.len());
        match emissions.as_slice() {
            [one] => {
                let [targets] = self.registry.resolve([&one.audience()]);
                reached.push(self.hand_out_relayed(targets, one));
            }
            [first, second] => {
                let [to_first, to_second] = self.registry.resolve([&first.audience(), &second.audience()]);
                reached.extend([self.hand_out_relayed(to_first, first), self.hand_out_relayed(to_second, second)]);
            }
            _ => {}
        }
        Ok(mark.filter(|mark| reached.iter().any(|reached| reached.includes(&mark.whom))))
    }

    fn hand_out_relayed(&self, targets: Vec<Target>, relayed: &Relayed) -> Reached {
        let names: Vec<&str> = relayed.names.iter().map(String::as_str).collect();
        self.hand_out(targets, &names, |spelling| relayed.render(spelling))
    }

    fn hand_out(
        &self,
        targets: Vec<Target>,
        names: &[&str],
        render: impl Fn(Option<&str>) -> serde_json::Result<Arc<RawValue>>,
    ) -> Reached {
        // Hardly ever more than two: nearly everybody knows a conversation by one name.
        let mut rendered: Vec<(Option<Arc<str>>, Arc<RawValue>)> = Vec::with_capacity(1);
        let mut reached = Vec::with_capacity(targets.len());
        for Target { connection, spelling } in targets {
            let known = rendered.iter().position(|(other, _)| *other == spelling);
            let index = match known {
                Some(index) => index,
                None => match render(spelling.as_deref()) {
                    Ok(payload) => {
                        rendered.push((spelling, payload));
                        rendered.len() - 1
                    }
                    Err(e) => {
                        error!(event = names.first(), "an event cannot be written as JSON: {e}");
                        return Reached(reached);
                    }
                },
            };
            if self.hand_over(&connection, names, &rendered[index].1) {
                reached.push(connection);
            }
        }
        self.metrics.deliveries.inc_by(reached.len() as u64);
        Reached(reached)
    }

    fn hand_over(&self, connection: &Connection, names: &[&str], payload: &RawValue) -> bool {
        for name in names {
            match connection.send(name, payload) {
                Ok(()) => {}
                Err(Undelivered::Closed) => return false,
                Err(Undelivered::Full) => {
                    warn!(connection.id = %connection.id(), participant = %connection.identity(), "a client does not keep up; closing it");
                    self.close(connection, Cut::FullBuffer);
                    return false;
                }
            }
        }
        true
    }

    /// Hands the greeting to a connection that is in no room yet, so that nothing else can come before it.
    pub fn greet(&self, connection: &Arc<Connection>, greeting: &ServerEvent) {
        self.hand_out(vec![Target { connection: Arc::clone(connection), spelling: None }], greeting.names(), |spelling| {
            greeting.render(spelling)
        });
    }

    /// Adds a connection to the personal room of its identity.
    ///
    /// Beyond the limit the identity's oldest connection is closed instead of the new one refused: it is most likely one that a phone
    /// has left behind and that nobody has missed yet. Were it the phone's only one, it would come back by itself.
    pub fn connect(&self, connection: &Arc<Connection>) {
        for oldest in self.registry.add(connection, self.limits.of(connection.identity())) {
            info!(connection.id = %oldest.id(), participant = %oldest.identity(), "a client has too many sockets; closing the oldest");
            self.close(&oldest, Cut::TooManySockets);
        }
    }

    /// Removes a connection from everywhere; repeating does nothing.
    pub fn disconnect(&self, connection: &Connection, departure: Departure) {
        let unheard = match departure {
            Departure::OnPurpose => None,
            Departure::Dropped => Some(Duration::ZERO),
            Departure::Silent => Some(UNHEARD),
        };
        self.registry.remove(connection, unheard);
    }

    /// Where the connection of this identity that was dropped last sat, for two minutes.
    pub fn dropped_rooms(&self, person: &Participant) -> Option<DroppedRooms> {
        self.registry.dropped_rooms(person)
    }

    /// Keeps rooms that another process had, as if they had been dropped here, so long ago; what was dropped here comes first.
    pub fn recall_rooms(&self, person: &Participant, rooms: DroppedRooms, ago: Duration) {
        self.registry.recall(person, rooms, ago);
    }

    /// Takes at most `most` identities whose rooms have changed since they were last taken, each with those it has now.
    pub fn take_moved(&self, most: usize) -> Vec<KeptRooms> {
        self.registry.take_moved(most)
    }

    /// Lets [`Delivery::take_moved`] return these again.
    pub fn put_back_moved(&self, people: impl IntoIterator<Item = Participant>) {
        self.registry.put_back_moved(people);
    }

    /// Cuts a connection's transport and takes it out of everywhere at once: the library may notice its end only later.
    pub fn close(&self, connection: &Connection, why: Cut) {
        if connection.close() {
            self.metrics.cuts.with_label_values(&[why.as_str()]).inc();
        }
        self.registry.remove(connection, Some(UNHEARD));
    }

    /// Puts a connection into a conversation's room under the spelling it used; an earlier spelling of the same conversation is replaced.
    /// False if it sits in [`MAX_ROOMS`] already.
    #[must_use]
    pub fn join(&self, connection: &Arc<Connection>, conversation: &ConversationKey, spelling: &str) -> bool {
        self.registry.join(connection, conversation, spelling)
    }

    /// Puts a connection into the room of a conversation nobody has opened yet; of more than [`MAX_UNOPENED`] it leaves the oldest.
    #[must_use]
    pub fn join_unopened(&self, connection: &Arc<Connection>, conversation: &ConversationKey, spelling: &str) -> bool {
        self.registry.join_unopened(connection, conversation, spelling)
    }

    /// A conversation was opened: who sits in its room already, stays.
    pub fn opened(&self, conversation: &ConversationKey) {
        self.registry.opened(conversation);
    }

    /// Lets a connection wait for a conversation nobody knows yet under this spelling; the oldest of more than [`MAX_WAITING`] is dropped.
    pub fn wait(&self, connection: &Arc<Connection>, spelling: &str) {
        self.registry.wait(connection, spelling);
    }

    /// Takes a connection out of the room it joined under this spelling, waiting rooms included. Returns the conversation, if it sat in one.
    pub fn leave(&self, connection: &Connection, spelling: &str) -> Option<ConversationKey> {
        self.registry.leave(connection, spelling)
    }

    /// Moves those who wait under `spelling` and are among `participants` into the room of the conversation it turned out to mean.
    pub fn admit_waiting(&self, spelling: &str, conversation: &ConversationKey, participants: &[Participant]) {
        self.registry.admit_waiting(spelling, conversation, participants);
    }

    /// The spelling under which a connection sits in a conversation's room.
    pub fn spelling_of(&self, connection: &Connection, conversation: &ConversationKey) -> Option<Arc<str>> {
        self.registry.spelling_of(connection, conversation)
    }

    /// Whether a connection of this identity is there.
    pub fn is_connected(&self, person: &Participant) -> bool {
        self.registry.has_person(person)
    }

    /// Whether this connection is still there.
    pub fn is_there(&self, connection: ConnectionId) -> bool {
        self.registry.has(connection)
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.registry.len()
    }

    /// Every connection, for a shutdown.
    pub fn all_connections(&self) -> Vec<Arc<Connection>> {
        self.registry.all()
    }
}
