//! Writes nobody knows the outcome of: the store carried them out, and its answer was lost on the way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use samvad::models::{ConversationKey, Participant, ParticipantKind};
use samvad::store::mongo::MongoStore;
use samvad::store::{Lookup, Store};
use serde_json::{Value, json};

use crate::support::proxy::Proxy;
use crate::support::server::TestServer;
use crate::support::stores;

/// A server whose way to MongoDB can fail.
struct Doubtful {
    server: TestServer,
    proxy: Proxy,
    database: String,
}

impl Doubtful {
    async fn start() -> Self {
        let uri = stores::mongo_uri();
        let (proxy, database) = (Proxy::start(&uri).await, stores::fresh_database());
        let store: Arc<dyn Store> = Arc::new(MongoStore::connect(&proxy.uri(&uri), &database).await.expect("a usable URI"));
        store.check_writable().await.expect("ready");
        Self { server: TestServer::start(store).await, proxy, database }
    }

    async fn stop(self) {
        self.server.stop().await;
        stores::drop_database(&self.database).await;
    }

    /// What the recipient has to read and what the list shows; nothing while the way is still being rebuilt.
    async fn unread_and_last(&self) -> Option<(u32, String)> {
        let lookup = Lookup::Key(ConversationKey::parse("user_u1_a1").expect("legal"));
        let found = self.server.services.core().store.find_conversation(&lookup).await.ok()?.expect("there");
        let reader = Participant::new(ParticipantKind::User, "u1").expect("legal");
        // What was said right before the line died may be shown by the repair only.
        Some((found.unread_of(&reader), found.last_message.as_ref()?.content.clone()))
    }
}

fn sending(text: &str) -> Value {
    json!({ "recipientId": "u1", "recipientType": "user", "content": text, "clientMessageId": format!("own-{text}") })
}

fn heard_of(heard: &[(String, Value)], text: &str) -> usize {
    heard.iter().filter(|(event, payload)| event == "dm:new_message" && payload["content"] == text).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_stored_in_doubt_is_heard_when_its_sender_repeats_it_and_only_then() {
    let doubtful = Doubtful::start().await;
    let (mut expert, mut user) = (doubtful.server.astrologer("a1").await, doubtful.server.user("u1").await);
    assert_eq!(expert.call("dm:send_message", &sending("before")).await["ok"], true);
    user.expect("dm:new_message").await;

    doubtful.proxy.swallow("insert", "directmessages");
    let refused = expert.call("dm:send_message", &sending("doubtful")).await;
    assert_eq!(
        (&refused["ok"], &refused["code"], &refused["retryable"]),
        (&json!(false), &json!("UNAVAILABLE"), &json!(true)),
        "{refused}"
    );
    doubtful.proxy.swallowed().await;
    assert_eq!(heard_of(&user.heard_so_far().await, "doubtful"), 0);
    doubtful.proxy.heal();

    let deadline = Instant::now() + Duration::from_secs(10);
    let repeated = loop {
        let answer = expert.call("dm:send_message", &sending("doubtful")).await;
        if answer["ok"] == true {
            break answer;
        }
        assert!(answer["retryable"] == true && Instant::now() < deadline, "{answer}");
    };
    assert_ne!(repeated["duplicate"], true, "nobody had been told of it");
    assert_eq!(user.expect("dm:new_message").await["_id"], repeated["message"]["_id"]);
    let again = expert.call("dm:send_message", &sending("doubtful")).await;
    assert_eq!((&again["duplicate"], &again["message"]["_id"]), (&json!(true), &repeated["message"]["_id"]));
    assert_eq!(heard_of(&user.heard_so_far().await, "doubtful"), 0, "heard once");
    is_put_right(&doubtful, (2, "doubtful")).await;
    doubtful.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_count_is_in_doubt_is_acknowledged_and_its_conversation_put_right() {
    let doubtful = Doubtful::start().await;
    let (mut expert, mut user) = (doubtful.server.astrologer("a1").await, doubtful.server.user("u1").await);
    assert_eq!(expert.call("dm:send_message", &sending("before")).await["ok"], true);
    doubtful.proxy.swallow("update", "directconversations");
    let sent = expert.call("dm:send_message", &sending("stored")).await;
    assert_eq!(sent["ok"], true, "it is durable: {sent}");
    doubtful.proxy.swallowed().await;
    doubtful.proxy.heal();
    assert_eq!(user.expect("dm:new_message").await["content"], "before");
    assert_eq!(user.expect("dm:new_message").await["content"], "stored");
    is_put_right(&doubtful, (2, "stored")).await;
    doubtful.stop().await;
}

/// Within the repair's pauses the unread count and the latest message are what a recount says.
async fn is_put_right(doubtful: &Doubtful, expected: (u32, &str)) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = doubtful.unread_and_last().await;
        if seen.as_ref().is_some_and(|(unread, last)| (*unread, last.as_str()) == expected) {
            return;
        }
        assert!(Instant::now() < deadline, "{seen:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_of_what_a_dead_process_stored_is_told_because_nobody_knows_whether_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || Arc::new(samvad::store::sqlite::SqliteStore::open(folder.path()).expect("free")) as Arc<dyn Store>;
    let server = TestServer::start(open()).await;
    let mut expert = server.astrologer("a1").await;
    assert_eq!(expert.call("dm:send_message", &sending("stored")).await["ok"], true);
    server.stop().await;

    let server = TestServer::start(open()).await;
    let (mut expert, mut user) = (server.astrologer("a1").await, server.user("u1").await);
    let repeated = expert.call("dm:send_message", &sending("stored")).await;
    assert_eq!(repeated["duplicate"], true, "{repeated}");
    assert_eq!(user.expect("dm:new_message").await["_id"], repeated["message"]["_id"]);
    server.stop().await;
}
