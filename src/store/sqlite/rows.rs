//! From rows to models. A row that cannot be decoded is an error that names it, never a row left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Row;
use rusqlite::types::{FromSql, ValueRef};

use super::errors::Undecodable;
use crate::error::{Error, Result, Source};
use crate::models::message::{CallLog, Media};
use crate::models::{
    AuditAction, AuditEntry, Call, CallId, CallStatus, CallType, Conversation, ConversationHandle, ConversationId, ConversationKey, Device,
    DeviceKind, EndReason, Feedback, LastMessage, Lease, Member, Message, MessageId, MessageStatus, MessageType, Notices, OutboxEntry,
    OutboxLane, OutboxState, Participant, ParticipantKind, Platform, ProcessId, Profile, Revocation, Timestamp,
};

/// The columns [`message`] reads, in its order. The key comes from the conversation, where it is kept once.
///
/// Whoever knows the key already gives it as a parameter, and it is not looked up for every row.
macro_rules! message_columns {
    () => {
        $crate::store::sqlite::rows::message_columns!("(SELECT key FROM conversation WHERE id = message.conversation)")
    };
    ($key:literal) => {
        concat!(
            "id, conversation, ",
            $key,
            ", sender_kind, sender, sender_name, sender_picture, recipient_kind, recipient, type, content, media_url, media_size, \
             media_duration, thumbnail_url, reply_to, call_type, call_status, call_duration, call_id, client_id, status, created_at, \
             updated_at, delivered_at, read_at, is_deleted, deleted_at, deleted_by"
        )
    };
}
pub(super) use message_columns;

/// Reads a row of [`message_columns`].
pub(super) fn message(row: &Row<'_>) -> Result<Message> {
    decode("message", row, |cells| {
        Ok(Message {
            id: MessageId::from_bytes(cells.take()?),
            conversation_id: ConversationId::from_bytes(cells.take()?),
            conversation_key: ConversationKey::stored(cells.take::<Arc<str>>()?),
            sender: cells.participant()?,
            sender_profile: cells.profile()?,
            recipient: cells.participant()?,
            message_type: cells.word(MessageType::parse)?,
            content: cells.take()?,
            media: Media { url: cells.take()?, size_bytes: cells.take()?, duration_seconds: cells.take()?, thumbnail_url: cells.take()? },
            reply_to: cells.take::<Option<_>>()?.map(MessageId::from_bytes),
            call: cells.call_log()?,
            client_message_id: cells.take()?,
            status: cells.word(MessageStatus::parse)?,
            created_at: cells.time()?,
            updated_at: cells.time()?,
            delivered_at: cells.optional_time()?,
            read_at: cells.optional_time()?,
            is_deleted: cells.take()?,
            deleted_at: cells.optional_time()?,
            deleted_by: cells.take::<Option<String>>()?.map_or(Ok(Vec::new()), |list| serde_json::from_str(&list))?,
        })
    })
}

/// The columns [`member`] reads, in its order.
macro_rules! member_columns {
    () => {
        "conversation, kind, person, name, picture, joined_at, unread"
    };
}
pub(super) use member_columns;

/// Reads a row of [`member_columns`]: the member and his unread count.
pub(super) fn member(row: &Row<'_>) -> Result<(Member, u32)> {
    decode("member of conversation", row, |cells| {
        cells.skip();
        let member = Member { participant: cells.participant()?, profile: cells.profile()?, joined_at: cells.optional_time()? };
        Ok((member, cells.take()?))
    })
}

/// The columns [`conversation`] reads, in its order.
macro_rules! conversation_columns {
    () => {
        "id, key, type, context_type, context_id, last_message_at, created_at, updated_at, last_id, last_content, last_sender_kind, \
         last_sender, last_at, last_type"
    };
}
pub(super) use conversation_columns;

/// Reads a row of [`conversation_columns`]; members and aliases are rows of their own, added by the caller.
pub(super) fn conversation(row: &Row<'_>) -> Result<Conversation> {
    decode("conversation", row, |cells| {
        let id = ConversationId::from_bytes(cells.take()?);
        Ok(Conversation {
            handle: ConversationHandle { id, key: ConversationKey::stored(cells.take::<String>()?), filed_by_id: false },
            conversation_type: cells.take()?,
            context_type: cells.take()?,
            context_id: cells.take()?,
            last_message_at: cells.time()?,
            created_at: cells.time()?,
            updated_at: cells.time()?,
            last_message: cells.last_message()?,
            members: Vec::new(),
            unread: BTreeMap::new(),
            aliases: Vec::new(),
            // Only programs older than this store closed conversations.
            is_active: true,
        })
    })
}

/// The columns [`call`] reads, in its order.
macro_rules! call_columns {
    () => {
        "id, caller_kind, caller, caller_name, caller_picture, callee_kind, callee, callee_name, callee_picture, type, channel, \
         conversation_key, consultation_id, status, ring_deadline, initiated_at, ringing_at, answered_at, connected_at, ended_at, \
         duration, server_duration, end_reason, end_detail, ended_by_kind, ended_by, notices, rating, feedback, rated_by_kind, rated_by, \
         updated_at"
    };
}
pub(super) use call_columns;

