//! The tables of permissions, walked over a running server: every event and every route, by every kind of person, about one's own,
//! other people's and unknown things; and everybody reaching out to everybody.

use std::sync::Arc;

use samvad::models::ParticipantKind::{Admin, Astrologer, User};
use samvad::models::{AuditAction, ParticipantKind};
use samvad::services::permissions::{Answer, Operation, Reach, Standing, answer, reach};
use samvad::store::Store;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::http::request;
use crate::support::server::{ADMIN_KEY, TestServer};
use crate::support::stores;

const KINDS: [ParticipantKind; 3] = [Admin, Astrologer, User];
const UNKNOWN: &str = "69000000000000000000beef";

/// Somebody with a token.
#[derive(Clone)]
struct Person {
    kind: ParticipantKind,
    id: String,
    token: String,
}

impl Person {
    fn new(server: &TestServer, kind: ParticipantKind, number: usize) -> Self {
        if kind == Admin {
            return Self { kind, id: "admin".into(), token: ADMIN_KEY.into() };
        }
        let id = format!("{kind}{number}");
        Self { kind, token: server.token(kind, &id), id }
    }

    async fn connect(&self, server: &TestServer) -> Client {
        Client::connect(&server.url, &self.token).await
    }
}

/// What a request can name, freshly made: a conversation with a message of `first`, and a call that rings.
struct Things {
    /// Wrote the message, and is rung.
    first: Person,
    /// The other one, who rings.
    second: Person,
    conversation: String,
    message: String,
    call: String,
}

/// Walks with fresh people at every step, so that no question spoils the next one.
struct Walk {
    server: TestServer,
    store: Arc<dyn Store>,
    people: usize,
    cells: usize,
}

impl Walk {
    async fn start() -> (Self, tempfile::TempDir) {
        let (store, folder) = stores::sqlite();
        let settings = [("RATE_PROFILE", "off"), ("RELATION_CHECK", "on")];
        let server = TestServer::start_with(Arc::clone(&store), &settings).await;
        (Self { server, store, people: 0, cells: 0 }, folder)
    }

    fn person(&mut self, kind: ParticipantKind) -> Person {
        self.people += 1;
        Person::new(&self.server, kind, self.people)
    }

    async fn relate(&self, a: &Person, b: &Person) {
        let (user, astrologer) = if a.kind == User { (a, b) } else { (b, a) };
        if (user.kind, astrologer.kind) == (User, Astrologer) {
            let body = json!({ "userId": user.id, "astrologerId": astrologer.id });
            let (status, answer) = request(&self.server.url, "POST", "/api/admin/relations", Some(ADMIN_KEY), Some(&body)).await;
            assert_eq!(status, 201, "{answer}");
        }
    }

    /// Makes everything two people can have between them.
    async fn things(&mut self, first: Person, second: Person) -> Things {
        self.relate(&first, &second).await;
        let (mut writer, mut caller) = (first.connect(&self.server).await, second.connect(&self.server).await);
        let to = |p: &Person| json!({ "recipientId": p.id, "recipientType": p.kind, "content": "hello", "callType": "voice" });
        let sent = writer.call("dm:send_message", &to(&second)).await;
        assert_eq!(sent["ok"], true, "{sent}");
        let call = caller.call("call:initiate", &to(&first)).await;
        assert_eq!(call["ok"], true, "{call}");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Things {
            conversation: text(&sent["message"]["conversationRef"]),
            message: text(&sent["message"]["_id"]),
            call: text(&call["callId"]),
            first,
            second,
        }
    }

    /// Things to which somebody of this kind stands like this, and somebody who does.
    async fn stand(&mut self, kind: ParticipantKind, standing: Standing) -> (Person, Things) {
        let partner = if kind == Astrologer { User } else { Astrologer };
        match standing {
            Standing::Party => {
                let (first, second) = (self.person(kind), self.person(partner));
                let things = self.things(first.clone(), second).await;
                (first, things)
            }
            Standing::Admin | Standing::Stranger | Standing::Unknown => {
                let (asker, first, second) = (self.person(kind), self.person(User), self.person(Astrologer));
                let mut things = self.things(first, second).await;
                if standing == Standing::Unknown {
                    for id in [&mut things.conversation, &mut things.message, &mut things.call] {
                        UNKNOWN.clone_into(id);
                    }
                }
                (asker, things)
            }
        }
    }

