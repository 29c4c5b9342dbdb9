//! What the parsers of this room read, and what is answered without a type of its own, as data: names, aliases, kinds and meaning.
//!
//! The documents of the contract (`/openapi.json`, `/asyncapi.json`) are made from these tables. They name what new apps should send; the
//! parsers are more tolerant. A test below fails when a parser reads a name that is not here, or no longer reads one that is.

use crate::services::content::MAX_CONTENT_CHARS;
use crate::services::history::MAX_HISTORY_PAGE;
use crate::store::MAX_PAGE;

/// A field of an object.
#[derive(Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Other names it may have, for apps that exist already.
    pub aliases: &'static [&'static str],
    /// What it holds.
    pub kind: Kind,
    /// Whether it must be there, or always is.
    pub required: bool,
    /// For people.
    pub meaning: &'static str,
}

/// What a field or an answer holds.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text of at most so many characters.
    TextUpTo(usize),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Id of a person.
    PersonId,
    /// Any name of a conversation.
    ConversationId,
    /// 24 hex digits.
    DocumentId,
    /// 32 hex digits.
    MediaId,
    /// An `https` address.
    Https,
    /// True or false.
    Flag,
    /// Always true.
    Yes,
    /// A whole number in this range.
    Whole(u64, u64),
    /// A whole number of at least 0.
    Count,
    /// Any number.
    Number,
    /// ISO text; as input also milliseconds since the epoch.
    Time,
    /// A day of UTC.
    Day,
    /// The same, or `null`; only in what is not for apps.
    Nullable(&'static Self),
    /// An object of the documents, by its name there.
    A(&'static str),
    /// A list.
    List(&'static Kind),
    /// A list of at most so many.
    ListUpTo(usize, &'static Kind),
    /// An object of its own.
    Object(&'static [Field]),
    /// An object of the documents with further fields.
    With(&'static str, &'static [Field]),
}

impl Field {
    /// The same under further names.
    const fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }
}

/// A field that must be there.
pub const fn need(name: &'static str, kind: Kind, meaning: &'static str) -> Field {
    Field { name, aliases: &[], kind, required: true, meaning }
}

/// A field that may be missing.
pub const fn may(name: &'static str, kind: Kind, meaning: &'static str) -> Field {
    Field { name, aliases: &[], kind, required: false, meaning }
}

/// Kinds of people.
pub const PEOPLE: Kind = Kind::Word(&["admin", "astrologer", "user"]);
const CALL_TYPES: Kind = Kind::Word(&["voice", "video"]);
const CONVERSATION: Field = need("conversationId", Kind::ConversationId, "Any name of the conversation; its canonical key is best.");
const CALL: Field = need("callId", Kind::DocumentId, "The call.").also(&["_id", "id"]);
const BEFORE: Field = may("before", Kind::DocumentId, "The newest ones older than this message; `page` is ignored.");
const AFTER: Field = may("after", Kind::DocumentId, "The oldest ones newer than this message; `page` is ignored; `before` wins.");
const PAGE: Field = may("page", Kind::Whole(1, u64::MAX), "Counted from the newest; 1 if missing.");
const LIMIT: Field = may("limit", Kind::Whole(1, MAX_HISTORY_PAGE as u64), "50 if missing; a larger number means the largest page.");
const SYNC_LIMIT: Field = may("limit", Kind::Whole(1, MAX_PAGE as u64), "50 if missing; a larger number means the largest page.");
const CONSULTATION: Field = may("consultationId", Kind::DocumentId, "The consultation it belongs to.");
const CALL_TYPE: Field = need("callType", CALL_TYPES, "`audio` is read as `voice`.");
const REASON: Field = may("reason", Kind::TextUpTo(64), "Why, in the client's own word.").also(&["endReason"]);
const DURATION: Field = may("duration", Kind::Number, "Seconds talked, as the client counted them.");
const MARK_READ: Field = may("markRead", Kind::Flag, "False: look without reading.");
const RECIPIENT_ID: Field = may("recipientId", Kind::PersonId, "To whom; the other participant if missing.").also(&["calleeId"]);
const RECIPIENT_TYPE: Field = may("recipientType", PEOPLE, "Beside `recipientId`; `admin` alone is enough.").also(&["calleeType"]);
const CALLEE_ID: Field = may("calleeId", Kind::PersonId, "Whom.").also(&["recipientId"]);
const CALLEE_TYPE: Field = may("calleeType", PEOPLE, "Beside `calleeId`; `admin` alone is enough.").also(&["recipientType"]);
const CONTENT: Field = may("content", Kind::TextUpTo(MAX_CONTENT_CHARS), "The text; may be empty beside media.").also(&["message", "text"]);
const MESSAGE_TYPE: Field =
    may("messageType", Kind::Word(&["text", "image", "audio", "video", "file", "location"]), "`text` if missing; a `mediaId` decides it.");
const MEDIA_URL: Field = may("mediaUrl", Kind::Https, "Where the media is.");
const MEDIA_ID: Field = may("mediaId", Kind::MediaId, "A file uploaded for this conversation, instead of `mediaUrl` and `thumbnailUrl`.");
const MEDIA_SIZE: Field = may("mediaSize", Kind::Count, "Bytes.");
const MEDIA_DURATION: Field = may("mediaDuration", Kind::Number, "Seconds.");
const THUMBNAIL: Field = may("thumbnailUrl", Kind::Https, "Where a preview is.");
const REPLY_TO: Field = may("replyTo", Kind::DocumentId, "A message of the same conversation.").also(&["replyToId"]);
const CLIENT_ID: Field = may("clientMessageId", Kind::TextUpTo(64), "Your own id for this message; makes repeats safe. Always send one.")
    .also(&["tempId", "localId"]);
const CONTACT_ID: Field =
    need("contactId", Kind::PersonId, "A user for astrologers, an astrologer for others; `admin` is support.").also(&["recipientId"]);
const CONTACT_TYPE: Field = may("contactType", PEOPLE, "Where `contactId` alone says something else.").also(&["recipientType"]);

/// `dm:join_conversation`.
pub const JOIN: &[Field] = &[CONVERSATION, may("after", Kind::DocumentId, "Also answer with what is newer than this message."), SYNC_LIMIT];
/// A conversation and nothing else.
pub const NAMED_CONVERSATION: &[Field] = &[CONVERSATION];
/// `dm:send_message`.
pub const SEND: &[Field] = &[
    may("conversationId", Kind::ConversationId, "Where; may be missing when there is a recipient."),
    RECIPIENT_ID,
    RECIPIENT_TYPE,
    CONTENT,
    MESSAGE_TYPE,
    MEDIA_URL,
    MEDIA_ID,
    MEDIA_SIZE,
    MEDIA_DURATION,
    THUMBNAIL,
    REPLY_TO,
    CLIENT_ID,
];
/// The same by REST, where the path names the conversation.
pub const POST_MESSAGE: &[Field] = SEND.split_at(1).1;
/// `dm:mark_read`.
pub const MARK: &[Field] =
    &[CONVERSATION, may("messageIds", Kind::ListUpTo(200, &Kind::DocumentId), "Missing or empty: everything unread.").also(&["messageId"])];
/// `dm:history`.
pub const HISTORY: &[Field] = &[
    CONVERSATION,
    PAGE,
    LIMIT,
    BEFORE,
    AFTER,
    MARK_READ,
    may("response", Kind::Word(&["dm:history_response"]), "The page is also emitted under that name."),
];
/// A page of messages by REST.
pub const HISTORY_QUERY: &[Field] = &[PAGE, LIMIT, BEFORE, AFTER, MARK_READ];
/// `dm:sync`.
pub const SYNC: &[Field] = &[
    CONVERSATION,
    may("after", Kind::DocumentId, "Newer than this message; missing: the newest ones."),
    SYNC_LIMIT,
    may("since", Kind::Time, "Also tell what changed since then: the `serverTime` of the last sync or of `connected`."),
];
/// `dm:delete_message`.
pub const DELETE: &[Field] = &[
    need("messageId", Kind::DocumentId, "Which."),
    may("conversationId", Kind::ConversationId, "If given, the message must be in it."),
    may("scope", Kind::Word(&["me", "everyone"]), "`me` if missing."),
];
/// `get_stats`.
pub const NOTHING: &[Field] = &[];
/// `auth:refresh`.
pub const REFRESH: &[Field] = &[need("token", Kind::Text, "A newer token of the same person.")];
/// `presence:get`.
pub const WANTED: &[Field] =
    &[need("ids", Kind::ListUpTo(200, &Kind::Text), "Each `type:id`, or the id alone. One text with commas will do.")];
/// `call:initiate`.
pub const INITIATE: &[Field] = &[CALLEE_ID, CALLEE_TYPE, CALL_TYPE, CONSULTATION];
/// The same for admins.
pub const INITIATE_AS_ADMIN: &[Field] =
    &[may("astrologerId", Kind::PersonId, "Whom, if it is an astrologer."), CALLEE_ID, CALLEE_TYPE, CALL_TYPE, CONSULTATION];
/// A call and nothing else.
pub const NAMED_CALL: &[Field] = &[CALL];
/// `call:reject`, `call:end`.
pub const ENDING: &[Field] = &[CALL, REASON, DURATION];
/// The same by REST, where the path names the call.
pub const ENDING_BODY: &[Field] = ENDING.split_at(1).1;
/// A rating.
pub const FEEDBACK: &[Field] =
    &[need("rating", Kind::Whole(1, 5), "Stars."), may("comment", Kind::TextUpTo(1_000), "In words.").also(&["feedback"])];
/// A list of calls. The status may be a stored word or one of the events.
pub const CALLS_QUERY: &[Field] = &[
    PAGE,
    LIMIT,
    may("before", Kind::DocumentId, "Older than this call; `page` is ignored."),
    may("callType", CALL_TYPES, "Only these."),
    may(
        "status",
        Kind::Word(&["initiated", "ringing", "answered", "accepted", "ongoing", "connected", "ended", "rejected", "missed", "failed"]),
        "Only these.",
    ),
];
/// A list of conversations.
pub const CONVERSATIONS_QUERY: &[Field] =
    &[PAGE, LIMIT, may("before", Kind::DocumentId, "Less lately active than this conversation; `page` is ignored.")];
/// Opening a conversation.
pub const OPEN: &[Field] = &[
    RECIPIENT_ID,
    RECIPIENT_TYPE,
    may("contextType", Kind::Word(&["consultation", "service_request", "support", "general"]), "`general` if missing."),
    may("contextId", Kind::DocumentId, "The document it is about."),
];
/// Whose inbox.
pub const OWNER_QUERY: &[Field] = &[may("type", PEOPLE, "For admins: what the owner is.").also(&["userType"])];
/// A page of an inbox.
pub const INBOX_QUERY: &[Field] = &[
    may("type", PEOPLE, "For admins: what the owner is.").also(&["userType"]),
    PAGE,
    LIMIT,
    may("cursor", Kind::Text, "`nextCursor` of the page before, instead of `page`."),
];
/// A message from an inbox.
pub const INBOX_MESSAGE: &[Field] =
    &[CONTACT_ID, CONTACT_TYPE, CONTENT, MESSAGE_TYPE, MEDIA_URL, MEDIA_ID, MEDIA_SIZE, MEDIA_DURATION, THUMBNAIL, REPLY_TO, CLIENT_ID];
/// A call from an inbox.
pub const INBOX_CALL: &[Field] = &[CONTACT_ID, CONTACT_TYPE];
/// Announcing a file.
pub const ANNOUNCE: &[Field] = &[
    need("conversationId", Kind::ConversationId, "For which conversation."),
    may("name", Kind::Text, "Of the file.").also(&["fileName"]),
    need("mimeType", Kind::Text, "One of the kinds of docs/media.md.").also(&["contentType"]),
    need("size", Kind::Whole(1, u64::MAX), "Bytes."),
];
/// A signed address.
pub const SIGNED: &[Field] = &[need("expires", Kind::Text, "Part of the address."), need("signature", Kind::Text, "Part of the address.")];
/// An address that may be signed.
pub const MAYBE_SIGNED: &[Field] = &[
    may("expires", Kind::Text, "With `signature`: proves the right instead of a credential."),
    may("signature", Kind::Text, "See `expires`."),
];
/// Registering a device; one of the tokens must be there.
pub const DEVICE: &[Field] = &[
    may("fcmToken", Kind::TextUpTo(4_096), "Of Firebase Cloud Messaging.").also(&["token"]),
    may("voipToken", Kind::TextUpTo(256), "Of PushKit, hex digits, with `platform` `ios`."),
    may("platform", Kind::Word(&["android", "ios", "web"]), "`android` if missing."),
];
/// Forgetting a device.
pub const DEVICE_TOKEN: &[Field] = &[need("fcmToken", Kind::Text, "Either token.").also(&["voipToken", "token"])];
/// An admin key.
pub const LOGIN: &[Field] = &[need("adminKey", Kind::Text, "The key.")];
/// A relation.
pub const RELATION: &[Field] =
    &[need("userId", Kind::PersonId, "The user."), need("astrologerId", Kind::PersonId, "The astrologer."), CONSULTATION];
/// Whose sessions.
pub const REVOKE: &[Field] =
    &[need("userId", Kind::PersonId, "Who.").also(&["id"]), need("type", PEOPLE, "What he is.").also(&["userType"])];
/// A token for a call, or for a fresh channel.
pub const ADMIN_TOKEN: &[Field] = &[may("callId", Kind::DocumentId, "The call; a fresh channel if missing.").also(&["_id", "id"])];
/// The sockets of whom.
pub const SESSIONS_QUERY: &[Field] =
    &[may("type", PEOPLE, "Only these.").also(&["userType"]), may("id", Kind::Text, "Only this one.").also(&["userId"])];
/// Figures of which days, and of what.
pub const PERIOD: &[Field] = &[
    may("period", Kind::Word(&["1d", "7d", "30d", "90d", "1y"]), "Whole days of UTC up to today; anything else is `7d`."),
    may("type", Kind::Word(&["all", "admin-astrologer", "customer-astrologer"]), "`all` if missing."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use crate::models::ParticipantKind;
    use crate::services::history::Reading;
    use crate::wire::{self, Payload};

    use super::*;

    fn names(fields: &[Field]) -> BTreeSet<String> {
        fields.iter().flat_map(|field| std::iter::once(&field.name).chain(field.aliases)).map(|name| (*name).to_owned()).collect()
    }

    /// Read by the parser of sends as well, and of no use beside a contact.
    const NOT_SAID: &[Field] = &[may("calleeId", Kind::Text, ""), may("calleeType", Kind::Text, "")];

    /// The parser gets what it needs to read on to its end; `elsewhere` are names the caller of the parser reads.
    fn compare<T>(what: &str, fields: &[Field], elsewhere: &[&str], minimal: Value, parse: impl Fn(&Payload) -> crate::error::Result<T>) {
        let payload = Payload::from_value(minimal).expect("an object");
        assert!(parse(&payload).is_ok(), "{what}: the sample is not legal");
        let mut read = payload.asked.lock().expect("nobody panicked").clone();
        read.extend(elsewhere.iter().map(|name| (*name).to_owned()));
        assert_eq!(read, names(fields), "{what}: left what is read, right what is documented");
    }

    #[test]
    fn what_is_documented_is_what_the_parsers_read() {
        let id = "0123456789abcdef01234567";
        compare("send", SEND, &["conversationId"], json!({ "content": "x" }), |p| wire::send_message(p, None, None));
        compare("mark", MARK, &["conversationId"], json!({}), wire::which_messages);
        compare("history", HISTORY, &["conversationId", "response"], json!({}), |p| wire::history(p, Reading::Reads));
        compare("history by REST", HISTORY_QUERY, &[], json!({}), |p| wire::history(p, Reading::Looks));
        compare("sync", SYNC, &["conversationId"], json!({}), wire::catch_up);
        compare("delete", DELETE, &["conversationId", "messageId"], json!({}), wire::delete_scope);
        compare("presence", WANTED, &[], json!({ "ids": ["u1"] }), wire::wanted_people);
        compare("open", OPEN, &[], json!({ "recipientType": "admin" }), |p| wire::context(p).and(wire::recipient(p)?.require()));
        let call = json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" });
        compare("initiate", INITIATE, &[], call.clone(), |p| wire::initiate_call(p, None, None));
        compare(
            "initiate as admin",
            INITIATE_AS_ADMIN,
            &["calleeType", "recipientType"],
            json!({ "astrologerId": "a1", "callType": "voice" }),
            |p| wire::initiate_call(p, wire::callee_of_admin(p)?, None),
        );
        compare("a call", NAMED_CALL, &[], json!({ "callId": id }), wire::call_id);
        compare("ending", ENDING, &[], json!({ "callId": id }), |p| wire::call_id(p).and(wire::ending(p)));
        compare("feedback", FEEDBACK, &[], json!({ "rating": 5 }), wire::feedback);
        compare("calls", CALLS_QUERY, &["before"], json!({}), |p| wire::call_filter(p).and(wire::page(p)));
        compare("inbox", INBOX_QUERY, &[], json!({}), |p| wire::inbox(p).and(wire::person_type(p)));
        let to = json!({ "contactId": "a1", "content": "x" });
        compare("from an inbox", &[INBOX_MESSAGE, NOT_SAID].concat(), &[], to, |p| {
            wire::contact(p, ParticipantKind::User).and(wire::send_message(p, None, None))
        });
        compare("a call from an inbox", INBOX_CALL, &[], json!({ "contactId": "a1" }), |p| wire::contact(p, ParticipantKind::User));
        compare("announce", ANNOUNCE, &[], json!({ "conversationId": "c", "mimeType": "image/png", "size": 1 }), wire::announce);
        compare("device", DEVICE, &[], json!({ "fcmToken": "12345678" }), wire::device_tokens);
    }
}
