//! Pages of messages and their cursors.

use super::*;

on_every_driver!(
    latest_leaves_out_the_newest_asked_to_skip,
    pages_before_and_after_a_message_tell_whether_there_are_more,
    a_deleted_message_still_serves_as_cursor,
    a_cursor_of_another_conversation_is_not_found,
    a_page_holds_no_more_than_the_limit_of_the_store,
    counting_stops_at_the_cap_and_leaves_out_what_the_viewer_may_not_see,
);

async fn latest_leaves_out_the_newest_asked_to_skip(store: Arc<dyn Store>) {
    let (conversation, messages) = ten_messages(&store).await;
    store.hide_message(delete(&conversation, &messages[9], &user("u1"))).await.unwrap();
    let query = |skip, limit| MessageQuery { range: Range::Latest { skip }, limit, ..latest(&conversation, &user("u1")) };
    for (skip, limit, expected, more) in
        [(0, 3, vec!["6", "7", "8"], true), (2, 3, vec!["4", "5", "6"], true), (6, 3, vec!["0", "1", "2"], false), (9, 3, vec![], false)]
    {
        let page = store.messages(query(skip, limit)).await.unwrap();
        assert_eq!((contents(&page.items), page.has_more), (expected.into_iter().map(String::from).collect(), more), "skip {skip}");
    }
}

async fn pages_before_and_after_a_message_tell_whether_there_are_more(store: Arc<dyn Store>) {
    let (conversation, messages) = ten_messages(&store).await;
    let id = |n: usize| messages[n].id;
    for (range, expected, more) in [
        (Range::Before(id(5)), vec!["2", "3", "4"], true),
        (Range::Before(id(3)), vec!["0", "1", "2"], false),
        (Range::Before(id(0)), vec![], false),
        (Range::After(id(4)), vec!["5", "6", "7"], true),
        (Range::After(id(6)), vec!["7", "8", "9"], false),
        (Range::After(id(9)), vec![], false),
    ] {
        let page = store.messages(MessageQuery { range, limit: 3, ..latest(&conversation, &astrologer("a1")) }).await.unwrap();
        assert_eq!((contents(&page.items), page.has_more), (expected.into_iter().map(String::from).collect(), more), "{range:?}");
    }
}

async fn a_deleted_message_still_serves_as_cursor(store: Arc<dyn Store>) {
    let (conversation, messages) = ten_messages(&store).await;
    let viewer = user("u1");
    store.hide_message(delete(&conversation, &messages[4], &viewer)).await.unwrap();
    store.delete_message(delete(&conversation, &messages[6], &viewer)).await.unwrap();
    for (range, expected) in [
        (Range::After(messages[4].id), ["5", "7"]),
        (Range::Before(messages[4].id), ["2", "3"]),
        (Range::After(messages[6].id), ["7", "8"]),
        (Range::Before(messages[6].id), ["3", "5"]),
    ] {
        let page = store.messages(MessageQuery { range, limit: 2, ..latest(&conversation, &viewer) }).await.unwrap();
        assert_eq!(contents(&page.items), expected, "{range:?}");
        assert!(page.has_more);
    }
}

async fn a_cursor_of_another_conversation_is_not_found(store: Arc<dyn Store>) {
    let (conversation, _) = ten_messages(&store).await;
    let elsewhere = open(&store, &user("u1"), &astrologer("a2")).await;
    let foreign = send(&store, say(&elsewhere, &user("u1"), "elsewhere")).await;
    for cursor in [foreign.id, MessageId::parse("690000000000000000000005").unwrap()] {
        for range in [Range::Before(cursor), Range::After(cursor)] {
            let refused = store.messages(MessageQuery { range, ..latest(&conversation, &user("u1")) }).await.unwrap_err();
            assert_eq!(refused.code(), "MESSAGE_NOT_FOUND", "{range:?}");
        }
    }
}

async fn a_page_holds_no_more_than_the_limit_of_the_store(store: Arc<dyn Store>) {
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    let sends: Vec<_> = (0..=MAX_PAGE).map(|n| store.send_message(say(&conversation, &user("u1"), &n.to_string()))).collect();
    for sent in join_all(sends).await {
        sent.unwrap();
    }
    let page = store.messages(MessageQuery { limit: 10_000, ..latest(&conversation, &user("u1")) }).await.unwrap();
    assert_eq!((page.items.len(), page.has_more), (MAX_PAGE, true));
    assert_eq!(page.items[0].content, "1");
}

async fn counting_stops_at_the_cap_and_leaves_out_what_the_viewer_may_not_see(store: Arc<dyn Store>) {
    let (conversation, messages) = ten_messages(&store).await;
    let (viewer, other) = (user("u1"), astrologer("a1"));
    store.hide_message(delete(&conversation, &messages[0], &viewer)).await.unwrap();
    store.delete_message(delete(&conversation, &messages[1], &viewer)).await.unwrap();
    // The fifth has four before it, of which one sees two and the other three.
    let fifth = Some(messages[4].id);
    let cases = [
        (&viewer, None, 100, 8),
        (&viewer, None, 8, 8),
        (&viewer, None, 5, 5),
        (&other, None, 100, 9),
        (&viewer, fifth, 100, 2),
        (&other, fifth, 100, 3),
        (&other, fifth, 1, 1),
        (&other, fifth, 0, 0),
        (&other, Some(messages[1].id), 100, 1),
    ];
    for (person, before, cap, expected) in cases {
        let count = store.count_messages(&conversation.handle, &conversation.person_key(person), before, cap).await.unwrap();
        assert_eq!(count, expected, "{person} before {before:?} up to {cap}");
    }
    let stranger = open(&store, &user("u2"), &astrologer("a1")).await;
    let elsewhere = store.count_messages(&stranger.handle, &stranger.person_key(&other), fifth, 100).await;
    assert_eq!(elsewhere.unwrap_err().code(), "MESSAGE_NOT_FOUND");
}
