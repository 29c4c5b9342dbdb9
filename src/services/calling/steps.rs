//! One step of a call: the table decides, the store settles who was first, and then it is said.

use std::sync::Arc;

use tracing::{Instrument, debug, info};

use crate::delivery::{Audience, CallConnected, CallEnded, CallOffer, Connection, ServerEvent};
use crate::error::{Error, Result};
use crate::models::call::{believable_duration, transition};
use crate::models::{Actor, Call, CallSide, CallStatus, EndReason, Notices, Participant, Transition, Trigger};
use crate::services::nodes::Note;
use crate::services::push::Was;
use crate::store::{CallChange, CallEnd, Transitioned};
use crate::traces;

use super::elsewhere::Spread;
use super::live::{Answerer, LiveCall};
use super::{Calling, MediaToken, ending, offer};

/// How often a step is tried anew because somebody else was faster; every time the call is one state further.
const ATTEMPTS: usize = 4;

/// What comes with a step.
#[derive(Default)]
pub(super) struct Said<'a> {
    /// The party that does it.
    pub by: Option<&'a Participant>,
    /// The socket it came from.
    pub from: Option<&'a Arc<Connection>>,
    /// In the client's words.
    pub reason: Option<String>,
    /// Seconds the client says were talked.
    pub duration: Option<u64>,
}

/// What became of a step.
pub(super) enum Taken {
    /// It was taken.
    Applied(Call),
    /// It changes nothing; the call as it is.
    Unchanged(Call),
}

impl Taken {
    pub fn into_call(self) -> Call {
        match self {
            Self::Applied(call) | Self::Unchanged(call) => call,
        }
    }
}

impl Calling {
    /// Takes a step of `call`, whose turn the caller holds. Says what is to be said if it was taken.
    pub(super) async fn step(&self, call: Call, actor: Actor, trigger: Trigger, said: Said<'_>) -> Result<Taken> {
        let mut call = call;
        for _ in 0..ATTEMPTS {
            // What comes after the deadline finds a missed call, whether or not anybody has noticed the deadline yet.
            let late = call.status.is_ringing() && call.ring_deadline.is_some_and(|deadline| self.now() > deadline);
            let (actor, trigger, step_said) =
                if late { (Actor::Server, Trigger::Timeout, &Said::default()) } else { (actor, trigger, &said) };
            let Some(rule) = transition(trigger, actor, call.status) else {
                self.connected_too(&call, actor, trigger);
                return Ok(Taken::Unchanged(call));
            };
            let before = call.status;
            match self.0.core.store.transition_call(self.change(&call, rule, step_said)).instrument(traces::commit("commit call")).await {
                Ok(Transitioned::Applied(after)) => {
                    self.note(&after);
                    self.measure(before, &after);
                    self.announce(&after, step_said.reason.as_deref());
                    info!(call.id = %after.id, from = before.as_str(), to = after.status.as_str(), by = ?actor, "a call moved on");
                    self.tell_outside(&after, before, step_said.reason.as_deref());
                    self.follow_up(&after, rule, actor, step_said);
                    if !late {
                        return Ok(Taken::Applied(*after));
                    }
                    call = *after;
                }
                Ok(Transitioned::Refused(current)) => {
                    self.learn(&current);
                    call = *current;
                }
                Ok(Transitioned::NotFound) => return Err(Error::CallNotFound),
                Err(error) => {
                    // It may have been taken all the same; then somebody still has to hear of it.
                    let from = step_said.from.map(|c| c.id());
                    self.0.live.change(call.id, |live| live.unsure = Some(from));
                    self.wake_soon(call.id);
                    return Err(error);
                }
            }
        }
        debug!(call.id = %call.id, "a step lost every race");
        Err(Error::overloaded())
    }

    /// Phones stop ringing, and the webhook hears of the step.
    fn tell_outside(&self, after: &Call, before: CallStatus, said: Option<&str>) {
        let was = match before {
            // Who was busy was never rung.
            _ if after.end_detail.as_deref() == Some("busy") && after.ended_by.is_none() => Was::Unknown,
            status if status.is_ringing() => Was::Ringing,
            status if status.is_talking() => Was::Talking,
            _ => Was::Unknown,
        };
        let reason = if after.status.is_talking() { "answered_elsewhere".to_owned() } else { ending::event_reason(after, said) };
        self.0.push.moved(after, was, reason);
    }

