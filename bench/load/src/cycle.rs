//! The calls of one pair, one after the other: what is due next, and what is wrong with what came.
//!
//! No sockets here: `calls` tells what was asked, answered and heard, and gets a verdict. A call is three steps, each a request of one side
//! and one event at the other; the next step is asked when the event is heard. It is over when all three are heard and answered.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use crate::wire;

/// Places of the two sides in a pair.
pub const CALLER: usize = 0;
pub const CALLEE: usize = 1;

/// A request: who makes it, and the event by which the other side hears of it.
pub struct Step {
    pub asker: usize,
    /// One of the two spellings the server sends; the other (`call:accept`, `call:end`) is not looked at.
    pub event: &'static str,
}

/// A call: `call:initiate`, `call:accept`, `call:end`.
pub const STEPS: [Step; 3] = [
    Step { asker: CALLER, event: "call:incoming" },
    Step { asker: CALLEE, event: "call:accepted" },
    Step { asker: CALLER, event: "call:ended" },
];

/// Events about a call that ends in no other way than these calls do.
const NEVER_DUE: [&str; 3] = ["call:missed", "call:rejected", "call:error"];

/// What was counted, for one pair or for all.
#[derive(Default)]
pub struct Tally {
    pub begun: u64,
    pub over: u64,
    pub refused: u64,
    pub refusals: BTreeMap<String, u64>,
    /// Asked, not refused, and never heard at the other side.
    pub lost: u64,
    pub unanswered: u64,
    pub doubled: u64,
    /// Events and answers that name a call other than the one under way.
    pub other_call: u64,
    /// What nobody asked for: an event before its request or after its refusal, at the side that asked, or of a kind that is never due.
    pub unexpected: u64,
    pub disconnected: u64,
}

/// The call of a pair that is under way, and the names of those that are over.
#[derive(Default)]
pub struct Cycle {
    pub tally: Tally,
    /// From the ack or from `call:incoming`, whichever came first.
    id: Option<String>,
    asked: [Option<Instant>; STEPS.len()],
    answer: [Option<Answer>; STEPS.len()],
    /// How many steps were heard; they come in order.
    heard: usize,
    earlier: HashSet<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Ok,
    Refused,
}

impl Cycle {
    /// Notes that a step is asked at this moment and tells its ack id. The first step begins a new call.
    pub fn ask(&mut self, step: usize, now: Instant) -> u64 {
        if step == 0 {
            self.earlier.extend(self.id.take());
            (self.asked, self.answer, self.heard) = Default::default();
            self.tally.begun += 1;
        }
        self.asked[step] = Some(now);
        self.ack_id(step)
    }

    /// Notes an ack; false when it was a refusal. A pair does not recover from one: whatever came next would say little about calls.
    pub fn answered(&mut self, side: usize, ack_id: u64, body: &str) -> bool {
        let waiting = |step: &usize| STEPS[*step].asker == side && self.asked[*step].is_some() && self.answer[*step].is_none();
        let Some(step) = (0..STEPS.len()).filter(waiting).find(|step| self.ack_id(*step) == ack_id) else {
            self.tally.unexpected += 1;
            return true;
        };
        let code = wire::code(body);
        // A busy callee is answered with ok and a code.
        if !wire::is_ok(body) || code != "?" {
            self.answer[step] = Some(Answer::Refused);
            self.tally.refused += 1;
            *self.tally.refusals.entry(code.to_owned()).or_default() += 1;
            return false;
        }
        self.answer[step] = Some(Answer::Ok);
        let id = wire::text_after(body, CALL_ID).unwrap_or_default();
        if self.earlier.contains(id) || !self.is_this_call(step, id) {
            self.tally.other_call += 1;
        }
        true
    }

