//! Who is told what outside of the sockets: phones that sleep, and the operator's webhook. The services say what happened, after it is
//! stored; what follows from that is decided here, kept in the outbox and carried out in `carry`. Nothing here is waited for.
//!
//! Source: docs/push.md, docs/webhooks.md.

mod about;
mod carry;
mod job;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::auth::CurrentUser;
use crate::error::{Error, Result};
use crate::models::call_view::CallView;
use crate::models::view::MessageView;
use crate::models::{
    Call, CallId, CallSide, Device, DeviceKind, Message, MessageStatus, MessageType, OutboxEntry, OutboxLane, Participant, ParticipantKind,
    Platform, ProcessId, Timestamp,
};
use crate::outside::Outside;

pub use about::is_about;

use super::Core;
use super::limits::{Limited, Limits};
use super::outbox::{Carried, DONE_KEPT, Outbox, Work};
use super::presence::PresenceBook;
use carry::Carrier;
use job::{Job, MessageJob};

/// How long the news of a message is news.
const MESSAGE_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How long a phone may still ring without being told to stop.
const STOP_LIFETIME: Duration = Duration::from_secs(60);
/// How long a webhook is tried.
const WEBHOOK_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked whether a node has died before it had written everything down.
const LOOKED_FOR_DEAD_EVERY: Duration = Duration::from_secs(5);
/// A node that has not said so for longer is dead; it says so every five seconds.
const DEAD_AFTER: Duration = Duration::from_secs(15);
/// Who was on a node that has been silent for longer is not there any more, where only the store tells. Shorter than elsewhere: a push
/// too many is better than one that is missing.
const SILENT_FOR: Duration = Duration::from_secs(8);
/// A dead node's last messages came to be so long before and after it last said that it lives.
const LAST_SIGN: Duration = Duration::from_secs(15);
/// Messages and calls of one question.
const PAGE: usize = 500;
/// Calls that rang and do not any more, remembered so that a ring still on its way is not sent.
const STOPPED_REMEMBERED: u64 = 100_000;

/// For which messages a phone is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PushMessages {
    /// All. An app in the background keeps its socket for a while and would show nothing.
    #[default]
    Always,
    /// Those of conversations the recipient has not open.
    NotInRoom,
    /// Those to somebody without any socket.
    Offline,
}

/// What operators may change, and where things are sent; see [`crate::config::SETTINGS`].
#[derive(Clone, Default)]
pub struct PushRules {
    /// `PUSH_MESSAGES`.
    pub messages: PushMessages,
    /// `FIREBASE_*`, `APNS_*`, `WEBHOOK_*`.
    pub outside: Outside,
}

impl fmt::Debug for PushRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outside { fcm, apns, webhook } = &self.outside;
        let set = [("fcm", fcm.is_some()), ("apns", apns.is_some()), ("webhook", webhook.is_some())];
        f.debug_struct("PushRules").field("messages", &self.messages).field("outside", &set).finish()
    }
}

/// Tells the outside. Costs nothing where the settings name nobody to tell. Cheap to clone.
#[derive(Clone)]
pub struct Push {
    core: Arc<Core>,
    limits: Limits,
    running: Option<Running>,
}

#[derive(Clone)]
struct Running {
    outbox: Outbox<Teller>,
    stopped: Stopped,
}

/// Which calls ring no more, and how to stop a ring that is just being sent.
#[derive(Clone)]
struct Stopped {
    known: Cache<CallId, ()>,
    // std Mutex: never held across an await.
    sending: Arc<Mutex<HashMap<CallId, CancellationToken>>>,
}

impl Stopped {
    fn new() -> Self {
        // Longer than a call may ring, and a little.
        let known = Cache::builder().max_capacity(STOPPED_REMEMBERED).time_to_live(Duration::from_secs(3700)).build();
        Self { known, sending: Arc::default() }
    }

    fn stop(&self, call: CallId) {
        self.known.insert(call, ());
        if let Some(sending) = self.sending.lock().unwrap_or_else(PoisonError::into_inner).get(&call) {
            sending.cancel();
        }
    }

