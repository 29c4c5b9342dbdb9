//! What every store promises about calls: the sentences of `samvad::store::Store`, each written once and run on every driver.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use samvad::error::Error;
use samvad::models::{Call, CallId, CallStatus, CallType, EndReason, Feedback, NewCall, Notices, Pair, Participant, Profile, Timestamp};
use samvad::store::sqlite::SqliteStore;
use samvad::store::{CallChange, CallEnd, CallQuery, Calls, MAX_PAGE, Store, Transitioned};

use crate::support::people::{admin, astrologer, at, profile, user};
use crate::support::stores::on_every_driver;

on_every_driver!(
    a_stored_call_is_found_with_exactly_its_fields,
    ids_and_times_of_calls_increase_even_when_the_callers_clock_does_not,
    each_step_sets_its_own_time_and_leaves_the_rest,
    a_step_from_any_other_state_is_refused_and_tells_the_call,
    of_an_answer_and_a_deadline_exactly_one_wins,
    an_end_is_stored_completely,
    an_end_without_notices_needs_nobody,
    only_the_first_opinion_counts,
    notices_are_settled_one_by_one_and_repeats_change_nothing,
    notices_of_many_calls_are_settled_at_once,
    two_who_settle_different_notices_leave_no_call_open,
    a_call_that_is_not_over_has_nothing_to_settle,
    open_calls_are_paged_by_id,
    a_call_is_overdue_only_past_its_limit,
    calls_are_listed_for_both_sides_newest_first,
    every_admin_lists_the_calls_of_all_admins,
    calls_are_paged_by_cursor_and_by_skip,
    calls_are_filtered_by_kind_and_state,
    an_unknown_cursor_is_no_call,
);

async fn a_stored_call_is_found_with_exactly_its_fields(store: Arc<dyn Store>) {
    let rich = NewCall {
        caller_profile: profile("Uma", "https://x/u.png"),
        callee_profile: profile("Asha", "https://x/a.png"),
        call_type: CallType::Video,
        consultation_id: Some("690000000000000000000005".into()),
        status: CallStatus::Ringing,
        ..ringing(&user("u_1"), &admin("ops7"))
    };
    for new in [rich, ringing(&astrologer("a1"), &user("u1"))] {
        let call = store.create_call(new.clone()).await.unwrap();
        assert_eq!(call, new.into_call(call.id, call.initiated_at));
        assert_eq!(find(&store, call.id).await, call);
        assert_eq!(call.ring_deadline, Some(call.initiated_at.plus(Duration::from_secs(60))));
    }
    assert_eq!(store.find_call(nobodys()).await.unwrap(), None);
}

async fn ids_and_times_of_calls_increase_even_when_the_callers_clock_does_not(store: Arc<dyn Store>) {
    let mut before: Option<Call> = None;
    for offset in [5_000, 4_000, 5_000, 9_000, 0] {
        let call = store.create_call(NewCall { at: at(offset), ..ringing(&user("u1"), &astrologer("a1")) }).await.unwrap();
        assert!(call.initiated_at >= at(offset));
        if let Some(before) = before {
            assert!(call.id > before.id && call.initiated_at >= before.initiated_at, "{call:?}");
        }
        before = Some(call);
    }
}

async fn each_step_sets_its_own_time_and_leaves_the_rest(store: Arc<dyn Store>) {
    use CallStatus::{Answered, Ended, Initiated, Missed, Ongoing, Rejected, Ringing};
    let mut expected = create(&store).await;
    for (n, from, to) in [(1, Initiated, Ringing), (2, Ringing, Answered), (3, Answered, Ongoing), (4, Ongoing, Ended)] {
        let moment = expected.initiated_at.plus(Duration::from_secs(n));
        let call = applied(store.transition_call(step(&expected, &[from], to, moment)).await.unwrap());
        let time = match to {
            Ringing => &mut expected.ringing_at,
            Answered => &mut expected.answered_at,
            Ongoing => &mut expected.connected_at,
            _ => &mut expected.ended_at,
        };
        *time = Some(moment);
        (expected.status, expected.updated_at) = (to, moment);
        if to != Ringing {
            expected.ring_deadline = None;
        }
        assert_eq!(call, expected);
        assert_eq!(find(&store, call.id).await, expected);
    }
    for to in [Rejected, Missed] {
        let call = create(&store).await;
        // An earlier clock does not make it look older than it is.
        let earlier = Timestamp::from_millis(call.initiated_at.as_millis() - 5);
        let done = applied(store.transition_call(step(&call, CallStatus::RINGING, to, earlier)).await.unwrap());
        let ended = Call { status: to, ended_at: Some(earlier), ring_deadline: None, ..call };
        assert_eq!(done, ended);
    }
}

