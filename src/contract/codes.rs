//! The words of `Error::code`, for programs. Source: docs/protocol.md#error-codes.

use serde_json::{Value, json};

/// A code: the word, the status by REST (0: never said there), and what it means.
pub struct Code(pub &'static str, pub u16, pub &'static str);

/// All codes there are. A test compares them with `Error::code` and with the statuses of `rest`.
pub const CODES: &[Code] = &[
    Code("auth.missing", 401, "No credential was given."),
    Code("auth.invalid", 401, "The credential proves nothing."),
    Code("auth.expired", 401, "The token is too old."),
    Code("auth.session_replaced", 401, "The account has signed in elsewhere since."),
    Code("auth.suspended", 403, "The account may not be used."),
    Code("INVALID_PAYLOAD", 400, "A field is missing or wrong; the text says which."),
    Code("INVALID_ID", 400, "A text cannot name what it should."),
    Code("CONTENT_TOO_LONG", 413, "More text than allowed."),
    Code("PAYLOAD_TOO_LARGE", 413, "A larger body than allowed."),
    Code("CONVERSATION_NOT_FOUND", 404, "Not there, or not yours."),
    Code("MESSAGE_NOT_FOUND", 404, "Not there, not yours, or not in this conversation."),
    Code("CALL_NOT_FOUND", 404, "Not there, or not yours."),
    Code("MEDIA_NOT_FOUND", 404, "No such attachment, not yours, or not complete."),
    Code("MEDIA_REFUSED", 422, "A file of no kind that may be attached, or not what was announced."),
    Code("CALL_NOT_RINGING", 409, "Too late to answer."),
    Code("CALL_OVER", 409, "No token for a call that is over."),
    Code("ANSWERED_ELSEWHERE", 409, "Another client of yours answered."),
    Code("NOT_RELATED", 403, "User and astrologer have not dealt with each other."),
    Code("DM_JOIN_FORBIDDEN", 403, "A canonical key of other people."),
    Code("SELF_CONVERSATION_BLOCKED", 400, "Sender and recipient are the same identity."),
    Code("FORBIDDEN", 403, "You may not do this; the text says why."),
    Code("CONFLICT", 409, "It contradicts what is there."),
    Code("OVERLOADED", 503, "Too much is waiting; nothing was stored. Retryable."),
    Code("RATE_LIMITED", 429, "Too much in too short a time; nothing was done. Wait `retryAfterMs`."),
    Code("UNAVAILABLE", 503, "The store does not answer; the outcome is unknown. Retryable with the same `clientMessageId`."),
    Code("UNKNOWN_EVENT", 400, "No such event; in acks only."),
    Code("NOT_FOUND", 404, "No such REST route or method."),
    Code("INTERNAL", 500, "Our fault; the text says nothing more."),
];

/// Beside an outcome that is no failure: in `call:rejected` and in the ack of `call:initiate`.
pub const CALLEE_BUSY: &str = "CALLEE_BUSY";

/// The schema of a code.
pub fn schema() -> Value {
    let words: Vec<&str> = CODES.iter().map(|code| code.0).collect();
    json!({ "type": "string", "enum": words, "description": "The stable word for programs." })
}

/// What each code means, for whoever reads the document.
pub fn meanings() -> Value {
    CODES.iter().map(|Code(word, status, meaning)| ((*word).to_owned(), json!({ "status": status, "meaning": meaning }))).collect()
}
