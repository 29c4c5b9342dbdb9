//! What one client writes down: what it was told of its own sends, and what it heard.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

/// What became of one's own message until it was acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Sends {
    /// Before the first one: nobody can have stored it earlier.
    pub began: Instant,
    pub times: u32,
    /// Once refused, it may have been stored all the same, and is told when it is repeated.
    pub was_refused: bool,
    /// Over which of the sender's connections, the last time, and to which server.
    pub over: usize,
    pub port: u16,
}

/// A message as one connection heard it first.
#[derive(Debug)]
pub struct Heard {
    pub id: String,
    pub created_ms: i64,
    pub times: u32,
    /// Created so late after the connect, or after the store came back, that nothing of before is told any more.
    pub is_settled: bool,
}

/// What was heard between two cuts.
#[derive(Debug)]
pub struct Connection {
    pub port: u16,
    pub came_ms: i64,
    /// When the first request was answered. The server takes note of what it has told before a client came after it has greeted it,
    /// and before it reads the first request: what is first sent after this moment is never told again.
    pub answered: Option<Instant>,
    /// In the order of the first hearing.
    pub heard: Vec<Heard>,
}

/// What one client knows in the end.
#[derive(Debug, Default)]
pub struct Diary {
    pub conversation: String,
    /// Ids by own ids.
    pub acked: HashMap<String, String>,
    pub sent: HashMap<String, Sends>,
    /// Acknowledged as sent before: an earlier answer was lost.
    pub lost_answers: u64,
    /// Requests that were cut before their answer, by the client itself.
    pub cut_asking: u64,
    pub seen: HashSet<String>,
    pub connections: Vec<Connection>,
    /// The whole conversation as read in the end from the newest message backwards (`dm:history`), and from the oldest one onwards
    /// (`dm:sync`). None if nobody has opened it.
    pub history: Option<[Vec<String>; 2]>,
    /// Found only by the last sync, although the line was up and had been caught up.
    pub missed_live: u64,
    pub refusals: BTreeMap<String, u64>,
    /// Refusals that cannot be repeated, answers that never came.
    pub wrong: Vec<String>,
    /// Handshakes refused by Socket.IO (`44`), where a stock client gives up.
    pub refused_connects: BTreeMap<String, u64>,
    pub slowest: Duration,
    pub calls: Vec<String>,
    /// How often each call rang here.
    pub rang: BTreeMap<String, u32>,
    pub reconnects: u64,
    pub resyncs: u64,
}
