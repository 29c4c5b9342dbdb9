//! Everything the server says to a socket, one variant each, with its name or both its names.
//!
//! Source of names, fields and audiences: docs/protocol.md#server-events.

use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::value::RawValue;

use super::call_event::{CallConnected, CallEnded, CallMissed, CallOffer, CallRejected};
use crate::models::view::MessageView;
use crate::models::{Attendance, MessageId, Participant, ParticipantKind, Profile, Timestamp, ToldMessage};

/// An event on its way out. A payload is always exactly one JSON object.
pub enum ServerEvent {
    /// First packet of every connection.
    Connected(Connected),
    /// Answer to `get_stats`.
    Stats(Stats),
    /// A conversation was joined.
    Joined(Joined),
    /// A message, to those in the room.
    MessageReceived(Arc<ToldMessage>),
    /// Confirmation to the sending socket.
    MessageSent(Arc<ToldMessage>),
    /// A message, to those who are connected but not in the room.
    NewMessage(Arc<ToldMessage>),
    /// Somebody types.
    TypingStarted(Typing),
    /// Somebody stopped typing.
    TypingStopped(Typing),
    /// Messages were read.
    MessagesRead(MessagesRead),
    /// Messages reached a client of their recipient.
    MessagesDelivered(MessagesDelivered),
    /// A message was deleted, for one or for all.
    MessageDeleted(MessageDeleted),
    /// A page of history, rendered where it is made because the asker is its only reader; the flag adds the older name.
    History(Box<RawValue>, bool),
    /// A call begins, to the socket that asked for it.
    CallInitiated(Box<CallOffer>),
    /// A renewed token, to the socket that asked for it.
    CallToken(Box<CallOffer>),
    /// A call rings, to the callee.
    CallIncoming(Box<CallOffer>),
    /// A call was answered, to the caller.
    CallAccepted(Box<CallOffer>),
    /// A call was not wanted, to the caller.
    CallRejected(CallRejected),
    /// A call is over.
    CallEnded(CallEnded),
    /// Nobody answered: what older clients hear beside [`ServerEvent::CallMissed`]. Not under both names, or they would see two outcomes.
    CallTimedOut(CallEnded),
    /// Nobody answered.
    CallMissed(CallMissed),
    /// Media flows on the other side.
    CallConnected(CallConnected),
    /// People came or went.
    PresenceChanged(Vec<Attendance>),
    /// An astrologer can be reached, or no longer; to admins.
    AstrologerStatusChanged(AstrologerStatus),
    /// Something may have been missed.
    Resync(Resync),
    /// A request failed; also under the name of its family.
    Failed(Failure),
}

