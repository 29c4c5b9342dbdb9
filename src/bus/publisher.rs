//! Tells Redis, in the order of the calls: many messages at once, one batch after the other.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisResult};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use crate::models::{CallId, Participant, Timestamp};

use super::packet::{self, Kind};
use super::redis_server::{Line, RedisServer, Words};
use super::topic::{Topic, calls_of, people_of};
use super::trouble;
use super::{BEAT_EVERY, Heard, Inner, PATIENCE, SILENT_FOR, lock};

/// The most messages of one batch.
const BATCH: usize = 512;
/// The pause between two attempts to reach Redis.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_millis(500);
/// People noted at once.
const PEOPLE_AT_ONCE: usize = 1_000;

/// Something for Redis.
pub(super) enum Outgoing {
    /// A message to other nodes.
    Packet { topics: Vec<Topic>, kind: Kind, body: Vec<u8> },
    /// Somebody has a socket here.
    Here(Participant),
    /// Somebody has none any more.
    Gone(Participant),
    /// People to be reminded of a call.
    Call { people: [Participant; 2], call: CallId, until: Timestamp },
    /// The last one; answered when everything before it was told.
    Close(oneshot::Sender<()>),
}

/// The one task that tells.
pub(super) struct Publisher {
    server: RedisServer,
    inner: Arc<Inner>,
    outgoing: mpsc::Receiver<Outgoing>,
    hear: mpsc::Sender<Heard>,
    connection: Option<MultiplexedConnection>,
    /// Of the connection, or of the last one.
    words: Words,
    tried_at: Option<Instant>,
    greeted: bool,
    complained: bool,
    n: u64,
}

impl Publisher {
    pub fn new(server: RedisServer, inner: Arc<Inner>, outgoing: mpsc::Receiver<Outgoing>, hear: mpsc::Sender<Heard>) -> Self {
        // A node that forgot its number after a restart has another name, so the numbers of one name only grow.
        Self {
            server,
            inner,
            outgoing,
            hear,
            connection: None,
            words: Words::Plain,
            tried_at: None,
            greeted: false,
            complained: false,
            n: 0,
        }
    }

