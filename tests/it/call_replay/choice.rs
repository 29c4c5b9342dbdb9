//! What a trace tries next: mostly what can happen, in proportions that make the rare things happen too.

use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom};

use super::trace::{Step, Trace};
use crate::call_model::state::{Event, Fate, Request, Said, Socket};

impl Trace<'_> {
    pub(super) fn choose(&mut self) -> Step {
        let random = &mut self.random;
        let pause = *[200, 5_000, 19_000, 30_000, 65_000, 125_000].choose(random).expect("some");
        let unlucky = match random.random_range(0..100) {
            0..10 => Fate::DiesUnsaid,
            10..20 => Fate::DiesUnsettled,
            _ => Fate::Lives,
        };
        if !self.timed.state.up {
            let fate = if unlucky == Fate::DiesUnsettled { unlucky } else { Fate::Lives };
            let start = self.start();
            return match self.random.random_range(0..10) {
                0..3 => Step::Passes(pause),
                // A client that finds the process before the process has found its calls.
                3..6 => match Socket::all().filter(|s| !self.timed.state.client(*s).is_here()).choose(&mut self.random) {
                    Some(socket) => Step::Happens(Event::Connect(socket), Fate::Lives),
                    None => Step::Passes(pause),
                },
                _ => self.possible(start, fate),
            };
        }
        let (here, away): (Vec<Socket>, Vec<Socket>) = Socket::all().partition(|s| self.timed.state.client(*s).is_here());
        let (one_here, one_away) = (here.into_iter().choose(random), away.into_iter().choose(random));
        let said = *[Said::Nothing, Said::Words, Said::Network].choose(random).expect("some");
        let stated = *[None, Some(0), Some(3), Some(100_000)].choose(random).expect("some");
        let request = match random.random_range(0..10) {
            0..4 => Request::Accept,
            4..6 => Request::Reject(said),
            6..8 => Request::End(said, stated),
            _ => Request::Connected,
        };
        match (random.random_range(0..100), one_here, one_away) {
            (0..40, Some(socket), _) => self.possible(Event::Ask(socket, request), unlucky),
            (40..44, Some(socket), _) => self.possible(Event::AskLate(socket, request), unlucky),
            (44..64, _, Some(socket)) => self.possible(Event::Connect(socket), unlucky),
            (64..76, Some(socket), _) => self.possible(Event::Disconnect(socket), Fate::Lives),
            (76..79, ..) => Step::Happens(Event::Stop, Fate::Lives),
            (79..90, ..) => match self.timed.due() {
                Some((_, event)) if self.timed.try_step(event, unlucky).is_some() => Step::Due(unlucky),
                Some(_) => Step::Due(Fate::Lives),
                None => Step::Passes(pause),
            },
            _ => Step::Passes(pause),
        }
    }

    pub(super) fn start(&self) -> Event {
        let late = self.timed.state.status.is_ringing() && self.timed.deadline <= self.timed.now;
        if late { Event::StartLate } else { Event::Start }
    }

    fn possible(&self, event: Event, fate: Fate) -> Step {
        let ends = |fate| self.timed.try_step(event, fate).is_some_and(|outcome| outcome.state.status.is_over());
        match event {
            // A clock that was set forward under a call that goes on would only confuse the two clocks.
            Event::AskLate(..) if !ends(Fate::Lives) => Step::Passes(100),
            _ if self.timed.try_step(event, fate).is_some() => Step::Happens(event, fate),
            _ => Step::Happens(event, Fate::Lives),
        }
    }
}
