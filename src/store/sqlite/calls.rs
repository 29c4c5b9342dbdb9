//! Calls: making them ring, moving them on, listing them, and what is left to do about those that are over.
//!
//! Every change runs on the one writer, so looking first and writing afterwards is one step for everybody else.

use rusqlite::{Connection, Params, params};

use super::analytics;
use super::messages::Put;
use super::rows::{self, call_columns, notice_bits, sql_count};
use crate::error::{Error, Result};
use crate::models::{Call, CallId, CallStatus, CallType, EndReason, Feedback, IdClock, NewCall, Notices, Participant, Timestamp};
use crate::store::analytics::counted_already;
use crate::store::{CallChange, CallQuery, Calls, MAX_PAGE, Transitioned};

/// Stores a call that begins to ring.
pub(super) fn create(connection: &Connection, clock: &IdClock, new: NewCall) -> Result<Call> {
    let (id, at) = clock.next(new.at);
    let call = new.into_call(CallId::from_bytes(id), at);
    put(connection, &call, Put::New)?;
    Ok(call)
}

macro_rules! insert {
    ($verb:literal) => {
        concat!(
            $verb,
            " INTO call(id, caller_kind, caller, caller_identity, caller_name, caller_picture, callee_kind, callee,
                callee_identity, callee_name, callee_picture, type, channel, conversation_key, consultation_id, status, ring_deadline,
                initiated_at, ringing_at, answered_at, connected_at, ended_at, duration, server_duration, end_reason, end_detail,
                ended_by_kind, ended_by, notices, rating, feedback, rated_by_kind, rated_by, rated_at, updated_at)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26,
                ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35)"
        )
    };
}

/// Writes all of a call.
pub(super) fn put(connection: &Connection, call: &Call, put: Put) -> Result<()> {
    let sql = if put == Put::New { insert!("INSERT") } else { insert!("INSERT OR REPLACE") };
    let (ended_by, feedback) = (call.ended_by.as_ref(), call.feedback.as_ref());
    let rated_by = feedback.and_then(|feedback| feedback.by.as_ref());
    connection.prepare_cached(sql)?.execute(params![
        call.id.bytes(),
        call.caller.kind().as_str(),
        call.caller.id(),
        call.caller.identity().id(),
        call.caller_profile.name,
        call.caller_profile.picture,
        call.callee.kind().as_str(),
        call.callee.id(),
        call.callee.identity().id(),
        call.callee_profile.name,
        call.callee_profile.picture,
        call.call_type.as_str(),
        call.channel,
        call.conversation_key.as_ref().map(|key| key.as_str()),
        call.consultation_id,
        call.status.as_str(),
        call.ring_deadline.map(Timestamp::as_millis),
        call.initiated_at.as_millis(),
        call.ringing_at.map(Timestamp::as_millis),
        call.answered_at.map(Timestamp::as_millis),
        call.connected_at.map(Timestamp::as_millis),
        call.ended_at.map(Timestamp::as_millis),
        call.duration,
        call.server_duration,
        call.end_reason.map(EndReason::as_str),
        call.end_detail,
        ended_by.map(|by| by.kind().as_str()),
        ended_by.map(Participant::id),
        notice_bits(call.notices),
        feedback.map(|feedback| feedback.rating),
        feedback.and_then(|feedback| feedback.comment.as_deref()),
        rated_by.map(|by| by.kind().as_str()),
        rated_by.map(Participant::id),
        feedback.map(|_| call.updated_at.as_millis()),
        call.updated_at.as_millis(),
    ])?;
    Ok(())
}

/// The call with this id.
pub(super) fn find(connection: &Connection, id: CallId) -> Result<Option<Call>> {
    let sql = concat!("SELECT ", call_columns!(), " FROM call WHERE id = ?1");
    connection.prepare_cached(sql)?.query([id.bytes()])?.next()?.map(rows::call).transpose()
}

