//! In which order sockets hear what several nodes store of one conversation, and in which order it stands there.

use serde_json::{Value, json};

use crate::support::held_line::HeldLine;
use crate::support::nodes::{Nodes, to_astrologer};
use crate::support::stores;

/// Contents in the store's order, oldest first.
async fn stored(nodes: &Nodes, conversation: &Value) -> Vec<String> {
    let mut reader = nodes.user(0, "u1").await;
    let page = reader.call("dm:sync", &json!({ "conversationId": conversation, "limit": 200 })).await;
    page["messages"].as_array().expect("a list").iter().map(|m| m["content"].as_str().expect("text").to_owned()).collect()
}

/// Two nodes, the first with a line to mongod that can be held up.
async fn slow_and_fast() -> (Nodes, HeldLine) {
    let uri = stores::mongo_uri();
    let line = HeldLine::to(&uri).await;
    let mut nodes = Nodes::none();
    nodes.add_through(&line.uri(&uri), &[]);
    nodes.add(&[]);
    for n in 0..2 {
        nodes.sees(n, 1).await;
    }
    (nodes, line)
}

// Each node gives its messages their time when it takes them on, and tells them when they are stored. So of two nodes one may tell the
// later one first. A call log is said in the caller's name by the node where the call ended: it is the one thing a server says for somebody
// whose own messages go through another node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_log_of_another_node_may_be_heard_before_what_its_caller_said_earlier_and_pages_say_which_order_counts() {
    let (nodes, line) = slow_and_fast().await;
    let (mut caller, mut callee) = (nodes.user(0, "u1").await, nodes.astrologer(1, "a1").await);
    let first = caller.call("dm:send_message", &to_astrologer("a1", "first")).await;
    assert_eq!(first["ok"], true, "{first}");
    assert_eq!(callee.expect("dm:new_message").await["content"], "first");
    let call = caller.call("call:initiate", &json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" })).await;
    let id = json!({ "callId": call["callId"] });
    callee.expect("call:incoming").await;
    assert_eq!(callee.call("call:accept", &id).await["ok"], true);
    caller.expect("call:accepted").await;

    line.hold();
    let sent = caller.ask("dm:send_message", &to_astrologer("a1", "said before the call ended")).await;
    line.holds("said before the call ended").await;
    assert_eq!(callee.call("call:end", &id).await["ok"], true);
    let log = callee.expect("dm:message_received").await;
    assert_eq!((&log["messageType"], &log["senderId"]), (&json!("call_log"), &json!("u1")));
    line.let_go();
    assert_eq!(caller.answer(sent).await["ok"], true);
    assert_eq!(callee.expect("dm:new_message").await["content"], "said before the call ended", "after the log");

    let order = stored(&nodes, &first["message"]["conversationKey"]).await;
    assert_eq!(order, ["first", "said before the call ended", log["content"].as_str().expect("text")]);
    nodes.done().await;
}
