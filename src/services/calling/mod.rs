//! Calls: ringing, answering, hanging up, and what is said about it. Durable first, heard second, as with messages.
//!
//! `live` holds the calls that still need somebody; `steps` takes one step of the state machine and says so; `ending` does what is
//! due when a call is over; `clockwork` looks at calls when their time has come and after a restart; `elsewhere` keeps this node and
//! the others of one mind.
//! Source: docs/protocol.md#calls.

mod clockwork;
mod elsewhere;
mod ending;
mod live;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{Instrument, info};

use crate::auth::CurrentUser;
use crate::delivery::{Audience, CallBase, CallEnded, CallOffer, Connection, ServerEvent};
use crate::error::{Error, Result};
use crate::models::{
    Actor, Call, CallId, CallSide, CallStatus, CallType, Feedback, NewCall, Pair, Participant, ParticipantKind, Timestamp, Trigger,
};
use crate::store::{self, CallQuery};
use crate::traces;

use super::Core;
use super::guard::Guard;
use super::limits::Limited;
use super::media_tokens::{ANY_UID, MediaToken, MediaTokens, channel_name};
use super::messaging::Messaging;
use super::nodes::Note;
use super::permissions::{Operation, Standing};
use super::presence::PresenceBook;
use super::profiles::Profiles;
use super::push::Push;
use super::stock::OpenCalls;
use elsewhere::Spread;
use ending::Settled;
use live::{Answerer, LiveCall, LiveCalls};
use steps::Said;

/// What operators may change of the rules of calls; see [`crate::config::SETTINGS`].
#[derive(Clone, Debug)]
pub struct CallRules {
    /// `RING_TIMEOUT_SECONDS`.
    pub ring_for: Duration,
    /// `CALL_BUSY`.
    pub busy: bool,
    /// `CALL_LOGS`.
    pub logs: bool,
    /// `CALLER_PHONE`.
    pub caller_phone: bool,
    /// `AGORA_APP_ID`, `AGORA_APP_CERTIFICATE`, `AGORA_TOKEN_VERSION`, `AGORA_TOKEN_SECONDS`.
    pub media: MediaTokens,
}

impl Default for CallRules {
    fn default() -> Self {
        Self { ring_for: Duration::from_secs(60), busy: true, logs: true, caller_phone: true, media: MediaTokens::default() }
    }
}

/// Rings, answers and ends calls. Cheap to clone.
#[derive(Clone)]
pub struct Calling(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    messaging: Messaging,
    profiles: Profiles,
    presence: PresenceBook,
    guard: Guard,
    live: Arc<LiveCalls>,
    settled: Settled,
    push: Push,
}

/// A request to ring.
pub struct InitiateCall {
    /// Whom.
    pub callee: Participant,
    /// Kind.
    pub call_type: CallType,
    /// Document id of the consultation it belongs to.
    pub consultation_id: Option<String>,
    /// The socket it came from; none for REST.
    pub from: Option<Arc<Connection>>,
}

/// A call, with what is needed to join its channel.
pub struct OfferedCall {
    /// The call as it is now.
    pub call: Call,
    /// The way into its channel.
    pub media: MediaToken,
}

/// How a client ends or rejects a call.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// In the client's words, at most 64 characters.
    pub reason: Option<String>,
    /// Seconds the client says were talked.
    pub duration: Option<u64>,
}

/// What to do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallAction {
    /// Reject it.
    Reject,
    /// End it.
    End,
    /// Note that media flows.
    Connect,
}

impl CallAction {
    fn trigger(self) -> Trigger {
        match self {
            Self::Reject => Trigger::Reject,
            Self::End => Trigger::End,
            Self::Connect => Trigger::Connect,
        }
    }
}

/// What became of a queued event of the shipped app, which does not say what it is.
pub enum BareOutcome {
    /// It was an answer.
    Answered(Box<OfferedCall>),
    /// It was something else; the call as it is now.
    Done(Box<Call>),
    /// It meant nothing.
    Ignored,
}

impl Calling {
    pub(super) fn start(
        core: Arc<Core>,
        messaging: Messaging,
        profiles: Profiles,
        presence: PresenceBook,
        guard: Guard,
        push: Push,
    ) -> Self {
        let live = Arc::new(LiveCalls::new(core.bus.clone()));
        let settled = Settled::start(&core, Arc::clone(&live));
        let this = Self(Arc::new(Inner { core, messaging, profiles, presence, guard, live, settled, push }));
        clockwork::start(&this);
        this
    }

