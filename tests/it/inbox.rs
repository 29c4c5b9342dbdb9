//! The inbox: against a recount of everything that was done, decoded as strictly as the shipped app does it, and who may look.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use samvad::models::{
    CallStatus, CallType, EndReason, MessageType, NewCall, Notices, Pair, Participant, ParticipantKind, Profile, Timestamp,
};
use samvad::store::{NewConversation, Store};
use serde_json::{Value, json};

use crate::support::client::PATIENCE;
use crate::support::http::request;
use crate::support::people::{admin, astrologer, at, user};
use crate::support::server::{ADMIN_KEY, TestServer};
use crate::support::stores::{on_every_driver, on_every_driver_by_seeds};
use crate::support::world::{Rang, Said, Went, World, astrologers, name_of, users};

on_every_driver!(
    deep_pages_have_neither_holes_nor_doubles,
    a_cursor_stays_where_it_is_while_conversations_move,
    the_row_of_support_is_on_the_first_page_of_everybody_but_admins,
    an_inbox_is_its_owners_and_admins_may_look,
    what_is_unseen_is_counted_and_seen_without_rewriting_calls,
    messages_and_calls_from_the_inbox_answer_with_its_rows,
    questions_that_make_no_sense_are_refused,
);

on_every_driver_by_seeds!([11, 12], every_inbox_equals_a_recount_of_what_was_done);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A row as the app decodes it: another type throws there, and the list is lost.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Row {
    id: String,
    row_type: String,
    contact: (String, String, String),
    timestamp: Timestamp,
    preview: String,
    unread: u64,
    status: String,
    duration: Option<String>,
    conversation_id: String,
}

const FIELDS: [&str; 17] = [
    "_id",
    "id",
    "type",
    "contactName",
    "contactId",
    "contactType",
    "avatar",
    "timestamp",
    "preview",
    "unreadCount",
    "isOnline",
    "status",
    "duration",
    "chargedAmount",
    "sessionId",
    "conversationId",
    "callId",
];

fn decode(row: &Value) -> Row {
    let object = row.as_object().expect("an object");
    for (name, value) in object {
        assert!(FIELDS.contains(&name.as_str()) && !value.is_null(), "{name} in {row}");
    }
    let text = |name: &str| row[name].as_str().unwrap_or_else(|| panic!("{name} is a text in {row}")).to_owned();
    assert_eq!(row["_id"], row["id"]);
    assert!(row["chargedAmount"].is_u64() && row["isOnline"].is_boolean(), "{row}");
    text("avatar");
    let timestamp = text("timestamp");
    assert!(timestamp.len() == 24 && timestamp.ends_with('Z') && &timestamp[19..20] == ".", "{timestamp}");
    let row_type = text("type");
    assert!(["message", "voiceCall", "videoCall"].contains(&row_type.as_str()), "{row}");
    assert!(["admin", "user", "astrologer"].contains(&text("contactType").as_str()), "{row}");
    let allowed: &[&str] = if row_type == "message" { &["sent", "received"] } else { &["missed", "incoming", "outgoing"] };
    assert!(allowed.contains(&text("status").as_str()), "{row}");
    Row {
        id: text("id"),
        contact: (text("contactType"), text("contactId"), text("contactName")),
        timestamp: Timestamp::parse(&timestamp).expect("a time"),
        preview: text("preview"),
        unread: row["unreadCount"].as_u64().unwrap_or_else(|| panic!("an integer in {row}")),
        status: text("status"),
        duration: object.get("duration").map(|_| text("duration")),
        conversation_id: text("conversationId"),
        row_type,
    }
}

struct Page {
    rows: Vec<Row>,
    has_more: bool,
    cursor: Option<String>,
}

async fn page(server: &TestServer, token: &str, id: &str, query: &str) -> Page {
    let (status, body) = request(&server.url, "GET", &format!("/api/communications/{id}?{query}"), Some(token), None).await;
    assert_eq!((status, &body["success"]), (200, &json!(true)), "{body}");
    Page {
        rows: body["data"].as_array().expect("a list").iter().map(decode).collect(),
        has_more: body["pagination"]["hasMore"].as_bool().expect("said"),
        cursor: body["pagination"].get("nextCursor").map(|cursor| cursor.as_str().expect("a text").to_owned()),
    }
}