async fn a_step_from_any_other_state_is_refused_and_tells_the_call(store: Arc<dyn Store>) {
    for (n, status) in CallStatus::ALL.iter().copied().enumerate() {
        let mut call = create(&store).await;
        if status != CallStatus::Initiated {
            call = applied(store.transition_call(step(&call, &[CallStatus::Initiated], status, at(1_000))).await.unwrap());
        }
        let others: Vec<CallStatus> = CallStatus::ALL.iter().copied().filter(|other| *other != status).collect();
        for to in CallStatus::ALL {
            match store.transition_call(with_end(step(&call, &others, *to, at(2_000)))).await.unwrap() {
                Transitioned::Refused(current) => assert_eq!(*current, call),
                other => panic!("from {status:?} to {to:?}: {other:?}"),
            }
        }
        assert!(matches!(store.transition_call(step(&call, &[], CallStatus::Ended, at(0))).await.unwrap(), Transitioned::Refused(_)));
        assert_eq!(find(&store, call.id).await, call, "status {n}");
    }
    let change = CallChange { id: nobodys(), ..step(&create(&store).await, CallStatus::ALL, CallStatus::Ended, at(0)) };
    assert!(matches!(store.transition_call(change).await.unwrap(), Transitioned::NotFound));
}

async fn of_an_answer_and_a_deadline_exactly_one_wins(store: Arc<dyn Store>) {
    let calls = join_all((0..500).map(|_| create(&store))).await;
    let races = calls.into_iter().enumerate().map(|(n, call)| {
        let store = store.clone();
        let attempt = |to| {
            let (store, change) = (store.clone(), step(&call, CallStatus::RINGING, to, at(1_000)));
            let change = if to.is_over() { with_end(change) } else { change };
            tokio::spawn(async move { store.transition_call(change).await.unwrap() })
        };
        // Neither always starts first.
        let (accept, timeout) = if n % 2 == 0 {
            let accept = attempt(CallStatus::Answered);
            (accept, attempt(CallStatus::Missed))
        } else {
            let timeout = attempt(CallStatus::Missed);
            (attempt(CallStatus::Answered), timeout)
        };
        async move {
            let outcome = (accept.await.unwrap(), timeout.await.unwrap());
            let (winner, seen) = match outcome {
                (Transitioned::Applied(winner), Transitioned::Refused(seen)) if winner.status == CallStatus::Answered => (winner, seen),
                (Transitioned::Refused(seen), Transitioned::Applied(winner)) if winner.status == CallStatus::Missed => (winner, seen),
                other => panic!("not exactly one: {other:?}"),
            };
            assert_eq!(winner, seen);
            assert_eq!(find(&store, winner.id).await, *winner);
            assert_eq!(winner.answered_at.is_some(), winner.ended_at.is_none());
            assert_eq!(winner.notices == Notices::ALL, winner.status == CallStatus::Missed);
            assert_eq!(winner.ring_deadline, None);
            winner.status
        }
    });
    let won = join_all(races).await;
    let answered = won.iter().filter(|status| **status == CallStatus::Answered).count();
    // Otherwise nothing raced.
    assert!((1..500).contains(&answered), "{answered} of 500 were answered");
}

