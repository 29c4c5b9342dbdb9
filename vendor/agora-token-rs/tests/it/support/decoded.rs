//! A parsed 007 token in the words of the vectors' `decoded`, so that the two can be compared whole.

use agora_token_rs::v007::{AccessToken2, Payload, Permissions, Service};
use serde_json::{Value, json};

use super::unix_seconds;

/// All fields of `decoded`; the one for unknown types is there only when it applies, as in the vectors.
pub fn decoded_007(token: &AccessToken2) -> Value {
    let claims = token.claims();
    let mut decoded = json!({
        "appId": claims.app_id.as_str(),
        "issueTs": claims.issued_at.unix_seconds(),
        "expire": claims.lifetime.as_secs(),
        "salt": claims.salt,
        "expiresAt": unix_seconds(token.expires_at()),
        "serviceCount": token.service_count(),
        "services": claims.services.iter().map(service).collect::<Vec<_>>(),
    });
    if let Some(service_type) = token.unknown_service_type() {
        decoded["unknownServiceType"] = service_type.into();
    }
    decoded
}

fn service(service: &Service) -> Value {
    let (name, mut fields) = match &service.payload {
        Payload::Rtc { channel, account } => ("rtc", json!({ "channel": channel, "account": account })),
        Payload::Rtm { user_id } => ("rtm", json!({ "userId": user_id })),
        Payload::Streaming { channel, account } => ("streaming", json!({ "channel": channel, "account": account })),
        Payload::Fpa => ("fpa", json!({})),
        Payload::Chat { user_id } => ("chat", json!({ "userId": user_id })),
        Payload::FusionCdn { channel, account } => ("fcdn", json!({ "channel": channel, "account": account })),
        Payload::Education { room_uuid, user_uuid, role } => {
            ("apaas", json!({ "roomUuid": room_uuid, "userUuid": user_uuid, "role": role }))
        }
        Payload::RtmWithPermissions { user_id, permissions: allowed } => {
            ("rtm2", json!({ "userId": user_id, "permissions": permissions(allowed) }))
        }
        Payload::ConversationalAi => ("convoai", json!({})),
        Payload::SpeechToText => ("stt", json!({})),
        Payload::Other { .. } => panic!("the reader never makes this"),
    };
    fields["type"] = service.payload.service_type().into();
    fields["name"] = name.into();
    fields["privileges"] = service.privileges.iter().map(|(key, lifetime)| json!([key, lifetime.as_secs()])).collect();
    fields
}

/// Nested pairs again: `[resourceType, [[permissionType, [names]]]]`.
fn permissions(permissions: &Permissions) -> Value {
    let mut nested: Vec<(u16, Vec<Value>)> = Vec::new();
    for (resource_type, permission_type, names) in permissions.iter() {
        if nested.last().is_none_or(|(last, _)| *last != resource_type) {
            nested.push((resource_type, Vec::new()));
        }
        if let Some((_, lists)) = nested.last_mut() {
            lists.push(json!([permission_type, names]));
        }
    }
    json!(nested)
}