/// The token and the path of somebody.
fn credentials(server: &TestServer, person: &Participant) -> (String, String) {
    match person.kind() {
        ParticipantKind::Admin => (ADMIN_KEY.to_owned(), "admin".to_owned()),
        kind => (server.token(kind, person.id()), person.id().to_owned()),
    }
}

// The recount: from the list of what was done alone.

fn shown(person: &Participant) -> (String, String, String) {
    let name = match person.kind() {
        ParticipantKind::Admin => return ("admin".into(), "admin".into(), "Admin Support".into()),
        ParticipantKind::Astrologer => "Astrologer",
        ParticipantKind::User => "User",
    };
    (person.kind().as_str().into(), person.id().into(), name_of(person).unwrap_or_else(|| name.into()))
}

fn is_left_to_read(said: &Said, me: &Participant) -> bool {
    said.to.is_same_identity(me)
        && !said.is_read
        && !said.is_deleted
        && !said.hidden_by.contains(&me.identity())
        && said.kind != MessageType::CallLog
}

fn conversation_rows(world: &World, me: &Participant) -> Vec<(Timestamp, String, Row)> {
    let mine = world.opened.iter().filter(|(_, opened)| opened.people.iter().any(|p| p.is_same_identity(me)));
    mine.map(|(key, opened)| {
        let said: Vec<&Said> = world.said.iter().filter(|said| said.conversation == *key).collect();
        let activity = said.iter().map(|said| said.at).chain([opened.at]).max().expect("one at least");
        let last = said.iter().filter(|said| !said.is_deleted).max_by_key(|said| (said.at, said.id));
        let other = opened.people.iter().find(|p| !p.is_same_identity(me)).expect("two");
        let preview = match last {
            None if other.kind() == ParticipantKind::Admin => "Welcome! Write to us whenever you need help.".to_owned(),
            None => String::new(),
            Some(said) if said.kind == MessageType::Image => "Photo".to_owned(),
            Some(said) => said.content.clone(),
        };
        let row = Row {
            id: opened.id.to_string(),
            row_type: "message".into(),
            contact: shown(other),
            timestamp: activity,
            preview,
            unread: said.iter().filter(|said| is_left_to_read(said, me)).count() as u64,
            status: if last.is_some_and(|said| said.from.is_same_identity(me)) { "sent".into() } else { "received".into() },
            duration: None,
            conversation_id: key.clone(),
        };
        (activity, opened.id.to_string(), row)
    })
    .collect()
}

fn call_row(rang: &Rang, me: &Participant) -> Row {
    let is_caller = rang.from.is_same_identity(me);
    let talked = matches!(rang.went, Went::Completed | Went::BothGone);
    let status = match rang.went {
        Went::Rings | Went::Talks | Went::Completed | Went::BothGone if is_caller => "outgoing",
        Went::Rings | Went::Talks | Went::Completed | Went::BothGone => "incoming",
        _ => "missed",
    };
    let (word, preview) = match rang.call_type {
        CallType::Voice => ("voiceCall", "Voice call"),
        CallType::Video => ("videoCall", "Video call"),
    };
    Row {
        id: rang.id.to_string(),
        row_type: word.into(),
        contact: shown(if is_caller { &rang.to } else { &rang.from }),
        timestamp: rang.at,
        preview: preview.into(),
        unread: 0,
        status: status.into(),
        duration: talked.then(|| format!("{}:{}{}", rang.seconds / 60, rang.seconds % 60 / 10, rang.seconds % 10)),
        conversation_id: format!("call_{}", rang.id),
    }
}

/// Everything of somebody, newest first, and the row of support, which is not among the others.
fn recount(world: &World, me: &Participant) -> (Vec<Row>, Option<Row>) {
    let mine = world.rang.iter().filter(|rang| rang.from.is_same_identity(me) || rang.to.is_same_identity(me));
    // In the same millisecond conversations stand first, and among each kind the larger id.
    let mut all: Vec<_> = mine.map(|rang| (rang.at, 0, rang.id.to_string(), call_row(rang, me))).collect();
    all.extend(conversation_rows(world, me).into_iter().map(|(at, id, row)| (at, 1, id, row)));
    all.sort_by(|a, b| (b.0, b.1, &b.2).cmp(&(a.0, a.1, &a.2)));
    let all: Vec<Row> = all.into_iter().map(|(.., row)| row).collect();
    let is_support = |row: &Row| row.row_type == "message" && row.contact.1 == "admin" && me.kind() != ParticipantKind::Admin;
    let (support, others): (Vec<Row>, Vec<Row>) = all.into_iter().partition(is_support);
    (others, support.into_iter().next())
}

