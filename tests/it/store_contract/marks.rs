//! Marks: read and delivered.

use super::*;

on_every_driver!(
    reading_marks_only_what_is_addressed_to_the_reader,
    reading_goes_forward_only,
    reading_all_leaves_out_what_was_sent_later,
    reading_all_returns_everything_oldest_first,
    call_logs_are_latest_but_never_unread,
    admins_read_what_is_addressed_to_any_admin,
    a_shared_id_of_two_types_is_two_people,
    delivery_goes_forward_only,
);

async fn reading_marks_only_what_is_addressed_to_the_reader(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let elsewhere = open(&store, &asker, &astrologer("a2")).await;
    let first = send(&store, say(&conversation, &expert, "for the user")).await;
    let own = send(&store, say(&conversation, &asker, "by the user")).await;
    let second = send(&store, say(&conversation, &expert, "for the user too")).await;
    let third = send(&store, say(&conversation, &expert, "not named")).await;
    let foreign = send(&store, say(&elsewhere, &astrologer("a2"), "in another conversation")).await;
    let unknown = MessageId::parse("690000000000000000000005").unwrap();
    let ids = [second.id, own.id, foreign.id, unknown, first.id, first.id];
    let marks = store.mark_read(MarkRead { at: at(700), ..read_ids(&conversation, &asker, ids) }).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![first.id, second.id], 1));
    for (message, status) in [
        (&first, MessageStatus::Read),
        (&second, MessageStatus::Read),
        (&own, MessageStatus::Sent),
        (&third, MessageStatus::Sent),
        (&foreign, MessageStatus::Sent),
    ] {
        let now = store.find_message(message.id).await.unwrap().unwrap();
        let read_at = (status == MessageStatus::Read).then(|| at(700));
        assert_eq!((now.status, now.read_at), (status, read_at), "{}", message.content);
    }
    let now = reload(&store, &conversation).await;
    assert_eq!((now.unread_of(&asker), now.unread_of(&expert)), (1, 1));
    assert_eq!(reload(&store, &elsewhere).await.unread_of(&asker), 1);
}

async fn reading_goes_forward_only(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let sent = send(&store, say(&conversation, &asker, "one")).await;
    let delivered = send(&store, say(&conversation, &asker, "two")).await;
    store.mark_delivered(&[(conversation.handle.clone(), delivered.id)], at(100)).await.unwrap();
    let marks = store.mark_read(MarkRead { at: at(200), ..read_all(&conversation, &expert) }).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![sent.id, delivered.id], 0));
    for again in [read_all(&conversation, &expert), read_ids(&conversation, &expert, [sent.id, delivered.id])] {
        let marks = store.mark_read(MarkRead { at: at(300), ..again }).await.unwrap();
        assert_eq!((marks.ids, marks.unread), (vec![], 0));
    }
    let now = store.find_message(delivered.id).await.unwrap().unwrap();
    assert_eq!((now.status, now.delivered_at, now.read_at), (MessageStatus::Read, Some(at(100)), Some(at(200))));
}

async fn reading_all_leaves_out_what_was_sent_later(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let earlier = store.send_message(say(&conversation, &asker, "before"));
    let marks = store.mark_read(read_all(&conversation, &expert));
    let later = store.send_message(say(&conversation, &asker, "after"));
    let (later, marks, earlier) = (later.await.unwrap().message, marks.await.unwrap(), earlier.await.unwrap().message);
    assert_eq!(marks.ids, [earlier.id]);
    assert_eq!(store.find_message(later.id).await.unwrap().unwrap().status, MessageStatus::Sent);
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 1);
}

async fn reading_all_returns_everything_oldest_first(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    // More than a page, more than a batch of a hundred.
    let sends: Vec<_> = (0..321).map(|n| store.send_message(say(&conversation, &asker, &n.to_string()))).collect();
    let sent: Vec<MessageId> = join_all(sends).await.into_iter().map(|sent| sent.unwrap().message.id).collect();
    let marks = store.mark_read(read_all(&conversation, &expert)).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (sent, 0));
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 0);
}

