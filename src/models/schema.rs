//! Schemas of the values that write themselves as text, for the documents of the contract (`/openapi.json`, `/asyncapi.json`).

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Attendance, CallId, ConversationId, ConversationKey, MessageId, ParticipantKind, Timestamp};

macro_rules! text {
    ($($type:ident: $schema:tt)+) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })+
    };
}

text! {
    MessageId: { "type": "string", "pattern": "^[0-9a-f]{24}$", "description": "The `_id` of a message." }
    ConversationId: { "type": "string", "pattern": "^[0-9a-f]{24}$", "description": "The `_id` of a conversation." }
    CallId: { "type": "string", "pattern": "^[0-9a-f]{24}$", "description": "The `_id` of a call." }
    // No pattern: older programs gave conversations other texts.
    ConversationKey: { "type": "string", "description": "The canonical key of a conversation." }
    Timestamp: {
        "type": "string",
        "format": "date-time",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$",
        "description": "ISO 8601 in UTC with three decimals.",
    }
}

// By hand, as its `Serialize` is.
impl JsonSchema for Attendance {
    fn schema_name() -> Cow<'static, str> {
        "Attendance".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (kind, time) = (generator.subschema_for::<ParticipantKind>(), generator.subschema_for::<Timestamp>());
        json_schema!({
            "type": "object",
            "description": "Whether somebody is connected.",
            "required": ["id", "type", "isOnline", "presence"],
            "properties": {
                "id": { "type": "string" },
                "type": kind,
                "isOnline": { "type": "boolean" },
                "presence": { "type": "string", "enum": ["online", "offline"] },
                "lastSeen": time,
            },
        })
    }
}
