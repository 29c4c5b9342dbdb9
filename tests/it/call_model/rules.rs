//! The model's own reading of docs/protocol.md#calls. Only the table of status changes is the server's; who hears what, what is
//! remembered and what a crash leaves behind is worked out here again, without a look at the service.

use samvad::models::call::transition;
use samvad::models::{Actor, CallSide, CallStatus, EndReason, Transition, Trigger};

use super::state::{Client, Event, Fate, Kind, Outcome, Reply, Request, SOCKETS, Said, Shows, Socket, State, of};

/// Looks a step up.
pub type Table = fn(Trigger, Actor, CallStatus) -> Option<&'static Transition>;

/// A rule broken on purpose, to see that the claims notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    NobodyElseStopsAfterAnAnswer,
    NobodyElseStopsAfterAReject,
    ThePageOfTheAnswererIsStoppedToo,
    WhoeverAnswersAgainDoesNotTakeOver,
    TheEndIsNotStoredAsUntold,
    TheLogIsNotRecognised,
    TheLogIsForgotten,
    TheAnswerIsNotRepeated,
    UnansweredCallsLast,
    LosersAreLoud,
}

/// The rules.
pub struct Model {
    pub table: Table,
    pub flaw: Option<Flaw>,
}

impl Default for Model {
    fn default() -> Self {
        Self { table: transition, flaw: None }
    }
}

impl Model {
    /// What becomes of `event`; `None` where it cannot happen. `talked` is how many seconds they have talked by now.
    pub fn step(&self, before: &State, event: Event, fate: Fate, talked: u32) -> Option<Outcome> {
        if !can_happen(before, event) {
            return None;
        }
        let outcome = Outcome { state: *before, reply: None, heard: Default::default() };
        let mut turn = Turn { model: self, now: outcome, fate, talked, left_over: before.notices, dead: false };
        turn.take_place(event);
        match fate {
            Fate::Lives => {}
            Fate::DiesUnsaid if !turn.dead => return None,
            Fate::DiesUnsaid => turn.die(),
            Fate::DiesUnsettled if turn.now.state.notices == turn.left_over => return None,
            Fate::DiesUnsettled => {
                turn.now.state.notices = turn.left_over;
                turn.die();
            }
        }
        turn.now.state.forget_what_no_longer_matters();
        Some(turn.now)
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

fn can_happen(state: &State, event: Event) -> bool {
    let (status, caller_is_away) = (state.status, !state.is_here(CallSide::Caller));
    match event {
        Event::Start => !state.up,
        Event::StartLate => !state.up && status.is_ringing(),
        Event::Connect(socket) => !state.client(socket).is_here(),
        Event::Disconnect(socket) => state.client(socket).is_here(),
        // Also while nobody is up to notice: whoever comes then is told no more.
        Event::TwoMinutes => status.is_over() && (state.notices[0] || state.notices[1]),
        _ if !state.up => false,
        Event::Ask(socket, _) => state.client(socket).is_here(),
        Event::AskLate(socket, _) => state.client(socket).is_here() && status.is_ringing(),
        Event::Deadline => status.is_ringing(),
        Event::CallerGone => status.is_ringing() && state.caller_had_socket && caller_is_away,
        Event::BothGone => status.is_talking() && caller_is_away && !state.is_here(CallSide::Callee),
        Event::Stop => true,
    }
}

impl State {
    fn forget_what_no_longer_matters(&mut self) {
        if self.status.is_over() {
            (self.caller_had_socket, self.accept_heard, self.said_connected) = (false, false, [false; 2]);
            for client in self.clients.as_flattened_mut() {
                client.answered = false;
            }
        }
    }
}

/// One event on its way through the rules.
struct Turn<'a> {
    model: &'a Model,
    now: Outcome,
    fate: Fate,
    talked: u32,
    /// The notices as the store last heard of them.
    left_over: [bool; 3],
    dead: bool,
}

impl Turn<'_> {
    fn take_place(&mut self, event: Event) {
        match event {
            Event::Ask(socket, request) => self.now.reply = self.ask(socket, request, false),
            Event::AskLate(socket, request) => self.now.reply = self.ask(socket, request, true),
            Event::Connect(socket) => self.connect(socket),
            Event::Disconnect(socket) => *self.now.state.client_mut(socket) = Client::default(),
            Event::Deadline => drop(self.change(Trigger::Timeout, Actor::Server, None, Said::Nothing, None)),
            Event::CallerGone => drop(self.change(Trigger::CallerGone, Actor::Server, None, Said::Nothing, None)),
            Event::BothGone => drop(self.change(Trigger::BothGone, Actor::Server, None, Said::Nothing, None)),
            Event::TwoMinutes => self.now.state.notices[..2].fill(false),
            Event::Stop => self.die(),
            Event::Start => self.start(),
            Event::StartLate => {
                self.now.state.up = true;
                self.change(Trigger::Timeout, Actor::Server, None, Said::Nothing, None);
            }
        }
    }