    /// Cancelled when the call rings no more, until the guard is dropped.
    fn watch(&self, call: CallId) -> (CancellationToken, Watching<'_>) {
        let token = CancellationToken::new();
        self.sending.lock().unwrap_or_else(PoisonError::into_inner).insert(call, token.clone());
        // After it is in the table, or a stop in between would be lost.
        if self.known.contains_key(&call) {
            token.cancel();
        }
        (token, Watching(self, call))
    }
}

struct Watching<'a>(&'a Stopped, CallId);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.sending.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// What the outbox asks.
struct Teller {
    core: Arc<Core>,
    presence: PresenceBook,
    stopped: Stopped,
    carrier: Carrier,
}

impl Push {
    /// Starts telling, if there is anybody to tell. What is returned beside it are calls a phone was told of: they ring.
    pub(super) fn start(core: &Arc<Core>, presence: PresenceBook, limits: Limits) -> (Self, mpsc::Receiver<CallId>) {
        let (rang, rings) = mpsc::channel(4096);
        let outside = core.rules.push.outside.clone();
        if outside.is_empty() {
            return (Self { core: core.clone(), limits, running: None }, rings);
        }
        let (pushes, hooks) = (outside.pushes(), outside.webhook.is_some());
        let stopped = Stopped::new();
        let carrier = Carrier { core: core.clone(), outside, stopped: stopped.clone(), rang };
        let teller = Arc::new(Teller { core: core.clone(), presence, stopped: stopped.clone(), carrier });
        let used = |lane| if lane == OutboxLane::Webhooks { hooks } else { pushes };
        let outbox = Outbox::start(core, teller, used);
        let this = Self { core: core.clone(), limits, running: Some(Running { outbox: outbox.clone(), stopped }) };
        let (stop, recovering) = (core.stop.clone(), this.clone());
        let recovery = async move { stop.run_until_cancelled(recovering.make_up_for_the_dead()).await };
        core.tasks.spawn(recovery.instrument(info_span!("push_recovery")));
        let stop = core.stop.clone();
        core.tasks.spawn(async move { stop.run_until_cancelled(outbox.keep_in_bounds()).await });
        (this, rings)
    }

    fn pushes(&self) -> Option<&Running> {
        self.running.as_ref().filter(|_| self.core.rules.push.outside.pushes())
    }

    /// A message is stored. `is_in_room`: a socket of the recipient that sits in the conversation's room was handed it.
    ///
    /// Call logs and messages of the system are not told, and nothing to admins, who have no phones.
    pub(super) fn message(&self, message: &Message, is_in_room: bool) {
        let Some(running) = &self.running else { return };
        self.event(
            "message.created",
            &message.id.to_string(),
            message.created_at,
            || json!({ "message": MessageView::new(message, message.conversation_key.as_str()) }),
        );
        let wanted = match self.core.rules.push.messages {
            PushMessages::Always => true,
            PushMessages::NotInRoom => !is_in_room,
            PushMessages::Offline => !self.core.delivery.is_connected(&message.recipient),
        };
        let is_news = !matches!(message.message_type, MessageType::CallLog | MessageType::System);
        if wanted && is_news && self.pushes().is_some() && has_phones(&message.recipient) {
            running.outbox.push(Job::Message(Box::new(MessageJob::new(message, self.core.rules.push.messages))));
        }
    }

    /// A call is stored and rings.
    pub(super) fn rings(&self, call: &Call) {
        self.call_event("call.initiated", call, call.initiated_at);
        if let Some(running) = self.pushes()
            && has_phones(&call.callee)
        {
            running.outbox.push(Job::Ring { call: Box::new(call.clone()) });
        }
    }

    /// A call is stored as it is now; `rang` and `talked` say how it was, `reason` why it stopped ringing.
    pub(super) fn moved(&self, call: &Call, was: Was, reason: String) {
        if self.running.is_none() {
            return;
        }
        self.call_event(&format!("call.{}", call.event_status()), call, call.updated_at);
        if was == Was::Ringing && !call.status.is_ringing() {
            self.stop_ringing(call, reason);
        }
        // Who hung up knows. If nobody did, neither side is there to be told.
        if was == Was::Talking
            && call.status.is_over()
            && let Some(by) = call.ended_by.as_ref().and_then(|by| call.side_of(by))
        {
            self.tell_end(call, by.other());
        }
    }