    /// Whether the audit trail has this.
    async fn is_audited(&self, action: AuditAction, subject: &str) -> bool {
        for _ in 0..100 {
            let trail = self.store.audit_trail(Some(action), None, 1000).await.expect("readable");
            if trail.iter().any(|entry| entry.subject == subject && entry.actor == "admin:admin") {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        false
    }
}

/// The standings a kind of person can have.
fn standings(kind: ParticipantKind) -> [Standing; 3] {
    [Standing::Party, if kind == Admin { Standing::Admin } else { Standing::Stranger }, Standing::Unknown]
}

/// The fields every event is asked with; an event that is not here fails the walk.
fn payload(event: &str, things: &Things, token: &str) -> Value {
    let conversation = json!({ "conversationId": things.conversation });
    match event {
        "dm:join_conversation"
        | "dm:leave_conversation"
        | "dm:typing_start"
        | "dm:typing_stop"
        | "dm:history"
        | "dm:sync"
        | "dm:mark_read"
        | "dm:read" => conversation,
        "dm:send_message" => json!({ "conversationId": things.conversation, "content": "more" }),
        "dm:delete_message" => json!({ "messageId": things.message, "scope": "everyone" }),
        "get_stats" => json!({}),
        "presence:get" => json!({ "ids": [things.first.id, things.second.id] }),
        "auth:refresh" => json!({ "token": token }),
        name if name == "call" || name.starts_with("call:") => json!({ "callId": things.call }),
        other => panic!("{other} is not in the walk: say here what it is asked with"),
    }
}

/// An ack or a REST answer as the table would put it.
fn seen(status: u16, body: &Value) -> Answer {
    let code = body["code"].as_str().unwrap_or_default();
    match status {
        200 | 201 => Answer::Yes,
        403 if code == "FORBIDDEN" => Answer::Forbidden,
        404 if code.ends_with("_NOT_FOUND") => Answer::NotFound,
        _ => panic!("an answer the table does not know: {status} {body}"),
    }
}

fn ack(answer: &Value) -> Answer {
    let status = match answer["code"].as_str() {
        None => 200,
        Some("FORBIDDEN") => 403,
        Some(_) => 404,
    };
    seen(status, answer)
}

/// What is done, done for show, or waits looks alike to the asker; the effects are looked at separately.
fn as_told(answer: Answer) -> Answer {
    match answer {
        Answer::Yes | Answer::Audited | Answer::Nothing | Answer::Waits => Answer::Yes,
        refused => refused,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_and_route_answers_as_the_table_says() {
    let (mut walk, _folder) = Walk::start().await;
    let mut wrong = Vec::new();
    for (event, operation) in samvad::handlers::events::operations().filter(|(_, o)| *o != Operation::Reach) {
        for kind in KINDS {
            for standing in standings(kind) {
                let (asker, things) = walk.stand(kind, standing).await;
                let mut client = asker.connect(&walk.server).await;
                let answered = client.call(event, &payload(event, &things, &asker.token)).await;
                walk.cells += 1;
                let expected = as_told(answer(operation, standing));
                // A key is not renewed: only tokens end.
                if ack(&answered) != expected {
                    wrong.push(format!("{event} by {kind}, {standing:?}: {answered}, the table says {expected:?}"));
                }
            }
        }
    }
    for (method, path, operation) in samvad::rest::operations() {
        for kind in KINDS {
            for standing in standings(kind) {
                let (asker, things) = walk.stand(kind, standing).await;
                let Some((path, body)) = rest_question(method, path, &asker, standing, &things) else { continue };
                let token = (operation != Operation::Open).then_some(asker.token.as_str());
                let (status, answered) = request(&walk.server.url, method, &path, token, body.as_ref()).await;
                walk.cells += 1;
                let standing = match operation {
                    Operation::Administer if kind == Admin => Standing::Admin,
                    Operation::Administer => Standing::Stranger,
                    // Every id names an inbox.
                    Operation::ReadInbox | Operation::KeepInbox if kind == Admin && standing == Standing::Unknown => Standing::Admin,
                    _ => standing,
                };
                // Feedback before the end of a call is a conflict; that it may be given is all that is asked here.
                let status = if path.ends_with("/feedback") && answered["code"] == "CONFLICT" { 200 } else { status };
                let expected = as_told(answer(operation, standing));
                if seen(status, &answered) != expected {
                    wrong.push(format!("{method} {path} by {kind}, {standing:?}: {status} {answered}, the table says {expected:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), walk.cells, wrong.join("\n"));
    println!("{} cells of the table of things", walk.cells);
    walk.server.stop().await;
}

/// Path and body of a question by REST; `None` where only the table of people decides, which has a walk of its own.
fn rest_question(method: &str, path: &str, asker: &Person, standing: Standing, things: &Things) -> Option<(String, Option<Value>)> {
    let other = if things.first.id == asker.id { &things.second } else { &things.first };
    let content = Some(json!({ "content": "more" }));
    let at_call = |rest: &str| format!("/api/calls/{}{rest}", things.call);
    Some(match (method, path) {
        (
            _,
            "/health" | "/api/health" | "/ready" | "/api/demo" | "/api/conversations" | "/api/calls/history" | "/api/calls/active"
            | "/api/fcm/tokens",
        ) if method == "GET" => (path.to_owned(), None),
        ("POST", "/api/media/uploads") => {
            (path.to_owned(), Some(json!({ "conversationId": things.conversation, "mimeType": "image/png", "size": 10 })))
        }
        // A file has a conversation; that its people alone get at it is asked in `media.rs`.
        (_, path) if path.starts_with("/api/media/{id}") => return None,
        ("GET", "/api/presence") => (format!("{path}?ids={},nobody", other.id), None),
        ("POST", "/api/conversations" | "/api/calls/initiate") => return None,
        ("GET", "/api/admin/board" | "/api/admin/sessions") => (path.to_owned(), None),
        // Not in the envelope; who may read it is tested in metrics.rs.
        ("GET", "/metrics") => return None,
        // Admins have no devices; that is refused whatever it is about.
        ("POST", "/api/fcm/register") if asker.kind == Admin => return None,
        ("POST", "/api/fcm/register" | "/api/fcm/unregister") => {
            (path.to_owned(), Some(json!({ "fcmToken": format!("token-of-{}", asker.id), "platform": "android" })))
        }
        (_, "/api/conversations/admin" | "/api/conversations/admin/messages") if asker.kind == Admin => return None,
        ("GET", "/api/conversations/admin" | "/api/conversations/admin/messages") => (path.to_owned(), None),
        ("POST", "/api/conversations/admin/messages") => (path.to_owned(), content),
        ("GET", "/api/admin/conversations/{astrologer_id}" | "/api/admin/conversations/{astrologer_id}/messages") => {
            (path.replace("{astrologer_id}", "astrologer1"), None)
        }
        ("POST", "/api/admin/conversations/{astrologer_id}/messages") => (path.replace("{astrologer_id}", "astrologer1"), content),
        ("POST", "/api/admin/calls/initiate") => (path.to_owned(), Some(json!({ "astrologerId": "astrologer1", "callType": "voice" }))),
        ("POST", "/api/admin/relations") => (path.to_owned(), Some(json!({ "userId": "nobody1", "astrologerId": "nobody2" }))),
        ("POST", "/api/admin/sessions/revoke") => (path.to_owned(), Some(json!({ "userId": "nobody1", "type": "user" }))),
        ("POST", "/api/admin/login") => (path.to_owned(), Some(json!({ "adminKey": ADMIN_KEY }))),
        ("GET", path) if path.starts_with("/api/admin/communications/") || path.starts_with("/api/admin/analytics/") => {
            (path.to_owned(), None)
        }
        ("POST", "/api/calls/admin/token") => (path.to_owned(), Some(json!({}))),
        ("GET", "/api/conversations/{id}") => (format!("/api/conversations/{}", things.conversation), None),
        ("GET", "/api/conversations/{id}/messages") => (format!("/api/conversations/{}/messages", things.conversation), None),
        ("POST", "/api/conversations/{id}/messages") => (format!("/api/conversations/{}/messages", things.conversation), content),
        (_, "/api/communications/messages/{id}/read") => (path.replace("{id}", &things.message), None),
        // Whom one reaches from there is asked in the walk of the table of people.
        (_, path) if path.starts_with("/api/communications/{id}") => {
            let kind = if standing == Standing::Admin { "?type=user" } else { "" };
            let owner = match standing {
                Standing::Party => &asker.id,
                Standing::Unknown => UNKNOWN,
                Standing::Admin | Standing::Stranger => &things.first.id,
            };
            let body = (method == "POST")
                .then(|| json!({ "contactId": if asker.kind == Admin { other.id.as_str() } else { "admin" }, "message": "more" }));
            (format!("{}{kind}", path.replace("{id}", owner)), body)
        }
        ("GET", "/api/calls/{id}") => (at_call(""), None),
        ("POST", "/api/calls/{id}/token") => (at_call("/token"), None),
        ("POST", "/api/calls/{id}/end") => (at_call("/end"), None),
        ("POST", "/api/calls/{id}/feedback") => (at_call("/feedback"), Some(json!({ "rating": 5 }))),
        _ => panic!("{method} {path} is not in the walk: say here what it is asked with, for {}", other.id),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_reaches_whom_the_table_says_by_every_way() {
    let (mut walk, _folder) = Walk::start().await;
    let mut wrong = Vec::new();
    for from in KINDS {
        for to in KINDS {
            for known in ["related", "unrelated", "unknown"] {
                for way in ["dm:send_message", "call:initiate", "/api/conversations", "/api/calls/initiate"] {
                    let (asker, other) = (walk.person(from), walk.person(to));
                    match known {
                        "related" => walk.relate(&asker, &other).await,
                        // Somebody the server has met.
                        "unrelated" => drop(other.connect(&walk.server).await),
                        _ => {}
                    }
                    let ask = json!({ "recipientId": other.id, "recipientType": to, "content": "hello", "callType": "voice" });
                    let code = if way.starts_with('/') {
                        let (status, answered) = request(&walk.server.url, "POST", way, Some(&asker.token), Some(&ask)).await;
                        assert_eq!(status < 300, answered["success"] == true);
                        answered["code"].as_str().map(str::to_owned)
                    } else {
                        let mut client = asker.connect(&walk.server).await;
                        client.call(way, &ask).await["code"].as_str().map(str::to_owned)
                    };
                    walk.cells += 1;
                    let expected = match reach(from, to) {
                        _ if (from, to) == (Admin, Admin) => Some("SELF_CONVERSATION_BLOCKED"),
                        Reach::No => Some("FORBIDDEN"),
                        Reach::IfRelated if known != "related" => Some("NOT_RELATED"),
                        Reach::Yes | Reach::IfRelated => None,
                    };
                    if code.as_deref() != expected {
                        wrong.push(format!("{way} from {from} to {known} {to}: {code:?}, the table says {expected:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), walk.cells, wrong.join("\n"));
    println!("{} cells of the table of people", walk.cells);
    walk.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_admin_does_with_other_peoples_things_is_audited_and_nothing_else_is() {
    let (mut walk, _folder) = Walk::start().await;
    for (event, operation) in samvad::handlers::events::operations() {
        if operation == Operation::Reach {
            continue;
        }
        let (admin, things) = walk.stand(Admin, Standing::Admin).await;
        let mut client = admin.connect(&walk.server).await;
        client.call(event, &payload(event, &things, &admin.token)).await;
        if answer(operation, Standing::Admin) == Answer::Audited {
            let (action, subject) = match operation {
                Operation::Delete => (AuditAction::Delete, things.message.clone()),
                _ => (AuditAction::Read, format!("user_{}_{}", things.first.id, things.second.id)),
            };
            assert!(walk.is_audited(action, &subject).await, "{event} about {subject} is not in the audit trail");
        }
    }
    let (party, things) = walk.stand(Admin, Standing::Party).await;
    let mut client = party.connect(&walk.server).await;
    client.call("dm:history", &json!({ "conversationId": things.conversation })).await;
    let (_, other) = walk.stand(Admin, Standing::Admin).await;
    let (status, _) = request(&walk.server.url, "GET", &format!("/api/calls/{}", other.call), Some(ADMIN_KEY), None).await;
    assert_eq!(status, 200);
    // The later entry is there, so an earlier one would be too.
    assert!(walk.is_audited(AuditAction::Read, &other.call).await);
    let own = format!("admin_{}", things.second.id);
    let trail = walk.store.audit_trail(None, None, 1000).await.expect("readable");
    assert!(!trail.iter().any(|entry| entry.subject == own), "an admin's own conversation is nothing to audit");
    walk.server.stop().await;
}

#[tokio::test]
async fn who_waits_or_types_without_taking_part_is_neither_heard_nor_hears() {
    let (mut walk, _folder) = Walk::start().await;
    for kind in [Astrologer, User] {
        let (stranger, things) = walk.stand(kind, Standing::Stranger).await;
        let (mut outside, mut inside) = (stranger.connect(&walk.server).await, things.first.connect(&walk.server).await);
        let conversation = json!({ "conversationId": things.conversation });
        inside.call("dm:join_conversation", &conversation).await;
        assert_eq!(outside.call("dm:join_conversation", &conversation).await["unreadCount"], 0);
        outside.call("dm:typing_start", &conversation).await;
        let canonical = json!({ "conversationId": format!("user_{}_{}", things.first.id, things.second.id) });
        assert_eq!(outside.call("dm:join_conversation", &canonical).await["code"], "DM_JOIN_FORBIDDEN");
        let sent = inside.call("dm:send_message", &json!({ "conversationId": things.conversation, "content": "private" })).await;
        assert_eq!(sent["ok"], true, "{sent}");
        assert!(inside.heard_so_far().await.iter().all(|(event, _)| !event.starts_with("dm:typing")));
        let heard = outside.heard_so_far().await;
        assert!(heard.iter().all(|(event, _)| ["dm:joined", "error", "dm:error"].contains(&event.as_str())), "{heard:?}");
    }
    walk.server.stop().await;
}