/// What the pages of this size hold.
fn expected_pages(others: &[Row], support: Option<&Row>, me: &Participant, limit: usize) -> Vec<Vec<Row>> {
    let has_support = me.kind() != ParticipantKind::Admin;
    let (newest, rest) = others.split_at((limit - usize::from(has_support)).min(others.len()));
    let mut first = newest.to_vec();
    if has_support {
        let row = support.cloned().unwrap_or_else(|| Row {
            id: Pair::new(me.clone(), Participant::shared_admin()).unwrap().key().as_str().into(),
            row_type: "message".into(),
            contact: ("admin".into(), "admin".into(), "Admin Support".into()),
            timestamp: newest.last().map_or(Timestamp::from_millis(0), |row| row.timestamp),
            preview: "Welcome! Write to us whenever you need help.".into(),
            unread: 0,
            status: "received".into(),
            duration: None,
            conversation_id: Pair::new(me.clone(), Participant::shared_admin()).unwrap().key().as_str().into(),
        });
        let place = if support.is_some() { first.iter().position(|other| other.timestamp < row.timestamp) } else { None };
        first.insert(place.unwrap_or(first.len()), row);
    }
    std::iter::once(first).chain(rest.chunks(limit).map(<[Row]>::to_vec)).collect()
}

async fn every_inbox_equals_a_recount_of_what_was_done(store: Arc<dyn Store>, seed: u64) {
    let mut world = World::new(store.clone(), seed, 20 * DAY);
    world.live(400, Timestamp::now().minus(Duration::from_secs(5))).await;
    let server = TestServer::start(store).await;
    let mut rows_seen = 0;
    for me in users().into_iter().chain(astrologers()).chain([admin("admin")]) {
        let (token, path) = credentials(&server, &me);
        let (others, support) = recount(&world, &me);
        for limit in [1, 2, 3, 10, 50, 100] {
            let expected = expected_pages(&others, support.as_ref(), &me, limit);
            let mut cursor = None;
            for (number, rows) in (1..).zip(&expected) {
                // Small pages by cursor alone; asking for each twice would take long.
                if limit > 2 || number < 3 {
                    let by_number = page(&server, &token, &path, &format!("page={number}&limit={limit}")).await;
                    assert_eq!(without_the_request(&by_number.rows, &me), without_the_request(rows, &me), "{me}: page {number} of {limit}");
                    assert_eq!(by_number.has_more, number < expected.len(), "{me}: page {number} of {limit}");
                }
                let query = cursor.map_or_else(|| format!("limit={limit}"), |cursor: String| format!("limit={limit}&cursor={cursor}"));
                let by_cursor = page(&server, &token, &path, &query).await;
                assert_eq!(without_the_request(&by_cursor.rows, &me), without_the_request(rows, &me), "{me}: cursor {number} of {limit}");
                assert!(by_cursor.rows.windows(2).all(|two| two[0].timestamp >= two[1].timestamp), "newest first");
                assert_eq!(by_cursor.cursor.is_some(), number < expected.len());
                cursor = by_cursor.cursor;
                rows_seen += rows.len();
            }
        }
        let (_, counts) = request(&server.url, "GET", &format!("/api/communications/{path}/unread-counts"), Some(&token), None).await;
        let looked = world.looked.get(&me).copied();
        let missed = |call_type| {
            let mine = world.rang.iter().filter(|rang| rang.to.is_same_identity(&me) && rang.went == Went::Missed);
            mine.filter(|rang| rang.call_type == call_type && looked.is_none_or(|looked| rang.over_at > Some(looked))).count()
        };
        let messages = world.said.iter().filter(|said| is_left_to_read(said, &me)).count();
        let expected = json!({ "messages": messages, "missedCalls": missed(CallType::Voice), "missedVideoCalls": missed(CallType::Video) });
        assert_eq!(counts["data"], expected, "{me}");
    }
    assert!(rows_seen > 1_000, "a world with something in it: {rows_seen}");
    server.stop().await;
}

