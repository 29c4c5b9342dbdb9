//! The messages of a seeded store: the same for the same numbers, so that two stores hold the same.
//!
//! Conversations are pairs of user and astrologer; messages go round all of them in turn, over the last thirty days, and the two take turns
//! writing. The newest fifth is unread. What a document or row looks like: docs/protocol.md#models, and the server's `store/`.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::raw::cstr;
use mongodb::bson::{DateTime, Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc};

use crate::client_ids::{ClientIds, now_ms};
use crate::people::{Cast, Pair, Person};
use crate::report::Problem;

const SPAN_MS: u64 = 30 * 24 * 3600 * 1000;
/// The middle of all document ids made here, as a process of its own: one for conversations, one for messages.
const CONVERSATIONS: [u8; 5] = [0x5e, 0xed, 0x5e, 0xed, 1];
const MESSAGES: [u8; 5] = [0x5e, 0xed, 0x5e, 0xed, 2];
/// For the ids of writers that go on afterwards.
const WRITERS: u8 = 3;
const CALLS: [u8; 5] = [0x5e, 0xed, 0x5e, 0xed, 0];

const WORDS: &str = "Your moon sign says that this week is a good one for beginnings. Drink water, sleep early, and write to me again on \
    Thursday, when Venus has moved on; until then do not sign anything that is longer than this message.";

/// How much there is.
pub struct Stock {
    pairs: Vec<Pair>,
    messages: u64,
    client_ids: Option<ClientIds>,
    begins_ms: u64,
    /// Tells the client ids of this run from those of others on the same data; the seed's are 0.
    run: u32,
}

/// One message.
pub struct Line {
    pub id: [u8; 12],
    /// Which conversation, and which of its sides says it.
    pub pair: usize,
    pub side: usize,
    pub at_ms: i64,
    pub content: &'static str,
    pub client_id: Option<String>,
    pub is_read: bool,
}

/// One call that is over.
pub struct Ring {
    pub id: [u8; 12],
    /// The pairs its user and its astrologer are of, and which of them rang: 0 the user.
    pub pairs: [usize; 2],
    pub side: usize,
    pub at_ms: i64,
    pub call_type: &'static str,
    pub channel: String,
    pub status: &'static str,
    pub end_reason: &'static str,
    pub end_detail: &'static str,
    /// When it was answered, if it was.
    pub answered_ms: Option<i64>,
    pub ended_ms: i64,
    pub seconds: i32,
}

impl Stock {
    /// `messages` in `conversations`, the newest an hour old.
    pub fn new(conversations: u32, messages: u64, client_ids: Option<ClientIds>) -> Result<Self, Problem> {
        // Nobody signs in with these people's tokens, so any secret will do.
        let cast = Cast::seeded("unused");
        let pairs = (0..conversations as usize).map(|index| cast.pair(index)).collect::<Result<_, _>>()?;
        Ok(Self { pairs, messages, client_ids, begins_ms: now_ms() - 3_600_000 - SPAN_MS, run: (now_ms() & 0x3fff_ffff) as u32 | 1 })
    }

    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    pub fn begins_ms(&self) -> i64 {
        self.begins_ms as i64
    }

    /// The document id of a conversation.
    pub fn conversation(&self, pair: usize) -> [u8; 12] {
        // No time in it: the same conversation has the same id whenever it is asked for.
        document_id(0x6800_0000, CONVERSATIONS, pair as u64)
    }

    /// Message `number` of all; later ones are newer.
    pub fn line(&self, number: u64) -> Line {
        let pairs = self.pairs.len() as u64;
        let at_ms = self.begins_ms + (u128::from(number) * u128::from(SPAN_MS) / u128::from(self.messages.max(1))) as u64;
        let (pair, side) = ((number % pairs) as usize, (number / pairs % 2) as usize);
        Line {
            id: document_id(at_ms / 1000, MESSAGES, number),
            pair,
            side,
            at_ms: at_ms as i64,
            content: &WORDS[..60 + (number % 81) as usize],
            client_id: self.client_ids.map(|kind| kind.make(at_ms, 0, pair as u64, number)),
            is_read: number < self.messages - self.messages / 5,
        }
    }

    pub fn lines(&self) -> u64 {
        self.messages
    }

