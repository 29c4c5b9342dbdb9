//! What lies in MongoDB itself: documents of the Node backend (N) and of the original schema (S) are read through the trait,
//! and what we write is what they can read.
//!
//! Needs `TEST_MONGODB_URI`: `scripts/mongod run -- cargo test mongo_documents`.

use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::IndexModel;
use mongodb::options::IndexOptions;
use samvad::error::Error;
use samvad::models::message::{CallLog, Media};
use samvad::models::{
    Conversation, ConversationId, ConversationKey, MessageId, MessageStatus, MessageType, NewMessage, Pair, Participant, ParticipantKind,
    Profile, Timestamp,
};
use samvad::store::mongo::MongoStore;
use samvad::store::{ConversationPage, DeleteMessage, Lookup, MarkRead, MessageQuery, NewConversation, Opened, Range, Sent, Store, Which};

use crate::support::mongo::Fixture;

const ASTROLOGER: &str = "68a1b2c3d4e5f60718293a4b";
const USER: &str = "68a1b2c3d4e5f60718293a4c";
/// 2025-12-20T10:00:00Z.
const TEN: i64 = 1_766_224_800_000;

fn person(kind: ParticipantKind, id: &str) -> Participant {
    Participant::new(kind, id).expect("legal id")
}

fn user() -> Participant {
    person(ParticipantKind::User, USER)
}

fn astrologer() -> Participant {
    person(ParticipantKind::Astrologer, ASTROLOGER)
}

fn minute(number: i64) -> DateTime {
    DateTime::from_millis(TEN + number * 60_000)
}

fn at(number: i64) -> Timestamp {
    Timestamp::from_millis(TEN + number * 60_000)
}

fn opening(a: &Participant, b: &Participant) -> NewConversation {
    NewConversation {
        pair: Pair::new(a.clone(), b.clone()).expect("two identities"),
        profiles: [Profile { name: Some("First".into()), picture: Some("https://x.test/1.png".into()) }, Profile::default()],
        context_type: "general".into(),
        context_id: None,
        alias: None,
        at: at(0),
    }
}

fn message(conversation: &Conversation, sender: &Participant, content: &str) -> NewMessage {
    let recipient = conversation.membership().other(sender).cloned().expect("a conversation of two").identity();
    NewMessage {
        conversation: conversation.handle.clone(),
        sender: sender.clone(),
        sender_profile: Profile::default(),
        recipient_key: conversation.person_key(&recipient),
        recipient,
        message_type: MessageType::Text,
        content: content.into(),
        media: Media::default(),
        reply_to: None,
        call: None,
        client_message_id: None,
        at: at(60),
    }
}

fn read_all(conversation: &Conversation, reader: &Participant) -> MarkRead {
    MarkRead {
        conversation: conversation.handle.clone(),
        reader: reader.clone(),
        reader_key: conversation.person_key(reader),
        which: Which::AllUnread,
        at: at(61),
    }
}

async fn history(store: &MongoStore, conversation: &Conversation, viewer: &Participant) -> Vec<samvad::models::Message> {
    let query = MessageQuery {
        conversation: conversation.handle.clone(),
        viewer: conversation.person_key(viewer),
        range: Range::Latest { skip: 0 },
        limit: 50,
    };
    store.messages(query).await.expect("read").items
}

async fn list(store: &MongoStore, person: &Participant) -> Vec<Conversation> {
    let page = ConversationPage { before: None, skip: 0, limit: 50 };
    let found = store.conversations_of(person, &page).await.expect("listed");
    assert_eq!(found.total, found.items.len() as u64);
    found.items
}

async fn by_key(store: &MongoStore, key: &str) -> Conversation {
    let key = ConversationKey::parse(key).expect("legal key");
    store.find_conversation(&Lookup::Key(key)).await.expect("asked").expect("found")
}

/// Waits for something that is put right in the background.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(15), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn node_conversation(id: ObjectId, key: &str) -> Document {
    doc! {
        "_id": id, "conversationId": key,
        "participants": [
            { "id": "admin", "type": "admin", "name": "Admin" },
            { "id": ASTROLOGER, "type": "astrologer", "name": "Asha", "avatar": "https://x.test/asha.png" },
        ],
        "lastMessage": "third", "lastMessageAt": minute(3), "lastMessageSenderId": "admin", "lastMessageSenderType": "admin",
        "unreadCount": { ASTROLOGER: 0.0 }, "isActive": true, "createdAt": minute(0), "updatedAt": minute(3), "__v": 0,
    }
}

