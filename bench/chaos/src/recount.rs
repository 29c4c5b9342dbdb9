//! What lies in the store, read past the server, and whether it is what the clients were told.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use rusqlite::Connection;
use tokio::time::sleep;

use crate::diary::{self, Diary, Heard, Sends};

/// How long counters and calls may take to be put right.
const REPAIR_WITHIN: Duration = Duration::from_secs(60);
/// What another process stored so long after a client came may still be told it again when it gets its rooms back: their clocks may differ.
const TOLD_AGAIN_MS: i64 = 3_000;

/// Where a run's data are.
#[derive(Clone, Debug)]
pub enum Place {
    Sqlite(PathBuf),
    Mongo { uri: String, database: String },
}

/// A stored message.
#[derive(Clone, Debug)]
pub struct Stored {
    pub id: String,
    pub own: Option<String>,
    pub is_call_log: bool,
    pub call: Option<String>,
    pub recipient: String,
    pub is_unread: bool,
}

/// A stored conversation.
#[derive(Clone, Debug, Default)]
pub struct Room {
    /// In the store's order.
    pub messages: Vec<Stored>,
    pub unread: BTreeMap<String, i64>,
    pub latest: Option<String>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Shelf {
    pub rooms: HashMap<String, Room>,
    /// Status, and whether somebody is still to be told.
    pub calls: HashMap<String, (String, bool)>,
}

impl Place {
    /// Reads everything.
    pub async fn read(&self) -> Result<Shelf, String> {
        match self {
            Self::Sqlite(file) => read_sqlite(file).map_err(|e| e.to_string()),
            Self::Mongo { uri, database } => read_mongo(uri, database).await.map_err(|e| e.to_string()),
        }
    }

    /// Everything as it is once counters are right and calls are over, or after a minute; and how long that took.
    pub async fn repaired(&self, nodes: Nodes) -> (Shelf, u64) {
        let began = Instant::now();
        loop {
            match self.read().await {
                Ok(shelf) => {
                    let is_open = |(status, open): &(String, bool)| *open && nodes.tell_each_other() || !is_over(status);
                    let settled = miscounts(&shelf).is_empty() && !shelf.calls.values().any(is_open);
                    if settled || began.elapsed() > REPAIR_WITHIN {
                        return (shelf, u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
                    }
                }
                Err(e) if began.elapsed() > REPAIR_WITHIN => panic!("the store in {self:?} cannot be read: {e}"),
                Err(_) => {}
            }
            sleep(Duration::from_millis(300)).await;
        }
    }
}

fn read_sqlite(file: &PathBuf) -> rusqlite::Result<Shelf> {
    let connection = Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    assert_eq!(check, "ok", "the database file is damaged");
    // One moment for all that is read.
    connection.execute_batch("BEGIN")?;
    let mut shelf = Shelf::default();
    let mut all = connection.prepare(
        "SELECT key, lower(hex(message.id)), client_id, message.type, call_id, recipient_identity,
                status IN ('sent', 'delivered') AND is_deleted = 0 AND message.type <> 'call_log'
         FROM message JOIN conversation ON conversation.id = message.conversation ORDER BY message.created_at, message.id",
    )?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        let kind: String = row.get(3)?;
        let stored = Stored {
            id: row.get(1)?,
            own: row.get(2)?,
            is_call_log: kind == "call_log",
            call: row.get(4)?,
            recipient: row.get(5)?,
            is_unread: row.get(6)?,
        };
        shelf.rooms.entry(row.get(0)?).or_default().messages.push(stored);
    }
    let mut all = connection.prepare(
        "SELECT key, lower(hex(last_id)), person, unread FROM conversation JOIN member ON member.conversation = conversation.id",
    )?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        let room: &mut Room = shelf.rooms.entry(row.get(0)?).or_default();
        room.latest = row.get(1)?;
        room.unread.insert(row.get(2)?, row.get(3)?);
    }
    let mut all = connection.prepare("SELECT lower(hex(id)), status, notices FROM call")?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        shelf.calls.insert(row.get(0)?, (row.get(1)?, row.get::<_, i64>(2)? != 0));
    }
    Ok(shelf)
}

