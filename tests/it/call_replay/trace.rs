//! One random trace, told to the model and to the server at the same time.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use samvad::delivery::Connection;
use samvad::error::Error;
use samvad::models::{Call, CallId, CallSide, CallStatus, CallType};
use samvad::services::calling::{CallAction, Ending, InitiateCall};
use samvad::store::Store;
use samvad::store::sqlite::SqliteStore;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::compare::names;
use super::process::{People, Process};
use super::timed::Timed;
use crate::call_model::state::{Client, Event, Fate, Outcome, Reply, Request, Said, Socket, State};

/// How close to a moment the server is looked at, before and after it.
const MARGIN_MS: i64 = 50;
/// By then what is settled is stored.
const SETTLED_MS: i64 = 60;

/// The file all traces of a thread share, and the time there.
pub struct Bench {
    folder: TempDir,
    pub(super) store: Arc<dyn Store>,
    /// Reads beside the server, on a clock of its own.
    pub(super) observer: Runtime,
    wall_ms: i64,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Arc::new(SqliteStore::open(folder.path()).expect("an empty folder can be opened"));
        let observer = Builder::new_current_thread().build().expect("a runtime");
        Self { folder, store, observer, wall_ms: 1_800_000_000_000 }
    }

    fn open_again(&mut self) {
        self.store = Arc::new(SqliteStore::open(self.folder.path()).expect("it was closed"));
    }
}

/// How often what happened, in all traces.
#[derive(Debug, Default)]
pub struct Tally {
    pub traces: usize,
    pub events: usize,
    pub answered: usize,
    pub deaths_unsaid: usize,
    pub deaths_unsettled: usize,
    pub restarts: usize,
    pub timeouts: usize,
}

/// What is tried next.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Happens(Event, Fate),
    /// Milliseconds.
    Passes(i64),
    /// Whatever time brings next happens.
    Due(Fate),
}

/// A call under test.
pub struct Trace<'a> {
    pub(super) bench: &'a mut Bench,
    pub(super) people: People,
    pub(super) process: Option<Process>,
    pub(super) call: CallId,
    pub(super) timed: Timed,
    pub(super) random: StdRng,
    story: &'a mut Vec<String>,
    tally: &'a mut Tally,
}

impl<'a> Trace<'a> {
    /// Begins a call as the seed says.
    pub fn begin(bench: &'a mut Bench, seed: u64, story: &'a mut Vec<String>, tally: &'a mut Tally) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (by_socket, callees) = (random.random_bool(0.8), random.random());
        let mut trace = Self::begin_as(bench, seed, State::begun(by_socket, callees), story, tally);
        trace.random = random;
        trace
    }

    /// Begins a call like this.
    pub fn begin_as(bench: &'a mut Bench, seed: u64, state: State, story: &'a mut Vec<String>, tally: &'a mut Tally) -> Self {
        let people = People::of_trace(seed);
        let mut process = Process::start(bench.store.clone(), bench.wall_ms, &people, []);
        story.push(format!("begins with {:?}", state.clients.map(|side| side.map(Client::is_here))));
        let asker = Socket { side: CallSide::Caller, number: 0 };
        for socket in Socket::all().filter(|s| state.client(*s).is_here()) {
            process.connect(&people, socket);
        }
        let (services, caller) = (process.services.clone(), people.users[0].clone());
        let ask = InitiateCall {
            callee: people.users[1].identity(),
            call_type: CallType::Voice,
            consultation_id: None,
            from: process.connection(asker),
        };
        let offered = process.run(async move { services.calling().initiate(&caller, ask).await });
        let call = offered.expect("it is done").map(|offered| offered.call).expect("it may ring");
        for socket in Socket::all() {
            let expected: &[&str] = match socket.side {
                _ if !state.client(socket).is_here() => &[],
                CallSide::Caller => &["call:initiated", "call:token"],
                CallSide::Callee => &["call:incoming"],
            };
            assert_eq!(names(&process.heard_by(socket)), expected, "{socket:?} at the beginning");
        }
        assert_eq!(call.status, state.status);
        let timed = Timed::begun(state, process.now_ms(), call.ring_deadline.expect("it rings").as_millis());
        Self { bench, people, process: Some(process), call: call.id, timed, random: StdRng::seed_from_u64(seed), story, tally }
    }

