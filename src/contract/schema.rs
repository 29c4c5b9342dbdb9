//! Schemas: those of our types by their derive, those of our tables by hand, all under `#/components/schemas`.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::delivery::Joined;
use crate::models::inbox::InboxItem;
use crate::models::view::{ConversationView, MessageView};
use crate::models::{Attendance, CallView};
use crate::services::sessions::SessionView;
use crate::wire::shapes::{Field, Kind, may, need};
use crate::wire::{CallAck, CatchUpBody, HistoryBody, MediaBody, OfferAck, SendBody};

/// Where both documents keep their schemas.
const PLACE: &str = "#/components/schemas/";

/// Collects the schemas of one document.
pub struct Schemas {
    /// For types that are reached by their own names.
    pub generator: SchemaGenerator,
    own: Map<String, Value>,
}

impl Schemas {
    /// With the objects that tables may name.
    pub fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let mut schemas = Self { generator: settings.into_generator(), own: Map::new() };
        schemas.know::<MessageView<'_>>();
        schemas.know::<ConversationView<'_>>();
        schemas.know::<CallView<'_>>();
        schemas.know::<InboxItem>();
        schemas.know::<Attendance>();
        schemas.know::<SessionView>();
        schemas.know::<Joined>();
        schemas.know::<HistoryBody<'_>>();
        schemas.know::<CatchUpBody<'_>>();
        schemas.know::<SendBody>();
        schemas.know::<CallAck>();
        schemas.know::<OfferAck<'_>>();
        schemas.know::<MediaBody<'_>>();
        schemas
    }

    fn know<T: JsonSchema>(&mut self) {
        self.generator.subschema_for::<T>();
    }

    /// Adds a schema under a name of its own, and refers to it.
    pub fn add(&mut self, name: &str, schema: Value) -> Value {
        debug_assert!(!self.generator.definitions().contains_key(name), "a type is called {name}");
        self.own.insert(name.to_owned(), schema);
        reference(name)
    }

    /// The schema of what a table says.
    pub fn of(&self, kind: Kind) -> Value {
        match kind {
            Kind::Text => json!({ "type": "string" }),
            Kind::TextUpTo(most) => json!({ "type": "string", "maxLength": most }),
            Kind::Word(words) => json!({ "type": "string", "enum": words }),
            Kind::PersonId => json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" }),
            Kind::ConversationId => json!({ "type": "string", "pattern": "^[A-Za-z0-9_~-]{1,140}$" }),
            Kind::DocumentId => json!({ "type": "string", "pattern": "^[0-9A-Fa-f]{24}$" }),
            Kind::MediaId => json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" }),
            Kind::Https => json!({ "type": "string", "format": "uri", "pattern": "^[Hh][Tt][Tt][Pp][Ss]://", "maxLength": 2048 }),
            Kind::Flag => json!({ "type": "boolean" }),
            Kind::Yes => json!({ "type": "boolean", "const": true }),
            Kind::Whole(least, u64::MAX) => json!({ "type": "integer", "minimum": least }),
            Kind::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Kind::Count => json!({ "type": "integer", "minimum": 0 }),
            Kind::Number => json!({ "type": "number" }),
            Kind::Time => json!({ "type": "string", "format": "date-time" }),
            Kind::Day => json!({ "type": "string", "format": "date" }),
            Kind::Nullable(one) => json!({ "oneOf": [self.of(*one), { "type": "null" }] }),
            Kind::A(name) => reference(name),
            Kind::List(one) => json!({ "type": "array", "items": self.of(*one) }),
            Kind::ListUpTo(most, one) => json!({ "type": "array", "items": self.of(*one), "maxItems": most }),
            Kind::Object(fields) => self.object(fields),
            Kind::With(name, fields) => self.merged(name, self.object(fields)),
        }
    }

    /// An object with these fields.
    pub fn object(&self, fields: &[Field]) -> Value {
        let properties: Map<String, Value> = fields.iter().map(|field| (field.name.to_owned(), self.field(field))).collect();
        let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
        let mut object = json!({ "type": "object", "properties": properties });
        if !required.is_empty() {
            object["required"] = json!(required);
        }
        object
    }

    /// One field, with its meaning and its other names.
    pub fn field(&self, field: &Field) -> Value {
        let mut schema = self.of(field.kind);
        if !field.meaning.is_empty() {
            schema["description"] = field.meaning.into();
        }
        if !field.aliases.is_empty() {
            schema["x-aliases"] = json!(field.aliases);
        }
        schema
    }

    /// The fields of a known object and further ones, in one object: neither of them says what it may not have.
    pub fn merged(&self, name: &str, more: Value) -> Value {
        let known = self.generator.definitions().get(name).or_else(|| self.own.get(name)).cloned().unwrap_or_default();
        debug_assert!(known.is_object(), "{name} is a schema");
        let mut merged = json!({ "type": "object", "properties": {}, "required": [] });
        for part in [more, known] {
            if let (Some(all), Some(properties)) = (merged["properties"].as_object_mut(), part["properties"].as_object()) {
                all.extend(properties.clone());
            }
            if let (Some(all), Some(required)) = (merged["required"].as_array_mut(), part["required"].as_array()) {
                all.extend(required.iter().cloned());
            }
        }
        merged
    }

    /// Everything that was collected.
    pub fn finish(mut self) -> Value {
        let mut all = self.generator.take_definitions(true);
        all.append(&mut self.own);
        let mut all = Value::Object(all);
        // The words are those of `Error::code`, whose list is not delivery's.
        for name in ["code", "error"] {
            if let Some(word) = all.pointer_mut(&format!("/Failure/properties/{name}")) {
                word["$ref"] = format!("{PLACE}ErrorCode").into();
                if let Some(word) = word.as_object_mut() {
                    word.remove("type");
                }
            }
        }
        tidy(&mut all);
        all
    }
}

