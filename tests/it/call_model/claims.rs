//! What must hold whatever happens. Written from docs/protocol.md alone, so that it can find the rules of the model wrong too.

use samvad::models::{CallSide, CallStatus};

use super::state::{Event, Fate, Kind, Outcome, Reply, Request, Shows, Socket, State, of};

/// A sentence that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A call that is over never changes.
    OneOutcome,
    /// At most one answer is ever applied.
    OneAnswer,
    /// No second client is told that it answered while the first is still there.
    OneTalks,
    /// Every client that rings stops when the ringing ends, except the answerer's own page.
    AllStop,
    /// The page of the client that answered is not told to stop.
    OwnPageIsSpared,
    /// Only the client that answered hangs up by a reject.
    OnlyTheAnswererRejects,
    /// The caller neither accepts nor rejects.
    RolesHold,
    /// Who changes nothing is heard by nobody else.
    LosersAreSilent,
    /// One call log once it is over, none before.
    OneLog,
    /// No duration unless answered, and none beyond what was talked.
    DurationIsTalked,
    /// Both sides hear how it ended, if they come back within two minutes.
    TheEndIsTold,
    /// The caller hears that it was answered.
    TheAnswerIsTold,
    /// The server alone ends the ringing.
    RingingEnds,
    /// Every call can still come to an end.
    AnEndIsReachable,
}

/// One event as the claims see it.
pub struct Seen<'a> {
    pub before: &'a State,
    pub event: Event,
    pub fate: Fate,
    pub talked: u32,
}