/// Reads a row of [`call_columns`].
pub(super) fn call(row: &Row<'_>) -> Result<Call> {
    decode("call", row, |cells| {
        Ok(Call {
            id: CallId::from_bytes(cells.take()?),
            caller: cells.participant()?,
            caller_profile: cells.profile()?,
            callee: cells.participant()?,
            callee_profile: cells.profile()?,
            call_type: cells.word(CallType::parse)?,
            channel: cells.take()?,
            conversation_key: cells.take::<Option<String>>()?.map(ConversationKey::stored),
            consultation_id: cells.take()?,
            status: cells.word(CallStatus::parse)?,
            ring_deadline: cells.optional_time()?,
            initiated_at: cells.time()?,
            ringing_at: cells.optional_time()?,
            answered_at: cells.optional_time()?,
            connected_at: cells.optional_time()?,
            ended_at: cells.optional_time()?,
            duration: cells.take()?,
            server_duration: cells.take()?,
            end_reason: cells.optional_word(EndReason::parse)?,
            end_detail: cells.take()?,
            ended_by: cells.optional_participant()?,
            notices: notices(cells.take()?),
            feedback: cells.feedback()?,
            updated_at: cells.time()?,
        })
    })
}

/// The columns [`audit_entry`] reads, in its order.
macro_rules! audit_columns {
    () => {
        "number, at, actor, action, subject, detail"
    };
}
pub(super) use audit_columns;

/// Reads a row of [`audit_columns`].
pub(super) fn audit_entry(row: &Row<'_>) -> Result<AuditEntry> {
    decode("audit entry", row, |cells| {
        cells.skip();
        Ok(AuditEntry {
            at: cells.time()?,
            actor: cells.take()?,
            action: cells.word(AuditAction::parse)?,
            subject: cells.take()?,
            detail: cells.take()?,
        })
    })
}

/// The columns [`revocation`] reads, in its order.
macro_rules! revocation_columns {
    () => {
        "person, kind, person, until"
    };
}
pub(super) use revocation_columns;

/// Reads a row of [`revocation_columns`].
pub(super) fn revocation(row: &Row<'_>) -> Result<Revocation> {
    decode("revocation", row, |cells| {
        cells.skip();
        Ok(Revocation { person: cells.participant()?, until: cells.time()? })
    })
}

/// Notices as a number: one bit for each of [`Notices::WORDS`].
pub(super) fn notice_bits(notices: Notices) -> u8 {
    notices.flags().into_iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(flag))
}

fn notices(bits: u8) -> Notices {
    Notices::from_flags([0, 1, 2].map(|place| bits >> place & 1 == 1))
}

