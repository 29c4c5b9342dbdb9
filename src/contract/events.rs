//! Every event a client may send: what it holds, what the ack says, and which errors are its own.

use crate::wire::shapes::{self, Field, Kind, may, need};

/// An event by the name it should have.
pub struct Event {
    /// On the wire.
    pub name: &'static str,
    /// Other names for the same, of apps that exist already.
    pub also: &'static [&'static str],
    /// What it does.
    pub summary: &'static str,
    /// The payload.
    pub fields: &'static [Field],
    /// Beside `ok` in a positive ack.
    pub ack: Kind,
    /// Codes beside [`ANY`].
    pub errors: &'static [&'static str],
    /// What the asking socket hears beside the ack.
    pub emits: &'static [&'static str],
}

/// Codes that any event may be answered with.
pub const ANY: &[&str] = &["INVALID_PAYLOAD", "INVALID_ID", "OVERLOADED", "RATE_LIMITED", "UNAVAILABLE", "INTERNAL"];

const MESSAGES: Kind = Kind::List(&Kind::A("Message"));
const NOTHING: Kind = Kind::Object(&[]);

/// All of them. A test compares them with the table of `handlers`.
pub const EVENTS: &[Event] = &[
    Event {
        name: "dm:join_conversation",
        also: &[],
        summary: "Sit in the room of a conversation and hear it there. Safe to repeat.",
        fields: shapes::JOIN,
        ack: Kind::With(
            "Joined",
            &[
                may("messages", MESSAGES, "With `after`: what is newer, oldest first."),
                may("hasMore", Kind::Flag, "With `after`: whether there is more."),
                may("cursor", Kind::A("MessageId"), "With `after`: the next `after`."),
            ],
        ),
        errors: &["DM_JOIN_FORBIDDEN", "MESSAGE_NOT_FOUND", "CONFLICT"],
        emits: &["dm:joined"],
    },
    Event {
        name: "dm:leave_conversation",
        also: &[],
        summary: "Leave the room. Messages then arrive as `dm:new_message`.",
        fields: shapes::NAMED_CONVERSATION,
        ack: Kind::Object(&[need("conversationId", Kind::Text, "As the client wrote it.")]),
        errors: &[],
        emits: &[],
    },
    Event {
        name: "dm:send_message",
        also: &[],
        summary: "Send a message. Repeat with the same `clientMessageId` until there is an answer.",
        fields: shapes::SEND,
        ack: Kind::A("Sent"),
        errors: &[
            "CONTENT_TOO_LONG",
            "CONVERSATION_NOT_FOUND",
            "MESSAGE_NOT_FOUND",
            "MEDIA_NOT_FOUND",
            "NOT_RELATED",
            "FORBIDDEN",
            "SELF_CONVERSATION_BLOCKED",
            "CONFLICT",
        ],
        emits: &["dm:message_sent", "dm:message_received"],
    },
    Event {
        name: "dm:typing_start",
        also: &[],
        summary: "Say that you type. Unknown and foreign conversations: silence.",
        fields: shapes::NAMED_CONVERSATION,
        ack: NOTHING,
        errors: &[],
        emits: &[],
    },
    Event {
        name: "dm:typing_stop",
        also: &[],
        summary: "Say that you stopped; also said by itself five seconds after the last start.",
        fields: shapes::NAMED_CONVERSATION,
        ack: NOTHING,
        errors: &[],
        emits: &[],
    },
    Event {
        name: "dm:mark_read",
        also: &["dm:read"],
        summary: "Mark messages addressed to you as read.",
        fields: shapes::MARK,
        ack: Kind::Object(&[
            need("messageIds", Kind::List(&Kind::A("MessageId")), "Those that became read now, oldest first."),
            need("unreadCount", Kind::Count, "What is left to read."),
        ]),
        errors: &["CONVERSATION_NOT_FOUND"],
        emits: &["dm:messages_read"],
    },
    Event {
        name: "dm:history",
        also: &[],
        summary: "A page of a conversation, oldest first. The newest page marks everything addressed to the asker as read.",
        fields: shapes::HISTORY,
        ack: Kind::A("HistoryPage"),
        errors: &["CONVERSATION_NOT_FOUND", "MESSAGE_NOT_FOUND"],
        emits: &["dm:history", "dm:history_response"],
    },
    Event {
        name: "dm:sync",
        also: &[],
        summary: "What was said while you were away. Answers in its ack only.",
        fields: shapes::SYNC,
        ack: Kind::A("CatchUp"),
        errors: &["CONVERSATION_NOT_FOUND", "MESSAGE_NOT_FOUND"],
        emits: &[],
    },
    Event {
        name: "dm:delete_message",
        also: &[],
        summary: "Delete a message, for oneself or for everyone.",
        fields: shapes::DELETE,
        ack: Kind::Object(&[
            need("messageId", Kind::A("MessageId"), "Which."),
            need("scope", Kind::Word(&["me", "everyone"]), "For whom."),
        ]),
        errors: &["MESSAGE_NOT_FOUND", "CONVERSATION_NOT_FOUND", "FORBIDDEN"],
        emits: &["dm:message_deleted"],
    },
    Event {
        name: "get_stats",
        also: &[],
        summary: "How busy the server is.",
        fields: shapes::NOTHING,
        ack: NOTHING,
        errors: &[],
        emits: &["stats"],
    },
    Event {
        name: "auth:refresh",
        also: &[],
        summary: "Put the connection on a newer token of the same person.",
        fields: shapes::REFRESH,
        ack: Kind::Object(&[may("expiresAt", Kind::A("Timestamp"), "When the new token ends.")]),
        errors: &["auth.invalid", "auth.expired", "auth.session_replaced", "auth.suspended"],
        emits: &[],
    },
    Event {
        name: "presence:get",
        also: &[],
        summary: "Who is online.",
        fields: shapes::WANTED,
        ack: Kind::Object(&[need("presence", Kind::List(&Kind::A("Attendance")), "In no promised order; strangers are left out.")]),
        errors: &[],
        emits: &[],
    },
    Event {
        name: "call:initiate",
        also: &[],
        summary: "Ring somebody.",
        fields: shapes::INITIATE,
        ack: Kind::A("OfferedCall"),
        errors: &["NOT_RELATED", "FORBIDDEN", "SELF_CONVERSATION_BLOCKED", "CONFLICT"],
        emits: &["call:initiated", "call:token"],
    },
    Event {
        name: "call:accept",
        also: &["call:accepted"],
        summary: "Answer, as the callee, while it rings.",
        fields: shapes::NAMED_CALL,
        ack: Kind::A("OfferedCall"),
        errors: &["CALL_NOT_FOUND", "FORBIDDEN", "ANSWERED_ELSEWHERE", "CALL_NOT_RINGING"],
        emits: &[],
    },
    Event {
        name: "call:reject",
        also: &["call:rejected"],
        summary: "Decline, as the callee, while it rings.",
        fields: shapes::ENDING,
        ack: Kind::A("CallState"),
        errors: &["CALL_NOT_FOUND", "FORBIDDEN"],
        emits: &[],
    },
    Event {
        name: "call:connected",
        also: &[],
        summary: "Say that media flows.",
        fields: shapes::NAMED_CALL,
        ack: Kind::A("CallState"),
        errors: &["CALL_NOT_FOUND", "ANSWERED_ELSEWHERE", "CALL_NOT_RINGING"],
        emits: &[],
    },
    Event {
        name: "call:end",
        also: &["call:ended"],
        summary: "Cancel, decline or hang up.",
        fields: shapes::ENDING,
        ack: Kind::A("CallState"),
        errors: &["CALL_NOT_FOUND"],
        emits: &[],
    },
    Event {
        name: "call:token",
        also: &[],
        summary: "A fresh token for the channel of a call that is not over.",
        fields: shapes::NAMED_CALL,
        ack: Kind::A("OfferedCall"),
        errors: &["CALL_NOT_FOUND", "CALL_OVER"],
        emits: &["call:token"],
    },
    Event {
        name: "call",
        also: &[],
        summary: "What an older app queued while it was offline. New apps do not send it.",
        fields: shapes::ENDING,
        // Empty, the state of the call, or the way into it.
        ack: Kind::Object(&[
            may("callId", Kind::A("CallId"), "Absent if it was ignored."),
            may("status", Kind::Text, "Where the call stands."),
            may("channelName", Kind::Text, "If this answered the call; so the next four."),
            may("agoraToken", Kind::Text, "Absent without Agora credentials."),
            may("agoraAppId", Kind::Text, "Absent without Agora credentials."),
            may("uid", Kind::Count, "0: any."),
            may("expiresAt", Kind::A("Timestamp"), "When the token ends."),
        ]),
        errors: &["CALL_NOT_FOUND", "FORBIDDEN", "ANSWERED_ELSEWHERE", "CALL_NOT_RINGING"],
        emits: &[],
    },
];
