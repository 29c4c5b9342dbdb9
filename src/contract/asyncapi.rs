//! The AsyncAPI 3 document: one channel, the socket; what the server receives with its acks, and what it sends.

use serde_json::{Map, Value, json};

use crate::delivery::{Connected, everything_said};
use crate::wire::shapes::{Kind, need};

use super::codes;
use super::events::{ANY, EVENTS, Event};
use super::schema::{Schemas, reference, refusal};

/// A key of the document for a name on the wire: keys know no colon.
fn key(prefix: &str, name: &str) -> String {
    format!("{prefix}.{}", name.replace(':', "."))
}

/// `dm:send_message` as `DmSendMessage`.
fn title(name: &str) -> String {
    let words = name.split([':', '_']);
    words.map(|word| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect::<String>()).collect()
}

pub(super) fn document() -> Value {
    let mut schemas = Schemas::new();
    let (mut messages, mut operations) = (Map::new(), Map::new());
    schemas.add("ErrorCode", codes::schema());
    let refused = refusal(need("ok", Kind::Flag, ""), &schemas);
    schemas.add("Refused", refused);
    for event in EVENTS {
        let ack = add_ack(&mut schemas, event);
        let payload = schemas.object(event.fields);
        let payload = schemas.add(&format!("{}Request", title(event.name)), payload);
        let names = std::iter::once(&event.name).chain(event.also);
        for name in names {
            let (client, acked) = (key("client", name), key("ack", name));
            messages.insert(client.clone(), json!({ "name": name, "title": name, "summary": event.summary, "payload": payload }));
            messages.insert(acked.clone(), json!({ "name": name, "title": format!("ack of {name}"), "payload": ack }));
            let errors: Vec<&str> = ANY.iter().chain(event.errors).copied().collect();
            let mut operation = json!({
                "action": "receive",
                "channel": { "$ref": "#/channels/socket" },
                "summary": event.summary,
                "messages": [{ "$ref": format!("#/channels/socket/messages/{client}") }],
                "reply": {
                    "channel": { "$ref": "#/channels/socket" },
                    "messages": [{ "$ref": format!("#/channels/socket/messages/{acked}") }],
                },
                "x-event": name,
                "x-errors": errors,
                "x-emits": event.emits,
            });
            if *name != event.name {
                operation["x-alias-of"] = event.name.into();
            }
            operations.insert(client, operation);
        }
    }
    for said in everything_said(&mut schemas.generator) {
        let id = key("server", said.name);
        let payload = said.schema.map_or_else(|| reference("HistoryPage"), Value::from);
        messages.insert(id.clone(), json!({ "name": said.name, "title": said.name, "summary": said.meaning, "payload": payload }));
        let operation = json!({
            "action": "send",
            "channel": { "$ref": "#/channels/socket" },
            "summary": said.meaning,
            "messages": [{ "$ref": format!("#/channels/socket/messages/{id}") }],
            "x-event": said.name,
        });
        operations.insert(id, operation);
    }
    let in_channel: Map<String, Value> =
        messages.keys().map(|id| (id.clone(), json!({ "$ref": format!("#/components/messages/{id}") }))).collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Samvad: events",
            "version": Connected::PROTOCOL.to_string(),
            "description": "Socket.IO, default namespace. Every event carries one JSON object; every client event may ask for an ack. \
                            Directions are the server's: it receives what clients send. Absent fields are left out, never `null`; ignore \
                            fields you do not know. docs/protocol.md is the readable form.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "here": { "host": "localhost:3000", "pathname": "/socket.io/", "protocol": "ws", "description": "Socket.IO on Engine.IO 4 or 3." },
        },
        "channels": {
            "socket": { "address": "/", "title": "the default namespace", "servers": [{ "$ref": "#/servers/here" }], "messages": in_channel },
        },
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas.finish() },
        "x-codes": codes::meanings(),
        "x-outcome-codes": [codes::CALLEE_BUSY],
    })
}

/// The answer to an event: the fields of the positive one with `ok`, or the refusal.
fn add_ack(schemas: &mut Schemas, event: &Event) -> Value {
    let ok = schemas.object(&[need("ok", Kind::Yes, "")]);
    let accepted = match event.ack {
        Kind::A(name) => schemas.merged(name, ok),
        Kind::With(name, fields) => {
            let both = schemas.object(&[&[need("ok", Kind::Yes, "")], fields].concat());
            schemas.merged(name, both)
        }
        Kind::Object(fields) => schemas.object(&[&[need("ok", Kind::Yes, "")], fields].concat()),
        other => schemas.of(other),
    };
    let accepted = schemas.add(&format!("{}Accepted", title(event.name)), accepted);
    schemas.add(&format!("{}Ack", title(event.name)), json!({ "oneOf": [accepted, reference("Refused")] }))
}
