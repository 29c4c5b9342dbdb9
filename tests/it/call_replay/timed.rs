//! The model with a clock: the events of time happen when they are due, not whenever they may.

use samvad::models::CallSide;

use crate::call_model::rules::Model;
use crate::call_model::state::{Event, Fate, Outcome, State, of};

const CALLER_GRACE_MS: i64 = 20_000;
const BOTH_GRACE_MS: i64 = 120_000;
const TOLD_WITHIN_MS: i64 = 120_000;

/// A call and the moments that matter to it, in milliseconds of the wall clock.
#[derive(Clone)]
pub struct Timed {
    pub state: State,
    pub now: i64,
    pub deadline: i64,
    /// Since when a side has been away, if it is; by side.
    left: [i64; 2],
    talks_since: Option<i64>,
    ended: i64,
}

impl Timed {
    pub fn begun(state: State, now: i64, deadline: i64) -> Self {
        Self { state, now, deadline, left: [now; 2], talks_since: None, ended: 0 }
    }

    /// What time brings next, and when.
    pub fn due(&self) -> Option<(i64, Event)> {
        let (at_deadline, both_left) = (Event::Deadline, self.left[0].max(self.left[1]));
        let moments = [
            (self.deadline, at_deadline),
            (self.left[0] + CALLER_GRACE_MS, Event::CallerGone),
            (both_left + BOTH_GRACE_MS, Event::BothGone),
            (self.ended + TOLD_WITHIN_MS, Event::TwoMinutes),
        ];
        moments.into_iter().filter(|(_, event)| self.try_step(*event, Fate::Lives).is_some()).min_by_key(|(at, _)| *at)
    }

    /// Whether nobody is told any more how it ended.
    pub fn is_old_news(&self) -> bool {
        self.state.status.is_over() && self.now >= self.ended + TOLD_WITHIN_MS
    }

    pub fn try_step(&self, event: Event, fate: Fate) -> Option<Outcome> {
        let talked = self.talks_since.map_or(0, |since| (self.now - since) / 1000);
        Model::default().step(&self.state, event, fate, u32::try_from(talked).expect("time goes forward"))
    }

    /// Lets `event` happen now.
    pub fn step(&mut self, event: Event, fate: Fate) -> Outcome {
        let outcome = self.try_step(event, fate).expect("it can happen");
        let (before, after) = (std::mem::replace(&mut self.state, outcome.state), outcome.state);
        if before.status != after.status && after.status.is_talking() {
            // From the answer, and once media flows from that.
            self.talks_since = Some(self.now);
        }
        if after.status.is_over() && !before.status.is_over() {
            self.ended = self.now;
        }
        for side in [CallSide::Caller, CallSide::Callee] {
            if matches!(event, Event::Start | Event::StartLate) || (before.is_here(side) && !after.is_here(side)) {
                self.left[of(side)] = self.now;
            }
        }
        outcome
    }
}