    /// Notes an event. Tells the step that was heard and when it was asked, if this is the one that was due.
    pub fn hear(&mut self, side: usize, name: &str, body: &str) -> Option<(usize, Instant)> {
        let Some(step) = STEPS.iter().position(|step| step.event == name) else {
            self.tally.unexpected += u64::from(NEVER_DUE.contains(&name));
            return None;
        };
        let id = wire::text_after(body, CALL_ID).unwrap_or_default();
        let asked = self.asked[step].filter(|_| self.answer[step] != Some(Answer::Refused));
        let mistake = if STEPS[step].asker == side {
            &mut self.tally.unexpected
        } else if self.earlier.contains(id) {
            &mut self.tally.doubled
        } else if !self.is_this_call(step, id) {
            &mut self.tally.other_call
        } else if step < self.heard {
            &mut self.tally.doubled
        } else if let Some(asked) = asked {
            // Steps before it were heard: only then are later ones asked.
            self.heard = step + 1;
            return Some((step, asked));
        } else {
            &mut self.tally.unexpected
        };
        *mistake += 1;
        None
    }

    /// Whether every step was heard and answered; true once for each call.
    pub fn finish(&mut self) -> bool {
        let all = self.heard == STEPS.len() && self.answer == [Some(Answer::Ok); STEPS.len()] && self.tally.over < self.tally.begun;
        self.tally.over += u64::from(all);
        all
    }

    /// The id of the call under way, once it is known.
    pub fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// When the call under way was begun.
    pub fn begun_at(&self) -> Option<Instant> {
        self.asked[0]
    }

    /// Ends the counting: what is still open is lost or unanswered.
    pub fn close(mut self) -> Tally {
        for step in 0..STEPS.len() {
            if self.asked[step].is_some() {
                self.tally.unanswered += u64::from(self.answer[step].is_none());
                self.tally.lost += u64::from(step >= self.heard && self.answer[step] != Some(Answer::Refused));
            }
        }
        self.tally
    }

    /// Different for every request of the pair, so that an ack that comes late or twice is told apart.
    fn ack_id(&self, step: usize) -> u64 {
        self.tally.begun * STEPS.len() as u64 + step as u64
    }

    /// Only the first step may bring an id that is not known yet; the call then has it.
    fn is_this_call(&mut self, step: usize, id: &str) -> bool {
        if self.id.is_none() && step == 0 && self.asked[0].is_some() && !id.is_empty() {
            self.id = Some(id.to_owned());
        }
        self.id.as_deref() == Some(id)
    }
}

const CALL_ID: &str = "\"callId\":\"";

