//! `samvad verify` and `copy`, and the promises of the stores they rest on.

use std::sync::Arc;

use bson::{Document, doc};
use samvad::models::ParticipantKind;
use samvad::store::{Lookup, Store};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::program::{Place, token};
use crate::support::stores::{self, on_every_driver};

/// Fills a store with what there can be: unread, read, hidden and deleted messages, calls by every end.
async fn furnish(place: &Place) {
    let program = place.serve();
    let mut user = Client::connect(&program.url, &token(ParticipantKind::User, "u1")).await;
    let mut astrologer = Client::connect(&program.url, &token(ParticipantKind::Astrologer, "a1")).await;
    let mut ids = Vec::new();
    for n in 0..6 {
        let message = json!({
            "recipientId": "a1", "recipientType": "astrologer", "content": format!("message {n}"), "clientMessageId": format!("m{n}"),
            "conversationId": if n == 0 { json!("our_chat") } else { json!("user_u1_a1") }, "replyTo": ids.last(),
            "mediaUrl": (n == 3).then_some("https://cdn.example.com/x.jpg"), "mediaDuration": (n == 3).then_some(2.5),
        });
        let sent = user.call("dm:send_message", &message).await;
        assert_eq!(sent["ok"], true, "{sent}");
        ids.push(sent["message"]["_id"].clone());
    }
    let read = json!({ "conversationId": "user_u1_a1", "messageIds": [ids[0], ids[1]] });
    assert_eq!(astrologer.call("dm:mark_read", &read).await["ok"], true);
    assert_eq!(astrologer.call("dm:delete_message", &json!({ "messageId": ids[2], "scope": "me" })).await["ok"], true);
    assert_eq!(user.call("dm:delete_message", &json!({ "messageId": ids[5], "scope": "everyone" })).await["ok"], true);
    let ring = json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "video" });
    let call = user.call("call:initiate", &ring).await["callId"].clone();
    assert_eq!(astrologer.call("call:accept", &json!({ "callId": call })).await["ok"], true);
    assert_eq!(user.call("call:end", &json!({ "callId": call })).await["ok"], true);
    let call = user.call("call:initiate", &ring).await["callId"].clone();
    assert_eq!(astrologer.call("call:reject", &json!({ "callId": call })).await["ok"], true);
    // Both call logs are there.
    let logs = async {
        loop {
            let page = user.call("dm:history", &json!({ "conversationId": "user_u1_a1" })).await;
            let is_log = |m: &&Value| m["messageType"] == "call_log";
            if page["messages"].as_array().expect("a list").iter().filter(is_log).count() == 2 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), logs).await.expect("logged");
    // What MongoDB shows of messages is written up to 100 ms later, and a killed server writes nothing more.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    program.kill();
}

/// Makes the counters, the marks on messages and the latest message wrong, past the store.
fn spoil(place: &Place) {
    let file = rusqlite::Connection::open(place.folder.path().join("samvad.db")).expect("opens");
    file.execute_batch(
        "UPDATE member SET unread = 7 WHERE kind = 'astrologer'; UPDATE message SET unread = 1 WHERE status = 'read';
         UPDATE conversation SET last_content = 'something else';",
    )
    .expect("spoiled");
}

/// A conversation of years ago with wrong figures. What was said lately the driver looks after by itself when it starts.
async fn old_documents(place: &Place) {
    let (uri, name) = place.mongo.clone().expect("a database");
    let database = ::mongodb::Client::with_uri_str(&uri).await.expect("a usable URI").database(&name);
    let at = |minute: i64| bson::DateTime::from_millis(1_600_000_000_000 + minute * 60_000);
    let id = |n: u8| bson::oid::ObjectId::from_bytes([0x5f, 0x5e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, n]);
    let member = |kind: &str, id: &str| doc! { "id": id, "type": kind };
    let message = |n: u8, from: [&str; 2], to: [&str; 2], status: &str| {
        doc! {
            "_id": id(n), "conversationId": "user_u1_a1", "senderId": from[1], "senderType": from[0], "recipientId": to[1], "recipientType": to[0],
            "content": format!("message {n}"), "messageType": "text", "status": status, "createdAt": at(n.into()), "updatedAt": at(n.into()),
        }
    };
    let (user, astrologer) = (["user", "u1"], ["astrologer", "a1"]);
    let messages = [
        message(1, user, astrologer, "read"),
        message(2, astrologer, user, "sent"),
        message(3, user, astrologer, "sent"),
        message(4, user, astrologer, "delivered"),
    ];
    database.collection::<Document>("directmessages").insert_many(messages).await.expect("stored");
    let conversation = doc! {
        "_id": id(9), "conversationId": "user_u1_a1", "participants": [member("user", "u1"), member("astrologer", "a1")],
        "lastMessage": { "timestamp": at(9), "messageId": id(1), "content": "something else", "senderId": "u1", "senderType": "user", "messageType": "text" },
        "lastMessageAt": at(4), "unreadCount": { "a1": 7 }, "isActive": true, "createdAt": at(0), "updatedAt": at(4),
    };
    database.collection::<Document>("directconversations").insert_one(conversation).await.expect("stored");
}

