//! The calls that still need somebody, in memory: what rings, who talks, who has not heard the end. The store has the truth;
//! this is what the present process knows beyond it, and what it must look at next.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Turn, MutexGuard as Turned};
use tokio::time::Instant;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use crate::bus::{Bus, NodeId, Topic};
use crate::delivery::ConnectionId;
use crate::models::{Call, CallId, CallSide, Participant};
use crate::services::stock::OpenCalls;

/// How many calls may be worked on at once; calls that share a turn wait for each other.
const TURNS: usize = 256;

/// The client that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answerer {
    /// Connected here.
    Here(ConnectionId),
    /// Connected to another node.
    At(NodeId),
}

/// A call and what only this process knows of it.
#[derive(Clone)]
pub(super) struct LiveCall {
    /// As it was last seen in the store.
    pub call: Call,
    /// From the caller's token; never stored.
    pub caller_phone: Option<String>,
    /// Whether the caller had a socket when it began: only then does losing it mean something.
    pub caller_had_socket: bool,
    /// The client that answered.
    pub answered_by: Option<Answerer>,
    /// Whether a socket of the caller was handed the answer.
    pub accept_heard: bool,
    /// What the party that ended it gave as the reason.
    pub said: Option<String>,
    /// Whether somebody is writing the call log.
    pub log_under_way: bool,
    /// Which sides have told the other that media flows: caller, callee.
    pub said_connected: [bool; 2],
    /// How many notices are done and still on the list of the store. Until they are off it, the call must stay known here, or the
    /// sweep would take it for one nobody has told anybody of.
    pub settling: usize,
    /// An answer of the store is missing: nobody knows whether a step was taken, nor who was told. The client that tried it.
    pub unsure: Option<Option<ConnectionId>>,
    /// When this process first knew of it.
    pub known_since: Instant,
}

impl LiveCall {
    /// A call nothing else is known of.
    pub fn found(call: Call) -> Self {
        Self {
            call,
            caller_phone: None,
            caller_had_socket: false,
            answered_by: None,
            accept_heard: false,
            said: None,
            log_under_way: false,
            said_connected: [false; 2],
            settling: 0,
            unsure: None,
            known_since: Instant::now(),
        }
    }

    /// A notice is off the list of the store, or stays on it for the sweep to find.
    pub fn settled_one(&mut self) {
        // A call that was forgotten and found again knows nothing of earlier notices.
        self.settling = self.settling.saturating_sub(1);
    }

    /// Whether nothing is left to do.
    fn is_settled(&self) -> bool {
        self.call.status.is_over() && self.call.notices.is_empty() && self.settling == 0 && self.unsure.is_none()
    }
}

/// All of them.
pub(super) struct LiveCalls {
    // std Mutex: never held across an await.
    tables: Mutex<Tables>,
    turns: Vec<Turn<()>>,
}

#[derive(Default)]
struct Tables {
    calls: HashMap<CallId, (LiveCall, Option<Key>)>,
    people: HashMap<Participant, HashSet<CallId>>,
    alarms: DelayQueue<CallId>,
    /// Told which calls are known here, so that this node hears what others do with them.
    bus: Option<Bus>,
}

impl LiveCalls {
    /// None yet.
    pub fn new(bus: Option<Bus>) -> Self {
        Self { tables: Mutex::new(Tables { bus, ..Tables::default() }), turns: (0..TURNS).map(|_| Turn::new(())).collect() }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else in this process works on this call.
    pub async fn turn(&self, id: CallId) -> Turned<'_, ()> {
        let bytes = id.bytes();
        // The last bytes count up, so neighbours get different turns.
        let number = (usize::from(bytes[10]) << 8 | usize::from(bytes[11])) % TURNS;
        self.turns[number].lock().await
    }

    pub fn get(&self, id: CallId) -> Option<LiveCall> {
        self.tables().calls.get(&id).map(|(live, _)| live.clone())
    }

