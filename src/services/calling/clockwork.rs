//! Time: every call is looked at when its next moment has come, and a sweep over the store finds those nobody here knows of, after a
//! restart or from a server that died. Both only take conditional steps, so it does not matter who looks, or how often.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::delivery::{Audience, Connection};
use crate::error::Result;
use crate::models::{Actor, Call, CallId, CallSide, CallStatus, Notices, Participant, Timestamp, Trigger};
use crate::services::presence::Presence;

use super::Calling;
use super::elsewhere::Spread;
use super::ending::{TOLD_WITHIN, story};
use super::live::LiveCall;
use super::steps::Said;

/// How long a caller may be without a socket while it rings.
const CALLER_GRACE: Duration = Duration::from_secs(20);
/// How long both may be without a socket while they talk.
const BOTH_GRACE: Duration = Duration::from_secs(120);
/// Time between two sweeps, give or take a fifth so that servers do not sweep in step.
const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// How far another server's clock may be behind ours before we end its call early.
const CLOCK_GRACE: Duration = Duration::from_secs(2);
/// How long a server has to tell of an end before another one does.
const TELL_GRACE: Duration = Duration::from_secs(5);
/// The pause before something that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Calls of one question to the store.
const PAGE: usize = 500;

/// Starts looking.
pub(super) fn start(calling: &Calling) {
    let (core, this) = (&calling.0.core, calling.clone());
    let stop = core.stop.clone();
    core.tasks.spawn(async move {
        stop.run_until_cancelled(async {
            loop {
                let id = this.0.live.due().await;
                let this = this.clone();
                this.0.core.tasks.clone().spawn(async move { this.look_after(id).await });
            }
        })
        .await;
    });
    let (stop, this) = (core.stop.clone(), calling.clone());
    core.tasks.spawn(async move {
        stop.run_until_cancelled(this.sweep_for_ever()).await;
    });
}

impl Calling {
    /// Sets the alarm for the next moment something may be due, whatever it is.
    pub(super) fn wake_when_due(&self, id: CallId) {
        let Some(live) = self.0.live.get(id) else { return };
        if let Some(at) = self.next_moment(&live) {
            self.0.live.wake_at(id, at);
        }
    }

    pub(super) fn wake_soon(&self, id: CallId) {
        self.0.live.wake_at(id, Instant::now() + RETRY_AFTER);
    }

    fn next_moment(&self, live: &LiveCall) -> Option<Instant> {
        let call = &live.call;
        match call.status {
            status if status.is_ringing() => {
                let deadline = call.ring_deadline.map(|at| self.instant_of(at));
                let gone = self.caller_gone_since(live).map(|since| since + CALLER_GRACE);
                [deadline, gone].into_iter().flatten().min()
            }
            status if status.is_talking() => self.both_gone_since(live).map(|since| since + BOTH_GRACE),
            // What is left after that time is a log the store does not take.
            _ => call.ended_at.map(|at| self.instant_of(at.plus(TOLD_WITHIN)).max(Instant::now() + RETRY_AFTER)),
        }
    }

    /// The same moment on the clock alarms go by; one millisecond later, so that it is certainly over.
    fn instant_of(&self, at: Timestamp) -> Instant {
        Instant::now() + at.since(self.now()) + Duration::from_millis(1)
    }

    /// Since when the caller, who had a socket, has had none. Unknown after a restart, which counts as present.
    fn caller_gone_since(&self, live: &LiveCall) -> Option<Instant> {
        match self.0.presence.of(&live.call.caller) {
            Presence::GoneSince(since) if live.caller_had_socket => Some(since),
            _ => None,
        }
    }

    /// Since when neither side has had a socket. Somebody not seen since this process began left when it began, at the latest.
    fn both_gone_since(&self, live: &LiveCall) -> Option<Instant> {
        let gone_since = |person: &Participant| match self.0.presence.of(person) {
            Presence::Here => None,
            Presence::GoneSince(since) => Some(since),
            Presence::Unknown => Some(live.known_since),
        };
        Some(gone_since(&live.call.caller)?.max(gone_since(&live.call.callee)?))
    }

    /// Does whatever is due about a call now.
    async fn look_after(&self, id: CallId) {
        let _turn = self.0.live.turn(id).await;
        let Some(live) = self.0.live.get(id) else { return };
        match self.do_what_is_due(live).await {
            Ok(()) => self.wake_when_due(id),
            Err(e) => {
                warn!(call.id = %id, "a call is looked at again later: {}", story(&e));
                self.wake_soon(id);
            }
        }
    }

