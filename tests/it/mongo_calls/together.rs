//! Steps of calls that are taken together: each as if it were alone.

use super::*;

/// Steps that come at once go in one command. Of those who want the same call one wins all the same, through whichever node they come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_steps_that_are_taken_together_one_wins_for_each_call() {
    const CALLS: usize = 40;
    let fixture = Fixture::new().await;
    let (one, other) = tokio::join!(fixture.store(), fixture.store());
    let calls = join_all((0..CALLS).map(|number| one.create_call(new_call(&format!("together_{number}"))))).await;
    let ids: Vec<CallId> = calls.into_iter().map(|call| call.expect("stored").id).collect();

    let ringing = [CallStatus::Initiated, CallStatus::Ringing];
    let wanted = |id: &CallId| {
        [
            (&one, step(*id, &ringing, CallStatus::Answered, 1_001)),
            (&other, step(*id, &ringing, CallStatus::Answered, 1_002)),
            (&one, step(*id, &ringing, CallStatus::Missed, 1_003)),
            (&other, step(*id, &[CallStatus::Ended], CallStatus::Answered, 1_004)),
        ]
    };
    let unknown = CallId::from_bytes([9; 12]);
    let all = ids.iter().chain([&unknown]).flat_map(wanted);
    let outcomes =
        join_all(all.map(|(node, change)| async move { (change.clone(), node.transition_call(change).await.expect("asked")) })).await;
    let (known, of_unknown) = outcomes.split_at(CALLS * 4);
    assert!(of_unknown.iter().all(|(_, outcome)| matches!(outcome, Transitioned::NotFound)));
    for contest in known.chunks(4) {
        let winners: Vec<(&CallChange, &Call)> = contest
            .iter()
            .filter_map(|(change, outcome)| match outcome {
                Transitioned::Applied(call) => Some((change, &**call)),
                _ => None,
            })
            .collect();
        let [(change, call)] = winners[..] else { panic!("one of these wins: {contest:?}") };
        let at = if change.to == CallStatus::Answered { call.answered_at } else { call.ended_at };
        assert_eq!((call.id, call.status, at), (change.id, change.to, Some(change.at)));
        let stored = one.find_call(change.id).await.expect("asked").expect("stored");
        assert_eq!(&stored, call);
        for (_, outcome) in contest {
            assert!(!matches!(outcome, Transitioned::Refused(found) if !found.status.is_ringing() && **found != stored), "{outcome:?}");
        }
    }

    let marked =
        fixture.database.collection::<Document>("calls").count_documents(doc! { "steps": { "$exists": true } }).await.expect("counted");
    assert!(marked > CALLS as u64 / 2, "{marked} calls went with others");
    let notices = Notices { caller: true, callee: false, log: true };
    let end = |id: &CallId| CallChange {
        end: Some(completed(user("u1"), notices)),
        ..step(*id, &[CallStatus::Answered], CallStatus::Ended, 1_041)
    };
    let ended = join_all(ids.iter().map(|id| one.transition_call(end(id)))).await;
    let ended: Vec<CallId> = ended
        .into_iter()
        .filter_map(|outcome| match outcome.expect("asked") {
            Transitioned::Applied(call) => Some(call.id),
            _ => None,
        })
        .collect();
    assert!(!ended.is_empty());
    one.settle_notices(&ended.iter().map(|id| (*id, notices)).collect::<Vec<_>>()).await.expect("settled");
    for id in ended {
        let stored = fixture.find("calls", ObjectId::from_bytes(id.bytes())).await;
        assert!(!stored.contains_key("steps") && !stored.contains_key("open"), "{stored}");
    }
    other.close().await;
    fixture.done(one).await;
}

/// Ends that differ in who ended the call go in one statement; each keeps its own, and one document that cannot be changed harms no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ends_that_are_taken_together_each_keeps_who_ended_it() {
    const CALLS: i64 = 130;
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let calls = join_all((0..CALLS).map(|number| store.create_call(new_call(&format!("ended_{number}"))))).await;
    let ids: Vec<CallId> = calls.into_iter().map(|call| call.expect("stored").id).collect();
    let document = |id: &CallId| ObjectId::from_bytes(id.bytes());
    let answers =
        ids.iter().map(|id| applied(&store, step(*id, &[CallStatus::Initiated, CallStatus::Ringing], CallStatus::Answered, 1_001)));
    join_all(answers).await;

    // Another program's field of our name.
    let spoilt = &ids[70];
    let collection = fixture.database.collection::<Document>("calls");
    collection.update_one(doc! { "_id": document(spoilt) }, doc! { "$set": { "steps": "two" } }).await.expect("changed");
    let who = |number: usize| match number % 3 {
        0 => Some(user(&format!("u{number}"))),
        1 => Some(astrologer(&format!("a{number}"))),
        _ => None,
    };
    let end = |number: usize| {
        let end = CallEnd { by: who(number), ..completed(user("u1"), Notices { caller: true, callee: false, log: true }) };
        CallChange { end: Some(end), ..step(ids[number], &[CallStatus::Answered], CallStatus::Ended, 1_041) }
    };
    // The second of each comes too late.
    let twice = (0..ids.len()).flat_map(|number| [number, number]).map(|number| (number, end(number)));
    let asked = &store;
    let outcomes = join_all(twice.map(|(number, end)| async move { (number, asked.transition_call(end).await.expect("asked")) })).await;
    for contest in outcomes.chunks(2) {
        let (number, _) = contest[0];
        let taken: Vec<&Call> = contest
            .iter()
            .filter_map(|(_, outcome)| if let Transitioned::Applied(call) = outcome { Some(&**call) } else { None })
            .collect();
        let [call] = taken[..] else { panic!("call {number}: one of two is taken: {contest:?}") };
        assert_eq!((call.status, &call.ended_by), (CallStatus::Ended, &who(number)), "call {number}");
        assert_eq!(&store.find_call(ids[number]).await.expect("asked").expect("stored"), call);
        let stored = fixture.find("calls", document(&ids[number])).await;
        let by = who(number);
        let names = by.as_ref().map(|by| (by.id(), by.kind().as_str()));
        assert_eq!(stored.get_str("endedBy").ok().zip(stored.get_str("endedByType").ok()), names, "{stored}");
        assert!(!stored.contains_key("ringDeadline") && stored.get("notify") == Some(&Bson::from(vec!["caller", "log"])), "{stored}");
    }
    let together = collection.count_documents(doc! { "steps": { "$size": 2 } }).await.expect("counted");
    assert!(together > 50, "{together} calls were answered and ended with others");
    fixture.done(store).await;
}