async fn read_mongo(uri: &str, database: &str) -> mongodb::error::Result<Shelf> {
    let database = mongodb::Client::with_uri_str(uri).await?.database(database);
    let mut shelf = Shelf::default();
    let text = |document: &Document, name: &str| document.get_str(name).ok().map(str::to_owned);
    let id = |document: &Document| document.get_object_id("_id").map(|id| id.to_hex()).unwrap_or_default();
    let messages = database.collection::<Document>("directmessages");
    for message in messages.find(doc! {}).sort(doc! { "createdAt": 1, "_id": 1 }).await?.try_collect::<Vec<_>>().await? {
        let is_call_log = message.get_str("messageType").is_ok_and(|kind| kind == "call_log");
        let stored = Stored {
            id: id(&message),
            own: text(&message, "clientMessageId"),
            is_call_log,
            call: text(&message, "callId").or_else(|| message.get_object_id("callId").ok().map(|id| id.to_hex())),
            recipient: text(&message, "recipientId").unwrap_or_default(),
            is_unread: matches!(message.get_str("status"), Ok("sent" | "delivered")) && !is_call_log,
        };
        shelf.rooms.entry(text(&message, "conversationId").unwrap_or_default()).or_default().messages.push(stored);
    }
    for conversation in database.collection::<Document>("directconversations").find(doc! {}).await?.try_collect::<Vec<_>>().await? {
        let room: &mut Room = shelf.rooms.entry(text(&conversation, "conversationId").unwrap_or_default()).or_default();
        let latest = conversation.get_document("lastMessage").ok();
        room.latest = latest.and_then(|latest| latest.get_object_id("messageId").ok()).map(|id| id.to_hex());
        for (person, count) in conversation.get_document("unreadCount").into_iter().flatten() {
            let count = count.as_i64().or_else(|| count.as_i32().map(i64::from)).or_else(|| count.as_f64().map(|n| n as i64));
            room.unread.insert(person.clone(), count.unwrap_or(-1));
        }
    }
    for call in database.collection::<Document>("calls").find(doc! {}).await?.try_collect::<Vec<_>>().await? {
        let is_open = call.get_bool("open").unwrap_or(false);
        shelf.calls.insert(id(&call), (text(&call, "status").unwrap_or_default(), is_open));
    }
    Ok(shelf)
}

/// Counters and latest messages that are not what the messages say.
pub fn miscounts(shelf: &Shelf) -> Vec<String> {
    let mut wrong = Vec::new();
    for (key, room) in &shelf.rooms {
        let mut real: BTreeMap<&str, i64> = BTreeMap::new();
        for message in room.messages.iter().filter(|m| m.is_unread) {
            *real.entry(message.recipient.as_str()).or_default() += 1;
        }
        let people: HashSet<&str> = real.keys().copied().chain(room.unread.keys().map(String::as_str)).collect();
        for person in people {
            let (counted, real) = (room.unread.get(person).copied().unwrap_or(0), real.get(person).copied().unwrap_or(0));
            if counted != real {
                wrong.push(format!("{key}: {person} has {counted} unread, counted are {real}"));
            }
        }
        let newest = room.messages.last().map(|m| m.id.clone());
        if newest != room.latest {
            wrong.push(format!("{key}: lastMessage is {:?}, the newest is {newest:?}", room.latest));
        }
    }
    wrong
}

/// What a run did to its messages.
#[derive(Debug, Default)]
pub struct Findings {
    pub acked: u64,
    pub stored: u64,
    /// Messages that needed more than one send, the sends beyond the first, and those answered as sent before.
    pub late: u64,
    pub repeated: u64,
    pub lost_answers: u64,
    /// First hearings by a connection; how many of them had a place in the live order, and how many might not be heard again.
    pub heard: u64,
    pub order_checked: u64,
    pub twice_checked: u64,
    /// Whole histories compared with the store's list.
    pub histories: u64,
    /// Conversations in which both have said something.
    pub talked: u64,
    pub lost: Vec<String>,
    pub doubled: Vec<String>,
    pub reordered: Vec<String>,
    /// Call logs that a connection heard before or after their place among what the caller said, with the end of the call. With several
    /// nodes that is no fault.
    pub logs_out_of_place: Vec<String>,
    pub missed_live: u64,
    pub calls: u64,
    /// Calls that rang again on a later connection of the callee.
    pub rang_again: u64,
    pub calls_wrong: Vec<String>,
    pub wrong: Vec<String>,
}

