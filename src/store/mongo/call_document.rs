//! Documents of `calls`, read in the dialects of the Node backend (N) and of the original schema (S), written with the names and words
//! of S and, beside them, the names that N's readers and indexes need.
//!
//! Source: docs/protocol.md#calls.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};

use super::engine::date;
use super::fields::{Fields, stored_id, stored_whole};
use crate::error::Result;
use crate::models::{
    Call, CallId, CallStatus, CallType, ConversationKey, EndReason, Feedback, Notices, Participant, ParticipantKind, Profile, Timestamp,
};
use crate::store::{CallChange, CallEnd};

const COLLECTION: &str = "calls";

/// The fields S and N have different names for. We write both, always through [`in_both_names`], and ask for N's.
const NAMES: [(&str, &str); 5] = [
    ("calleeId", "recipientId"),
    ("calleeType", "recipientType"),
    ("agoraChannelName", "channelName"),
    ("initiatedAt", "startedAt"),
    ("answeredAt", "acceptedAt"),
];

fn in_both_names(mut document: Document) -> Document {
    let missing = names_missing(&document);
    document.extend(missing);
    document
}

/// What N's names should say and do not, in a document of S or in what is about to be written.
pub(super) fn names_missing(document: &Document) -> Document {
    let missing = NAMES.iter().filter(|(_, theirs)| !document.contains_key(*theirs));
    missing.filter_map(|(ours, theirs)| Some(((*theirs).to_owned(), document.get(ours)?.clone()))).collect()
}

/// A call that is to be stored. The token of its channel is not part of it.
pub(super) fn write(call: &Call) -> Document {
    let mut document = doc! {
        "_id": call.id,
        "callerId": call.caller.id(),
        "callerType": call.caller.kind().as_str(),
        "calleeId": call.callee.id(),
        "calleeType": call.callee.kind().as_str(),
        "callType": call.call_type.as_str(),
        "agoraChannelName": &call.channel,
        "agoraUid": 0,
        "status": call.status.as_str(),
        "initiatedAt": date(call.initiated_at),
        "duration": 0,
        "open": true,
        "createdAt": date(call.initiated_at),
        "updatedAt": date(call.updated_at),
        // What Mongoose puts on every document, and expects when it saves one.
        "__v": 0,
    };
    let optional = [
        ("callerName", call.caller_profile.name.as_deref().map(Bson::from)),
        ("callerAvatar", call.caller_profile.picture.as_deref().map(Bson::from)),
        ("recipientName", call.callee_profile.name.as_deref().map(Bson::from)),
        ("recipientAvatar", call.callee_profile.picture.as_deref().map(Bson::from)),
        ("conversationId", call.conversation_key.as_ref().map(|key| key.as_str().into())),
        ("consultationId", call.consultation_id.as_deref().map(stored_id)),
        ("ringDeadline", call.ring_deadline.map(|at| date(at).into())),
        ("ringingAt", call.ringing_at.map(|at| date(at).into())),
    ];
    document.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    in_both_names(document)
}

/// The update that moves a call on. What other programs keep in the document is not touched.
pub(super) fn step(change: &CallChange) -> Document {
    let at = date(change.at);
    let (mut set, mut unset) = (doc! { "status": change.to.as_str() }, Document::new());
    match change.to {
        CallStatus::Initiated => None,
        CallStatus::Ringing => set.insert("ringingAt", at),
        CallStatus::Answered => set.insert("answeredAt", at),
        CallStatus::Ongoing => set.insert("connectedAt", at),
        CallStatus::Ended | CallStatus::Rejected | CallStatus::Missed | CallStatus::Failed => set.insert("endedAt", at),
    };
    if !change.to.is_ringing() {
        unset.insert("ringDeadline", "");
    }
    if let Some(end) = &change.end {
        set.extend(ended(end));
    }
    if change.to.is_over() {
        let left = change.end.as_ref().map_or(Vec::new(), |end| notice_words(end.notices));
        if left.is_empty() {
            unset.extend(nothing_left());
        } else {
            set.extend(doc! { "open": true, "notify": left });
        }
    }
    let mut update = doc! { "$set": in_both_names(set), "$max": { "updatedAt": at } };
    // Older servers refuse an empty one.
    if !unset.is_empty() {
        update.insert("$unset", unset);
    }
    update
}

/// Where steps that were taken together leave their marks, until everybody was told of the call's end.
pub(super) const MARKS: &str = "steps";