    /// Counts a step this node took.
    fn measure(&self, before: CallStatus, after: &Call) {
        let metrics = &self.0.core.metrics;
        if before.is_ringing() && !after.status.is_ringing() {
            let until = after.answered_at.or(after.ended_at).unwrap_or_else(|| self.now());
            metrics.ring_seconds.observe(until.since(after.initiated_at).as_secs_f64());
        }
        if after.status.is_over() {
            let outcome = match (after.status, after.end_reason) {
                (CallStatus::Missed, _) => "missed",
                (CallStatus::Rejected, _) if after.end_detail.as_deref() == Some("busy") => "busy",
                (CallStatus::Rejected, _) => "rejected",
                (_, Some(EndReason::Cancelled)) => "cancelled",
                (_, Some(EndReason::NetworkError)) => "network_error",
                _ => "completed",
            };
            metrics.calls_ended.with_label_values(&[outcome]).inc();
            if after.answered_at.is_some() {
                metrics.talk_seconds.observe(f64::from(after.duration));
            }
        }
    }

    fn change(&self, call: &Call, rule: &Transition, said: &Said<'_>) -> CallChange {
        let at = self.now();
        let end = rule.end.map(|(reason, detail)| {
            let was_answered = call.answered_at.is_some();
            let server_duration = if was_answered { call.seconds_talked(at) } else { 0 };
            // The nearest word of ours for what the client said.
            let (reason, detail) = match (rule.to, said.reason.as_deref()) {
                (CallStatus::Ended, Some(text)) if was_answered && text.contains("network") => (EndReason::NetworkError, "network_error"),
                (CallStatus::Rejected, Some("busy")) => (reason, "busy"),
                _ => (reason, detail),
            };
            CallEnd {
                reason,
                detail: detail.to_owned(),
                by: said.by.cloned(),
                duration: believable_duration(said.duration, server_duration, was_answered),
                server_duration,
                notices: self.notices(call, rule, said),
            }
        });
        // Where the duration counts from decides it, so the end must find the very state it was worked out from.
        let from = if rule.end.is_some() && call.status.is_talking() { vec![call.status] } else { rule.from.to_vec() };
        CallChange { id: call.id, from, to: rule.to, end, at }
    }

    /// Who has to hear of an end, and whether it is logged.
    fn notices(&self, call: &Call, rule: &Transition, said: &Said<'_>) -> Notices {
        // A callee that never heard it ring need not hear that it stopped; that it was missed, though, is news.
        let heard = call.ringing_at.is_some();
        let other = said.by.and_then(|by| call.side_of(by)).map(CallSide::other);
        let (caller, callee) = match rule.trigger {
            Trigger::Timeout | Trigger::BothGone => (true, true),
            Trigger::CallerGone => (true, heard),
            Trigger::Busy => (true, false),
            _ if call.status.is_talking() => (other == Some(CallSide::Caller), other == Some(CallSide::Callee)),
            _ => (other == Some(CallSide::Caller), other == Some(CallSide::Callee) && heard),
        };
        Notices { caller, callee, log: self.0.core.rules.calls.logs }
    }

    /// Takes over what the store answered.
    pub(super) fn note(&self, after: &Call) {
        if self.0.live.get(after.id).is_none() {
            self.0.live.add(LiveCall::found(after.clone()));
        }
        self.0.live.change(after.id, |live| {
            // Another node may have been faster in telling of its step than the store in telling of ours.
            if !live.call.status.is_later_than(after.status) {
                live.call = after.clone();
            }
            live.unsure = None;
        });
    }

    /// The client that answered is gone, and another one of the callee's goes on for it.
    pub(super) fn take_over_answer(&self, call: &Call, from: &Connection) {
        self.note(call);
        self.0.live.change(call.id, |live| live.answered_by = Some(Answerer::Here(from.id())));
        self.announce(call, None);
        self.wake_when_due(call.id);
    }

