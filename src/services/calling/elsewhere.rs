//! A call on several nodes. The node that takes a step says everything that is to be said about it, to sockets anywhere; the others
//! only take note, and look a moment later whether it really was said. Which node that is the store decides, as within one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::bus::{NodeId, Topic};
use crate::delivery::{Audience, Connection};
use crate::error::Result;
use crate::models::{Call, CallId, Notices, Participant, Timestamp};
use crate::services::nodes::Notice;

use super::Calling;
use super::ending::{TOLD_WITHIN, story};
use super::live::{Answerer, LiveCall};

/// How long another node has to say what follows from its step before those connected here are told by this one.
const SAID_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether another node has said so.
const LOOKED_EVERY: Duration = Duration::from_millis(20);
/// How long a call that is not over is kept in mind for those who come to another node.
const KEPT_IN_MIND: Duration = Duration::from_secs(4 * 3600);

/// How far something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    /// On all nodes: the step was taken here.
    Everywhere,
    /// To those connected here: every node makes up for what it has not heard.
    Here,
}

impl Spread {
    /// These people, as far as it goes.
    pub fn to<'a>(self, people: impl IntoIterator<Item = Participant>) -> Audience<'a> {
        let audience = Audience::people(people);
        if self == Self::Here { audience.only_here() } else { audience }
    }
}

impl Calling {
    /// Tells the nodes concerned how a call stands now: before what is said about it, so that they know it when their clients answer.
    pub(super) fn announce(&self, call: &Call, said: Option<&str>) {
        let Some(bus) = &self.0.core.bus else { return };
        let people = [call.caller.identity(), call.callee.identity()];
        let kept = if call.status.is_over() { TOLD_WITHIN } else { KEPT_IN_MIND };
        bus.remember_call(people.clone(), call.id, self.now().plus(kept));
        let [caller, callee] = people.map(Topic::Person);
        let notice = || Notice::Call { call: Box::new(call.clone()), said: said.map(str::to_owned) };
        self.0.core.tell_nodes(vec![caller, callee, Topic::Call(call.id)], notice);
    }

    /// Keeps calls in mind again: Redis may have forgotten.
    pub(in crate::services) fn remind(&self) {
        let Some(bus) = &self.0.core.bus else { return };
        for LiveCall { call, .. } in self.0.live.all() {
            let kept = if call.status.is_over() { TOLD_WITHIN } else { KEPT_IN_MIND };
            bus.remember_call([call.caller.identity(), call.callee.identity()], call.id, self.now().plus(kept));
        }
    }

    /// Whether other nodes are heard, so that whoever takes a step says so here too.
    pub(super) fn others_are_heard(&self) -> bool {
        self.0.core.bus.as_ref().is_some_and(crate::bus::Bus::is_up)
    }

    /// Another node has taken a step, or begun a call.
    pub(in crate::services) fn heard_call(&self, from: &NodeId, call: Call, said: Option<String>) {
        let live = &self.0.live;
        let (id, status) = (call.id, call.status);
        if !status.is_ringing() {
            self.0.push.heard_stopped(id);
        }
        match live.get(id) {
            None if status.is_over() => return,
            None => live.add(LiveCall::found(call)),
            Some(known) if status.is_later_than(known.call.status) => drop(live.change(id, |live| live.call = call)),
            // Somebody else of the callee's goes on with it.
            Some(_) if status.is_talking() => {}
            Some(_) => return,
        }
        if status.is_talking() {
            live.change(id, |live| live.answered_by = Some(Answerer::At(from.clone())));
        } else if status.is_over() {
            // The log is the business of the node that ended it, and so are those who are not here.
            live.change(id, |live| {
                let is_here = |person: &Participant| self.0.core.delivery.is_connected(person);
                let Notices { caller, callee, .. } = live.call.notices;
                let here =
                    Notices { caller: caller && is_here(&live.call.caller), callee: callee && is_here(&live.call.callee), log: false };
                (live.call.notices, live.said) = (here, said);
            });
        }
        self.wake_when_due(id);
        self.look_whether_it_was_said(id);
    }

    /// Another node has done part of what is due at the end of a call.
    pub(in crate::services) fn heard_settled(&self, id: CallId, done: Notices) {
        self.0.live.change(id, |live| live.call.notices = live.call.notices.without(done));
    }

    /// A socket of the callee that is connected here heard it ring, perhaps one that came while the call was begun elsewhere.
    pub(in crate::services) fn rang_here(&self, id: CallId) {
        if let Some(live) = self.0.live.get(id) {
            self.note_ringing(live.call);
        }
    }

    /// A socket of the caller that is connected here was handed the answer.
    pub(in crate::services) fn accept_was_heard_here(&self, id: CallId) {
        self.heard_accept_heard(id);
        self.0.core.tell_nodes(vec![Topic::Call(id)], || Notice::AcceptHeard { call: id });
    }

    /// A socket of the caller was handed the answer, on whichever node.
    pub(in crate::services) fn heard_accept_heard(&self, id: CallId) {
        self.0.live.change(id, |live| live.accept_heard = true);
    }

    /// The client that answered was connected to that node, and is gone.
    pub(in crate::services) fn heard_answerer_gone(&self, from: &NodeId, id: CallId) {
        self.0.live.change(id, |live| {
            if live.answered_by == Some(Answerer::At(from.clone())) {
                live.answered_by = None;
            }
        });
    }

    /// A socket left. If it was the one that answered, another of the callee's may go on, on any node.
    pub(in crate::services) fn hung_up(&self, connection: &Connection) {
        if self.0.core.bus.is_none() {
            return;
        }
        for (_, live) in self.0.live.of(connection.identity()) {
            if live.answered_by == Some(Answerer::Here(connection.id())) {
                let id = live.call.id;
                self.0.core.tell_nodes(vec![Topic::Call(id)], || Notice::AnswererGone { call: id });
            }
        }
    }

