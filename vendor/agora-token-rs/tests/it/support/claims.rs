//! Claims from the `inputs` of a vector, through the general form of every service.

use agora_token_rs::v007::{Claims, Payload, Permissions, Service};
use agora_token_rs::{AppId, Timestamp, v006};
use serde_json::Value;

use super::{seconds, text, u16_of, u32_of};

pub fn claims_007(inputs: &Value) -> Claims {
    Claims {
        app_id: AppId::parse(text(inputs, "appId")).unwrap(),
        issued_at: Timestamp::from_unix_seconds(u32_of(&inputs["issueTs"])),
        lifetime: seconds(&inputs["expire"]),
        salt: u32_of(&inputs["salt"]),
        services: inputs["services"].as_array().unwrap().iter().map(service).collect(),
    }
}

pub fn claims_006(inputs: &Value) -> v006::Claims {
    let privileges = inputs["privileges"].as_array().unwrap().iter();
    v006::Claims {
        app_id: AppId::parse(text(inputs, "appId")).unwrap(),
        channel: text(inputs, "channel").into(),
        user: text(inputs, "uid").into(),
        salt: u32_of(&inputs["salt"]),
        valid_until: Timestamp::from_unix_seconds(u32_of(&inputs["ts"])),
        privileges: privileges.map(|pair| (u16_of(&pair[0]), Timestamp::from_unix_seconds(u32_of(&pair[1])))).collect(),
    }
}

fn service(value: &Value) -> Service {
    let privileges = value["privileges"].as_array().unwrap().iter();
    privileges.fold(Service::new(payload(value)), |service, pair| service.with_privilege(u16_of(&pair[0]), seconds(&pair[1])))
}

fn payload(value: &Value) -> Payload {
    let field = |name| text(value, name).to_owned();
    match u16_of(&value["type"]) {
        1 => Payload::Rtc { channel: field("channel"), account: field("account") },
        2 => Payload::Rtm { user_id: field("userId") },
        3 => Payload::Streaming { channel: field("channel"), account: field("account") },
        4 => Payload::Fpa,
        5 => Payload::Chat { user_id: field("userId") },
        6 => Payload::FusionCdn { channel: field("channel"), account: field("account") },
        7 => {
            let role = i16::try_from(value["role"].as_i64().unwrap()).unwrap();
            Payload::Education { room_uuid: field("roomUuid"), user_uuid: field("userUuid"), role }
        }
        8 => Payload::RtmWithPermissions { user_id: field("userId"), permissions: permissions(&value["permissions"]) },
        9 => Payload::ConversationalAi,
        10 => Payload::SpeechToText,
        service_type => Payload::Other { service_type, packed: vec![] },
    }
}

fn permissions(value: &Value) -> Permissions {
    let mut permissions = Permissions::default();
    for resource in value.as_array().unwrap() {
        for permission in resource[1].as_array().unwrap() {
            let names = permission[1].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
            permissions = permissions.allow(u16_of(&resource[0]), u16_of(&permission[0]), names);
        }
    }
    permissions
}
