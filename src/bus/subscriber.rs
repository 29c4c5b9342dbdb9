//! Hears Redis: asks for what this node follows, hands on what arrives, and notices when something may not have arrived.
//!
//! Every node hears its own beat. One that does not is cut off, whatever the connection looks like, and begins anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisResult, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, info, warn};

use crate::models::Timestamp;

use super::packet::{self, Kind, NodeId, Packet};
use super::publisher::Outgoing;
use super::redis_server::{Line, RedisServer};
use super::topic::Topic;
use super::trouble;
use super::{BEAT_EVERY, HEARD_LEN, Heard, Inner, PATIENCE, SILENT_FOR, Sight, Sighting, lock};

/// Topics of one question.
const TOPICS_AT_ONCE: usize = 1_000;
/// The pause before Redis is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The one task that hears.
pub(super) struct Subscriber {
    server: RedisServer,
    inner: Arc<Inner>,
    hear: mpsc::Sender<Heard>,
    /// What was heard last of each node: a message for two topics of ours comes twice.
    last: HashMap<NodeId, u64>,
    /// Until when everything was certainly heard.
    whole_until: Timestamp,
    own_beat: Instant,
}

/// A connection that hears.
struct Ear {
    line: Line,
    pushes: mpsc::Receiver<PushInfo>,
    /// Set when something was not taken in, because too much was waiting.
    overflowed: Arc<AtomicBool>,
}

impl Subscriber {
    pub fn new(server: RedisServer, inner: Arc<Inner>, hear: mpsc::Sender<Heard>) -> Self {
        Self { server, inner, hear, last: HashMap::new(), whole_until: Timestamp::now(), own_beat: Instant::now() }
    }

    /// Hears for ever.
    pub async fn run(mut self) {
        let (mut known, mut complained) = (false, false);
        loop {
            match timeout(PATIENCE, self.open()).await {
                Ok(Ok(mut ear)) => {
                    self.inner.hears.store(true, Ordering::Relaxed);
                    lock(&self.inner.troubles).hearing = None;
                    complained = false;
                    info!(node = %self.inner.me, "this node hears the others");
                    if std::mem::replace(&mut known, true) {
                        self.inner.miss(self.whole_until).await;
                    }
                    self.forgive_silence();
                    let why = self.listen(&mut ear).await;
                    self.inner.hears.store(false, Ordering::Relaxed);
                    warn!("this node does not hear the others: {why}");
                }
                Ok(Err(e)) => self.hears_nothing(trouble::in_words(&e), &e, &mut complained),
                Err(_) => self.hears_nothing(trouble::NO_ANSWER, &"it may be paused, or the way to it", &mut complained),
            }
            sleep(RETRY_AFTER).await;
        }
    }

    /// Warns once per outage, unless the publisher has done so: it may be that this connection alone is of no use.
    fn hears_nothing(&self, why: &'static str, details: &dyn std::fmt::Display, complained: &mut bool) {
        let mut troubles = lock(&self.inner.troubles);
        troubles.hearing = Some(why);
        if troubles.telling.is_some() || std::mem::replace(complained, true) {
            debug!("redis cannot be listened to: {why} ({details})");
        } else {
            warn!("redis cannot be listened to, and is tried again and again: {why} ({details})");
        }
    }