async fn an_end_is_stored_completely(store: Arc<dyn Store>) {
    let call = create(&store).await;
    let change = CallChange {
        end: Some(CallEnd {
            reason: EndReason::Cancelled,
            detail: "caller_cancelled".into(),
            by: Some(user("u1")),
            duration: 41,
            server_duration: 3_000_000_000,
            notices: Notices { caller: false, callee: true, log: true },
        }),
        ..step(&call, CallStatus::RINGING, CallStatus::Ended, at(50_000))
    };
    let done = applied(store.transition_call(change).await.unwrap());
    let expected = Call {
        status: CallStatus::Ended,
        ring_deadline: None,
        ended_at: Some(at(50_000)),
        updated_at: at(50_000),
        duration: 41,
        server_duration: 3_000_000_000,
        end_reason: Some(EndReason::Cancelled),
        end_detail: Some("caller_cancelled".into()),
        ended_by: Some(user("u1")),
        notices: Notices { caller: false, callee: true, log: true },
        ..call
    };
    assert_eq!(done, expected);
    assert_eq!(find(&store, done.id).await, expected);
    assert_eq!(open_ids(&store).await, [done.id]);
    // Nobody is the server.
    let missed = finish(&store, &create(&store).await, Notices::ALL, at(51_000)).await;
    assert_eq!((missed.ended_by, missed.end_reason), (None, Some(EndReason::NoAnswer)));
}

async fn an_end_without_notices_needs_nobody(store: Arc<dyn Store>) {
    let call = create(&store).await;
    assert_eq!(open_ids(&store).await, [call.id]);
    let done = finish(&store, &call, Notices::default(), at(0)).await;
    assert_eq!(done.notices, Notices::default());
    assert_eq!(open_ids(&store).await, []);
    assert_eq!(overdue(&store, at(90_000_000), at(90_000_000)).await, []);
}

async fn only_the_first_opinion_counts(store: Arc<dyn Store>) {
    let call = finish(&store, &create(&store).await, Notices::ALL, at(1_000)).await;
    let first = Feedback { rating: 2, comment: Some("too short".into()), by: Some(user("u1")) };
    let rated = store.rate_call(call.id, first.clone(), at(60_000)).await.unwrap().unwrap();
    let expected = Call { feedback: Some(first), updated_at: at(60_000), ..call.clone() };
    assert_eq!(rated, expected);
    let second = Feedback { rating: 5, comment: None, by: Some(astrologer("a1")) };
    assert_eq!(store.rate_call(call.id, second.clone(), at(61_000)).await.unwrap(), Some(expected.clone()));
    assert_eq!(find(&store, call.id).await, expected);
    assert_eq!(store.rate_call(nobodys(), second, at(0)).await.unwrap(), None);
    let wordless = Feedback { rating: 5, comment: None, by: None };
    let other = create(&store).await;
    assert_eq!(store.rate_call(other.id, wordless.clone(), at(0)).await.unwrap().unwrap().feedback, Some(wordless));
}

async fn notices_are_settled_one_by_one_and_repeats_change_nothing(store: Arc<dyn Store>) {
    let call = finish(&store, &create(&store).await, Notices::ALL, at(1_000)).await;
    let mut left = Notices::ALL;
    for done in [Notices { caller: true, ..Notices::default() }, Notices { callee: true, ..Notices::default() }] {
        for _ in 0..2 {
            store.settle_notices(&[(call.id, done)]).await.unwrap();
            left = left.without(done);
            assert_eq!(find(&store, call.id).await, Call { notices: left, ..call.clone() });
            assert_eq!(open_ids(&store).await, [call.id]);
            assert_eq!(overdue(&store, at(0), at(1_001)).await, [call.id]);
        }
    }
    store.settle_notices(&[(call.id, Notices::default())]).await.unwrap();
    assert_eq!(find(&store, call.id).await.notices, left);
    for _ in 0..2 {
        // Also what was settled before.
        store.settle_notices(&[(call.id, Notices::ALL)]).await.unwrap();
        assert_eq!(find(&store, call.id).await, Call { notices: Notices::default(), ..call.clone() });
        assert_eq!(open_ids(&store).await, []);
        assert_eq!(overdue(&store, at(0), at(1_001)).await, []);
    }
}