/// How many servers there are, which decides what must be heard, in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// Every conversation as a whole is heard live in the store's order.
    One,
    /// What one person says over one connection is. Two people's messages come by two ways, as do those of somebody who comes back on another
    /// node; apps sort them. Call logs are said by the node where the call ended, which need not be the sender's.
    Several,
    /// As several, and nodes do not hear each other: who is on another node finds everything by sync, and learns by connecting how a
    /// call ended.
    Alone,
}

impl Nodes {
    fn tell_each_other(self) -> bool {
        self != Self::Alone
    }
}

/// Compares what everybody knows with what is stored.
pub fn compare(shelf: &Shelf, diaries: &[Diary], nodes: Nodes) -> Findings {
    let mut findings = Findings::default();
    let mut own_ids: HashMap<&str, Vec<&Stored>> = HashMap::new();
    for room in shelf.rooms.values() {
        findings.stored += room.messages.len() as u64;
        for message in &room.messages {
            if let Some(own) = &message.own {
                own_ids.entry(own).or_default().push(message);
            }
        }
        let spoken_to: HashSet<&str> = room.messages.iter().filter(|m| !m.is_call_log).map(|m| m.recipient.as_str()).collect();
        findings.talked += u64::from(spoken_to.len() > 1);
    }
    for (own, all) in own_ids.iter().filter(|(_, all)| all.len() > 1) {
        findings.doubled.push(format!("{own} is stored {} times", all.len()));
    }
    let mut sends: HashMap<&str, &Sends> = HashMap::new();
    for diary in diaries {
        sends.extend(diary.sent.iter().map(|(own, sends)| (own.as_str(), sends)));
        findings.lost_answers += diary.lost_answers;
        for (own, acked) in &diary.acked {
            findings.acked += 1;
            match own_ids.get(own.as_str()).and_then(|all| all.first()) {
                Some(stored) if stored.id == *acked => {}
                other => findings.lost.push(format!("{own} was acknowledged as {acked}, stored is {other:?}")),
            }
        }
    }
    findings.repeated = sends.values().map(|sends| u64::from(sends.times.saturating_sub(1))).sum();
    findings.late = sends.iter().filter(|(own, sends)| sends.times > 1 && own_ids.contains_key(*own)).count() as u64;
    for diary in diaries {
        if let Some(room) = shelf.rooms.get(&diary.conversation) {
            compare_room(shelf, room, diary, &sends, nodes, &mut findings);
        }
        findings.missed_live += diary.missed_live;
        findings.rang_again += diary.rang.values().filter(|times| **times > 1).count() as u64;
        findings.wrong.extend(diary.wrong.iter().cloned());
    }
    check_calls(shelf, diaries, nodes, &mut findings);
    findings
}