impl Seen<'_> {
    fn asks(&self) -> Option<(Socket, Request)> {
        match self.event {
            Event::Ask(socket, request) | Event::AskLate(socket, request) => Some((socket, request)),
            _ => None,
        }
    }

    fn is_late(&self) -> bool {
        matches!(self.event, Event::AskLate(..))
    }

    /// Notes in the state after the event what the contract owes to whom from now on.
    pub fn remember(&self, outcome: &mut Outcome) {
        let (before, after) = (self.before, &mut outcome.state);
        let hears = |side, what: fn(super::state::Heard) -> bool| outcome.heard[of(side)].iter().any(|heard| what(*heard));
        if before.status.is_ringing() && after.status.is_talking() {
            after.accept_owed = true;
        }
        if after.status.is_over() || hears(CallSide::Caller, |heard| heard.has(Kind::Accepted)) {
            after.accept_owed = false;
        }
        if after.status.is_over() && !before.status.is_over() {
            let ender = self.asks().filter(|_| after.status != CallStatus::Missed).map(|(socket, _)| socket.side);
            let heard_it_ring = before.status != CallStatus::Initiated;
            after.owed =
                [ender != Some(CallSide::Caller), ender != Some(CallSide::Callee) && (heard_it_ring || after.status == CallStatus::Missed)];
        }
        for side in [CallSide::Caller, CallSide::Callee] {
            if self.event == Event::TwoMinutes || hears(side, super::state::Heard::tells_the_end) {
                after.owed[of(side)] = false;
            }
        }
    }

    /// The first claim that does not hold.
    pub fn broken(&self, outcome: &Outcome) -> Option<Claim> {
        let after = &outcome.state;
        [
            (Claim::OneOutcome, self.one_outcome(after)),
            (Claim::OneAnswer, after.answers <= 1),
            (Claim::OneTalks, after.clients[1].iter().filter(|c| c.shows == Shows::Talking).count() <= 1),
            (Claim::AllStop, self.all_stop(outcome)),
            (Claim::OwnPageIsSpared, self.own_page_is_spared(outcome)),
            (Claim::OnlyTheAnswererRejects, self.only_the_answerer_rejects(after)),
            (Claim::RolesHold, self.roles_hold(outcome)),
            (Claim::LosersAreSilent, self.losers_are_silent(outcome)),
            (Claim::OneLog, one_log(after)),
            (Claim::DurationIsTalked, self.duration_is_talked(after)),
            (Claim::TheEndIsTold, the_end_is_told(after)),
            (Claim::TheAnswerIsTold, !(after.up && after.accept_owed && after.is_here(CallSide::Caller))),
        ]
        .into_iter()
        .find_map(|(claim, holds)| (!holds).then_some(claim))
    }

    fn one_outcome(&self, after: &State) -> bool {
        let outcome = |state: &State| (state.status, state.end, state.duration);
        // What comes after the deadline finds a missed call.
        let too_late = !self.is_late() || after.status == CallStatus::Missed || after == self.before;
        too_late && (!self.before.status.is_over() || outcome(self.before) == outcome(after))
    }

    fn all_stop(&self, outcome: &Outcome) -> bool {
        let after = &outcome.state;
        if !after.up || after.status.is_ringing() {
            return true;
        }
        let answered_by = self.asks().filter(|_| after.status == CallStatus::Answered).map(|(socket, _)| socket);
        Socket::all().filter(|s| s.side == CallSide::Callee).all(|socket| {
            let rings = |state: &State| state.client(socket).shows == Shows::Ringing;
            if self.before.status.is_ringing() && rings(self.before) && after.client(socket).is_here() {
                let own = self.asks().is_some_and(|(asker, _)| asker == socket);
                let spared = answered_by.is_some_and(|answerer| answerer.shares_page_with(socket));
                let heard = outcome.heard_by(socket);
                let told = heard.tells_the_end() || heard.has(Kind::Elsewhere) || heard.has(Kind::RejectedElsewhere);
                if !(own || spared || (told && !rings(after))) {
                    return false;
                }
            }
            // Later only the second socket of a page that answered may still ring.
            !rings(after) || (after.was_answered && Socket { side: CallSide::Callee, number: 0 }.shares_page_with(socket))
        })
    }

    fn own_page_is_spared(&self, outcome: &Outcome) -> bool {
        let Some((asker, _)) = self.asks().filter(|_| self.before.status.is_ringing() && outcome.state.status.is_talking()) else {
            return true;
        };
        Socket::all().filter(|s| *s != asker && s.shares_page_with(asker)).all(|socket| outcome.heard_by(socket).is_nothing())
    }

    fn only_the_answerer_rejects(&self, after: &State) -> bool {
        match self.event {
            Event::Ask(socket, Request::Reject(_)) if self.before.status.is_talking() => {
                self.before.client(socket).shows == Shows::Talking || after.status == self.before.status
            }
            _ => true,
        }
    }

    fn roles_hold(&self, outcome: &Outcome) -> bool {
        match self.asks() {
            Some((Socket { side: CallSide::Caller, .. }, Request::Accept | Request::Reject(_))) if self.fate == Fate::Lives => {
                outcome.reply == Some(Reply::Forbidden)
                    && outcome.state == *self.before
                    && outcome.heard.as_flattened().iter().all(|heard| heard.is_nothing())
            }
            _ => true,
        }
    }

    fn losers_are_silent(&self, outcome: &Outcome) -> bool {
        match self.asks() {
            Some((asker, Request::Accept | Request::Reject(_) | Request::End(..))) if outcome.state.status == self.before.status => {
                Socket::all().filter(|socket| *socket != asker).all(|socket| outcome.heard_by(socket).is_nothing())
            }
            _ => true,
        }
    }

    fn duration_is_talked(&self, after: &State) -> bool {
        if self.before.status.is_over() || !after.status.is_over() {
            return after.status.is_over() || after.duration == 0;
        }
        let talked = if self.before.status.is_talking() { self.talked + 5 } else { 0 };
        after.duration <= talked && (!self.is_late() || after.duration == 0)
    }
}

fn one_log(state: &State) -> bool {
    let [.., log_is_due] = state.notices;
    let due = u8::from(state.status.is_over());
    // A process that died may have left it to the next one.
    state.logs == due || (!state.up && state.logs == 0 && log_is_due)
}

/// Whoever is owed the news is away, and the store knows.
fn the_end_is_told(state: &State) -> bool {
    [CallSide::Caller, CallSide::Callee].into_iter().all(|side| {
        let reachable = state.up && state.is_here(side);
        !state.owed[of(side)] || (state.notices[of(side)] && !reachable)
    })
}