    /// The client that answered. The store may say that somebody has before his node does, which is waited for; nobody answers for one
    /// that died meanwhile.
    pub(super) async fn answerer_of(&self, id: CallId) -> Option<Answerer> {
        let known = || self.0.live.get(id).and_then(|live| live.answered_by);
        let give_up = Instant::now() + SAID_WITHIN;
        while known().is_none() && self.others_are_heard() && Instant::now() < give_up {
            sleep(LOOKED_EVERY).await;
        }
        known()
    }

    /// Whether the client that answered is still there, as far as is known.
    pub(super) fn is_there(&self, answerer: &Answerer) -> bool {
        match answerer {
            Answerer::Here(connection) => self.0.core.delivery.is_there(*connection),
            Answerer::At(node) => self.0.core.bus.as_ref().is_some_and(|bus| bus.lives(node)),
        }
    }

    /// Whether somebody talks in a call this node does not know of.
    pub(super) async fn talks_elsewhere(&self, person: &Participant) -> bool {
        for id in self.unknown_calls_of(person).await {
            match self.0.core.store.find_call(id).await {
                Ok(Some(call)) if call.status.is_talking() => return true,
                Ok(_) => {}
                Err(e) => debug!(call.id = %id, "whether somebody talks is not known: {}", story(&e)),
            }
        }
        false
    }

    async fn unknown_calls_of(&self, person: &Participant) -> Vec<CallId> {
        let Some(bus) = &self.0.core.bus else { return Vec::new() };
        let mut calls = bus.calls_of(&person.identity(), self.now()).await;
        calls.retain(|id| self.0.live.get(*id).is_none());
        calls
    }

    /// Somebody came who may have been connected elsewhere before: of calls but those `told` he hears now what rings, and how they ended.
    pub(super) fn ask_others_about(&self, connection: &Arc<Connection>, told: Vec<CallId>) {
        let Some(bus) = self.0.core.bus.clone() else { return };
        let (this, connection, came_at) = (self.clone(), Arc::clone(connection), self.now());
        self.0.core.tasks.spawn(async move {
            let calls = bus.calls_of_patiently(connection.identity(), came_at).await;
            for id in calls.into_iter().filter(|id| !told.contains(id)) {
                if let Err(e) = this.tell_of(id, &connection, came_at).await {
                    warn!(call.id = %id, "a call of somebody who came is not known: {}", story(&e));
                }
            }
        });
    }

    async fn tell_of(&self, id: CallId, connection: &Arc<Connection>, came_at: Timestamp) -> Result<()> {
        // Taking it over tells everybody who is here.
        if self.0.live.get(id).is_none()
            && let Some(call) = self.0.core.store.find_call(id).await?
            && (!call.status.is_over() || !call.notices.is_empty())
            && self.adopt(call).await?
        {
            return Ok(());
        }
        // Another node told of it after he was told what was known; of what it said before that he has heard nothing.
        if let Some(live) = self.0.live.get(id).filter(|live| live.call.initiated_at < came_at)
            && let Some(side) = live.call.side_of(connection.identity())
        {
            self.tell_newcomer(connection, side, live);
        }
        Ok(())
    }

    /// Messages of other nodes were missed: what they did with calls is in the store.
    pub(in crate::services) async fn catch_up(&self) {
        let known = async {
            for LiveCall { call, .. } in self.0.live.all() {
                let _turn = self.0.live.turn(call.id).await;
                if let Some(current) = self.0.core.store.find_call(call.id).await? {
                    self.learn(&current);
                }
            }
            self.take_over().await
        };
        if let Err(e) = known.await {
            warn!("calls could not be caught up with: {}", story(&e));
        }
    }

    /// Looks a moment later whether those connected here have heard what follows from another node's step, and tells them if not.
    pub(super) fn look_whether_it_was_said(&self, id: CallId) {
        if !self.0.live.get(id).is_some_and(|live| self.is_unheard(&live)) {
            return;
        }
        let (this, stop) = (self.clone(), self.0.core.stop.clone());
        self.0.core.tasks.spawn(async move {
            if stop.run_until_cancelled(sleep(SAID_WITHIN)).await.is_some()
                && let Err(e) = this.say_what_was_not_said(id).await
            {
                warn!(call.id = %id, "how a call goes on may not be heard here: {}", story(&e));
            }
        });
    }

    async fn say_what_was_not_said(&self, id: CallId) -> Result<()> {
        let _turn = self.0.live.turn(id).await;
        let Some(live) = self.0.live.get(id).filter(|live| self.is_unheard(live)) else { return Ok(()) };
        // By now the store knows what was done.
        let Some(current) = self.0.core.store.find_call(id).await? else { return Ok(()) };
        self.note(&current);
        if current.status.is_talking() {
            self.say_accepted(&current, None, Spread::Here);
        } else if current.status.is_over() {
            debug!(call.id = %id, status = live.call.status.as_str(), "the end of a call is told here");
            self.conclude(id, Spread::Here);
        }
        Ok(())
    }

    /// Whether somebody connected here should have heard something and, as far as is known, has not.
    fn is_unheard(&self, live: &LiveCall) -> bool {
        let is_here = |person: &Participant| self.0.core.delivery.is_connected(person);
        let LiveCall { call, accept_heard, .. } = live;
        match call.status {
            status if status.is_talking() => !accept_heard && is_here(&call.caller),
            status if status.is_over() => !call.notices.is_empty(),
            _ => false,
        }
    }
}