fn compare_room(shelf: &Shelf, room: &Room, diary: &Diary, sends: &HashMap<&str, &Sends>, nodes: Nodes, findings: &mut Findings) {
    let name = &diary.conversation;
    let places: HashMap<&str, usize> = room.messages.iter().enumerate().map(|(place, m)| (m.id.as_str(), place)).collect();
    for message in room.messages.iter().filter(|m| !diary.seen.contains(&m.id)) {
        findings.lost.push(format!("{} of {name} was neither heard nor found by sync", message.id));
    }
    for id in diary.seen.iter().filter(|id| !places.contains_key(id.as_str())) {
        findings.lost.push(format!("{id} was heard in {name} and is not stored there"));
    }
    for (way, list) in ["backwards", "onwards"].into_iter().zip(diary.history.iter().flatten()) {
        findings.histories += 1;
        let differs = (0..list.len().max(room.messages.len())).find(|n| list.get(*n) != room.messages.get(*n).map(|m| &m.id));
        if let Some(place) = differs {
            let (read, stored) = (list.get(place), room.messages.get(place).map(|m| &m.id));
            let lengths = format!("{} read, {} stored", list.len(), room.messages.len());
            findings.reordered.push(format!("{name} read {way} has {read:?} in place {place}, the store {stored:?}; {lengths}"));
        }
    }
    for connection in &diary.connections {
        let mut orders: BTreeMap<(&str, usize), Vec<usize>> = BTreeMap::new();
        let mut with_logs: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for heard in &connection.heard {
            findings.heard += 1;
            let Some(place) = places.get(heard.id.as_str()).copied() else { continue };
            let message = &room.messages[place];
            let told = Told { message, heard, sends: message.own.as_deref().and_then(|own| sends.get(own).copied()), nodes };
            if told.must_not_come_again(connection) {
                findings.twice_checked += 1;
                if heard.times > 1 {
                    findings.doubled.push(format!("{} was heard {} times", heard.id, heard.times));
                }
            }
            if !told.has_a_place(connection) {
                continue;
            }
            with_logs.entry(&message.recipient).or_default().push(place);
            let order = match (nodes, told.sends) {
                (Nodes::One, _) => ("", 0),
                (Nodes::Several | Nodes::Alone, Some(sends)) if !message.is_call_log => (message.recipient.as_str(), sends.over),
                (Nodes::Several | Nodes::Alone, _) => continue,
            };
            findings.order_checked += 1;
            orders.entry(order).or_default().push(place);
        }
        if nodes != Nodes::One {
            findings.logs_out_of_place.extend(with_logs.values().flat_map(|order| logs_out_of_place(shelf, room, order)));
        }
        for order in orders.into_values().filter(|order| !order.is_sorted()) {
            findings.reordered.push(format!("{name} was heard in the order {order:?}"));
        }
    }
}

/// A message, as one connection heard it.
struct Told<'a> {
    message: &'a Stored,
    heard: &'a Heard,
    /// None for what the server said itself.
    sends: Option<&'a Sends>,
    nodes: Nodes,
}

impl Told<'_> {
    /// First sent after the first answer on this connection, so that it is no part of what is told again when rooms are given back.
    fn is_new(&self, connection: &diary::Connection) -> bool {
        self.sends.zip(connection.answered).is_some_and(|(sends, answered)| sends.began > answered)
    }

    fn must_not_come_again(&self, connection: &diary::Connection) -> bool {
        let Some(sends) = self.sends.filter(|_| self.is_new(connection)) else { return false };
        // A call log is told until it is known that it was: docs/protocol.md says that it may come again.
        if self.message.is_call_log {
            return false;
        }
        match self.nodes {
            Nodes::One => true,
            // A repeat is told again if the node that stored it is gone; and a node that gives rooms back knows of what others
            // stored by its time alone.
            Nodes::Several | Nodes::Alone => {
                let is_by_its_own_node = sends.port == connection.port;
                let is_too_late = self.heard.created_ms > connection.came_ms.saturating_add(TOLD_AGAIN_MS);
                sends.times == 1 && (is_by_its_own_node || is_too_late)
            }
        }
    }

    /// What was refused may have been stored all the same, and is heard when it is repeated; later ones may be heard before.
    fn has_a_place(&self, connection: &diary::Connection) -> bool {
        match self.sends {
            _ if self.message.is_call_log => self.heard.is_settled,
            None => false,
            Some(sends) => self.is_new(connection) && !sends.was_refused && (self.nodes == Nodes::One || sends.times == 1),
        }
    }
}

/// Where two that were heard one after the other stand the other way round, and one of them is a call log.
fn logs_out_of_place(shelf: &Shelf, room: &Room, order: &[usize]) -> Vec<String> {
    let turned = order.windows(2).filter(|pair| pair[0] > pair[1]);
    let log = |pair: &[usize]| {
        let (place, when) = if room.messages[pair[0]].is_call_log { (pair[0], "early") } else { (pair[1], "late") };
        let status = shelf.calls.get(room.messages[place].call.as_deref()?).map(|(status, _)| status)?;
        Some(format!("{status}, {when}"))
    };
    turned.filter_map(log).collect()
}

fn is_over(status: &str) -> bool {
    matches!(status, "ended" | "rejected" | "missed" | "cancelled" | "failed")
}

