//! Calls between people connected to different nodes.

use std::time::Duration;

use samvad::models::ParticipantKind;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::client::{Client, Handshake};
use crate::support::nodes::{Nodes, RECOVERY};
use crate::support::program::token;

const RINGS_SHORTLY: &[(&str, &str)] = &[("RING_TIMEOUT_SECONDS", "3")];

/// Rings, and returns the answer.
async fn ring(caller: &mut Client) -> Value {
    let ask = json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" });
    let answer = caller.call("call:initiate", &ask).await;
    assert_eq!(answer["ok"], true, "{answer}");
    answer
}

async fn says(client: &mut Client, event: &str, call: &Value) -> Value {
    let contact = json!("a1");
    client.call(event, &json!({ "callId": call["callId"], "contactId": contact })).await
}

/// The next event of this name that is about this call.
async fn hears(client: &mut Client, event: &str, call: &Value) -> Value {
    loop {
        let heard = timeout(RECOVERY, client.expect(event)).await.expect("in time");
        if heard["callId"] == call["callId"] {
            return heard;
        }
    }
}

/// How often a client has heard this of this call until now.
fn count(heard: &[(String, Value)], event: &str, call: &Value) -> usize {
    heard.iter().filter(|(name, payload)| name == event && payload["callId"] == call["callId"]).count()
}