    async fn open(&self) -> RedisResult<Ear> {
        let (sender, pushes) = mpsc::channel(HEARD_LEN);
        let overflowed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&overflowed);
        let take = move |push: PushInfo| sender.try_send(push).map_err(|_| flag.store(true, Ordering::Relaxed));
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE)).set_push_sender(take);
        let line = self.server.connect(&config).await?;
        let mut ear = Ear { line, pushes, overflowed };
        let topics = self.inner.follows.start_over();
        self.begin(&mut ear, topics).await?;
        Ok(ear)
    }

    async fn begin(&self, ear: &mut Ear, topics: Vec<Topic>) -> RedisResult<()> {
        for some in topics.chunks(TOPICS_AT_ONCE) {
            ear.line.words.subscribe(&self.channels(some)).query_async::<()>(&mut ear.line.connection).await?;
            self.inner.follows.confirm(some.to_vec());
        }
        Ok(())
    }

    async fn end(&self, ear: &mut Ear, topics: Vec<Topic>) -> RedisResult<()> {
        for some in topics.chunks(TOPICS_AT_ONCE) {
            ear.line.words.unsubscribe(&self.channels(some)).query_async::<()>(&mut ear.line.connection).await?;
        }
        Ok(())
    }

    fn channels(&self, topics: &[Topic]) -> Vec<String> {
        topics.iter().map(|topic| topic.channel(&self.inner.prefix)).collect()
    }

    /// Hands on what comes until the connection is of no more use; says why.
    async fn listen(&mut self, ear: &mut Ear) -> String {
        let mut look = interval(BEAT_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                push = ear.pushes.recv() => match push {
                    Some(PushInfo { kind: PushKind::Message | PushKind::SMessage, data }) => self.take_in(data).await,
                    Some(PushInfo { kind: PushKind::Disconnection, .. }) | None => return "the connection to redis broke".into(),
                    Some(_) => {}
                },
                () = self.inner.follows.changed.notified() => {
                    let difference = self.inner.follows.difference();
                    let changed = async {
                        self.begin(ear, difference.begin).await?;
                        self.end(ear, difference.end).await
                    };
                    if let Err(e) = changed.await {
                        return format!("subscriptions cannot be changed: {e}");
                    }
                }
                _ = look.tick() => {
                    if ear.overflowed.load(Ordering::Relaxed) {
                        return "more was said than could be taken in".into();
                    }
                    if self.own_beat.elapsed() > SILENT_FOR {
                        return "its own beat does not come back".into();
                    }
                    self.bury_the_silent().await;
                }
            }
        }
    }

    async fn take_in(&mut self, data: Vec<Value>) {
        let Some(Value::BulkString(bytes)) = data.into_iter().nth(1) else { return };
        let Some(packet) = packet::read(&bytes) else { return debug!("a message of another version was passed over") };
        if packet.from == self.inner.me {
            if packet.kind == Kind::Beat {
                self.own_beat = Instant::now();
                self.whole_until = said_at(&packet);
            }
            return;
        }
        let last = self.last.entry(packet.from.clone()).or_default();
        if packet.n <= *last {
            return;
        }
        *last = packet.n;
        self.inner.counts.heard.fetch_add(1, Ordering::Relaxed);
        match packet.kind {
            Kind::Bye => {
                lock(&self.inner.nodes).remove(&packet.from);
                self.inner.note_gone(packet.from.clone(), Sight::Ended);
                self.last.remove(&packet.from);
                info!(node = %packet.from, "another node has ended");
                return;
            }
            Kind::Hello => {
                let body = Timestamp::now().to_string().into_bytes();
                self.inner.push(Outgoing::Packet { topics: vec![Topic::Everybody], kind: Kind::Beat, body });
            }
            Kind::Gap => self.inner.miss(said_at(&packet)).await,
            Kind::Emission | Kind::Notice | Kind::Beat => {}
        }
        self.see(&packet.from);
        if matches!(packet.kind, Kind::Emission | Kind::Notice) {
            // The listener is gone only at shutdown.
            let _ = self.hear.send(Heard::Packet(packet)).await;
        }
    }

    fn see(&self, node: &NodeId) {
        let sighting = Sighting { at: Instant::now(), on_the_clock: Timestamp::now() };
        if lock(&self.inner.nodes).insert(node.clone(), sighting).is_none() {
            lock(&self.inner.gone).remove(node);
            info!(%node, "another node is there");
        }
    }

    /// After an outage of our own nobody can be blamed for silence.
    fn forgive_silence(&mut self) {
        self.own_beat = Instant::now();
        lock(&self.inner.nodes).values_mut().for_each(|sighting| sighting.at = Instant::now());
    }

    /// A node that fell silent without a goodbye may have stored what it could not tell any more.
    async fn bury_the_silent(&mut self) {
        let silent: Vec<(NodeId, Sighting)> =
            lock(&self.inner.nodes).extract_if(|_, sighting| sighting.at.elapsed() > SILENT_FOR).collect();
        for (node, sighting) in silent {
            warn!(%node, "another node is silent and counts as dead");
            self.inner.note_gone(node, Sight::SilentSince(sighting.on_the_clock));
            self.inner.miss(sighting.on_the_clock).await;
        }
    }
}

/// The time in the body of a beat or a gap.
fn said_at(packet: &Packet) -> Timestamp {
    std::str::from_utf8(&packet.body).ok().and_then(Timestamp::parse).unwrap_or_else(Timestamp::now)
}