    /// Another node says that a call rings no more: a ring on its way from here is not sent.
    pub(super) fn heard_stopped(&self, call: CallId) {
        if let Some(running) = &self.running {
            running.stopped.stop(call);
        }
    }

    fn stop_ringing(&self, call: &Call, reason: String) {
        let Some(running) = self.pushes().filter(|_| has_phones(&call.callee)) else { return };
        running.stopped.stop(call.id);
        running.outbox.push(Job::Stop { call: call.id, callee: call.callee.identity(), reason, at: self.core.now() });
    }

    fn tell_end(&self, call: &Call, side: CallSide) {
        let to = call.party(side).identity();
        if let Some(running) = self.pushes()
            && has_phones(&to)
        {
            running.outbox.push(Job::End { call: call.id, side, to, duration: call.duration, at: self.core.now() });
        }
    }

    fn call_event(&self, event: &str, call: &Call, at: Timestamp) {
        self.event(event, &call.id.to_string(), at, || json!({ "call": CallView::new(call) }));
    }

    /// Somebody's first socket came or the last one went: `presence.online` and `presence.offline` for the webhook.
    pub fn presence_changed(&self, person: &Participant, is_online: bool, at: Timestamp) {
        let event = if is_online { "presence.online" } else { "presence.offline" };
        let about = format!("{person}:{}", at.as_millis());
        self.event(event, &about, at, || json!({ "id": person.id(), "type": person.kind(), "isOnline": is_online, "at": at }));
    }

    fn event(&self, event: &str, about: &str, at: Timestamp, data: impl FnOnce() -> Value) {
        if let Some(running) = &self.running
            && self.core.rules.push.outside.webhook.is_some()
        {
            running.outbox.push(Job::Event { event: event.to_owned(), about: about.to_owned(), data: data(), at });
        }
    }

    /// Makes a device its owner's.
    ///
    /// Errors: `FORBIDDEN` for admins, who have no phones; `INVALID_PAYLOAD` for what is no token.
    pub async fn register(&self, user: &CurrentUser, tokens: DeviceTokens) -> Result<()> {
        self.limits.count(user, Limited::Other)?;
        let owner = user.identity();
        if owner.kind() == ParticipantKind::Admin {
            return Err(Error::Forbidden("admins have no devices".into()));
        }
        let DeviceTokens { platform, fcm, voip } = tokens;
        let registered_at = self.core.now();
        for (kind, token) in [(DeviceKind::Fcm, fcm), (DeviceKind::Voip, voip)] {
            if let Some(token) = token {
                let device = Device { token, kind, owner: owner.clone(), platform, registered_at };
                // Never the token: who has it can be told things in our name.
                let fingerprint = device.fingerprint();
                self.core.store.register_device(device).await?;
                info!(owner = %owner, device = fingerprint, kind = kind.as_str(), "a device was registered");
            }
        }
        Ok(())
    }

    /// Forgets a device of this owner. True if it was known.
    pub async fn unregister(&self, user: &CurrentUser, token: &str) -> Result<bool> {
        self.limits.count(user, Limited::Other)?;
        let owner = user.identity();
        let was_known = self.core.store.unregister_device(&owner, token).await?;
        if was_known {
            info!(%owner, device = Device::fingerprint_of(token), "a device was removed");
        }
        Ok(was_known)
    }

    /// The devices of this owner, newest first.
    pub async fn devices(&self, user: &CurrentUser) -> Result<Vec<Device>> {
        self.limits.count(user, Limited::Other)?;
        self.core.store.devices_of(&[user.identity()]).await
    }

    /// What a process stored and did not live to write into the outbox is found again: its last messages and the calls that are open.
    async fn make_up_for_the_dead(self) {
        // The folder of the embedded store is this process's alone.
        let is_alone = self.core.store.engine() == "sqlite";
        if let Err(e) = self.core.store.release_outbox(self.core.now()).await {
            warn!("what an earlier process was sending waits until its leases end: {e}");
        }
        let mut seen_to: Vec<ProcessId> = Vec::new();
        let mut is_first = true;
        loop {
            match self.look_for_the_dead(is_alone, is_first, &mut seen_to).await {
                Ok(()) => is_first = false,
                Err(e) => warn!("whether something was left unsent is not known yet: {e}"),
            }
            // Whoever comes after this process, or lives beside it, goes by that.
            if let Err(e) = self.core.store.remember_rooms(self.core.process, self.core.now(), Vec::new()).await {
                debug!("that this process lives is not written down: {e}");
            }
            tokio::time::sleep(LOOKED_FOR_DEAD_EVERY).await;
        }
    }

