//! The outbox: what is still to be said to the outside, kept in the store and carried out by bounded workers, never by a request.
//!
//! Each lane takes jobs from a bounded queue in memory, writes them down in batches, and gives those it has a free worker for out at
//! once, already leased; the others are claimed from the store as workers become free, by whichever node is faster. Guarantees:
//! docs/push.md#guarantees.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{Instrument, debug, info_span, warn};

use crate::error::Result;
use crate::models::{Lease, OutboxEntry, OutboxLane, OutboxOutcome};

use super::Core;

/// Jobs written in one go.
const BATCH: usize = 500;
/// The pause before something the store refused is tried again.
const STORE_REST: Duration = Duration::from_secs(1);
/// How long what is under way may go on when the server stops.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Failures in a row after which a lane sends one at a time until something arrives.
const FAILURES_TO_SLOW_DOWN: u32 = 8;
/// The longest rest of such a lane between two tries.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// The most entries that wait in the store; of more the oldest are dropped. Calls end by themselves.
const KEPT_WAITING: usize = 100_000;
/// How often it is looked whether there are too many.
const TRIMMED_EVERY: Duration = Duration::from_secs(30);
/// How long it is known what was done, so that nothing found again is sent again.
pub(super) const DONE_KEPT: Duration = Duration::from_secs(15 * 60);
/// How long what was given up can be looked at and sent again.
const DEAD_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// What the outbox carries out.
#[async_trait]
pub(super) trait Work: Send + Sync + 'static {
    /// What waits in memory.
    type Job: Send + Sync + 'static;

    /// The lane of a job.
    fn lane(job: &Self::Job) -> OutboxLane;

    /// The entries for those jobs that are worth writing down. Errors: the store does not answer; it is asked again.
    async fn entries(&self, jobs: &[Self::Job]) -> Result<Vec<OutboxEntry>>;

    /// Does what an entry says. `fresh` if it comes straight from the queue, a moment after it came to be.
    async fn carry_out(&self, entry: &OutboxEntry, fresh: bool) -> Carried;
}

/// What became of an entry, and how the other side is.
pub(super) struct Carried {
    pub outcome: OutboxOutcome,
    pub health: Health,
}

/// How the other side is, as far as an attempt shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It was not asked.
    Unknown,
    /// It answers.
    Well,
    /// It does not answer, or not in earnest.
    Away,
    /// It wants to be left alone by everybody for so long.
    Resting(Duration),
}

/// How a lane is run.
struct Pace {
    /// Entries carried out at once.
    workers: usize,
    /// Jobs waiting in memory; the oldest is dropped for a new one. None: as many as there are, for calls end by themselves.
    queue_len: Option<usize>,
    /// How often the store is looked through for what is due.
    look_every: Duration,
    /// How long nobody else touches what a worker has: longer than any attempt.
    lease: Duration,
}

fn pace(lane: OutboxLane) -> Pace {
    match lane {
        // A short lease: what a dead node had taken should still ring.
        OutboxLane::Calls => Pace { workers: 128, queue_len: None, look_every: Duration::from_millis(500), lease: Duration::from_secs(25) },
        OutboxLane::Chats => {
            Pace { workers: 128, queue_len: Some(20_000), look_every: Duration::from_secs(1), lease: Duration::from_secs(40) }
        }
        OutboxLane::Webhooks => {
            Pace { workers: 16, queue_len: Some(20_000), look_every: Duration::from_secs(1), lease: Duration::from_secs(40) }
        }
    }
}

/// The three lanes. Cheap to clone.
pub(super) struct Outbox<W: Work> {
    core: Arc<Core>,
    work: Arc<W>,
    lanes: Arc<[Lane<W::Job>; 3]>,
}

impl<W: Work> Clone for Outbox<W> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), work: Arc::clone(&self.work), lanes: Arc::clone(&self.lanes) }
    }
}

struct Lane<J> {
    lane: OutboxLane,
    pace: Pace,
    // std Mutex: never held across an await.
    queue: Mutex<VecDeque<J>>,
    brake: Mutex<Brake>,
    bell: Notify,
    slots: Arc<Semaphore>,
    /// Whether more is known to be due in the store than there were workers for.
    backlog: AtomicBool,
    /// Whether jobs were dropped since somebody was told.
    dropping: AtomicBool,
}

#[derive(Default)]
struct Brake {
    until: Option<Instant>,
    failures: u32,
}

impl<W: Work> Outbox<W> {
    /// Starts the lanes, among them only those that `used` says are.
    pub fn start(core: &Arc<Core>, work: Arc<W>, used: impl Fn(OutboxLane) -> bool) -> Self {
        let lanes = OutboxLane::ALL.map(|lane| {
            let pace = pace(lane);
            Lane {
                lane,
                queue: Mutex::default(),
                brake: Mutex::default(),
                bell: Notify::new(),
                slots: Arc::new(Semaphore::new(pace.workers)),
                pace,
                backlog: AtomicBool::new(false),
                dropping: AtomicBool::new(false),
            }
        });
        let this = Self { core: core.clone(), work, lanes: Arc::new(lanes) };
        for lane in OutboxLane::ALL.into_iter().filter(|lane| used(*lane)) {
            let span = info_span!("outbox", lane = lane.as_str());
            core.tasks.spawn(this.clone().run(lane).instrument(span));
        }
        this
    }

