//! One call, six sockets, every order of events: a model of docs/protocol.md#calls is searched completely for a state that
//! breaks one of the claims. `call_replay` then holds the real service against the same model.
//!
//! Sockets that behave alike are interchangeable, and a client that connects again is a new client; without that the search would
//! not end. A second call, and with it `busy`, and a second process at the same store are not part of it.

mod claims;
mod explore;
pub mod rules;
pub mod state;

use samvad::models::call::{TRANSITIONS, transition};
use samvad::models::{Actor, CallStatus, EndReason, Transition, Trigger};

use claims::Claim;
use explore::explore;
use rules::{Flaw, Model, Table};

#[test]
fn every_order_of_events_keeps_every_claim() {
    let started = std::time::Instant::now();
    let visited = explore(&Model::default()).unwrap_or_else(|violation| panic!("{violation:?}"));
    println!("{visited:?} in {:.1?}", started.elapsed());
    assert!(visited.states > 5_000 && visited.transitions > 200_000 && visited.final_states > 1_000, "hardly anything: {visited:?}");
}

fn broken(flaw: Option<Flaw>, table: Table) -> Claim {
    match explore(&Model { table, flaw }) {
        Err(violation) => violation.claim,
        Ok(visited) => panic!("nothing was noticed in {visited:?}"),
    }
}

#[test]
fn a_broken_rule_breaks_its_claim() {
    for (flaw, claim) in [
        (Flaw::NobodyElseStopsAfterAnAnswer, Claim::AllStop),
        (Flaw::NobodyElseStopsAfterAReject, Claim::AllStop),
        (Flaw::ThePageOfTheAnswererIsStoppedToo, Claim::OwnPageIsSpared),
        (Flaw::WhoeverAnswersAgainDoesNotTakeOver, Claim::OneTalks),
        (Flaw::TheEndIsNotStoredAsUntold, Claim::TheEndIsTold),
        (Flaw::TheLogIsNotRecognised, Claim::OneLog),
        (Flaw::TheLogIsForgotten, Claim::OneLog),
        (Flaw::TheAnswerIsNotRepeated, Claim::TheAnswerIsTold),
        (Flaw::UnansweredCallsLast, Claim::DurationIsTalked),
        (Flaw::LosersAreLoud, Claim::LosersAreSilent),
    ] {
        assert_eq!(broken(Some(flaw), transition), claim, "{flaw:?}");
    }
}

/// A table with one more step.
macro_rules! and {
    ($($step:tt)*) => {
        |trigger, actor, status| {
            static MORE: Transition = Transition { $($step)* };
            let found = transition(trigger, actor, status);
            found.or_else(|| (MORE.trigger == trigger && MORE.actors.contains(&actor) && MORE.from.contains(&status)).then_some(&MORE))
        }
    };
}

const COMPLETED: Option<(EndReason, &str)> = Some((EndReason::Completed, "completed"));

#[test]
fn a_broken_table_breaks_a_claim() {
    let tables: [(&str, Table, Claim); 7] = [
        (
            "any client of the callee hangs up by a reject",
            and!(trigger: Trigger::Reject, actors: &[Actor::Callee], from: CallStatus::TALKING, to: CallStatus::Ended, end: COMPLETED),
            Claim::OnlyTheAnswererRejects,
        ),
        (
            "the second answer counts again",
            and!(trigger: Trigger::Accept, actors: &[Actor::Callee], from: &[CallStatus::Answered], to: CallStatus::Answered, end: None),
            Claim::OneAnswer,
        ),
        (
            "a missed call is answered after all",
            and!(trigger: Trigger::Accept, actors: &[Actor::Callee], from: &[CallStatus::Missed], to: CallStatus::Answered, end: None),
            Claim::OneOutcome,
        ),
        (
            "an ended call ends again",
            and!(trigger: Trigger::End, actors: &[Actor::Caller], from: &[CallStatus::Rejected], to: CallStatus::Ended, end: COMPLETED),
            Claim::OneOutcome,
        ),
        (
            "the deadline means nothing",
            |trigger, actor, status| transition(trigger, actor, status).filter(|_| trigger != Trigger::Timeout),
            Claim::RingingEnds,
        ),
        (
            "the deadline means nothing to a call nobody has heard of",
            |trigger, actor, status| {
                let deaf = trigger == Trigger::Timeout && status == CallStatus::Initiated;
                transition(trigger, actor, status).filter(|_| !deaf)
            },
            Claim::RingingEnds,
        ),
        (
            "a call in which media flows never ends",
            |trigger, actor, status| transition(trigger, actor, status).filter(|_| status != CallStatus::Ongoing),
            Claim::AnEndIsReachable,
        ),
    ];
    for (story, table, claim) in tables {
        assert_eq!(broken(None, table), claim, "{story}");
    }
}

#[test]
fn every_step_of_the_table_is_taken_somewhere() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let table: Table = |trigger, actor, status| {
        let rule = transition(trigger, actor, status)?;
        let place = |t: &Transition| (t.trigger, t.actors, t.from);
        let number = TRANSITIONS.iter().position(|other| place(other) == place(rule)).expect("it is from the table");
        TAKEN.fetch_or(1 << number, Ordering::Relaxed);
        Some(rule)
    };
    explore(&Model { table, flaw: None }).unwrap_or_else(|violation| panic!("{violation:?}"));
    let missed: Vec<_> =
        TRANSITIONS.iter().enumerate().filter(|(n, _)| TAKEN.load(Ordering::Relaxed) & (1 << n) == 0).map(|(_, t)| t).collect();
    // A callee who talks to somebody else takes two calls.
    assert!(missed.iter().all(|rule| rule.trigger == Trigger::Busy), "{missed:#?}");
}
