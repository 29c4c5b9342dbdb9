//! A client that follows the recipe of docs/protocol.md#reconnecting, and writes down what it was told and what it heard.
//!
//! Sends carry a `clientMessageId` and are repeated until they are acknowledged. After each connect it joins, and syncs from its cursor.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout, timeout_at};

use crate::diary::{Connection, Diary, Heard, Sends};
use crate::line::{Cut, Line, Transport};
use crate::tally::Tally;

/// A request without an answer by then hangs: the server gives up a write after ten seconds, and what follows it after ten more.
pub const HANGS_AFTER: Duration = Duration::from_secs(45);
/// A page of the last reading; small, so that most conversations have several.
const LAST_PAGE: usize = 20;
/// After a restart the server's times are ahead of the clock by so much, so that its ids go on where the last ones ended.
const AHEAD_MS: i64 = 2_000;
/// Who cuts himself in the middle of a request waits for its answer less than so long.
const CUT_WITHIN_MS: u64 = 8;

/// What everybody does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Comes, joins and waits for the others.
    Arrive,
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
    /// Places in what the present connection has heard.
    heard_here: HashMap<String, usize>,
    /// Since the load began.
    has_begun: bool,
    send_at: Instant,
    cut_at: Option<Instant>,
    /// When it is due, in the middle of a send.
    cuts_a_send: bool,
    /// What to do about calls, and when.
    answers: Vec<(Instant, &'static str, String)>,
    call_at: Instant,
    hung_up: bool,
    finished: bool,
}