    async fn look_for_the_dead(&self, is_alone: bool, is_first: bool, seen_to: &mut Vec<ProcessId>) -> Result<()> {
        let now = self.core.now();
        let others = self.core.store.other_processes(self.core.process).await?;
        let any_alive = !is_alone && others.iter().any(|(_, alive_at)| now.since(*alive_at) < DEAD_AFTER);
        seen_to.retain(|process| others.iter().any(|(other, _)| other == process));
        for (process, alive_at) in others {
            let silent = now.since(alive_at);
            let is_dead = is_alone || silent >= DEAD_AFTER;
            if !is_dead || seen_to.contains(&process) {
                continue;
            }
            // Others have done it long ago, and what they did may be forgotten by now.
            let is_old_news = silent > MESSAGE_LIFETIME || (silent > DONE_KEPT / 2 && (any_alive || !is_first));
            if !is_old_news {
                self.make_up_for(alive_at).await?;
            }
            seen_to.push(process);
        }
        Ok(())
    }

    async fn make_up_for(&self, alive_at: Timestamp) -> Result<()> {
        let (since, until) = (alive_at.minus(LAST_SIGN), alive_at.plus(LAST_SIGN));
        let (mut after, mut messages) = (None, 0);
        loop {
            let page = self.core.store.messages_made_since(since, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            let is_over = last.created_at > until;
            for message in page.iter().filter(|m| m.created_at <= until && !m.is_deleted && m.status != MessageStatus::Read) {
                if message.message_type != MessageType::CallLog {
                    messages += 1;
                    self.message(message, false);
                }
            }
            if is_over {
                break;
            }
        }
        let (mut after, mut calls) = (None, 0);
        loop {
            let page = self.core.store.open_calls(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            calls += page.len();
            for call in page {
                if call.status.is_ringing() && call.ring_deadline.is_some_and(|at| self.core.now() < at) {
                    self.rings(&call);
                } else {
                    let reason = if call.status.is_talking() { "answered_elsewhere" } else { call.event_status() };
                    self.moved(&call, Was::Ringing, reason.to_owned());
                }
            }
        }
        info!(messages, calls, "what a process that is gone may have left unsent was looked through");
        Ok(())
    }
}

/// How a call was before a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Was {
    /// It rang, and phones may have been told.
    Ringing,
    /// It was answered.
    Talking,
    /// Neither: nobody outside knows of it.
    Unknown,
}

/// Whether somebody has devices of his own.
fn has_phones(person: &Participant) -> bool {
    person.kind() != ParticipantKind::Admin
}

/// What a client registers.
pub struct DeviceTokens {
    platform: Platform,
    fcm: Option<String>,
    voip: Option<String>,
}

impl DeviceTokens {
    /// Errors: `INVALID_PAYLOAD` when there is none, one is none, or a VoIP token is not an iPhone's.
    pub fn new(platform: Platform, fcm: Option<&str>, voip: Option<&str>) -> Result<Self> {
        let is_token = |text: &str| (8..=4096).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fcm.is_some_and(|text| !is_token(text)) {
            return Err(Error::invalid("fcmToken must be 8 to 4096 characters without spaces"));
        }
        let is_voip = |text: &str| (32..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        if voip.is_some_and(|text| !is_voip(text)) {
            return Err(Error::invalid("voipToken must be 32 to 256 hex digits"));
        }
        if voip.is_some() && platform != Platform::Ios {
            return Err(Error::invalid("a voipToken needs platform ios"));
        }
        if fcm.is_none() && voip.is_none() {
            return Err(Error::invalid("fcmToken is required"));
        }
        Ok(Self { platform, fcm: fcm.map(str::to_owned), voip: voip.map(str::to_ascii_lowercase) })
    }
}

#[async_trait]
impl Work for Teller {
    type Job = Job;