fn node_message(number: i64, sender: (&str, &str), recipient: (&str, &str), content: &str) -> Document {
    doc! {
        "_id": ObjectId::from_parts(u32::try_from((TEN + number * 60_000) / 1000).expect("in range"), [7; 5], [0, 0, 1]),
        "conversationId": format!("admin_{ASTROLOGER}"),
        "senderId": sender.1, "senderType": sender.0, "senderName": "Somebody",
        "recipientId": recipient.1, "recipientType": recipient.0,
        "messageType": "text", "content": content, "status": "sent",
        "timestamp": DateTime::from_millis(TEN + number * 60_000 - 4), "createdAt": minute(number), "updatedAt": minute(number), "__v": 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_the_node_backend_are_read_and_continued() {
    let fixture = Fixture::new().await;
    let (admin, staff) = (("admin", "admin"), ("astrologer", ASTROLOGER));
    let mut rich = node_message(2, staff, admin, "second");
    let first = node_message(1, admin, staff, "first");
    let first_id = first.get_object_id("_id").expect("set above");
    rich.extend(doc! {
        "replyToId": first_id, "mediaUrl": "https://x.test/a.mp3", "mediaSize": 2048.0, "mediaDuration": 12.5, "messageType": "audio",
        "status": "read", "readAt": minute(2), "isDeleted": false,
    });
    let mut call = node_message(4, admin, staff, "Missed voice call");
    call.extend(doc! { "messageType": "call_log", "callType": "voice", "callStatus": "missed", "callDuration": 0.0, "callId": first_id });
    let id = ObjectId::new();
    let key = format!("admin_{ASTROLOGER}");
    fixture.insert("directconversations", [node_conversation(id, &key)]).await;
    fixture.insert("directmessages", [first, rich, node_message(3, admin, staff, "third"), call]).await;
    let store = fixture.store().await;

    let [listed]: [Conversation; 1] = list(&store, &astrologer()).await.try_into().expect("one conversation");
    assert_eq!(listed.handle.id.to_string(), id.to_hex());
    assert!(!listed.handle.filed_by_id);
    assert_eq!(listed.conversation_type, "admin_astrologer");
    assert_eq!(listed.context_type, "general");
    assert_eq!(listed.members[1].profile.picture.as_deref(), Some("https://x.test/asha.png"));
    let last = listed.last_message.as_ref().expect("a text");
    assert_eq!((last.content.as_str(), last.message_id, last.at), ("third", None, Some(at(3))));
    assert_eq!(last.sender, Some(Participant::shared_admin()));
    let other_admin = person(ParticipantKind::Admin, "ops7");
    assert_eq!(list(&store, &other_admin).await, std::slice::from_ref(&listed));

    let messages = history(&store, &listed, &astrologer()).await;
    let texts: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
    assert_eq!(texts, ["first", "second", "third", "Missed voice call"]);
    let audio = &messages[1];
    assert_eq!(audio.media.size_bytes, Some(2048));
    assert_eq!(audio.media.duration_seconds, Some(12.5));
    assert_eq!(audio.reply_to, Some(MessageId::from_bytes(first_id.bytes())));
    assert_eq!((audio.status, audio.created_at), (MessageStatus::Read, at(2)));
    let log = messages[3].call.clone().expect("a call log");
    assert_eq!(log.call_id, Some(first_id.to_hex()));
    assert_eq!(log.call_duration, Some(0));
    assert_eq!(store.find_message(audio.id).await.expect("asked").as_ref(), Some(audio));

    // Two texts are unread; the Node backend has not counted them, and call logs never count.
    let marks = store.mark_read(read_all(&listed, &astrologer())).await.expect("marked");
    assert_eq!((marks.ids, marks.unread), (vec![messages[0].id, messages[2].id], 0));
    let count = || async {
        let stored = fixture.find("directconversations", id).await;
        let counts = stored.get_document("unreadCount").expect("an object");
        counts.get(ASTROLOGER).and_then(|n| n.as_i64().or_else(|| n.as_i32().map(i64::from)).or_else(|| n.as_f64().map(|n| n as i64)))
    };
    eventually("the counter becoming right", async || count().await == Some(0)).await;

    let Sent { message: fourth, fresh, .. } = store.send_message(message(&listed, &other_admin, "fourth")).await.expect("sent");
    assert!(fresh && fourth.created_at == at(60));
    let now = by_key(&store, &key).await;
    assert_eq!(now.last_message.expect("the new one").message_id, Some(fourth.id));
    assert_eq!(count().await, Some(1));
    assert_eq!(history(&store, &listed, &astrologer()).await.len(), 5);

    // Deleting what a bare text may be about falls back, too.
    let delete = |message| DeleteMessage {
        conversation: listed.handle.clone(),
        message,
        by: "admin".into(),
        recipient_key: ASTROLOGER.into(),
        at: at(62),
    };
    store.delete_message(delete(fourth.id)).await.expect("deleted").expect("there");
    let now = by_key(&store, &key).await;
    assert_eq!(now.last_message.expect("the one before").content, "Missed voice call");
    assert_eq!(now.unread.get(ASTROLOGER), Some(&0));
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_text_about_a_deleted_message_is_replaced() {
    let fixture = Fixture::new().await;
    let key = format!("admin_{ASTROLOGER}");
    let (admin, staff) = (("admin", "admin"), ("astrologer", ASTROLOGER));
    fixture.insert("directconversations", [node_conversation(ObjectId::new(), &key)]).await;
    let messages = [node_message(1, admin, staff, "first"), node_message(3, admin, staff, "third")];
    let [first, third] = [0, 1].map(|i: usize| MessageId::from_bytes(messages[i].get_object_id("_id").expect("set").bytes()));
    fixture.insert("directmessages", messages).await;
    let store = fixture.store().await;
    let conversation = by_key(&store, &key).await;
    let delete = |message| DeleteMessage {
        conversation: conversation.handle.clone(),
        message,
        by: "admin".into(),
        recipient_key: ASTROLOGER.into(),
        at: at(62),
    };
    store.delete_message(delete(third)).await.expect("deleted").expect("there");
    let last = by_key(&store, &key).await.last_message.expect("the first is left");
    assert_eq!((last.message_id, last.content.as_str()), (Some(first), "first"));
    store.delete_message(delete(first)).await.expect("deleted").expect("there");
    assert_eq!(by_key(&store, &key).await.last_message, None);
    fixture.done(store).await;
}

fn original_conversation(id: ObjectId, a: (&str, &str), b: (&str, &str), number: i64) -> Document {
    let member = |(kind, id): (&str, &str)| doc! { "id": id, "type": kind, "name": kind, "profilePicture": format!("https://x.test/{id}.png"), "joinedAt": minute(0) };
    doc! {
        "_id": id, "participants": [member(a), member(b)], "conversationType": "user_astrologer",
        "lastMessage": { "content": "hello", "senderId": a.1, "timestamp": minute(number), "messageType": "text" },
        "unreadCount": { b.1: 9.0 }, "isActive": true, "contextType": "consultation", "contextId": ObjectId::new(),
        "createdAt": minute(0), "updatedAt": minute(number), "__v": 3,
    }
}

fn original_message(conversation: ObjectId, from: (&str, &str), to: (&str, &str), content: &str, number: i64) -> Document {
    doc! {
        "_id": ObjectId::new(), "conversationId": conversation, "senderId": from.1, "senderType": from.0,
        "recipientId": to.1, "recipientType": to.0, "messageType": "text", "content": content, "status": "delivered",
        "isDeleted": false, "deletedBy": [], "createdAt": minute(number), "updatedAt": minute(number), "__v": 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_of_the_original_schema_get_their_key_and_keep_their_messages() {
    let fixture = Fixture::new().await;
    let (client, staff, ops) = (("user", USER), ("astrologer", ASTROLOGER), ("admin", "ops7"));
    let [pair, again, desk, broken] = [1_u8, 2, 3, 4].map(|n| ObjectId::from_bytes([n; 12]));
    // Several without a key, two of them of the same people: a unique index alone would refuse them all.
    let unreadable = doc! { "_id": broken, "participants": [{ "id": USER, "type": "robot" }], "createdAt": minute(0) };
    let conversations = [
        original_conversation(pair, client, staff, 2),
        original_conversation(again, client, staff, 1),
        original_conversation(desk, ops, staff, 3),
        unreadable,
    ];
    fixture.insert("directconversations", conversations).await;
    let reply = doc! { "replyTo": ObjectId::from_bytes([9; 12]) };
    let mut second = original_message(pair, staff, client, "and hello to you", 2);
    second.extend(reply);
    fixture.insert("directmessages", [original_message(pair, client, staff, "hello", 1), second]).await;
    let store = fixture.store().await;

    let mine = list(&store, &astrologer()).await;
    let keys: Vec<&str> = mine.iter().map(|c| c.key().as_str()).collect();
    let canonical = format!("user_{USER}_{ASTROLOGER}");
    assert_eq!(keys, [format!("admin_{ASTROLOGER}"), canonical.clone(), format!("group_{again}")]);
    assert!(mine.iter().all(|c| c.handle.filed_by_id));
    let unread: Vec<u32> = mine.iter().map(|c| c.unread_of(&astrologer())).collect();
    assert_eq!(unread, [0, 1, 0], "counted anew, by the rule of ours");
    assert_eq!(mine[1].last_message.as_ref().expect("an object").sender, Some(user()));
    assert_eq!(list(&store, &Participant::shared_admin()).await, [mine[0].clone()], "any admin is every admin");

    let Opened { conversation, created } = store.open_conversation(opening(&user(), &astrologer())).await.expect("opened");
    assert!(!created);
    assert_eq!(conversation.handle.id.to_string(), pair.to_hex());
    let old = history(&store, &conversation, &user()).await;
    assert_eq!(old.iter().map(|m| m.content.as_str()).collect::<Vec<_>>(), ["hello", "and hello to you"]);
    assert_eq!(old[1].reply_to, Some(MessageId::from_bytes([9; 12])));
    assert_eq!(store.find_message(old[0].id).await.expect("asked"), Some(old[0].clone()));

    store.send_message(message(&conversation, &user(), "again")).await.expect("sent");
    let both = history(&store, &conversation, &user()).await;
    assert_eq!(both.iter().map(|m| m.content.as_str()).collect::<Vec<_>>(), ["hello", "and hello to you", "again"]);
    let marks = store.mark_read(read_all(&conversation, &astrologer())).await.expect("marked");
    assert_eq!((marks.ids, marks.unread), (vec![both[0].id, both[2].id], 0));

    // One that another program adds later is found as well, by its pair, its id and in lists.
    let late = ObjectId::new();
    let other = ("astrologer", "late_one");
    fixture.insert("directconversations", [original_conversation(late, client, other, 5)]).await;
    let found = by_key(&store, &format!("user_{USER}_late~one")).await;
    assert_eq!(found.handle.id.to_string(), late.to_hex());

    // The unreadable one is in nobody's way, and an error for who asks for it.
    let error = store.find_conversation(&Lookup::Id(ConversationId::from_bytes([4; 12]))).await.expect_err("unreadable");
    let Error::Internal(source) = error else { panic!("expected Internal") };
    assert!(source.to_string().contains(&broken.to_hex()), "{source}");
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_of_the_node_backend_do_no_harm_and_are_never_violated() {
    let fixture = Fixture::new().await;
    let index = |keys: Document, unique: bool, name: Option<&str>| {
        let options = IndexOptions::builder().unique(unique.then_some(true)).name(name.map(str::to_owned)).build();
        IndexModel::builder().keys(keys).options(options).build()
    };
    let conversations = fixture.database.collection::<Document>("directconversations");
    let theirs = [
        index(doc! { "conversationId": 1 }, true, Some("their_own_name")),
        index(doc! { "createdAt": 1 }, false, None),
        index(doc! { "participants.id": 1 }, false, None),
        index(doc! { "lastMessageAt": -1 }, false, None),
    ];
    conversations.create_indexes(theirs).await.expect("created");
    let messages = fixture.database.collection::<Document>("directmessages");
    let theirs = [
        index(doc! { "conversationId": 1 }, false, None),
        index(doc! { "conversationId": 1, "timestamp": -1 }, false, None),
        index(doc! { "conversationId": 1, "createdAt": -1, "_id": -1 }, false, Some("same_fields")),
        index(doc! { "senderId": 1, "recipientId": 1 }, false, None),
    ];
    messages.create_indexes(theirs).await.expect("created");
    let store = fixture.store().await;
    for number in 0..5 {
        let other = person(ParticipantKind::Astrologer, &format!("a{number}"));
        let opened = store.open_conversation(opening(&user(), &other)).await.expect("opened");
        assert!(opened.created);
        for text in ["one", "two"] {
            store.send_message(message(&opened.conversation, &user(), text)).await.expect("sent");
        }
    }
    let names = conversations.list_index_names().await.expect("listed");
    assert!(names.contains(&"their_own_name".to_owned()) && !names.contains(&"conversationId_1".to_owned()), "{names:?}");
    // A second node, and a restart, find everything in place.
    let second = fixture.store().await;
    assert_eq!(list(&second, &user()).await.len(), 5);
    second.close().await;
    fixture.done(store).await;
}

fn text<'a>(document: &'a Document, name: &str) -> &'a str {
    document.get_str(name).expect("a text")
}

/// Name and type of every field, in the order of the document.
fn shape(document: &Document) -> Vec<(String, String)> {
    document.iter().map(|(name, value)| (name.clone(), format!("{:?}", value.element_type()))).collect()
}

fn expected(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_write_has_exactly_these_fields_and_types() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let mut new = opening(&user(), &astrologer());
    new.context_id = Some("690000000000000000000005".into());
    new.alias = ConversationKey::parse("chat-7");
    let conversation = store.open_conversation(new).await.expect("opened").conversation;
    let id = ObjectId::from_bytes(conversation.handle.id.bytes());
    let empty = fixture.find("directconversations", id).await;
    let mut fields = vec![
        ("_id", "ObjectId"),
        ("conversationId", "String"),
        ("participants", "Array"),
        ("conversationType", "String"),
        ("lastMessageAt", "DateTime"),
        ("unreadCount", "EmbeddedDocument"),
        ("isActive", "Boolean"),
        ("contextType", "String"),
        ("aliases", "Array"),
        ("createdAt", "DateTime"),
        ("updatedAt", "DateTime"),
        ("__v", "Int32"),
        ("contextId", "ObjectId"),
    ];
    assert_eq!(shape(&empty), expected(&fields));
    let members = empty.get_array("participants").expect("an array");
    let member = |i: usize| members[i].as_document().expect("a document");
    let known = [
        ("id", "String"),
        ("type", "String"),
        ("name", "String"),
        ("profilePicture", "String"),
        ("avatar", "String"),
        ("joinedAt", "DateTime"),
    ];
    assert_eq!(shape(member(0)), expected(&known));
    assert_eq!(shape(member(1)), expected(&[("id", "String"), ("type", "String"), ("joinedAt", "DateTime")]));

    let mut full = message(&conversation, &user(), "text");
    full.sender_profile = Profile { name: Some("U".into()), picture: Some("https://x.test/u.png".into()) };
    full.media = Media {
        url: Some("https://x.test/v.mp4".into()),
        size_bytes: Some(5_000_000_000),
        duration_seconds: Some(12.0),
        thumbnail_url: Some("https://x.test/t.png".into()),
    };
    full.reply_to = MessageId::parse("690000000000000000000006");
    full.call = Some(CallLog {
        call_type: Some("voice".into()),
        call_status: Some("completed".into()),
        call_duration: Some(75),
        call_id: Some("690000000000000000000007".into()),
    });
    full.client_message_id = Some("c1".into());
    let sent = store.send_message(full).await.expect("sent").message;
    let stored = fixture.find("directmessages", ObjectId::from_bytes(sent.id.bytes())).await;
    let shape_of_message = [
        ("_id", "ObjectId"),
        ("conversationId", "String"),
        ("conversationRef", "ObjectId"),
        ("senderId", "String"),
        ("senderType", "String"),
        ("senderName", "String"),
        ("senderAvatar", "String"),
        ("recipientId", "String"),
        ("recipientType", "String"),
        ("messageType", "String"),
        ("content", "String"),
        ("mediaUrl", "String"),
        ("mediaSize", "Int64"),
        ("mediaDuration", "Int32"),
        ("thumbnailUrl", "String"),
        ("status", "String"),
        ("replyTo", "ObjectId"),
        ("replyToId", "ObjectId"),
        ("callType", "String"),
        ("callStatus", "String"),
        ("callDuration", "Int32"),
        ("callId", "ObjectId"),
        ("clientMessageId", "String"),
        ("isDeleted", "Boolean"),
        ("deletedBy", "Array"),
        ("timestamp", "DateTime"),
        ("createdAt", "DateTime"),
        ("updatedAt", "DateTime"),
        ("__v", "Int32"),
    ];
    assert_eq!(shape(&stored), expected(&shape_of_message));
    assert_eq!(stored.get("timestamp"), stored.get("createdAt"));
    assert_eq!(text(&stored, "conversationId"), conversation.key().as_str());
    assert_eq!(store.find_message(sent.id).await.expect("asked"), Some(sent.clone()), "read back as it was answered");

    let plain = store.send_message(message(&conversation, &user(), "plain")).await.expect("sent").message;
    let stored = fixture.find("directmessages", ObjectId::from_bytes(plain.id.bytes())).await;
    for absent in ["senderName", "mediaUrl", "replyTo", "callType", "clientMessageId", "readAt", "deletedAt"] {
        assert!(!stored.contains_key(absent), "{absent} is absent, not null");
    }

    // Whoever asks has it written.
    by_key(&store, conversation.key().as_str()).await;
    let filled = fixture.find("directconversations", id).await;
    fields.extend([("lastMessage", "EmbeddedDocument"), ("lastMessageSenderId", "String"), ("lastMessageSenderType", "String")]);
    assert_eq!(shape(&filled), expected(&fields));
    // The time first: that is how the newer one of two nodes wins.
    let last = [
        ("timestamp", "DateTime"),
        ("messageId", "ObjectId"),
        ("content", "String"),
        ("senderId", "String"),
        ("senderType", "String"),
        ("messageType", "String"),
    ];
    assert_eq!(shape(filled.get_document("lastMessage").expect("an object")), expected(&last));
    assert_eq!(filled.get_document("unreadCount").expect("an object"), &doc! { ASTROLOGER: 2_i32 });

    let delete = DeleteMessage {
        conversation: conversation.handle.clone(),
        message: sent.id,
        by: USER.into(),
        recipient_key: ASTROLOGER.into(),
        at: at(62),
    };
    store.delete_message(delete).await.expect("deleted").expect("there");
    let stored = fixture.find("directmessages", ObjectId::from_bytes(sent.id.bytes())).await;
    let gone = ["mediaUrl", "mediaSize", "mediaDuration", "thumbnailUrl"];
    let mut left: Vec<_> = shape_of_message.into_iter().filter(|(name, _)| !gone.contains(name)).collect();
    left.push(("deletedAt", "DateTime"));
    assert_eq!(shape(&stored), expected(&left));
    assert_eq!(text(&stored, "content"), "");
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_other_programs_stay_and_unreadable_messages_are_named() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let conversation = store.open_conversation(opening(&user(), &astrologer())).await.expect("opened").conversation;
    let id = ObjectId::from_bytes(conversation.handle.id.bytes());
    let raw = fixture.database.collection::<Document>("directconversations");
    raw.update_one(doc! { "_id": id }, doc! { "$set": { "pinnedBy": ["x"], "unreadCount": { "a.b": 1 } } }).await.expect("updated");
    let sent = store.send_message(message(&conversation, &user(), "text")).await.expect("sent").message;
    let profile = Profile { name: Some("New".into()), picture: None };
    store.update_profile(&conversation.handle, &user(), &profile).await.expect("updated");
    let stored = fixture.find("directconversations", id).await;
    assert_eq!(stored.get_array("pinnedBy").expect("kept").len(), 1);
    let members = stored.get_array("participants").expect("an array");
    let first = members[0].as_document().expect("a document");
    assert_eq!((text(first, "name"), text(first, "avatar")), ("New", "https://x.test/1.png"));

    let message_id = ObjectId::from_bytes(sent.id.bytes());
    let messages = fixture.database.collection::<Document>("directmessages");
    messages.update_one(doc! { "_id": message_id }, doc! { "$set": { "messageType": "hologram" } }).await.expect("updated");
    let Err(Error::Internal(source)) = store.find_message(sent.id).await else { panic!("expected Internal") };
    assert!(source.to_string().contains(&message_id.to_hex()), "{source}");
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_older_programs_cannot_become_paths() {
    let fixture = Fixture::new().await;
    let odd = "$where.x%";
    let id = ObjectId::new();
    let conversation = doc! {
        "_id": id, "conversationId": "old", "createdAt": minute(0),
        "participants": [{ "id": odd, "type": "user" }, { "id": ASTROLOGER, "type": "astrologer" }],
    };
    fixture.insert("directconversations", [conversation]).await;
    let store = fixture.store().await;
    let conversation = by_key(&store, "old").await;
    let recipient = Participant::stored(ParticipantKind::User, odd);
    store.send_message(message(&conversation, &astrologer(), "text")).await.expect("sent");
    assert_eq!(by_key(&store, "old").await.unread_of(&recipient), 1);
    let marks = store.mark_read(read_all(&conversation, &recipient)).await.expect("marked");
    assert_eq!((marks.ids.len(), marks.unread), (1, 0));
    let stored = fixture.find("directconversations", id).await;
    assert_eq!(stored.get_document("unreadCount").expect("an object"), &doc! { "%24where%2Ex%25": 0_i32 });
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_come_from_the_collections_of_the_marketplace() {
    let fixture = Fixture::new().await;
    let id = ObjectId::parse_str(ASTROLOGER).expect("hex");
    fixture.insert("astrologers", [doc! { "_id": id, "name": "Asha", "profileImage": "https://x.test/p.png", "phone": "1" }]).await;
    fixture.insert("users", [doc! { "_id": "u5", "name": "Uma", "avatar": "https://x.test/u.png" }]).await;
    let store = fixture.store().await;
    let found = store.find_profile(&astrologer()).await.expect("asked").expect("there");
    assert_eq!(found, Profile { name: Some("Asha".into()), picture: Some("https://x.test/p.png".into()) });
    let found = store.find_profile(&person(ParticipantKind::User, "u5")).await.expect("asked").expect("there");
    assert_eq!(found.picture.as_deref(), Some("https://x.test/u.png"));
    assert_eq!(store.find_profile(&user()).await.expect("asked"), None);
    assert_eq!(store.find_profile(&Participant::shared_admin()).await.expect("asked"), None);
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_node_left_uncounted_is_put_right_after_a_start() {
    let fixture = Fixture::new().await;
    let first = fixture.store().await;
    let conversation = first.open_conversation(opening(&user(), &astrologer())).await.expect("opened").conversation;
    let mut recent = message(&conversation, &user(), "stored, not counted");
    recent.at = Timestamp::now();
    let sent = first.send_message(recent).await.expect("sent").message;
    let id = ObjectId::from_bytes(conversation.handle.id.bytes());
    let raw = fixture.database.collection::<Document>("directconversations");
    let forgotten = doc! { "$set": { "unreadCount": {} }, "$unset": { "lastMessage": "" } };
    raw.update_one(doc! { "_id": id }, forgotten).await.expect("updated");
    first.close().await;

    let second = fixture.store().await;
    let shown = by_key(&second, conversation.key().as_str()).await.last_message.expect("shown before anybody asks");
    assert_eq!(shown.message_id, Some(sent.id));
    eventually("putting the counter right", async || by_key(&second, conversation.key().as_str()).await.unread_of(&astrologer()) == 1)
        .await;
    second.close().await;
    fixture.database.drop().await.expect("dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_left_uncounted_is_put_right_when_it_is_missed() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let conversation = store.open_conversation(opening(&user(), &astrologer())).await.expect("opened").conversation;
    let sent = store.send_message(NewMessage { at: at(60), ..message(&conversation, &user(), "stored, not counted") }).await;
    let sent = sent.expect("sent").message;
    by_key(&store, conversation.key().as_str()).await;
    let id = ObjectId::from_bytes(conversation.handle.id.bytes());
    let raw = fixture.database.collection::<Document>("directconversations");
    let forgotten = doc! { "$set": { "unreadCount": {}, "lastMessageAt": minute(0) }, "$unset": { "lastMessage": "" } };
    raw.update_one(doc! { "_id": id }, forgotten).await.expect("updated");

    // The other one was seen a moment before it stored this, and never again.
    store
        .remember_rooms(samvad::models::ProcessId::random(), sent.created_at.minus(Duration::from_secs(5)), Vec::new())
        .await
        .expect("noted");
    store.forget_rooms(sent.created_at.plus(Duration::from_secs(240))).await.expect("forgotten");
    let shown = by_key(&store, conversation.key().as_str()).await;
    assert_eq!(shown.last_message.expect("shown").message_id, Some(sent.id));
    eventually("putting the counter right", async || by_key(&store, conversation.key().as_str()).await.unread_of(&astrologer()) == 1).await;
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sends_of_a_conversation_are_shown_by_few_writes_and_never_late_for_a_reader() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let conversation = store.open_conversation(opening(&user(), &astrologer())).await.expect("opened").conversation;
    for round in 1..=20 {
        let sends: Vec<_> = (0..10).map(|n| store.send_message(message(&conversation, &user(), &format!("{round} {n}")))).collect();
        let mut last = None;
        for sent in sends {
            last = Some(sent.await.expect("sent").message.id);
        }
        let now = by_key(&store, conversation.key().as_str()).await;
        assert_eq!((now.unread_of(&astrologer()), now.last_message.expect("shown").message_id), (10 * round, last));
        let listed = list(&store, &astrologer()).await;
        assert_eq!(listed[0].unread_of(&astrologer()), 10 * round);
    }
    let read = store.mark_read(read_all(&conversation, &astrologer())).await.expect("marked");
    assert_eq!((read.ids.len(), read.unread), (200, 0));
    // What nobody asks for is written all the same, for other nodes.
    store.send_message(message(&conversation, &user(), "the last")).await.expect("sent");
    let id = ObjectId::from_bytes(conversation.handle.id.bytes());
    eventually("showing the last", async || {
        let stored = fixture.find("directconversations", id).await;
        stored.get_document("lastMessage").is_ok_and(|last| text(last, "content") == "the last")
    })
    .await;
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_right_behind_a_send_is_not_held_up_by_closing() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let conversation = store.open_conversation(opening(&user(), &astrologer())).await.expect("opened").conversation;
    let sent = store.send_message(message(&conversation, &user(), "the last"));
    let marks = store.mark_read(read_all(&conversation, &astrologer()));
    store.close().await;
    assert!(sent.await.expect("sent").fresh);
    assert_eq!(marks.await.map(|marks| (marks.ids.len(), marks.unread)).expect("marked"), (1, 0));
    let stored = fixture.find("directconversations", ObjectId::from_bytes(conversation.handle.id.bytes())).await;
    assert_eq!(text(stored.get_document("lastMessage").expect("shown"), "content"), "the last");
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_count_and_mark_together() {
    let fixture = Fixture::new().await;
    let nodes = [fixture.store().await, fixture.store().await];
    let conversation = nodes[0].open_conversation(opening(&user(), &astrologer())).await.expect("opened").conversation;
    let work = nodes.iter().enumerate().map(|(number, node)| {
        let conversation = &conversation;
        async move {
            let mut read = Vec::new();
            for round in 0..20 {
                let sends: Vec<_> =
                    (0..5).map(|n| node.send_message(message(conversation, &user(), &format!("{number} {round} {n}")))).collect();
                // Two nodes at the same millisecond would not tell their marks apart.
                let at = Timestamp::from_millis(TEN + 10 * round + i64::try_from(number).expect("small"));
                let marks = node.mark_read(MarkRead { at, ..read_all(conversation, &astrologer()) });
                for sent in sends {
                    assert!(sent.await.expect("sent").fresh);
                }
                read.extend(marks.await.expect("marked").ids);
            }
            read
        }
    });
    let mut read: Vec<MessageId> = futures_util::future::join_all(work).await.concat();
    let last = nodes[0].mark_read(read_all(&conversation, &astrologer())).await.expect("marked");
    assert_eq!(last.unread, 0);
    read.extend(last.ids);
    read.sort_unstable();
    let told = read.len();
    read.dedup();
    assert_eq!((told, read.len()), (200, 200), "every message is told once");
    let key = conversation.key().as_str();
    eventually("the counter of both", async || by_key(&nodes[1], key).await.unread_of(&astrologer()) == 0).await;
    let now = by_key(&nodes[1], key).await;
    let newest = history(&nodes[1], &conversation, &user()).await.pop().expect("messages");
    assert_eq!(now.last_message.and_then(|last| last.at), Some(newest.created_at));
    let [first, second] = nodes;
    first.close().await;
    fixture.done(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_message_of_a_slower_node_does_not_become_the_latest() {
    let fixture = Fixture::new().await;
    // Both know nothing newer when they start, so each takes the time it is given.
    let [ahead, behind] = [fixture.store().await, fixture.store().await];
    let conversation = ahead.open_conversation(opening(&user(), &astrologer())).await.expect("opened").conversation;
    let newer = NewMessage { at: at(500), ..message(&conversation, &user(), "newer") };
    let newer = ahead.send_message(newer).await.expect("sent").message;
    by_key(&ahead, conversation.key().as_str()).await;
    let older = NewMessage { at: at(400), ..message(&conversation, &user(), "older") };
    let older = behind.send_message(older).await.expect("sent").message;
    assert!(older.created_at < newer.created_at, "the slower node's clock was not behind");
    behind.close().await;
    let now = by_key(&ahead, conversation.key().as_str()).await;
    assert_eq!(now.last_message.as_ref().expect("shown").message_id, Some(newer.id));
    assert_eq!((now.last_message_at, now.unread_of(&astrologer())), (newer.created_at, 2), "both are counted");
    fixture.done(ahead).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_send_becomes_the_latest_whatever_another_program_showed_before() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let conversation = store.open_conversation(opening(&user(), &astrologer())).await.expect("opened").conversation;
    let id = ObjectId::from_bytes(conversation.handle.id.bytes());
    let raw = fixture.database.collection::<Document>("directconversations");
    let shown = [
        bson::Bson::Null,
        "a bare text".into(),
        doc! { "content": "theirs", "senderId": USER, "timestamp": minute(1), "messageType": "text" }.into(),
        doc! { "messageId": ObjectId::from_bytes([0xff; 12]), "content": "ours of before", "timestamp": minute(1) }.into(),
        doc! { "timestamp": minute(1), "content": "theirs" }.into(),
    ];
    for (number, before) in (100..).zip(shown) {
        raw.update_one(doc! { "_id": id }, doc! { "$set": { "lastMessage": before.clone() } }).await.expect("updated");
        let sent = NewMessage { at: at(number), ..message(&conversation, &user(), "ours") };
        let sent = store.send_message(sent).await.expect("sent").message;
        let now = by_key(&store, conversation.key().as_str()).await;
        assert_eq!(now.last_message.expect("shown").message_id, Some(sent.id), "after {before}");
    }
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bears_a_time_of_reading_is_read_whatever_its_status() {
    let fixture = Fixture::new().await;
    let (admin, staff) = (("admin", "admin"), ("astrologer", ASTROLOGER));
    let mut marked = node_message(1, admin, staff, "marked");
    marked.extend(doc! { "status": "delivered", "readAt": minute(2) });
    let mut wrong = node_message(2, admin, staff, "wrong");
    wrong.insert("readAt", minute(3));
    let wrong_id = MessageId::from_bytes(wrong.get_object_id("_id").expect("set above").bytes());
    let mut unmarked = node_message(3, admin, staff, "unmarked");
    unmarked.insert("readAt", bson::Bson::Null);
    let mut bare = node_message(4, admin, staff, "bare");
    bare.remove("status");
    fixture.insert("directconversations", [node_conversation(ObjectId::new(), &format!("admin_{ASTROLOGER}"))]).await;
    fixture.insert("directmessages", [marked, wrong, unmarked, bare]).await;
    let store = fixture.store().await;
    let conversation = by_key(&store, &format!("admin_{ASTROLOGER}")).await;
    let statuses = async || history(&store, &conversation, &astrologer()).await.iter().map(|m| m.status).collect::<Vec<_>>();
    use MessageStatus::{Delivered, Read, Sent};
    assert_eq!(statuses().await, [Read, Read, Sent, Sent]);
    let ids: Vec<MessageId> = history(&store, &conversation, &astrologer()).await.iter().map(|m| m.id).collect();
    let handed_over: Vec<_> = ids.iter().map(|id| (conversation.handle.clone(), *id)).collect();
    assert_eq!(ids[1], wrong_id);
    assert_eq!(store.mark_delivered(&handed_over, at(5)).await.expect("marked"), ids[2..], "what is read does not become delivered");
    assert_eq!(statuses().await, [Read, Read, Delivered, Delivered]);
    let read = store.mark_read(read_all(&conversation, &astrologer())).await.expect("marked");
    assert_eq!((read.ids.as_slice(), read.unread), (&ids[2..], 0));
    assert_eq!(statuses().await, [Read; 4]);
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marking_as_read_looks_at_what_is_unread_and_not_at_the_whole_conversation() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let conversation = store.open_conversation(opening(&user(), &astrologer())).await.expect("opened").conversation;
    for round in 0..3 {
        let sends: Vec<_> = (0..100).map(|n| store.send_message(message(&conversation, &user(), &format!("{round} {n}")))).collect();
        for sent in sends {
            sent.await.expect("sent");
        }
        assert_eq!(store.mark_read(read_all(&conversation, &astrologer())).await.expect("marked").ids.len(), 100);
    }
    let sent = store.send_message(message(&conversation, &user(), "the last")).await.expect("sent").message;
    assert_eq!(store.mark_delivered(&[(conversation.handle.clone(), sent.id)], at(61)).await.expect("marked"), [sent.id]);
    fixture.database.run_command(doc! { "profile": 2 }).await.expect("every request is noted");
    let id = ObjectId::from_bytes(conversation.handle.id.bytes());
    let counter = format!("unreadCount.{}", conversation.person_key(&astrologer()));
    let miscounted = fixture.database.collection::<Document>("directconversations");
    miscounted.update_one(doc! { "_id": id }, doc! { "$set": { counter: 7 } }).await.expect("updated");
    let read = store.mark_read(read_all(&conversation, &astrologer())).await.expect("marked");
    assert_eq!((read.ids.as_slice(), read.unread), ([sent.id].as_slice(), 0), "a wrong counter is counted again");
    fixture.database.run_command(doc! { "profile": 0 }).await.expect("no longer");
    let noted = fixture.database.collection::<Document>("system.profile");
    let of_messages = doc! { "ns": format!("{}.directmessages", fixture.database.name()), "docsExamined": { "$exists": true } };
    let noted: Vec<Document> = noted.find(of_messages).await.expect("asked").try_collect().await.expect("read");
    assert!(!noted.is_empty(), "reading looks for what is unread");
    for request in noted {
        let examined = request.get_i32("docsExamined").expect("a count");
        assert!(examined <= 2, "{examined} documents were looked at by {request}");
    }
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_an_earlier_version_gets_the_new_index_of_what_is_unread() {
    let fixture = Fixture::new().await;
    let messages = fixture.database.collection::<Document>("directmessages");
    let earlier = IndexOptions::builder().partial_filter_expression(doc! { "status": { "$in": ["sent", "delivered"] } }).build();
    let keys = doc! { "conversationId": 1, "recipientType": 1 };
    messages.create_index(IndexModel::builder().keys(keys).options(earlier).build()).await.expect("made");
    let store = fixture.store().await;
    let names = messages.list_index_names().await.expect("listed");
    for name in ["conversationId_1_recipientType_1", "unread"] {
        assert!(names.iter().any(|there| there == name), "{name} is among {names:?}");
    }
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_share_a_batch_and_each_gets_his_own() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let mut conversations = Vec::new();
    for number in 0..30 {
        let other = person(ParticipantKind::Astrologer, &format!("a{number}"));
        let conversation = store.open_conversation(opening(&user(), &other)).await.expect("opened").conversation;
        for _ in 0..=number % 3 {
            store.send_message(message(&conversation, &user(), "text")).await.expect("sent");
        }
        conversations.push((conversation, other));
    }
    let foreign = history(&store, &conversations[0].0, &user()).await[0].id;
    let mut wanted = Vec::new();
    for (conversation, _) in &conversations {
        wanted.push(history(&store, conversation, &user()).await.iter().map(|m| m.id).collect::<Vec<_>>());
    }
    let mark = |number: usize| {
        let (conversation, reader) = &conversations[number];
        let mark = read_all(conversation, reader);
        // Every other one names his newest message and one of somebody else's conversation.
        let named = vec![foreign, *wanted[number].last().expect("at least one")];
        if number % 2 == 1 { MarkRead { which: Which::Ids(named), ..mark } } else { mark }
    };
    let marks: Vec<_> = (0..30).map(|number| store.mark_read(mark(number))).collect();
    for (number, marks) in marks.into_iter().enumerate() {
        let marks = marks.await.expect("marked");
        if number % 2 == 0 {
            assert_eq!((&marks.ids, marks.unread), (&wanted[number], 0), "{number}");
        } else {
            assert_eq!(marks.ids, wanted[number][wanted[number].len() - 1..], "{number}");
            assert_eq!(marks.unread as usize, wanted[number].len() - 1, "{number}");
        }
        let (conversation, reader) = &conversations[number];
        assert_eq!(by_key(&store, conversation.key().as_str()).await.unread_of(reader), marks.unread);
    }
    let nobody = ConversationId::from_bytes([3; 12]);
    let mut mark = read_all(&conversations[0].0, &conversations[0].1);
    mark.conversation.id = nobody;
    assert!(matches!(store.mark_read(mark).await, Err(Error::ConversationNotFound)));
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_everything_is_unavailable_and_nothing_hangs() {
    let start = Instant::now();
    let uri = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300";
    let store = MongoStore::connect(uri, "samvad").await.expect("starts all the same");
    let unavailable = |result: samvad::error::Result<()>| assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
    unavailable(store.check_writable().await);
    unavailable(store.open_conversation(opening(&user(), &astrologer())).await.map(drop));
    unavailable(store.find_message(MessageId::from_bytes([1; 12])).await.map(drop));
    store.close().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let refused = MongoStore::connect("mongodb://127.0.0.1:1/?w=0", "samvad").await.err().expect("refused");
    assert!(refused.to_string().contains("w=0"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_stored_late_is_not_skipped_by_a_cursor() {
    let fixture = Fixture::new().await;
    let (here, there) = (fixture.store().await, fixture.store().await);
    let conversation = here.open_conversation(opening(&user(), &astrologer())).await.expect("opened").conversation;
    let say = async |store: &MongoStore, text: &str, millis: i64| {
        let new = NewMessage { at: Timestamp::from_millis(TEN + millis), ..message(&conversation, &user(), text) };
        store.send_message(new).await.expect("sent").message
    };
    say(&there, "long before", -70_000).await;
    let first = say(&here, "first", 1_000).await;
    let second = say(&here, "second", 5_000).await;
    // The other node's clock is behind, or its write took long.
    say(&there, "late", 2_000).await;
    let after = async |id: MessageId| {
        let range = Range::After(id);
        let viewer = ASTROLOGER.to_owned();
        let page = here.messages(MessageQuery { conversation: conversation.handle.clone(), viewer, range, limit: 50 }).await.expect("read");
        (page.items.into_iter().map(|m| m.content).collect::<Vec<_>>(), page.late, page.has_more)
    };
    assert_eq!(after(second.id).await, (vec!["late".to_owned()], 1, false), "nothing of its own is told again");
    assert_eq!(after(first.id).await, (vec!["late".to_owned(), "second".to_owned()], 0, false));
    there.close().await;
    fixture.done(here).await;
}
