//! Holds everything the test clients are told against the documents the server gives out: an event, ack or answer that is not documented,
//! or has a field that is not, fails the test in which it was heard.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

static EVENTS: LazyLock<Value> = LazyLock::new(|| closed(&serde_json::from_str(samvad::contract::asyncapi()).expect("JSON")));
static ROUTES: LazyLock<Value> = LazyLock::new(|| closed(&serde_json::from_str(samvad::contract::openapi()).expect("JSON")));
/// One for each place in a document, made when it is first needed.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// The document with every object closed: to a client an unknown field is one to ignore, here it is one nobody documented.
fn closed(document: &Value) -> Value {
    match document {
        Value::Array(items) => items.iter().map(closed).collect(),
        Value::Object(object) => {
            let mut object: Map<String, Value> = object.iter().map(|(name, value)| (name.clone(), closed(value))).collect();
            if object.get("properties").is_some_and(Value::is_object) && object.get("type") == Some(&json!("object")) {
                object.insert("additionalProperties".into(), false.into());
            }
            Value::Object(object)
        }
        other => other.clone(),
    }
}

fn fits(document: &Value, place: &str, schema: &Value, value: &Value) {
    let known = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner).get(place).cloned();
    let validator = known.unwrap_or_else(|| {
        let mut whole = schema.clone();
        whole["components"] = json!({ "schemas": document["components"]["schemas"] });
        let made = Arc::new(jsonschema::validator_for(&whole).expect("a schema"));
        VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner).insert(place.to_owned(), Arc::clone(&made));
        made
    });
    let wrong: Vec<String> = validator.iter_errors(value).map(|wrong| format!("{wrong} at {}", wrong.instance_path())).collect();
    assert!(wrong.is_empty(), "{place} does not fit its document: {}\n{value:#}", wrong.join("; "));
}

fn message(kind: &str, event: &str) -> Option<&'static Value> {
    EVENTS["components"]["messages"].get(format!("{kind}.{}", event.replace(':', ".")))
}

/// An event a client heard.
pub fn check_event(name: &str, payload: &Value) {
    let message = message("server", name).unwrap_or_else(|| panic!("{name} is in no document"));
    fits(&EVENTS, &format!("event {name}"), &message["payload"], payload);
}

/// The answer to an event; to what the protocol does not know there is one as well.
pub fn check_ack(event: &str, answer: &Value) {
    match message("ack", event) {
        Some(message) => fits(&EVENTS, &format!("ack of {event}"), &message["payload"], answer),
        None => fits(&EVENTS, "refusal", &json!({ "$ref": "#/components/schemas/Refused" }), answer),
    }
    if answer["ok"] == false {
        let errors = match EVENTS["operations"].get(format!("client.{}", event.replace(':', "."))) {
            Some(operation) => operation["x-errors"].as_array().expect("a list").clone(),
            None => vec![json!("UNKNOWN_EVENT"), json!("RATE_LIMITED"), json!("OVERLOADED")],
        };
        assert!(errors.contains(&answer["code"]), "{event} is refused with {}, which is not among its errors: {errors:?}", answer["code"]);
    }
}

/// An answer by REST.
pub fn check_answer(method: &str, path: &str, status: u16, body: &Value) {
    let asked: Vec<&str> = path.split('?').next().unwrap_or_default().split('/').collect();
    let is_it = |template: &str| {
        let parts: Vec<&str> = template.split('/').collect();
        parts.len() == asked.len() && parts.iter().zip(&asked).all(|(part, asked)| part.starts_with('{') || part == asked)
    };
    let paths = ROUTES["paths"].as_object().expect("paths").iter().filter(|(template, _)| is_it(template));
    // Of `/api/conversations/admin` and `/api/conversations/{id}` the first.
    let described = paths.min_by_key(|(template, _)| template.matches('{').count());
    let Some(operation) = described.and_then(|(_, methods)| methods.get(method.to_lowercase())) else { return };
    let responses = &operation["responses"];
    let key = if status < 400 { status.to_string() } else { "default".to_owned() };
    let response = responses.get(&key).unwrap_or_else(|| panic!("{method} {path} answers {status}, which is in no document"));
    if let Some(schema) = response["content"]["application/json"].get("schema") {
        fits(&ROUTES, &format!("{} {key}", operation["operationId"]), schema, body);
    }
}
