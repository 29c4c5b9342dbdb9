//! The way to the other nodes, over Redis: what one node says to its sockets the others say to theirs, and a little they all count on.
//!
//! Nothing here is ever waited for by a message: telling others is a bounded queue, and while Redis is away a node goes on by itself.
//! What others missed then they are told to fetch ([`Heard::Missed`]). Knows neither events nor rules: bodies are bytes.

mod follows;
mod packet;
mod publisher;
mod redis_server;
mod shared_counts;
mod subscriber;
mod topic;
pub mod trouble;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::models::{CallId, Participant, ProcessId, Timestamp};

use follows::Follows;
pub use packet::{Kind, NodeId, Packet};
use publisher::{Outgoing, Publisher};
use redis_server::RedisServer;
pub use shared_counts::{SharedRule, Spent};
use subscriber::Subscriber;
pub use topic::Topic;
use trouble::Troubles;

/// Messages waiting to be told to other nodes; when full further ones are lost to them, and they are told to fetch what they missed.
const QUEUE_LEN: usize = 16 * 1024;
/// Messages heard and not handled yet; when full the subscription is begun anew, as after an outage.
const HEARD_LEN: usize = 64 * 1024;
/// How often a node says that it lives.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// How long a node may be silent before it counts as dead.
const SILENT_FOR: Duration = Duration::from_secs(5);
/// How long an answer of Redis may take where somebody waits for it.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);
/// How long Redis may take to be reached, or to take what it is told.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the last words may take at shutdown.
const CLOSING: Duration = Duration::from_secs(2);
/// Nodes that are gone and still known as such; beyond it all of them are forgotten.
const MOST_GONE: usize = 1_000;
/// The most calls somebody is reminded of.
const REMINDED_OF: usize = 20;

/// What a node learns from the bus.
#[derive(Debug)]
pub enum Heard {
    /// Another node said something.
    Packet(Packet),
    /// Since then messages of other nodes may not have arrived.
    Missed(Timestamp),
    /// Redis takes what it is told, again or for the first time; what it was told before may be gone.
    Up,
}

/// What the bus knows of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It was heard of lately.
    Heard,
    /// It was not heard of since then, and has not said goodbye.
    SilentSince(Timestamp),
    /// It has said goodbye, and everything before that.
    Ended,
    /// It was never heard of.
    Never,
}

/// How the bus is, for those who look after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusHealth {
    /// Whether messages go out and come in.
    pub up: bool,
    /// Other nodes that live.
    pub nodes: usize,
    /// Messages told to others since the start.
    pub told: u64,
    /// Messages heard of others since the start.
    pub heard: u64,
    /// Messages others never heard, because Redis was away or the queue was full.
    pub lost: u64,
    /// How often messages of others may have been missed.
    pub gaps: u64,
    /// Why it is not up, as far as that is known.
    pub why: Option<&'static str>,
}

/// The bus. Cheap to clone.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    me: NodeId,
    prefix: String,
    follows: Follows,
    queue: mpsc::Sender<Outgoing>,
    // std Mutex, all of them: never held across an await.
    heard: Mutex<Option<mpsc::Receiver<Heard>>>,
    commands: Mutex<Option<MultiplexedConnection>>,
    nodes: Mutex<HashMap<NodeId, Sighting>>,
    /// Those that were there once, and how they went.
    gone: Mutex<HashMap<NodeId, Sight>>,
    hear: mpsc::Sender<Heard>,
    /// Since when something was not told to the others, and not made good yet.
    untold_since: Mutex<Option<Timestamp>>,
    hears: AtomicBool,
    troubles: Mutex<Troubles>,
    counts: Counts,
    tasks: TaskTracker,
}

/// When a node was last heard of.
#[derive(Clone, Copy)]
struct Sighting {
    at: Instant,
    on_the_clock: Timestamp,
}