    fn ask(&mut self, socket: Socket, request: Request, late: bool) -> Option<Reply> {
        if socket.side == CallSide::Caller && matches!(request, Request::Accept | Request::Reject(_)) {
            return Some(Reply::Forbidden);
        }
        if late && self.change(Trigger::Timeout, Actor::Server, None, Said::Nothing, None) && self.dead {
            return None;
        }
        let actor = match socket.side {
            CallSide::Caller => Actor::Caller,
            CallSide::Callee if self.now.state.client(socket).answered => Actor::Answerer,
            CallSide::Callee => Actor::Callee,
        };
        let (trigger, said, stated) = match request {
            Request::Accept => (Trigger::Accept, Said::Nothing, None),
            Request::Reject(said) => (Trigger::Reject, said, None),
            Request::End(said, stated) => (Trigger::End, said, stated),
            Request::Connected => (Trigger::Connect, Said::Nothing, None),
        };
        let rang = self.now.state.status.is_ringing();
        let changed = self.change(trigger, actor, Some(socket), said, stated);
        if self.dead {
            return None;
        }
        match request {
            Request::Accept if !changed => return Some(self.accept_again(socket)),
            Request::Connected if rang && socket.side == CallSide::Caller => {}
            Request::Connected if !rang => self.say_connected(socket.side),
            Request::Accept | Request::Connected => {}
            // Whoever rejects or ends has closed its screen, unless it is the one that talks and was not heard.
            Request::Reject(_) | Request::End(..) => {
                let talks = self.now.state.status.is_talking() && actor == Actor::Answerer;
                if !talks {
                    self.now.state.client_mut(socket).shows = Shows::Over;
                }
                if !changed && self.model.has(Flaw::LosersAreLoud) {
                    self.tell(Socket::all().filter(|other| *other != socket), Kind::Ended);
                }
            }
        }
        Some(Reply::Ok)
    }

    /// An accept that changes nothing: fine for the client that answered, and for any once that one has gone.
    fn accept_again(&mut self, socket: Socket) -> Reply {
        let state = &mut self.now.state;
        if !state.status.is_talking() {
            self.tell([socket], Kind::TooLate);
            return Reply::NotRinging;
        }
        let callees = &state.clients[1];
        if (0..SOCKETS).any(|n| n != socket.number && callees[n].answered) {
            self.tell([socket], Kind::Elsewhere);
            return Reply::AnsweredElsewhere;
        }
        let client = state.client_mut(socket);
        client.shows = Shows::Talking;
        client.answered |= !self.model.has(Flaw::WhoeverAnswersAgainDoesNotTakeOver);
        Reply::Ok
    }

    /// One conditional change of the store, and what is said about it. False if the table does not know it.
    fn change(&mut self, trigger: Trigger, actor: Actor, from: Option<Socket>, said: Said, stated: Option<u32>) -> bool {
        let Some(rule) = (self.model.table)(trigger, actor, self.now.state.status) else { return false };
        self.commit(rule, from, said, stated);
        self.left_over = self.now.state.notices;
        if self.fate == Fate::DiesUnsaid {
            self.dead = true;
        } else {
            self.say(from);
        }
        true
    }

    fn commit(&mut self, rule: &Transition, from: Option<Socket>, said: Said, stated: Option<u32>) {
        let state = &mut self.now.state;
        let never_rang = state.status == CallStatus::Initiated;
        state.status = rule.to;
        if rule.to == CallStatus::Answered {
            state.was_answered = true;
            state.answers += 1;
        }
        let Some((mut reason, mut detail)) = rule.end else { return };
        if state.was_answered && said == Said::Network {
            (reason, detail) = (EndReason::NetworkError, "network_error");
        }
        state.end = Some((reason, detail));
        if state.was_answered || self.model.has(Flaw::UnansweredCallsLast) {
            let believable = |stated: &u32| (1..=86_400).contains(stated) && *stated <= self.talked + 5;
            state.duration = stated.filter(believable).unwrap_or(self.talked);
        }
        // Both sides when nobody of theirs ended it, otherwise the other one; who never heard it ring only that it was missed.
        let caller = from.is_none_or(|from| from.side == CallSide::Callee);
        let callee = from.is_none_or(|from| from.side == CallSide::Caller) && (!never_rang || rule.trigger == Trigger::Timeout);
        state.notices = [caller, callee, true];
        if self.model.has(Flaw::TheEndIsNotStoredAsUntold) {
            state.notices = [false, false, true];
        }
        if self.model.has(Flaw::TheLogIsForgotten) {
            state.notices[2] = false;
        }
    }

