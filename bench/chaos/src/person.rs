//! A client that follows the recipe of docs/protocol.md#reconnecting, and writes down what it was told and what it heard.
//!
//! Sends carry a `clientMessageId` and are repeated until they are acknowledged. After each connect it joins, and syncs from its cursor.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::line::{Cut, Line, Transport};

/// A request without an answer by then hangs: the server gives up a write after ten seconds, and what follows it after ten more.
pub const HANGS_AFTER: Duration = Duration::from_secs(45);
/// What is told again when rooms are given back may be told twice for so long after a connect, or after the store came back.
const TOLD_AGAIN_MS: i64 = 5_000;
const AHEAD_MS: i64 = 2_000;

/// What everybody does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Sends and calls.
    Load,
    /// Begins nothing new; repeats what is not acknowledged.
    Drain,
    /// Hangs up whatever is still talked, which writes more call logs.
    HangUp,
    /// Syncs once more and leaves.
    Final,
}

/// How somebody behaves.
#[derive(Clone, Debug)]
pub struct Part {
    /// Of the servers; each connect takes any of them.
    pub ports: Arc<[u16]>,
    pub seed: u64,
    pub place: usize,
    pub transport: Transport,
    pub token: String,
    pub id: String,
    pub peer_kind: &'static str,
    pub peer_id: String,
    pub conversation: String,
    /// Milliseconds between two sends; none who only listens.
    pub think_ms: Option<(u64, u64)>,
    /// Calls its peer now and then.
    pub calls: bool,
    /// Reads now and then. Then counts say less, so not everybody does.
    pub reads: bool,
    /// Cuts its own line after so many milliseconds.
    pub cut_ms: Option<(u64, u64)>,
}

/// What all of a run share.
#[derive(Default)]
pub struct Tally {
    pub connected: AtomicU64,
    pub connects: AtomicU64,
    pub cuts: AtomicU64,
    pub caught_up: AtomicU64,
    pub unsettled: AtomicU64,
    /// When the store or the server came back last: until then what rooms missed cannot be told again. In milliseconds.
    pub back_ms: AtomicI64,
}

/// What one client knows in the end.
#[derive(Debug, Default)]
pub struct Diary {
    pub conversation: String,
    /// Ids by own ids.
    pub acked: HashMap<String, String>,
    /// How often each was sent; after more than once it may have been stored by an earlier attempt, and heard late.
    pub attempted: HashMap<String, u32>,
    pub seen: HashSet<String>,
    /// Events heard for the first time: per connection, in order, `(createdAt, _id)`.
    pub live: Vec<Vec<(String, String)>>,
    /// Found only by the last sync, although the line was up and had been caught up.
    pub missed_live: u64,
    pub doubled: Vec<String>,
    pub refusals: BTreeMap<String, u64>,
    /// Refusals that cannot be repeated, answers that never came.
    pub wrong: Vec<String>,
    pub slowest: Duration,
    pub calls: Vec<String>,
    pub reconnects: u64,
    pub resyncs: u64,
}

