//! The documents against the code: whatever is in one and not in the other fails here, and so does a payload that does not fit its schema.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::delivery::{
    AstrologerStatus, CallBase, CallConnected, CallEnded, CallMissed, CallOffer, CallRejected, Connected, Failure, Joined, MessageDeleted,
    MessagesDelivered, MessagesRead, Resync, ServerEvent, Stats, Typing,
};
use crate::error::{AuthError, Error};
use crate::models::message::{CallLog, Media};
use crate::models::{
    Attendance, Call, CallId, CallSide, CallStatus, CallType, ConversationHandle, ConversationId, EndReason, Message, MessageId,
    MessageType, NewCall, NewMessage, Pair, Participant, ParticipantKind, Profile, Timestamp, ToldMessage,
};
use crate::services::history::{History, HistoryRequest, Reading};
use crate::wire::HistoryBody;
use crate::{handlers, rest};

use super::codes::CODES;
use super::events::EVENTS;
use super::routes::ROUTES;

fn asyncapi() -> Value {
    serde_json::from_str(super::asyncapi()).expect("JSON")
}

fn openapi() -> Value {
    serde_json::from_str(super::openapi()).expect("JSON")
}

/// The same document with every object closed: in a test an undocumented field is a mistake, to a client it is one to ignore.
fn closed(document: &Value) -> Value {
    match document {
        Value::Array(items) => items.iter().map(closed).collect(),
        Value::Object(object) => {
            let mut object: serde_json::Map<String, Value> = object.iter().map(|(name, value)| (name.clone(), closed(value))).collect();
            if object.get("properties").is_some_and(Value::is_object) && object.get("type") == Some(&json!("object")) {
                object.insert("additionalProperties".into(), false.into());
            }
            Value::Object(object)
        }
        other => other.clone(),
    }
}

/// What is wrong with a payload.
fn mistakes(document: &Value, schema: &Value, payload: &Value) -> Vec<String> {
    let mut whole = schema.clone();
    whole["components"] = json!({ "schemas": document["components"]["schemas"] });
    let validator = jsonschema::options().should_validate_formats(true).build(&whole).expect("a schema");
    validator.iter_errors(payload).map(|wrong| format!("{} at {}", wrong, wrong.instance_path())).collect()
}

fn profile() -> Profile {
    Profile { name: Some("Asha".into()), picture: Some("https://example.com/a.png".into()) }
}

fn people() -> (Participant, Participant) {
    let person = |kind, id| Participant::new(kind, id).expect("an id");
    (person(ParticipantKind::User, "u1"), person(ParticipantKind::Astrologer, "a1"))
}

fn at() -> Timestamp {
    Timestamp::from_millis(1_766_224_800_007)
}

fn message() -> Message {
    let (user, astrologer) = people();
    let key = Pair::new(user.clone(), astrologer.clone()).expect("two people").key();
    let new = NewMessage {
        conversation: ConversationHandle { id: ConversationId::from_bytes([1; 12]), key, filed_by_id: false },
        sender: user,
        sender_profile: profile(),
        recipient: astrologer,
        recipient_key: "a1".into(),
        message_type: MessageType::CallLog,
        content: "Voice call completed".into(),
        media: Media {
            url: Some("https://example.com/x.png".into()),
            size_bytes: Some(7),
            duration_seconds: Some(2.5),
            thumbnail_url: Some("https://example.com/t.png".into()),
        },
        reply_to: Some(MessageId::from_bytes([2; 12])),
        call: Some(CallLog {
            call_type: Some("voice".into()),
            call_status: Some("completed".into()),
            call_duration: Some(5),
            call_id: Some("00".repeat(12)),
        }),
        client_message_id: Some("mine".into()),
        at: at(),
    };
    let mut message = new.into_message(MessageId::from_bytes([3; 12]), at());
    (message.read_at, message.delivered_at, message.deleted_at) = (Some(at()), Some(at()), Some(at()));
    message
}