    /// From now on a call that a phone was told of counts as ringing.
    pub(super) fn hear_of_rings(&self, mut rings: mpsc::Receiver<CallId>) {
        let (this, stop) = (self.clone(), self.0.core.stop.clone());
        self.0.core.tasks.spawn(async move {
            while let Some(Some(id)) = stop.run_until_cancelled(rings.recv()).await {
                this.rang_here(id);
            }
        });
    }

    /// Rings somebody.
    ///
    /// Stored first; then the asking socket hears `call:initiated` and `call:token`, the callee `call:incoming`. A callee who talks to
    /// somebody else is not rung: the call comes back as rejected. Errors: as [`super::relations::Relations::require`], `RATE_LIMITED`.
    pub async fn initiate(&self, user: &CurrentUser, ask: InitiateCall) -> Result<OfferedCall> {
        let Inner { core, profiles, live, guard, presence, .. } = &*self.0;
        guard.limits.count(user, Limited::Calls)?;
        guard.relations.require(user, &ask.callee).await?;
        let pair = Pair::new(user.identity(), ask.callee.clone()).ok_or(Error::SelfConversationBlocked)?;
        let caller_profile = profiles.of(user.participant(), Some(user.profile())).await?;
        let callee_profile = profiles.of(&ask.callee, None).await?;
        let now = core.now();
        let busy = self.is_busy(&ask.callee).await;
        let rings = !busy && presence.is_anywhere(&ask.callee).await;
        let new = NewCall {
            caller: user.participant().clone(),
            caller_profile,
            callee: ask.callee,
            callee_profile,
            call_type: ask.call_type,
            channel: channel_name(now),
            conversation_key: pair.key(),
            consultation_id: ask.consultation_id,
            status: if rings { CallStatus::Ringing } else { CallStatus::Initiated },
            ring_for: core.rules.calls.ring_for,
            at: now,
        };
        let call = core.store.create_call(new).instrument(traces::commit("commit call")).await?;
        traces::note_call(&call.id);
        core.metrics.calls_begun.inc();
        info!(call.id = %call.id, caller = %call.caller, callee = %call.callee, call.kind = call.call_type.as_str(), "a call was begun");
        let phone = user.phone().filter(|_| core.rules.calls.caller_phone).map(str::to_owned);
        let _turn = live.turn(call.id).await;
        live.add(LiveCall { caller_phone: phone, caller_had_socket: ask.from.is_some(), ..LiveCall::found(call.clone()) });
        self.announce(&call, None);
        let media = self.media(&call);
        if let Some(from) = &ask.from {
            let event = ServerEvent::CallInitiated(Box::new(offer(&call, &media)));
            core.delivery.emit(&Audience::connection(from.id()), &event);
        }
        if busy {
            let call = self.step(call, Actor::Server, Trigger::Busy, Said::default()).await?.into_call();
            return Ok(OfferedCall { call, media });
        }
        self.wake_when_due(call.id);
        self.ring(&call, Spread::Everywhere);
        self.0.push.rings(&call);
        Ok(OfferedCall { call, media })
    }

    /// Calls this node knows of that are not over.
    pub(super) fn open_here(&self) -> OpenCalls {
        self.0.live.open()
    }

    /// Whether a new call would not reach this person: he talks, and is here to talk.
    async fn is_busy(&self, callee: &Participant) -> bool {
        let Inner { core, live, presence, .. } = &*self.0;
        core.rules.calls.busy
            && callee.kind() != ParticipantKind::Admin
            && (live.is_talking(callee) || self.talks_elsewhere(callee).await)
            && presence.is_anywhere(callee).await
    }

    fn ring(&self, call: &Call, spread: Spread) {
        let mark = || Note::Rang { call: call.id }.for_whom(&call.callee);
        self.0.core.delivery.emit_marked(&spread.to([call.callee.identity()]), &self.incoming(call), mark);
    }

    /// What the callee hears; a call that is offered rings, even if that is not stored yet.
    fn incoming(&self, call: &Call) -> ServerEvent {
        let caller_phone = self.0.live.get(call.id).and_then(|live| live.caller_phone);
        let call = Call { status: CallStatus::Ringing, ..call.clone() };
        ServerEvent::CallIncoming(Box::new(CallOffer { caller_phone, ..offer(&call, &self.media(&call)) }))
    }

    fn media(&self, call: &Call) -> MediaToken {
        self.0.core.rules.calls.media.issue(&call.channel, self.0.core.now())
    }