    fn lane(&self, lane: OutboxLane) -> &Lane<W::Job> {
        &self.lanes[lane as usize]
    }

    /// Queues a job. Never waits; of chats and webhooks the oldest job goes when there are too many.
    pub fn push(&self, job: W::Job) {
        let lane = self.lane(W::lane(&job));
        {
            let mut queue = lane.queue();
            if lane.pace.queue_len.is_some_and(|most| queue.len() >= most) {
                queue.pop_front();
                if !lane.dropping.swap(true, Ordering::Relaxed) {
                    warn!(lane = lane.lane.as_str(), "the oldest of what waits to be written down is dropped: the store is too slow");
                }
            }
            queue.push_back(job);
        }
        lane.bell.notify_one();
    }

    async fn run(self, lane: OutboxLane) {
        let this = self.lane(lane);
        let stop = &self.core.stop;
        let mut look_at = Instant::now();
        loop {
            tokio::select! {
                () = this.bell.notified() => {}
                () = sleep_until(look_at) => {}
                () = stop.cancelled() => {
                    self.write_down(this, false).await;
                    return;
                }
            }
            self.write_down(this, true).await;
            // Also under a steady stream of new jobs what is due again has its turn.
            if Instant::now() >= look_at || this.backlog.load(Ordering::Relaxed) {
                self.take_what_is_due(this).await;
                look_at = Instant::now() + this.pace.look_every.mul_f64(rand::rng().random_range(0.8..1.2));
            }
        }
    }

    /// Writes down what waits in memory, and gives out what there is a free worker for.
    async fn write_down(&self, lane: &Lane<W::Job>, give_out: bool) {
        loop {
            let jobs: Vec<W::Job> = {
                let mut queue = lane.queue();
                let count = queue.len().min(BATCH);
                queue.drain(..count).collect()
            };
            if jobs.is_empty() {
                return;
            }
            match self.admit(lane, &jobs, give_out).await {
                Ok(()) => drop(lane.dropping.swap(false, Ordering::Relaxed)),
                Err(e) => {
                    warn!(jobs = jobs.len(), "what is to be sent could not be written down yet: {}", story(&e));
                    lane.put_back(jobs);
                    if self.core.stop.is_cancelled() {
                        return;
                    }
                    let _ = self.core.stop.run_until_cancelled(sleep(STORE_REST)).await;
                    lane.bell.notify_one();
                    return;
                }
            }
        }
    }

    async fn admit(&self, lane: &Lane<W::Job>, jobs: &[W::Job], give_out: bool) -> Result<()> {
        let mut entries = self.work.entries(jobs).await?;
        if entries.is_empty() {
            return Ok(());
        }
        let mut slots = if give_out { lane.take_slots(entries.len()) } else { Vec::new() };
        if slots.len() < entries.len() {
            lane.backlog.store(true, Ordering::Relaxed);
        }
        let lease = self.lease(lane);
        for entry in entries.iter_mut().take(slots.len()) {
            entry.lease = Some(lease);
        }
        let new = self.core.store.put_outbox(entries.clone()).await?;
        for entry in entries {
            // One that was known already is somebody else's.
            if entry.lease.is_some() && new.contains(&entry.id) {
                self.give_out(lane.lane, entry, true, slots.pop());
            }
        }
        Ok(())
    }

    fn lease(&self, lane: &Lane<W::Job>) -> Lease {
        Lease { owner: self.core.process, until: self.core.now().plus(lane.pace.lease) }
    }

    async fn take_what_is_due(&self, lane: &Lane<W::Job>) {
        let mut slots = lane.take_slots(usize::MAX);
        if slots.is_empty() {
            return;
        }
        lane.backlog.store(false, Ordering::Relaxed);
        match self.core.store.claim_outbox(lane.lane, self.lease(lane), self.core.now(), slots.len()).await {
            Ok(due) => {
                if due.len() == slots.len() {
                    lane.backlog.store(true, Ordering::Relaxed);
                }
                for entry in due {
                    self.give_out(lane.lane, entry, false, slots.pop());
                }
            }
            Err(e) => debug!("what is due is not known: {}", story(&e)),
        }
    }