fn call() -> Call {
    let (caller, callee) = people();
    let key = Pair::new(caller.clone(), callee.clone()).expect("two people").key();
    let new = NewCall {
        caller,
        caller_profile: profile(),
        callee,
        callee_profile: profile(),
        call_type: CallType::Video,
        channel: "c".into(),
        conversation_key: key,
        consultation_id: None,
        status: CallStatus::Ringing,
        ring_for: Duration::from_secs(60),
        at: at(),
    };
    Call { end_reason: Some(EndReason::Completed), ..new.into_call(CallId::from_bytes([4; 12]), at()) }
}

fn offer() -> Box<CallOffer> {
    let text = || Some("x".to_owned());
    Box::new(CallOffer {
        base: CallBase::new(&call()),
        agora_token: text(),
        agora_app_id: text(),
        uid: 0,
        agora_uid: 0,
        expires_at: Some(at()),
        caller_phone: text(),
        contact_id: text(),
        accepted_at: Some(at()),
    })
}

fn history() -> Box<serde_json::value::RawValue> {
    let history = History { conversation: None, messages: vec![message()], total: 1, has_more: false, unread: 0 };
    let ask = HistoryRequest { page: 1, limit: 50, before: None, after: None, reading: Reading::Reads };
    serde_json::value::to_raw_value(&HistoryBody::new(&history, &ask, "c")).expect("JSON")
}

/// How many kinds of events there are. A new one does not compile here, so that nobody forgets a sample of it.
const KINDS: usize = 25;

fn number(event: &ServerEvent) -> usize {
    match event {
        ServerEvent::Connected(_) => 0,
        ServerEvent::Stats(_) => 1,
        ServerEvent::Joined(_) => 2,
        ServerEvent::MessageReceived(_) => 3,
        ServerEvent::MessageSent(_) => 4,
        ServerEvent::NewMessage(_) => 5,
        ServerEvent::TypingStarted(_) => 6,
        ServerEvent::TypingStopped(_) => 7,
        ServerEvent::MessagesRead(_) => 8,
        ServerEvent::MessagesDelivered(_) => 9,
        ServerEvent::MessageDeleted(_) => 10,
        ServerEvent::History(..) => 11,
        ServerEvent::CallInitiated(_) => 12,
        ServerEvent::CallToken(_) => 13,
        ServerEvent::CallIncoming(_) => 14,
        ServerEvent::CallAccepted(_) => 15,
        ServerEvent::CallRejected(_) => 16,
        ServerEvent::CallEnded(_) => 17,
        ServerEvent::CallTimedOut(_) => 18,
        ServerEvent::CallMissed(_) => 19,
        ServerEvent::CallConnected(_) => 20,
        ServerEvent::PresenceChanged(_) => 21,
        ServerEvent::AstrologerStatusChanged(_) => 22,
        ServerEvent::Resync(_) => 23,
        ServerEvent::Failed(_) => KINDS - 1,
    }
}

