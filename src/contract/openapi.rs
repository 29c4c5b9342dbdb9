//! The OpenAPI 3.1 document: every route of `rest`, with who may ask, its fields and its answers.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::delivery::Connected;
use crate::rest;
use crate::services::permissions::Operation;
use crate::wire::shapes::{Field, Kind, need};

use super::codes;
use super::routes::{Answer, ROUTES, Route};
use super::schema::{Schemas, reference, refusal};

pub(super) fn document() -> Value {
    let mut schemas = Schemas::new();
    schemas.add("ErrorCode", codes::schema());
    let refused = refusal(need("success", Kind::Flag, ""), &schemas);
    schemas.add("Refused", refused);
    let permissions: HashMap<_, _> = rest::operations().into_iter().map(|(method, path, operation)| ((method, path), operation)).collect();
    let mut paths = Map::new();
    for route in ROUTES {
        let (method, path) = route.at;
        let described = operation(route, permissions.get(&route.at).copied(), &schemas);
        let path = paths.entry(path).or_insert_with(|| json!({}));
        path[method.to_lowercase()] = described;
    }
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Samvad: routes",
            "version": Connected::PROTOCOL.to_string(),
            "license": { "name": "MIT", "identifier": "MIT" },
            "description": "The same services as the events (`/asyncapi.json`), by HTTP. Bodies are JSON objects. Absent fields are left out, \
                            never `null`; ignore fields you do not know. docs/protocol.md is the readable form.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas.finish(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A signed token, or an admin key." },
                "adminKey": { "type": "apiKey", "in": "header", "name": "x-admin-key", "description": "An admin key." },
            },
        },
        "x-codes": codes::meanings(),
    })
}

/// `GET /api/calls/{id}/token` as `getCallsIdToken`.
fn operation_id(route: &Route) -> String {
    let (method, path) = route.at;
    let words = path.split(['/', '-', '_', '{', '}']).filter(|word| !word.is_empty());
    let words = words.map(|word| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect::<String>());
    std::iter::once(method.to_lowercase()).chain(words).collect()
}

fn operation(route: &Route, permission: Option<Operation>, schemas: &Schemas) -> Value {
    let (method, path) = route.at;
    let tag = path.trim_start_matches("/api").split('/').nth(1).unwrap_or_default();
    let mut parameters: Vec<Value> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(in_path).collect();
    parameters.extend(route.query.iter().map(|field| in_query(field, schemas)));
    let mut operation = json!({ "operationId": operation_id(route), "tags": [tag], "summary": route.summary });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(fields) = route.body {
        let required = fields.iter().any(|field| field.required);
        operation["requestBody"] = json!({ "required": required, "content": { "application/json": { "schema": schemas.object(fields) } } });
    } else if method == "PUT" {
        operation["requestBody"] = json!({ "required": true, "content": { "*/*": {} } });
    }
    operation["security"] = match permission {
        Some(Operation::Open) | None => json!([]),
        Some(_) => json!([{ "token": [] }, { "adminKey": [] }]),
    };
    if permission == Some(Operation::Administer) {
        operation["x-admins-only"] = true.into();
    }
    let success = success(&route.answer, schemas);
    let mut responses: Map<String, Value> = route.statuses.iter().map(|status| (status.to_string(), success.clone())).collect();
    let refused =
        json!({ "description": "Refused; the code says why.", "content": { "application/json": { "schema": reference("Refused") } } });
    responses.insert("default".to_owned(), refused);
    operation["responses"] = responses.into();
    operation
}

fn in_path(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
}

fn in_query(field: &Field, schemas: &Schemas) -> Value {
    // One text with commas, not the name again and again.
    let list = matches!(field.kind, Kind::List(_) | Kind::ListUpTo(..));
    let mut parameter = json!({ "name": field.name, "in": "query", "required": field.required, "schema": schemas.of(field.kind) });
    if list {
        (parameter["style"], parameter["explode"]) = ("form".into(), false.into());
    }
    if !field.meaning.is_empty() {
        parameter["description"] = field.meaning.into();
    }
    if !field.aliases.is_empty() {
        parameter["x-aliases"] = json!(field.aliases);
    }
    parameter
}

fn success(answer: &Answer, schemas: &Schemas) -> Value {
    let envelope = |fields: &[Field]| schemas.object(&[&[need("success", Kind::Yes, "")], fields].concat());
    let json_of = |schema: Value| json!({ "description": "Done.", "content": { "application/json": { "schema": schema } } });
    match answer {
        Answer::Data(data) => json_of(envelope(&[need("data", *data, "")])),
        Answer::DataAnd(data, more) => json_of(envelope(&[&[need("data", *data, "")], *more].concat())),
        Answer::Done(fields) => json_of(envelope(fields)),
        Answer::Plain(fields) => json_of(schemas.object(fields)),
        Answer::Metrics => json!({ "description": "The text format of Prometheus.", "content": { "text/plain": {} } }),
        Answer::Redirect => json!({
            "description": "Where it is.",
            "headers": { "Location": { "required": true, "schema": { "type": "string" } } },
        }),
        Answer::Bytes => json!({ "description": "The file.", "content": { "*/*": {} } }),
    }
}