impl Tally {
    /// The sum over all pairs.
    pub fn sum(tallies: Vec<Tally>) -> Tally {
        let mut sum = Tally::default();
        for tally in tallies {
            sum.begun += tally.begun;
            sum.over += tally.over;
            sum.refused += tally.refused;
            for (code, count) in tally.refusals {
                *sum.refusals.entry(code).or_default() += count;
            }
            sum.lost += tally.lost;
            sum.unanswered += tally.unanswered;
            sum.doubled += tally.doubled;
            sum.other_call += tally.other_call;
            sum.unexpected += tally.unexpected;
            sum.disconnected += tally.disconnected;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(id: &str) -> String {
        format!(",{{\"callId\":\"{id}\",\"status\":\"x\"}}]")
    }

    fn ack(id: &str) -> String {
        format!("[{{\"ok\":true,\"callId\":\"{id}\"}}]")
    }

    fn heard(cycle: &mut Cycle, step: usize, id: &str) -> bool {
        cycle.hear(1 - STEPS[step].asker, STEPS[step].event, &body(id)).is_some_and(|(heard, _)| heard == step)
    }

    fn take_step(cycle: &mut Cycle, step: usize, id: &str) {
        let ack_id = cycle.ask(step, Instant::now());
        assert!(heard(cycle, step, id));
        assert!(cycle.answered(STEPS[step].asker, ack_id, &ack(id)));
    }

    fn call(cycle: &mut Cycle, id: &str) {
        (0..STEPS.len()).for_each(|step| take_step(cycle, step, id));
        assert!(cycle.finish());
    }

    fn faults(tally: &Tally) -> [u64; 6] {
        [tally.lost, tally.unanswered, tally.doubled, tally.other_call, tally.unexpected, tally.refused]
    }

    #[test]
    fn calls_that_go_as_they_should_leave_no_fault() {
        let mut cycle = Cycle::default();
        call(&mut cycle, "a");
        call(&mut cycle, "b");
        assert!(!cycle.finish(), "a call is over once");
        let tally = cycle.close();
        assert_eq!((tally.begun, tally.over, faults(&tally)), (2, 2, [0; 6]));
    }

    #[test]
    fn the_other_spelling_of_an_event_is_not_counted() {
        let mut cycle = Cycle::default();
        call(&mut cycle, "a");
        assert!(cycle.hear(CALLEE, "call:end", &body("a")).is_none());
        assert!(cycle.hear(CALLER, "call:accept", &body("a")).is_none());
        assert_eq!(faults(&cycle.close()), [0; 6]);
    }

    #[test]
    fn an_event_that_comes_again_is_doubled_in_its_own_call_and_in_the_next() {
        let mut cycle = Cycle::default();
        take_step(&mut cycle, 0, "a");
        assert!(!heard(&mut cycle, 0, "a"));
        take_step(&mut cycle, 1, "a");
        take_step(&mut cycle, 2, "a");
        cycle.ask(0, Instant::now());
        assert!(!heard(&mut cycle, 2, "a"));
        assert!(!heard(&mut cycle, 0, "a"));
        assert_eq!(cycle.close().doubled, 3);
    }

    #[test]
    fn an_event_or_an_answer_for_another_call_is_seen_whichever_names_the_call_first() {
        let mut cycle = Cycle::default();
        let ack_id = cycle.ask(0, Instant::now());
        assert!(cycle.answered(CALLER, ack_id, &ack("a")));
        assert!(!heard(&mut cycle, 0, "b"));
        assert!(heard(&mut cycle, 0, "a"));
        let ack_id = cycle.ask(1, Instant::now());
        assert!(cycle.answered(CALLEE, ack_id, &ack("b")));
        assert!(!heard(&mut cycle, 1, "b"));
        assert!(heard(&mut cycle, 1, "a"));
        assert_eq!(faults(&cycle.close()), [0, 0, 0, 3, 0, 0]);
    }

    #[test]
    fn what_nobody_asked_for_is_unexpected() {
        let mut cycle = Cycle::default();
        take_step(&mut cycle, 0, "a");
        assert!(!heard(&mut cycle, 1, "a"), "not accepted yet");
        assert!(cycle.hear(CALLER, "call:incoming", &body("a")).is_none(), "the caller's own ring");
        assert!(cycle.hear(CALLEE, "call:missed", &body("a")).is_none());
        assert!(cycle.answered(CALLER, 99, &ack("a")));
        assert_eq!(faults(&cycle.close()), [0, 0, 0, 0, 4, 0]);
    }

    #[test]
    fn what_is_open_at_the_end_is_lost_or_unanswered() {
        let mut silent = Cycle::default();
        take_step(&mut silent, 0, "a");
        let ack_id = silent.ask(1, Instant::now());
        assert!(silent.answered(CALLEE, ack_id, &ack("a")));
        assert!(!silent.finish());
        assert_eq!(faults(&silent.close()), [1, 0, 0, 0, 0, 0]);

        let mut unanswered = Cycle::default();
        unanswered.ask(0, Instant::now());
        assert!(heard(&mut unanswered, 0, "a"));
        assert_eq!(faults(&unanswered.close()), [0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_refusal_is_counted_by_code_and_is_not_lost_as_well() {
        let mut cycle = Cycle::default();
        let ack_id = cycle.ask(0, Instant::now());
        let busy = "[{\"ok\":true,\"callId\":\"a\",\"status\":\"rejected\",\"reason\":\"busy\",\"code\":\"CALLEE_BUSY\"}]";
        assert!(!cycle.answered(CALLER, ack_id, busy));
        assert!(!heard(&mut cycle, 0, "a"), "refused and heard all the same");
        let tally = cycle.close();
        assert_eq!(faults(&tally), [0, 0, 0, 0, 1, 1]);
        assert_eq!(tally.refusals["CALLEE_BUSY"], 1);
    }
}