/// One of each kind, with every field that may be there; of failures one for each family.
fn samples() -> Vec<ServerEvent> {
    let (user, astrologer) = people();
    let message = Arc::new(ToldMessage::new(message()));
    let typing = Typing { user_id: "u1".into(), user_type: ParticipantKind::User, user_name: Some("Asha".into()) };
    let ids = || vec![MessageId::from_bytes([3; 12])];
    let failure = |event: &str| {
        ServerEvent::Failed(Failure {
            message: "busy".into(),
            error: "OVERLOADED",
            code: "OVERLOADED",
            event: event.into(),
            conversation_id: Some("c".into()),
            call_id: Some("00".repeat(12)),
            retry_after_ms: Some(1),
            retryable: Some(true),
        })
    };
    vec![
        ServerEvent::Connected(Connected::new("s".into(), &astrologer, &profile(), at())),
        ServerEvent::Connected(Connected::new("s".into(), &Participant::shared_admin(), &Profile::default(), at())),
        ServerEvent::Stats(Stats::new(3)),
        ServerEvent::Joined(Joined { conversation_id: "c".into(), success: true, conversation_key: "c".into(), unread_count: 0 }),
        ServerEvent::MessageReceived(Arc::clone(&message)),
        ServerEvent::MessageSent(Arc::clone(&message)),
        ServerEvent::NewMessage(message),
        ServerEvent::TypingStarted(typing.clone()),
        ServerEvent::TypingStopped(typing),
        ServerEvent::MessagesRead(MessagesRead {
            message_ids: ids(),
            read_by: "a1".into(),
            read_by_type: ParticipantKind::Astrologer,
            read_at: at(),
        }),
        ServerEvent::MessagesDelivered(MessagesDelivered { message_ids: ids(), delivered_to: "a1".into(), delivered_at: at() }),
        ServerEvent::MessageDeleted(MessageDeleted { message_id: ids()[0], scope: "me", deleted_by: "u1".into(), deleted_at: at() }),
        ServerEvent::History(history(), false),
        ServerEvent::History(history(), true),
        ServerEvent::CallInitiated(offer()),
        ServerEvent::CallToken(offer()),
        ServerEvent::CallIncoming(offer()),
        ServerEvent::CallAccepted(offer()),
        ServerEvent::CallRejected(CallRejected::new(&call(), "busy".into())),
        ServerEvent::CallEnded(CallEnded::new(&call(), CallSide::Callee, "completed".into())),
        ServerEvent::CallTimedOut(CallEnded::new(&call(), CallSide::Callee, "missed".into()).saying("nobody answered")),
        ServerEvent::CallMissed(CallMissed::new(&call())),
        ServerEvent::CallConnected(CallConnected::new(&call(), CallSide::Callee)),
        ServerEvent::PresenceChanged(vec![
            Attendance { person: user.clone(), is_online: true, last_seen: None },
            Attendance { person: user, is_online: false, last_seen: Some(at()) },
        ]),
        ServerEvent::AstrologerStatusChanged(AstrologerStatus {
            astrologer_id: "a1".into(),
            is_online: true,
            presence: "online",
            last_seen: at(),
            name: Some("Asha".into()),
            profile_picture: Some("https://example.com/a.png".into()),
        }),
        ServerEvent::Resync(Resync { since: at() }),
        failure("dm:sync"),
        failure("call:end"),
        failure("auth:refresh"),
    ]
}

