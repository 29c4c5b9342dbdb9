//! The order of a conversation: every change that has a place in it waits in one of a few queues, chosen by the conversation.
//!
//! A lane takes what has gathered while the database was busy and works it off in rounds. In a round all sends are one batch, all reads
//! another, and the rest runs beside them; a conversation never has jobs of two kinds in one round, so its order is that of the calls.
//! A lone send waits for nobody; under load the batches grow by themselves.

use std::collections::hash_map::{DefaultHasher, HashMap};
use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join3, ready};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{Instrument, error, info_span};

use super::append::{self, Append};
use super::engine::Engine;
use super::reads::{self, Read};
use crate::error::{Error, Result};
use crate::models::{ConversationId, NewMessage};
use crate::store::{MarkRead, Pending, ReadMarks, Sent};

/// The most queues there are by themselves; more bring mongod no further.
const MOST_LANES: usize = 4;
/// Jobs that may wait in all lanes together; past it callers are told to come back.
const QUEUE: usize = 8192;
/// Jobs looked at for one round, and sends in one batch.
const BATCH: usize = 500;
/// Bytes of one batch, roughly.
const BATCH_BYTES: usize = 4 << 20;
/// Other jobs that run at once in one round; each takes a connection.
const STEPS_AT_ONCE: usize = 8;
/// Who has waited longer for his turn has been given up by the client, or soon will be.
const PATIENCE: Duration = Duration::from_secs(10);

/// The entrances of the lanes.
pub(super) struct Lanes {
    engine: Arc<Engine>,
    entrances: Vec<mpsc::Sender<Job>>,
}

struct Job {
    conversation: ConversationId,
    queued: Instant,
    work: Work,
}

enum Work {
    Append(Box<Append>),
    Read(Box<Read>),
    Step(Step),
}

/// What may share a round: sends of a conversation with each other, anything else of it with nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Send,
    Alone,
}

/// Is given its turn, or the reason why it has none, and answers by itself.
type Step = Box<dyn FnOnce(Result<Arc<Engine>>) -> BoxFuture<'static, ()> + Send>;

impl Lanes {
    /// Starts the lanes; they end when `engine.closed` is cancelled and everything queued is answered. What is returned beside them is
    /// closed by the last one's end.
    pub(super) fn start(engine: &Arc<Engine>, lanes: NonZeroUsize) -> (Self, mpsc::Receiver<Infallible>) {
        let (at_work, ended) = mpsc::channel(1);
        let tracker = &engine.tasks;
        let lane = |number| {
            let (entrance, queue) = mpsc::channel(QUEUE.div_ceil(lanes.get()));
            let (engine, at_work) = (Arc::clone(engine), at_work.clone());
            let work = async move {
                work_off(engine, queue).await;
                drop(at_work);
            };
            tracker.spawn(work.instrument(info_span!("mongo_lane", lane = number)));
            entrance
        };
        (Self { engine: Arc::clone(engine), entrances: (0..lanes.get()).map(lane).collect() }, ended)
    }

    /// How many jobs wait to be looked at.
    pub(super) fn waiting(&self) -> usize {
        self.entrances.iter().map(|entrance| entrance.max_capacity() - entrance.capacity()).sum()
    }

    /// Queues a send. Its place is taken now, not when the result is awaited.
    pub(super) fn append(&self, new: NewMessage) -> Pending<Sent> {
        let (reply, answer) = oneshot::channel();
        let conversation = new.conversation.id;
        self.queue(conversation, Work::Append(Box::new(Append { new, reply })), answer)
    }

    /// Queues a reader's mark. Its place is taken now: what is sent later stays unread.
    pub(super) fn read(&self, mark: MarkRead) -> Pending<ReadMarks> {
        let (reply, answer) = oneshot::channel();
        let conversation = mark.conversation.id;
        self.queue(conversation, Work::Read(Box::new(Read { mark, reply })), answer)
    }

    /// Queues anything else that changes a conversation.
    pub(super) fn step<T: Send + 'static>(
        &self,
        conversation: ConversationId,
        work: impl FnOnce(Arc<Engine>) -> BoxFuture<'static, Result<T>> + Send + 'static,
    ) -> Pending<T> {
        let (reply, answer) = oneshot::channel();
        let step = move |turn: Result<Arc<Engine>>| {
            async move {
                let result = match turn {
                    Ok(engine) => work(engine).await,
                    Err(refused) => Err(refused),
                };
                // Whoever asked may have gone away.
                let _ = reply.send(result);
            }
            .boxed()
        };
        self.queue(conversation, Work::Step(Box::new(step)), answer)
    }

    fn queue<T: Send + 'static>(&self, conversation: ConversationId, work: Work, answer: oneshot::Receiver<Result<T>>) -> Pending<T> {
        if let Err(closed) = self.engine.check_open() {
            return ready(Err(closed)).boxed();
        }
        let job = Job { conversation, queued: Instant::now(), work };
        match self.entrance(conversation).try_send(job) {
            Ok(()) => async { answer.await.unwrap_or_else(|_| Err(Error::unavailable("the writer gave up this job"))) }.boxed(),
            Err(TrySendError::Full(_)) => ready(Err(Error::overloaded())).boxed(),
            Err(TrySendError::Closed(_)) => ready(Err(Error::unavailable("the store is closed"))).boxed(),
        }
    }

    fn entrance(&self, conversation: ConversationId) -> &mpsc::Sender<Job> {
        let mut hasher = DefaultHasher::new();
        conversation.hash(&mut hasher);
        &self.entrances[usize::try_from(hasher.finish() % self.entrances.len() as u64).unwrap_or(0)]
    }
}

