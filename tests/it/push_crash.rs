//! `kill -9` while phones are told: everything that was acknowledged is told after the next start, and twice at most what was being
//! sent, or was not written down yet, when the program died.

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
const MESSAGES: usize = 10;
/// How long the other side takes for an answer: so long something is always on its way.
const SLOW: Duration = Duration::from_millis(60);
/// What was heard so long before the end may not have been written down.
const UNSETTLED: Duration = Duration::from_millis(1500);

fn counts(heard: &[Heard]) -> HashMap<String, Vec<Instant>> {
    let mut counts: HashMap<String, Vec<Instant>> = HashMap::new();
    for one in heard {
        let id = one.data()["messageId"].as_str().expect("a message").to_owned();
        counts.entry(format!("{} {id}", one.device())).or_default().push(one.at);
    }
    counts
}

async fn round(mongo: Option<(String, String)>) {
    let folder = tempfile::tempdir().expect("a folder");
    let outside = Outside::start().await;
    outside.delay(SLOW);
    let settings = outside.fcm();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let program = Program::start(folder.path(), mongo.as_ref(), &settings);
    for n in 0..PEOPLE {
        let body = json!({ "fcmToken": format!("phone-of-{n}"), "platform": "android" });
        let owner = token(ParticipantKind::Astrologer, &format!("a{n}"));
        assert_eq!(request(&program.url, "POST", "/api/fcm/register", Some(&owner), Some(&body)).await.0, 200);
    }
    // Everybody writes to everybody else's astrologer: each pair is a conversation of its own, so nothing is overtaken.
    let senders = join_all((0..PEOPLE).map(|n| {
        let url = program.url.clone();
        async move {
            let mut client = Client::connect(&url, &token(ParticipantKind::User, &format!("u{n}"))).await;
            let mut said = Vec::new();
            for m in 0..MESSAGES {
                let to = format!("a{}", (n + m) % PEOPLE);
                let ask = json!({ "recipientId": to, "recipientType": "astrologer", "content": format!("{n} {m}") });
                let answer = client.call("dm:send_message", &ask).await;
                assert_eq!(answer["ok"], true, "{answer}");
                said.push(format!("phone-of-{} {}", (n + m) % PEOPLE, answer["message"]["id"].as_str().expect("an id")));
            }
            said
        }
    }));
    let said: Vec<String> = senders.await.into_iter().flatten().collect();
    program.kill();
    let died = Instant::now();
    let before = counts(&outside.heard("messages:send")).len();
    let program = Program::start(folder.path(), mongo.as_ref(), &settings);
    let give_up = Instant::now() + Duration::from_secs(90);
    loop {
        let told = counts(&outside.heard("messages:send"));
        let missing = said.iter().filter(|one| !told.contains_key(*one)).count();
        if missing == 0 {
            break;
        }
        assert!(Instant::now() < give_up, "{missing} of {} were never told", said.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Should anything be told once more, it would be by now.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let told = counts(&outside.heard("messages:send"));
    let twice: Vec<_> = told.iter().filter(|(_, times)| times.len() > 1).collect();
    for (what, times) in &twice {
        assert!(times.len() == 2, "{what} was told {} times", times.len());
        assert!(times[0] + UNSETTLED > died, "{what} was told twice, and the first time long before the end");
    }
    assert!(twice.len() <= 128, "{} were told twice, there are 128 workers", twice.len());
    assert_eq!(told.len(), said.len());
    println!("{} acknowledged, {before} told before the kill, all afterwards, {} of them twice", said.len(), twice.len());
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