async fn notices_of_many_calls_are_settled_at_once(store: Arc<dyn Store>) {
    let log = Notices { log: true, ..Notices::default() };
    let calls = join_all((0..30).map(|n: u8| {
        let store = store.clone();
        let left = if n.is_multiple_of(2) { Notices::ALL } else { log };
        async move { finish(&store, &create(&store).await, left, at(1_000)).await }
    }))
    .await;
    // A third completely, a third in part, a third not at all; among so many of which nothing is known that they make two batches.
    let unknown = |n: u16| {
        let mut bytes = [1; 12];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        (CallId::from_bytes(bytes), Notices::ALL)
    };
    let mut settled: Vec<(CallId, Notices)> = (0..1_100).map(unknown).collect();
    for (n, call) in calls.iter().enumerate() {
        match n % 3 {
            0 => settled.push((call.id, Notices::ALL)),
            1 => settled.insert(0, (call.id, log)),
            _ => {}
        }
    }
    store.settle_notices(&settled).await.unwrap();
    store.settle_notices(&[]).await.unwrap();
    let mut still_open = Vec::new();
    for (n, call) in calls.iter().enumerate() {
        let done = [Notices::ALL, log, Notices::default()][n % 3];
        let left = call.notices.without(done);
        assert_eq!(find(&store, call.id).await.notices, left, "call {n}");
        if !left.is_empty() {
            still_open.push(call.id);
        }
    }
    still_open.sort();
    assert_eq!(open_ids(&store).await, still_open);
}

async fn two_who_settle_different_notices_leave_no_call_open(store: Arc<dyn Store>) {
    let parts = [
        Notices { caller: true, ..Notices::default() },
        Notices { callee: true, ..Notices::default() },
        Notices { log: true, ..Notices::default() },
    ];
    let rounds = (0..60).map(|_| {
        let store = store.clone();
        async move {
            let call = finish(&store, &create(&store).await, Notices::ALL, at(1_000)).await;
            join_all(parts.map(|part| {
                let store = store.clone();
                tokio::spawn(async move { store.settle_notices(&[(call.id, part)]).await.unwrap() })
            }))
            .await
            .into_iter()
            .for_each(|settled| settled.unwrap());
            assert_eq!(find(&store, call.id).await.notices, Notices::default());
        }
    });
    join_all(rounds).await;
    assert_eq!(open_ids(&store).await, []);
}

async fn a_call_that_is_not_over_has_nothing_to_settle(store: Arc<dyn Store>) {
    let rings = create(&store).await;
    let talks = create(&store).await;
    let talks = applied(store.transition_call(step(&talks, CallStatus::RINGING, CallStatus::Answered, at(0))).await.unwrap());
    store.settle_notices(&[(rings.id, Notices::ALL), (talks.id, Notices::ALL)]).await.unwrap();
    assert_eq!(store.open_calls(None, 10).await.unwrap(), [rings, talks.clone()]);
    let ended = finish(&store, &talks, Notices::ALL, at(0)).await;
    assert_eq!(ended.notices, Notices::ALL);
}

async fn open_calls_are_paged_by_id(store: Arc<dyn Store>) {
    let mut calls = Vec::new();
    for _ in 0..10 {
        calls.push(create(&store).await);
    }
    // Ringing, talking, over with and without notices: whatever the order of their deadlines.
    for n in [1, 4] {
        let answer = step(&calls[n], CallStatus::RINGING, CallStatus::Answered, at(0));
        calls[n] = applied(store.transition_call(answer).await.unwrap());
    }
    calls[6] = finish(&store, &calls[6], Notices::ALL, at(0)).await;
    for n in [2, 9] {
        calls[n] = finish(&store, &calls[n], Notices::default(), at(0)).await;
    }
    let expected: Vec<Call> = [0, 1, 3, 4, 5, 6, 7, 8].map(|n: usize| calls[n].clone()).to_vec();
    assert_eq!(store.open_calls(None, 100).await.unwrap(), expected);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.open_calls(after, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page);
    }
    assert_eq!(seen, expected);
    assert_eq!(store.open_calls(Some(calls[2].id), 2).await.unwrap(), [calls[3].clone(), calls[4].clone()]);
    assert_eq!(store.open_calls(None, 0).await.unwrap(), []);
}

