//! Payloads of the `call:*` events. Source of the fields: docs/protocol.md#events-to-clients.

use schemars::JsonSchema;
use serde::Serialize;

use crate::models::{Call, CallId, CallSide, CallType, EndReason, ParticipantKind, Timestamp};

/// What every event about a living call begins with.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallBase {
    call_id: CallId,
    #[serde(rename = "_id")]
    document_id: CallId,
    id: CallId,
    call_type: CallType,
    status: &'static str,
    caller_id: String,
    caller_type: ParticipantKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_avatar: Option<String>,
    recipient_id: String,
    recipient_type: ParticipantKind,
    callee_id: String,
    callee_type: ParticipantKind,
    channel_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<String>,
    timestamp: Timestamp,
}

impl CallBase {
    /// The call as it is now.
    pub fn new(call: &Call) -> Self {
        let (caller, callee) = (&call.caller, &call.callee);
        Self {
            call_id: call.id,
            document_id: call.id,
            id: call.id,
            call_type: call.call_type,
            status: call.event_status(),
            caller_id: caller.id().to_owned(),
            caller_type: caller.kind(),
            caller_name: call.caller_profile.name.clone(),
            caller_avatar: call.caller_profile.picture.clone(),
            recipient_id: callee.id().to_owned(),
            recipient_type: callee.kind(),
            callee_id: callee.id().to_owned(),
            callee_type: callee.kind(),
            channel_name: call.channel.clone(),
            conversation_id: call.conversation_key.as_ref().map(|key| key.as_str().to_owned()),
            timestamp: call.initiated_at,
        }
    }
}

/// A call with what is needed to join its channel.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallOffer {
    /// The call.
    #[serde(flatten)]
    pub base: CallBase,
    /// Absent without Agora credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agora_token: Option<String>,
    /// Absent without Agora credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agora_app_id: Option<String>,
    /// The media user the token is for; 0 is any.
    pub uid: u32,
    /// The same.
    pub agora_uid: u32,
    /// When the token ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// In `call:incoming`, if the caller's own token states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_phone: Option<String>,
    /// In `call:accept`: the callee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_id: Option<String>,
    /// In `call:accept`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
}

/// `call:reject` and `call:rejected`.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallRejected {
    call_id: CallId,
    #[serde(rename = "_id")]
    document_id: CallId,
    contact_id: String,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    status: &'static str,
}

impl CallRejected {
    /// For the caller, with what the callee said.
    pub fn new(call: &Call, reason: String) -> Self {
        let code = (reason == "busy").then_some("CALLEE_BUSY");
        Self { call_id: call.id, document_id: call.id, contact_id: call.callee.id().to_owned(), reason, code, status: "rejected" }
    }
}

/// `call:end` and `call:ended`.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallEnded {
    call_id: CallId,
    #[serde(rename = "_id")]
    document_id: CallId,
    contact_id: String,
    duration: u32,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_reason: Option<EndReason>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

impl CallEnded {
    /// For one side, with the reason in the words of the events.
    pub fn new(call: &Call, listener: CallSide, reason: String) -> Self {
        Self {
            call_id: call.id,
            document_id: call.id,
            contact_id: call.party(listener.other()).id().to_owned(),
            duration: call.duration,
            reason,
            end_reason: call.end_reason,
            status: call.event_status(),
            message: None,
        }
    }

    /// The same with a text for people.
    #[must_use]
    pub fn saying(self, message: &'static str) -> Self {
        Self { message: Some(message), ..self }
    }
}

/// `call:missed`.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallMissed {
    call_id: CallId,
    #[serde(rename = "_id")]
    document_id: CallId,
    reason: EndReason,
    status: &'static str,
}

impl CallMissed {
    /// For either side.
    pub fn new(call: &Call) -> Self {
        Self { call_id: call.id, document_id: call.id, reason: EndReason::NoAnswer, status: "missed" }
    }
}

/// `call:connected`.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallConnected {
    call_id: CallId,
    contact_id: String,
}

impl CallConnected {
    /// For the side that is to hear that the other one is there.
    pub fn new(call: &Call, listener: CallSide) -> Self {
        Self { call_id: call.id, contact_id: call.party(listener.other()).id().to_owned() }
    }
}
