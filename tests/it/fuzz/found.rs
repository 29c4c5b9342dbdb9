//! What the fuzzers have found, each input as a test of its own.

use samvad::models::{ConversationKey, Pair, Timestamp};

use crate::support::http::{local, send};
use crate::support::people::{astrologer, user};
use crate::support::server::{ADMIN_KEY, TestServer};
use crate::support::stores;

/// Group `ids`: `user_astrologer_user` was the key of two users and of a user and an astrologer.
#[test]
fn the_key_of_two_users_never_names_a_user_and_an_astrologer() {
    let users = Pair::new(user("x"), user("y")).expect("two people").key();
    assert_eq!(users.pair(), None);
    assert_ne!(users, Pair::new(user("x"), astrologer("y")).expect("two people").key());
    assert!(ConversationKey::parse(users.as_str()).is_some());
}

/// Group `ids`: a moment before the year 0 was printed as `-001-12-31…`, which nobody reads.
#[test]
fn a_moment_before_the_year_zero_is_printed_as_no_other_text_than_can_be_read() {
    for millis in [-62_167_219_200_001, i64::MIN, i64::MAX] {
        assert_eq!(Timestamp::from_millis(millis).to_string(), "1970-01-01T00:00:00.000Z");
    }
    assert_eq!(Timestamp::from_millis(-62_167_219_200_000).to_string(), "0000-01-01T00:00:00.000Z");
}

/// Group `rest`: the library refused such a path in words of its own, without the envelope.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_no_text_is_refused_in_the_envelope() {
    let (store, _folder) = stores::sqlite();
    let server = TestServer::start(store).await;
    for (method, path) in [
        ("GET", "/api/conversations/%FF/messages"),
        ("POST", "/api/conversations/%C3%28/messages"),
        ("GET", "/api/conversations/%FF"),
        ("GET", "/api/admin/conversations/%ED%A0%80"),
        ("POST", "/api/calls/%FF/end"),
    ] {
        let answer = send(&server.url, local(1), method, path, &[("x-admin-key", ADMIN_KEY)], "{}").await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("INVALID_ID")), "{path}: {answer:?}");
    }
    server.stop().await;
}
