//! `kill -9` while phones are told: everything that was acknowledged is told after the next start, and twice at most what nobody had
//! answered, or only just, when the program died. Google has no key by which to tell a repeat, so none at all cannot be had.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use samvad::models::ParticipantKind;
use serde_json::json;

use crate::support::client::Client;
use crate::support::http::request;
use crate::support::outside::{Heard, Outside};
use crate::support::program::{Program, token};
use crate::support::stores;

const PEOPLE: usize = 20;
/// How long everybody writes.
const WRITING: Duration = Duration::from_secs(5);
/// The pause after each message: some eighty a second, so that something is always on its way.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the other side takes for an answer.
const SLOW: Duration = Duration::from_millis(300);
/// What a dead process had leased is taken up by then, on MongoDB.
const LEASES_END_WITHIN: Duration = Duration::from_secs(48);
/// An answer may be read, and who was reached be written down, so long after it was given. On a machine this busy; a process that noted
/// nothing would repeat five seconds.
const WRITTEN_WITHIN: Duration = Duration::from_millis(500);

/// Each push, by the device and the message it tells of.
fn by_push(heard: &[Heard]) -> HashMap<String, Vec<Heard>> {
    let mut pushes: HashMap<String, Vec<Heard>> = HashMap::new();
    for one in heard {
        let id = one.data()["messageId"].as_str().expect("a message").to_owned();
        pushes.entry(format!("{} {id}", one.device())).or_default().push(one.clone());
    }
    pushes
}

async fn round(mongo: Option<(String, String)>) {
    let folder = tempfile::tempdir().expect("a folder");
    let outside = Outside::start().await;
    outside.delay(SLOW);
    let settings = outside.fcm();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let program = Program::start(folder.path(), mongo.as_ref(), &settings);
    let devices = |n: usize| ["phone", "tablet"].map(|device| format!("{device}-of-{n}"));
    for n in 0..PEOPLE {
        let owner = token(ParticipantKind::Astrologer, &format!("a{n}"));
        for device in devices(n) {
            let body = json!({ "fcmToken": device, "platform": "android" });
            assert_eq!(request(&program.url, "POST", "/api/fcm/register", Some(&owner), Some(&body)).await.0, 200);
        }
    }
    // Everybody writes to everybody else's astrologer, so that of one conversation nothing waits and is overtaken.
    let until = Instant::now() + WRITING;
    let senders = join_all((0..PEOPLE).map(|n| {
        let url = program.url.clone();
        async move {
            let mut client = Client::connect(&url, &token(ParticipantKind::User, &format!("u{n}"))).await;
            let mut said = Vec::new();
            for m in 0.. {
                let to = (n + m) % PEOPLE;
                let ask = json!({ "recipientId": format!("a{to}"), "recipientType": "astrologer", "content": format!("{n} {m}") });
                let answer = client.call("dm:send_message", &ask).await;
                assert_eq!(answer["ok"], true, "{answer}");
                let id = answer["message"]["id"].as_str().expect("an id").to_owned();
                said.extend(devices(to).map(|device| format!("{device} {id}")));
                if Instant::now() >= until {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
            said
        }
    }));
    let said: Vec<String> = senders.await.into_iter().flatten().collect();
    program.kill();
    let died = Instant::now();
    let before = by_push(&outside.heard("messages:send"));
    let unanswered = before.values().filter(|tries| tries.iter().all(|one| one.answered_at.is_none_or(|at| at >= died))).count();
    let program = Program::start(folder.path(), mongo.as_ref(), &settings);
    let give_up = Instant::now() + Duration::from_secs(90);
    loop {
        let told = by_push(&outside.heard("messages:send"));
        let missing = said.iter().filter(|one| !told.contains_key(*one)).count();
        if missing == 0 {
            break;
        }
        assert!(Instant::now() < give_up, "{missing} of {} were never told", said.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Should anything be told once more, it would be by now: at the next start, or when the dead process's leases end.
    let last_repeats = if mongo.is_some() { died + LEASES_END_WITHIN } else { Instant::now() + Duration::from_secs(3) };
    tokio::time::sleep_until(last_repeats.into()).await;
    let told = by_push(&outside.heard("messages:send"));
    let twice: Vec<_> = told.iter().filter(|(_, tries)| tries.len() > 1).collect();
    for (what, tries) in &twice {
        assert!(tries.len() == 2, "{what} was told {} times", tries.len());
        let settled = tries[0].answered_at.and_then(|at| died.checked_duration_since(at)).unwrap_or_default();
        assert!(settled < WRITTEN_WITHIN, "{what} was told twice, and answered {settled:?} before the end");
    }
    assert_eq!(told.len(), said.len());
    println!(
        "{} pushes, of them {} twice; {} were begun before the kill, {unanswered} not answered by then",
        said.len(),
        twice.len(),
        before.len()
    );
    program.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_told_after_a_kill_on_sqlite() {
    round(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_told_after_a_kill_on_mongodb() {
    round(Some((stores::mongo_uri(), stores::fresh_database()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_rings_during_a_kill_is_told_to_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let outside = Outside::start().await;
    let mut settings = outside.fcm();
    settings.push(("RING_TIMEOUT_SECONDS", "3".into()));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let program = Program::start(folder.path(), None, &settings);
    let body = json!({ "fcmToken": "phone-of-ravi", "platform": "android" });
    let ravi = token(ParticipantKind::Astrologer, "ravi");
    assert_eq!(request(&program.url, "POST", "/api/fcm/register", Some(&ravi), Some(&body)).await.0, 200);
    let mut asha = Client::connect(&program.url, &token(ParticipantKind::User, "asha")).await;
    let ask = json!({ "calleeId": "ravi", "calleeType": "astrologer", "callType": "voice" });
    let call = asha.call("call:initiate", &ask).await;
    outside.wait(1, |o| o.pushes("call")).await;
    program.kill();
    let program = Program::start(folder.path(), None, &settings);
    let stop = outside.wait(1, |o| o.pushes("call_cancel")).await.remove(0);
    assert_eq!(stop.data()["callId"], call["callId"]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(outside.pushes("call_cancel").len(), 1, "once");
    assert!(outside.pushes("call").len() <= 2, "a ring may be repeated that was not written down as sent, once");
    program.kill();
}
