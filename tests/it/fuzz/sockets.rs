//! The second half of group 1: generated events over real websockets, one of a user, an astrologer and an admin each.

use std::cell::RefCell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest::test_runner::TestCaseResult;
use samvad::models::ParticipantKind;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::support::client::Client;
use crate::support::server::TestServer;
use crate::support::stores;

use super::garbage::{World, fields_of, json_text, object, text, value};
use super::{CODES, Group};

/// One event as a client writes it: who, whether an ack is asked for, and `["name", …]`.
type Event = (usize, bool, String);

/// A house with something in it: three people, two conversations, messages, a call.
struct House {
    server: TestServer,
    world: World,
    /// User, astrologer, admin; none after a failure, until the next try.
    people: RefCell<Option<Vec<Client>>>,
}

impl House {
    async fn open(store: std::sync::Arc<dyn samvad::store::Store>) -> Self {
        let agora = "0123456789abcdef0123456789abcdef";
        let settings = [
            ("RATE_PROFILE", "off"),
            ("RELATION_CHECK", "off"),
            ("RING_TIMEOUT_SECONDS", "2"),
            ("AGORA_APP_ID", agora),
            ("AGORA_APP_CERTIFICATE", agora),
        ];
        let server = TestServer::start_with(store, &settings).await;
        let world = furnish(&server).await;
        Self { server, world, people: RefCell::default() }
    }

    async fn connect(&self) -> Vec<Client> {
        vec![self.server.user("u1").await, self.server.astrologer("a1").await, self.server.admin().await]
    }

    /// Sends a few events at once; afterwards each question has one answer, and everybody is still there.
    async fn send(&self, events: &[Event]) -> TestCaseResult {
        let taken = self.people.take();
        let mut people = match taken {
            Some(people) => people,
            None => self.connect().await,
        };
        let mut asked: Vec<Vec<u64>> = vec![Vec::new(); people.len()];
        for (who, wants_ack, body) in events {
            if *wants_ack {
                asked[*who].push(people[*who].ask_raw(body).await);
            } else {
                people[*who].raw(format!("42{body}")).await;
            }
        }
        for (person, asked) in people.iter_mut().zip(&asked) {
            let heard = person.heard_so_far().await;
            for (name, payload) in &heard {
                check_event(name, payload)?;
            }
            let answers = person.answers_so_far();
            let mut answered: Vec<u64> = answers.iter().map(|(id, _)| *id).collect();
            answered.sort_unstable();
            prop_assert_eq!(&answered, asked, "each question has exactly one answer");
            for (_, answer) in &answers {
                check_ack(answer)?;
            }
        }
        *self.people.borrow_mut() = Some(people);
        Ok(())
    }
}

/// Conversations, messages and a call, and what they are called.
pub async fn furnish(server: &TestServer) -> World {
    let (mut user, mut admin) = (server.user("u1").await, server.admin().await);
    let (mut messages, mut conversations) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let to_user = json!({ "recipientId": "u1", "recipientType": "user", "content": format!("{number}") });
        let to_astrologer = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": format!("{number}") });
        for sent in [admin.call("dm:send_message", &to_user).await, user.call("dm:send_message", &to_astrologer).await] {
            let word = |name: &str| sent["message"][name].as_str().expect("a text").to_owned();
            messages.push(word("_id"));
            conversations.push(word("conversationRef"));
        }
    }
    let rung = user.call("call:initiate", &json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" })).await;
    let calls = vec![rung["callId"].as_str().expect("it rings").to_owned()];
    let tokens = vec![server.token(ParticipantKind::User, "u1"), server.token(ParticipantKind::Astrologer, "a1"), "a.b.c".into()];
    World { messages, conversations, calls, tokens }
}

fn check_ack(answer: &Value) -> TestCaseResult {
    prop_assert!(answer.is_object(), "an ack is one object: {answer}");
    match answer["ok"].as_bool() {
        Some(true) => {}
        Some(false) => check_code(answer)?,
        None => prop_assert!(false, "an ack says ok: {answer}"),
    }
    Ok(())
}