/// The row of support nobody wrote to has no time of its own on an otherwise empty page.
fn without_the_request(rows: &[Row], me: &Participant) -> Vec<Row> {
    let is_made_up = |row: &Row| rows.len() == 1 && row.id == row.conversation_id && me.kind() != ParticipantKind::Admin;
    rows.iter().map(|row| if is_made_up(row) { Row { timestamp: Timestamp::from_millis(0), ..row.clone() } } else { row.clone() }).collect()
}

fn new_call(from: &Participant, to: &Participant, at: Timestamp) -> NewCall {
    NewCall {
        caller: from.clone(),
        caller_profile: Profile::default(),
        callee: to.clone(),
        callee_profile: Profile::default(),
        call_type: CallType::Voice,
        channel: format!("call_{:016x}", rand::random::<u64>()),
        conversation_key: Pair::new(from.clone(), to.clone()).unwrap().key(),
        consultation_id: None,
        status: CallStatus::Initiated,
        ring_for: 400 * DAY,
        at,
    }
}

async fn open(store: &Arc<dyn Store>, a: &Participant, b: &Participant, at: Timestamp) {
    let pair = Pair::new(a.clone(), b.clone()).unwrap();
    let new = NewConversation { pair, profiles: Default::default(), context_type: "general".into(), context_id: None, alias: None, at };
    store.open_conversation(new).await.unwrap();
}

async fn deep_pages_have_neither_holes_nor_doubles(store: Arc<dyn Store>) {
    let me = astrologer("a1");
    // More of either than places are read at once, in turns and in long stretches of one kind.
    let calls: Vec<i64> = (0..1_300).chain(3_000..3_200).collect();
    let conversations: Vec<i64> = (1_000..2_400).collect();
    for some in calls.chunks(100) {
        join_all(some.iter().map(|n| store.create_call(new_call(&user("caller"), &me, at(n * 10 - 1_000_000))))).await;
    }
    for some in conversations.chunks(100) {
        join_all(some.iter().map(|n| {
            let (store, me) = (store.clone(), me.clone());
            async move { open(&store, &user(&format!("u{n}")), &me, at(n * 10 - 1_000_000)).await }
        }))
        .await;
    }
    let server = TestServer::start(store).await;
    let token = server.token(ParticipantKind::Astrologer, "a1");
    let all = calls.len() + conversations.len() + 1;
    let (mut ids, mut times, mut cursor) = (BTreeSet::new(), Vec::new(), None);
    for number in 1..=all.div_ceil(100) {
        let by_number = page(&server, &token, "a1", &format!("page={number}&limit=100")).await.rows;
        let query = cursor.map_or_else(String::new, |cursor: String| format!("&cursor={cursor}"));
        let by_cursor = page(&server, &token, "a1", &format!("limit=100{query}")).await;
        assert_eq!(by_number, by_cursor.rows, "page {number}");
        ids.extend(by_number.iter().map(|row| row.id.clone()));
        times.extend(by_number.iter().map(|row| row.timestamp));
        cursor = by_cursor.cursor;
    }
    assert_eq!((ids.len(), times.len()), (all, all));
    assert!(times.windows(2).all(|two| two[0] >= two[1]));
    assert_eq!(cursor, None);
    assert_eq!(page(&server, &token, "a1", "page=50&limit=100").await.rows, []);
    let (status, refused) = request(&server.url, "GET", "/api/communications/a1?page=102&limit=100", Some(&token), None).await;
    assert_eq!((status, &refused["code"]), (400, &json!("INVALID_PAYLOAD")), "{refused}");
    server.stop().await;
}