/// Plays a part until the final phase is over.
pub async fn play(part: Part, tally: Arc<Tally>, phase: watch::Receiver<Phase>) -> Diary {
    let rng = StdRng::seed_from_u64(part.seed);
    let now = Instant::now();
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
        heard_here: HashMap::new(),
        has_begun: false,
        send_at: now,
        cut_at: None,
        cuts_a_send: false,
        answers: Vec::new(),
        call_at: now,
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
                if let Some(refusal) = packet.strip_prefix("44") {
                    return Ok(Some(refusal.to_owned()));
                }
                if let Some(event) = packet.strip_prefix("42") {
                    let event: Value = serde_json::from_str(event).map_err(|_| Cut)?;
                    if event[0] == "connected" {
                        return Ok(None);
                    }
                }
            }
        };
        let refusal: Option<String> = timeout(Duration::from_secs(20), greeting).await.map_err(|_| Cut)??;
        if let Some(refusal) = refusal {
            // Good tokens are never refused, whatever is away: docs/protocol.md#when-it-is-refused.
            self.diary.wrong.push(format!("a good token was refused at connect: {refusal}"));
            *self.diary.refused_connects.entry(refusal).or_default() += 1;
            return Err(Cut);
        }
        self.heard_here.clear();
        self.diary.connections.push(Connection { port, came_ms: now_ms(), answered: None, heard: Vec::new() });
        self.cut_at = None;
        Ok(line)
    }

    /// Everything between two cuts.
    async fn stay(&mut self, mut line: Line) -> Result<(), Cut> {
        let line = &mut line;
        self.catch_up(line, false).await?;
        loop {
            if self.phase() == Phase::Load {
                self.begin();
                self.cut_if_due()?;
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

    /// Nobody sends, calls or is cut at the same moment as everybody else.
    fn begin(&mut self) {
        let now = Instant::now();
        if !std::mem::replace(&mut self.has_begun, true) {
            let think = self.part.think_ms.map_or(500, |(_, most)| most);
            self.send_at = now + Duration::from_millis(self.rng.random_range(0..think));
            self.call_at = now + Duration::from_millis(self.rng.random_range(0..1_500));
        }
        if let (None, Some((from, to))) = (self.cut_at, self.part.cut_ms) {
            self.cut_at = Some(now + Duration::from_millis(self.rng.random_range(from..to)));
            self.cuts_a_send = self.rng.random();
        }
    }

    /// Half of the cuts wait for a send and come before its answer, or shortly after it.
    fn cut_if_due(&mut self) -> Result<(), Cut> {
        if self.cut_at.is_none_or(|at| Instant::now() < at) {
            return Ok(());
        }
        if !std::mem::take(&mut self.cuts_a_send) {
            return Err(Cut);
        }
        if self.outbox.is_empty() {
            self.compose();
        }
        self.cut_at = Some(Instant::now() + Duration::from_millis(self.rng.random_range(0..CUT_WITHIN_MS)));
        Ok(())
    }

    fn compose(&mut self) {
        self.number += 1;
        self.outbox.push_back(format!("{}-{}", self.part.id, self.number));
        self.tally.unsettled.fetch_add(1, Relaxed);
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
            self.compose();
        }
        if let Some(own) = self.outbox.front().cloned() {
            self.send(line, own).await?;
        }
        if self.phase() == Phase::HangUp && !self.hung_up {
            // Also those that rang here: the caller may never have learned the id of his call.
            let calls: Vec<String> = self.diary.calls.iter().chain(self.diary.rang.keys()).cloned().collect();
            for call in calls {
                self.ask(line, "call:end", json!({ "callId": call })).await?;
            }
            self.hung_up = true;
            self.tally.hung_up.fetch_add(1, Relaxed);
        }
        if self.part.reads && !self.diary.seen.is_empty() && self.phase() == Phase::Load && self.rng.random_range(0..200) == 0 {
            let answer = self.ask(line, "dm:mark_read", json!({ "conversationId": self.part.conversation })).await?;
            self.note_refusal("dm:mark_read", &answer);
        }
        Ok(())
    }

    async fn send(&mut self, line: &mut Line, own: String) -> Result<(), Cut> {
        let (over, began) = (self.diary.connections.len(), Instant::now());
        let port = self.diary.connections.last().expect("connected").port;
        let sends = self.diary.sent.entry(own.clone()).or_insert(Sends { began, times: 0, was_refused: false, over, port });
        (sends.times, sends.over, sends.port) = (sends.times + 1, over, port);
        let payload = json!({
            "recipientId": self.part.peer_id, "recipientType": self.part.peer_kind, "content": own, "clientMessageId": own,
        });
        let answer = self.ask(line, "dm:send_message", payload).await?;
        if answer["ok"] == true {
            let id = answer["message"]["_id"].as_str().unwrap_or_default().to_owned();
            self.diary.lost_answers += u64::from(answer["duplicate"] == true);
            self.outbox.pop_front();
            self.tally.unsettled.fetch_sub(1, Relaxed);
            self.diary.acked.insert(own, id);
        } else {
            if let Some(sends) = self.diary.sent.get_mut(&own) {
                sends.was_refused = true;
            }
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
        self.diary.history = self.read_all(line).await?;
        self.finished = true;
        Ok(())
    }

    /// The whole conversation, backwards and then onwards. The newest page comes by `dm:sync`: by `dm:history` it would count as read, and
    /// a recount of nothing but read messages would say little.
    async fn read_all(&mut self, line: &mut Line) -> Result<Option<[Vec<String>; 2]>, Cut> {
        let conversation = self.part.conversation.clone();
        let newest = self.ask_until_answered(line, "dm:sync", json!({ "conversationId": conversation, "limit": LAST_PAGE })).await?;
        let mut backwards = ids(&newest);
        let Some(mut oldest) = backwards.first().cloned() else { return Ok(None) };
        loop {
            let ask = json!({ "conversationId": conversation, "before": oldest, "limit": LAST_PAGE });
            let page = self.ask_until_answered(line, "dm:history", ask).await?;
            let mut older = ids(&page);
            let has_more = page["hasMore"] == true && !older.is_empty();
            older.append(&mut backwards);
            backwards = older;
            oldest.clone_from(&backwards[0]);
            if !has_more {
                break;
            }
        }
        let mut onwards = vec![oldest.clone()];
        let mut known = HashSet::from([oldest.clone()]);
        let mut cursor = oldest;
        loop {
            let ask = json!({ "conversationId": conversation, "after": cursor, "limit": LAST_PAGE });
            let page = self.ask_until_answered(line, "dm:sync", ask).await?;
            // What other processes stored before the cursor is repeated: docs/protocol.md#reconnecting.
            onwards.extend(ids(&page).into_iter().filter(|id| known.insert(id.clone())));
            match page["cursor"].as_str() {
                Some(next) if page["hasMore"] == true && next != cursor => next.clone_into(&mut cursor),
                _ => return Ok(Some([backwards, onwards])),
            }
        }
    }

    async fn ask_until_answered(&mut self, line: &mut Line, event: &str, payload: Value) -> Result<Value, Cut> {
        loop {
            let answer = self.ask(line, event, payload.clone()).await?;
            if answer["ok"] == true || answer["code"] == "CONVERSATION_NOT_FOUND" {
                return Ok(answer);
            }
            self.note_refusal(event, &answer);
            self.idle(line, 300).await?;
        }
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

    /// Asks and waits for the answer, or for the moment to cut the line; what is heard meanwhile is taken in.
    async fn ask(&mut self, line: &mut Line, event: &str, payload: Value) -> Result<Value, Cut> {
        let id = self.next_ack;
        self.next_ack += 1;
        let began = Instant::now();
        line.say(format!("42{id}{}", json!([event, payload]))).await?;
        let prefix = format!("43{id}[");
        loop {
            let hangs_at = began + HANGS_AFTER;
            let until = self.cut_at.filter(|_| self.phase() == Phase::Load).map_or(hangs_at, |at| at.min(hangs_at));
            let Ok(packet) = timeout_at(until.into(), line.next()).await else {
                if until < hangs_at {
                    self.diary.cut_asking += 1;
                } else {
                    self.diary.wrong.push(format!("{event} was never answered"));
                }
                return Err(Cut);
            };
            let packet = packet?;
            if packet.starts_with(&prefix) {
                let took = began.elapsed();
                self.diary.slowest = self.diary.slowest.max(took);
                let answer: Value = serde_json::from_str(&packet[prefix.len() - 1..]).map_err(|_| Cut)?;
                self.tally.note_answer(&answer[0], took);
                if let Some(connection) = self.diary.connections.last_mut() {
                    connection.answered.get_or_insert_with(Instant::now);
                }
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
                *self.diary.rang.entry(call.clone()).or_default() += 1;
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
        // The sending socket hears its own as dm:message_sent and in the room.
        if name != "dm:message_sent" {
            let connection = self.diary.connections.last_mut().expect("connected");
            if let Some(place) = self.heard_here.get(&id) {
                connection.heard[*place].times += 1;
            } else {
                let created_ms = millis(message["createdAt"].as_str().unwrap_or_default());
                let back_ms = self.tally.back_ms.load(Relaxed);
                let is_settled = created_ms > connection.came_ms.max(back_ms).saturating_add(AHEAD_MS);
                self.heard_here.insert(id.clone(), connection.heard.len());
                connection.heard.push(Heard { id: id.clone(), created_ms, times: 1, is_settled });
            }
        }
        // Never moves the cursor: with several nodes another message may have been missed before this one.
        self.diary.seen.insert(id);
        self.resync |= self.diary.seen.len().is_multiple_of(100);
    }
}

fn ids(page: &Value) -> Vec<String> {
    let messages = page["messages"].as_array().into_iter().flatten();
    messages.map(|message| message["_id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The clock of server and clients is the same one: both run here.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn millis(created: &str) -> i64 {
    samvad::models::Timestamp::parse(created).map_or(0, |at| at.as_millis())
}
