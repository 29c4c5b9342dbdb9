//! `kill -9` under a stream of sends: what was acknowledged is there afterwards, once, in order.
//!
//! Three rounds by default; `SAMVAD_KILL_ROUNDS=20` runs more. The program is the real one, ended by its pid.

use std::collections::HashMap;
use std::time::Duration;

use samvad::models::ParticipantKind;
use serde_json::json;

use crate::support::client::Client;
use crate::support::program::{Program, token};
use crate::support::stores;

const SENDERS: usize = 8;

/// What one sender knows: the ids of acknowledged messages by their own client id.
type Acknowledged = HashMap<String, String>;

/// Sends until the line breaks; keeps several on the way. Unanswered ones are returned for sending again.
async fn stream(url: String, sender: usize, round: usize, again: Vec<String>) -> (Acknowledged, Vec<String>) {
    let mut acknowledged = Acknowledged::new();
    let mut under_way: Vec<(String, u64)> = Vec::new();
    let mut fresh = (0..).map(|n| format!("r{round}-s{sender}-{n}"));
    let mut queue = again.into_iter();
    let work = async {
        let mut client = Client::connect(&url, &token(ParticipantKind::User, &format!("u{sender}"))).await;
        loop {
            while under_way.len() < 4 {
                let id = queue.next().or_else(|| fresh.next()).expect("endless");
                let payload = json!({ "recipientType": "admin", "content": id, "clientMessageId": id });
                let asked = client.ask("dm:send_message", &payload).await;
                under_way.push((id, asked));
            }
            let answer = client.answer(under_way[0].1).await;
            assert_eq!(answer["ok"], true, "{answer}");
            let (id, _) = under_way.remove(0);
            acknowledged.insert(id, answer["message"]["_id"].as_str().expect("an id").to_owned());
        }
    };
    // The line breaks in the middle of whatever the client does; its panic about that is the end we wait for.
    let _ = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(work)).await;
    let mut unanswered: Vec<String> = under_way.into_iter().map(|(id, _)| id).collect();
    unanswered.extend(queue);
    (acknowledged, unanswered)
}

/// The whole conversation of one sender, oldest first, as (own id, message id).
async fn conversation(url: &str, sender: usize) -> Vec<(String, String)> {
    let mut client = Client::connect(url, &token(ParticipantKind::User, &format!("u{sender}"))).await;
    let key = format!("admin_u{sender}");
    let (mut all, mut before) = (Vec::new(), None::<String>);
    loop {
        let page = client.call("dm:history", &json!({ "conversationId": key, "limit": 100, "before": before })).await;
        assert_eq!(page["ok"], true, "{page}");
        let messages = page["messages"].as_array().expect("a list");
        let text = |m: &serde_json::Value, field: &str| m[field].as_str().expect("text").to_owned();
        all.splice(0..0, messages.iter().map(|m| (text(m, "content"), text(m, "_id"))));
        if page["hasMore"] == false {
            return all;
        }
        before = messages.first().map(|m| text(m, "_id"));
    }
}

async fn rounds(mongo: Option<(String, String)>) {
    let rounds: usize = std::env::var("SAMVAD_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged: Vec<Acknowledged> = vec![Acknowledged::new(); SENDERS];
    let mut again: Vec<Vec<String>> = vec![Vec::new(); SENDERS];
    for round in 0..rounds {
        let program = Program::start(folder.path(), mongo.as_ref(), &[]);
        let senders: Vec<_> =
            again.drain(..).enumerate().map(|(s, ids)| tokio::spawn(stream(program.url.clone(), s, round, ids))).collect();
        tokio::time::sleep(Duration::from_millis(300 + 97 * (round as u64 % 7))).await;
        program.kill();
        for (sender, running) in senders.into_iter().enumerate() {
            let (acked, unanswered) = running.await.expect("its panics are caught");
            acknowledged[sender].extend(acked);
            again.push(unanswered);
        }
    }
    let program = Program::start(folder.path(), mongo.as_ref(), &[]);
    let mut total = 0;
    for (sender, acked) in acknowledged.iter().enumerate() {
        let stored = conversation(&program.url, sender).await;
        let by_own_id: HashMap<&str, &str> = stored.iter().map(|(own, id)| (own.as_str(), id.as_str())).collect();
        assert_eq!(by_own_id.len(), stored.len(), "a message of sender {sender} is there twice");
        for (own, id) in acked {
            assert_eq!(by_own_id.get(own.as_str()), Some(&id.as_str()), "acknowledged message {own} of sender {sender}");
        }
        assert!(stored.iter().map(|(_, id)| id).is_sorted());
        total += acked.len();
    }
    program.kill();
    assert!(total > rounds * SENDERS, "hardly anything was sent: {total}");
    println!("{rounds} kills, {total} acknowledged messages, none lost, none twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_under_load_loses_and_doubles_nothing_on_sqlite() {
    rounds(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_under_load_loses_and_doubles_nothing_on_mongodb() {
    rounds(Some((stores::mongo_uri(), stores::fresh_database()))).await;
}