#[derive(Default)]
struct Counts {
    told: AtomicU64,
    heard: AtomicU64,
    lost: AtomicU64,
    gaps: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bus {
    /// Starts the tasks that keep it. Redis may come later. The clients must speak RESP3; they are addresses of one server or of members of one
    /// cluster. All names begin with `prefix` in braces, which make them one member's there.
    pub fn start(clients: Vec<redis::Client>, prefix: &str, process: ProcessId) -> Self {
        let prefix = format!("{{{prefix}}}");
        let server = RedisServer::new(clients, &prefix);
        let (queue, outgoing) = mpsc::channel(QUEUE_LEN);
        let (hear, heard) = mpsc::channel(HEARD_LEN);
        let bus = Self(Arc::new(Inner {
            me: process.into(),
            prefix,
            follows: Follows::default(),
            queue,
            heard: Mutex::new(Some(heard)),
            commands: Mutex::default(),
            nodes: Mutex::default(),
            gone: Mutex::default(),
            hear: hear.clone(),
            untold_since: Mutex::default(),
            hears: AtomicBool::new(false),
            troubles: Mutex::default(),
            counts: Counts::default(),
            tasks: TaskTracker::new(),
        }));
        bus.0.follows.add(Topic::Everybody);
        let publisher = Publisher::new(server.clone(), Arc::clone(&bus.0), outgoing, hear.clone());
        let subscriber = Subscriber::new(server, Arc::clone(&bus.0), hear);
        bus.0.tasks.spawn(async move {
            // The subscriber has nothing to finish, so it ends with the publisher, whose last words were told.
            tokio::select! {
                () = publisher.run() => {}
                () = subscriber.run() => {}
            }
        });
        bus
    }

    /// The name of this node.
    pub fn me(&self) -> &NodeId {
        &self.0.me
    }

    /// What the bus brings. There is one listener; `None` for everybody after the first.
    pub fn listen(&self) -> Option<mpsc::Receiver<Heard>> {
        lock(&self.0.heard).take()
    }

    /// Tells the nodes that follow one of these topics, each once, in the order of these calls. Never waits.
    pub fn tell(&self, topics: Vec<Topic>, kind: Kind, body: Vec<u8>) {
        self.0.push(Outgoing::Packet { topics, kind, body });
    }

    /// One more here needs this topic.
    pub fn follow(&self, topic: Topic) {
        let person = if let Topic::Person(person) = &topic { Some(person.clone()) } else { None };
        if self.0.follows.add(topic)
            && let Some(person) = person
        {
            self.0.push(Outgoing::Here(person));
        }
    }

    /// One less here needs this topic.
    pub fn unfollow(&self, topic: &Topic) {
        if self.0.follows.remove(topic)
            && let Topic::Person(person) = topic
        {
            self.0.push(Outgoing::Gone(person.clone()));
        }
    }

    /// The same until the answer is dropped, and by then it is heard here, as far as [`Bus::followed`] can tell.
    pub async fn hold(&self, topic: Topic) -> Held {
        self.follow(topic.clone());
        let held = Held { bus: self.clone(), topic };
        self.followed(&held.topic).await;
        held
    }

    /// Waits until what is said about this topic is heard here: half a second at most, and not at all while Redis is away.
    pub async fn followed(&self, topic: &Topic) {
        if self.0.hears.load(Ordering::Relaxed) {
            self.0.follows.confirmed(topic).await;
        }
    }

    /// Whether another node has a socket of this identity. `None` if Redis does not say.
    pub async fn has_elsewhere(&self, person: &Participant) -> Option<bool> {
        let others: Vec<NodeId> = lock(&self.0.nodes).keys().cloned().collect();
        if others.is_empty() {
            // Nobody else, or nobody can be heard.
            return self.is_up().then_some(false);
        }
        let mut asked = redis::pipe();
        for node in &others {
            asked.cmd("SISMEMBER").arg(topic::people_of(&self.0.prefix, node)).arg(person.to_string());
        }
        let answers: Vec<bool> = self.ask(&asked).await?;
        Some(answers.contains(&true))
    }

    /// Those among these people who have a socket on another node. `None` if Redis does not say.
    pub async fn are_elsewhere(&self, people: &[Participant]) -> Option<Vec<Participant>> {
        let others: Vec<NodeId> = lock(&self.0.nodes).keys().cloned().collect();
        if others.is_empty() {
            return self.is_up().then(Vec::new);
        }
        let mut asked = redis::pipe();
        for person in people {
            for node in &others {
                asked.cmd("SISMEMBER").arg(topic::people_of(&self.0.prefix, node)).arg(person.to_string());
            }
        }
        let answers: Vec<bool> = self.ask(&asked).await?;
        let theirs = people.iter().zip(answers.chunks(others.len()));
        Some(theirs.filter(|(_, answers)| answers.contains(&true)).map(|(person, _)| person.clone()).collect())
    }

    /// Whether this node, if it is another one, was heard of lately.
    pub fn lives(&self, node: &NodeId) -> bool {
        lock(&self.0.nodes).contains_key(node)
    }

    /// What is known of this process as a node.
    pub fn sight_of(&self, process: ProcessId) -> Sight {
        let node = process.into();
        if lock(&self.0.nodes).contains_key(&node) {
            return Sight::Heard;
        }
        lock(&self.0.gone).get(&node).copied().unwrap_or(Sight::Never)
    }

    /// Lets the listener know that since then messages of other nodes may not have arrived, which somebody found out in another way.
    pub async fn report_missed(&self, since: Timestamp) {
        self.0.miss(since).await;
    }

    /// Notes that these people may have to hear of a call until then, whichever node they come to.
    pub fn remember_call(&self, people: [Participant; 2], call: CallId, until: Timestamp) {
        self.0.push(Outgoing::Call { people, call, until });
    }

    /// The calls noted for somebody. Empty if Redis does not say.
    pub async fn calls_of(&self, person: &Participant, now: Timestamp) -> Vec<CallId> {
        self.calls_within(ANSWER_WITHIN, person, now).await
    }

    /// The same where nobody waits for it.
    pub async fn calls_of_patiently(&self, person: &Participant, now: Timestamp) -> Vec<CallId> {
        self.calls_within(PATIENCE, person, now).await
    }

    async fn calls_within(&self, patience: Duration, person: &Participant, now: Timestamp) -> Vec<CallId> {
        let mut asked = redis::pipe();
        let key = topic::calls_of(&self.0.prefix, person);
        asked.cmd("ZRANGE").arg(key).arg("+inf").arg(now.as_millis()).arg("BYSCORE").arg("REV").arg("LIMIT").arg(0).arg(REMINDED_OF);
        let answers: Option<Vec<Vec<String>>> = self.ask_within(patience, &asked).await;
        answers.into_iter().flatten().flatten().filter_map(|id| CallId::parse(&id)).collect()
    }

    /// Adds what was spent here to what all nodes count, and says for each how long nobody should spend more.
    /// `None` if Redis does not say; it may have counted all the same.
    pub async fn spend(&self, spent: &[Spent]) -> Option<Vec<Duration>> {
        let answers: Vec<u64> = self.ask_within(PATIENCE, &shared_counts::question(&self.0.prefix, &self.0.me, spent)).await?;
        Some(answers.into_iter().map(Duration::from_millis).collect())
    }

    async fn ask<T: redis::FromRedisValue>(&self, question: &redis::Pipeline) -> Option<T> {
        self.ask_within(ANSWER_WITHIN, question).await
    }

    async fn ask_within<T: redis::FromRedisValue>(&self, patience: Duration, question: &redis::Pipeline) -> Option<T> {
        let mut connection = lock(&self.0.commands).clone()?;
        match timeout(patience, question.query_async(&mut connection)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(e)) => {
                debug!("redis did not answer: {e}");
                None
            }
            Err(_) => None,
        }
    }