async fn a_call_is_overdue_only_past_its_limit(store: Arc<dyn Store>) {
    let mut rings = Vec::new();
    for seconds in [30, 10, 20] {
        let new = NewCall { ring_for: Duration::from_secs(seconds), at: at(0), ..ringing(&user("u1"), &astrologer("a1")) };
        rings.push(store.create_call(new).await.unwrap());
    }
    let deadline = |n: usize| rings[n].ring_deadline.unwrap();
    let talks = create(&store).await;
    store.transition_call(step(&talks, CallStatus::RINGING, CallStatus::Answered, at(0))).await.unwrap();
    let mut over = Vec::new();
    for offset in [7_000, 5_000, 6_000] {
        over.push(finish(&store, &create(&store).await, Notices::ALL, at(offset)).await);
    }
    finish(&store, &create(&store).await, Notices::default(), at(0)).await;
    let long_ago = at(-1_000_000);
    assert_eq!(overdue(&store, long_ago, long_ago).await, []);
    // A limit that is only reached has not passed.
    assert_eq!(overdue(&store, deadline(1), long_ago).await, []);
    assert_eq!(overdue(&store, deadline(1).plus(Duration::from_millis(1)), long_ago).await, [rings[1].id]);
    assert_eq!(overdue(&store, long_ago, at(5_000)).await, []);
    assert_eq!(overdue(&store, long_ago, at(5_001)).await, [over[1].id]);
    let later = at(50_000);
    let all = store.overdue_calls(later, later, 10).await.unwrap();
    assert_eq!(all.iter().map(|c| c.id).collect::<Vec<_>>(), [rings[1].id, rings[2].id, rings[0].id, over[1].id, over[2].id, over[0].id]);
    assert_eq!(all[3], over[1]);
    let two_of_each = store.overdue_calls(later, later, 2).await.unwrap();
    assert_eq!(two_of_each.iter().map(|c| c.id).collect::<Vec<_>>(), [rings[1].id, rings[2].id, over[1].id, over[2].id]);
    assert_eq!(store.overdue_calls(later, later, 0).await.unwrap(), []);
}

async fn calls_are_listed_for_both_sides_newest_first(store: Arc<dyn Store>) {
    let mut calls = Vec::new();
    for (caller, callee) in [
        (user("5"), astrologer("a1")),
        (astrologer("a1"), user("5")),
        (astrologer("5"), user("u2")),
        (astrologer("a2"), user("5")),
        (user("u3"), astrologer("a1")),
    ] {
        calls.push(store.create_call(ringing(&caller, &callee)).await.unwrap());
    }
    for (person, order) in [
        (user("5"), vec![3, 1, 0]),
        // The same id of another type is another person.
        (astrologer("5"), vec![2]),
        (astrologer("a1"), vec![4, 1, 0]),
        (user("u9"), vec![]),
    ] {
        let found = store.calls_of(all_of(&person)).await.unwrap();
        assert_eq!(found.items, order.iter().map(|n| calls[*n].clone()).collect::<Vec<_>>(), "{person}");
        assert_eq!((found.has_more, found.total), (false, order.len() as u64), "{person}");
    }
}

async fn every_admin_lists_the_calls_of_all_admins(store: Arc<dyn Store>) {
    let mut calls = Vec::new();
    for (caller, callee) in [(admin("ops7"), user("u1")), (user("u1"), astrologer("a1")), (astrologer("a1"), Participant::shared_admin())] {
        calls.push(store.create_call(ringing(&caller, &callee)).await.unwrap());
    }
    assert_eq!(calls[0].caller, admin("ops7"), "an admin keeps his own id");
    for person in [admin("ops7"), admin("ops8"), Participant::shared_admin()] {
        let found = store.calls_of(all_of(&person)).await.unwrap();
        assert_eq!(found.items, [calls[2].clone(), calls[0].clone()]);
        assert_eq!(found.total, 2);
    }
}

