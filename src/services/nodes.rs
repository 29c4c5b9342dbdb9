//! What the other nodes say: their emissions are emitted here, their changes taken over, and when something may have been missed the
//! clients here are told to catch up. Source: docs/protocol.md#resync.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use crate::bus::{Heard, Kind, NodeId, Packet, Topic};
use crate::delivery::{Audience, Mark, Resync, ServerEvent};
use crate::models::{Call, CallId, CallSide, ConversationHandle, ConversationKey, MessageId, Notices, Participant, Timestamp};

use super::{Core, Services};

/// How long gaps are collected before clients are told: those of an outage come from every node.
const GAPS_COLLECTED: Duration = Duration::from_secs(1);
/// How much earlier than the gap clients shall look, for clocks differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);
/// Clients told at once, and the pause after them: all of them come back with questions.
const TOLD_AT_ONCE: usize = 200;
const TOLD_EVERY: Duration = Duration::from_millis(100);

/// A change that other nodes keep in memory too.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Notice {
    /// Somebody's tokens issued until then are refused.
    Revoked { person: Participant, until: Timestamp },
    /// A name or picture inside a conversation was written.
    Profiles,
    /// A conversation was opened under a further name.
    Opened { alias: String, key: ConversationKey, participants: Vec<Participant> },
    /// A call began or moved on; in the words of the party that did it.
    Call { call: Box<Call>, said: Option<String> },
    /// Part of what is due at the end of a call is done.
    Settled { call: CallId, done: Notices },
    /// A socket of the caller was handed the answer.
    AcceptHeard { call: CallId },
    /// The client that answered is gone.
    AnswererGone { call: CallId },
}

/// What it means that somebody was reached on another node.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Note {
    /// A message reached its recipient.
    Delivered { handle: ConversationHandle, message: MessageId, sender: Participant, recipient: Participant },
    /// The callee heard it ring.
    Rang { call: CallId },
    /// The caller heard the answer.
    AcceptHeard { call: CallId },
    /// A side heard the end.
    EndHeard { call: CallId, side: CallSide },
}

impl Note {
    /// As a mark for whoever is to be reached.
    pub fn for_whom(&self, whom: &Participant) -> Option<Mark> {
        let note = serde_json::value::to_raw_value(self).inspect_err(|e| error!("a note cannot be written for other nodes: {e}"));
        note.ok().map(|note| Mark { whom: whom.identity(), note })
    }
}

impl Core {
    /// Tells the other nodes that follow one of these topics. Costs nothing without any.
    pub(super) fn tell_nodes(&self, topics: Vec<Topic>, notice: impl FnOnce() -> Notice) {
        let Some(bus) = &self.bus else { return };
        match serde_json::to_vec(&notice()) {
            Ok(body) => bus.tell(topics, Kind::Notice, body),
            Err(e) => error!("a notice cannot be written for other nodes: {e}"),
        }
    }
}

/// Starts listening, if there are other nodes.
pub(super) fn start(services: &Services) {
    let core = services.core();
    let Some(heard) = core.bus.as_ref().and_then(crate::bus::Bus::listen) else { return };
    let (listener, stop) = (Listener { services: services.clone(), gap: None }, core.stop.clone());
    core.tasks.spawn(async move {
        stop.run_until_cancelled(listener.listen(heard)).await;
    });
}

struct Listener {
    services: Services,
    /// Since when clients may have missed something, and when they are to be told.
    gap: Option<(Timestamp, Instant)>,
}

impl Listener {
    async fn listen(mut self, mut heard: mpsc::Receiver<Heard>) {
        loop {
            let tell_at = self.gap.map(|(_, tell_at)| tell_at);
            let gap_is_whole = async {
                match tell_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                heard = heard.recv() => match heard {
                    Some(heard) => self.take(heard),
                    None => return,
                },
                () = gap_is_whole => self.make_good(),
            }
        }
    }

    fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Packet(packet) if packet.kind == Kind::Emission => self.emit(&packet),
            Heard::Packet(packet) => self.note(&packet),
            Heard::Missed(since) => {
                let (earliest, tell_at) = self.gap.unwrap_or((since, Instant::now() + GAPS_COLLECTED));
                self.gap = Some((earliest.min(since), tell_at));
            }
            Heard::Up => self.services.calling().remind(),
        }
    }

    /// In one go, so that what is heard next finds it done: a step of a call before what is said about it.
    fn emit(&self, packet: &Packet) {
        match self.services.core().delivery.emit_relayed(&packet.body) {
            Ok(Some(mark)) => self.reached(&mark),
            Ok(None) => {}
            Err(e) => warn!(node = %packet.from, "an emission of another node cannot be read: {e}"),
        }
    }

    fn reached(&self, mark: &Mark) {
        match serde_json::from_str(mark.note.get()) {
            Ok(Note::Delivered { handle, message, sender, recipient }) => {
                self.services.messaging().receipts.delivered(handle, message, sender, recipient);
            }
            Ok(Note::Rang { call }) => self.services.calling().rang_here(call),
            Ok(Note::AcceptHeard { call }) => self.services.calling().accept_was_heard_here(call),
            Ok(Note::EndHeard { call, side }) => self.services.calling().settle(call, Notices::of(side)),
            Err(e) => warn!("a note of another node cannot be read: {e}"),
        }
    }

    fn note(&self, packet: &Packet) {
        match serde_json::from_slice(&packet.body) {
            Ok(notice) => self.take_over(&packet.from, notice),
            Err(e) => warn!(node = %packet.from, "a notice of another node cannot be read: {e}"),
        }
    }

    fn take_over(&self, from: &NodeId, notice: Notice) {
        let services = &self.services;
        match notice {
            Notice::Revoked { person, until } => services.sessions().heard_revoked(person, until),
            Notice::Profiles => services.conversations().heard_profiles(),
            Notice::Opened { alias, key, participants } => services.conversations().heard_opened(&alias, &key, &participants),
            Notice::Call { call, said } => services.calling().heard_call(from, *call, said),
            Notice::Settled { call, done } => services.calling().heard_settled(call, done),
            Notice::AcceptHeard { call } => services.calling().heard_accept_heard(call),
            Notice::AnswererGone { call } => services.calling().heard_answerer_gone(from, call),
        }
    }

    /// Catches up with the store, and tells the clients to do the same.
    fn make_good(&mut self) {
        let Some((since, _)) = self.gap.take() else { return };
        info!("clients are told to catch up: messages of other nodes since {since} may not have arrived");
        let (services, core) = (self.services.clone(), self.services.core());
        let (tasks, stop) = (core.tasks.clone(), core.stop.clone());
        tasks.spawn(async move {
            let since = since.minus(CLOCKS_DIFFER);
            stop.run_until_cancelled(async { tokio::join!(tell_all(&services, since), services.catch_up()) }).await;
        });
    }
}

async fn tell_all(services: &Services, since: Timestamp) {
    let delivery = &services.core().delivery;
    let event = ServerEvent::Resync(Resync { since });
    for some in delivery.all_connections().chunks(TOLD_AT_ONCE) {
        for connection in some {
            delivery.emit(&Audience::connection(connection.id()), &event);
        }
        sleep(TOLD_EVERY).await;
    }
}

impl Services {
    /// Takes over from the store what other nodes may have said meanwhile.
    async fn catch_up(&self) {
        self.sessions().load_revocations(false).await;
        self.conversations().heard_profiles();
        self.calling().catch_up().await;
    }
}
