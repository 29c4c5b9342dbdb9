//! Coming back after the line broke: rooms and what was missed, without asking.

use std::sync::Arc;
use std::time::Duration;

use samvad::models::ParticipantKind;
use samvad::store::Store;
use samvad::store::sqlite::SqliteStore;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::program::{Program, token};
use crate::support::server::TestServer;
use crate::support::stores;

async fn server() -> (TestServer, tempfile::TempDir) {
    let (store, folder) = stores::sqlite();
    (TestServer::start(store).await, folder)
}

async fn say(client: &mut Client, text: &str) {
    let sent = client.call("dm:send_message", &json!({ "recipientId": "u1", "recipientType": "user", "content": text })).await;
    assert_eq!(sent["ok"], true, "{sent}");
}

/// Waits until the server has noticed that a line broke.
async fn noticed(server: &TestServer, connections: usize) {
    while server.services.core().delivery.connections() > connections {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn messages(heard: Vec<(String, Value)>) -> Vec<(String, String)> {
    let heard = heard.into_iter().filter(|(event, _)| event.starts_with("dm:"));
    heard.map(|(event, payload)| (event, payload["content"].as_str().unwrap_or_default().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_cut_off_is_back_in_his_rooms_and_hears_what_was_said_in_order_and_once() {
    let (server, _folder) = server().await;
    let mut expert = server.astrologer("a1").await;
    let mut user = server.user("u1").await;
    say(&mut expert, "before").await;
    assert_eq!(user.expect("dm:new_message").await["content"], "before");
    let joined = user.call("dm:join_conversation", &json!({ "conversationId": "user_u1_a1" })).await;
    assert_eq!(joined["ok"], true);
    say(&mut expert, "heard").await;
    assert_eq!(user.expect("dm:message_received").await["content"], "heard");
    // Without a goodbye.
    drop(user);
    noticed(&server, 1).await;
    for text in ["missed 1", "missed 2", "missed 3"] {
        say(&mut expert, text).await;
    }
    let mut user = server.user("u1").await;
    for text in ["missed 1", "missed 2", "missed 3"] {
        let told = user.expect("dm:message_received").await;
        assert_eq!((&told["content"], &told["conversationId"]), (&json!(text), &json!("user_u1_a1")));
    }
    say(&mut expert, "live").await;
    assert_eq!(user.expect("dm:message_received").await["content"], "live");
    let rest = messages(user.heard_so_far().await);
    assert!(rest.iter().all(|(event, _)| event != "dm:new_message" && event != "dm:message_received"), "{rest:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_said_goodbye_gets_nothing_back_and_neither_do_others() {
    let (server, _folder) = server().await;
    let mut expert = server.astrologer("a1").await;
    let mut user = server.user("u1").await;
    say(&mut expert, "before").await;
    user.call("dm:join_conversation", &json!({ "conversationId": "user_u1_a1" })).await;
    user.raw("41").await;
    noticed(&server, 1).await;
    say(&mut expert, "meanwhile").await;
    let (mut user, mut other) = (server.user("u1").await, server.user("u2").await);
    say(&mut expert, "live").await;
    assert_eq!(user.expect("dm:new_message").await["content"], "live");
    assert_eq!(messages(user.heard_so_far().await), []);
    assert_eq!(messages(other.heard_so_far().await), []);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_joins_again_by_itself_keeps_its_spelling_and_loses_nothing() {
    let (server, _folder) = server().await;
    let mut expert = server.astrologer("a1").await;
    let mut user = server.user("u1").await;
    say(&mut expert, "first").await;
    let reference = user.expect("dm:new_message").await["conversationRef"].clone();
    user.call("dm:join_conversation", &json!({ "conversationId": reference })).await;
    drop(user);
    noticed(&server, 1).await;
    say(&mut expert, "missed").await;
    let mut user = server.user("u1").await;
    let joined = user.call("dm:join_conversation", &json!({ "conversationId": "user_u1_a1", "after": null })).await;
    assert_eq!(joined["ok"], true);
    let told = user.expect("dm:message_received").await;
    assert_eq!(told["content"], "missed");
    say(&mut expert, "live").await;
    let live = user.expect("dm:message_received").await;
    assert_eq!((&live["content"], &live["conversationId"]), (&json!("live"), &json!("user_u1_a1")));
    server.stop().await;
}

async fn join(client: &mut Client, conversation: &Value) {
    let joined = client.call("dm:join_conversation", &json!({ "conversationId": conversation })).await;
    assert_eq!(joined["ok"], true, "{joined}");
}

/// What the new server tells a client that sat in a room of the old one: once, under the name the client used, and in order.
async fn finds_itself_where_it_was(mut expert: Client, mut user: Client, reference: &Value) {
    for text in ["missed 1", "missed 2"] {
        let told = user.expect("dm:message_received").await;
        assert_eq!((&told["content"], &told["conversationId"]), (&json!(text), reference));
    }
    say(&mut expert, "live").await;
    let live = user.expect("dm:message_received").await;
    assert_eq!((&live["content"], &live["conversationId"]), (&json!("live"), reference));
    let rest = messages(user.heard_so_far().await);
    assert!(rest.iter().all(|(event, _)| event != "dm:new_message" && event != "dm:message_received"), "{rest:?}");
}

async fn an_orderly_restart_keeps_rooms(mut next: impl AsyncFnMut() -> Arc<dyn Store>) {
    let server = TestServer::start(next().await).await;
    let (mut expert, mut user) = (server.astrologer("a1").await, server.user("u1").await);
    say(&mut expert, "before").await;
    let reference = user.expect("dm:new_message").await["conversationRef"].clone();
    join(&mut user, &reference).await;
    server.stop().await;
    let server = TestServer::start(next().await).await;
    let mut expert = server.astrologer("a1").await;
    for text in ["missed 1", "missed 2"] {
        say(&mut expert, text).await;
    }
    let mut user = server.user("u1").await;
    // An orderly end does not know what the client heard last.
    assert_eq!(user.expect("dm:message_received").await["content"], "before");
    let another = server.user("u1").await;
    finds_itself_where_it_was(expert, user, &reference).await;
    let mut another = another;
    assert_eq!(another.expect("dm:message_received").await["content"], "before", "the other device too");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_survive_an_orderly_restart_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    an_orderly_restart_keeps_rooms(async move || Arc::new(SqliteStore::open(&path).expect("it is free")) as Arc<dyn Store>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_survive_an_orderly_restart_on_mongodb() {
    let database = stores::fresh_database();
    let name = database.clone();
    an_orderly_restart_keeps_rooms(async move || stores::mongodb(&name).await).await;
    stores::drop_database(&database).await;
}

async fn a_kill_keeps_rooms(mongo: Option<(String, String)>) {
    let folder = tempfile::tempdir().expect("a folder");
    let connect = async |program: &Program, kind, id| Client::connect(&program.url, &token(kind, id)).await;
    let program = Program::start(folder.path(), mongo.as_ref(), &[]);
    let mut expert = connect(&program, ParticipantKind::Astrologer, "a1").await;
    let mut user = connect(&program, ParticipantKind::User, "u1").await;
    say(&mut expert, "before").await;
    let reference = user.expect("dm:new_message").await["conversationRef"].clone();
    join(&mut user, &reference).await;
    // Rooms are written a second later; what is younger dies with the server.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    program.kill();
    let program = Program::start(folder.path(), mongo.as_ref(), &[]);
    let mut expert = connect(&program, ParticipantKind::Astrologer, "a1").await;
    for text in ["missed 1", "missed 2"] {
        say(&mut expert, text).await;
    }
    let mut user = connect(&program, ParticipantKind::User, "u1").await;
    assert_eq!(user.expect("dm:message_received").await["content"], "before");
    finds_itself_where_it_was(expert, user, &reference).await;
    program.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_survive_a_kill_on_sqlite() {
    a_kill_keeps_rooms(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_survive_a_kill_on_mongodb() {
    let database = stores::fresh_database();
    a_kill_keeps_rooms(Some((stores::mongo_uri(), database.clone()))).await;
    stores::drop_database(&database).await;
}