    /// A message that a writer says now; `number` is the writer's own count.
    pub fn line_now(&self, writer: u8, number: u64, pair: usize, client_ids: Option<ClientIds>) -> Line {
        let at_ms = now_ms();
        let process = [0x5e, 0xed, 0x5e, 0xed, WRITERS.wrapping_add(writer)];
        Line {
            id: document_id(at_ms / 1000, process, number),
            pair,
            side: 0,
            at_ms: at_ms as i64,
            content: &WORDS[..120],
            client_id: client_ids.map(|kind| kind.make(at_ms, self.run.wrapping_add(u32::from(writer)), pair as u64, number)),
            is_read: false,
        }
    }

    /// The sender and the recipient of a message.
    pub fn people(&self, line: &Line) -> [&Person; 2] {
        let sides = &self.pairs[line.pair].sides;
        [&sides[line.side], &sides[1 - line.side]]
    }

    /// Call `number` of `calls`, which go round the conversations over the same days; six of ten are talked. One of eleven is the
    /// first astrologer's, so that there is somebody with many.
    pub fn ring(&self, number: u64, calls: u64) -> Ring {
        let pairs = self.pairs.len() as u64;
        let at_ms = self.begins_ms + (u128::from(number) * u128::from(SPAN_MS) / u128::from(calls.max(1))) as u64;
        let (status, end_reason, end_detail) = match number % 10 {
            0..6 => ("ended", "completed", "completed"),
            6 | 7 => ("missed", "no_answer", "timeout"),
            8 => ("rejected", "rejected", "declined"),
            _ => ("ended", "cancelled", "caller_cancelled"),
        };
        let seconds = if end_reason == "completed" { 10 + (number * 7919 % 1800) as i32 } else { 0 };
        let answered_ms = (seconds > 0).then_some(at_ms as i64 + 5_000);
        Ring {
            id: document_id(at_ms / 1000, CALLS, number),
            pairs: [(number % pairs) as usize, if number.is_multiple_of(11) { 0 } else { (number % pairs) as usize }],
            side: (number / pairs % 2) as usize,
            at_ms: at_ms as i64,
            call_type: if number.is_multiple_of(3) { "video" } else { "voice" },
            channel: format!("call_{at_ms:013}_{number:09}"),
            status,
            end_reason,
            end_detail,
            answered_ms,
            ended_ms: answered_ms.unwrap_or(at_ms as i64 + 20_000) + i64::from(seconds) * 1000,
            seconds,
        }
    }

    /// The caller and the callee.
    pub fn parties(&self, ring: &Ring) -> [&Person; 2] {
        let [user, astrologer] = [0, 1].map(|side| &self.pairs[ring.pairs[side]].sides[side]);
        if ring.side == 0 { [user, astrologer] } else { [astrologer, user] }
    }

    /// The key of the conversation of its parties.
    pub fn key_of(&self, ring: &Ring) -> String {
        let [user, astrologer] = [0, 1].map(|side| &self.pairs[ring.pairs[side]].sides[side].id);
        format!("user_{user}_{astrologer}")
    }

    /// A call that is over as the server's MongoDB store leaves it.
    pub fn call_document(&self, ring: &Ring) -> Document {
        let [caller, callee] = self.parties(ring);
        let (at, ended) = (DateTime::from_millis(ring.at_ms), DateTime::from_millis(ring.ended_ms));
        let mut document = doc! {
            "_id": ObjectId::from_bytes(ring.id),
            "callerId": &caller.id,
            "callerType": caller.kind,
            "callerName": name(caller),
            "calleeId": &callee.id,
            "calleeType": callee.kind,
            "recipientId": &callee.id,
            "recipientType": callee.kind,
            "recipientName": name(callee),
            "callType": ring.call_type,
            "agoraChannelName": &ring.channel,
            "channelName": &ring.channel,
            "agoraUid": 0,
            "status": ring.status,
            "initiatedAt": at,
            "startedAt": at,
            "ringingAt": at,
            "endedAt": ended,
            "duration": ring.seconds,
            "serverDuration": ring.seconds,
            "endReason": ring.end_reason,
            "endDetail": ring.end_detail,
            "conversationId": self.key_of(ring),
            "createdAt": at,
            "updatedAt": ended,
            "__v": 0,
        };
        if let Some(answered) = ring.answered_ms.map(DateTime::from_millis) {
            document.extend(doc! { "answeredAt": answered, "acceptedAt": answered });
        }
        document
    }

    /// The newest message of a conversation, and how many of it are unread for each side.
    pub fn summary(&self, pair: usize) -> (Option<Line>, [u32; 2]) {
        let (pairs, pair) = (self.pairs.len() as u64, pair as u64);
        let mut unread = [0; 2];
        let mut newest = None;
        for number in (pair..self.messages).step_by(pairs as usize) {
            let line = self.line(number);
            unread[1 - line.side] += u32::from(!line.is_read);
            newest = Some(line);
        }
        (newest, unread)
    }