impl ServerEvent {
    /// The names it is emitted under, in order.
    pub fn names(&self) -> &'static [&'static str] {
        match self {
            Self::Connected(_) => &["connected"],
            Self::Stats(_) => &["stats"],
            Self::Joined(_) => &["dm:joined"],
            Self::MessageReceived(_) => &["dm:message_received"],
            Self::MessageSent(_) => &["dm:message_sent"],
            Self::NewMessage(_) => &["dm:new_message"],
            Self::TypingStarted(_) => &["dm:typing_start", "dm:user_typing"],
            Self::TypingStopped(_) => &["dm:typing_stop", "dm:user_stopped_typing"],
            Self::MessagesRead(_) => &["dm:messages_read"],
            Self::MessagesDelivered(_) => &["dm:messages_delivered"],
            Self::MessageDeleted(_) => &["dm:message_deleted"],
            Self::History(_, false) => &["dm:history"],
            Self::History(_, true) => &["dm:history", "dm:history_response"],
            Self::CallInitiated(_) => &["call:initiated", "call:token"],
            Self::CallToken(_) => &["call:token"],
            Self::CallIncoming(_) => &["call:incoming"],
            Self::CallAccepted(_) => &["call:accept", "call:accepted"],
            Self::CallRejected(_) => &["call:reject", "call:rejected"],
            Self::CallEnded(_) => &["call:end", "call:ended"],
            Self::CallTimedOut(_) => &["call:end"],
            Self::CallMissed(_) => &["call:missed"],
            Self::CallConnected(_) => &["call:connected"],
            Self::PresenceChanged(_) => &["presence:changed"],
            Self::AstrologerStatusChanged(_) => &["astrologer:status_changed"],
            Self::Resync(_) => &["resync"],
            Self::Failed(failure) if failure.event.starts_with("dm:") => &["error", "dm:error"],
            Self::Failed(failure) if failure.event.starts_with("call") => &["error", "call:error"],
            Self::Failed(_) => &["error"],
        }
    }

    /// The payload for a listener who calls the conversation `spelling`.
    pub(crate) fn render(&self, spelling: Option<&str>) -> serde_json::Result<Arc<RawValue>> {
        match self {
            Self::Connected(payload) => raw(payload),
            Self::Stats(payload) => raw(payload),
            Self::Joined(payload) => raw(payload),
            Self::MessageReceived(message) | Self::MessageSent(message) | Self::NewMessage(message) => {
                message.json(spelling.unwrap_or(message.conversation_key.as_str()))
            }
            Self::TypingStarted(payload) | Self::TypingStopped(payload) => raw(&Spelled::new(spelling, payload)),
            Self::MessagesRead(payload) => raw(&Spelled::new(spelling, payload)),
            Self::MessagesDelivered(payload) => raw(&Spelled::new(spelling, payload)),
            Self::MessageDeleted(payload) => raw(&Spelled::new(spelling, payload)),
            Self::History(page, _) => Ok(page.clone().into()),
            Self::CallInitiated(offer) | Self::CallToken(offer) | Self::CallIncoming(offer) | Self::CallAccepted(offer) => raw(offer),
            Self::CallRejected(payload) => raw(payload),
            Self::CallEnded(payload) | Self::CallTimedOut(payload) => raw(payload),
            Self::CallMissed(payload) => raw(payload),
            Self::CallConnected(payload) => raw(payload),
            Self::PresenceChanged(changes) => raw(&PresenceChanged { changes }),
            Self::AstrologerStatusChanged(payload) => raw(payload),
            Self::Resync(payload) => raw(payload),
            Self::Failed(payload) => raw(payload),
        }
    }
}

/// What is said under a name: the name, to whom and when, and the schema of the payload.
pub struct Said {
    /// On the wire.
    pub name: &'static str,
    /// For people.
    pub meaning: &'static str,
    /// Of the payload; `None` for a page of history, whose shape belongs to those who answer with it.
    pub schema: Option<Schema>,
}