/// An update by [`step`] for several calls that were ended by several people, as a pipeline that also leaves `mark`.
pub(super) fn steps_by<'a>(update: Document, ended_by: impl Iterator<Item = (CallId, &'a Participant)>, mark: ObjectId) -> Bson {
    let part = |operator: &str| update.get_document(operator).cloned().unwrap_or_default().into_iter();
    // In a pipeline a text that begins with a dollar sign is a path.
    let as_it_is = |value: Bson| doc! { "$literal": value };
    let mut set: Document = part("$set").map(|(name, value)| (name, as_it_is(value).into())).collect();
    set.extend(part("$max").map(|(name, value)| (name.clone(), doc! { "$max": [format!("${name}"), value] }.into())));
    set.extend(part("$unset").map(|(name, _)| (name, "$$REMOVE".into())));
    set.insert(MARKS, doc! { "$concatArrays": [{ "$ifNull": [format!("${MARKS}"), []] }, [mark]] });
    let (mut ids, mut kinds) = (Vec::new(), Vec::new());
    for (call, by) in ended_by {
        let this = || doc! { "$eq": ["$_id", call] };
        ids.push(doc! { "case": this(), "then": as_it_is(by.id().into()) });
        kinds.push(doc! { "case": this(), "then": as_it_is(by.kind().as_str().into()) });
    }
    // The server ends a call without anybody.
    let among = |branches: Vec<Document>| doc! { "$switch": { "branches": branches, "default": "$$REMOVE" } };
    set.extend(doc! { "endedBy": among(ids), "endedByType": among(kinds) });
    vec![doc! { "$set": set }].into()
}

/// To be unset of a call of which everybody was told.
pub(super) fn left_over() -> Document {
    let mut unset = nothing_left();
    unset.insert(MARKS, "");
    unset
}

/// The call as this step left it, of the call as it was found a moment later. Usually that is the same.
pub(super) fn as_after(change: &CallChange, mut found: Call) -> Call {
    if found.status == change.to {
        return found;
    }
    // Another node was as fast. After an end there is no step, so this one was none.
    found.status = change.to;
    (found.ended_at, found.end_reason, found.end_detail, found.ended_by) = (None, None, None, None);
    (found.duration, found.server_duration) = (0, 0);
    found.notices = Notices::default();
    found.updated_at = change.at;
    if change.to != CallStatus::Ongoing {
        found.connected_at = None;
    }
    if change.to.is_ringing() {
        found.answered_at = None;
    }
    found
}

/// To be unset of a call that is over and needs nobody any more.
pub(super) fn nothing_left() -> Document {
    doc! { "open": "", "notify": "" }
}

fn ended(end: &CallEnd) -> Document {
    let mut set = doc! {
        "endReason": end.reason.as_str(),
        "endDetail": &end.detail,
        "duration": stored_whole(end.duration.into()),
        "serverDuration": stored_whole(end.server_duration.into()),
    };
    if let Some(by) = &end.by {
        set.extend(doc! { "endedBy": by.id(), "endedByType": by.kind().as_str() });
    }
    set
}

/// The update that stores what a party thought.
pub(super) fn rating(feedback: &Feedback, at: Timestamp) -> Document {
    let mut set = doc! { "quality.rating": stored_whole(feedback.rating.into()), "quality.ratedAt": date(at) };
    if let Some(comment) = &feedback.comment {
        set.insert("quality.feedback", comment);
    }
    if let Some(by) = &feedback.by {
        set.extend(doc! { "quality.ratedBy": by.id(), "quality.ratedByType": by.kind().as_str() });
    }
    doc! { "$set": set, "$max": { "updatedAt": date(at) } }
}

/// The stored words of notices.
pub(super) fn notice_words(notices: Notices) -> Vec<&'static str> {
    Notices::WORDS.into_iter().zip(notices.flags()).filter_map(|(word, flag)| flag.then_some(word)).collect()
}

/// What both dialects store for a status; the first word is the one we write.
fn words(status: CallStatus) -> &'static [&'static str] {
    match status {
        CallStatus::Initiated => &["initiated"],
        CallStatus::Ringing => &["ringing"],
        CallStatus::Answered => &["answered", "accepted"],
        CallStatus::Ongoing => &["ongoing", "connected"],
        CallStatus::Ended => &["ended", "cancelled"],
        CallStatus::Rejected => &["rejected"],
        CallStatus::Missed => &["missed"],
        CallStatus::Failed => &["failed"],
    }
}