async fn calls_are_paged_by_cursor_and_by_skip(store: Arc<dyn Store>) {
    let mut ids = Vec::new();
    for n in 0..10 {
        // By turns on either side, so that pages are merged of both.
        let (caller, callee) = if n % 3 == 0 { (astrologer("a1"), user("u1")) } else { (user("u1"), astrologer("a1")) };
        ids.push(store.create_call(ringing(&caller, &callee)).await.unwrap().id);
        store.create_call(ringing(&user("u2"), &astrologer("a2"))).await.unwrap();
    }
    ids.reverse();
    let page = |before, skip, limit| CallQuery { before, skip, limit, ..all_of(&user("u1")) };
    for (query, range, has_more) in [
        (page(None, 0, 4), 0..4, true),
        (page(None, 0, 10), 0..10, false),
        (page(Some(ids[3]), 0, 4), 4..8, true),
        (page(Some(ids[7]), 0, 4), 8..10, false),
        (page(Some(ids[9]), 0, 4), 10..10, false),
        (page(None, 3, 4), 3..7, true),
        (page(Some(ids[1]), 2, 3), 4..7, true),
        (page(None, 20, 4), 10..10, false),
        (page(None, 0, 0), 0..0, true),
    ] {
        let found = store.calls_of(query.clone()).await.unwrap();
        assert_eq!(found.ids(), ids[range], "{query:?}");
        assert_eq!((found.has_more, found.total), (has_more, 10), "{query:?}");
    }
    for (cap, total) in [(0, 0), (1, 1), (9, 9), (10, 10), (11, 10)] {
        let found = store.calls_of(CallQuery { count_up_to: cap, ..page(None, 0, 1) }).await.unwrap();
        assert_eq!(found.total, total);
    }
}

async fn calls_are_filtered_by_kind_and_state(store: Arc<dyn Store>) {
    use CallStatus::{Answered, Ended, Initiated, Missed};
    let mut calls = Vec::new();
    for (n, to) in [None, Some(Answered), Some(Ended), Some(Missed), Some(Ended), None].into_iter().enumerate() {
        let call_type = if n % 2 == 0 { CallType::Voice } else { CallType::Video };
        let call = store.create_call(NewCall { call_type, ..ringing(&user("u1"), &astrologer("a1")) }).await.unwrap();
        if let Some(to) = to {
            applied(store.transition_call(step(&call, CallStatus::RINGING, to, at(0))).await.unwrap());
        }
        calls.push(call.id);
    }
    for (call_type, statuses, expected) in [
        (Some(CallType::Voice), vec![], vec![4, 2, 0]),
        (Some(CallType::Video), vec![], vec![5, 3, 1]),
        (None, vec![Ended], vec![4, 2]),
        (None, vec![Answered, Missed], vec![3, 1]),
        (Some(CallType::Video), vec![Initiated, Ended], vec![5]),
        (Some(CallType::Voice), vec![Missed], vec![]),
    ] {
        let query = CallQuery { call_type, statuses, ..all_of(&astrologer("a1")) };
        let found = store.calls_of(query.clone()).await.unwrap();
        assert_eq!(found.ids(), expected.iter().map(|n: &usize| calls[*n]).collect::<Vec<_>>(), "{query:?}");
        assert_eq!(found.total, expected.len() as u64, "{query:?}");
    }
}

async fn an_unknown_cursor_is_no_call(store: Arc<dyn Store>) {
    create(&store).await;
    let error = store.calls_of(CallQuery { before: Some(nobodys()), ..all_of(&user("u1")) }).await.unwrap_err();
    assert!(matches!(error, Error::CallNotFound), "{error:?}");
}