    /// Adds a call, unless it is there already or nothing is left to do about it.
    pub fn add(&self, live: LiveCall) {
        if live.is_settled() {
            return;
        }
        let mut tables = self.tables();
        let id = live.call.id;
        if tables.calls.contains_key(&id) {
            return;
        }
        for person in [live.call.caller.identity(), live.call.callee.identity()] {
            tables.people.entry(person).or_default().insert(id);
        }
        tables.calls.insert(id, (live, None));
        if let Some(bus) = &tables.bus {
            bus.follow(Topic::Call(id));
        }
    }

    /// How many ring, and how many are talked.
    pub fn open(&self) -> OpenCalls {
        let tables = self.tables();
        let statuses = || tables.calls.values().map(|(live, _)| live.call.status);
        OpenCalls { ringing: statuses().filter(|s| s.is_ringing()).count(), active: statuses().filter(|s| s.is_talking()).count() }
    }

    /// Every one.
    pub fn all(&self) -> Vec<LiveCall> {
        self.tables().calls.values().map(|(live, _)| live.clone()).collect()
    }

    /// Changes what is known; a call about which nothing is left to do is forgotten.
    pub fn change<T>(&self, id: CallId, change: impl FnOnce(&mut LiveCall) -> T) -> Option<T> {
        let mut tables = self.tables();
        let (live, _) = tables.calls.get_mut(&id)?;
        let result = change(live);
        if live.is_settled() {
            tables.forget(id);
        }
        Some(result)
    }

    /// The calls of a person, by either side.
    pub fn of(&self, person: &Participant) -> Vec<(CallSide, LiveCall)> {
        let tables = self.tables();
        let ids = tables.people.get(&person.identity()).into_iter().flatten();
        let calls = ids.filter_map(|id| tables.calls.get(id)).map(|(live, _)| live);
        calls.filter_map(|live| Some((live.call.side_of(person)?, live.clone()))).collect()
    }

    /// Whether `person` has a call that was answered and is not over.
    pub fn is_talking(&self, person: &Participant) -> bool {
        let tables = self.tables();
        let mut ids = tables.people.get(&person.identity()).into_iter().flatten();
        ids.any(|id| tables.calls.get(id).is_some_and(|(live, _)| live.call.status.is_talking()))
    }

    /// Sets when the call is to be looked at, instead of whatever was set before.
    pub fn wake_at(&self, id: CallId, at: Instant) {
        let mut guard = self.tables();
        let Tables { calls, alarms, .. } = &mut *guard;
        let Some((_, alarm)) = calls.get_mut(&id) else { return };
        match alarm {
            Some(key) => alarms.reset_at(key, at),
            None => *alarm = Some(alarms.insert_at(id, at)),
        }
    }

    /// Waits for the next call that is to be looked at.
    pub async fn due(&self) -> CallId {
        poll_fn(|context| {
            let mut tables = self.tables();
            match tables.alarms.poll_expired(context) {
                std::task::Poll::Ready(Some(expired)) => {
                    let id = expired.into_inner();
                    if let Some((_, alarm)) = tables.calls.get_mut(&id) {
                        *alarm = None;
                    }
                    std::task::Poll::Ready(id)
                }
                // Empty or not yet due: an insert wakes this task.
                _ => std::task::Poll::Pending,
            }
        })
        .await
    }
}

impl Tables {
    fn forget(&mut self, id: CallId) {
        let Some((live, alarm)) = self.calls.remove(&id) else { return };
        if let Some(bus) = &self.bus {
            bus.unfollow(&Topic::Call(id));
        }
        if let Some(key) = alarm {
            self.alarms.try_remove(&key);
        }
        for person in [live.call.caller.identity(), live.call.callee.identity()] {
            if let Some(ids) = self.people.get_mut(&person) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.people.remove(&person);
                }
            }
        }
    }
}