    /// Tries some things, then lets everything come to its end.
    pub fn run(mut self, steps: usize) {
        for _ in 0..steps {
            let step = self.choose();
            self.take(step);
        }
        self.end();
    }

    /// Does these things, then lets everything come to its end.
    pub fn follow(mut self, steps: impl IntoIterator<Item = Step>) {
        for step in steps {
            self.take(step);
        }
        self.end();
    }

    fn end(mut self) {
        self.tally.traces += 1;
        if !self.timed.state.up {
            self.take(Step::Happens(self.start(), Fate::Lives));
        }
        for socket in Socket::all() {
            if self.timed.state.status.is_talking() && self.timed.state.client(socket).is_here() {
                self.take(Step::Happens(Event::Disconnect(socket), Fate::Lives));
            }
        }
        while self.timed.due().is_some() {
            self.take(Step::Due(Fate::Lives));
        }
        let state = self.timed.state;
        assert!(state.status.is_over() && state.notices == [false; 3] && state.logs == 1, "{state:?}");
        let open = self.bench.observer.block_on(self.bench.store.open_calls(None, 10)).expect("it can be read");
        assert_eq!(open, [], "a call that is over and told needs nobody");
        self.tally.answered += usize::from(state.was_answered);
        self.tally.timeouts += usize::from(state.status == CallStatus::Missed);
        self.process.take().expect("it is up").die();
        self.bench.wall_ms = self.timed.now + 1_000;
    }

    fn take(&mut self, step: Step) {
        self.story.push(format!("{step:?}"));
        self.tally.events += 1;
        match step {
            Step::Happens(event, fate) => self.happens(event, fate),
            Step::Passes(ms) => self.passes(ms),
            Step::Due(fate) => self.comes_due(fate),
        }
        self.settles();
    }

    fn happens(&mut self, event: Event, fate: Fate) {
        if let (Event::AskLate(..), Some(process)) = (event, &self.process) {
            self.timed.now = self.timed.deadline.max(self.timed.now) + 1_000;
            process.jump_to(self.timed.now);
        }
        let before = self.timed.state;
        let outcome = self.timed.step(event, fate);
        if fate == Fate::DiesUnsaid {
            self.process.as_ref().expect("it is up").store.hold_next_step();
        }
        let answer = match event {
            Event::Ask(socket, request) | Event::AskLate(socket, request) => self.ask(socket, request),
            Event::Connect(socket) => {
                // Otherwise it comes as soon as there is a process.
                if let Some(process) = &mut self.process {
                    process.connect(&self.people, socket);
                }
                None
            }
            Event::Disconnect(socket) => {
                if let Some(process) = &mut self.process {
                    process.disconnect(socket);
                }
                None
            }
            Event::Stop => {
                self.process.take().expect("it is up").stop();
                self.bench.open_again();
                self.tally.restarts += 1;
                None
            }
            Event::Start | Event::StartLate => {
                let early = Socket::all().filter(|socket| before.client(*socket).is_here());
                self.process = Some(Process::start(self.bench.store.clone(), self.timed.now, &self.people, early));
                None
            }
            Event::Deadline | Event::CallerGone | Event::BothGone | Event::TwoMinutes => unreachable!("time brings these"),
        };
        assert_eq!(answer, outcome.reply.map(|reply| (reply, outcome.state.status)).map(without_status), "the answer");
        self.compare(&outcome);
        self.maybe_die(fate);
    }