/// Every name of [`ServerEvent::names`]. Two that carry the same payload are two rows.
pub fn everything_said(generator: &mut SchemaGenerator) -> Vec<Said> {
    let mut all = Vec::new();
    let mut say = |names: &[&'static str], meaning, schema: Option<Schema>| {
        all.extend(names.iter().map(|name| Said { name, meaning, schema: schema.clone() }));
    };
    let of = generator;
    say(&["connected"], "First event of every connection: who the server takes the client for.", Some(of.subschema_for::<Connected>()));
    say(&["stats"], "Answer to `get_stats`.", Some(of.subschema_for::<Stats>()));
    say(&["dm:joined"], "The asking socket sits in the room of a conversation.", Some(of.subschema_for::<Joined>()));
    let message = of.subschema_for::<MessageView<'_>>();
    say(&["dm:message_received"], "A message, to the sockets in the room.", Some(message.clone()));
    say(&["dm:message_sent"], "The stored message, to the socket that sent it.", Some(message.clone()));
    say(&["dm:new_message"], "A message, to both people's other sockets that are not in the room.", Some(message));
    let typing = of.subschema_for::<Spelled<'_, Typing>>();
    say(
        &["dm:typing_start", "dm:user_typing"],
        "Somebody in the room types. Both names carry the same: listen to one.",
        Some(typing.clone()),
    );
    say(&["dm:typing_stop", "dm:user_stopped_typing"], "He stopped. Both names carry the same: listen to one.", Some(typing));
    let read = of.subschema_for::<Spelled<'_, MessagesRead>>();
    say(&["dm:messages_read"], "Messages were read by whom they are addressed to.", Some(read));
    let delivered = of.subschema_for::<Spelled<'_, MessagesDelivered>>();
    say(&["dm:messages_delivered"], "Messages were handed to a client of their recipient; to the sender.", Some(delivered));
    say(&["dm:message_deleted"], "A message was deleted, for one or for all.", Some(of.subschema_for::<Spelled<'_, MessageDeleted>>()));
    say(&["dm:history"], "A page of history, to the asker.", None);
    say(&["dm:history_response"], "The same under an older name, where asked for.", None);
    let offer = of.subschema_for::<CallOffer>();
    say(&["call:initiated"], "The call begins, to the socket that asked for it.", Some(offer.clone()));
    say(&["call:token"], "Channel and token of a call, to the asking socket.", Some(offer.clone()));
    say(&["call:incoming"], "A call rings, to the callee.", Some(offer.clone()));
    say(&["call:accept", "call:accepted"], "The call was answered, to the caller. Both names carry the same.", Some(offer));
    let rejected = of.subschema_for::<CallRejected>();
    say(&["call:reject", "call:rejected"], "The call was not wanted, to the caller. Both names carry the same.", Some(rejected));
    let ended = of.subschema_for::<CallEnded>();
    say(&["call:end", "call:ended"], "The call is over. Both names carry the same; a missed call says `call:end` only.", Some(ended));
    say(&["call:missed"], "Nobody answered in time, to both sides.", Some(of.subschema_for::<CallMissed>()));
    say(&["call:connected"], "Media flows on the other side.", Some(of.subschema_for::<CallConnected>()));
    say(&["presence:changed"], "People came or went.", Some(of.subschema_for::<PresenceChanged<'_>>()));
    let status = of.subschema_for::<AstrologerStatus>();
    say(&["astrologer:status_changed"], "An astrologer can be reached, or no longer; to admins.", Some(status));
    say(&["resync"], "Events may have been missed: catch up.", Some(of.subschema_for::<Resync>()));
    let failed = of.subschema_for::<Failure>();
    say(&["error"], "A request of this socket failed.", Some(failed.clone()));
    say(&["dm:error"], "The same again, for `dm:*` events.", Some(failed.clone()));
    say(&["call:error"], "The same again, for `call` and `call:*` events.", Some(failed));
    all
}

fn raw<T: Serialize>(payload: &T) -> serde_json::Result<Arc<RawValue>> {
    serde_json::value::to_raw_value(payload).map(Arc::from)
}

// A payload with the listener's name for the conversation in front.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}", transform = always_named)]
#[serde(rename_all = "camelCase")]
struct Spelled<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<&'a str>,
    #[serde(flatten)]
    payload: &'a T,
}

/// In none of these events the conversation is missing.
fn always_named(schema: &mut Schema) {
    let required = schema.ensure_object().entry("required").or_insert_with(|| serde_json::json!([]));
    if let Some(names) = required.as_array_mut() {
        names.push("conversationId".into());
    }
}

impl<'a, T> Spelled<'a, T> {
    fn new(conversation_id: Option<&'a str>, payload: &'a T) -> Self {
        Self { conversation_id, payload }
    }
}

/// `presence:changed`.
#[derive(Serialize, JsonSchema)]
struct PresenceChanged<'a> {
    changes: &'a [Attendance],
}

/// `connected`: who the server takes the client for.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connected {
    socket_id: String,
    user: ConnectedUser,
    /// Milliseconds since the epoch.
    timestamp: i64,
    server_time: Timestamp,
    protocol: u32,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ConnectedUser {
    id: String,
    #[serde(rename = "_id")]
    document_id: String,
    user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    astrologer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    r#type: ParticipantKind,
    user_type: ParticipantKind,
    role: ParticipantKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile_picture: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar: Option<String>,
    is_anonymous: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_admin: bool,
}

impl Connected {
    /// The version of docs/protocol.md a client may rely on.
    pub const PROTOCOL: u32 = 1;

    /// For this socket and person, now.
    pub fn new(socket_id: String, person: &Participant, profile: &Profile, now: Timestamp) -> Self {
        let (id, kind) = (person.id().to_owned(), person.kind());
        Self {
            socket_id,
            user: ConnectedUser {
                document_id: id.clone(),
                user_id: id.clone(),
                astrologer_id: (kind == ParticipantKind::Astrologer).then(|| id.clone()),
                id,
                name: profile.name.clone(),
                r#type: kind,
                user_type: kind,
                role: kind,
                profile_picture: profile.picture.clone(),
                avatar: profile.picture.clone(),
                is_anonymous: false,
                is_admin: kind == ParticipantKind::Admin,
            },
            timestamp: now.as_millis(),
            server_time: now,
            protocol: Self::PROTOCOL,
        }
    }
}

/// `stats`: how busy the server is. Rooms are not named to clients.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    total_rooms: usize,
    total_connections: usize,
    #[schemars(with = "Vec<String>")]
    rooms: [(); 0],
}

impl Stats {
    /// With this many connections.
    pub fn new(total_connections: usize) -> Self {
        Self { total_rooms: 0, total_connections, rooms: [] }
    }
}

/// `dm:joined`.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// As the client wrote it.
    pub conversation_id: String,
    /// Always true; older clients look at it.
    #[schemars(extend("const" = true))]
    pub success: bool,
    /// Canonical key; the text of the client while nobody knows the conversation.
    pub conversation_key: String,
    /// What the asker has to read there.
    pub unread_count: u32,
}