async fn what_is_wrong_is_found_and_put_right(place: Place) {
    let found = place.command(&["verify"]);
    assert!(!found.ok && found.err.contains("--repair"), "{}{}", found.out, found.err);
    assert!(
        found.out.contains("unread of a1: says ") && found.out.contains(", is 2") && found.out.contains("latest message"),
        "{}",
        found.out
    );
    assert!(!found.out.contains("something else") && !found.out.contains("message 4"), "no text: {}", found.out);
    let repaired = place.done(&["verify", "--repair"]);
    assert!(repaired.contains("1 wrong, 1 put right"), "{repaired}");
    assert!(place.done(&["verify"]).contains("0 wrong"));
    let program = place.serve();
    let mut astrologer = Client::connect(&program.url, &token(ParticipantKind::Astrologer, "a1")).await;
    let joined = astrologer.call("dm:join_conversation", &json!({ "conversationId": "user_u1_a1" })).await;
    assert_eq!(joined["unreadCount"], 2, "{joined}");
    let read = astrologer.call("dm:mark_read", &json!({ "conversationId": "user_u1_a1" })).await;
    assert_eq!(read["messageIds"].as_array().map(Vec::len), Some(2), "what was read long ago is not read again: {read}");
    program.kill();
    place.done_with().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_found_and_put_right_on_sqlite() {
    let place = Place::embedded();
    furnish(&place).await;
    assert!(place.done(&["verify"]).contains("1 conversations looked at, 0 wrong"));
    spoil(&place);
    what_is_wrong_is_found_and_put_right(place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_found_and_put_right_on_mongodb() {
    let place = Place::mongodb();
    old_documents(&place).await;
    what_is_wrong_is_found_and_put_right(place).await;
}

/// The two sums a copy printed.
fn sums(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.starts_with("sha256")).filter_map(|line| line.split_whitespace().last()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_to_mongodb_and_back_and_is_the_same() {
    let (place, there, back) = (Place::embedded(), Place::mongodb(), Place::embedded());
    furnish(&place).await;
    let (uri, database) = there.mongo.clone().expect("a database");
    let address = address_of(&uri, &database);
    let first = place.done(&["copy", "--to", &address]);
    assert!(first.contains("1 conversations (1 copied now") && first.contains("8 messages, 2 calls"), "{first}");
    let again = place.done(&["copy", "--to", &address]);
    assert!(again.contains("(0 copied now"), "what is there is passed over: {again}");
    assert!(there.done(&["verify"]).contains("1 conversations looked at, 0 wrong"));
    // As if it had been broken off in the middle.
    let client = ::mongodb::Client::with_uri_str(&uri).await.expect("a usable URI");
    let messages = client.database(&database).collection::<Document>("directmessages");
    assert_eq!(messages.delete_one(doc! { "content": "message 4" }).await.expect("deleted").deleted_count, 1);
    let resumed = place.done(&["copy", "--to", &address]);
    assert!(resumed.contains("(1 copied now"), "{resumed}");
    let home = there.done(&["copy", "--to", back.folder.path().to_str().expect("text")]);
    let all = [first.as_str(), &again, &resumed, &home].map(sums).concat();
    assert!(all.len() == 8 && all.iter().all(|sum| *sum == all[0] && sum.len() == 64), "{all:?}");
    // And both go on as servers.
    for place in [&there, &back] {
        let program = place.serve();
        let mut astrologer = Client::connect(&program.url, &token(ParticipantKind::Astrologer, "a1")).await;
        let joined = astrologer.call("dm:join_conversation", &json!({ "conversationId": "our_chat" })).await;
        assert_eq!((&joined["ok"], &joined["unreadCount"]), (&json!(true), &json!(2)), "{joined}");
        let mut user = Client::connect(&program.url, &token(ParticipantKind::User, "u1")).await;
        let repeated = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": "message 1", "clientMessageId": "m1" });
        user.call("dm:send_message", &repeated).await;
        let page = user.call("dm:history", &json!({ "conversationId": "user_u1_a1" })).await;
        assert_eq!(page["messages"].as_array().map(Vec::len), Some(7), "a repeat is known there: {page}");
        program.kill();
    }
    let said = place.command(&["copy", "--to", place.folder.path().to_str().expect("text")]);
    assert!(!said.ok && said.err.contains("into itself"), "{}", said.err);
    there.done_with().await;
}

/// The address of a database.
fn address_of(uri: &str, database: &str) -> String {
    let (host, query) = uri.split_once('?').unwrap_or((uri, ""));
    let host = host.trim_end_matches('/');
    if query.is_empty() { format!("{host}/{database}") } else { format!("{host}/{database}?{query}") }
}

async fn walking_returns_everything_once_in_order_and_names_can_be_taken_out(store: Arc<dyn Store>) {
    let server = crate::support::server::TestServer::start(Arc::clone(&store)).await;
    let (mut user, mut other) = (server.user("u1").await, server.user("u2").await);
    for n in 0..5 {
        for client in [&mut user, &mut other] {
            let message = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": format!("message {n}") });
            assert_eq!(client.call("dm:send_message", &message).await["ok"], true);
        }
    }
    let first = store.walk_conversations(None, 1).await.expect("walked");
    let second = store.walk_conversations(Some(first[0].handle.id), 10).await.expect("walked");
    assert_eq!((first.len(), second.len()), (1, 1));
    assert!(store.walk_conversations(Some(second[0].handle.id), 10).await.expect("walked").is_empty());
    let head = store.walk_messages(&first[0].handle, None, 3).await.expect("walked");
    let tail = store.walk_messages(&first[0].handle, Some(head[2].id), 10).await.expect("walked");
    assert_eq!((head.len(), tail.len()), (3, 2));
    let texts: Vec<&str> = head.iter().chain(&tail).map(|message| message.content.as_str()).collect();
    assert_eq!(texts, ["message 0", "message 1", "message 2", "message 3", "message 4"]);
    let person = head[0].sender.clone();
    assert!(head[0].sender_profile.name.is_some());
    store.erase_names(&person).await.expect("erased");
    store.erase_names(&person).await.expect("and again");
    let of =
        |conversation: &samvad::models::Conversation| conversation.members.iter().map(|m| m.profile.name.is_some()).collect::<Vec<_>>();
    let after = store.walk_messages(&first[0].handle, None, 10).await.expect("walked");
    assert!(after.iter().all(|message| message.sender_profile.name.is_none() && message.content.starts_with("message")));
    let found = store.find_conversation(&Lookup::Id(first[0].handle.id)).await.expect("asked").expect("there");
    assert!(found.members.iter().find(|m| m.participant == person).is_some_and(|m| m.profile.name.is_none()), "{found:?}");
    let others = store.walk_messages(&second[0].handle, None, 10).await.expect("walked");
    assert!(others.iter().all(|message| message.sender_profile.name.is_some()), "nobody else's");
    assert!(of(&second[0]).iter().any(|named| *named));
    server.stop().await;
}

on_every_driver!(walking_returns_everything_once_in_order_and_names_can_be_taken_out);

#[test]
fn only_a_folder_or_a_named_database_can_be_copied_to() {
    let place = Place::embedded();
    let said =
        place.command(&["copy", "--to", &stores::mongo_uri().split_once('?').map_or_else(stores::mongo_uri, |(uri, _)| uri.to_owned())]);
    assert!(!said.ok && said.err.contains("must name the database"), "{}{}", said.out, said.err);
}

/// The command in a script for mongosh, which is JSON.
fn command_of(script: &str) -> Document {
    let begin = script.find("db.runCommand(").expect("a command") + "db.runCommand(".len();
    let end = script.rfind(");").expect("its end");
    let value: Value = serde_json::from_str(&script[begin..end]).expect("JSON");
    bson::serialize_to_document(&value).expect("a document")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_back_leaves_texts_and_coming_again_reads_them() {
    let place = Place::mongodb();
    furnish(&place).await;
    let (uri, name) = place.mongo.clone().expect("a database");
    let database = ::mongodb::Client::with_uri_str(&uri).await.expect("a usable URI").database(&name);
    let command = command_of(include_str!("../../scripts/rollback-last-message.js"));
    for changed in [1, 0] {
        let answer = database.run_command(command.clone()).await.expect("it runs");
        assert_eq!(answer.get_i32("nModified").ok(), Some(changed), "{answer}");
    }
    let conversation = database.collection::<Document>("directconversations").find_one(doc! {}).await.expect("asked").expect("there");
    let text = conversation.get_str("lastMessage").expect("a text, as the Node backend keeps it").to_owned();
    assert!(text.starts_with("Video call"), "{conversation}");
    assert!(place.done(&["verify"]).contains("0 wrong"), "both forms are read");
    let program = place.serve();
    let mut user = Client::connect(&program.url, &token(ParticipantKind::User, "u1")).await;
    let message = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": "here again" });
    assert_eq!(user.call("dm:send_message", &message).await["ok"], true);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    program.kill();
    let conversation = database.collection::<Document>("directconversations").find_one(doc! {}).await.expect("asked").expect("there");
    let last = conversation.get_document("lastMessage").expect("an object again");
    assert_eq!(last.get_str("content").ok(), Some("here again"));
    place.done_with().await;
}