    fn ask(&self, socket: Socket, request: Request) -> Option<(Reply, Option<CallStatus>)> {
        let process = self.process.as_ref().expect("it is up");
        let (calling, user, id) = (process.services.clone(), self.people.of(socket).clone(), self.call);
        let from: Arc<Connection> = process.connection(socket).expect("it is connected");
        let words = |said| match said {
            Said::Nothing => None,
            Said::Words => Some("words of a client".to_owned()),
            Said::Network => Some("network_lost".to_owned()),
        };
        let answer = process.run(async move {
            let act = |action, ending| calling.calling().act(&user, id, action, ending, Some(&from));
            match request {
                Request::Accept => calling.calling().accept(&user, id, &from).await.map(|offered| offered.call),
                Request::Reject(said) => act(CallAction::Reject, Ending { reason: words(said), duration: None }).await,
                Request::End(said, stated) => act(CallAction::End, Ending { reason: words(said), duration: stated.map(u64::from) }).await,
                Request::Connected => act(CallAction::Connect, Ending::default()).await,
            }
        })?;
        Some(match answer {
            Ok(Call { status, .. }) => (Reply::Ok, Some(status)),
            Err(Error::Forbidden(_)) => (Reply::Forbidden, None),
            Err(Error::AnsweredElsewhere) => (Reply::AnsweredElsewhere, None),
            Err(Error::CallNotRinging) => (Reply::NotRinging, None),
            Err(other) => panic!("{other:?}"),
        })
    }

    /// Time passes, with whatever it brings.
    fn passes(&mut self, ms: i64) {
        let until = self.timed.now + ms;
        while self.timed.due().is_some_and(|(at, _)| at <= until + MARGIN_MS) {
            self.comes_due(Fate::Lives);
            self.settles();
        }
        self.advance_to(until.max(self.timed.now));
        self.nothing_happened();
    }

    /// The next moment comes: nothing a little before it, everything a little after it.
    fn comes_due(&mut self, fate: Fate) {
        let (at, event) = self.timed.due().expect("something is due");
        if at - MARGIN_MS > self.timed.now {
            self.advance_to(at - MARGIN_MS);
            self.nothing_happened();
        }
        if fate == Fate::DiesUnsaid {
            self.process.as_ref().expect("it is up").store.hold_next_step();
        }
        self.advance_to(self.timed.now.max(at + MARGIN_MS));
        let outcome = self.timed.step(event, fate);
        self.compare(&outcome);
        self.maybe_die(fate);
    }

    /// What was said is stored as said.
    fn settles(&mut self) {
        while self.timed.due().is_some_and(|(at, _)| at <= self.timed.now + SETTLED_MS + MARGIN_MS) {
            self.comes_due(Fate::Lives);
        }
        // In small steps, so that a sweep may come in between.
        for _ in 0..3 {
            self.advance_to(self.timed.now + SETTLED_MS / 3);
        }
        self.nothing_happened();
        // While nobody is up, what has become void stays written down.
        if self.process.is_some() {
            assert_eq!(self.stored().notices.flags(), self.timed.state.notices, "what is still to be told");
        }
    }

    fn advance_to(&mut self, now: i64) {
        self.timed.now = now;
        if let Some(process) = &mut self.process {
            process.advance_to(now);
        }
    }

    fn maybe_die(&mut self, fate: Fate) {
        if fate == Fate::Lives {
            return;
        }
        let process = self.process.take().expect("it is up");
        assert_eq!(process.store.holds_a_step(), fate == Fate::DiesUnsaid, "a step was stored and nobody knows");
        process.die();
        match fate {
            Fate::DiesUnsaid => self.tally.deaths_unsaid += 1,
            _ => self.tally.deaths_unsettled += 1,
        }
        let (stored, expected) = (self.stored().notices.flags(), self.timed.state.notices);
        if self.timed.is_old_news() {
            // What has become void may stay written down until a process has the time.
            assert_eq!(stored[2], expected[2], "whether the next process writes a log");
        } else {
            assert_eq!(stored, expected, "what is left to the next process");
        }
    }

    fn nothing_happened(&self) {
        self.compare(&Outcome { state: self.timed.state, reply: None, heard: Default::default() });
    }
}

/// A refusal tells no status.
fn without_status((reply, status): (Reply, CallStatus)) -> (Reply, Option<CallStatus>) {
    (reply, (reply == Reply::Ok).then_some(status))
}
