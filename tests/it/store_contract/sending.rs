//! Sending: what is stored, repeats, ids, times and order.

use super::*;

on_every_driver!(
    a_message_is_stored_as_it_was_sent,
    a_send_makes_the_message_the_latest_and_counts_it,
    a_repeat_with_the_same_client_id_returns_the_first_message,
    a_repeat_of_a_deleted_message_returns_it,
    repeats_at_the_same_moment_store_one_message,
    a_client_id_belongs_to_its_sender_kind_and_id_together,
    a_client_id_used_for_anything_else_is_a_conflict,
    ids_and_times_never_go_backwards_under_concurrent_sends,
    time_never_goes_backwards_when_the_callers_clock_does,
    the_order_is_that_of_the_calls_not_of_the_awaits,
    results_of_a_conversation_become_ready_in_order,
);

async fn a_message_is_stored_as_it_was_sent(store: Arc<dyn Store>) {
    let conversation = open(&store, &admin("ops7"), &user("u1")).await;
    let first = send(&store, say(&conversation, &user("u1"), "नमस्ते \u{200d} 👋\nline two")).await;
    let full = NewMessage {
        sender_profile: profile("Ops", "https://x/o.png"),
        message_type: MessageType::Audio,
        media: Media {
            url: Some("https://x/a.ogg".into()),
            size_bytes: Some(5_000_000_000),
            duration_seconds: Some(2.5),
            thumbnail_url: Some("https://x/t.png".into()),
        },
        reply_to: Some(first.id),
        client_message_id: Some("c-1".into()),
        ..say(&conversation, &admin("ops7"), "")
    };
    let call = NewMessage {
        message_type: MessageType::CallLog,
        call: Some(CallLog {
            call_type: Some("video".into()),
            call_status: Some("completed".into()),
            call_duration: Some(61),
            call_id: Some("690000000000000000000005".into()),
        }),
        recipient: admin("ops8"),
        ..say(&conversation, &user("u1"), "")
    };
    for new in [full, call] {
        let sent = store.send_message(new.clone()).await.unwrap();
        assert!(sent.fresh);
        let (id, created_at) = (sent.message.id, sent.message.created_at);
        assert!(id > first.id && created_at >= new.at);
        assert_eq!(sent.message, new.into_message(id, created_at));
        assert_eq!(store.find_message(id).await.unwrap(), Some(sent.message));
    }
    assert_eq!(store.find_message(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(texts(&store, &conversation, &user("u1")).await[0], first.content);
}

async fn a_send_makes_the_message_the_latest_and_counts_it(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    send(&store, say_at(&conversation, &asker, "one", 10)).await;
    let last = send(&store, say_at(&conversation, &asker, "two", 20)).await;
    let now = reload(&store, &conversation).await;
    assert_eq!((now.unread_of(&asker), now.unread_of(&expert)), (0, 2));
    let shown = now.last_message.as_ref().unwrap();
    assert_eq!((shown.message_id, shown.content.as_str(), shown.message_type), (Some(last.id), "two", MessageType::Text));
    assert_eq!((shown.sender.as_ref(), shown.at), (Some(&asker), Some(last.created_at)));
    assert_eq!((now.last_message_at, now.created_at), (last.created_at, conversation.created_at));
    assert!(now.updated_at >= last.created_at);
}

async fn a_repeat_with_the_same_client_id_returns_the_first_message(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let new = with_client_id("c1", say_at(&conversation, &asker, "hello", 1));
    let first = send(&store, new.clone()).await;
    send(&store, say_at(&conversation, &asker, "later", 2)).await;
    store.mark_read(read_ids(&conversation, &expert, [first.id])).await.unwrap();
    let (before, stored) = (reload(&store, &conversation).await, store.find_message(first.id).await.unwrap().unwrap());
    let repeat = store.send_message(NewMessage { at: at(99), ..new }).await.unwrap();
    assert!(!repeat.fresh);
    assert_eq!(repeat.message, stored);
    assert_eq!(repeat.message.status, MessageStatus::Read);
    assert_eq!(reload(&store, &conversation).await, before, "a repeat changes nothing");
    assert_eq!(texts(&store, &conversation, &asker).await, ["hello", "later"]);
}

async fn a_repeat_of_a_deleted_message_returns_it(store: Arc<dyn Store>) {
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    let new = with_client_id("c1", say(&conversation, &user("u1"), "regretted"));
    let first = send(&store, new.clone()).await;
    let deleted = store.delete_message(delete(&conversation, &first, &user("u1"))).await.unwrap().unwrap();
    let repeat = store.send_message(new).await.unwrap();
    assert!(!repeat.fresh);
    assert_eq!(repeat.message, deleted);
    assert_eq!(texts(&store, &conversation, &user("u1")).await.len(), 0);
}

async fn repeats_at_the_same_moment_store_one_message(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let new = with_client_id("c1", say(&conversation, &asker, "hello"));
    let sends = (0..20).map(|_| tokio::spawn(store.send_message(new.clone())));
    let sent: Vec<_> = join_all(sends).await.into_iter().map(|send| send.unwrap().unwrap()).collect();
    assert_eq!(sent.iter().filter(|s| s.fresh).count(), 1);
    assert_eq!(sent.iter().map(|s| s.message.id).collect::<HashSet<_>>().len(), 1);
    assert_eq!(texts(&store, &conversation, &asker).await, ["hello"]);
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 1);
}

async fn a_client_id_belongs_to_its_sender_kind_and_id_together(store: Arc<dyn Store>) {
    let same_ids = open(&store, &user("5"), &astrologer("5")).await;
    let admins = open(&store, &admin("admin"), &user("5")).await;
    let mut ids = HashSet::new();
    for (conversation, sender) in [
        (&same_ids, user("5")),
        (&same_ids, astrologer("5")),
        (&admins, Participant::shared_admin()),
        (&admins, admin("ops7")),
        (&admins, admin("ops8")),
    ] {
        ids.insert(send(&store, with_client_id("c1", say(conversation, &sender, "same text"))).await.id);
    }
    assert_eq!(ids.len(), 5);
}

async fn a_client_id_used_for_anything_else_is_a_conflict(store: Arc<dyn Store>) {
    let sender = user("u1");
    let conversation = open(&store, &sender, &astrologer("a1")).await;
    let elsewhere = open(&store, &sender, &astrologer("a2")).await;
    let new = NewMessage { message_type: MessageType::Image, ..with_client_id("c1", say(&conversation, &sender, "look")) };
    let new = NewMessage { media: Media { url: Some("https://x/1.png".into()), ..Media::default() }, ..new };
    let first = send(&store, new.clone()).await;
    let before = [reload(&store, &conversation).await, reload(&store, &elsewhere).await];
    for other in [
        NewMessage { content: "look!".into(), ..new.clone() },
        NewMessage { media: Media { url: Some("https://x/2.png".into()), ..Media::default() }, ..new.clone() },
        NewMessage { message_type: MessageType::File, ..new.clone() },
        NewMessage { conversation: elsewhere.handle.clone(), recipient: astrologer("a2"), recipient_key: "a2".into(), ..new },
    ] {
        let refused = store.send_message(other.clone()).await.unwrap_err();
        assert_eq!(refused.code(), "CONFLICT", "{other:?}");
    }
    assert_eq!(store.find_message(first.id).await.unwrap(), Some(first));
    assert_eq!([reload(&store, &conversation).await, reload(&store, &elsewhere).await], before);
}

async fn ids_and_times_never_go_backwards_under_concurrent_sends(store: Arc<dyn Store>) {
    const SENDERS: usize = 10;
    const EACH: usize = 50;
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let senders = (0..SENDERS).map(|sender| {
        let (store, conversation) = (store.clone(), conversation.clone());
        let person = if sender % 2 == 0 { asker.clone() } else { expert.clone() };
        tokio::spawn(async move {
            for n in 0..EACH {
                // Callers' clocks differ by a little.
                let text = format!("{sender} {n}");
                send(&store, say_at(&conversation, &person, &text, (n * 7 + sender * 13) as i64 % 40)).await;
            }
        })
    });
    join_all(senders).await.into_iter().for_each(|sender| sender.unwrap());

    let mut all = Vec::new();
    let mut range = Range::Latest { skip: 0 };
    loop {
        let page = store.messages(MessageQuery { range, ..latest(&conversation, &asker) }).await.unwrap();
        range = Range::Before(page.items[0].id);
        all.splice(0..0, page.items);
        if !page.has_more {
            break;
        }
    }
    assert_eq!(all.len(), SENDERS * EACH);
    for pair in all.windows(2) {
        assert!(pair[0].id < pair[1].id && pair[0].created_at <= pair[1].created_at, "{pair:?}");
    }
    for sender in 0..SENDERS {
        let own = all.iter().filter_map(|m| m.content.strip_prefix(&format!("{sender} ")));
        assert!(own.eq((0..EACH).map(|n| n.to_string())), "sender {sender} finds own messages in the order of sending");
    }
    let now = reload(&store, &conversation).await;
    assert_eq!((now.unread_of(&asker), now.unread_of(&expert)), (250, 250));
    assert_eq!(now.last_message.unwrap().message_id, all.last().map(|m| m.id));
}

async fn time_never_goes_backwards_when_the_callers_clock_does(store: Arc<dyn Store>) {
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    let mut last = send(&store, say_at(&conversation, &user("u1"), "now", 50_000)).await;
    assert_eq!(last.created_at, at(50_000));
    for (n, offset) in [20_000, -90_000, 50_000].into_iter().enumerate() {
        let next = send(&store, say_at(&conversation, &astrologer("a1"), &format!("{n}"), offset)).await;
        assert!(next.id > last.id);
        assert_eq!(next.created_at, at(50_000));
        last = next;
    }
    assert_eq!(texts(&store, &conversation, &user("u1")).await, ["now", "0", "1", "2"]);
    assert_eq!(reload(&store, &conversation).await.last_message.unwrap().content, "2");
}

async fn the_order_is_that_of_the_calls_not_of_the_awaits(store: Arc<dyn Store>) {
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    let calls: Vec<_> = (0..30).map(|n| store.send_message(say(&conversation, &user("u1"), &n.to_string()))).collect();
    for call in calls.into_iter().rev() {
        call.await.unwrap();
    }
    assert!(texts(&store, &conversation, &user("u1")).await.into_iter().eq((0..30).map(|n| n.to_string())));
}

async fn results_of_a_conversation_become_ready_in_order(store: Arc<dyn Store>) {
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    let mut calls: Vec<_> = (0..60).map(|n| Some(store.send_message(say(&conversation, &user("u1"), &n.to_string())))).collect();
    for waited in [3, 17, 40, 59] {
        let result = calls[waited].take().unwrap().await.unwrap();
        assert_eq!(result.message.content, waited.to_string());
        for (n, earlier) in calls[..waited].iter_mut().enumerate() {
            if let Some(call) = earlier.take() {
                // Unconstrained: a task that has polled much is told to wait although the result is there.
                let ready = tokio::task::unconstrained(call).now_or_never();
                assert!(ready.is_some(), "{waited} is ready, {n} is not");
                assert_eq!(ready.unwrap().unwrap().message.content, n.to_string());
            }
        }
    }
}