/// One for every two cores: where server and mongod share two, one lane with the larger batches takes a third less of mongod's CPU than
/// four, and answers sooner.
pub(super) fn lanes_here() -> NonZeroUsize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new((cores / 2).min(MOST_LANES)).unwrap_or(NonZeroUsize::MIN)
}

async fn work_off(engine: Arc<Engine>, mut queue: mpsc::Receiver<Job>) {
    let mut waiting = VecDeque::with_capacity(BATCH);
    let mut received = Vec::with_capacity(BATCH);
    loop {
        if waiting.is_empty() {
            let closing = engine.closed.is_cancelled();
            tokio::select! {
                count = queue.recv_many(&mut received, BATCH) => if count == 0 { return },
                // What is queued by now is still worked off.
                () = engine.closed.cancelled(), if !closing => queue.close(),
            }
            if closing {
                queue.close();
            }
        } else {
            while received.len() + waiting.len() < BATCH
                && let Ok(job) = queue.try_recv()
            {
                received.push(job);
            }
        }
        waiting.extend(received.drain(..));
        let round = Round::take(&mut waiting);
        // A lane that died would silence its conversations; the jobs of this round learn that it failed.
        if AssertUnwindSafe(round.run(&engine)).catch_unwind().await.is_err() {
            error!("a batch of writes to MongoDB panicked");
        }
    }
}

#[derive(Default)]
struct Round {
    late: Vec<Job>,
    sends: Vec<Append>,
    reads: Vec<Read>,
    steps: Vec<Step>,
}

impl Round {
    /// Takes what may run together and leaves the rest in its order.
    fn take(waiting: &mut VecDeque<Job>) -> Self {
        let mut round = Self::default();
        let mut bytes = 0;
        let mut kinds = HashMap::new();
        let mut blocked = HashSet::new();
        let mut left = VecDeque::new();
        for job in waiting.drain(..) {
            if job.queued.elapsed() > PATIENCE {
                round.late.push(job);
                continue;
            }
            let (kind, size) = match &job.work {
                Work::Append(append) => (Kind::Send, append.size_bytes()),
                Work::Read(_) | Work::Step(_) => (Kind::Alone, 0),
            };
            let fits = round.sends.is_empty() || bytes + size <= BATCH_BYTES;
            let free = !blocked.contains(&job.conversation)
                && kinds.get(&job.conversation).is_none_or(|other| (*other, kind) == (Kind::Send, Kind::Send));
            if !(fits && free) {
                blocked.insert(job.conversation);
                left.push_back(job);
                continue;
            }
            kinds.insert(job.conversation, kind);
            bytes += size;
            match job.work {
                Work::Append(append) => round.sends.push(*append),
                Work::Read(read) => round.reads.push(*read),
                Work::Step(step) => round.steps.push(step),
            }
        }
        *waiting = left;
        round
    }

    async fn run(self, engine: &Arc<Engine>) {
        for job in self.late {
            refuse(job.work, Error::overloaded()).await;
        }
        let Ok(clock) = engine.prepared_clock() else {
            let sends = self.sends.into_iter().map(|send| Work::Append(Box::new(send)));
            let reads = self.reads.into_iter().map(|read| Work::Read(Box::new(read)));
            for work in sends.chain(reads).chain(self.steps.into_iter().map(Work::Step)) {
                refuse(work, Error::unavailable("MongoDB is not prepared yet")).await;
            }
            return;
        };
        let steps: Vec<BoxFuture<'static, ()>> = self.steps.into_iter().map(|step| step(Ok(Arc::clone(engine)))).collect();
        let steps = stream::iter(steps).buffer_unordered(STEPS_AT_ONCE).collect::<Vec<()>>();
        join3(append::append(engine, clock, self.sends), reads::mark_read(engine, self.reads), steps).await;
    }
}

async fn refuse(work: Work, why: Error) {
    match work {
        // Whoever asked may have gone away.
        Work::Append(append) => drop(append.reply.send(Err(why))),
        Work::Read(read) => drop(read.reply.send(Err(why))),
        Work::Step(step) => step(Err(why)).await,
    }
}
