//! `kill -9` while calls ring: each is missed on time, both sides hear of it, and the conversation gets one call log.
//!
//! Two rounds by default; `SAMVAD_KILL_ROUNDS=20` runs more.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use samvad::models::{ParticipantKind, Timestamp};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::program::{Program, token};
use crate::support::stores;

const CALLS: usize = 50;
const RING_FOR: Duration = Duration::from_secs(3);
const SETTINGS: &[(&str, &str)] = &[("RING_TIMEOUT_SECONDS", "3"), ("RELATION_CHECK", "off"), ("RATE_PROFILE", "off")];
/// How late a missed call may be noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);

async fn connect(url: &str, kind: ParticipantKind, n: usize) -> Client {
    Client::connect(url, &token(kind, &format!("{kind}{n}"))).await
}

/// Rings, and returns the call and when that was. The callee has heard it.
async fn ring(url: &str, n: usize) -> (String, Timestamp) {
    let mut callee = connect(url, ParticipantKind::Astrologer, n).await;
    let mut caller = connect(url, ParticipantKind::User, n).await;
    let ask = json!({ "calleeId": format!("astrologer{n}"), "calleeType": "astrologer", "callType": "voice" });
    let answer = caller.call("call:initiate", &ask).await;
    assert_eq!(answer["ok"], true, "{answer}");
    let incoming = callee.expect("call:incoming").await;
    assert_eq!(incoming["callId"], answer["callId"]);
    // The sockets stay open until the program is killed.
    std::mem::forget((caller, callee));
    let began = Timestamp::parse(incoming["timestamp"].as_str().expect("text")).expect("a time");
    (answer["callId"].as_str().expect("text").to_owned(), began)
}

/// One side comes back and hears that the call was missed.
async fn hears_of_it(url: &str, kind: ParticipantKind, n: usize, call: &str) -> Client {
    let mut client = connect(url, kind, n).await;
    // Of earlier rounds it may hear again.
    loop {
        let missed = client.expect("call:missed").await;
        if missed["callId"] == call {
            break;
        }
    }
    loop {
        let end = client.expect("call:end").await;
        if end["callId"] == call {
            assert_eq!(end["reason"], "missed");
            return client;
        }
    }
}

/// The call logs of a conversation about this call; waits for the first, which is stored a moment after the parties are told.
async fn logs(client: &mut Client, n: usize, call: &str) -> Vec<Value> {
    let give_up = Instant::now() + Duration::from_secs(10);
    loop {
        let key = format!("user_user{n}_astrologer{n}");
        let page = client.call("dm:history", &json!({ "conversationId": key, "limit": 100 })).await;
        assert_eq!(page["ok"], true, "{page}");
        let messages = page["messages"].as_array().expect("a list");
        let logs: Vec<Value> = messages.iter().filter(|m| m["callId"] == call).cloned().collect();
        if !logs.is_empty() || Instant::now() > give_up {
            return logs;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn rounds(mongo: Option<(String, String)>) {
    let rounds: u64 = std::env::var("SAMVAD_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let folder = tempfile::tempdir().expect("a folder");
    let mut latest = Duration::ZERO;
    for round in 0..rounds {
        let program = Program::start(folder.path(), mongo.as_ref(), SETTINGS);
        let calls = join_all((0..CALLS).map(|n| ring(&program.url, n))).await;
        tokio::time::sleep(Duration::from_millis(101 * (round % 5))).await;
        program.kill();
        // Sometimes the deadline passes while nobody is there.
        tokio::time::sleep(Duration::from_millis(1_700 * (round % 3))).await;
        let program = Program::start(folder.path(), mongo.as_ref(), SETTINGS);
        let restarted = Timestamp::now();
        let url = &program.url;
        let sides = join_all(calls.iter().enumerate().map(|(n, (call, _))| async move {
            let caller = hears_of_it(url, ParticipantKind::User, n, call).await;
            (caller, hears_of_it(url, ParticipantKind::Astrologer, n, call).await)
        }));
        for (n, ((call, began), (mut caller, _callee))) in calls.iter().zip(sides.await).enumerate() {
            let logs = logs(&mut caller, n, call).await;
            assert_eq!(logs.len(), 1, "call logs of {call}: {logs:?}");
            assert_eq!(logs[0]["callStatus"], "missed");
            let noticed = Timestamp::parse(logs[0]["createdAt"].as_str().expect("text")).expect("a time");
            let late = noticed.since(began.plus(RING_FOR).max(restarted));
            assert!(late < NOTICED_WITHIN, "call {call} was missed {late:?} too late");
            latest = latest.max(late);
        }
        program.kill();
    }
    println!("{rounds} kills with {CALLS} calls ringing: all missed, both sides told, one log each; at most {latest:?} after the deadline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_ring_during_a_kill_are_missed_on_time_on_sqlite() {
    rounds(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_ring_during_a_kill_are_missed_on_time_on_mongodb() {
    rounds(Some((stores::mongo_uri(), stores::fresh_database()))).await;
}