/// The call logs both sides have in their conversation.
async fn logs(client: &mut Client) -> Vec<Value> {
    let page = client.call("dm:history", &json!({ "conversationId": "user_u1_a1", "limit": 100 })).await;
    let messages = page["messages"].as_array().cloned().unwrap_or_default();
    messages.into_iter().filter(|m| m["messageType"] == "call_log").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_answered_on_another_node_and_stops_ringing_everywhere_else() {
    let nodes = Nodes::start(3, &[]).await;
    let mut caller = nodes.user(0, "u1").await;
    let (mut answers, mut near, mut far) =
        (nodes.astrologer(1, "a1").await, nodes.astrologer(0, "a1").await, nodes.astrologer(2, "a1").await);
    let call = ring(&mut caller).await;
    for client in [&mut answers, &mut near, &mut far] {
        hears(client, "call:incoming", &call).await;
    }
    let answer = says(&mut answers, "call:accept", &call).await;
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(hears(&mut caller, "call:accepted", &call).await["contactId"], "a1");
    // These sockets come from one address without a browser's name, so they may be one page: none is told to stop by itself.
    for client in [&mut near, &mut far] {
        let refused = says(client, "call:accept", &call).await;
        assert_eq!((&refused["ok"], &refused["code"]), (&json!(false), &json!("ANSWERED_ELSEWHERE")), "{refused}");
        assert_eq!(hears(client, "call:end", &call).await["reason"], "answered_elsewhere");
        // The reject of a screen left open changes nothing.
        says(client, "call:reject", &call).await;
    }
    assert_eq!(says(&mut caller, "call:connected", &call).await["ok"], true);
    hears(&mut answers, "call:connected", &call).await;
    let end = caller.call("call:end", &json!({ "callId": call["callId"], "duration": 1 })).await;
    assert_eq!(end["ok"], true, "{end}");
    assert_eq!(hears(&mut answers, "call:end", &call).await["reason"], "completed");
    tokio::time::sleep(Duration::from_secs(7)).await;
    let heard = caller.heard_so_far().await;
    assert_eq!((count(&heard, "call:accept", &call), count(&heard, "call:end", &call)), (1, 0), "{heard:?}");
    assert_eq!(count(&answers.heard_so_far().await, "call:end", &call), 0, "told once");
    assert_eq!(logs(&mut caller).await.len(), 1);
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_device_on_another_node_stops_ringing_by_itself_once_the_call_is_answered() {
    let nodes = Nodes::start(3, &[]).await;
    let mut caller = nodes.user(0, "u1").await;
    let auth = json!({ "token": token(ParticipantKind::Astrologer, "a1") });
    let device = async |node: usize, agent: &str| match Client::handshake_with(nodes.url(node), &auth, &[("user-agent", agent)]).await {
        Handshake::Accepted(client) => *client,
        Handshake::Refused(why) => panic!("refused: {why}"),
    };
    let (mut phone, mut tablet, mut desk) = (device(1, "phone").await, device(2, "tablet").await, device(0, "desk").await);
    let call = ring(&mut caller).await;
    for client in [&mut phone, &mut tablet, &mut desk] {
        hears(client, "call:incoming", &call).await;
    }
    assert_eq!(says(&mut phone, "call:accept", &call).await["ok"], true);
    for client in [&mut tablet, &mut desk] {
        assert_eq!(hears(client, "call:end", &call).await["reason"], "answered_elsewhere");
    }
    let heard = phone.heard_so_far().await;
    assert_eq!(count(&heard, "call:end", &call), 0, "who answered goes on: {heard:?}");
    assert_eq!(says(&mut caller, "call:end", &call).await["ok"], true);
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_winner_of_an_accept_on_two_nodes_is_one() {
    let nodes = Nodes::start(3, &[]).await;
    let mut caller = nodes.user(0, "u1").await;
    for _ in 0..10 {
        let (mut one, mut other) = (nodes.astrologer(1, "a1").await, nodes.astrologer(2, "a1").await);
        let call = ring(&mut caller).await;
        hears(&mut one, "call:incoming", &call).await;
        hears(&mut other, "call:incoming", &call).await;
        let (first, second) = tokio::join!(says(&mut one, "call:accept", &call), says(&mut other, "call:accept", &call));
        let won = [&first, &second].iter().filter(|answer| answer["ok"] == true).count();
        assert_eq!(won, 1, "{first} {second}");
        hears(&mut caller, "call:accepted", &call).await;
        assert_eq!(says(&mut caller, "call:end", &call).await["ok"], true);
        let winner = if first["ok"] == true { &mut one } else { &mut other };
        hears(winner, "call:ended", &call).await;
        let heard = caller.heard_so_far().await;
        assert_eq!(count(&heard, "call:accepted", &call), 0, "once: {heard:?}");
    }
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_rejected_and_missed_calls_are_heard_on_other_nodes_once() {
    let nodes = Nodes::start(3, RINGS_SHORTLY).await;
    let (mut caller, mut callee) = (nodes.user(0, "u1").await, nodes.astrologer(1, "a1").await);
    let cancelled = ring(&mut caller).await;
    hears(&mut callee, "call:incoming", &cancelled).await;
    assert_eq!(says(&mut caller, "call:end", &cancelled).await["ok"], true);
    assert_eq!(hears(&mut callee, "call:end", &cancelled).await["reason"], "cancelled");

    let rejected = ring(&mut caller).await;
    hears(&mut callee, "call:incoming", &rejected).await;
    assert_eq!(says(&mut callee, "call:reject", &rejected).await["ok"], true);
    hears(&mut caller, "call:reject", &rejected).await;

    let missed = ring(&mut caller).await;
    hears(&mut callee, "call:incoming", &missed).await;
    hears(&mut caller, "call:missed", &missed).await;
    hears(&mut callee, "call:missed", &missed).await;
    // Longer than the sweeps of the other nodes wait before they think that nobody was told.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (heard_by_caller, heard_by_callee) = (caller.heard_so_far().await, callee.heard_so_far().await);
    for (call, event) in [(&cancelled, "call:end"), (&rejected, "call:reject"), (&missed, "call:missed")] {
        assert_eq!(count(&heard_by_caller, event, call), 0, "{event} again: {heard_by_caller:?}");
        assert_eq!(count(&heard_by_callee, event, call), 0, "{event} again: {heard_by_callee:?}");
    }
    assert_eq!(logs(&mut caller).await.len(), 3);
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_talks_on_one_node_is_busy_on_the_others() {
    let nodes = Nodes::start(3, &[]).await;
    let (mut caller, mut callee) = (nodes.user(0, "u1").await, nodes.astrologer(0, "a1").await);
    let call = ring(&mut caller).await;
    hears(&mut callee, "call:incoming", &call).await;
    assert_eq!(says(&mut callee, "call:accept", &call).await["ok"], true);
    let mut other = nodes.user(2, "u2").await;
    let refused = ring(&mut other).await;
    assert_eq!(hears(&mut other, "call:rejected", &refused).await["reason"], "busy");
    assert_eq!(says(&mut caller, "call:end", &call).await["ok"], true);
    hears(&mut callee, "call:end", &call).await;
    let rings = ring(&mut other).await;
    assert_eq!(rings["status"], "ringing", "a socket on another node counts: {rings}");
    hears(&mut callee, "call:incoming", &rings).await;
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_to_another_node_hears_what_rings_and_how_calls_ended() {
    let nodes = Nodes::start(3, &[]).await;
    let mut caller = nodes.user(0, "u1").await;
    let call = ring(&mut caller).await;
    let mut callee = nodes.astrologer(1, "a1").await;
    hears(&mut callee, "call:incoming", &call).await;
    // That it rang is noted a moment later; whom a call never rang at need not hear that it was cancelled.
    while says(&mut caller, "call:token", &call).await["status"] != "ringing" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(callee);
    nodes.is_left(1).await;
    let mut callee = nodes.astrologer(2, "a1").await;
    hears(&mut callee, "call:incoming", &call).await;
    drop(callee);
    nodes.is_left(2).await;
    assert_eq!(says(&mut caller, "call:end", &call).await["ok"], true);
    let mut callee = nodes.astrologer(1, "a1").await;
    assert_eq!(hears(&mut callee, "call:end", &call).await["reason"], "cancelled");
    // Once is enough, wherever he goes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for n in [0, 2] {
        let mut again = nodes.astrologer(n, "a1").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(count(&again.heard_so_far().await, "call:end", &call), 0);
    }
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_killed_while_its_call_rings_and_the_others_see_it_through() {
    let mut nodes = Nodes::start(3, RINGS_SHORTLY).await;
    let (mut doomed, mut callee) = (nodes.user(2, "u1").await, nodes.astrologer(1, "a1").await);
    let call = ring(&mut doomed).await;
    hears(&mut callee, "call:incoming", &call).await;
    nodes.kill(2);
    let mut caller = nodes.user(0, "u1").await;
    hears(&mut callee, "call:missed", &call).await;
    hears(&mut caller, "call:missed", &call).await;
    let one_log = async {
        while logs(&mut caller).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(RECOVERY, one_log).await.expect("a log");
    assert_eq!(logs(&mut caller).await.len(), 1);

    // And one that is answered after its node has gone.
    nodes.add(RINGS_SHORTLY);
    nodes.sees(3, 2).await;
    let mut doomed = nodes.user(3, "u1").await;
    let call = ring(&mut doomed).await;
    hears(&mut callee, "call:incoming", &call).await;
    nodes.kill(3);
    assert_eq!(says(&mut callee, "call:accept", &call).await["ok"], true);
    hears(&mut caller, "call:accepted", &call).await;
    nodes.done().await;
}