/// Refers to a schema by its name.
pub fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{PLACE}{name}") })
}

/// Takes out the schemas nothing in the document leads to.
pub fn prune(document: &mut Value) {
    let schemas = document["components"]["schemas"].take();
    let (mut kept, mut open) = (Map::new(), names_in(document));
    while let Some(name) = open.pop() {
        if !kept.contains_key(&name) {
            let schema = schemas[&name].clone();
            open.extend(names_in(&schema));
            kept.insert(name, schema);
        }
    }
    document["components"]["schemas"] = kept.into();
}

fn names_in(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(names_in).collect(),
        Value::Object(object) => {
            let own = object.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix(PLACE)).map(str::to_owned);
            own.into_iter().chain(object.values().flat_map(names_in)).collect()
        }
        _ => Vec::new(),
    }
}

/// The failure of a request, as the ack has it and as REST has it.
pub fn refusal(first: Field, schemas: &Schemas) -> Value {
    let mut object = schemas.object(&[
        first,
        need("message", Kind::Text, "For people; may change."),
        may("retryAfterMs", Kind::Count, "Milliseconds to wait, where known."),
        may("retryable", Kind::Yes, "The same request may succeed later."),
    ]);
    object["properties"][first.name] = json!({ "type": "boolean", "const": false });
    object["properties"]["code"] = reference("ErrorCode");
    if let Some(required) = object["required"].as_array_mut() {
        required.push("code".into());
    }
    object
}

/// What the derive says beyond the contract: formats of Rust numbers, and `null`, which is never sent (absent fields are left out).
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(object) => {
            let rust = |format: &str| format.starts_with("int") || format.starts_with("uint") || format == "double" || format == "float";
            if object.get("format").and_then(Value::as_str).is_some_and(rust) {
                object.remove("format");
            }
            let types = object.get("type").and_then(Value::as_array).cloned();
            if let Some([one]) = types.map(|types| types.into_iter().filter(|kind| kind != "null").collect::<Vec<_>>()).as_deref() {
                object.insert("type".into(), one.clone());
            }
            let choices = object.get("anyOf").and_then(Value::as_array).cloned().unwrap_or_default();
            let choices: Vec<_> = choices.into_iter().filter(|choice| choice["type"] != "null").collect();
            if let [Value::Object(one)] = choices.as_slice() {
                object.remove("anyOf");
                object.extend(one.clone());
            }
            // Words with a description each: to programs a plain list is easier.
            let words = object.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default();
            let words: Vec<_> = words.iter().map(|word| word.get("const").cloned().or_else(|| word.get("enum")?.get(0).cloned())).collect();
            if let (false, Some(words)) = (words.is_empty(), words.into_iter().collect::<Option<Vec<_>>>()) {
                object.remove("oneOf");
                object.insert("type".into(), "string".into());
                object.insert("enum".into(), words.into());
            }
            object.values_mut().for_each(tidy);
        }
        _ => {}
    }
}