/// `dm:typing_start`, `dm:typing_stop` and their second names.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Typing {
    /// Who types.
    pub user_id: String,
    /// Kind of who types.
    pub user_type: ParticipantKind,
    /// Name of who types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
}

/// `dm:messages_read`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessagesRead {
    /// Oldest first.
    pub message_ids: Vec<MessageId>,
    /// Id of the reader.
    pub read_by: String,
    /// Kind of the reader.
    pub read_by_type: ParticipantKind,
    /// When.
    pub read_at: Timestamp,
}

/// `dm:messages_delivered`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessagesDelivered {
    /// In no order.
    pub message_ids: Vec<MessageId>,
    /// Id of the recipient.
    pub delivered_to: String,
    /// When.
    pub delivered_at: Timestamp,
}

/// `dm:message_deleted`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageDeleted {
    /// Which.
    pub message_id: MessageId,
    /// `me` or `everyone`.
    #[schemars(extend("enum" = ["me", "everyone"]))]
    pub scope: &'static str,
    /// Id of who deleted it.
    pub deleted_by: String,
    /// When.
    pub deleted_at: Timestamp,
}

/// `astrologer:status_changed`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AstrologerStatus {
    /// Who.
    pub astrologer_id: String,
    /// Connected or to be reached by push, and switched on where another program keeps such a switch.
    pub is_online: bool,
    /// `online` or `offline`: connected or not.
    #[schemars(extend("enum" = ["online", "offline"]))]
    pub presence: &'static str,
    /// When last connected; now, while connected.
    pub last_seen: Timestamp,
    /// Name, when known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Picture, when known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_picture: Option<String>,
}

/// `resync`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resync {
    /// From when on events may be missing.
    pub since: Timestamp,
}

/// `error`, with `dm:error` or `call:error`.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// For people.
    pub message: String,
    /// The code again, under the name older clients read.
    pub error: &'static str,
    /// The stable word.
    pub code: &'static str,
    /// The event that failed.
    pub event: String,
    /// What it was about, if the client said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// The call it was about, if the client said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// Milliseconds to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// True if the same request may succeed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
}