/// Moves a call on, if it is in one of the states asked for.
pub(super) fn transition(connection: &Connection, change: CallChange) -> Result<Transitioned> {
    let Some(mut call) = find(connection, change.id)? else { return Ok(Transitioned::NotFound) };
    if !change.from.contains(&call.status) {
        return Ok(Transitioned::Refused(Box::new(call)));
    }
    let at = change.at;
    apply(change, &mut call);
    connection
        .prepare_cached(
            "UPDATE call SET status = ?2, ring_deadline = ?3, ringing_at = ?4, answered_at = ?5, connected_at = ?6, ended_at = ?7,
                duration = ?8, server_duration = ?9, end_reason = ?10, end_detail = ?11, ended_by_kind = ?12, ended_by = ?13,
                notices = ?14, updated_at = ?15
             WHERE id = ?1",
        )?
        .execute(params![
            call.id.bytes(),
            call.status.as_str(),
            millis(call.ring_deadline),
            millis(call.ringing_at),
            millis(call.answered_at),
            millis(call.connected_at),
            millis(call.ended_at),
            call.duration,
            call.server_duration,
            call.end_reason.map(EndReason::as_str),
            call.end_detail,
            call.ended_by.as_ref().map(|by| by.kind().as_str()),
            call.ended_by.as_ref().map(Participant::id),
            notice_bits(call.notices),
            call.updated_at.as_millis(),
        ])?;
    if counted_already(&call, at) {
        analytics::recount(connection, call.initiated_at)?;
    }
    Ok(Transitioned::Applied(Box::new(call)))
}

fn apply(change: CallChange, call: &mut Call) {
    let at = Some(change.at);
    match change.to {
        CallStatus::Initiated => {}
        CallStatus::Ringing => call.ringing_at = at,
        CallStatus::Answered => call.answered_at = at,
        CallStatus::Ongoing => call.connected_at = at,
        CallStatus::Ended | CallStatus::Rejected | CallStatus::Missed | CallStatus::Failed => call.ended_at = at,
    }
    call.status = change.to;
    if !change.to.is_ringing() {
        call.ring_deadline = None;
    }
    if let Some(end) = change.end {
        (call.end_reason, call.end_detail, call.ended_by) = (Some(end.reason), Some(end.detail), end.by);
        (call.duration, call.server_duration, call.notices) = (end.duration, end.server_duration, end.notices);
    }
    call.updated_at = call.updated_at.max(change.at);
}

/// Takes notices off the list.
pub(super) fn settle(connection: &Connection, settled: &[(CallId, Notices)]) -> Result<()> {
    let mut update = connection.prepare_cached("UPDATE call SET notices = notices & ~?2 WHERE id = ?1 AND notices & ?2 <> 0")?;
    for (id, notices) in settled {
        update.execute(params![id.bytes(), notice_bits(*notices)])?;
    }
    Ok(())
}

/// Stores what a party thought of a call, if nobody did before.
pub(super) fn rate(connection: &Connection, id: CallId, feedback: Feedback, at: Timestamp) -> Result<Option<Call>> {
    connection
        .prepare_cached(
            "UPDATE call SET rating = ?2, feedback = ?3, rated_by_kind = ?4, rated_by = ?5, rated_at = ?6, updated_at = max(updated_at, ?6)
             WHERE id = ?1 AND rating IS NULL",
        )?
        .execute(params![
            id.bytes(),
            feedback.rating,
            feedback.comment,
            feedback.by.as_ref().map(|by| by.kind().as_str()),
            feedback.by.as_ref().map(Participant::id),
            at.as_millis(),
        ])?;
    find(connection, id)
}

// INDEXED BY below: a statement that cannot use the index should fail in the tests rather than walk every call there ever was.

/// The ids of someone's calls, newest first: those of either side, merged in the order of both indexes. `?5` is a JSON list or NULL.
const IDS_OF: &str = "
    SELECT id FROM call INDEXED BY call_caller WHERE caller_kind = ?1 AND caller_identity = ?2 AND id < ?3
        AND (?4 IS NULL OR type = ?4) AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
    UNION
    SELECT id FROM call INDEXED BY call_callee WHERE callee_kind = ?1 AND callee_identity = ?2 AND id < ?3
        AND (?4 IS NULL OR type = ?4) AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
    ORDER BY id DESC LIMIT ?6 OFFSET ?7";