async fn call_logs_are_latest_but_never_unread(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let text = send(&store, say(&conversation, &asker, "hello")).await;
    let new = NewMessage { message_type: MessageType::CallLog, call: Some(CallLog::default()), ..say(&conversation, &asker, "") };
    let call = NewMessage { call: Some(CallLog { call_type: Some("voice".into()), ..CallLog::default() }), ..new };
    let call = send(&store, call).await;
    let now = reload(&store, &conversation).await;
    assert_eq!(now.unread_of(&expert), 1);
    assert_eq!(now.last_message.as_ref().map(|l| (l.message_id, l.message_type)), Some((Some(call.id), MessageType::CallLog)));
    assert_eq!(now.last_message_at, call.created_at);
    let marks = store.mark_read(read_ids(&conversation, &expert, [call.id])).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![], 1));
    let marks = store.mark_read(read_all(&conversation, &expert)).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![text.id], 0));
    store.delete_message(delete(&conversation, &call, &asker)).await.unwrap();
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 0, "it did not count before it was deleted");
}

async fn admins_read_what_is_addressed_to_any_admin(store: Arc<dyn Store>) {
    let asker = user("u1");
    let conversation = open(&store, &admin("ops7"), &asker).await;
    let mut sent = Vec::new();
    for recipient in [Participant::shared_admin(), admin("ops7"), admin("ops8")] {
        let new = NewMessage { recipient: recipient.clone(), ..say(&conversation, &asker, "help") };
        let message = send(&store, new).await;
        assert_eq!(message.recipient, recipient, "the client's own word is kept");
        sent.push(message.id);
    }
    let answer = send(&store, say(&conversation, &admin("ops9"), "coming")).await;
    assert_eq!(answer.sender, admin("ops9"));
    let now = reload(&store, &conversation).await;
    assert_eq!(now.unread.get("admin"), Some(&3));
    assert_eq!((now.unread_of(&admin("ops7")), now.unread_of(&asker)), (3, 1));
    let marks = store.mark_read(read_ids(&conversation, &admin("ops9"), [sent[1]])).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![sent[1]], 2));
    let marks = store.mark_read(read_all(&conversation, &admin("ops7"))).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![sent[0], sent[2]], 0));
    assert_eq!(reload(&store, &conversation).await.unread_of(&asker), 1);
}

async fn a_shared_id_of_two_types_is_two_people(store: Arc<dyn Store>) {
    let (asker, expert) = (user("5"), astrologer("5"));
    let conversation = open(&store, &asker, &expert).await;
    let to_expert = send(&store, say(&conversation, &asker, "to the astrologer")).await;
    let to_asker = send(&store, say(&conversation, &expert, "to the user")).await;
    send(&store, say(&conversation, &expert, "to the user again")).await;
    let now = reload(&store, &conversation).await;
    let counted: BTreeMap<String, u32> = now.unread.clone().into_iter().filter(|(_, n)| *n > 0).collect();
    assert_eq!(counted, BTreeMap::from([("astrologer~5".into(), 1), ("user~5".into(), 2)]));
    let marks = store.mark_read(read_ids(&conversation, &asker, [to_expert.id, to_asker.id])).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![to_asker.id], 1));
    store.hide_message(delete(&conversation, &to_expert, &asker)).await.unwrap();
    assert_eq!(texts(&store, &conversation, &asker).await.len(), 2);
    assert_eq!(texts(&store, &conversation, &expert).await.len(), 3);
    let now = reload(&store, &conversation).await;
    assert_eq!((now.unread_of(&asker), now.unread_of(&expert)), (1, 1));
}

async fn delivery_goes_forward_only(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let elsewhere = open(&store, &asker, &astrologer("a2")).await;
    let fresh = send(&store, say(&conversation, &asker, "one")).await;
    let read = send(&store, say(&conversation, &asker, "two")).await;
    let other = send(&store, say(&elsewhere, &asker, "three")).await;
    store.mark_read(MarkRead { at: at(100), ..read_ids(&conversation, &expert, [read.id]) }).await.unwrap();
    let all = [
        (conversation.handle.clone(), read.id),
        (elsewhere.handle.clone(), other.id),
        (conversation.handle.clone(), fresh.id),
        (conversation.handle.clone(), MessageId::parse("690000000000000000000005").unwrap()),
    ];
    let changed = store.mark_delivered(&all, at(200)).await.unwrap();
    assert_eq!(changed.into_iter().collect::<HashSet<_>>(), HashSet::from([fresh.id, other.id]));
    assert_eq!(store.mark_delivered(&all, at(300)).await.unwrap(), []);
    let now = store.find_message(fresh.id).await.unwrap().unwrap();
    assert_eq!((now.status, now.delivered_at, now.read_at), (MessageStatus::Delivered, Some(at(200)), None));
    let now = store.find_message(read.id).await.unwrap().unwrap();
    assert_eq!((now.status, now.delivered_at, now.read_at), (MessageStatus::Read, None, Some(at(100))));
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 1, "delivered is still unread");
}
