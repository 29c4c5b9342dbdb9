//! Documents of `directconversations`, read in the dialects of the Node backend (N) and of the original schema (S), written in ours.
//!
//! Source: docs/protocol.md#directconversation.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};

use super::engine::date;
use super::fields::{Fields, stored_id, whole};
use crate::error::{Error, Result};
use crate::models::conversation::person_key;
use crate::models::{
    Conversation, ConversationHandle, ConversationId, ConversationKey, LastMessage, Member, Message, MessageId, MessageType, Pair,
    Participant, Profile, Timestamp,
};
use crate::store::NewConversation;

const COLLECTION: &str = "directconversations";

/// A conversation that is to be made.
pub(super) fn write(id: ConversationId, new: &NewConversation) -> Document {
    let at = date(new.at);
    let members: Vec<Document> = new.pair.both().into_iter().zip(&new.profiles).map(|(p, profile)| member(p, profile, new.at)).collect();
    let mut document = doc! {
        "_id": id,
        "conversationId": new.pair.key().as_str(),
        "participants": members,
        "conversationType": new.pair.conversation_type(),
        "lastMessageAt": at,
        "unreadCount": {},
        "isActive": true,
        "contextType": &new.context_type,
        "aliases": new.alias.iter().map(ConversationKey::as_str).collect::<Vec<_>>(),
        "createdAt": at,
        "updatedAt": at,
        // What Mongoose puts on every document, and expects when it saves one.
        "__v": 0,
    };
    if let Some(context) = &new.context_id {
        document.insert("contextId", stored_id(context));
    }
    document
}

/// A member as it is.
pub(super) fn write_member(member: &Member) -> Document {
    let mut document = self::member(&member.participant, &member.profile, member.joined_at.unwrap_or(Timestamp::from_millis(0)));
    if member.joined_at.is_none() {
        document.remove("joinedAt");
    }
    document
}

fn member(person: &Participant, profile: &Profile, at: Timestamp) -> Document {
    let mut document = doc! { "id": person.id(), "type": person.kind().as_str() };
    if let Some(name) = &profile.name {
        document.insert("name", name);
    }
    if let Some(picture) = &profile.picture {
        document.insert("profilePicture", picture);
        document.insert("avatar", picture);
    }
    document.insert("joinedAt", date(at));
    document
}

/// What `lastMessage` says of a message.
///
/// The time comes first and the id second: the database compares documents field by field, so `$max` keeps the newer one, whichever node
/// writes later. Other dialects begin with a text or an id, or are a text; all of these are less than a date.
fn shown(message: &Message) -> Document {
    doc! {
        "timestamp": date(message.created_at),
        "messageId": message.id,
        "content": &message.content,
        "senderId": message.sender.id(),
        "senderType": message.sender.kind().as_str(),
        "messageType": message.message_type.as_str(),
    }
}

/// What N's readers want to have beside it. Of two nodes that write at the same moment either may win here.
fn said_by(message: &Message) -> Document {
    doc! { "lastMessageSenderId": message.sender.id(), "lastMessageSenderType": message.sender.kind().as_str() }
}

/// Makes `message` the latest, whatever was.
pub(super) fn put_latest(message: &Message) -> Document {
    let mut set = said_by(message);
    set.insert("lastMessage", shown(message));
    doc! { "$set": set }
}

/// Makes `message`, which was stored just now, the latest unless something newer of ours is. Can be repeated, and combined with other operators.
pub(super) fn raise_latest(message: &Message) -> Document {
    let at = date(message.created_at);
    doc! { "$max": { "lastMessage": shown(message), "lastMessageAt": at }, "$set": said_by(message) }
}

/// Holds as long as nothing newer than `at` is the latest, in any dialect. `$max` alone takes what begins with another field for older.
pub(super) fn not_newer_than(at: Timestamp) -> Bson {
    let at = date(at);
    bson::bson!([
        { "lastMessage.timestamp": { "$lte": at } },
        { "lastMessage.timestamp": null, "lastMessageAt": { "$lte": at } },
        { "lastMessage.timestamp": null, "lastMessageAt": null },
    ])
}

/// Whether the document is of the original schema and has no key yet.
pub(super) fn is_keyless(document: &Document) -> bool {
    document.get("conversationId").is_none_or(|value| matches!(value, Bson::Null))
}

