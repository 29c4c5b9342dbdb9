//! The callee accepts at the very instant the ring deadline passes, again and again: the store lets exactly one of them win.
//!
//! 500 races per driver by default; `SAMVAD_RACES=100000` runs more.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use samvad::models::call::transition;
use samvad::models::{Actor, Call, CallStatus, CallType, NewCall, Notices, Pair, Profile, Timestamp, Trigger};
use samvad::store::{CallChange, CallEnd, Store, Transitioned};
use tokio::sync::Barrier;

use crate::support::people::{astrologer, at, user};
use crate::support::stores::on_every_driver;

on_every_driver!(of_an_accept_and_the_deadline_exactly_one_wins);

/// Races run at a time.
const AT_ONCE: usize = 100;

async fn of_an_accept_and_the_deadline_exactly_one_wins(store: Arc<dyn Store>) {
    let races: usize = std::env::var("SAMVAD_RACES").map_or(500, |n| n.parse().expect("SAMVAD_RACES is a number"));
    let started = std::time::Instant::now();
    let mut accepted = 0;
    for first in (0..races).step_by(AT_ONCE) {
        let running = (first..races.min(first + AT_ONCE)).map(|number| tokio::spawn(race(store.clone(), number)));
        for winner in join_all(running).await {
            accepted += usize::from(winner.expect("it does not panic") == CallStatus::Answered);
        }
    }
    let timed_out = races - accepted;
    println!("{races} races on {}: {accepted} accepted, {timed_out} missed, in {:.1?}", store.engine(), started.elapsed());
    // Where one side always wins nothing was tested.
    assert!(accepted.min(timed_out) >= races / 20, "{accepted} accepted, {timed_out} missed");
}

/// The status that won.
async fn race(store: Arc<dyn Store>, number: usize) -> CallStatus {
    let call = store.create_call(ringing(number)).await.expect("it is stored");
    let both = Arc::new(Barrier::new(2));
    let run = |trigger, actor| {
        let (store, both, change) = (store.clone(), both.clone(), change(&call, trigger, actor));
        tokio::spawn(async move {
            both.wait().await;
            // Or the order in which they were made would decide.
            for _ in 0..rand::random_range(0..4) {
                tokio::task::yield_now().await;
            }
            store.transition_call(change).await.expect("it is answered")
        })
    };
    let (accept, timeout) = (run(Trigger::Accept, Actor::Callee), run(Trigger::Timeout, Actor::Server));
    let (accept, timeout) = (accept.await.expect("it does not panic"), timeout.await.expect("it does not panic"));
    let stored = store.find_call(call.id).await.expect("it can be read").expect("it is stored");
    match (accept, timeout) {
        (Transitioned::Applied(winner), Transitioned::Refused(current)) => {
            assert_eq!((*winner, *current), (stored.clone(), stored.clone()), "race {number}");
            assert_eq!(stored.status, CallStatus::Answered);
            assert!(stored.answered_at.is_some() && stored.ended_at.is_none() && stored.end_reason.is_none(), "{stored:?}");
        }
        (Transitioned::Refused(current), Transitioned::Applied(winner)) => {
            assert_eq!((*winner, *current), (stored.clone(), stored.clone()), "race {number}");
            assert_eq!(stored.status, CallStatus::Missed);
            assert!(stored.answered_at.is_none() && stored.ended_at.is_some() && stored.notices == Notices::ALL, "{stored:?}");
        }
        both => panic!("race {number}: {both:?}"),
    }
    stored.status
}

fn ringing(number: usize) -> NewCall {
    let (caller, callee) = (user(&format!("u{number}")), astrologer("a1"));
    let pair = Pair::new(caller.clone(), callee.clone()).expect("two people");
    NewCall {
        caller,
        caller_profile: Profile::default(),
        callee,
        callee_profile: Profile::default(),
        call_type: CallType::Voice,
        channel: format!("call_{number}"),
        conversation_key: pair.key(),
        consultation_id: None,
        status: CallStatus::Ringing,
        ring_for: Duration::from_secs(60),
        at: at(0),
    }
}

/// The step as the service would take it.
fn change(call: &Call, trigger: Trigger, actor: Actor) -> CallChange {
    let rule = transition(trigger, actor, call.status).expect("the table knows it");
    let end = rule.end.map(|(reason, detail)| CallEnd {
        reason,
        detail: detail.to_owned(),
        by: None,
        duration: 0,
        server_duration: 0,
        notices: Notices::ALL,
    });
    let deadline: Timestamp = call.ring_deadline.expect("it rings");
    CallChange { id: call.id, from: rule.from.to_vec(), to: rule.to, end, at: deadline }
}