    async fn do_what_is_due(&self, live: LiveCall) -> Result<()> {
        let id = live.call.id;
        if live.unsure.is_some() {
            match self.0.core.store.find_call(id).await? {
                Some(current) => self.learn(&current),
                // Never stored, as it turns out.
                None => drop(self.0.live.change(id, |live| {
                    (live.unsure, live.call.status, live.call.notices) = (None, CallStatus::Failed, Notices::default());
                })),
            }
            return Ok(());
        }
        let now = Instant::now();
        let passed = |since: Option<Instant>, grace: Duration| since.is_some_and(|since| now >= since + grace);
        let trigger = match live.call.status {
            status if status.is_ringing() && live.call.ring_deadline.is_none_or(|at| self.now() >= at) => Trigger::Timeout,
            status if status.is_ringing() && passed(self.caller_gone_since(&live), CALLER_GRACE) => Trigger::CallerGone,
            status if status.is_talking() && passed(self.both_gone_since(&live), BOTH_GRACE) => Trigger::BothGone,
            status if status.is_over() => {
                self.finish(&live);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let missed: &[&Participant] = match trigger {
            Trigger::CallerGone => &[&live.call.caller],
            Trigger::BothGone => &[&live.call.caller, &live.call.callee],
            _ => &[],
        };
        for person in missed {
            if self.0.presence.may_be_elsewhere(person).await {
                return Ok(());
            }
        }
        self.step(live.call.clone(), Actor::Server, trigger, Said::default()).await.map(drop)
    }

    /// A call that is over and not settled: the log is tried again; who did not come back in time is told no more.
    fn finish(&self, live: &LiveCall) {
        let call = &live.call;
        if call.notices.log {
            self.begin_log(call);
        }
        if self.is_old_news(call) {
            self.settle(call.id, Notices { caller: true, callee: true, log: false });
        }
    }

    /// Whether it is too late to tell somebody how a call ended.
    pub(super) fn is_old_news(&self, call: &Call) -> bool {
        call.ended_at.is_none_or(|at| self.now() >= at.plus(TOLD_WITHIN))
    }

    /// Whether it rings and somebody may still answer.
    fn still_rings(&self, call: &Call) -> bool {
        call.status.is_ringing() && call.ring_deadline.is_some_and(|at| self.now() < at)
    }

    /// A socket came: it hears what rings, and how calls ended that it has not heard of.
    pub(in crate::services) fn came(&self, connection: &Arc<Connection>) {
        let known = self.0.live.of(connection.identity());
        self.ask_others_about(connection, known.iter().map(|(_, live)| live.call.id).collect());
        for (side, live) in known {
            self.tell_newcomer(connection, side, live);
        }
    }

    /// Tells a socket what it may have missed of a call.
    pub(super) fn tell_newcomer(&self, connection: &Arc<Connection>, side: CallSide, live: LiveCall) {
        let delivery = &self.0.core.delivery;
        let to_it = Audience::connection(connection.id());
        if side == CallSide::Callee && self.still_rings(&live.call) {
            delivery.emit(&to_it, &self.incoming(&live.call));
            self.note_ringing(live.call);
        } else if live.call.status.is_talking() && side == CallSide::Caller && !live.accept_heard {
            delivery.emit(&to_it, &self.accepted(&live.call, &self.media(&live.call)));
            self.accept_was_heard_here(live.call.id);
        } else if live.call.status.is_over() && live.call.notices.concerns(side) {
            self.tell_end_to(&live.call, side, live.said.as_deref(), connection);
        }
    }

    /// The last socket of somebody left.
    pub(in crate::services) fn went(&self, person: &Participant) {
        for (_, live) in self.0.live.of(person) {
            self.wake_when_due(live.call.id);
        }
    }

    async fn sweep_for_ever(&self) {
        let mut known = false;
        loop {
            let outcome = if known { self.sweep().await } else { self.take_over().await };
            match outcome {
                Ok(()) => known = true,
                Err(e) => warn!("calls could not be looked through: {}", story(&e)),
            }
            let pause = SWEEP_EVERY.mul_f64(rand::rng().random_range(0.8..1.2));
            sleep(pause).await;
        }
    }

    /// At start: every call that still needs somebody.
    pub(super) async fn take_over(&self) -> Result<()> {
        let (mut after, mut count) = (None, 0);
        loop {
            let page = self.0.core.store.open_calls(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            count += page.len();
            for call in page {
                self.adopt(call).await?;
            }
        }
        if count > 0 {
            info!(calls = count, "calls were taken over from before the start");
        }
        Ok(())
    }

    /// What others should have seen to and did not.
    async fn sweep(&self) -> Result<()> {
        let now = self.now();
        let before = |grace: Duration| Timestamp::from_millis(now.as_millis() - i64::try_from(grace.as_millis()).unwrap_or_default());
        for call in self.0.core.store.overdue_calls(before(CLOCK_GRACE), before(TELL_GRACE), PAGE).await? {
            self.adopt(call).await?;
        }
        Ok(())
    }

    /// Takes a call from the store into memory, tells those who are here already, and does what is due. False if it was known.
    pub(super) async fn adopt(&self, seen: Call) -> Result<bool> {
        let id = seen.id;
        if self.0.live.get(id).is_some_and(|live| live.call.status == seen.status) {
            // Known, and looked after.
            return Ok(false);
        }
        {
            let _turn = self.0.live.turn(id).await;
            // What was seen may be history by now: a client here was faster, or another process moved it on.
            let Some(call) = self.0.core.store.find_call(id).await? else { return Ok(false) };
            if let Some(live) = self.0.live.get(id) {
                if live.call.status != call.status {
                    self.learn(&call);
                }
                return Ok(false);
            }
            self.0.live.add(LiveCall::found(call.clone()));
            // Whoever connected before this moment has heard nothing. Other nodes do the same for theirs.
            if call.status.is_over() {
                self.conclude(id, Spread::Here);
            } else if call.status.is_talking() {
                self.say_accepted(&call, None, Spread::Here);
            } else if self.still_rings(&call) && self.0.core.delivery.is_connected(&call.callee) {
                self.ring(&call, Spread::Here);
                self.note_ringing(call);
            }
        }
        self.look_after(id).await;
        Ok(true)
    }
}
