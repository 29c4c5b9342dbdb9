//! What only the embedded store can promise.

use std::time::Duration;

use futures_util::FutureExt;
use samvad::store::sqlite::{OpenError, OpenOptions, SqliteStore};

use super::*;

#[tokio::test]
async fn reopening_the_file_finds_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).unwrap());
    let (conversation, messages) = ten_messages(&store).await;
    let new = with_client_id("c1", say_at(&conversation, &asker, "far ahead", 90_000));
    let newest = send(&store, new.clone()).await;
    store.mark_read(read_ids(&conversation, &expert, [messages[0].id])).await.unwrap();
    let before = reload(&store, &conversation).await;
    store.close().await;
    drop(store);

    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).unwrap());
    assert_eq!(reload(&store, &conversation).await, before);
    assert_eq!(before.unread_of(&expert), 10);
    assert_eq!(store.messages(latest(&conversation, &asker)).await.unwrap().items.len(), 11);
    assert_eq!(store.send_message(new).await.unwrap().message, newest);
    let next = send(&store, say_at(&conversation, &asker, "the clock was set back", -90_000)).await;
    assert!(next.id > newest.id && next.created_at >= newest.created_at);
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 11);
}

#[tokio::test]
async fn a_folder_is_used_by_one_store_at_a_time() {
    let (store, folder) = stores::sqlite();
    let path = folder.path().to_owned();
    let second = tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await.unwrap();
    let Err(error @ OpenError::InUse { .. }) = second else { panic!("a second store opened the same folder") };
    assert_eq!(error.to_string(), format!("another server uses {}", folder.path().display()));
    store.close().await;
    SqliteStore::open(folder.path()).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn the_folder_it_makes_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/data");
    SqliteStore::open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(path.join("samvad.db").exists());
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_reads_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions { max_pages: Some(64), ..OpenOptions::new(folder.path()) };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open_with(options).unwrap());
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    let text = "x".repeat(3_000);
    let mut stored = 0;
    let refused = loop {
        match store.send_message(say(&conversation, &user("u1"), &text)).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "64 pages do not hold a hundred messages");
    };
    assert_eq!(refused.code(), "UNAVAILABLE");
    assert!(stored > 10);
    assert_eq!(store.check_writable().await.unwrap_err().code(), "UNAVAILABLE");
    assert_eq!(store.messages(latest(&conversation, &user("u1"))).await.unwrap().items.len(), stored);
    let now = reload(&store, &conversation).await;
    assert_eq!(now.unread_of(&astrologer("a1")) as usize, stored, "the refused message left no trace");
}

#[tokio::test]
async fn a_full_queue_is_overloaded_and_what_waits_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions { queue_len: 8, ..OpenOptions::new(folder.path()) };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open_with(options).unwrap());
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    // Another writer makes ours wait in the middle of its work.
    let blocker = rusqlite::Connection::open(folder.path().join("samvad.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut waiting = Vec::new();
    let refused = loop {
        let mut call = store.send_message(say(&conversation, &user("u1"), &waiting.len().to_string()));
        match (&mut call).now_or_never() {
            Some(result) => break result.unwrap_err(),
            None => waiting.push(call),
        }
        assert!(waiting.len() < 5_000, "the queue has no end");
    };
    assert_eq!(refused.code(), "OVERLOADED");
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
    assert!(reload(&store, &conversation).await.last_message.is_none(), "reads do not wait for the writer");
    blocker.execute_batch("ROLLBACK").unwrap();
    let count = waiting.len();
    for (n, call) in waiting.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().message.content, n.to_string());
    }
    assert_eq!(reload(&store, &conversation).await.unread_of(&astrologer("a1")) as usize, count);
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = rusqlite::Connection::open(folder.path().join("samvad.db")).unwrap();
    file.execute_batch("PRAGMA user_version = 99").unwrap();
    let Err(error) = SqliteStore::open(folder.path()) else { panic!("it was opened") };
    assert!(error.to_string().contains("version 99"), "{error}");
}

/// `cargo test --release -- --ignored --nocapture sends_per_second`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn sends_per_second() {
    for senders in [1, 64, 512] {
        let (store, _folder) = stores::sqlite();
        let mut conversations = Vec::new();
        for n in 0..300 {
            conversations.push(open(&store, &user(&format!("u{n}")), &astrologer("a1")).await);
        }
        let conversations = Arc::new(conversations);
        let started = std::time::Instant::now();
        let tasks = (0..senders).map(|sender| {
            let (store, conversations) = (store.clone(), conversations.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while started.elapsed() < Duration::from_secs(4) {
                    let n = (sender * 31 + latencies.len() * 7) % 300;
                    let id = format!("{:032x}", rand::random::<u128>());
                    let new = with_client_id(&id, say(&conversations[n], &user(&format!("u{n}")), &"word ".repeat(20)));
                    let sent = std::time::Instant::now();
                    store.send_message(new).await.unwrap();
                    latencies.push(sent.elapsed());
                }
                latencies
            })
        });
        let mut latencies: Vec<Duration> = join_all(tasks).await.into_iter().flat_map(|task| task.unwrap()).collect();
        let rate = latencies.len() as f64 / started.elapsed().as_secs_f64();
        latencies.sort_unstable();
        let (p50, p99) = (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100]);
        println!("{senders} senders: {rate:.0} messages/s, p50 {p50:.1?}, p99 {p99:.1?}");
    }
}

#[test]
fn an_embedded_store_says_what_it_is() {
    assert_eq!(tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async { stores::sqlite().0.engine() }), "sqlite");
}