/// Holds for calls that are read as being in one of these states.
pub(super) fn in_status(statuses: &[CallStatus]) -> Document {
    doc! { "$in": statuses.iter().copied().flat_map(words).copied().collect::<Vec<_>>() }
}

/// Holds for calls that are read as being of this kind.
pub(super) fn of_type(call_type: CallType) -> Document {
    match call_type {
        CallType::Voice => doc! { "$in": ["voice", "audio"] },
        CallType::Video => doc! { "$in": ["video"] },
    }
}

/// The id alone.
pub(super) fn read_id(document: &Document) -> Result<CallId> {
    Fields::of(COLLECTION, document).map(|fields| CallId::from_bytes(fields.id()))
}

/// When a call began, and its id; needs `initiatedAt`, `startedAt` and `createdAt`.
pub(super) fn read_place(document: &Document) -> Result<(Timestamp, CallId)> {
    let fields = Fields::of(COLLECTION, document)?;
    Ok((initiated_at(fields)?, CallId::from_bytes(fields.id())))
}

fn initiated_at(fields: Fields<'_>) -> Result<Timestamp> {
    let at = fields.find_date("initiatedAt")?.or(fields.find_date("startedAt")?).or(fields.find_date("createdAt")?);
    Ok(at.unwrap_or_else(|| fields.id_time()))
}

/// Reads a call. Errors: `Internal` when it cannot be read.
pub(super) fn read(document: &Document) -> Result<Call> {
    let fields = Fields::of(COLLECTION, document)?;
    let caller = fields.participant("callerType", "callerId")?;
    let callee = callee(fields)?;
    let status_word = fields.text("status")?;
    let status = CallStatus::ALL.iter().copied().find(|status| words(*status).contains(&status_word.as_str()));
    let status = status.ok_or_else(|| fields.wrong("status", "is none we know"))?;
    let (end_reason, end_detail) = end(fields, status, &status_word)?;
    let call_type = CallType::parse(&fields.text("callType")?).ok_or_else(|| fields.wrong("callType", "is no kind of call"))?;
    let initiated_at = initiated_at(fields)?;
    let notify = fields.texts("notify")?;
    Ok(Call {
        id: CallId::from_bytes(fields.id()),
        caller_profile: Profile { name: fields.find_filled("callerName")?, picture: fields.find_filled("callerAvatar")? },
        callee_profile: Profile { name: fields.find_filled("recipientName")?, picture: fields.find_filled("recipientAvatar")? },
        call_type,
        channel: fields.first_filled(&["agoraChannelName", "channelName"])?.unwrap_or_default(),
        conversation_key: conversation_key(fields),
        consultation_id: fields.find_filled("consultationId")?,
        status,
        ring_deadline: fields.find_date("ringDeadline")?,
        initiated_at,
        ringing_at: fields.find_date("ringingAt")?,
        answered_at: fields.find_date("answeredAt")?.or(fields.find_date("acceptedAt")?),
        connected_at: fields.find_date("connectedAt")?,
        ended_at: fields.find_date("endedAt")?,
        duration: seconds(fields, "duration")?,
        server_duration: seconds(fields, "serverDuration")?,
        end_reason,
        end_detail,
        ended_by: person_of(fields, ["endedBy", "endedByType"], [&caller, &callee])?,
        notices: Notices::from_flags(Notices::WORDS.map(|word| notify.iter().any(|left| left == word))),
        feedback: feedback(fields, [&caller, &callee])?,
        updated_at: fields.find_date("updatedAt")?.unwrap_or(initiated_at),
        caller,
        callee,
    })
}

fn callee(fields: Fields<'_>) -> Result<Participant> {
    let id = fields.first_filled(&["calleeId", "recipientId"])?.ok_or_else(|| fields.wrong("calleeId", "is missing"))?;
    let kind = fields.find_kind("calleeType")?.or(fields.find_kind("recipientType")?);
    Ok(Participant::stored(kind.ok_or_else(|| fields.wrong("calleeType", "is missing"))?, id))
}

/// S refers to the document of the conversation instead, which says nothing that the two parties do not.
fn conversation_key(fields: Fields<'_>) -> Option<ConversationKey> {
    match fields.get("conversationId") {
        Some(Bson::String(key)) if !key.is_empty() => Some(ConversationKey::stored(key.as_str())),
        _ => None,
    }
}

