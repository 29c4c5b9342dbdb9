//! Phones that are told by several nodes on one database: whoever takes an entry first sends it, once, and a node that dies is stood
//! in for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use samvad::models::ParticipantKind;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::http::request;
use crate::support::nodes::{Nodes, to_astrologer};
use crate::support::outside::{Heard, Outside, Reply, fcm_error};
use crate::support::program::{Program, token};
use crate::support::stores;

/// Every node looks for what is due at least once in this time, and would send what another has sent.
const EVERYBODY_HAS_LOOKED: Duration = Duration::from_secs(4);
/// A lease ends after 40 s, and the next look is a second later; with room for a busy machine.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(90);

async fn start(count: usize, outside: &Outside, more: &[(&str, &str)]) -> Nodes {
    let settings = outside.fcm();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect();
    Nodes::start(count, &settings).await
}

/// An astrologer has a phone, as one of the nodes is told.
async fn has_phone(nodes: &Nodes, n: usize, id: &str) {
    let body = json!({ "fcmToken": format!("phone-of-{id}"), "platform": "android" });
    let owner = token(ParticipantKind::Astrologer, id);
    assert_eq!(request(nodes.url(n), "POST", "/api/fcm/register", Some(&owner), Some(&body)).await.0, 200);
}

async fn say(client: &mut Client, to: &str, text: &str) -> String {
    let answer = client.call("dm:send_message", &to_astrologer(to, text)).await;
    assert_eq!(answer["ok"], true, "{answer}");
    answer["message"]["_id"].as_str().expect("an id").to_owned()
}

async fn ring(client: &mut Client, whom: &str) -> Value {
    let answer = client.call("call:initiate", &json!({ "calleeId": whom, "calleeType": "astrologer", "callType": "voice" })).await;
    assert_eq!(answer["ok"], true, "{answer}");
    answer["callId"].clone()
}

/// How often each device was told each thing.
fn counts(heard: &[Heard]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for one in heard {
        let data = one.data();
        let about = data["messageId"].as_str().or(data["callId"].as_str()).unwrap_or_default();
        *counts.entry(format!("{} {} {about}", one.device(), data["type"])).or_default() += 1;
    }
    counts
}