    fn give_out(&self, lane: OutboxLane, entry: OutboxEntry, fresh: bool, slot: Option<OwnedSemaphorePermit>) {
        let this = self.clone();
        let span = info_span!("outbox_entry", entry.id = entry.id);
        let work = async move {
            let lane = this.lane(lane);
            let last_words = async {
                this.core.stop.cancelled().await;
                sleep(LAST_WORDS).await;
            };
            let carried = tokio::select! {
                carried = timeout(lane.pace.lease, this.work.carry_out(&entry, fresh)) => carried,
                // Nobody knows whether it was taken: the next process tries it again.
                () = last_words => return,
            };
            let Ok(Carried { outcome, health }) = carried else {
                return warn!("an attempt took longer than its lease; it is tried again");
            };
            lane.note(health);
            this.settle(&entry, outcome).await;
            drop(slot);
            if lane.backlog.load(Ordering::Relaxed) {
                lane.bell.notify_one();
            }
        };
        self.core.tasks.spawn(work.instrument(span));
    }

    /// Writes down what became of an entry. While that is not done its worker takes nothing else, so that as many sends as there are
    /// workers may be repeated after a crash, and no more.
    async fn settle(&self, entry: &OutboxEntry, outcome: OutboxOutcome) {
        let until = entry.lease.map_or_else(|| self.core.now(), |lease| lease.until);
        loop {
            match self.core.store.settle_outbox(&entry.id, self.core.process, outcome.clone()).await {
                Ok(true) => return,
                Ok(false) => return debug!("somebody else has taken this entry over"),
                Err(e) if self.core.stop.is_cancelled() || self.core.now() >= until => {
                    return warn!("what became of an entry is not written down, it may be sent again: {}", story(&e));
                }
                Err(_) => sleep(STORE_REST / 2).await,
            }
        }
    }

    /// Looks after the store for ever: drops what is too much, and forgets what is done.
    pub async fn keep_in_bounds(self) {
        loop {
            sleep(TRIMMED_EVERY).await;
            let (store, now) = (&self.core.store, self.core.now());
            for lane in [OutboxLane::Chats, OutboxLane::Webhooks] {
                match store.trim_outbox(lane, KEPT_WAITING, now).await {
                    Ok(0) => {}
                    Ok(dropped) => warn!(lane = lane.as_str(), dropped, "the oldest of what waited were dropped: too many"),
                    Err(e) => debug!("the outbox was not trimmed: {}", story(&e)),
                }
            }
            if let Err(e) = store.purge_outbox(now.minus(DONE_KEPT), now.minus(DEAD_KEPT)).await {
                debug!("the outbox was not purged: {}", story(&e));
            }
        }
    }
}

impl<J> Lane<J> {
    fn queue(&self) -> MutexGuard<'_, VecDeque<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of too many the oldest go, as always.
    fn put_back(&self, jobs: Vec<J>) {
        let mut queue = self.queue();
        for job in jobs.into_iter().rev() {
            queue.push_front(job);
        }
        let beyond = self.pace.queue_len.map_or(0, |most| queue.len().saturating_sub(most));
        queue.drain(..beyond);
    }

    /// As many free workers as there are, as are wanted, and as the other side bears.
    fn take_slots(&self, wanted: usize) -> Vec<OwnedSemaphorePermit> {
        let mut most = wanted;
        {
            let brake = self.brake.lock().unwrap_or_else(PoisonError::into_inner);
            if brake.until.is_some_and(|until| Instant::now() < until) {
                return Vec::new();
            }
            if brake.failures >= FAILURES_TO_SLOW_DOWN {
                most = most.min(1);
            }
        }
        let mut slots = Vec::new();
        while slots.len() < most
            && let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned()
        {
            slots.push(slot);
        }
        slots
    }

    /// Learns from an attempt. Calls are never held up: they are over before the other side is well again, or not.
    fn note(&self, health: Health) {
        if self.lane == OutboxLane::Calls {
            return;
        }
        let mut brake = self.brake.lock().unwrap_or_else(PoisonError::into_inner);
        match health {
            Health::Unknown => {}
            Health::Well => *brake = Brake { failures: 0, ..*brake },
            Health::Away => {
                brake.failures += 1;
                if brake.failures >= FAILURES_TO_SLOW_DOWN {
                    brake.until = Some(Instant::now() + backoff(brake.failures - FAILURES_TO_SLOW_DOWN, LONGEST_REST));
                }
            }
            Health::Resting(rest) => brake.until = Some(Instant::now() + rest),
        }
    }
}

/// How long to wait after so many attempts: 1, 2, 4 … seconds and no more than `longest`, less up to half of it by chance, so that what
/// failed together does not come again together.
pub(super) fn backoff(attempts: u32, longest: Duration) -> Duration {
    let whole = Duration::from_secs(1 << attempts.min(16)).min(longest);
    whole.mul_f64(rand::rng().random_range(0.5..1.0))
}

fn story(error: &crate::error::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_up_to_a_limit_and_differs() {
        let longest = Duration::from_secs(60);
        for (attempts, whole) in [(0, 1), (1, 2), (5, 32), (6, 60), (40, 60)] {
            let wait = backoff(attempts, longest);
            assert!(wait >= Duration::from_secs(whole) / 2 && wait <= Duration::from_secs(whole), "{attempts}: {wait:?}");
        }
    }
}