#[tokio::test]
async fn calls_of_an_embedded_store_survive_reopening_it() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).unwrap());
    // The newest id by far is a call's.
    let ahead = NewCall { at: at(3_600_000), ..ringing(&user("u1"), &astrologer("a1")) };
    let rings = store.create_call(ahead).await.unwrap();
    let over = finish(&store, &create(&store).await, Notices { log: true, ..Notices::default() }, at(1_000)).await;
    let feedback = Feedback { rating: 4, comment: Some("fine".into()), by: Some(user("u1")) };
    let over = store.rate_call(over.id, feedback, at(2_000)).await.unwrap().unwrap();
    store.close().await;

    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).unwrap());
    assert_eq!(store.open_calls(None, 10).await.unwrap(), [rings.clone(), over.clone()]);
    assert_eq!(store.calls_of(all_of(&user("u1"))).await.unwrap().items, [over.clone(), rings]);
    let next = create(&store).await;
    assert!(next.id > over.id && next.initiated_at >= over.initiated_at);
    store.close().await;
}

// Words of the tests.

trait Ids {
    fn ids(&self) -> Vec<CallId>;
}

impl Ids for Calls {
    fn ids(&self) -> Vec<CallId> {
        self.items.iter().map(|call| call.id).collect()
    }
}

/// A call nobody's client has heard of yet.
fn ringing(caller: &Participant, callee: &Participant) -> NewCall {
    NewCall {
        caller: caller.clone(),
        caller_profile: Profile::default(),
        callee: callee.clone(),
        callee_profile: Profile::default(),
        call_type: CallType::Voice,
        channel: format!("call_{:016x}", rand::random::<u64>()),
        conversation_key: Pair::new(caller.clone(), callee.clone()).unwrap().key(),
        consultation_id: None,
        status: CallStatus::Initiated,
        ring_for: Duration::from_secs(60),
        at: at(0),
    }
}

async fn create(store: &Arc<dyn Store>) -> Call {
    store.create_call(ringing(&user("u1"), &astrologer("a1"))).await.unwrap()
}

async fn find(store: &Arc<dyn Store>, id: CallId) -> Call {
    store.find_call(id).await.unwrap().unwrap()
}

fn step(call: &Call, from: &[CallStatus], to: CallStatus, at: Timestamp) -> CallChange {
    CallChange { id: call.id, from: from.to_vec(), to, end: None, at }
}

/// The server ends it, and everybody is to hear of it.
fn with_end(change: CallChange) -> CallChange {
    let end =
        CallEnd { reason: EndReason::NoAnswer, detail: "timeout".into(), by: None, duration: 0, server_duration: 0, notices: Notices::ALL };
    CallChange { end: Some(end), ..change }
}

/// Ends a call with these notices left.
async fn finish(store: &Arc<dyn Store>, call: &Call, notices: Notices, at: Timestamp) -> Call {
    let mut change = with_end(step(call, &[call.status], CallStatus::Missed, at));
    change.end.as_mut().unwrap().notices = notices;
    applied(store.transition_call(change).await.unwrap())
}

fn applied(outcome: Transitioned) -> Call {
    match outcome {
        Transitioned::Applied(call) => *call,
        other => panic!("{other:?}"),
    }
}

fn nobodys() -> CallId {
    CallId::from_bytes([3; 12])
}

fn all_of(person: &Participant) -> CallQuery {
    CallQuery { person: person.clone(), call_type: None, statuses: Vec::new(), before: None, skip: 0, limit: MAX_PAGE, count_up_to: 1_000 }
}

async fn open_ids(store: &Arc<dyn Store>) -> Vec<CallId> {
    store.open_calls(None, 1_000).await.unwrap().iter().map(|call| call.id).collect()
}

async fn overdue(store: &Arc<dyn Store>, deadline_before: Timestamp, ended_before: Timestamp) -> Vec<CallId> {
    store.overdue_calls(deadline_before, ended_before, 1_000).await.unwrap().iter().map(|call| call.id).collect()
}