async fn a_cursor_stays_where_it_is_while_conversations_move(store: Arc<dyn Store>) {
    let me = user("u1");
    for n in 0..10 {
        open(&store, &me, &astrologer(&format!("a{n}")), at(n * 1_000 - 60_000)).await;
    }
    let server = TestServer::start(store).await;
    let token = server.token(ParticipantKind::User, "u1");
    let first = page(&server, &token, "u1", "limit=5").await;
    // The last one shown moves to the top; a cursor by its id would go there with it.
    let moved = first.rows.iter().rev().find(|row| row.contact.1 != "admin").expect("one").contact.1.clone();
    let body = json!({ "contactId": moved, "message": "hello" });
    let (status, _) = request(&server.url, "POST", "/api/communications/u1/messages", Some(&token), Some(&body)).await;
    assert_eq!(status, 201);
    let rest = page(&server, &token, "u1", &format!("limit=50&cursor={}", first.cursor.expect("more"))).await;
    let ids = |rows: &[Row]| rows.iter().map(|row| row.id.clone()).collect::<BTreeSet<_>>();
    assert!(ids(&first.rows).is_disjoint(&ids(&rest.rows)));
    assert_eq!(first.rows.len() + rest.rows.len(), 11);
    server.stop().await;
}

async fn the_row_of_support_is_on_the_first_page_of_everybody_but_admins(store: Arc<dyn Store>) {
    for n in 0..5 {
        store.create_call(new_call(&user("u1"), &astrologer("a1"), at(n))).await.unwrap();
    }
    open(&store, &astrologer("a1"), &admin("admin"), at(-50_000)).await;
    let server = TestServer::start(store).await;
    for (kind, id, key) in [(ParticipantKind::Astrologer, "a1", "admin_a1"), (ParticipantKind::User, "new_one", "admin_user_new~one")] {
        let token = server.token(kind, id);
        let first = page(&server, &token, id, "limit=3").await;
        let support = first.rows.last().expect("there is always a row");
        assert_eq!((support.contact.1.as_str(), support.conversation_id.as_str()), ("admin", key));
        assert_eq!((support.preview.as_str(), support.unread), ("Welcome! Write to us whenever you need help.", 0));
    }
    let (token, nobodys) = (server.token(ParticipantKind::Astrologer, "a1"), "page=2&limit=3");
    assert_eq!(page(&server, &token, "a1", nobodys).await.rows.len(), 3, "five calls, of which two were on the first page");
    // Looking opened nothing.
    assert_eq!(page(&server, ADMIN_KEY, "admin", "").await.rows.len(), 1);
    server.stop().await;
}

async fn an_inbox_is_its_owners_and_admins_may_look(store: Arc<dyn Store>) {
    store.create_call(new_call(&user("same"), &astrologer("same"), at(0))).await.unwrap();
    let server = TestServer::start(store.clone()).await;
    let (me, other) = (server.token(ParticipantKind::User, "same"), server.token(ParticipantKind::Astrologer, "other"));
    let ask = async |token: Option<&str>, method: &str, path: &str| request(&server.url, method, path, token, None).await;
    for path in ["/api/communications/same", "/api/communications/same/unread-counts"] {
        assert_eq!(ask(None, "GET", path).await.0, 401);
        let (status, body) = ask(Some("nonsense"), "GET", path).await;
        assert_eq!((status, &body["code"]), (401, &json!("auth.invalid")));
        let (status, body) = ask(Some(&other), "GET", path).await;
        assert_eq!((status, &body["code"]), (403, &json!("FORBIDDEN")));
        assert!(!body.to_string().contains("suspend"), "the app would show its screen for suspended accounts");
        assert_eq!(ask(Some(&me), "GET", path).await.0, 200);
        assert_eq!(ask(Some(&me), "GET", &format!("{path}?type=astrologer")).await.0, 403, "another person of the same id");
        assert_eq!(ask(Some(ADMIN_KEY), "GET", path).await.0, 200);
    }
    for path in ["messages/mark-all-read", "calls/clear-missed"] {
        for (token, status) in [(me.as_str(), 200), (other.as_str(), 403), (ADMIN_KEY, 403)] {
            assert_eq!(ask(Some(token), "PATCH", &format!("/api/communications/same/{path}")).await.0, status, "{path}");
        }
    }
    // Both are called the same; the admin says whom he means.
    let astrologers = page(&server, ADMIN_KEY, "same", "").await.rows;
    let users = page(&server, ADMIN_KEY, "same", "type=user").await.rows;
    assert_eq!((astrologers[0].contact.0.as_str(), users[0].contact.0.as_str()), ("user", "astrologer"));
    // Written a moment later.
    for subject in ["inbox of astrologer:same", "inbox of user:same"] {
        let is_noted = async || store.audit_trail(None, None, 10).await.unwrap().iter().any(|entry| entry.subject == subject);
        let noted = async {
            while !is_noted().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, noted).await.expect("in the audit trail");
    }
    server.stop().await;
}

