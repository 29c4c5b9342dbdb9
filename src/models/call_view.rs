//! The JSON shape of a call on REST. Source: docs/protocol.md#calls-by-rest.

use schemars::JsonSchema;
use serde::Serialize;

use super::call::{Call, CallStatus, CallType, EndReason};
use super::conversation::ConversationKey;
use super::ids::CallId;
use super::participant::{Participant, ParticipantKind};
use super::time::Timestamp;

/// A call as its parties see it, under the names of both families of clients.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Call")]
#[serde(rename_all = "camelCase")]
pub struct CallView<'a> {
    call_id: CallId,
    #[serde(rename = "_id")]
    document_id: CallId,
    id: CallId,
    call_type: CallType,
    status: CallStatus,
    state: &'static str,
    caller_id: &'a str,
    caller_type: ParticipantKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_avatar: Option<&'a str>,
    callee_id: &'a str,
    callee_type: ParticipantKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    callee_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callee_avatar: Option<&'a str>,
    recipient_id: &'a str,
    recipient_type: ParticipantKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient_avatar: Option<&'a str>,
    channel_name: &'a str,
    agora_channel_name: &'a str,
    agora_uid: u32,
    uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<&'a ConversationKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consultation_id: Option<&'a str>,
    initiated_at: Timestamp,
    started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    ringing_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    duration: u32,
    server_duration: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_reason: Option<EndReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_by_type: Option<ParticipantKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rating: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feedback: Option<&'a str>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl<'a> CallView<'a> {
    /// The call as it is.
    pub fn new(call: &'a Call) -> Self {
        let (caller, callee) = (&call.caller, &call.callee);
        let (callee_name, callee_avatar) = (call.callee_profile.name.as_deref(), call.callee_profile.picture.as_deref());
        Self {
            call_id: call.id,
            document_id: call.id,
            id: call.id,
            call_type: call.call_type,
            status: call.status,
            state: call.event_status(),
            caller_id: caller.id(),
            caller_type: caller.kind(),
            caller_name: call.caller_profile.name.as_deref(),
            caller_avatar: call.caller_profile.picture.as_deref(),
            callee_id: callee.id(),
            callee_type: callee.kind(),
            callee_name,
            callee_avatar,
            recipient_id: callee.id(),
            recipient_type: callee.kind(),
            recipient_name: callee_name,
            recipient_avatar: callee_avatar,
            channel_name: &call.channel,
            agora_channel_name: &call.channel,
            agora_uid: 0,
            uid: 0,
            conversation_id: call.conversation_key.as_ref(),
            consultation_id: call.consultation_id.as_deref(),
            initiated_at: call.initiated_at,
            started_at: call.initiated_at,
            ringing_at: call.ringing_at,
            answered_at: call.answered_at,
            accepted_at: call.answered_at,
            connected_at: call.connected_at,
            ended_at: call.ended_at,
            duration: call.duration,
            server_duration: call.server_duration,
            end_reason: call.end_reason,
            end_detail: call.end_detail.as_deref(),
            ended_by: call.ended_by.as_ref().map(Participant::id),
            ended_by_type: call.ended_by.as_ref().map(Participant::kind),
            rating: call.feedback.as_ref().map(|f| f.rating),
            feedback: call.feedback.as_ref().and_then(|f| f.comment.as_deref()),
            created_at: call.initiated_at,
            updated_at: call.updated_at,
        }
    }
}
