//! Requests about calls, made from payloads, and what is answered. Source of names and aliases: docs/protocol.md#calls.

use schemars::JsonSchema;
use serde::Serialize;

use crate::delivery::Connection;
use crate::error::{Error, Result};
use crate::models::{Call, CallId, CallStatus, CallType, MessageId, Participant, ParticipantKind, Timestamp};
use crate::services::calling::{Ending, InitiateCall, OfferedCall};
use crate::services::content::without_controls;
use crate::services::media_tokens::{ANY_UID, MediaToken};

use super::Payload;
use super::requests::recipient;

const MAX_REASON_CHARS: usize = 64;
const MAX_COMMENT_CHARS: usize = 1_000;

/// `call:initiate` and the POST routes. `callee` is given where the route says more than the payload.
pub fn initiate(payload: &Payload, callee: Option<Participant>, from: Option<std::sync::Arc<Connection>>) -> Result<InitiateCall> {
    let callee = match callee {
        Some(callee) => callee,
        None => recipient(payload)?.require()?,
    };
    let word = payload.require_text(&["callType"])?;
    let call_type = CallType::parse(word).ok_or_else(|| Error::invalid("callType must be voice or video"))?;
    Ok(InitiateCall { callee, call_type, consultation_id: consultation_id(payload)?, from })
}

/// The consultation something belongs to.
pub fn consultation_id(payload: &Payload) -> Result<Option<String>> {
    let id = payload.text(&["consultationId"])?;
    if id.is_some_and(|id| MessageId::parse(id).is_none()) {
        return Err(Error::InvalidId("consultationId has 24 hex digits".into()));
    }
    Ok(id.map(str::to_ascii_lowercase))
}

/// The astrologer an admin calls: `astrologerId`, or the names of `call:initiate`.
pub fn callee_of_admin(payload: &Payload) -> Result<Option<Participant>> {
    let other = payload.text(&["calleeId", "recipientId"])?;
    let id = match payload.text(&["astrologerId"])? {
        Some(id) if other.is_some_and(|other| other != id) => {
            return Err(Error::invalid("astrologerId and calleeId disagree"));
        }
        Some(id) => id,
        None if payload.text(&["calleeType", "recipientType"])?.is_some() => return Ok(None),
        None => payload.require_text(&["astrologerId", "calleeId", "recipientId"])?,
    };
    let callee = Participant::new(ParticipantKind::Astrologer, id);
    callee.map(Some).ok_or_else(|| Error::InvalidId("astrologerId is not the id of an astrologer".into()))
}

/// The call a payload is about.
pub fn call_id(payload: &Payload) -> Result<CallId> {
    parse_call_id(payload.require_text(&["callId", "_id", "id"])?)
}

/// Reads a call id a client sent. Errors: `INVALID_ID`.
pub fn parse_call_id(text: &str) -> Result<CallId> {
    CallId::parse(text).ok_or_else(|| Error::InvalidId("a call id has 24 hex digits".into()))
}

/// How a call is ended or rejected. A duration that means nothing is ignored, because older apps send such.
pub fn ending(payload: &Payload) -> Result<Ending> {
    let reason = said(payload, &["reason", "endReason"])?;
    if reason.as_ref().is_some_and(|text| text.chars().count() > MAX_REASON_CHARS) {
        return Err(Error::invalid(format!("reason has more than {MAX_REASON_CHARS} characters")));
    }
    Ok(Ending { reason, duration: payload.lenient_seconds("duration") })
}

/// What a party says in its own words: cleaned as messages are. Of nothing but control characters nothing is left.
fn said(payload: &Payload, names: &[&str]) -> Result<Option<String>> {
    Ok(payload.text(names)?.map(without_controls).filter(|text| !text.is_empty()))
}

/// Rating and comment of a call.
pub fn feedback(payload: &Payload) -> Result<(u8, Option<String>)> {
    let rating = payload.number(&["rating"], 1)?.and_then(|n| u8::try_from(n).ok()).filter(|n| *n <= 5);
    let rating = rating.ok_or_else(|| Error::invalid("rating must be a whole number from 1 to 5"))?;
    let comment = said(payload, &["comment", "feedback"])?;
    if comment.as_ref().is_some_and(|text| text.chars().count() > MAX_COMMENT_CHARS) {
        return Err(Error::ContentTooLong { limit: MAX_COMMENT_CHARS });
    }
    Ok((rating, comment))
}

/// `callType` and `status` of a list of calls. The status may be given in the words of the documents or of the events.
pub fn call_filter(payload: &Payload) -> Result<(Option<CallType>, Vec<CallStatus>)> {
    let call_type = match payload.text(&["callType"])? {
        None => None,
        Some(word) => Some(CallType::parse(word).ok_or_else(|| Error::invalid("callType must be voice or video"))?),
    };
    let statuses = match payload.text(&["status"])? {
        None => Vec::new(),
        Some("accepted") => vec![CallStatus::Answered],
        Some("connected") => vec![CallStatus::Ongoing],
        Some(word) => vec![CallStatus::parse(word).ok_or_else(|| Error::invalid("status is not one of the known words"))?],
    };
    Ok((call_type, statuses))
}

/// The body of an ack about a call.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CallState")]
#[serde(rename_all = "camelCase")]
pub struct CallAck {
    call_id: CallId,
    status: &'static str,
}

impl CallAck {
    /// Where the call stands.
    pub fn new(call: &Call) -> Self {
        Self { call_id: call.id, status: call.event_status() }
    }
}

/// The body of an ack with the way into the channel.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OfferedCall")]
#[serde(rename_all = "camelCase")]
pub struct OfferAck<'a> {
    #[serde(flatten)]
    ack: CallAck,
    #[serde(flatten)]
    media: MediaBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

impl<'a> OfferAck<'a> {
    /// Where the call stands, and how to join.
    pub fn new(offered: &'a OfferedCall) -> Self {
        let busy = offered.call.end_detail.as_deref().filter(|detail| *detail == "busy");
        Self {
            ack: CallAck::new(&offered.call),
            media: MediaBody::new(&offered.call.channel, &offered.media),
            reason: busy,
            code: busy.map(|_| "CALLEE_BUSY"),
        }
    }
}

/// What a client needs to join a channel.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MediaChannel")]
#[serde(rename_all = "camelCase")]
pub struct MediaBody<'a> {
    channel_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agora_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agora_app_id: Option<&'a str>,
    uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl<'a> MediaBody<'a> {
    /// Channel and token.
    pub fn new(channel: &'a str, media: &'a MediaToken) -> Self {
        Self {
            channel_name: channel,
            agora_token: media.token.as_deref(),
            agora_app_id: media.app_id.as_deref(),
            uid: ANY_UID,
            expires_at: media.expires_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_said_about_a_call_is_cleaned_as_messages_are() {
        let of = |value| Payload::from_value(value).expect("an object");
        let reason = |text: &str| ending(&of(json!({ "reason": text }))).map(|ending| ending.reason);
        assert_eq!(reason("bu\u{1b}[31msy\u{0}").expect("legal").as_deref(), Some("bu[31msy"));
        assert_eq!(reason("\u{7}").expect("legal"), None);
        assert!(reason(&"\u{0}".repeat(MAX_REASON_CHARS + 1)).is_ok(), "counted is what is kept");
        assert!(reason(&"x".repeat(MAX_REASON_CHARS + 1)).is_err());
        let comment = |text: &str| feedback(&of(json!({ "rating": 5, "comment": text }))).expect("legal").1;
        assert_eq!(comment("a\r\nb\u{85}\tक\u{200d}ष").as_deref(), Some("a\nb\tक\u{200d}ष"));
    }
}
