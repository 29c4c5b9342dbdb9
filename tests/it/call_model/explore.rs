//! Every state that can be reached, breadth first, so that the way to a broken claim is a shortest one.

use std::collections::HashMap;
use std::fmt;

use super::claims::{Claim, Seen};
use super::rules::Model;
use super::state::{Event, Fate, Request, Said, Socket, State};

/// Seconds they have talked whenever a talk ends; what a client says is less, absent, or unbelievable.
const TALKED: u32 = 60;
const STATED: [Option<u32>; 3] = [None, Some(30), Some(90)];

/// How much was looked at.
#[derive(Debug)]
pub struct Visited {
    pub states: usize,
    pub transitions: usize,
    pub final_states: usize,
}

/// A claim that does not hold, and how to get there.
pub struct Violation {
    pub claim: Claim,
    way: Vec<(Event, Fate)>,
    state: State,
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?} does not hold after:", self.claim)?;
        for (event, fate) in &self.way {
            writeln!(f, "  {event:?} ({fate:?})")?;
        }
        write!(f, "{:#?}", self.state)
    }
}

/// A state and how it was first reached.
struct Reached {
    state: State,
    by: Option<(usize, Event, Fate)>,
}

/// Visits every state, or stops at the first claim that does not hold.
pub fn explore(model: &Model) -> Result<Visited, Box<Violation>> {
    let events = every_event();
    let mut found: HashMap<State, usize> = HashMap::new();
    let mut reached: Vec<Reached> = Vec::new();
    let mut arrows: Vec<(u32, u32)> = Vec::new();
    for beginning in State::beginnings().map(State::canonical) {
        found.entry(beginning).or_insert_with(|| {
            reached.push(Reached { state: beginning, by: None });
            reached.len() - 1
        });
    }
    let mut at = 0;
    while at < reached.len() {
        let before = reached[at].state;
        if !ringing_ends(model, &before) {
            return Err(violation(Claim::RingingEnds, &reached, at, None, before));
        }
        for &event in events.iter().filter(|event| !is_of_a_twin(&before, **event)) {
            for fate in [Fate::Lives, Fate::DiesUnsaid, Fate::DiesUnsettled] {
                let Some(mut outcome) = model.step(&before, event, fate, TALKED) else { continue };
                let seen = Seen { before: &before, event, fate, talked: TALKED };
                seen.remember(&mut outcome);
                if let Some(claim) = seen.broken(&outcome) {
                    return Err(violation(claim, &reached, at, Some((event, fate)), outcome.state));
                }
                let after = outcome.state.canonical();
                let to = *found.entry(after).or_insert_with(|| {
                    reached.push(Reached { state: after, by: Some((at, event, fate)) });
                    reached.len() - 1
                });
                let short = |index: usize| u32::try_from(index).expect("fewer than four thousand million states");
                arrows.push((short(at), short(to)));
            }
        }
        at += 1;
    }
    if let Some(lost) = without_an_end(&reached, &arrows) {
        return Err(violation(Claim::AnEndIsReachable, &reached, lost, None, reached[lost].state));
    }
    let final_states = reached.iter().filter(|r| r.state.status.is_over()).count();
    Ok(Visited { states: reached.len(), transitions: arrows.len(), final_states })
}

/// Each event with each socket; which of them can happen in a state, the model says.
fn every_event() -> Vec<Event> {
    let mut requests = vec![Request::Accept, Request::Reject(Said::Nothing), Request::Connected];
    requests.extend(STATED.map(|stated| Request::End(Said::Nothing, stated)));
    let mut events =
        vec![Event::Deadline, Event::CallerGone, Event::BothGone, Event::TwoMinutes, Event::Stop, Event::Start, Event::StartLate];
    for socket in Socket::all() {
        events.extend([Event::Connect(socket), Event::Disconnect(socket)]);
        for request in &requests {
            events.extend([Event::Ask(socket, *request), Event::AskLate(socket, *request)]);
        }
    }
    events
}

fn is_of_a_twin(state: &State, event: Event) -> bool {
    match event {
        Event::Ask(socket, _) | Event::AskLate(socket, _) | Event::Connect(socket) | Event::Disconnect(socket) => {
            state.has_twin_before(socket)
        }
        _ => false,
    }
}

/// Whether the server alone ends the ringing, once the deadline has passed.
fn ringing_ends(model: &Model, state: &State) -> bool {
    let event = if state.up { Event::Deadline } else { Event::StartLate };
    let ended = || model.step(state, event, Fate::Lives, 0).is_some_and(|outcome| outcome.state.status.is_over());
    !state.status.is_ringing() || ended()
}

/// A state from which no way leads to the end of the call.
fn without_an_end(reached: &[Reached], arrows: &[(u32, u32)]) -> Option<usize> {
    let mut ends: Vec<bool> = reached.iter().map(|r| r.state.status.is_over()).collect();
    // Later states were mostly reached from earlier ones, so going backwards few rounds are needed.
    loop {
        let mut grew = false;
        for &(from, to) in arrows.iter().rev() {
            if ends[to as usize] && !ends[from as usize] {
                (ends[from as usize], grew) = (true, true);
            }
        }
        if !grew {
            return ends.iter().position(|ends| !ends);
        }
    }
}

fn violation(claim: Claim, reached: &[Reached], at: usize, last: Option<(Event, Fate)>, state: State) -> Box<Violation> {
    let mut way: Vec<_> = last.into_iter().collect();
    let mut from = at;
    while let Some((before, event, fate)) = reached[from].by {
        way.push((event, fate));
        from = before;
    }
    way.reverse();
    Box::new(Violation { claim, way, state })
}