    /// Answers a call that rings.
    ///
    /// Errors: `CALL_NOT_FOUND` for strangers, `FORBIDDEN` for the caller, `ANSWERED_ELSEWHERE` and `CALL_NOT_RINGING` for those who
    /// come too late (their socket is also told to stop ringing), `UNAVAILABLE`.
    pub async fn accept(&self, user: &CurrentUser, id: CallId, from: &Arc<Connection>) -> Result<OfferedCall> {
        let _turn = self.0.live.turn(id).await;
        let (call, side) = self.party_to(user, id, Operation::Answer).await?;
        if side == CallSide::Caller {
            return Err(Error::Forbidden("only the callee answers a call".into()));
        }
        let actor = self.actor(&call, side, Some(from));
        let said = Said { from: Some(from), ..Said::default() };
        let call = match self.step(call, actor, Trigger::Accept, said).await? {
            steps::Taken::Applied(call) => call,
            steps::Taken::Unchanged(call) if call.status.is_talking() => {
                if self.answerer_of(id).await.is_some_and(|other| other != Answerer::Here(from.id()) && self.is_there(&other)) {
                    self.tell_to_stop(&call, side, from, "answered_elsewhere");
                    return Err(Error::AnsweredElsewhere);
                }
                // From now on this is the client that talks, or the next one would be told the same.
                self.take_over_answer(&call, from);
                call
            }
            steps::Taken::Unchanged(call) => {
                self.tell_to_stop(&call, side, from, ending::event_reason(&call, None));
                return Err(Error::CallNotRinging);
            }
        };
        let media = self.media(&call);
        Ok(OfferedCall { call, media })
    }

    /// Tells one socket that asked too late.
    fn tell_to_stop(&self, call: &Call, side: CallSide, from: &Connection, reason: impl Into<String>) {
        let event = ServerEvent::CallEnded(CallEnded::new(call, side, reason.into()));
        self.0.core.delivery.emit(&Audience::connection(from.id()), &event);
    }

    /// Rejects, ends or connects. What changes nothing any more is no error. Returns the call as it is now.
    ///
    /// Errors: `CALL_NOT_FOUND` for strangers, `FORBIDDEN` for a caller who rejects, `UNAVAILABLE`.
    pub async fn act(
        &self,
        user: &CurrentUser,
        id: CallId,
        action: CallAction,
        ending: Ending,
        from: Option<&Arc<Connection>>,
    ) -> Result<Call> {
        let _turn = self.0.live.turn(id).await;
        let operation = if action == CallAction::Reject { Operation::Answer } else { Operation::TakePart };
        let (call, side) = self.party_to(user, id, operation).await?;
        if action == CallAction::Reject && side == CallSide::Caller {
            return Err(Error::Forbidden("only the callee rejects a call".into()));
        }
        let actor = self.actor(&call, side, from);
        let said = Said { by: Some(user.participant()), from, reason: ending.reason, duration: ending.duration };
        Ok(self.step(call, actor, action.trigger(), said).await?.into_call())
    }

    /// What the shipped app queued while it was offline and sent under the name `call` alone. Source: docs/protocol.md#calls.
    pub async fn bare(&self, user: &CurrentUser, id: CallId, ending: Ending, from: &Arc<Connection>) -> Result<BareOutcome> {
        let (call, side) = match self.party_to(user, id, Operation::TakePart).await {
            Err(Error::CallNotFound) => return Ok(BareOutcome::Ignored),
            found => found?,
        };
        let action = match (&ending.reason, ending.duration) {
            (Some(_), _) => CallAction::Reject,
            (None, Some(_)) => CallAction::End,
            (None, None) if call.status.is_over() => {
                self.tell_to_stop(&call, side, from, ending::event_reason(&call, None));
                return Ok(BareOutcome::Done(Box::new(call)));
            }
            (None, None) if call.status.is_talking() => CallAction::Connect,
            (None, None) if side == CallSide::Callee => {
                return self.accept(user, id, from).await.map(|offered| BareOutcome::Answered(Box::new(offered)));
            }
            (None, None) => return Ok(BareOutcome::Ignored),
        };
        self.act(user, id, action, ending, Some(from)).await.map(|call| BareOutcome::Done(Box::new(call)))
    }

    /// A fresh token for a call one is a party to, also as `call:token` to the asking socket. Errors: `CALL_NOT_FOUND`, `CALL_OVER`.
    pub async fn renew_token(&self, user: &CurrentUser, id: CallId, from: Option<&Arc<Connection>>) -> Result<OfferedCall> {
        let (call, _) = self.party_to(user, id, Operation::TakePart).await?;
        if call.status.is_over() {
            return Err(Error::CallOver);
        }
        let media = self.media(&call);
        info!(call.id = %id, participant = %user.participant(), "a media token was issued");
        if let Some(from) = from {
            let event = ServerEvent::CallToken(Box::new(offer(&call, &media)));
            self.0.core.delivery.emit(&Audience::connection(from.id()), &event);
        }
        Ok(OfferedCall { call, media })
    }