    fn lane(job: &Job) -> OutboxLane {
        job.lane()
    }

    /// Leaves out what nobody has a device for, and what is over already: the store is not written to for nothing.
    async fn entries(&self, jobs: &[Job]) -> Result<Vec<OutboxEntry>> {
        let mut people: Vec<Participant> = jobs.iter().filter_map(Job::recipient).collect();
        people.sort();
        people.dedup();
        let devices = if people.is_empty() { Vec::new() } else { self.core.store.devices_of(&people).await? };
        let elsewhere = self.elsewhere(jobs).await?;
        let now = self.core.now();
        let mut entries = Vec::with_capacity(jobs.len());
        for job in jobs {
            let is_reachable = job.recipient().is_none_or(|person| devices.iter().any(|device| device.owner == person));
            if !is_reachable || self.is_over(job, &elsewhere, now) {
                continue;
            }
            match job.entry(now) {
                Ok(entry) => entries.push(entry),
                Err(e) => error!("something for the outside cannot be written down: {e}"),
            }
        }
        Ok(entries)
    }

    async fn carry_out(&self, entry: &OutboxEntry, fresh: bool) -> Carried {
        self.carrier.carry_out(entry, fresh).await
    }
}

/// What other nodes know of those whom jobs are for.
#[derive(Default)]
struct Elsewhere {
    /// They have a socket there.
    people: HashSet<Participant>,
    /// And sit in the room of this conversation.
    rooms: HashSet<(Participant, String)>,
}

impl Teller {
    /// Asked once for all jobs, and only for those it matters to.
    async fn elsewhere(&self, jobs: &[Job]) -> Result<Elsewhere> {
        let asked_for = |job: &Job| match job {
            Job::Message(message) => message.told_for != PushMessages::Always,
            Job::End { .. } => true,
            Job::Ring { .. } | Job::Stop { .. } | Job::Event { .. } => false,
        };
        let mut people: Vec<Participant> = jobs.iter().filter(|job| asked_for(job)).filter_map(Job::recipient).collect();
        people.sort();
        people.dedup();
        if people.is_empty() {
            return Ok(Elsewhere::default());
        }
        let (core, alive_since) = (&self.core, self.core.now().minus(SILENT_FOR));
        let told = self.presence.are_elsewhere(&people).await;
        let people: Vec<Participant> = match told {
            Some(told) => told,
            // The folder of the embedded store is this process's alone.
            None if core.store.engine() == "sqlite" => Vec::new(),
            None => {
                let seen = core.store.seen(core.process, &people, alive_since).await?;
                seen.into_iter().filter(|seen| seen.elsewhere).map(|seen| seen.person).collect()
            }
        };
        let for_rooms = |person: &&Participant| {
            let is_for = |job: &Job| matches!(job, Job::Message(m) if m.told_for == PushMessages::NotInRoom && m.recipient == **person);
            jobs.iter().any(is_for)
        };
        let with_rooms: Vec<Participant> = people.iter().filter(for_rooms).cloned().collect();
        let mut rooms = HashSet::new();
        if !with_rooms.is_empty() {
            for kept in core.store.remembered_rooms(core.process, &with_rooms, alive_since).await? {
                rooms.extend(kept.rooms.iter().map(|(key, _)| (kept.person.clone(), key.as_str().to_owned())));
            }
        }
        Ok(Elsewhere { people: people.into_iter().collect(), rooms })
    }

    fn is_over(&self, job: &Job, elsewhere: &Elsewhere, now: Timestamp) -> bool {
        let is_connected = |person: &Participant| self.core.delivery.is_connected(person) || elsewhere.people.contains(person);
        match job {
            Job::Ring { call } => self.stopped.known.contains_key(&call.id) || call.ring_deadline.is_none_or(|at| now >= at),
            Job::Message(message) => match message.told_for {
                PushMessages::Always => false,
                PushMessages::NotInRoom => elsewhere.rooms.contains(&(message.recipient.clone(), message.conversation.clone())),
                PushMessages::Offline => is_connected(&message.recipient),
            },
            Job::End { to, .. } => is_connected(to),
            Job::Stop { .. } | Job::Event { .. } => false,
        }
    }
}