fn documented(document: &Value, action: &str) -> BTreeSet<String> {
    let operations = document["operations"].as_object().expect("operations").values().filter(|operation| operation["action"] == action);
    operations.map(|operation| operation["x-event"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn every_event_of_a_client_is_documented_and_no_other() {
    let known: BTreeSet<_> = handlers::events::operations().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(documented(&asyncapi(), "receive"), known);
}

#[test]
fn every_event_of_the_server_is_documented_and_no_other_and_its_payload_fits() {
    let document = closed(&asyncapi());
    let samples = samples();
    let kinds: BTreeSet<_> = samples.iter().map(number).collect();
    assert_eq!(kinds, (0..KINDS).collect(), "a sample of each kind");
    let names: BTreeSet<_> = samples.iter().flat_map(ServerEvent::names).map(|name| (*name).to_owned()).collect();
    assert_eq!(documented(&document, "send"), names);
    for event in &samples {
        let payload: Value = serde_json::from_str(event.render(Some("c")).expect("rendered").get()).expect("JSON");
        for name in event.names() {
            let schema = &document["components"]["messages"][format!("server.{}", name.replace(':', "."))]["payload"];
            assert_eq!(mistakes(&document, schema, &payload), [] as [String; 0], "{name}: {payload:#}");
        }
    }
}

#[test]
fn a_payload_that_does_not_fit_is_noticed() {
    let document = closed(&asyncapi());
    let schema = &document["components"]["messages"]["server.resync"]["payload"];
    for wrong in [json!({}), json!({ "since": null }), json!({ "since": "yesterday" }), json!({ "since": at(), "more": 1 })] {
        assert!(!mistakes(&document, schema, &wrong).is_empty(), "{wrong}");
    }
}

#[test]
fn every_route_is_documented_and_no_other() {
    let known: BTreeSet<_> = rest::operations().into_iter().map(|(method, path, _)| (method.to_owned(), path.to_owned())).collect();
    assert_eq!(ROUTES.len(), known.len(), "each once");
    let document = openapi();
    let paths = document["paths"].as_object().expect("paths");
    let documented = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").keys();
        methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    });
    assert_eq!(documented.collect::<BTreeSet<_>>(), known);
    let mut ids = BTreeSet::new();
    for operation in paths.values().flat_map(|methods| methods.as_object().expect("methods").values()) {
        assert!(ids.insert(operation["operationId"].to_string()), "{} twice", operation["operationId"]);
    }
}

#[test]
fn every_code_is_documented_and_no_other() {
    let wait = Duration::from_secs(1);
    let text = || "x".to_owned();
    let errors = vec![
        Error::Auth(AuthError::Missing),
        Error::Auth(AuthError::Invalid),
        Error::Auth(AuthError::Expired),
        Error::Auth(AuthError::SessionReplaced),
        Error::Auth(AuthError::Suspended),
        Error::InvalidPayload(text()),
        Error::InvalidId(text()),
        Error::ContentTooLong { limit: 1 },
        Error::PayloadTooLarge { limit: 1 },
        Error::ConversationNotFound,
        Error::MessageNotFound,
        Error::CallNotFound,
        Error::MediaNotFound,
        Error::MediaRefused(text()),
        Error::CallNotRinging,
        Error::CallOver,
        Error::AnsweredElsewhere,
        Error::NotRelated,
        Error::DmJoinForbidden,
        Error::SelfConversationBlocked,
        Error::Forbidden(text()),
        Error::Conflict(text()),
        Error::Overloaded { retry_after: wait },
        Error::RateLimited { retry_after: wait },
        Error::unavailable("x"),
        Error::UnknownEvent,
        Error::NotFound,
        Error::internal("x"),
    ];
    // A new one does not compile here, so that nobody forgets it above.
    let known = |error: &Error| match error {
        Error::Auth(AuthError::Missing | AuthError::Invalid | AuthError::Expired | AuthError::SessionReplaced | AuthError::Suspended)
        | Error::InvalidPayload(_)
        | Error::InvalidId(_)
        | Error::ContentTooLong { .. }
        | Error::PayloadTooLarge { .. }
        | Error::ConversationNotFound
        | Error::MessageNotFound
        | Error::CallNotFound
        | Error::MediaNotFound
        | Error::MediaRefused(_)
        | Error::CallNotRinging
        | Error::CallOver
        | Error::AnsweredElsewhere
        | Error::NotRelated
        | Error::DmJoinForbidden
        | Error::SelfConversationBlocked
        | Error::Forbidden(_)
        | Error::Conflict(_)
        | Error::Overloaded { .. }
        | Error::RateLimited { .. }
        | Error::Unavailable(_)
        | Error::UnknownEvent
        | Error::NotFound
        | Error::Internal(_) => error.code(),
    };
    let said: BTreeSet<_> = errors.iter().map(known).collect();
    assert_eq!(said.len(), errors.len(), "one of each");
    assert_eq!(CODES.iter().map(|code| code.0).collect::<BTreeSet<_>>(), said);
    for error in errors {
        let code = CODES.iter().find(|code| code.0 == error.code()).expect("just compared");
        assert_eq!(rest::refusal(error).status(), code.1, "{}", code.0);
    }
    let words = EVENTS.iter().flat_map(|event| event.errors).chain(super::events::ANY);
    assert_eq!(words.filter(|word| !said.contains(*word)).collect::<Vec<_>>(), [] as [&&str; 0], "events name codes there are");
}

/// Everything in a document that is referred to.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| references(value, found));
        }
        _ => {}
    }
}

#[test]
fn whatever_is_referred_to_is_there() {
    for document in [asyncapi(), openapi()] {
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 10);
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let twice = document["components"]["schemas"].as_object().expect("schemas").keys().filter(|name| name.ends_with(char::is_numeric));
        assert_eq!(twice.collect::<Vec<_>>(), [] as [&String; 0], "two types want one name");
    }
}

#[test]
fn the_committed_documents_are_those_of_the_program() {
    for (file, document) in [("openapi", super::openapi()), ("asyncapi", super::asyncapi())] {
        let path = format!("{}/docs/{file}.json", env!("CARGO_MANIFEST_DIR"));
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == document,
            "docs/{file}.json is stale: target/debug/samvad contract {file} > docs/{file}.json, then clients/generate"
        );
    }
}