/// The reason and the finer one. N checks neither: its words are translated, and any other text is kept as the finer reason.
fn end(fields: Fields<'_>, status: CallStatus, status_word: &str) -> Result<(Option<EndReason>, Option<String>)> {
    let detail = fields.find_filled("endDetail")?;
    let word = fields.find_filled("endReason")?;
    let ours = word.as_deref().and_then(EndReason::parse);
    let reason = match word.as_deref() {
        // A status of N that says it all.
        _ if status_word == "cancelled" => Some(EndReason::Cancelled),
        None => None,
        Some("declined") => Some(EndReason::Rejected),
        Some("missed" | "timeout") => Some(EndReason::NoAnswer),
        Some(_) => ours.or(match status {
            CallStatus::Initiated | CallStatus::Ringing | CallStatus::Answered | CallStatus::Ongoing => None,
            CallStatus::Ended => Some(EndReason::Completed),
            CallStatus::Rejected => Some(EndReason::Rejected),
            CallStatus::Missed => Some(EndReason::NoAnswer),
            CallStatus::Failed => Some(EndReason::NetworkError),
        }),
    };
    Ok((reason, detail.or(word.filter(|_| ours.is_none()))))
}

/// One of the parties, written as two fields. S does not say the kind; it is that of the party with this id.
fn person_of(fields: Fields<'_>, [id, kind]: [&str; 2], parties: [&Participant; 2]) -> Result<Option<Participant>> {
    let Some(id) = fields.find_filled(id)? else {
        return Ok(None);
    };
    // The server ended some of N's calls and says so here; it is nobody.
    let kind = fields.find_filled(kind)?.and_then(|word| ParticipantKind::parse(&word));
    Ok(match kind {
        Some(kind) => Some(Participant::stored(kind, id)),
        None => parties.into_iter().find(|party| party.id() == id).cloned(),
    })
}

fn feedback(fields: Fields<'_>, parties: [&Participant; 2]) -> Result<Option<Feedback>> {
    let Some(quality) = fields.find_document("quality")? else {
        return Ok(None);
    };
    let Some(rating) = quality.find_whole("rating")? else {
        return Ok(None);
    };
    Ok(Some(Feedback {
        rating: u8::try_from(rating.max(0)).unwrap_or(u8::MAX),
        comment: quality.find_filled("feedback")?,
        by: person_of(quality, ["ratedBy", "ratedByType"], parties)?,
    }))
}

/// Whole seconds; N stores fractions where a client sent one.
fn seconds(fields: Fields<'_>, name: &str) -> Result<u32> {
    Ok(fields.find_whole(name)?.map_or(0, |seconds| u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::models::NewCall;

    /// A step that another node overtook is answered as if it had been read at once.
    #[test]
    fn a_call_that_went_on_is_wound_back() {
        let person = |kind, id| Participant::new(kind, id).expect("an id");
        let new = NewCall {
            caller: person(ParticipantKind::User, "u1"),
            caller_profile: Profile::default(),
            callee: person(ParticipantKind::Astrologer, "a1"),
            callee_profile: Profile::default(),
            call_type: CallType::Voice,
            channel: "c".into(),
            conversation_key: ConversationKey::stored("k"),
            consultation_id: None,
            status: CallStatus::Ringing,
            ring_for: Duration::from_secs(60),
            at: Timestamp::from_millis(1_000),
        };
        let ringing = Call { ring_deadline: None, ..new.into_call(CallId::from_bytes([1; 12]), Timestamp::from_millis(1_000)) };
        let after = |call: &Call, to, second: i64| Call { status: to, updated_at: Timestamp::from_millis(second), ..call.clone() };
        let at = |second| Some(Timestamp::from_millis(second));
        let answered = Call { answered_at: at(2_000), ..after(&ringing, CallStatus::Answered, 2_000) };
        let ongoing = Call { connected_at: at(3_000), ..after(&answered, CallStatus::Ongoing, 3_000) };
        let ended = Call {
            ended_at: at(4_000),
            duration: 2,
            server_duration: 2,
            end_reason: Some(EndReason::Completed),
            end_detail: Some("completed".into()),
            ended_by: Some(ringing.caller.clone()),
            notices: Notices { caller: false, callee: true, log: true },
            ..after(&ongoing, CallStatus::Ended, 4_000)
        };
        for passed in [&ringing, &answered, &ongoing, &ended] {
            let change = CallChange { id: ringing.id, from: Vec::new(), to: passed.status, end: None, at: passed.updated_at };
            assert_eq!(&as_after(&change, ended.clone()), passed);
        }
    }
}