/// One page of someone's calls.
pub(super) fn page(connection: &Connection, query: &CallQuery) -> Result<Calls> {
    if let Some(before) = query.before {
        require(connection, before)?;
    }
    let limit = query.limit.min(MAX_PAGE);
    let statuses = query.statuses.iter().map(|status| status.as_str()).collect::<Vec<_>>();
    let statuses = (!statuses.is_empty()).then(|| serde_json::to_string(&statuses)).transpose().map_err(Error::internal)?;
    let kind = query.person.kind().as_str();
    let identity = query.person.identity();
    let of_person = |before: Option<CallId>, limit: i64, skip: i64| {
        (kind, identity.id(), before.map_or([u8::MAX; 12], CallId::bytes), query.call_type.map(CallType::as_str), &statuses, limit, skip)
    };
    let mut ids = connection
        .prepare_cached(IDS_OF)?
        .query_map(of_person(query.before, sql_count(limit + 1), sql_count(query.skip)), |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<[u8; 12]>>>()?;
    let has_more = ids.len() > limit;
    ids.truncate(limit);
    let items = ids.into_iter().map(CallId::from_bytes).filter_map(|id| find(connection, id).transpose()).collect::<Result<_>>()?;
    let total = connection
        .prepare_cached(&format!("SELECT count(*) FROM ({IDS_OF})"))?
        .query_row(of_person(None, sql_count(query.count_up_to), 0), |row| row.get::<_, u32>(0))?;
    Ok(Calls { items, has_more, total: u64::from(total) })
}

/// When someone's calls began, and their ids, newest first.
pub(super) fn places(
    connection: &Connection,
    person: &Participant,
    before: Option<CallId>,
    limit: usize,
) -> Result<Vec<(Timestamp, CallId)>> {
    let before = before.map_or([u8::MAX; 12], CallId::bytes);
    let (any_type, any_status) = (None::<&str>, None::<&str>);
    // The beginning is looked up for each: a second column would make the union sort instead of merge.
    let sql = format!("SELECT initiated_at, id FROM ({IDS_OF}) JOIN call USING(id)");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut places = statement
        .query_map(params![person.kind().as_str(), person.id(), before, any_type, any_status, sql_count(limit), 0], |row| {
            Ok((Timestamp::from_millis(row.get(0)?), CallId::from_bytes(row.get(1)?)))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    // A join promises no order.
    places.sort_unstable_by_key(|place| std::cmp::Reverse(place.1));
    Ok(places)
}

fn require(connection: &Connection, id: CallId) -> Result<()> {
    let known = connection.prepare_cached("SELECT 1 FROM call WHERE id = ?1")?.exists([id.bytes()])?;
    if known { Ok(()) } else { Err(Error::CallNotFound) }
}

/// Calls that still need somebody, in the order of their ids.
pub(super) fn open(connection: &Connection, after: Option<CallId>, limit: usize) -> Result<Vec<Call>> {
    let sql = concat!("SELECT ", call_columns!(), " FROM call INDEXED BY call_open WHERE is_open = 1 AND id > ?1 ORDER BY id LIMIT ?2");
    find_all(connection, sql, params![after.map_or([0; 12], CallId::bytes), sql_count(limit)])
}

/// Calls that rang too long, then those whose notices wait too long; the oldest first.
pub(super) fn overdue(connection: &Connection, deadline_before: Timestamp, ended_before: Timestamp, limit: usize) -> Result<Vec<Call>> {
    let sql = concat!(
        "SELECT ",
        call_columns!(),
        " FROM call INDEXED BY call_open WHERE is_open = 1 AND ring_deadline < ?1 ORDER BY ring_deadline LIMIT ?2"
    );
    let mut overdue = find_all(connection, sql, params![deadline_before.as_millis(), sql_count(limit)])?;
    let sql = concat!(
        "SELECT ",
        call_columns!(),
        " FROM call INDEXED BY call_open WHERE is_open = 1 AND ring_deadline IS NULL AND ended_at < ?1 ORDER BY ended_at LIMIT ?2"
    );
    overdue.extend(find_all(connection, sql, params![ended_before.as_millis(), sql_count(limit)])?);
    Ok(overdue)
}

fn find_all(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<Call>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut calls = Vec::new();
    while let Some(row) = rows.next()? {
        calls.push(rows::call(row)?);
    }
    Ok(calls)
}

fn millis(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_millis)
}