async fn what_is_unseen_is_counted_and_seen_without_rewriting_calls(store: Arc<dyn Store>) {
    let me = astrologer("a1");
    let now = Timestamp::now();
    let end = |id, ended_at| samvad::store::CallChange {
        id,
        from: CallStatus::RINGING.to_vec(),
        to: CallStatus::Missed,
        end: Some(samvad::store::CallEnd {
            reason: EndReason::NoAnswer,
            detail: "timeout".into(),
            by: None,
            duration: 0,
            server_duration: 0,
            notices: Notices::default(),
        }),
        at: ended_at,
    };
    let old = store.create_call(new_call(&user("u1"), &me, now.minus(100 * DAY))).await.unwrap();
    store.transition_call(end(old.id, now.minus(100 * DAY))).await.unwrap();
    let missed = store.create_call(new_call(&user("u1"), &me, now.minus(DAY))).await.unwrap();
    store.transition_call(end(missed.id, now.minus(DAY))).await.unwrap();
    let rings = store.create_call(new_call(&user("u1"), &me, now)).await.unwrap();
    let server = TestServer::start(store.clone()).await;
    let (mine, theirs) = (server.token(ParticipantKind::Astrologer, "a1"), server.token(ParticipantKind::User, "u1"));
    let counts = async || {
        let (_, body) = request(&server.url, "GET", "/api/communications/a1/unread-counts", Some(&mine), None).await;
        ["messages", "missedCalls", "missedVideoCalls"].map(|name| body["data"][name].as_u64().expect("an integer"))
    };
    for n in 0..3 {
        let to = json!({ "contactId": "a1", "message": format!("number {n}") });
        let (status, sent) = request(&server.url, "POST", "/api/communications/u1/messages", Some(&theirs), Some(&to)).await;
        assert_eq!((status, sent["data"]["status"].as_str()), (201, Some("sent")), "{sent}");
    }
    assert_eq!(counts().await, [3, 1, 0]);

    let (_, seen) = request(&server.url, "PATCH", "/api/communications/a1/calls/clear-missed", Some(&mine), None).await;
    assert_eq!(seen["success"], true);
    assert_eq!(counts().await, [3, 0, 0]);
    assert_eq!(store.find_call(missed.id).await.unwrap().unwrap().status, CallStatus::Missed, "history stays as it is");
    // What rang while somebody looked and was missed afterwards is news.
    store.transition_call(end(rings.id, Timestamp::now().plus(Duration::from_secs(5)))).await.unwrap();
    assert_eq!(counts().await, [3, 1, 0]);

    let history = store.find_conversation(&samvad::store::Lookup::Key(Pair::new(user("u1"), me).unwrap().key())).await.unwrap().unwrap();
    let last = history.last_message.expect("one").message_id.expect("ours");
    let read = |token: String, id: String| {
        let url = server.url.clone();
        async move { request(&url, "PATCH", &format!("/api/communications/messages/{id}/read"), Some(&token), None).await }
    };
    assert_eq!(read(theirs.clone(), last.to_string()).await.1["data"]["messageIds"], json!([]), "one's own message");
    let (status, done) = read(mine.clone(), last.to_string()).await;
    assert_eq!((status, &done["data"]), (200, &json!({ "messageIds": [last.to_string()], "unreadCount": 2 })));
    let stranger = server.token(ParticipantKind::Astrologer, "a2");
    for (token, id, code) in [(&stranger, last.to_string(), 404), (&mine, "6900000000000000000000ff".into(), 404), (&mine, "x".into(), 400)]
    {
        assert_eq!(read(token.clone(), id).await.0, code);
    }
    let mut listener = server.user("u1").await;
    let (_, all) = request(&server.url, "PATCH", "/api/communications/a1/messages/mark-all-read", Some(&mine), None).await;
    assert_eq!(all["data"], json!({ "conversations": 1, "messages": 2, "hasMore": false }));
    assert_eq!(listener.expect("dm:messages_read").await["messageIds"].as_array().map(Vec::len), Some(2));
    assert_eq!(counts().await, [0, 1, 0]);
    server.stop().await;
}

