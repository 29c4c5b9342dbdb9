//! What is due when a call is over: both sides hear of it, and the conversation gets its call log. What is still to be done is stored
//! with the call, so that after a crash the next process does it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::bus::Topic;
use crate::delivery::{Audience, CallEnded, CallMissed, CallRejected, Connection, ServerEvent};
use crate::error::{Error, Result};
use crate::models::message::CallLog;
use crate::models::{Call, CallId, CallSide, CallStatus, EndReason, Notices};
use crate::services::nodes::{Note, Notice};
use crate::services::{Core, batches};

use super::Calling;
use super::elsewhere::Spread;
use super::live::{LiveCall, LiveCalls};

/// How long after the end a side that was not there is still told.
pub(super) const TOLD_WITHIN: Duration = Duration::from_secs(120);
/// Notices waiting to be taken off the list; when full they are found again later and told once more.
const QUEUE_LEN: usize = 8192;
/// The most of one write.
const BATCH: usize = 500;
/// How long they are collected.
const LINGER: Duration = Duration::from_millis(50);
/// The pause while the store is away. Meanwhile they wait in the queue.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The reason in the words of the events; `said` is the party's own.
pub(super) fn event_reason(call: &Call, said: Option<&str>) -> String {
    let detail = call.end_detail.as_deref().unwrap_or_default();
    let word = match (call.status, call.end_reason) {
        (CallStatus::Missed, _) => "missed",
        (CallStatus::Rejected, _) => said.unwrap_or(if detail.is_empty() { "declined" } else { detail }),
        (_, Some(EndReason::Cancelled)) => "cancelled",
        (_, Some(EndReason::NetworkError)) => said.unwrap_or("network_error"),
        _ => said.unwrap_or("completed"),
    };
    word.to_owned()
}