/// The key a keyless conversation should have, and the one it gets if that is taken.
pub(super) fn keys_for(document: &Document) -> [ConversationKey; 2] {
    let id = match document.get("_id") {
        Some(Bson::ObjectId(id)) => id.to_hex(),
        other => other.map(Bson::to_string).unwrap_or_default(),
    };
    let own = ConversationKey::stored(format!("group_{id}"));
    // One that cannot be read gets a key all the same, or it would be in everybody's way.
    let members = Fields::of(COLLECTION, document).and_then(members).unwrap_or_default();
    let wanted = match members.as_slice() {
        [a, b] => Pair::new(a.participant.clone(), b.participant.clone()).map(|pair| pair.key()),
        _ => None,
    };
    [wanted.unwrap_or_else(|| own.clone()), own]
}

/// Reads a conversation. Errors: `Internal` when it cannot be read; a keyless one has to be given its key first.
pub(super) fn read(document: &Document) -> Result<Conversation> {
    let fields = Fields::of(COLLECTION, document)?;
    let key = ConversationKey::stored(fields.text("conversationId")?);
    read_as(fields, key)
}

/// Where a conversation stands in lists; needs `lastMessageAt`, `lastMessage.timestamp` and `createdAt`.
pub(super) fn read_place(document: &Document) -> Result<(Timestamp, ConversationId)> {
    let fields = Fields::of(COLLECTION, document)?;
    let at = match fields.find_date("lastMessageAt")? {
        Some(at) => Some(at),
        // The Node backend keeps a bare text here.
        None => match fields.get("lastMessage") {
            Some(Bson::Document(object)) => fields.inner(object).find_date("timestamp")?,
            _ => None,
        },
    };
    let at = at.or(fields.find_date("createdAt")?).unwrap_or_else(|| fields.id_time());
    Ok((at, ConversationId::from_bytes(fields.id())))
}

/// Reads a keyless conversation under the key it is about to get.
pub(super) fn read_keyless(document: &Document, key: ConversationKey) -> Result<Conversation> {
    let mut conversation = read_as(Fields::of(COLLECTION, document)?, key)?;
    conversation.handle.filed_by_id = true;
    Ok(conversation)
}

fn read_as(fields: Fields<'_>, key: ConversationKey) -> Result<Conversation> {
    let members = members(fields)?;
    let created_at = fields.find_date("createdAt")?.unwrap_or_else(|| fields.id_time());
    let last_message = last_message(fields, &members)?;
    let last_message_at = fields.find_date("lastMessageAt")?.or(last_message.as_ref().and_then(|m| m.at)).unwrap_or(created_at);
    Ok(Conversation {
        handle: ConversationHandle {
            key,
            id: ConversationId::from_bytes(fields.id()),
            filed_by_id: fields.find_flag("filedById")?.unwrap_or(false),
        },
        conversation_type: match fields.find_filled("conversationType")? {
            Some(word) => word,
            None => conversation_type(&members).to_owned(),
        },
        last_message,
        last_message_at,
        unread: unread(fields)?,
        is_active: fields.find_flag("isActive")?.unwrap_or(true),
        context_type: fields.find_filled("contextType")?.unwrap_or_else(|| "general".to_owned()),
        context_id: fields.find_filled("contextId")?,
        aliases: fields.texts("aliases")?,
        created_at,
        updated_at: fields.find_date("updatedAt")?.unwrap_or(created_at),
        members,
    })
}

/// Who takes part, of a document that may hold nothing else.
pub(super) fn people_in(document: &Document) -> Result<Vec<Participant>> {
    Ok(members(Fields::of(COLLECTION, document)?)?.into_iter().map(|member| member.participant).collect())
}

fn members(fields: Fields<'_>) -> Result<Vec<Member>> {
    let member = |value: &Bson| {
        let Bson::Document(document) = value else {
            return Err(fields.wrong("participants", "holds something that is no document"));
        };
        let member = fields.inner(document);
        Ok(Member {
            participant: member.participant("type", "id")?,
            profile: Profile { name: member.find_filled("name")?, picture: member.first_filled(&["profilePicture", "avatar"])? },
            joined_at: member.find_date("joinedAt")?,
        })
    };
    let members: Vec<Member> = fields.elements("participants")?.iter().map(member).collect::<Result<_>>()?;
    if members.is_empty() { Err(fields.wrong("participants", "names nobody")) } else { Ok(members) }
}

fn conversation_type(members: &[Member]) -> &'static str {
    match members {
        [a, b] => Pair::new(a.participant.clone(), b.participant.clone()).map_or("group", |pair| pair.conversation_type()),
        _ => "group",
    }
}