fn of_call(outside: &Outside, kind: &str, call: &Value) -> Vec<Heard> {
    outside.pushes(kind).into_iter().filter(|push| push.data()["callId"] == *call).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_has_workers_and_each_phone_is_told_once() {
    const PEOPLE: usize = 12;
    const MESSAGES: usize = 8;
    let outside = Outside::start().await;
    // Long enough that every node looks for work while something is on its way.
    outside.delay(Duration::from_millis(700));
    let nodes = start(3, &outside, &[]).await;
    for n in 0..PEOPLE {
        has_phone(&nodes, n % 3, &format!("a{n}")).await;
    }
    // What is refused at first waits in the store, for whichever node comes first.
    for n in 0..PEOPLE {
        outside.script(&format!("phone-of-a{n}"), [fcm_error(503, "UNAVAILABLE", "busy")]);
    }
    let said = join_all((0..PEOPLE).map(|n| {
        let nodes = &nodes;
        async move {
            let mut client = nodes.user(n % 3, &format!("u{n}")).await;
            let mut said = Vec::new();
            for m in 0..MESSAGES {
                // Each pair is a conversation of its own, so nothing is overtaken.
                let to = (n + m) % PEOPLE;
                said.push((to, "message", say(&mut client, &format!("a{to}"), &format!("{n} {m}")).await));
            }
            let call = ring(&mut client, &format!("a{n}")).await;
            said.push((n, "call", call.as_str().expect("an id").to_owned()));
            (client, said)
        }
    }))
    .await;
    let (mut clients, said): (Vec<Client>, Vec<_>) = said.into_iter().unzip();
    let expected: Vec<String> = said.iter().flatten().map(|(to, kind, id)| format!("phone-of-a{to} {} {id}", json!(kind))).collect();
    // One push to each phone was refused and comes again.
    outside.wait(expected.len() + PEOPLE, |o| o.heard("messages:send")).await;
    tokio::time::sleep(EVERYBODY_HAS_LOOKED).await;
    let told = counts(&outside.heard("messages:send"));
    for one in &expected {
        assert!(told.contains_key(one), "{one} was never told");
    }
    assert_eq!(told.values().sum::<usize>(), expected.len() + PEOPLE, "{told:#?}");
    let twice = told.values().filter(|count| **count == 2).count();
    assert_eq!((told.len(), twice), (expected.len(), PEOPLE), "{told:#?}");
    // And each stops ringing once.
    let calls: Vec<Value> = said.iter().flatten().filter(|(_, kind, _)| *kind == "call").map(|(.., id)| json!(id)).collect();
    for (client, call) in clients.iter_mut().zip(&calls) {
        assert_eq!(client.call("call:end", &json!({ "callId": call })).await["ok"], true);
    }
    outside.wait(PEOPLE, |o| o.pushes("call_cancel")).await;
    tokio::time::sleep(EVERYBODY_HAS_LOOKED).await;
    for call in &calls {
        assert_eq!(of_call(&outside, "call_cancel", call).len(), 1);
    }
    // Each node bought an access token, and no more than that.
    assert!(outside.heard("/token").len() <= 3);
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_of_one_node_stops_once_however_it_stops_on_another() {
    let outside = Outside::start().await;
    let nodes = start(3, &outside, &[("RING_TIMEOUT_SECONDS", "4")]).await;
    has_phone(&nodes, 2, "a1").await;
    let (mut caller, mut callee) = (nodes.user(0, "u1").await, nodes.astrologer(1, "a1").await);
    let answered = ring(&mut caller, "a1").await;
    outside.wait(1, |o| of_call(o, "call", &answered)).await;
    assert_eq!(callee.call("call:accept", &json!({ "callId": answered })).await["ok"], true);
    let stop = outside.wait(1, |o| of_call(o, "call_cancel", &answered)).await.remove(0);
    assert_eq!(stop.data()["reason"], "answered_elsewhere");
    assert_eq!(caller.call("call:end", &json!({ "callId": answered })).await["ok"], true);
    let declined = ring(&mut caller, "a1").await;
    outside.wait(1, |o| of_call(o, "call", &declined)).await;
    assert_eq!(callee.call("call:reject", &json!({ "callId": declined })).await["ok"], true);
    outside.wait(1, |o| of_call(o, "call_cancel", &declined)).await;
    // Every node looks after deadlines.
    let missed = ring(&mut caller, "a1").await;
    outside.wait(1, |o| of_call(o, "call_cancel", &missed)).await;
    // Two seconds after its deadline it is looked whether a phone was told to stop.
    tokio::time::sleep(EVERYBODY_HAS_LOOKED + Duration::from_secs(4)).await;
    for call in [&answered, &declined, &missed] {
        assert_eq!((of_call(&outside, "call", call).len(), of_call(&outside, "call_cancel", call).len()), (1, 1), "{call}");
    }
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_node_had_taken_is_sent_by_another() {
    const PHONES: usize = 20;
    let outside = Outside::start().await;
    let mut nodes = start(3, &outside, &[("RING_TIMEOUT_SECONDS", "120")]).await;
    for n in 0..PHONES {
        has_phone(&nodes, 1, &format!("a{n}")).await;
        // Whoever asks first gets no answer.
        outside.script(&format!("phone-of-a{n}"), [Reply::Hang]);
    }
    has_phone(&nodes, 1, "rung").await;
    outside.script("phone-of-rung", [Reply::Hang]);
    let mut user = nodes.user(0, "u1").await;
    let mut said = Vec::new();
    for n in 0..PHONES {
        said.push(say(&mut user, &format!("a{n}"), "hello").await);
    }
    // The caller is on another node, and stays there.
    let mut caller = nodes.user(1, "u2").await;
    let rings = json!({ "contactId": "rung" });
    let owner = token(ParticipantKind::User, "u2");
    let (status, call) = request(nodes.url(0), "POST", "/api/communications/u2/calls/voice", Some(&owner), Some(&rings)).await;
    assert!(status < 300, "{status} {call}");
    outside.wait(PHONES + 1, |o| o.heard("messages:send")).await;
    nodes.kill(0);
    let killed = Instant::now();
    loop {
        let told = counts(&outside.heard("messages:send"));
        if told.len() == PHONES + 1 && told.values().all(|count| *count >= 2) {
            break;
        }
        assert!(killed.elapsed() < TAKEN_OVER_WITHIN, "{told:#?}");
        // Who reads nothing answers no heartbeat, and is cut.
        caller.heard_so_far().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let again = &outside.pushes("call")[1..];
    println!("the ring was taken over after {:?}, the last message after {:?}", again[0].at - killed, killed.elapsed());
    tokio::time::sleep(EVERYBODY_HAS_LOOKED).await;
    let told = counts(&outside.heard("messages:send"));
    assert!(told.values().all(|count| *count == 2), "once by the dead one, once by another: {told:#?}");
    // It rings until somebody hangs up, on a node that did not begin it.
    let id = again[0].data()["callId"].clone();
    assert_eq!(caller.call("call:end", &json!({ "callId": id })).await["ok"], true);
    outside.wait(1, |o| of_call(o, "call_cancel", &id)).await;
    tokio::time::sleep(EVERYBODY_HAS_LOOKED).await;
    assert_eq!(of_call(&outside, "call_cancel", &id).len(), 1);
    nodes.done().await;
}

/// Said one after the other, so that none overtakes another: each waits until the one before it is written down, or surely is not.
async fn told(outside: &Outside) -> Vec<String> {
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut told: Vec<String> =
        outside.pushes("message").iter().map(|push| push.data()["content"].as_str().expect("a text").to_owned()).collect();
    told.sort();
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_to_tell_of_messages_holds_for_sockets_of_other_nodes() {
    for (setting, expected) in [("not_in_room", ["away", "elsewhere"].as_slice()), ("offline", &["away"])] {
        let outside = Outside::start().await;
        let nodes = start(2, &outside, &[("PUSH_MESSAGES", setting)]).await;
        has_phone(&nodes, 0, "a1").await;
        let mut user = nodes.user(0, "u1").await;
        say(&mut user, "a1", "away").await;
        outside.wait(1, |o| o.pushes("message")).await;
        let mut astrologer = nodes.astrologer(1, "a1").await;
        say(&mut user, "a1", "elsewhere").await;
        told(&outside).await;
        assert_eq!(astrologer.call("dm:join_conversation", &json!({ "conversationId": "user_u1_a1" })).await["ok"], true);
        // Rooms are written down a second later.
        tokio::time::sleep(Duration::from_secs(3)).await;
        say(&mut user, "a1", "here").await;
        assert_eq!(told(&outside).await, expected, "{setting}");
        // Another one in that room is not the recipient.
        let mut beside = nodes.user(1, "u1").await;
        assert_eq!(beside.call("dm:join_conversation", &json!({ "conversationId": "user_u1_a1" })).await["ok"], true);
        drop(astrologer);
        // The node notices, and rooms are written down a second later.
        tokio::time::sleep(Duration::from_secs(3)).await;
        say(&mut user, "a1", "gone").await;
        assert_eq!(told(&outside).await, [expected, &["gone"]].concat(), "{setting}");
        nodes.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_the_store_says_who_is_connected_to_another_node() {
    let outside = Outside::start().await;
    let settings = outside.fcm();
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (*name, value.as_str())).chain([("PUSH_MESSAGES", "offline")]).collect();
    let (folder, mongo) = (tempfile::tempdir().expect("a folder"), (stores::mongo_uri(), stores::fresh_database()));
    let [one, other] = [(); 2].map(|()| Program::start(folder.path(), Some(&mongo), &settings));
    let body = json!({ "fcmToken": "phone-of-a1", "platform": "android" });
    let owner = token(ParticipantKind::Astrologer, "a1");
    assert_eq!(request(&one.url, "POST", "/api/fcm/register", Some(&owner), Some(&body)).await.0, 200);
    let mut user = Client::connect(&one.url, &token(ParticipantKind::User, "u1")).await;
    say(&mut user, "a1", "away").await;
    outside.wait(1, |o| o.pushes("message")).await;
    let astrologer = Client::connect(&other.url, &owner).await;
    // Who comes is written down within the second.
    tokio::time::sleep(Duration::from_secs(3)).await;
    say(&mut user, "a1", "elsewhere").await;
    assert_eq!(told(&outside).await, ["away"]);
    other.kill();
    drop(astrologer);
    // Nobody knows whether the dead node's people heard of what was said in its last moments: they are told after all.
    let give_up = Instant::now() + Duration::from_secs(60);
    while outside.pushes("message").len() < 2 {
        assert!(Instant::now() < give_up, "what was left out for the sake of a dead node is told");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    say(&mut user, "a1", "gone").await;
    assert_eq!(told(&outside).await, ["away", "elsewhere", "gone"]);
    one.kill();
    stores::drop_database(&mongo.1).await;
}