fn check_code(refusal: &Value) -> TestCaseResult {
    let code = refusal["code"].as_str().unwrap_or_default();
    prop_assert!(CODES.contains(&code), "an unknown code: {refusal}");
    prop_assert!(code != "INTERNAL", "our fault: {refusal}");
    prop_assert!(refusal["message"].as_str().is_some_and(|text| !text.is_empty()), "a refusal says why: {refusal}");
    Ok(())
}

/// What is promised of every event; that it has one argument, an object, the client sees to.
fn check_event(name: &str, payload: &Value) -> TestCaseResult {
    prop_assert!(!has_null(payload), "absent fields are left out: {name} {payload}");
    if name == "error" || name.ends_with(":error") {
        check_code(payload)?;
        prop_assert_eq!(&payload["error"], &payload["code"]);
    }
    Ok(())
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

/// `["name", payload]` of a known event, sometimes with more or fewer arguments, sometimes of an unknown one.
fn bodies(world: &World, spoilt: bool) -> BoxedStrategy<String> {
    let names: Vec<&str> = samvad::handlers::events::operations().map(|(name, _)| name).collect();
    let event = |name: &&'static str| {
        let name = *name;
        object(fields_of(name), world).prop_map(move |payload| json!([name, payload])).boxed()
    };
    let ordinary = Union::new(names.iter().map(event));
    let argument = prop_oneof![value(), Just(Value::Null)];
    let odd = (select(names), vec(argument.clone(), 0..3)).prop_map(|(name, arguments)| {
        let parts = std::iter::once(json!(name)).chain(arguments);
        Value::Array(parts.collect())
    });
    // Names of the library's own events are no client's to send; what it does with them is its own affair.
    // Nor are names that JSON must escape: the library closes the connection on them.
    let plain = |name: String| name.replace(|c: char| c.is_control() || matches!(c, '\\' | '"'), "");
    let unknown = (text(), argument).prop_map(move |(name, payload)| json!([format!("x{}", plain(name)), payload]));
    let bodies = prop_oneof![12 => ordinary, 2 => odd, 1 => unknown];
    if spoilt { json_text(bodies, 1) } else { bodies.prop_map(|body| body.to_string()).boxed() }
}

/// Sends events that are legal packets, then packets that may not be.
pub fn check(group: &Group) {
    let handle = Handle::current();
    let (store, _folder) = stores::sqlite();
    let house = handle.block_on(House::open(store));
    let events = (0usize..3, any::<bool>(), bodies(&house.world, false));
    group.check("websocket", 120, &vec(events, 1..6), |events| handle.block_on(house.send(&events)));
    let spoilt = (0usize..3, bodies(&house.world, true));
    group.check("broken packets", 60, &spoilt, |(who, body)| handle.block_on(house.send_spoilt(who, &body)));
    handle.block_on(house.server.stop());
}

impl House {
    /// A packet that is no JSON may cost its sender the connection; an answer, if there is one, is a legal one, and nobody else notices.
    async fn send_spoilt(&self, who: usize, body: &str) -> TestCaseResult {
        let mut sender = match who {
            0 => self.server.user("u1").await,
            1 => self.server.astrologer("a1").await,
            _ => self.server.admin().await,
        };
        let id = sender.ask_raw(body).await;
        // As above: a name with an escape in it counts as unreadable.
        let parts: Option<Vec<&RawValue>> = serde_json::from_str(body).ok();
        let name = parts.as_ref().and_then(|parts| parts.first()).map_or("", |name| name.get());
        let readable = name.starts_with('"') && !name.contains('\\');
        match sender.heard_unless_closed().await {
            Some(heard) => {
                for (name, payload) in &heard {
                    check_event(name, payload)?;
                }
                let answers = sender.answers_so_far();
                let ids: Vec<u64> = answers.iter().map(|(id, _)| *id).collect();
                prop_assert!(if readable { ids == [id] } else { ids.len() <= 1 }, "one answer to a readable packet: {:?}", ids);
                for (_, answer) in &answers {
                    check_ack(answer)?;
                }
            }
            None => prop_assert!(!readable, "a readable packet cost the connection"),
        }
        self.send(&[]).await
    }
}
