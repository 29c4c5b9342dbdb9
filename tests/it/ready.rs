//! What `/ready` tells whoever looks after the server: that no traffic is to come, and what kind of failure it is, without names and addresses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use samvad::store::Store;
use samvad::store::mongo::MongoStore;
use samvad::store::sqlite::{OpenOptions, SqliteStore};
use serde_json::json;

use crate::support::http::{Answer, get, local};
use crate::support::proxy::Proxy;
use crate::support::server::TestServer;
use crate::support::stores;

async fn ready(server: &TestServer) -> Answer {
    get(&server.url, local(1), "/ready", &[]).await
}

/// A 503 with these words, while the process lives.
async fn says_no_because(server: &TestServer, why: &str) {
    let answer = ready(server).await;
    let body = json!({
        "success": false,
        "code": "UNAVAILABLE",
        "message": format!("the store does not take writes: {why}"),
        "retryable": true,
    });
    assert_eq!((answer.status, answer.json()), (503, body));
    assert!(answer.header("retry-after").is_some() && !answer.body.contains("127.0.0.1"), "{}", answer.body);
    assert_eq!(get(&server.url, local(1), "/health", &[]).await.status, 200);
}

fn saying(text: &str) -> serde_json::Value {
    json!({ "recipientId": "a1", "recipientType": "astrologer", "content": text })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = OpenOptions { max_pages: Some(160), ..OpenOptions::new(folder.path()) };
    let server = TestServer::start(Arc::new(SqliteStore::open_with(options).expect("opens"))).await;
    assert_eq!(ready(&server).await.status, 200);
    let mut user = server.user("u1").await;
    let text = "x".repeat(3_000);
    let deadline = Instant::now() + Duration::from_secs(30);
    while user.call("dm:send_message", &saying(&text)).await["ok"] == true {
        assert!(Instant::now() < deadline, "it is never full");
    }
    // What was known half a second ago counts.
    tokio::time::sleep(Duration::from_millis(600)).await;
    says_no_because(&server, "the disk is full").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_never_there_is_not_prepared() {
    let store = MongoStore::connect("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300", "samvad").await.expect("starts all the same");
    let server = TestServer::start(Arc::new(store)).await;
    says_no_because(&server, "the database is not prepared yet").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_away_is_named_until_it_is_back() {
    let uri = stores::mongo_uri();
    let (proxy, database) = (Proxy::start(&uri).await, stores::fresh_database());
    let store: Arc<dyn Store> = Arc::new(MongoStore::connect(&proxy.uri(&uri), &database).await.expect("a usable URI"));
    store.check_writable().await.expect("ready");
    let server = TestServer::start(store).await;
    let mut user = server.user("u1").await;
    proxy.swallow("insert", "directmessages");
    assert_eq!(user.call("dm:send_message", &saying("lost")).await["code"], "UNAVAILABLE");
    proxy.swallowed().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    says_no_because(&server, "no server of the database can be reached").await;
    proxy.heal();
    let deadline = Instant::now() + Duration::from_secs(20);
    while ready(&server).await.status != 200 {
        assert!(Instant::now() < deadline, "it never came back");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    server.stop().await;
    stores::drop_database(&database).await;
}