/// A count as SQLite takes it; what is beyond its range means "all" anyway.
pub(super) fn sql_count(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

/// Runs `read` over the cells of a row whose first one is the id to blame.
/// The columns [`device`] reads, in its order.
macro_rules! device_columns {
    () => {
        "token, kind, owner_kind, owner, platform, registered_at"
    };
}
pub(super) use device_columns;

/// Reads a row of [`device_columns`].
pub(super) fn device(row: &Row<'_>) -> Result<Device> {
    // The first cell is the token, which errors must not show.
    let read = |cells: &mut Cells<'_, '_>| {
        Ok(Device {
            token: cells.take()?,
            kind: cells.word(DeviceKind::parse)?,
            owner: cells.participant()?,
            platform: cells.word(Platform::parse)?,
            registered_at: cells.time()?,
        })
    };
    read(&mut Cells { row, next: 0 }).map_err(|e: Source| Error::internal(format!("cannot decode a device: {e}")))
}

/// The columns [`outbox_entry`] reads, in its order.
macro_rules! outbox_columns {
    () => {
        "id, lane, collapse, recipient_kind, recipient, body, created_at, due_at, expires_at, attempts, settled, state, lease_owner, \
         lease_until, problem"
    };
}
pub(super) use outbox_columns;

/// Reads a row of [`outbox_columns`].
pub(super) fn outbox_entry(row: &Row<'_>) -> Result<OutboxEntry> {
    decode("outbox entry", row, |cells| {
        Ok(OutboxEntry {
            id: cells.take()?,
            lane: cells.word(OutboxLane::parse)?,
            collapse: cells.take()?,
            recipient: cells.optional_participant()?,
            body: cells.take()?,
            created_at: cells.time()?,
            due_at: cells.time()?,
            expires_at: cells.time()?,
            attempts: cells.take()?,
            settled: serde_json::from_str(&cells.take::<String>()?)?,
            state: cells.word(OutboxState::parse)?,
            lease: {
                let owner = cells.optional_word(ProcessId::parse)?;
                owner.zip(cells.optional_time()?).map(|(owner, until)| Lease { owner, until })
            },
            problem: cells.take()?,
        })
    })
}

fn decode<T>(table: &'static str, row: &Row<'_>, read: impl FnOnce(&mut Cells<'_, '_>) -> Result<T, Source>) -> Result<T> {
    read(&mut Cells { row, next: 0 }).map_err(|source| Error::internal(Undecodable { table, id: name(row), source }))
}

/// What the first cell says: an id, a number or a text.
fn name(row: &Row<'_>) -> String {
    match row.get_ref(0) {
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        Ok(ValueRef::Blob(id)) => id.try_into().map_or_else(|_| "without id".to_owned(), |id| MessageId::from_bytes(id).to_string()),
        _ => "without id".to_owned(),
    }
}

fn known<T>(word: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Source> {
    parse(word).ok_or_else(|| format!("the word {word:?} means nothing here").into())
}

/// The cells of one row, from left to right.
struct Cells<'row, 'statement> {
    row: &'row Row<'statement>,
    next: usize,
}

impl Cells<'_, '_> {
    fn take<T: FromSql>(&mut self) -> Result<T, Source> {
        let cell = self.row.get(self.next)?;
        self.next += 1;
        Ok(cell)
    }

    fn skip(&mut self) {
        self.next += 1;
    }

    fn word<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Source> {
        let word = self.row.get_ref(self.next)?.as_str()?;
        self.next += 1;
        known(word, parse)
    }

    fn optional_word<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Source> {
        let word: Option<String> = self.take()?;
        word.map(|word| known(&word, parse)).transpose()
    }

    fn participant(&mut self) -> Result<Participant, Source> {
        Ok(Participant::stored(self.word(ParticipantKind::parse)?, self.take::<Arc<str>>()?))
    }

    fn optional_participant(&mut self) -> Result<Option<Participant>, Source> {
        let kind = self.optional_word(ParticipantKind::parse)?;
        let id: Option<String> = self.take()?;
        Ok(kind.zip(id).map(|(kind, id)| Participant::stored(kind, id)))
    }

    fn feedback(&mut self) -> Result<Option<Feedback>, Source> {
        let (rating, comment, by) = (self.take::<Option<u8>>()?, self.take()?, self.optional_participant()?);
        Ok(rating.map(|rating| Feedback { rating, comment, by }))
    }

    fn profile(&mut self) -> Result<Profile, Source> {
        Ok(Profile { name: self.take()?, picture: self.take()? })
    }

    fn time(&mut self) -> Result<Timestamp, Source> {
        self.take().map(Timestamp::from_millis)
    }

    fn optional_time(&mut self) -> Result<Option<Timestamp>, Source> {
        Ok(self.take::<Option<_>>()?.map(Timestamp::from_millis))
    }

    fn call_log(&mut self) -> Result<Option<CallLog>, Source> {
        let call = CallLog { call_type: self.take()?, call_status: self.take()?, call_duration: self.take()?, call_id: self.take()? };
        Ok((call != CallLog::default()).then_some(call))
    }

    fn last_message(&mut self) -> Result<Option<LastMessage>, Source> {
        let Some(id) = self.take::<Option<_>>()? else { return Ok(None) };
        Ok(Some(LastMessage {
            message_id: Some(MessageId::from_bytes(id)),
            content: self.take()?,
            sender: Some(self.participant()?),
            at: Some(self.time()?),
            message_type: self.word(MessageType::parse)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_bits_in_the_order_of_their_words() {
        for bits in 0..8 {
            assert_eq!(notice_bits(notices(bits)), bits);
        }
        assert_eq!(notice_bits(Notices { log: true, ..Notices::default() }), 4);
    }

    #[test]
    fn a_row_that_cannot_be_decoded_is_an_error_that_names_it() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let broken = "SELECT x'690000000000000000000005', 'martian', 'x', NULL, NULL, NULL, 0";
        let error = connection.query_row(broken, [], |row| Ok(member(row))).unwrap().unwrap_err();
        let Error::Internal(source) = error else { panic!("{error:?}") };
        assert_eq!(
            source.to_string(),
            "cannot decode member of conversation 690000000000000000000005: the word \"martian\" means nothing here"
        );
        let error = connection.query_row("SELECT 7, 0, 'a', 'gossip', 's', NULL", [], |row| Ok(audit_entry(row))).unwrap().unwrap_err();
        let Error::Internal(source) = error else { panic!("{error:?}") };
        assert_eq!(source.to_string(), "cannot decode audit entry 7: the word \"gossip\" means nothing here");
        let error = connection.query_row("SELECT 'u1', 'martian', 'u1', 0", [], |row| Ok(revocation(row))).unwrap().unwrap_err();
        let Error::Internal(source) = error else { panic!("{error:?}") };
        assert_eq!(source.to_string(), "cannot decode revocation u1: the word \"martian\" means nothing here");
    }
}