    /// Whether messages go out and come in.
    pub fn is_up(&self) -> bool {
        self.0.hears.load(Ordering::Relaxed) && lock(&self.0.commands).is_some()
    }

    /// How it is.
    pub fn health(&self) -> BusHealth {
        let Counts { told, heard, lost, gaps } = &self.0.counts;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let up = self.is_up();
        BusHealth {
            up,
            nodes: lock(&self.0.nodes).len(),
            told: count(told),
            heard: count(heard),
            lost: count(lost),
            gaps: count(gaps),
            why: if up { None } else { lock(&self.0.troubles).first() },
        }
    }

    /// Tells what is waiting and says goodbye.
    pub async fn close(&self) {
        let (done, told) = oneshot::channel();
        let last = timeout(CLOSING, async {
            if self.0.queue.send(Outgoing::Close(done)).await.is_ok() {
                // Dropped unanswered when the tasks have ended already.
                let _ = told.await;
            }
            self.0.tasks.close();
            self.0.tasks.wait().await;
        });
        if last.await.is_err() {
            debug!("the other nodes were not told goodbye");
        }
    }
}

/// A topic that somebody here needs.
pub struct Held {
    bus: Bus,
    topic: Topic,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bus.unfollow(&self.topic);
    }
}

impl Inner {
    /// Queues something for Redis; when the queue is full it is lost to the others, who are told so later.
    fn push(&self, outgoing: Outgoing) {
        if self.queue.try_send(outgoing).is_err() {
            self.lose(1);
        }
    }

    async fn miss(&self, since: Timestamp) {
        self.counts.gaps.fetch_add(1, Ordering::Relaxed);
        // The listener is gone only at shutdown.
        let _ = self.hear.send(Heard::Missed(since)).await;
    }

    /// Takes note of how a node went.
    fn note_gone(&self, node: NodeId, how: Sight) {
        let mut gone = lock(&self.gone);
        if gone.len() >= MOST_GONE {
            gone.clear();
        }
        gone.insert(node, how);
    }

    /// Takes note that others do not hear something.
    fn lose(&self, count: usize) {
        self.counts.lost.fetch_add(count as u64, Ordering::Relaxed);
        lock(&self.untold_since).get_or_insert_with(Timestamp::now);
    }
}
