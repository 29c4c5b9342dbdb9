//! What lies in the store, read past the server, and whether it is what the clients were told.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use rusqlite::Connection;

use crate::person::Diary;

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
    pub late: u64,
    pub lost: Vec<String>,
    pub doubled: Vec<String>,
    pub reordered: Vec<String>,
    /// Call logs that a connection heard before or after their place among what the caller said, with the end of the call. With several
    /// nodes that is no fault.
    pub logs_out_of_place: Vec<String>,
    pub missed_live: u64,
    pub calls: u64,
    pub calls_wrong: Vec<String>,
    pub wrong: Vec<String>,
}

/// What must be heard live in the store's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveOrder {
    /// A conversation as a whole.
    OfAll,
    /// What one person says: with several nodes two people's messages come by two ways, and apps sort them. Call logs are said by the node
    /// where the call ended, which need not be the sender's.
    OfEachSender,
}

/// Compares what everybody knows with what is stored.
pub fn compare(shelf: &Shelf, diaries: &[Diary], live_order: LiveOrder) -> Findings {
    let mut findings = Findings::default();
    let mut late: HashSet<&str> = HashSet::new();
    let mut places: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut own_ids: HashMap<&str, Vec<&Stored>> = HashMap::new();
    for (key, room) in &shelf.rooms {
        for (place, message) in room.messages.iter().enumerate() {
            findings.stored += 1;
            places.insert(&message.id, (place, key));
            if let Some(own) = &message.own {
                own_ids.entry(own).or_default().push(message);
            }
        }
    }
    for (own, all) in own_ids.iter().filter(|(_, all)| all.len() > 1) {
        findings.doubled.push(format!("{own} is stored {} times", all.len()));
    }
    for diary in diaries {
        for (own, attempts) in &diary.attempted {
            if *attempts > 1
                && let Some(stored) = own_ids.get(own.as_str()).and_then(|all| all.first())
            {
                late.insert(&stored.id);
            }
        }
        for (own, acked) in &diary.acked {
            findings.acked += 1;
            match own_ids.get(own.as_str()).and_then(|all| all.first()) {
                Some(stored) if stored.id == *acked => {}
                other => findings.lost.push(format!("{own} was acknowledged as {acked}, stored is {other:?}")),
            }
        }
    }
    findings.late = late.len() as u64;
    for diary in diaries {
        let Some(room) = shelf.rooms.get(&diary.conversation) else { continue };
        for message in room.messages.iter().filter(|m| !diary.seen.contains(&m.id)) {
            findings.lost.push(format!("{} of {} was neither heard nor found by sync", message.id, diary.conversation));
        }
        for id in diary.seen.iter().filter(|id| places.get(id.as_str()).is_none_or(|(_, key)| *key != diary.conversation)) {
            findings.lost.push(format!("{id} was heard in {} and is not stored there", diary.conversation));
        }
        for live in &diary.live {
            let in_time = live.iter().filter(|(_, id)| !late.contains(id.as_str()));
            let mut orders: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            let mut with_logs: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            for (place, _) in in_time.filter_map(|(_, id)| places.get(id.as_str())) {
                let message = &room.messages[*place];
                with_logs.entry(&message.recipient).or_default().push(*place);
                match live_order {
                    LiveOrder::OfAll => orders.entry("").or_default().push(*place),
                    LiveOrder::OfEachSender if message.is_call_log => {}
                    LiveOrder::OfEachSender => orders.entry(&message.recipient).or_default().push(*place),
                }
            }
            if live_order == LiveOrder::OfEachSender {
                findings.logs_out_of_place.extend(with_logs.values().flat_map(|order| logs_out_of_place(shelf, room, order)));
            }
            for order in orders.into_values().filter(|order| !order.is_sorted()) {
                findings.reordered.push(format!("{} was heard in the order {order:?}", diary.conversation));
            }
        }
        findings.doubled.extend(diary.doubled.iter().map(|id| format!("{id} was heard twice")));
        findings.missed_live += diary.missed_live;
        findings.wrong.extend(diary.wrong.iter().cloned());
    }
    check_calls(shelf, diaries, &mut findings);
    findings
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

fn check_calls(shelf: &Shelf, diaries: &[Diary], findings: &mut Findings) {
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
        if !matches!(status.as_str(), "ended" | "rejected" | "missed" | "cancelled" | "failed") || *open || logs != 1 {
            findings.calls_wrong.push(format!("call {call} is {status}, somebody is to be told: {open}, and has {logs} logs"));
        }
    }
}
