//! `samvad export` and `samvad erase`: one person's data, as the law of many places asks for.

use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use samvad::files::Files;
use samvad::models::{
    AuditAction, AuditEntry, Call, CallView, Conversation, MessageView, Participant, ParticipantKind, Revocation, Timestamp,
};
use samvad::services::push::is_about;
use samvad::store::{Belonging, BelongingSort, DeleteMessage, Store};

/// Conversations, messages or calls read at once.
const PAGE: usize = 500;

/// Reads `--type` and `--id`. Admins are one identity together and nobody's person.
pub fn person(kind: &str, id: &str) -> Result<Participant, String> {
    let kind = ParticipantKind::parse(kind).filter(|kind| *kind != ParticipantKind::Admin);
    let kind = kind.ok_or("--type must be astrologer or user; admins share one identity, which is no person's")?;
    Participant::new(kind, id).ok_or_else(|| "--id must be letters, digits, _ and -, at most 64".into())
}

/// Writes everything of a person as JSON lines: conversations, their messages, calls, relations, devices, attachments, marks.
pub async fn export(store: &dyn Store, person: &Participant, to: Option<&Path>) -> Result<(), String> {
    let out: Box<dyn Write> = match to {
        None => Box::new(std::io::stdout()),
        Some(path) => {
            let mut new = std::fs::OpenOptions::new();
            new.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut new, 0o600);
            Box::new(new.open(path).map_err(|e| format!("{}: {e}", path.display()))?)
        }
    };
    let mut out = BufWriter::new(out);
    let (mut counts, mut line) = ([0_u64; 6], |what: &str, data: Value| {
        writeln!(out, "{}", json!({ "kind": what, "data": data })).map_err(|e| format!("the export cannot be written: {e}"))
    });
    for conversation in conversations_of(store, person).await? {
        counts[0] += 1;
        let members: Vec<Value> = conversation
            .members
            .iter()
            .map(|member| json!({ "id": member.participant.id(), "type": member.participant.kind(), "name": member.profile.name }))
            .collect();
        line(
            "conversation",
            json!({
                "id": conversation.handle.id, "conversationId": conversation.key(), "participants": members,
                "unread": conversation.unread_of(person), "createdAt": conversation.created_at, "lastMessageAt": conversation.last_message_at,
            }),
        )?;
        let mut after = None;
        loop {
            let page = store.walk_messages(&conversation.handle, after, PAGE).await.map_err(|e| e.to_string())?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for message in &page {
                counts[1] += 1;
                let view = serde_json::to_value(MessageView::new(message, conversation.key().as_str())).map_err(|e| e.to_string())?;
                line("message", view)?;
            }
        }
    }
    for call in calls_of(store, person).await? {
        counts[2] += 1;
        line("call", serde_json::to_value(CallView::new(&call)).map_err(|e| e.to_string())?)?;
    }
    for relation in store.relations().await.map_err(|e| e.to_string())? {
        let own = match person.kind() {
            ParticipantKind::User => &relation.user,
            _ => &relation.astrologer,
        };
        if own == person.id() {
            counts[3] += 1;
            line(
                "relation",
                json!({
                    "userId": relation.user, "astrologerId": relation.astrologer, "consultationId": relation.consultation_id, "at": relation.at,
                }),
            )?;
        }
    }
    for belonging in belongings_of(store, person).await? {
        match belonging {
            // The token would let whoever reads the file send to the phone.
            Belonging::Device(device) => {
                counts[4] += 1;
                line(
                    "device",
                    json!({ "platform": device.platform.as_str(), "kind": device.kind.as_str(), "registeredAt": device.registered_at }),
                )?;
            }
            Belonging::Attachment(attachment, is_used) => {
                counts[5] += 1;
                line(
                    "attachment",
                    json!({
                        "id": attachment.id.to_string(), "conversationId": attachment.conversation, "name": attachment.name,
                        "mimeType": attachment.media_type.mime, "sizeBytes": attachment.size_bytes, "state": attachment.state.as_str(),
                        "isInMessage": is_used, "file": attachment.key(), "createdAt": attachment.created_at,
                    }),
                )?;
            }
            Belonging::MissedSeen(_, at) => line("missedCallsSeen", json!({ "at": at }))?,
            Belonging::LastSeen(_, at) => line("lastSeen", json!({ "at": at }))?,
        }
    }
    out.flush().map_err(|e| format!("the export cannot be written: {e}"))?;
    let [conversations, messages, calls, relations, devices, attachments] = counts;
    eprintln!(
        "{person}: {conversations} conversations, {messages} messages, {calls} calls, {relations} relations, {devices} devices, \
         {attachments} attachments"
    );
    Ok(())
}