/// S and we keep an object, N a bare text with the rest beside it.
fn last_message(fields: Fields<'_>, members: &[Member]) -> Result<Option<LastMessage>> {
    let beside = |id: Option<String>, kind| sender(id, kind, members);
    match fields.get("lastMessage") {
        None => Ok(None),
        Some(Bson::String(text)) => {
            let sender = beside(fields.find_filled("lastMessageSenderId")?, fields.find_kind("lastMessageSenderType")?);
            if text.is_empty() && sender.is_none() {
                return Ok(None);
            }
            let at = fields.find_date("lastMessageAt")?;
            Ok(Some(LastMessage { message_id: None, content: text.clone(), sender, at, message_type: MessageType::Text }))
        }
        Some(Bson::Document(object)) if object.is_empty() => Ok(None),
        Some(Bson::Document(object)) => {
            let last = fields.inner(object);
            Ok(Some(LastMessage {
                message_id: last.find_object_id("messageId")?.map(MessageId::from_bytes),
                content: last.find_text("content")?.unwrap_or_default(),
                sender: beside(last.find_filled("senderId")?, last.find_kind("senderType")?),
                at: last.find_date("timestamp")?.or(fields.find_date("lastMessageAt")?),
                message_type: match last.find_filled("messageType")? {
                    Some(word) => {
                        MessageType::parse(&word).ok_or_else(|| last.wrong("lastMessage.messageType", "is no kind of message"))?
                    }
                    None => MessageType::Text,
                },
            }))
        }
        Some(_) => Err(fields.wrong("lastMessage", "is neither text nor document")),
    }
}

/// S does not say the kind of the sender; it is the kind of the member with that id.
fn sender(id: Option<String>, kind: Option<crate::models::ParticipantKind>, members: &[Member]) -> Option<Participant> {
    let id = id?;
    match kind {
        Some(kind) => Some(Participant::stored(kind, id)),
        None => members.iter().map(|m| &m.participant).find(|p| p.id() == id).cloned(),
    }
}

fn unread(fields: Fields<'_>) -> Result<BTreeMap<String, u32>> {
    let Some(counts) = fields.find_document("unreadCount")? else {
        return Ok(BTreeMap::new());
    };
    let count = |(name, value): (&String, &Bson)| {
        let count =
            whole(value).or(matches!(value, Bson::Null).then_some(0)).ok_or_else(|| fields.wrong("unreadCount", "holds no number"))?;
        Ok((decode_name(name), shown_count(count)))
    };
    counts.entries().map(count).collect()
}

/// A counter may be below zero for a moment, until the messages it has not counted yet are.
pub(super) fn shown_count(count: i64) -> u32 {
    u32::try_from(count.max(0)).unwrap_or(u32::MAX)
}

/// The key and identity of every member, once each.
pub(super) fn people(conversation: &Conversation) -> Vec<(Participant, String)> {
    let mut people: Vec<(Participant, String)> = Vec::with_capacity(conversation.members.len());
    for member in &conversation.members {
        let person = member.participant.identity();
        if people.iter().all(|(known, _)| !known.is_same_identity(&person)) {
            let key = person_key(&person, conversation.members.iter().map(|m| &m.participant));
            people.push((person, key));
        }
    }
    people
}

/// Where the unread count of a person is. What would be read as structure of the path is written as `%` and two hex digits.
///
/// Errors: `Internal` for an empty name, which no path can hold.
pub(super) fn unread_path(person_key: &str) -> Result<String> {
    if person_key.is_empty() {
        return Err(Error::internal("an empty person key names no unread count"));
    }
    let mut path = String::with_capacity(12 + person_key.len());
    path.push_str("unreadCount.");
    for c in person_key.chars() {
        match ESCAPES.iter().find(|(plain, _)| *plain == c) {
            Some((_, escaped)) => path.push_str(escaped),
            None => path.push(c),
        }
    }
    Ok(path)
}

const ESCAPES: [(char, &str); 4] = [('%', "%25"), ('.', "%2E"), ('$', "%24"), ('\0', "%00")];

fn decode_name(name: &str) -> String {
    if !name.contains('%') {
        return name.to_owned();
    }
    // `%25` last, or what it stands for would be decoded a second time.
    ESCAPES.iter().rev().fold(name.to_owned(), |name, (plain, escaped)| name.replace(escaped, &plain.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_structure_are_escaped_and_read_back() {
        for name in ["5", "user~5", "a.b", "$inc", "50%", "%2E", "a\0b"] {
            let path = unread_path(name).expect("not empty");
            let key = path.strip_prefix("unreadCount.").expect("a path below unreadCount");
            assert!(!key.contains(['.', '$', '\0']), "{key}");
            assert_eq!(decode_name(key), name);
        }
        assert!(unread_path("").is_err());
    }
}