fn check_calls(shelf: &Shelf, diaries: &[Diary], nodes: Nodes, findings: &mut Findings) {
    let mut logs: HashMap<&str, usize> = HashMap::new();
    for message in shelf.rooms.values().flat_map(|room| &room.messages).filter(|m| m.is_call_log) {
        *logs.entry(message.call.as_deref().unwrap_or_default()).or_default() += 1;
    }
    let told = diaries.iter().flat_map(|diary| &diary.calls);
    for call in told.filter(|call| !shelf.calls.contains_key(*call)) {
        findings.calls_wrong.push(format!("call {call} was acknowledged and is not stored"));
    }
    for (call, (status, open)) in &shelf.calls {
        findings.calls += 1;
        let logs = logs.get(call.as_str()).copied().unwrap_or(0);
        if !is_over(status) || *open && nodes.tell_each_other() || logs != 1 {
            findings.calls_wrong.push(format!("call {call} is {status}, somebody is to be told: {open}, and has {logs} logs"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A conversation of three texts, and somebody who hears them so often, in this order, over a connection that was answered first.
    fn heard(ids: &[(&str, u32)], answered_first: bool, nodes: Nodes) -> Findings {
        let began = Instant::now();
        let later = began + Duration::from_secs(10);
        let stored = |id: &str| Stored {
            id: id.into(),
            own: Some(format!("own-{id}")),
            is_call_log: false,
            call: None,
            recipient: "a".into(),
            is_unread: false,
        };
        let room = Room { messages: ["1", "2", "3"].map(stored).into(), ..Room::default() };
        let shelf = Shelf { rooms: [("room".to_owned(), room)].into(), ..Shelf::default() };
        let sends = Sends { began: if answered_first { later } else { began }, times: 1, was_refused: false, over: 1, port: 2 };
        let all = ["1", "2", "3"].map(str::to_owned);
        let connection = diary::Connection {
            port: 1,
            came_ms: 0,
            answered: Some(if answered_first { began } else { later }),
            heard: ids.iter().map(|(id, times)| Heard { id: (*id).into(), created_ms: 9_000, times: *times, is_settled: true }).collect(),
        };
        let diary = Diary {
            conversation: "room".into(),
            sent: all.iter().map(|id| (format!("own-{id}"), sends)).collect(),
            seen: all.iter().cloned().collect(),
            history: Some([all.to_vec(), all.to_vec()]),
            connections: vec![connection],
            ..Diary::default()
        };
        compare(&shelf, &[diary], nodes)
    }

    #[test]
    fn what_is_heard_once_and_in_order_is_counted_and_well() {
        let findings = heard(&[("1", 1), ("2", 1), ("3", 1)], true, Nodes::One);
        assert_eq!((findings.order_checked, findings.twice_checked, findings.histories), (3, 3, 2));
        assert!(findings.doubled.is_empty() && findings.reordered.is_empty() && findings.lost.is_empty(), "{findings:?}");
    }

    #[test]
    fn what_is_heard_twice_or_out_of_order_is_found() {
        for nodes in [Nodes::One, Nodes::Several, Nodes::Alone] {
            let findings = heard(&[("2", 2), ("1", 1), ("3", 1)], true, nodes);
            assert_eq!((findings.doubled.len(), findings.reordered.len()), (1, 1), "{findings:?}");
        }
    }

    #[test]
    fn what_may_be_told_again_is_not_counted() {
        let findings = heard(&[("2", 2), ("1", 1)], false, Nodes::One);
        assert_eq!((findings.heard, findings.order_checked, findings.twice_checked), (2, 0, 0));
        assert!(findings.doubled.is_empty() && findings.reordered.is_empty(), "{findings:?}");
    }

    #[test]
    fn a_history_in_another_order_than_the_stores_is_found() {
        let stored =
            |id: &str| Stored { id: id.into(), own: None, is_call_log: false, call: None, recipient: "a".into(), is_unread: false };
        let room = Room { messages: ["1", "2"].map(stored).into(), ..Room::default() };
        let shelf = Shelf { rooms: [("room".to_owned(), room)].into(), ..Shelf::default() };
        let list = |ids: [&str; 2]| ids.map(str::to_owned).to_vec();
        let diary = Diary {
            conversation: "room".into(),
            seen: ["1".to_owned(), "2".to_owned()].into(),
            history: Some([list(["1", "2"]), list(["2", "1"])]),
            ..Diary::default()
        };
        assert_eq!(compare(&shelf, &[diary], Nodes::One).reordered.len(), 1);
    }
}