    /// Tells until it is closed.
    pub async fn run(mut self) {
        let mut beat = interval(BEAT_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                _ = beat.tick() => {
                    let body = Timestamp::now().to_string().into_bytes();
                    batch.push(Outgoing::Packet { topics: vec![Topic::Everybody], kind: Kind::Beat, body });
                }
                count = self.outgoing.recv_many(&mut batch, BATCH) => if count == 0 { return },
            }
            let closing = self.tell(std::mem::take(&mut batch)).await;
            if let Some(done) = closing {
                // Nobody waits for it if the time was up.
                let _ = done.send(());
                return;
            }
        }
    }

    /// Tells one batch. Returns whom to answer if it was the last.
    async fn tell(&mut self, batch: Vec<Outgoing>) -> Option<oneshot::Sender<()>> {
        // First of all, for it decides what publishing is called. Without it everything below is written for nothing, and counted as lost.
        let is_connected = self.connection.is_some() || self.connect().await;
        let mut pipe = redis::pipe();
        let (mut packets, mut closing) = (0, None);
        for outgoing in batch {
            match outgoing {
                Outgoing::Packet { topics, kind, body } => {
                    packets += usize::from(kind != Kind::Beat);
                    self.publish(&mut pipe, &topics, kind, &body);
                }
                Outgoing::Here(person) => {
                    let key = people_of(&self.inner.prefix, &self.inner.me);
                    pipe.cmd("SADD").arg(&key).arg(person.to_string()).ignore();
                    self.renew_lease(&mut pipe);
                }
                Outgoing::Gone(person) => {
                    let key = people_of(&self.inner.prefix, &self.inner.me);
                    pipe.cmd("SREM").arg(&key).arg(person.to_string()).ignore();
                }
                Outgoing::Call { people, call, until } => self.remember(&mut pipe, &people, call, until),
                Outgoing::Close(done) => {
                    self.publish(&mut pipe, &[Topic::Everybody], Kind::Bye, b"");
                    pipe.cmd("DEL").arg(people_of(&self.inner.prefix, &self.inner.me)).ignore();
                    closing = Some(done);
                }
            }
        }
        self.renew_lease(&mut pipe);
        if is_connected && self.send(&pipe).await {
            self.inner.counts.told.fetch_add(packets as u64, std::sync::atomic::Ordering::Relaxed);
            self.admit_gap().await;
        } else {
            self.inner.lose(packets);
        }
        closing
    }

    fn publish(&mut self, pipe: &mut Pipeline, topics: &[Topic], kind: Kind, body: &[u8]) {
        self.n += 1;
        let bytes = packet::write(&self.inner.me, self.n, kind, body);
        for topic in topics {
            pipe.cmd(self.words.publish()).arg(topic.channel(&self.inner.prefix)).arg(&bytes).ignore();
        }
    }

    /// Who is here counts as here for three times as long as a node may be silent.
    fn renew_lease(&self, pipe: &mut Pipeline) {
        let lease_ms = u64::try_from(SILENT_FOR.as_millis()).unwrap_or(u64::MAX).saturating_mul(3);
        pipe.cmd("PEXPIRE").arg(people_of(&self.inner.prefix, &self.inner.me)).arg(lease_ms).ignore();
    }

    fn remember(&self, pipe: &mut Pipeline, people: &[Participant], call: CallId, until: Timestamp) {
        let now = Timestamp::now();
        for person in people {
            let key = calls_of(&self.inner.prefix, &person.identity());
            pipe.cmd("ZADD").arg(&key).arg(until.as_millis()).arg(call.to_string()).ignore();
            pipe.cmd("ZREMRANGEBYSCORE").arg(&key).arg("-inf").arg(now.as_millis()).ignore();
            // Never shorter than what another call of theirs needs.
            let length_ms = u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX).max(1);
            pipe.cmd("PEXPIRE").arg(&key).arg(length_ms).arg("NX").ignore();
            pipe.cmd("PEXPIRE").arg(&key).arg(length_ms).arg("GT").ignore();
        }
    }

    /// False if Redis did not take it, or nobody knows.
    async fn send(&mut self, pipe: &Pipeline) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let outcome = timeout(PATIENCE, pipe.query_async::<()>(connection)).await;
        match outcome {
            Ok(Ok(())) => return true,
            Ok(Err(e)) => {
                lock(&self.inner.troubles).telling = Some(trouble::in_words(&e));
                warn!("redis does not take what it is told: {e}");
            }
            Err(_) => {
                lock(&self.inner.troubles).telling = Some(trouble::NO_ANSWER);
                warn!("redis does not take what it is told in time");
            }
        }
        self.connection = None;
        lock(&self.inner.commands).take();
        false
    }

    async fn connect(&mut self) -> bool {
        if self.tried_at.is_some_and(|at| at.elapsed() < RETRY_AFTER) {
            return false;
        }
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        let connected = timeout(PATIENCE, async {
            let Line { mut connection, words } = self.server.connect(&config).await?;
            self.words = words;
            self.introduce(&mut connection).await?;
            RedisResult::Ok(connection)
        })
        .await;
        self.tried_at = Some(Instant::now());
        match connected {
            Ok(Ok(connection)) => {
                *lock(&self.inner.commands) = Some(connection.clone());
                self.connection = Some(connection);
                self.complained = false;
                lock(&self.inner.troubles).telling = None;
                info!(node = %self.inner.me, "redis takes what this node says");
                // The listener is gone only at shutdown.
                let _ = self.hear.send(Heard::Up).await;
                true
            }
            Ok(Err(e)) => self.is_unreachable(trouble::in_words(&e), &e),
            Err(_) => self.is_unreachable(trouble::NO_ANSWER, &"it may be paused, or the way to it"),
        }
    }

    /// Said once per outage. Always false.
    fn is_unreachable(&mut self, why: &'static str, details: &dyn std::fmt::Display) -> bool {
        lock(&self.inner.troubles).telling = Some(why);
        if std::mem::replace(&mut self.complained, true) {
            debug!("redis is still not reached: {why} ({details})");
        } else {
            warn!("redis is not reached, and is tried again and again: {why} ({details})");
        }
        false
    }

    /// Says who is here, for Redis may have forgotten, and the first time that there is a new node.
    async fn introduce(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let key = people_of(&self.inner.prefix, &self.inner.me);
        let mut pipe = redis::pipe();
        pipe.cmd("DEL").arg(&key).ignore();
        for people in self.inner.follows.people().chunks(PEOPLE_AT_ONCE) {
            pipe.cmd("SADD").arg(&key).arg(people.iter().map(ToString::to_string).collect::<Vec<_>>()).ignore();
        }
        self.renew_lease(&mut pipe);
        if !self.greeted {
            self.publish(&mut pipe, &[Topic::Everybody], Kind::Hello, Timestamp::now().to_string().as_bytes());
        }
        pipe.query_async::<()>(connection).await?;
        self.greeted = true;
        Ok(())
    }

    /// Tells the others since when they may have missed something of this node's.
    async fn admit_gap(&mut self) {
        let Some(since) = lock(&self.inner.untold_since).take() else { return };
        let mut pipe = redis::pipe();
        self.publish(&mut pipe, &[Topic::Everybody], Kind::Gap, since.to_string().as_bytes());
        // Who has come or gone meanwhile may be among what was lost.
        for people in self.inner.follows.people().chunks(PEOPLE_AT_ONCE) {
            let people: Vec<String> = people.iter().map(ToString::to_string).collect();
            pipe.cmd("SADD").arg(people_of(&self.inner.prefix, &self.inner.me)).arg(people).ignore();
        }
        if !self.send(&pipe).await {
            lock(&self.inner.untold_since).get_or_insert(since);
        }
    }
}
