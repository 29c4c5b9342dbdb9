//! Two programs over a Redis Cluster: they hear each other, and again after the member that carries them is gone.

use serde_json::json;
use tokio::time::timeout;

use crate::support::nodes::{Nodes, RECOVERY, to_astrologer};
use crate::support::redis_cluster::RedisCluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_hear_each_other_over_a_cluster_and_after_a_failover() {
    let mut cluster = tokio::task::spawn_blocking(RedisCluster::start).await.expect("it starts");
    let url = cluster.url();
    let mut nodes = Nodes::none();
    for _ in 0..2 {
        nodes.add(&[("REDIS_URL", &url)]);
    }
    for n in 0..2 {
        nodes.sees(n, 1).await;
    }
    let (mut user, mut astrologer) = (nodes.user(0, "u1").await, nodes.astrologer(1, "a1").await);
    for n in 0..20 {
        assert_eq!(user.call("dm:send_message", &to_astrologer("a1", &n.to_string())).await["ok"], true);
    }
    for n in 0..20 {
        assert_eq!(astrologer.expect("dm:new_message").await["content"], n.to_string(), "in order");
    }
    let called = user.call("call:initiate", &json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" })).await;
    assert_eq!(called["ok"], true, "{called}");
    assert_eq!(astrologer.expect("call:incoming").await["callId"], called["callId"]);

    cluster.kill_keeper_of("{samvad:}");
    let missed = user.call("dm:send_message", &to_astrologer("a1", "while the cluster elects")).await;
    assert_eq!(missed["ok"], true, "{missed}");
    timeout(RECOVERY, astrologer.expect("resync")).await.expect("a hint that something may be missing");
    for n in 0..2 {
        nodes.sees(n, 1).await;
    }
    let page = astrologer.call("dm:sync", &json!({ "conversationId": missed["message"]["conversationKey"], "limit": 200 })).await;
    assert!(page["messages"].as_array().expect("a list").iter().any(|m| m["_id"] == missed["message"]["_id"]), "{page}");
    astrologer.heard_so_far().await;
    assert_eq!(user.call("dm:send_message", &to_astrologer("a1", "afterwards")).await["ok"], true);
    assert_eq!(astrologer.expect("dm:new_message").await["content"], "afterwards");
    nodes.done().await;
}