    /// A message as the server's MongoDB store writes it.
    pub fn message_document(&self, line: &Line) -> RawDocumentBuf {
        let [sender, recipient] = self.people(line);
        let (at, id) = (DateTime::from_millis(line.at_ms), ObjectId::from_bytes(line.id));
        let conversation = ObjectId::from_bytes(self.conversation(line.pair));
        let mut document = rawdoc! {
            "_id": id,
            "conversationId": self.pairs[line.pair].conversation.as_str(),
            "conversationRef": conversation,
            "senderId": sender.id.as_str(),
            "senderType": sender.kind,
            "senderName": name(sender),
            "recipientId": recipient.id.as_str(),
            "recipientType": recipient.kind,
            "messageType": "text",
            "content": line.content,
            "status": if line.is_read { "read" } else { "sent" },
        };
        if let Some(client_id) = &line.client_id {
            document.append(cstr!("clientMessageId"), client_id.as_str());
        }
        document.append(cstr!("isDeleted"), false);
        document.append(cstr!("deletedBy"), RawArrayBuf::new());
        for name in [cstr!("timestamp"), cstr!("createdAt"), cstr!("updatedAt")] {
            document.append(name, at);
        }
        if line.is_read {
            document.append(cstr!("deliveredAt"), at);
            document.append(cstr!("readAt"), at);
        }
        document.append(cstr!("__v"), 0_i32);
        document
    }

    /// A conversation as the server's MongoDB store writes it, with its newest message and its counters.
    pub fn conversation_document(&self, pair: usize) -> Document {
        let begins = DateTime::from_millis(self.begins_ms());
        let Pair { sides, conversation } = &self.pairs[pair];
        let member = |person: &Person| doc! { "id": &person.id, "type": person.kind, "name": name(person), "joinedAt": begins };
        let (newest, unread) = self.summary(pair);
        let mut document = doc! {
            "_id": ObjectId::from_bytes(self.conversation(pair)),
            "conversationId": conversation,
            "participants": sides.iter().map(member).collect::<Vec<_>>(),
            "conversationType": "user_astrologer",
            "lastMessageAt": begins,
            "unreadCount": { &sides[0].id: unread[0] as i32, &sides[1].id: unread[1] as i32 },
            "isActive": true,
            "contextType": "general",
            "aliases": [],
            "createdAt": begins,
            "updatedAt": begins,
            "__v": 0,
        };
        if let Some(line) = newest {
            document.extend(self.latest(&line));
            document.insert("lastMessageAt", DateTime::from_millis(line.at_ms));
            document.insert("updatedAt", DateTime::from_millis(line.at_ms));
        }
        document
    }

    /// What makes a message the latest of its conversation.
    pub fn latest(&self, line: &Line) -> Document {
        let [sender, _] = self.people(line);
        doc! {
            "lastMessage": {
                "messageId": ObjectId::from_bytes(line.id),
                "content": line.content,
                "senderId": &sender.id,
                "senderType": sender.kind,
                "timestamp": DateTime::from_millis(line.at_ms),
                "messageType": "text",
            },
            "lastMessageSenderId": &sender.id,
            "lastMessageSenderType": sender.kind,
        }
    }
}

/// The name in a person's token.
pub fn name(person: &Person) -> &'static str {
    if person.kind == "user" { "Load user" } else { "Load astrologer" }
}

fn document_id(second: u64, process: [u8; 5], count: u64) -> [u8; 12] {
    let mut id = [0; 12];
    id[..4].copy_from_slice(&(second as u32).to_be_bytes());
    id[4..9].copy_from_slice(&process);
    id[9..].copy_from_slice(&(count as u32).to_be_bytes()[1..]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_with_time_and_counters_are_what_is_unread() {
        let stock = Stock::new(3, 100, Some(ClientIds::Random)).expect("signing works");
        let lines: Vec<_> = (0..100).map(|number| stock.line(number)).collect();
        assert!(lines.windows(2).all(|two| two[0].id < two[1].id && two[0].at_ms < two[1].at_ms));
        let counted: u32 = (0..3).flat_map(|pair| stock.summary(pair).1).sum();
        assert_eq!(counted, lines.iter().filter(|line| !line.is_read).count() as u32);
        let newest = stock.summary(0).0.expect("there is one");
        assert_eq!(newest.id, lines[99].id);
    }
}
