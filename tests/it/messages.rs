//! Messages through the whole house, on both stores: who hears what, and in which order.

use std::sync::Arc;

use samvad::models::ParticipantKind;
use samvad::store::Store;
use serde_json::json;

use crate::support::http::request;
use crate::support::server::TestServer;
use crate::support::stores;

async fn a_message_is_heard_once_by_everybody_it_concerns(store: Arc<dyn Store>) {
    let server = TestServer::start(store).await;
    let (mut astrologer, mut phone, mut admin) = (server.astrologer("a1").await, server.astrologer("a1").await, server.admin().await);
    let joined = astrologer.call("dm:join_conversation", &json!({ "conversationId": "admin_a1" })).await;
    assert_eq!((&joined["ok"], &joined["conversationKey"]), (&json!(true), &json!("admin_a1")));

    let sent = admin.call("dm:send_message", &json!({ "conversationId": "admin_a1", "content": "namaste" })).await;

    let id = &sent["message"]["_id"];
    assert!(id.is_string(), "{sent}");
    assert_eq!(&astrologer.expect("dm:message_received").await["_id"], id);
    assert_eq!(&phone.expect("dm:new_message").await["_id"], id);
    assert_eq!(&admin.expect("dm:message_sent").await["_id"], id);
    assert_eq!(&admin.expect("dm:messages_delivered").await["messageIds"], &json!([id]));
    let again = astrologer.heard_so_far().await;
    let is_other = |name: &str| ["dm:joined", "presence:changed"].contains(&name);
    assert!(again.iter().all(|(name, _)| is_other(name)), "nothing comes twice: {again:?}");
    server.stop().await;
}

async fn what_is_stored_first_is_heard_first_whoever_sent_it(store: Arc<dyn Store>) {
    let server = TestServer::start(store).await;
    let mut listener = server.admin().await;
    listener.call("dm:join_conversation", &json!({ "conversationId": "admin_a1" })).await;
    let mut senders = Vec::new();
    for _ in 0..4 {
        let mut sender = server.astrologer("a1").await;
        senders.push(tokio::spawn(async move {
            let mut asked = Vec::new();
            for number in 0..50 {
                asked.push(sender.ask("dm:send_message", &json!({ "recipientType": "admin", "content": format!("{number}") })).await);
            }
            for id in asked {
                assert_eq!(sender.answer(id).await["ok"], true);
            }
        }));
    }
    let mut heard = Vec::new();
    for _ in 0..200 {
        heard.push(listener.expect("dm:message_received").await["_id"].as_str().expect("an id").to_owned());
    }
    for sender in senders {
        sender.await.expect("every send is acknowledged");
    }
    let page = listener.call("dm:sync", &json!({ "conversationId": "admin_a1", "limit": 200 })).await;
    let stored: Vec<_> = page["messages"].as_array().expect("a list").iter().map(|m| m["_id"].as_str().expect("an id")).collect();
    assert_eq!(heard, stored, "the order heard is the order stored");
    server.stop().await;
}

mod sqlite {
    use super::stores;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_message_is_heard_once_by_everybody_it_concerns() {
        let (store, _folder) = stores::sqlite();
        super::a_message_is_heard_once_by_everybody_it_concerns(store).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_stored_first_is_heard_first_whoever_sent_it() {
        let (store, _folder) = stores::sqlite();
        super::what_is_stored_first_is_heard_first_whoever_sent_it(store).await;
    }
}

mod mongodb {
    use super::stores;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_message_is_heard_once_by_everybody_it_concerns() {
        let database = stores::fresh_database();
        super::a_message_is_heard_once_by_everybody_it_concerns(stores::mongodb(&database).await).await;
        stores::drop_database(&database).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_stored_first_is_heard_first_whoever_sent_it() {
        let database = stores::fresh_database();
        super::what_is_stored_first_is_heard_first_whoever_sent_it(stores::mongodb(&database).await).await;
        stores::drop_database(&database).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_beyond_every_end_is_empty_and_a_path_that_is_no_text_names_nothing() {
    let database = stores::fresh_database();
    let (sqlite, _folder) = stores::sqlite();
    for store in [sqlite, stores::mongodb(&database).await] {
        let server = TestServer::start(store).await;
        let token = server.token(ParticipantKind::User, "u1");
        let get = async |path: &str| request(&server.url, "GET", path, Some(&token), None).await;
        let sent = request(&server.url, "POST", "/api/conversations/admin/messages", Some(&token), Some(&json!({ "content": "x" }))).await;
        assert_eq!(sent.0, 201, "{}", sent.1);
        for path in ["/api/conversations/admin/messages", "/api/conversations", "/api/calls/history"] {
            for page in [i64::MAX as u64 / 100, i64::MAX as u64, u64::MAX] {
                let (status, answer) = get(&format!("{path}?page={page}&limit=100")).await;
                assert_eq!((status, &answer["data"]), (200, &json!([])), "{path} {page}: {answer}");
            }
        }
        for path in ["/api/conversations/%FF", "/api/conversations/%FF/messages", "/api/calls/%FF"] {
            let (status, answer) = get(path).await;
            assert_eq!((status, &answer["code"]), (400, &json!("INVALID_ID")), "{path}: {answer}");
        }
        server.stop().await;
    }
    stores::drop_database(&database).await;
}