/// What an error says to those who read logs.
pub(super) fn story(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

impl Calling {
    /// Does what is due about a call that is over: tells whoever is here, writes the log.
    pub(super) fn conclude(&self, id: CallId, spread: Spread) {
        let Some(live) = self.0.live.get(id) else { return };
        if self.is_old_news(&live.call) {
            // Nobody was up to tell it in time.
            self.settle(id, Notices { caller: true, callee: true, log: false });
        }
        for side in [CallSide::Caller, CallSide::Callee] {
            if live.call.notices.concerns(side) && !self.is_old_news(&live.call) {
                let party = spread.to([live.call.party(side).identity()]);
                if self.tell_end(&live.call, side, live.said.as_deref(), &party) {
                    self.settle(id, Notices::of(side));
                }
            }
        }
        if live.call.notices.log {
            self.begin_log(&live.call);
        }
        self.wake_when_due(id);
    }

    /// Tells a side that has just come back how a call ended.
    pub(super) fn tell_end_to(&self, call: &Call, side: CallSide, said: Option<&str>, connection: &Connection) {
        if self.tell_end(call, side, said, &Audience::connection(connection.id())) {
            self.settle(call.id, Notices::of(side));
        }
    }

    /// True if somebody was reached here.
    fn tell_end(&self, call: &Call, side: CallSide, said: Option<&str>, audience: &Audience<'_>) -> bool {
        let delivery = &self.0.core.delivery;
        let reason = event_reason(call, said);
        let ended = CallEnded::new(call, side, reason.clone());
        let mark = || Note::EndHeard { call: call.id, side }.for_whom(call.party(side));
        let reached = match (call.status, side) {
            (CallStatus::Missed, _) => {
                delivery.emit(audience, &ServerEvent::CallMissed(CallMissed::new(call)));
                let timed_out = ServerEvent::CallTimedOut(ended.saying("The call was not answered"));
                delivery.emit_marked(audience, &timed_out, mark)
            }
            (CallStatus::Rejected, CallSide::Caller) => {
                delivery.emit_marked(audience, &ServerEvent::CallRejected(CallRejected::new(call, reason)), mark)
            }
            _ => delivery.emit_marked(audience, &ServerEvent::CallEnded(ended), mark),
        };
        reached.count() > 0
    }

    /// Writes the call log, unless that is under way: each time it is written it is emitted.
    pub(super) fn begin_log(&self, call: &Call) {
        let was_under_way = self.0.live.change(call.id, |live| std::mem::replace(&mut live.log_under_way, true));
        if was_under_way == Some(false) {
            let (this, call) = (self.clone(), call.clone());
            self.0.core.tasks.spawn(async move { this.write_log(call).await });
        }
    }

    /// Stores the call log and emits it. Idempotent by the call's id, so it may be tried until it succeeds.
    async fn write_log(&self, call: Call) {
        let Some(status) = call.log_status() else { return };
        let log = CallLog {
            call_type: Some(call.call_type.as_str().to_owned()),
            call_status: Some(status.to_owned()),
            call_duration: Some(i64::from(call.duration)),
            call_id: Some(call.id.to_string()),
        };
        let text = format!("{} {status}", call.call_type.label());
        match self.0.messaging.log_call(&call, text, log).await {
            Ok(()) => self.settle(call.id, Notices { log: true, ..Notices::default() }),
            Err(e) if e.is_retryable() => {
                warn!(call.id = %call.id, "a call log was not stored yet: {}", story(&e));
                self.0.live.change(call.id, |live| live.log_under_way = false);
                self.wake_soon(call.id);
            }
            Err(e) => {
                // Trying again would fail again, for ever.
                tracing::error!(call.id = %call.id, "a call log cannot be stored: {}", story(&e));
                self.settle(call.id, Notices { log: true, ..Notices::default() });
            }
        }
    }

    /// Takes notices off the list, here and on the nodes that know the call at once, and in the store a moment later.
    pub(in crate::services) fn settle(&self, id: CallId, done: Notices) {
        self.0.core.tell_nodes(vec![Topic::Call(id)], || Notice::Settled { call: id, done });
        self.0.live.change(id, |live| {
            live.call.notices = live.call.notices.without(done);
            live.settling += 1;
        });
        if !self.0.settled.push(id, done) {
            self.0.live.change(id, LiveCall::settled_one);
        }
    }
}

/// Takes notices off the list of the store, many at once.
pub(super) struct Settled(mpsc::Sender<(CallId, Notices)>);

impl Settled {
    /// Starts the task that writes.
    pub fn start(core: &Arc<Core>, live: Arc<LiveCalls>) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_LEN);
        core.tasks.spawn(write(core.clone(), live, receiver));
        Self(sender)
    }

    /// False if they are not going to be written.
    fn push(&self, id: CallId, done: Notices) -> bool {
        let pushed = self.0.try_send((id, done)).is_ok();
        if !pushed {
            warn!("notices of calls stay on the list: the queue is full or closed");
        }
        pushed
    }
}

/// Until the store takes it, or nobody is told any more anyway: what is settled here no sweep of another node knows of.
async fn take_off(core: &Core, settled: &[(CallId, Notices)]) -> Result<()> {
    let give_up = Instant::now() + TOLD_WITHIN;
    loop {
        let outcome = core.store.settle_notices(settled).await;
        let again = outcome.as_ref().is_err_and(Error::is_retryable) && Instant::now() < give_up;
        if !again || core.stop.run_until_cancelled(sleep(RETRY_AFTER)).await.is_none() {
            return outcome;
        }
    }
}

async fn write(core: Arc<Core>, live: Arc<LiveCalls>, mut receiver: mpsc::Receiver<(CallId, Notices)>) {
    loop {
        let batch = batches::next(&core, &mut receiver, BATCH, LINGER).await;
        if batch.is_empty() {
            return;
        }
        // One entry per call: the parts of an end are mostly settled within the same moment.
        let mut merged: std::collections::BTreeMap<CallId, Notices> = std::collections::BTreeMap::new();
        for &(id, done) in &batch {
            let all = merged.entry(id).or_default();
            *all = Notices { caller: all.caller || done.caller, callee: all.callee || done.callee, log: all.log || done.log };
        }
        let merged: Vec<(CallId, Notices)> = merged.into_iter().collect();
        if let Err(e) = take_off(&core, &merged).await {
            // The sweep finds them again, and somebody hears of an end twice.
            warn!(calls = merged.len(), "notices of calls stay on the list: {}", story(&e));
        }
        for (id, _) in batch {
            live.change(id, LiveCall::settled_one);
        }
    }
}