/// Takes a person's words, files and names out. What others wrote, and that there was a conversation, stays.
pub async fn erase(store: &dyn Store, files: Option<&Files>, person: &Participant) -> Result<(), String> {
    let fail = |e: samvad::error::Error| format!("not everything is erased, do it again: {e}");
    let at = Timestamp::now();
    // First, so that he comes back with nothing that would write his name anew.
    store.revoke(Revocation { person: person.clone(), until: at }).await.map_err(fail)?;
    let mut erased = 0_u64;
    for conversation in conversations_of(store, person).await? {
        let mut after = None;
        loop {
            let page = store.walk_messages(&conversation.handle, after, PAGE).await.map_err(fail)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            let own = |m: &&samvad::models::Message| m.sender.is_same_identity(person) && !m.is_deleted && m.call.is_none();
            for message in page.iter().filter(own) {
                let delete = DeleteMessage {
                    conversation: conversation.handle.clone(),
                    message: message.id,
                    by: conversation.person_key(person),
                    recipient_key: conversation.person_key(&message.recipient),
                    at,
                };
                store.delete_message(delete).await.map_err(fail)?;
                erased += 1;
            }
        }
    }
    let attachments = erase_attachments(store, files, person).await?;
    store.erase_names(person).await.map_err(fail)?;
    let told = erase_outbox(store, person).await.map_err(fail)?;
    let entry = AuditEntry {
        at,
        actor: "samvad erase".into(),
        action: AuditAction::Delete,
        subject: person.to_string(),
        detail: Some(format!("{erased} messages, {attachments} attachments and all names")),
    };
    store.append_audit(vec![entry]).await.map_err(fail)?;
    println!(
        "{person}: {erased} messages, {attachments} attachments, {told} notices that waited and all names erased; his tokens issued until \
         now are refused"
    );
    Ok(())
}

/// Removes the files he attached. First they are noted as erased: what breaks off after that a server finishes.
async fn erase_attachments(store: &dyn Store, files: Option<&Files>, person: &Participant) -> Result<u64, String> {
    let fail = |e: samvad::error::Error| format!("not all of his files are erased, do it again: {e}");
    let mut erased = 0;
    for belonging in belongings_of(store, person).await? {
        let Belonging::Attachment(attachment, _) = belonging else { continue };
        store.erase_media(attachment.id).await.map_err(fail)?;
        let files = files.ok_or("not all of his files are erased: S3_ENDPOINT and S3_BUCKET name no bucket")?;
        for key in [attachment.key(), attachment.preview_key()] {
            files.remove(&key).await.map_err(fail)?;
        }
        store.forget_media(&[attachment.id]).await.map_err(fail)?;
        erased += 1;
    }
    Ok(erased)
}

/// Forgets what waits to be told to him or of him, also what was told or given up and is kept a while: it holds his words.
async fn erase_outbox(store: &dyn Store, person: &Participant) -> samvad::error::Result<usize> {
    let (mut after, mut count) = (None, 0);
    loop {
        let page = store.walk_outbox(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(count) };
        after = Some(last.id.clone());
        let about: Vec<String> = page.into_iter().filter(|entry| is_about(entry, person)).map(|entry| entry.id).collect();
        count += about.len();
        store.forget_outbox(about).await?;
    }
}

async fn belongings_of(store: &dyn Store, person: &Participant) -> Result<Vec<Belonging>, String> {
    let mut own = Vec::new();
    for sort in BelongingSort::ALL {
        let mut after = None;
        loop {
            let page = store.walk_belongings(sort, after, PAGE).await.map_err(|e| e.to_string())?;
            let Some(last) = page.last() else { break };
            after = Some(last.id());
            own.extend(page.into_iter().filter(|one| one.owner().is_same_identity(person)));
        }
    }
    Ok(own)
}

/// Inactive ones too, which no list shows.
async fn conversations_of(store: &dyn Store, person: &Participant) -> Result<Vec<Conversation>, String> {
    let (mut own, mut after) = (Vec::new(), None);
    loop {
        let page = store.walk_conversations(after, PAGE).await.map_err(|e| e.to_string())?;
        let Some(last) = page.last() else { return Ok(own) };
        after = Some(last.handle.id);
        own.extend(page.into_iter().filter(|conversation| conversation.is_participant(person)));
    }
}

async fn calls_of(store: &dyn Store, person: &Participant) -> Result<Vec<Call>, String> {
    let (mut own, mut after) = (Vec::new(), None);
    loop {
        let page = store.walk_calls(after, PAGE).await.map_err(|e| e.to_string())?;
        let Some(last) = page.last() else { return Ok(own) };
        after = Some(last.id);
        own.extend(page.into_iter().filter(|call| call.caller.is_same_identity(person) || call.callee.is_same_identity(person)));
    }
}
