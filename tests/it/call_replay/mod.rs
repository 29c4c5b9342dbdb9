//! The real service against the model of `call_model`: random traces of asking, coming, going, waiting, dying and starting again,
//! with the real store in a file and the clock in the test's hand. After every event both must agree on what is stored and on
//! what every socket heard.
//!
//! 300 traces by default; `SAMVAD_CALL_TRACES=5000` tries more, `SAMVAD_CALL_SEED=17` begins with another one.

mod choice;
mod compare;
mod process;
mod timed;
mod trace;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use samvad::models::CallSide;
use trace::{Bench, Step, Tally, Trace};

use crate::call_model::state::{Event, Fate, Request, Said, Socket, State};

/// Things tried in one trace.
const STEPS: usize = 12;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn the_service_does_what_the_model_says() {
    let (traces, first) = (setting("SAMVAD_CALL_TRACES", 300), setting("SAMVAD_CALL_SEED", 1));
    let started = std::time::Instant::now();
    let (mut bench, mut tally) = (Bench::new(), Tally::default());
    for seed in first..first + traces {
        let mut story = Vec::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| Trace::begin(&mut bench, seed, &mut story, &mut tally).run(STEPS)));
        if let Err(panic) = outcome {
            eprintln!("SAMVAD_CALL_TRACES=1 SAMVAD_CALL_SEED={seed} fails after:\n  {}", story.join("\n  "));
            resume_unwind(panic);
        }
    }
    println!("{tally:?} in {:.1?}", started.elapsed());
    if traces >= 300 {
        let seldom = [tally.answered, tally.timeouts, tally.restarts, tally.deaths_unsaid, tally.deaths_unsettled].into_iter().min();
        assert!(seldom >= Some(20), "something hardly ever happened: {tally:?}");
    }
}

const CALLER: Socket = Socket { side: CallSide::Caller, number: 0 };

fn callee(number: usize) -> Socket {
    Socket { side: CallSide::Callee, number }
}

fn ask(socket: Socket, request: Request) -> Step {
    Step::Happens(Event::Ask(socket, request), Fate::Lives)
}

fn happens(event: Event) -> Step {
    Step::Happens(event, Fate::Lives)
}

/// Traces nobody should have to wait for chance to find: each of them failed once.
fn follow(scripts: impl IntoIterator<Item = Vec<Step>>) {
    let (mut bench, mut tally) = (Bench::new(), Tally::default());
    for (number, script) in scripts.into_iter().enumerate() {
        let number = u64::try_from(number).expect("small");
        let state = State::begun(true, [true, false, true]);
        Trace::begin_as(&mut bench, number, state, &mut Vec::new(), &mut tally).follow(script);
    }
}

#[test]
fn the_client_that_goes_on_for_the_one_that_answered_is_not_joined_by_another() {
    follow([vec![
        ask(callee(0), Request::Accept),
        happens(Event::Disconnect(callee(0))),
        ask(callee(2), Request::Accept),
        happens(Event::Connect(callee(0))),
        ask(callee(0), Request::Accept),
        ask(callee(0), Request::Reject(Said::Nothing)),
        ask(callee(2), Request::Reject(Said::Nothing)),
    ]]);
}

#[test]
fn who_comes_before_the_process_knows_its_calls_hears_everything_once() {
    follow([Request::Accept, Request::Reject(Said::Nothing), Request::End(Said::Nothing, None)].map(|request| {
        vec![
            Step::Happens(Event::Ask(callee(2), request), Fate::DiesUnsaid),
            happens(Event::Connect(CALLER)),
            happens(Event::Connect(callee(0))),
            happens(Event::Start),
        ]
    }));
}

#[test]
fn who_comes_back_is_told_once_also_while_the_sweep_looks() {
    // The sweep comes every two seconds, more or less.
    follow((0..100).map(|shift| {
        vec![
            happens(Event::Disconnect(CALLER)),
            ask(callee(0), Request::Reject(Said::Nothing)),
            Step::Passes(8_000),
            Step::Passes(1_500 + 10 * shift),
            happens(Event::Connect(CALLER)),
        ]
    }));
}