    /// A token for a channel nobody is in yet, for an admin who tries out his equipment. The name is ours.
    pub fn fresh_channel(&self) -> (String, MediaToken) {
        let now = self.0.core.now();
        let channel = channel_name(now);
        let token = self.0.core.rules.calls.media.issue(&channel, now);
        (channel, token)
    }

    /// A call one is a party to; an admin may look at any. Errors: `CALL_NOT_FOUND`.
    pub async fn get(&self, user: &CurrentUser, id: CallId) -> Result<Call> {
        let Inner { core, guard, .. } = &*self.0;
        guard.limits.count(user, Limited::Other)?;
        let call = core.store.find_call(id).await?.ok_or(Error::CallNotFound)?;
        guard.decide(user, Operation::ShowCall, standing(user, &call), || id.to_string(), Error::CallNotFound)?;
        Ok(call)
    }

    /// One's own calls; `query.person` is `user`. Errors: `CALL_NOT_FOUND` for an unknown cursor.
    pub async fn history(&self, user: &CurrentUser, query: CallQuery) -> Result<store::Calls> {
        self.0.guard.limits.count(user, Limited::Other)?;
        self.0.core.store.calls_of(query).await
    }

    /// Stores what a party thought of a call that is over.
    ///
    /// Repeating the same is no error. Errors: `CALL_NOT_FOUND`; `CONFLICT` before the end, and when there is other feedback already.
    pub async fn rate(&self, user: &CurrentUser, id: CallId, rating: u8, comment: Option<String>) -> Result<Call> {
        let (call, _) = self.party_to(user, id, Operation::TakePart).await?;
        if !call.status.is_over() {
            return Err(Error::Conflict("the call is not over yet".into()));
        }
        let feedback = Feedback { rating, comment, by: Some(user.participant().clone()) };
        let rated = self.0.core.store.rate_call(id, feedback.clone(), self.0.core.now()).await?.ok_or(Error::CallNotFound)?;
        if rated.feedback.as_ref() != Some(&feedback) {
            return Err(Error::Conflict("this call was rated already".into()));
        }
        info!(call.id = %id, participant = %user.participant(), rating, "a call was rated");
        Ok(rated)
    }

    /// A call and the side `user` is on. Errors: `CALL_NOT_FOUND`, whether it exists or not.
    async fn party_to(&self, user: &CurrentUser, id: CallId, operation: Operation) -> Result<(Call, CallSide)> {
        self.0.guard.limits.count(user, Limited::Other)?;
        traces::note_call(&id);
        let call = match self.0.live.get(id) {
            Some(live) if live.unsure.is_none() => live.call,
            _ => self.0.core.store.find_call(id).await?.ok_or(Error::CallNotFound)?,
        };
        self.0.guard.decide(user, operation, standing(user, &call), || id.to_string(), Error::CallNotFound)?;
        let side = call.side_of(user.participant()).ok_or(Error::CallNotFound)?;
        Ok((call, side))
    }

    fn actor(&self, call: &Call, side: CallSide, from: Option<&Arc<Connection>>) -> Actor {
        let answered_by = self.0.live.get(call.id).and_then(|live| live.answered_by);
        match side {
            CallSide::Caller => Actor::Caller,
            CallSide::Callee if answered_by.is_some() && answered_by == from.map(|c| Answerer::Here(c.id())) => Actor::Answerer,
            CallSide::Callee => Actor::Callee,
        }
    }

    /// When it is, for what is said about a call.
    fn now(&self) -> Timestamp {
        self.0.core.now()
    }
}

fn standing(user: &CurrentUser, call: &Call) -> Standing {
    match call.side_of(user.participant()) {
        Some(_) => Standing::Party,
        None if user.is_admin() => Standing::Admin,
        None => Standing::Stranger,
    }
}

fn offer(call: &Call, media: &MediaToken) -> CallOffer {
    CallOffer {
        base: CallBase::new(call),
        agora_token: media.token.clone(),
        agora_app_id: media.app_id.clone(),
        uid: ANY_UID,
        agora_uid: ANY_UID,
        expires_at: media.expires_at,
        caller_phone: None,
        contact_id: None,
        accepted_at: None,
    }
}