    /// Somebody else, perhaps another process, has moved the call on: those who are connected here have not heard of it.
    pub(super) fn learn(&self, current: &Call) {
        let Some(live) = self.0.live.get(current.id) else { return };
        let (before, unsure) = (live.call.status, live.unsure);
        if before == current.status {
            self.0.live.change(current.id, |live| (live.call, live.unsure) = (current.clone(), None));
            return;
        }
        self.note(current);
        let is_answered = current.status.is_talking() && before.is_ringing();
        if is_answered {
            self.0.live.change(current.id, |live| live.answered_by = unsure.flatten().map(Answerer::Here));
        }
        let spread = match unsure {
            // The step may have been ours.
            Some(_) => {
                self.announce(current, None);
                self.tell_outside(current, before, None);
                Spread::Everywhere
            }
            None if self.others_are_heard() => {
                self.wake_when_due(current.id);
                return self.look_whether_it_was_said(current.id);
            }
            None => Spread::Here,
        };
        if is_answered {
            self.say_accepted(current, None, spread);
            self.wake_when_due(current.id);
        } else if current.status.is_over() {
            self.conclude(current.id, spread);
        }
    }

    fn follow_up(&self, after: &Call, rule: &Transition, actor: Actor, said: &Said<'_>) {
        match after.status {
            CallStatus::Answered => {
                self.0.live.change(after.id, |live| live.answered_by = said.from.map(|c| Answerer::Here(c.id())));
                self.say_accepted(after, said.from.map(AsRef::as_ref), Spread::Everywhere);
                self.wake_when_due(after.id);
            }
            CallStatus::Ongoing => self.connected_too(after, actor, rule.trigger),
            status if status.is_over() => {
                self.0.live.change(after.id, |live| live.said.clone_from(&said.reason));
                if status == CallStatus::Rejected && said.by.is_some() {
                    self.stop_others(after, said.from.map(AsRef::as_ref));
                }
                self.conclude(after.id, Spread::Everywhere);
            }
            _ => {}
        }
    }

    /// The caller hears who answered; the callee's other clients hear that they may stop.
    pub(super) fn say_accepted(&self, call: &Call, from: Option<&Connection>, spread: Spread) {
        let delivery = &self.0.core.delivery;
        let caller = call.caller.identity();
        let mark = || Note::AcceptHeard { call: call.id }.for_whom(&caller);
        if delivery.emit_marked(&spread.to([caller.clone()]), &self.accepted(call, &self.media(call)), mark).count() > 0 {
            self.accept_was_heard_here(call.id);
        }
        let elsewhere = ServerEvent::CallEnded(CallEnded::new(call, CallSide::Callee, "answered_elsewhere".into()));
        // Only where it is known who answered: he himself must not hear it.
        if let Some(from) = from {
            let others = Audience::people([call.callee.identity()]).except(Some(from.id())).except_page_of(Some(from));
            delivery.emit(&others, &elsewhere);
        }
    }

    /// What the caller hears of an answer.
    pub(super) fn accepted(&self, call: &Call, media: &MediaToken) -> ServerEvent {
        let contact_id = Some(call.callee.id().to_owned());
        ServerEvent::CallAccepted(Box::new(CallOffer { contact_id, accepted_at: call.answered_at, ..offer(call, media) }))
    }

    /// The callee's other clients stop ringing after a reject.
    fn stop_others(&self, call: &Call, from: Option<&Connection>) {
        let rejected = ServerEvent::CallEnded(CallEnded::new(call, CallSide::Callee, "rejected".into()));
        let others = Audience::people([call.callee.identity()]).except(from.map(Connection::id));
        self.0.core.delivery.emit(&others, &rejected);
    }

    /// Tells the other side, once, that media flows.
    fn connected_too(&self, call: &Call, actor: Actor, trigger: Trigger) {
        let (Trigger::Connect, true, Some(side)) = (trigger, call.status.is_talking(), actor.side()) else { return };
        let first = self.0.live.change(call.id, |live| {
            let said = &mut live.said_connected[usize::from(side == CallSide::Callee)];
            !std::mem::replace(said, true)
        });
        if first == Some(true) {
            let other = side.other();
            let event = ServerEvent::CallConnected(CallConnected::new(call, other));
            self.0.core.delivery.emit(&Audience::people([call.party(other).identity()]), &event);
        }
    }

    /// Notes that a client of the callee has heard of a call. Best effort: without it the call rings all the same.
    pub(super) fn note_ringing(&self, call: Call) {
        if call.status != CallStatus::Initiated {
            return;
        }
        let this = self.clone();
        self.0.core.tasks.spawn(async move {
            let _turn = this.0.live.turn(call.id).await;
            let Some(call) = this.0.live.get(call.id).map(|live| live.call) else { return };
            if let Err(e) = this.step(call, Actor::Server, Trigger::Ring, Said::default()).await {
                debug!("a call was not marked as ringing: {}", ending::story(&e));
            }
        });
    }
}