    fn say(&mut self, from: Option<Socket>) {
        match (self.now.state.status, from) {
            (CallStatus::Answered, Some(from)) => {
                *self.now.state.client_mut(from) = Client { shows: Shows::Talking, answered: true };
                self.say_accepted();
                if !self.model.has(Flaw::NobodyElseStopsAfterAnAnswer) {
                    let spares = |other: Socket| from.shares_page_with(other) && !self.model.has(Flaw::ThePageOfTheAnswererIsStoppedToo);
                    let others = Socket::all().filter(|other| other.side == CallSide::Callee && *other != from && !spares(*other));
                    self.tell(others, Kind::Elsewhere);
                }
            }
            (CallStatus::Rejected, Some(from)) => {
                if !self.model.has(Flaw::NobodyElseStopsAfterAReject) {
                    let others = Socket::all().filter(|other| other.side == CallSide::Callee && *other != from);
                    self.tell(others, Kind::RejectedElsewhere);
                }
                self.conclude();
            }
            (status, _) if status.is_over() => self.conclude(),
            _ => {}
        }
    }

    fn say_accepted(&mut self) {
        self.now.state.accept_heard = self.tell(Socket::all().filter(|s| s.side == CallSide::Caller), Kind::Accepted);
    }

    /// Media flows: the other side hears it the first time a side says so.
    fn say_connected(&mut self, side: CallSide) {
        let state = &mut self.now.state;
        if state.status.is_talking() && !std::mem::replace(&mut state.said_connected[of(side)], true) {
            self.tell(Socket::all().filter(|s| s.side != side), Kind::Connected);
        }
    }

    /// Tells whoever is here and still to be told, and writes the log.
    fn conclude(&mut self) {
        for side in [CallSide::Caller, CallSide::Callee] {
            self.tell_end(side, Socket::all().filter(|s| s.side == side));
        }
        if self.now.state.notices[2] {
            let is_there = self.now.state.logs > 0 && !self.model.has(Flaw::TheLogIsNotRecognised);
            self.now.state.logs += u8::from(!is_there);
            self.tell(Socket::all(), Kind::Log);
            self.now.state.notices[2] = false;
        }
    }

    fn tell_end(&mut self, side: CallSide, sockets: impl IntoIterator<Item = Socket>) {
        let kind = match (self.now.state.status, side) {
            (CallStatus::Missed, _) => Kind::Missed,
            (CallStatus::Rejected, CallSide::Caller) => Kind::Rejected,
            _ => Kind::Ended,
        };
        if self.now.state.notices[of(side)] && self.tell(sockets, kind) {
            self.now.state.notices[of(side)] = false;
        }
    }

    /// The process begins: who came before it knew of the call hears now what he would have heard on coming.
    fn start(&mut self) {
        self.now.state.up = true;
        match self.now.state.status {
            status if status.is_ringing() => {
                if self.tell(Socket::all().filter(|s| s.side == CallSide::Callee), Kind::Incoming) {
                    self.change(Trigger::Ring, Actor::Server, None, Said::Nothing, None);
                }
            }
            status if status.is_talking() => self.say_accepted(),
            _ => self.conclude(),
        }
    }

    fn connect(&mut self, socket: Socket) {
        self.now.state.client_mut(socket).shows = Shows::Idle;
        let state = self.now.state;
        if !state.up {
            // It waits until the process knows of the call.
        } else if state.status.is_ringing() && socket.side == CallSide::Callee {
            self.tell([socket], Kind::Incoming);
            self.change(Trigger::Ring, Actor::Server, None, Said::Nothing, None);
        } else if state.status.is_talking() && socket.side == CallSide::Caller && !state.accept_heard {
            if !self.model.has(Flaw::TheAnswerIsNotRepeated) {
                self.now.state.accept_heard = self.tell([socket], Kind::Accepted);
            }
        } else if state.status.is_over() {
            self.tell_end(socket.side, [socket]);
        }
    }

    /// Hands an event to those of the sockets that are there. True if somebody was reached.
    fn tell(&mut self, sockets: impl IntoIterator<Item = Socket>, kind: Kind) -> bool {
        let mut reached = false;
        for socket in sockets.into_iter().filter(|s| self.now.state.client(*s).is_here()).collect::<Vec<_>>() {
            reached = true;
            self.now.heard[of(socket.side)][socket.number].add(kind);
            let shows = &mut self.now.state.client_mut(socket).shows;
            match kind {
                Kind::Incoming => *shows = Shows::Ringing,
                Kind::Accepted => *shows = Shows::Talking,
                Kind::Connected | Kind::Log => {}
                Kind::Elsewhere | Kind::RejectedElsewhere | Kind::Rejected | Kind::Ended | Kind::Missed | Kind::TooLate => {
                    *shows = Shows::Over;
                }
            }
        }
        reached
    }

    fn die(&mut self) {
        let state = &mut self.now.state;
        (state.up, state.caller_had_socket, state.accept_heard) = (false, false, false);
        (state.said_connected, state.clients) = ([false; 2], [[Client::default(); SOCKETS]; 2]);
    }
}