async fn messages_and_calls_from_the_inbox_answer_with_its_rows(store: Arc<dyn Store>) {
    let server = TestServer::start(store).await;
    let mine = server.token(ParticipantKind::Astrologer, "a1");
    let mut support = server.admin().await;
    let mut client = server.user("u1").await;
    let post = |what: &'static str, body: Value| {
        let (url, token) = (server.url.clone(), mine.clone());
        async move { request(&url, "POST", &format!("/api/communications/a1/{what}"), Some(&token), Some(&body)).await }
    };
    let say = json!({ "contactId": "u1", "message": "namaste", "clientMessageId": "once" });
    for status in [201, 200] {
        let (told, answer) = post("messages", say.clone()).await;
        let row = decode(&answer["data"]);
        assert_eq!(
            (told, row.preview.as_str(), row.status.as_str(), row.conversation_id.as_str()),
            (status, "namaste", "sent", "user_u1_a1")
        );
        assert_eq!((row.contact.0.as_str(), row.contact.1.as_str(), &answer["data"]["isOnline"]), ("user", "u1", &json!(true)));
    }
    assert_eq!(client.expect("dm:new_message").await["content"], "namaste");
    let (status, _) = post("messages", json!({ "contactId": "admin", "message": "help" })).await;
    assert_eq!((status, &support.expect("dm:new_message").await["content"]), (201, &json!("help")));

    for (what, row_type) in [("calls/voice", "voiceCall"), ("calls/video", "videoCall")] {
        let (status, answer) = post(what, json!({ "contactId": "u1" })).await;
        let mut data = answer["data"].clone();
        let extra = data.as_object_mut().expect("an object");
        for name in ["channelName", "uid"] {
            assert!(extra.remove(name).is_some(), "{name} in {answer}");
        }
        let row = decode(&data);
        assert_eq!((status, row.row_type.as_str(), row.status.as_str()), (201, row_type, "outgoing"));
        let rung = client.expect("call:incoming").await;
        assert_eq!(rung["callId"], answer["data"]["callId"]);
        let shown = page(&server, &server.token(ParticipantKind::User, "u1"), "u1", "").await.rows;
        assert_eq!((shown[0].id.as_str(), shown[0].status.as_str()), (row.id.as_str(), "incoming"));
    }
    for (what, body, code) in [
        ("messages", json!({ "message": "to whom?" }), "INVALID_PAYLOAD"),
        ("messages", json!({ "contactId": "u1" }), "INVALID_PAYLOAD"),
        ("messages", json!({ "contactId": "a 1", "message": "x" }), "INVALID_ID"),
        ("messages", json!({ "contactId": "a1", "contactType": "astrologer", "message": "x" }), "SELF_CONVERSATION_BLOCKED"),
        ("calls/voice", json!({}), "INVALID_PAYLOAD"),
        ("calls/voice", json!({ "contactId": "a2", "contactType": "astrologer" }), "FORBIDDEN"),
    ] {
        assert_eq!(post(what, body.clone()).await.1["code"], code, "{what} {body}");
    }
    server.stop().await;
}

async fn questions_that_make_no_sense_are_refused(store: Arc<dyn Store>) {
    let server = TestServer::start(store).await;
    let token = server.token(ParticipantKind::User, "u1");
    for (query, status, code) in [
        ("page=0", 400, "INVALID_PAYLOAD"),
        ("limit=0", 400, "INVALID_PAYLOAD"),
        ("limit=many", 400, "INVALID_PAYLOAD"),
        ("cursor=here", 400, "INVALID_PAYLOAD"),
        ("cursor=.6900000000000000000000ff", 404, "CALL_NOT_FOUND"),
        ("type=cat", 400, "INVALID_PAYLOAD"),
        ("page=18446744073709551615&limit=100", 400, "INVALID_PAYLOAD"),
    ] {
        let (told, body) = request(&server.url, "GET", &format!("/api/communications/u1?{query}"), Some(&token), None).await;
        assert_eq!((told, body["code"].as_str()), (status, Some(code)), "{query}: {body}");
    }
    assert_eq!(page(&server, &token, "u1", "limit=100000").await.rows.len(), 1);
    server.stop().await;
}