struct Person {
    part: Part,
    tally: Arc<Tally>,
    phase: watch::Receiver<Phase>,
    rng: StdRng,
    diary: Diary,
    next_ack: u64,
    number: u64,
    outbox: VecDeque<String>,
    cursor: Option<String>,
    /// Caught up on this connection.
    current: bool,
    /// It is time to sync: something may have been missed, or much was heard since the last one.
    resync: bool,
    connected_at_ms: i64,
    heard_here: HashSet<String>,
    send_at: Instant,
    cut_at: Option<Instant>,
    /// What to do about calls, and when.
    answers: Vec<(Instant, &'static str, String)>,
    call_at: Instant,
    hung_up: bool,
    finished: bool,
}

/// Plays a part until the final phase is over.
pub async fn play(part: Part, tally: Arc<Tally>, phase: watch::Receiver<Phase>) -> Diary {
    let mut rng = StdRng::seed_from_u64(part.seed);
    let now = Instant::now();
    let send_at = now + Duration::from_millis(rng.random_range(0..500));
    let call_at = now + Duration::from_millis(rng.random_range(0..1500));
    let mut person = Person {
        diary: Diary { conversation: part.conversation.clone(), ..Diary::default() },
        part,
        tally,
        phase,
        rng,
        next_ack: 1,
        number: 0,
        outbox: VecDeque::new(),
        cursor: None,
        current: false,
        resync: false,
        connected_at_ms: 0,
        heard_here: HashSet::new(),
        send_at,
        cut_at: None,
        answers: Vec::new(),
        call_at,
        hung_up: false,
        finished: false,
    };
    person.live_through_it().await;
    person.diary
}

impl Person {
    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    async fn live_through_it(&mut self) {
        let mut patience = 0_u32;
        while !self.finished {
            match self.connect().await {
                Ok(line) => {
                    patience = 0;
                    self.tally.connected.fetch_add(1, Relaxed);
                    self.tally.connects.fetch_add(1, Relaxed);
                    let _ = self.stay(line).await;
                    self.tally.connected.fetch_sub(1, Relaxed);
                    if self.current {
                        self.tally.caught_up.fetch_sub(1, Relaxed);
                    }
                    self.current = false;
                    if !self.finished {
                        self.tally.cuts.fetch_add(1, Relaxed);
                        self.diary.reconnects += 1;
                    }
                }
                Err(_) => {
                    patience += 1;
                    if patience > 600 {
                        self.diary.wrong.push("cannot connect any more".into());
                        return;
                    }
                }
            }
            let pause = self.rng.random_range(20..120) + 40 * u64::from(patience.min(5));
            sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn connect(&mut self) -> Result<Line, Cut> {
        let ports = &self.part.ports;
        let port = if ports.len() > 1 { ports[self.rng.random_range(0..ports.len())] } else { ports[0] };
        let mut line = Line::open(port, self.part.place, self.part.transport).await.map_err(|_| Cut)?;
        line.say(format!("40{}", json!({ "token": self.part.token }))).await?;
        let greeting = async {
            loop {
                let packet = line.next().await?;
                if packet.starts_with("44") {
                    return Err(Cut);
                }
                if let Some(event) = packet.strip_prefix("42") {
                    let event: Value = serde_json::from_str(event).map_err(|_| Cut)?;
                    if event[0] == "connected" {
                        return Ok(());
                    }
                }
            }
        };
        timeout(Duration::from_secs(20), greeting).await.map_err(|_| Cut)??;
        self.connected_at_ms = now_ms();
        self.heard_here.clear();
        self.diary.live.push(Vec::new());
        let cut = self.part.cut_ms.map(|(from, to)| self.rng.random_range(from..to));
        self.cut_at = cut.map(|ms| Instant::now() + Duration::from_millis(ms));
        Ok(line)
    }

    /// Everything between two cuts.
    async fn stay(&mut self, mut line: Line) -> Result<(), Cut> {
        let line = &mut line;
        self.catch_up(line, false).await?;
        loop {
            if self.cut_at.is_some_and(|at| Instant::now() >= at) && self.phase() == Phase::Load {
                return Err(Cut);
            }
            self.do_what_is_due(line).await?;
            if self.phase() == Phase::Final {
                return self.finish(line).await;
            }
            let wake = Duration::from_millis(20);
            let mut phase = self.phase.clone();
            tokio::select! {
                packet = line.next() => self.take_in(&packet?),
                () = sleep(wake) => {}
                _ = phase.changed() => {}
            }
        }
    }

    async fn do_what_is_due(&mut self, line: &mut Line) -> Result<(), Cut> {
        if std::mem::take(&mut self.resync) {
            self.catch_up(line, false).await?;
        }
        let now = Instant::now();
        if let Some(at) = self.answers.iter().position(|(at, ..)| *at <= now) {
            let (_, event, call) = self.answers.swap_remove(at);
            // Too late, or settled otherwise, is no fault; no answer is.
            self.ask(line, event, json!({ "callId": call })).await?;
        }
        if self.phase() == Phase::Load && self.part.calls && now >= self.call_at {
            self.call_at = now + Duration::from_millis(self.rng.random_range(3_500..6_000));
            let ask = json!({ "calleeId": self.part.peer_id, "calleeType": self.part.peer_kind, "callType": "voice" });
            let answer = self.ask(line, "call:initiate", ask).await?;
            if let Some(call) = answer["callId"].as_str() {
                self.diary.calls.push(call.to_owned());
            }
        }
        if let Some((from, to)) = self.part.think_ms
            && self.phase() == Phase::Load
            && now >= self.send_at
            && self.outbox.is_empty()
        {
            self.send_at = now + Duration::from_millis(self.rng.random_range(from..to));
            self.number += 1;
            self.outbox.push_back(format!("{}-{}", self.part.id, self.number));
            self.tally.unsettled.fetch_add(1, Relaxed);
        }
        if let Some(own) = self.outbox.front().cloned() {
            self.send(line, own).await?;
        }
        if self.phase() == Phase::HangUp && !self.hung_up {
            for call in self.diary.calls.clone() {
                self.ask(line, "call:end", json!({ "callId": call })).await?;
            }
            self.hung_up = true;
        }
        if self.part.reads && !self.diary.seen.is_empty() && self.phase() == Phase::Load && self.rng.random_range(0..200) == 0 {
            let answer = self.ask(line, "dm:mark_read", json!({ "conversationId": self.part.conversation })).await?;
            self.note_refusal("dm:mark_read", &answer);
        }
        Ok(())
    }

    async fn send(&mut self, line: &mut Line, own: String) -> Result<(), Cut> {
        *self.diary.attempted.entry(own.clone()).or_default() += 1;
        let payload = json!({
            "recipientId": self.part.peer_id, "recipientType": self.part.peer_kind, "content": own, "clientMessageId": own,
        });
        let answer = self.ask(line, "dm:send_message", payload).await?;
        if answer["ok"] == true {
            let id = answer["message"]["_id"].as_str().unwrap_or_default().to_owned();
            self.outbox.pop_front();
            self.tally.unsettled.fetch_sub(1, Relaxed);
            self.diary.acked.insert(own, id);
        } else {
            self.note_refusal("dm:send_message", &answer);
            self.idle(line, 200).await?;
        }
        Ok(())
    }

    fn note_refusal(&mut self, event: &str, answer: &Value) {
        if answer["ok"] == true {
            return;
        }
        let code = answer["code"].as_str().unwrap_or("?").to_owned();
        if answer["retryable"] != true {
            self.diary.wrong.push(format!("{event} was refused for good: {answer}"));
        }
        *self.diary.refusals.entry(code).or_default() += 1;
    }

    /// Joins, and reads on from the cursor until there is no more.
    async fn catch_up(&mut self, line: &mut Line, last: bool) -> Result<(), Cut> {
        loop {
            let joined = self.ask(line, "dm:join_conversation", json!({ "conversationId": self.part.conversation })).await?;
            if joined["ok"] == true {
                break;
            }
            self.note_refusal("dm:join_conversation", &joined);
            self.idle(line, 300).await?;
        }
        let mut more = true;
        while more {
            let mut ask = json!({ "conversationId": self.part.conversation, "limit": 200 });
            if let Some(cursor) = &self.cursor {
                ask["after"] = json!(cursor);
            }
            let page = self.ask(line, "dm:sync", ask).await?;
            if page["ok"] != true {
                // Nobody has opened it yet.
                if page["code"] == "CONVERSATION_NOT_FOUND" {
                    break;
                }
                self.note_refusal("dm:sync", &page);
                self.idle(line, 300).await?;
                continue;
            }
            for message in page["messages"].as_array().into_iter().flatten() {
                let id = message["_id"].as_str().unwrap_or_default();
                if self.diary.seen.insert(id.to_owned()) && last {
                    self.diary.missed_live += 1;
                }
            }
            if let Some(cursor) = page["cursor"].as_str() {
                self.cursor = Some(cursor.to_owned());
            } else if self.cursor.is_none() {
                let newest = page["messages"].as_array().and_then(|all| all.last()).and_then(|m| m["_id"].as_str());
                self.cursor = newest.map(str::to_owned);
            }
            more = page["hasMore"] == true && self.cursor.is_some();
        }
        if !self.current {
            self.current = true;
            self.tally.caught_up.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    async fn finish(&mut self, line: &mut Line) -> Result<(), Cut> {
        self.catch_up(line, true).await?;
        self.finished = true;
        Ok(())
    }

    async fn idle(&mut self, line: &mut Line, ms: u64) -> Result<(), Cut> {
        let until = Instant::now() + Duration::from_millis(ms);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match timeout(left, line.next()).await {
                Ok(packet) => self.take_in(&packet?),
                Err(_) => return Ok(()),
            }
        }
    }

    /// Asks and waits for the answer; what is heard meanwhile is taken in.
    async fn ask(&mut self, line: &mut Line, event: &str, payload: Value) -> Result<Value, Cut> {
        let id = self.next_ack;
        self.next_ack += 1;
        let began = Instant::now();
        line.say(format!("42{id}{}", json!([event, payload]))).await?;
        let prefix = format!("43{id}[");
        loop {
            let Ok(packet) = timeout(HANGS_AFTER.saturating_sub(began.elapsed()), line.next()).await else {
                self.diary.wrong.push(format!("{event} was never answered"));
                return Err(Cut);
            };
            let packet = packet?;
            if packet.starts_with(&prefix) {
                self.diary.slowest = self.diary.slowest.max(began.elapsed());
                let answer: Value = serde_json::from_str(&packet[prefix.len() - 1..]).map_err(|_| Cut)?;
                return Ok(answer[0].clone());
            }
            self.take_in(&packet);
        }
    }

    fn take_in(&mut self, packet: &str) {
        let Some(event) = packet.strip_prefix("42") else { return };
        let Ok(event) = serde_json::from_str::<Value>(event) else { return };
        let (name, payload) = (event[0].as_str().unwrap_or_default(), &event[1]);
        match name {
            "dm:message_received" | "dm:new_message" | "dm:message_sent" => self.hear(name, payload),
            "resync" => {
                self.resync = true;
                self.diary.resyncs += 1;
            }
            "call:incoming" => {
                let call = payload["callId"].as_str().unwrap_or_default().to_owned();
                let wait = Duration::from_millis(self.rng.random_range(20..400));
                // The rest is not answered at all.
                match self.rng.random_range(0..10) {
                    0..7 => self.answers.push((Instant::now() + wait, "call:accept", call)),
                    7..9 => self.answers.push((Instant::now() + wait, "call:reject", call)),
                    _ => {}
                }
            }
            "call:accepted" if self.part.calls => {
                let call = payload["callId"].as_str().unwrap_or_default().to_owned();
                let talk = Duration::from_millis(self.rng.random_range(50..600));
                self.answers.push((Instant::now() + talk, "call:end", call));
            }
            _ => {}
        }
    }

    fn hear(&mut self, name: &str, message: &Value) {
        if message["conversationKey"] != self.part.conversation.as_str() {
            self.diary.wrong.push(format!("heard of another conversation: {message}"));
            return;
        }
        let id = message["_id"].as_str().unwrap_or_default().to_owned();
        let created = message["createdAt"].as_str().unwrap_or_default().to_owned();
        // The sending socket hears its own as dm:message_sent and in the room.
        if name != "dm:message_sent" {
            let is_new = self.heard_here.insert(id.clone());
            let told_until = self.connected_at_ms.max(self.tally.back_ms.load(Relaxed)).saturating_add(TOLD_AGAIN_MS);
            // A call log is told until it is known that it was: docs/protocol.md says that it may come again.
            if !is_new && message["messageType"] != "call_log" && millis(&created) > told_until {
                self.diary.doubled.push(id.clone());
            }
            // What was said before this connection is told again in its own time; only what is new has a place in the order. For up to
            // two seconds after a restart the server's times are ahead of the clock, so that its ids go on where the last ones ended.
            let new_from = self.connected_at_ms.max(self.tally.back_ms.load(Relaxed)).saturating_add(AHEAD_MS);
            if is_new && millis(&created) > new_from {
                self.diary.live.last_mut().expect("connected").push((created, id.clone()));
            }
        }
        // Never moves the cursor: with several nodes another message may have been missed before this one.
        self.diary.seen.insert(id);
        self.resync |= self.diary.seen.len().is_multiple_of(100);
    }
}

/// The clock of server and clients is the same one: both run here.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn millis(created: &str) -> i64 {
    samvad::models::Timestamp::parse(created).map_or(0, |at| at.as_millis())
}
