//! The dashboard's figures: against a recount of everything that was done, whatever was counted before; and who may see them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use samvad::models::analytics::{Day, DayTotals, Outcome, With};
use samvad::models::{CallStatus, CallType, MessageType, Pair, Participant, ParticipantKind, Timestamp};
use samvad::store::analytics::CountedDay;
use samvad::store::{CallChange, DeleteMessage, Lookup, Store};
use serde_json::{Value, json};

use crate::support::http::{local, request, send};
use crate::support::people::astrologer;
use crate::support::server::{ADMIN_KEY, TestServer};
use crate::support::stores::{self, on_every_driver, on_every_driver_by_seeds};
use crate::support::world::{Rang, Said, Went, World, name_of};

on_every_driver!(an_empty_store_has_figures_too, only_admins_see_figures, an_admin_signs_in_with_a_key,);

on_every_driver_by_seeds!(
    [5, 6],
    all_figures_equal_a_recount_of_what_was_done,
    what_was_counted_before_is_counted_again_once_it_is_no_longer_true,
    a_day_is_kept_only_under_the_version_it_was_counted_at,
);

const DAY_MS: i64 = 24 * 3_600_000;
const HOUR: Duration = Duration::from_secs(3_600);
const SCOPES: [&str; 3] = ["all", "admin-astrologer", "customer-astrologer"];

async fn ask(server: &TestServer, path: &str, period: &str, scope: &str) -> Value {
    let path = format!("/api/admin/{path}?period={period}&type={scope}");
    let mut answer = send(&server.url, local(1), "GET", &path, &[("x-admin-key", ADMIN_KEY)], "").await;
    // On a slow machine the first look may take more than one question.
    for _ in 0..5 {
        if answer.status != 503 {
            break;
        }
        answer = send(&server.url, local(1), "GET", &path, &[("x-admin-key", ADMIN_KEY)], "").await;
    }
    let body = answer.json();
    assert_eq!((answer.status, &body["success"]), (200, &json!(true)), "{path}: {body}");
    assert!(!answer.body.contains("null"), "{path}: {body}");
    body["data"].clone()
}

// The recount: from the list of what was done alone.

/// What the dashboard looks at, in plain terms: of this period, of this scope.
struct Recount<'a> {
    said: Vec<&'a Said>,
    rang: Vec<&'a Rang>,
    active: usize,
    /// From the first day to today.
    days: Vec<i64>,
}

fn other_than_the_astrologer<'a>(a: &'a Participant, b: &'a Participant) -> Option<(&'a Participant, &'a Participant)> {
    match (a.kind(), b.kind()) {
        (ParticipantKind::Astrologer, ParticipantKind::Astrologer) => None,
        (ParticipantKind::Astrologer, _) => Some((a, b)),
        (_, ParticipantKind::Astrologer) => Some((b, a)),
        _ => None,
    }
}

fn is_in_scope(a: &Participant, b: &Participant, scope: &str) -> bool {
    other_than_the_astrologer(a, b).is_some_and(|(_, other)| match scope {
        "all" => true,
        "admin-astrologer" => other.kind() == ParticipantKind::Admin,
        _ => other.kind() == ParticipantKind::User,
    })
}

fn day_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(DAY_MS)
}

fn hour_of(at: Timestamp) -> usize {
    usize::try_from(at.as_millis().rem_euclid(DAY_MS) / 3_600_000).expect("0 to 23")
}

fn recount<'a>(world: &'a World, period_days: i64, scope: &str) -> Recount<'a> {
    let today = day_of(Timestamp::now());
    let days: Vec<i64> = (today - period_days + 1..=today).collect();
    let is_counted = |said: &&Said| !said.is_deleted && said.kind != MessageType::CallLog && days.contains(&day_of(said.at));
    let said = world.said.iter().filter(|said| is_in_scope(&said.from, &said.to, scope)).filter(is_counted).collect();
    let rang = world.rang.iter().filter(|rang| is_in_scope(&rang.from, &rang.to, scope) && days.contains(&day_of(rang.at))).collect();
    let active = world.opened.iter().filter(|(key, opened)| {
        let of_it = || world.said.iter().filter(|said| said.conversation == **key);
        is_in_scope(&opened.people[0], &opened.people[1], scope)
            && of_it().any(|said| !said.is_deleted)
            && of_it().map(|said| said.at).chain([opened.at]).any(|at| day_of(at) >= days[0])
    });
    Recount { said, rang, active: active.count(), days }
}

fn is_completed(rang: &Rang) -> bool {
    matches!(rang.went, Went::Completed | Went::AtOnce | Went::BothGone)
}

/// With one decimal, half up.
fn one_decimal(part: u64, of: u64) -> f64 {
    let twenty = (part * 20).checked_div(of).unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let tenths = twenty.div_ceil(2) as f64;
    tenths / 10.0
}

fn average_minutes<'a>(calls: impl Iterator<Item = &'a Rang>) -> f64 {
    let lasted: Vec<u64> =
        calls.filter(|rang| is_completed(rang) && rang.server_seconds > 0).map(|rang| rang.server_seconds.into()).collect();
    one_decimal(lasted.iter().sum(), lasted.len() as u64 * 60)
}

impl Recount<'_> {
    fn calls(&self, call_type: CallType) -> usize {
        self.rang.iter().filter(|rang| rang.call_type == call_type).count()
    }

    fn went(&self, which: &[Went]) -> usize {
        self.rang.iter().filter(|rang| which.contains(&rang.went)).count()
    }

    /// Messages, voice calls, video calls of those this holds for.
    fn sums(&self, of_said: impl Fn(&Said) -> bool, of_rang: impl Fn(&Rang) -> bool) -> [usize; 3] {
        let calls = |call_type| self.rang.iter().filter(|rang| rang.call_type == call_type && of_rang(rang)).count();
        [self.said.iter().filter(|said| of_said(said)).count(), calls(CallType::Voice), calls(CallType::Video)]
    }
}

fn date(day: i64) -> String {
    Timestamp::from_millis(day * DAY_MS).to_string()[..10].to_owned()
}

/// Checks every route against the recount.
async fn compare(server: &TestServer, world: &World, period: &str, period_days: i64) {
    for scope in SCOPES {
        let expected = recount(world, period_days, scope);
        let what = format!("{period} {scope}");
        let stats = ask(server, "communications/stats", period, scope).await;
        let (voice, video) = (expected.calls(CallType::Voice), expected.calls(CallType::Video));
        let wanted = json!({
            "totalMessages": expected.said.len(),
            "totalVoiceCalls": voice,
            "totalVideoCalls": video,
            "totalCommunications": expected.said.len() + voice + video,
            "activeConversations": expected.active,
            "completedCalls": expected.went(&[Went::Completed, Went::AtOnce, Went::BothGone]),
            "missedCalls": expected.went(&[Went::Missed]),
            "rejectedCalls": expected.went(&[Went::Declined, Went::Busy]),
        });
        for (name, value) in wanted.as_object().expect("an object") {
            assert_eq!(&stats[name], value, "{what}: {name} in {stats}");
        }
        assert_eq!(stats["avgCallDuration"].as_f64(), Some(average_minutes(expected.rang.iter().copied())), "{what}");
        assert_eq!(stats.as_object().expect("an object").len(), 9);

        let by_day = |day: i64| expected.sums(|said| day_of(said.at) == day, |rang| day_of(rang.at) == day);
        let row = |day: &i64| {
            let [m, voice, video] = by_day(*day);
            json!({ "date": date(*day), "messages": m, "voiceCalls": voice, "videoCalls": video, "total": m + voice + video })
        };
        let trends: Value = expected.days.iter().map(row).collect();
        assert_eq!(ask(server, "communications/trends", period, scope).await, trends, "{what}");
        let row = |day: &i64| {
            let [messages, voice, video] = by_day(*day);
            json!({ "date": date(*day), "messages": messages, "voice": voice, "video": video })
        };
        let trends: Value = expected.days.iter().map(row).collect();
        assert_eq!(ask(server, "analytics/communication-trends", period, scope).await, trends, "{what}");

        let row = |hour: usize| {
            let [m, voice, video] = expected.sums(|said| hour_of(said.at) == hour, |rang| hour_of(rang.at) == hour);
            json!({ "hour": hour, "messages": m, "voiceCalls": voice, "videoCalls": video, "total": m + voice + video })
        };
        let hours: Value = (0..24).map(row).collect();
        assert_eq!(ask(server, "communications/peak-hours", period, scope).await, hours, "{what}");

        let rates = ask(server, "communications/success-rates", period, scope).await;
        for (row, day) in rates.as_array().expect("a list").iter().zip(&expected.days) {
            let of_day: Vec<&&Rang> = expected.rang.iter().filter(|rang| day_of(rang.at) == *day).collect();
            let rate =
                |which: &[Went]| one_decimal(of_day.iter().filter(|r| which.contains(&r.went)).count() as u64 * 100, of_day.len() as u64);
            assert_eq!(row["date"], date(*day));
            for (name, which) in [
                ("completedRate", &[Went::Completed, Went::AtOnce, Went::BothGone][..]),
                ("missedRate", &[Went::Missed][..]),
                ("rejectedRate", &[Went::Declined, Went::Busy][..]),
            ] {
                assert_eq!(row[name].as_f64(), Some(rate(which)), "{what}: {name} in {row}");
            }
        }
        assert_eq!(rates.as_array().map(Vec::len), Some(expected.days.len()));
        compare_astrologers(server, &expected, period, scope).await;
    }
}

async fn compare_astrologers(server: &TestServer, expected: &Recount<'_>, period: &str, scope: &str) {
    let parties = expected.said.iter().map(|said| (&said.from, &said.to)).chain(expected.rang.iter().map(|rang| (&rang.from, &rang.to)));
    let everybody: BTreeSet<&Participant> = parties.filter_map(|(a, b)| Some(other_than_the_astrologer(a, b)?.0)).collect();
    let of = |who: &Participant| {
        let is_his = |a: &Participant, b: &Participant| a == who || b == who;
        expected.sums(|said| is_his(&said.from, &said.to), |rang| is_his(&rang.from, &rang.to))
    };
    let shown = |row: &Value| (row["astrologerId"].as_str().expect("an id").to_owned(), row.clone());
    let check_order = |rows: &Value, total: &dyn Fn(&Value) -> u64| {
        let totals: Vec<u64> = rows.as_array().expect("a list").iter().map(total).collect();
        assert!(totals.windows(2).all(|two| two[0] >= two[1]), "the largest first: {rows}");
    };
    // Who has a name is called by it wherever he said something himself.
    let called = |who: &Participant| name_of(who).unwrap_or_else(|| "Astrologer".into());
    let spoke = |who: &Participant| expected.said.iter().any(|said| said.from == *who) || of(who)[1] + of(who)[2] > 0;

    let rows = ask(server, "communications/astrologers", period, scope).await;
    check_order(&rows, &|row| row["total"].as_u64().expect("an integer"));
    let rows: BTreeMap<String, Value> = rows.as_array().expect("a list").iter().map(shown).collect();
    assert_eq!(rows.keys().map(String::as_str).collect::<BTreeSet<_>>(), everybody.iter().map(|who| who.id()).collect());
    for who in &everybody {
        let [messages, voice, video] = of(who);
        let mut row = rows[who.id()].clone();
        if spoke(who) {
            assert_eq!(row["astrologerName"], called(who));
        }
        row.as_object_mut().expect("an object").remove("astrologerName");
        let total = messages + voice + video;
        assert_eq!(
            row,
            json!({ "astrologerId": who.id(), "messages": messages, "voiceCalls": voice, "videoCalls": video, "total": total })
        );
    }

    let rows = ask(server, "communications/call-duration", period, scope).await;
    check_order(&rows, &|row| row["totalVoiceCalls"].as_u64().expect("an integer") + row["totalVideoCalls"].as_u64().expect("an integer"));
    let rows: BTreeMap<String, Value> = rows.as_array().expect("a list").iter().map(shown).collect();
    let callers: BTreeSet<&str> = everybody.iter().filter(|who| of(who)[1] + of(who)[2] > 0).map(|who| who.id()).collect();
    assert_eq!(rows.keys().map(String::as_str).collect::<BTreeSet<_>>(), callers);
    for who in everybody.iter().filter(|who| callers.contains(who.id())) {
        let [_, voice, video] = of(who);
        let row = &rows[who.id()];
        let average = |call_type| {
            let his = expected.rang.iter().copied().filter(|rang| rang.from == **who || rang.to == **who);
            average_minutes(his.filter(|rang| rang.call_type == call_type))
        };
        assert_eq!((&row["totalVoiceCalls"], &row["totalVideoCalls"]), (&json!(voice), &json!(video)), "{row}");
        assert_eq!(row["avgVoiceCallDuration"].as_f64(), Some(average(CallType::Voice)), "{row}");
        assert_eq!(row["avgVideoCallDuration"].as_f64(), Some(average(CallType::Video)), "{row}");
        assert_eq!(row["astrologerName"], called(who));
    }
}

/// A moment ago, but in any case of today, so that midnight does not pass between a deed and its recount.
async fn just_now() -> Timestamp {
    loop {
        let now = Timestamp::now();
        // A minute of today has passed and one is left.
        if (60_000..DAY_MS - 60_000).contains(&now.as_millis().rem_euclid(DAY_MS)) {
            return now.minus(Duration::from_secs(5));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn all_figures_equal_a_recount_of_what_was_done(store: Arc<dyn Store>, seed: u64) {
    let until = just_now().await;
    let mut world = World::new(store.clone(), seed, 45 * 24 * HOUR);
    world.live(450, until).await;
    assert!(world.said.len() > 150 && world.rang.len() > 100, "a world with something in it");
    let server = TestServer::start(store.clone()).await;
    for (period, days) in [("30d", 30), ("1d", 1), ("7d", 7), ("90d", 90), ("1y", 365), ("forever", 7)] {
        compare(&server, &world, period, days).await;
    }
    // Another server finds days that are kept already.
    let another = TestServer::start(store).await;
    compare(&another, &world, "90d", 90).await;
    another.stop().await;
}

async fn what_was_counted_before_is_counted_again_once_it_is_no_longer_true(store: Arc<dyn Store>, seed: u64) {
    let until = just_now().await;
    let mut world = World::new(store.clone(), seed, 12 * 24 * HOUR);
    world.live(200, until.minus(2 * HOUR)).await;
    let server = TestServer::start(store.clone()).await;
    compare(&server, &world, "30d", 30).await;

    // Some of every age, and at any time since: in kept days, yesterday and today. And what goes on today.
    for said in world.said.iter_mut().filter(|said| !said.is_deleted).step_by(3) {
        let pair = Pair::new(said.from.clone(), said.to.clone()).unwrap();
        let conversation = store.find_conversation(&Lookup::Key(pair.key())).await.unwrap().unwrap();
        let (by, recipient_key) = (conversation.person_key(&said.from), conversation.person_key(&said.to));
        let deletion = DeleteMessage { conversation: conversation.handle.clone(), message: said.id, by, recipient_key, at: until };
        store.delete_message(deletion).await.unwrap();
        said.is_deleted = true;
    }
    // From here on things happen as in life: what is stored was said just before.
    let until = just_now().await;
    world.pass_to(until.minus(Duration::from_secs(30)));
    world.live(60, until).await;
    // Another period, because an answer is given again for some seconds; the days in memory are the same.
    compare(&server, &world, "90d", 90).await;
    server.stop().await;
}

async fn a_day_is_kept_only_under_the_version_it_was_counted_at(store: Arc<dyn Store>, seed: u64) {
    let until = just_now().await;
    let mut world = World::new(store.clone(), seed, 10 * 24 * HOUR);
    world.live(120, until.minus(5 * 24 * HOUR)).await;
    let is_counted = |said: &&Said| !said.is_deleted && said.kind == MessageType::Text && is_in_scope(&said.from, &said.to, "all");
    let said = world.said.iter().find(is_counted).expect("one of many");
    let (day, today) = (Day::of(said.at), Day::of(Timestamp::now()));
    let version = async || {
        let versions = store.day_versions(day, day).await.unwrap();
        versions.first().map_or(0, |(_, version)| *version)
    };
    let before = version().await;
    let mut totals = DayTotals::default();
    totals.add_messages(store.tally_messages(day.start(), day.end()).await.unwrap());
    assert!(With::ALL.iter().any(|with| totals.hours[*with as usize].iter().any(|hour| hour.messages > 0)));
    let counted = |version| CountedDay { day, version, totals: totals.clone() };
    assert_eq!(store.kept_days(day, day).await.unwrap(), []);
    assert_eq!(store.keep_days(vec![counted(before)]).await.unwrap(), 1);
    assert_eq!(store.keep_days(vec![counted(before)]).await.unwrap(), 1, "again is no harm");
    assert_eq!(store.kept_days(day, day).await.unwrap(), [counted(before)]);
    assert_eq!(store.kept_days(Day::from_number(day.number() + 1), today).await.unwrap(), []);

    let conversation = store.find_conversation(&Lookup::Key(Pair::new(said.from.clone(), said.to.clone()).unwrap().key())).await.unwrap();
    let conversation = conversation.unwrap();
    let (by, recipient_key) = (conversation.person_key(&said.from), conversation.person_key(&said.to));
    let deletion = DeleteMessage { conversation: conversation.handle.clone(), message: said.id, by, recipient_key, at: until };
    store.delete_message(deletion).await.unwrap();
    assert!(version().await > before);
    assert_eq!(store.kept_days(day, day).await.unwrap(), []);
    assert_eq!(store.keep_days(vec![counted(before)]).await.unwrap(), 0, "counted before the deletion");
    assert_eq!(store.kept_days(day, day).await.unwrap(), []);
    assert_eq!(store.keep_days(vec![counted(version().await)]).await.unwrap(), 1);

    // A call of that time that still rings is over only now.
    let rang = world.rang.iter().find(|rang| matches!(rang.went, Went::Rings | Went::Talks));
    let rang = rang.expect("one of many");
    let day = Day::of(rang.at);
    let before = store.day_versions(day, day).await.unwrap();
    let change = CallChange { id: rang.id, from: CallStatus::ALL.to_vec(), to: CallStatus::Ended, end: None, at: until };
    store.transition_call(change).await.unwrap();
    assert_ne!(store.day_versions(day, day).await.unwrap(), before);
}

async fn an_empty_store_has_figures_too(store: Arc<dyn Store>) {
    just_now().await;
    let server = TestServer::start(store).await;
    for scope in SCOPES {
        let stats = ask(&server, "communications/stats", "30d", scope).await;
        assert!(stats.as_object().expect("an object").values().all(|figure| *figure == json!(0)), "{stats}");
        for (path, rows) in [("trends", 30), ("success-rates", 30), ("peak-hours", 24), ("astrologers", 0), ("call-duration", 0)] {
            let data = ask(&server, &format!("communications/{path}"), "30d", scope).await;
            assert_eq!(data.as_array().map(Vec::len), Some(rows), "{path}");
        }
    }
    server.stop().await;
}

const PATHS: [&str; 7] = [
    "communications/stats",
    "communications/trends",
    "communications/astrologers",
    "communications/call-duration",
    "communications/peak-hours",
    "communications/success-rates",
    "analytics/communication-trends",
];

async fn only_admins_see_figures(store: Arc<dyn Store>) {
    let server = TestServer::start(store).await;
    let astrologer = server.token(ParticipantKind::Astrologer, astrologer("a1").id());
    for path in PATHS.map(|path| format!("/api/admin/{path}")) {
        assert_eq!(request(&server.url, "GET", &path, None, None).await.0, 401);
        let wrong = send(&server.url, local(1), "GET", &path, &[("x-admin-key", "a key that is none")], "").await;
        assert_eq!((wrong.status, &wrong.json()["code"]), (401, &json!("auth.invalid")));
        assert_eq!(request(&server.url, "GET", &path, Some(&astrologer), None).await.0, 403);
        assert_eq!(request(&server.url, "GET", &path, Some(ADMIN_KEY), None).await.0, 200);
        // The dashboard signs its user out on 401 and 403, so nothing else may say so.
        let odd = send(&server.url, local(1), "GET", &format!("{path}?type=cats&period=%00"), &[("x-admin-key", ADMIN_KEY)], "").await;
        assert_eq!((odd.status, &odd.json()["code"]), (400, &json!("INVALID_PAYLOAD")));
    }
    server.stop().await;
}

async fn an_admin_signs_in_with_a_key(store: Arc<dyn Store>) {
    let server = TestServer::start_with(store, &[]).await;
    let login = async |body: Value| request(&server.url, "POST", "/api/admin/login", None, Some(&body)).await;
    let (status, body) = login(json!({ "adminKey": ADMIN_KEY })).await;
    assert_eq!((status, &body["data"]["authenticated"], &body["data"]["adminKey"]), (200, &json!(true), &json!(ADMIN_KEY)));
    assert!(Timestamp::parse(body["data"]["loginAt"].as_str().expect("a time")).is_some());
    assert_eq!(login(json!({})).await.1["code"], "INVALID_PAYLOAD");
    assert_eq!(login(json!({ "adminKey": 5 })).await.1["code"], "INVALID_PAYLOAD");
    let mut codes = BTreeSet::new();
    for _ in 0..30 {
        let (status, body) = login(json!({ "adminKey": "a guess" })).await;
        assert_eq!(status == 401, body["code"] == "auth.invalid");
        codes.insert(body["code"].as_str().expect("a code").to_owned());
    }
    assert!(codes.contains("RATE_LIMITED"), "who guesses is made to wait: {codes:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_the_node_backend_count_by_the_first_date_they_have() {
    let database = stores::fresh_database();
    let store = stores::mongodb(&database).await;
    let theirs = ::mongodb::Client::with_uri_str(stores::mongo_uri()).await.expect("a client").database(&database);
    let day = Day::from_number(20_000);
    let at = |hour: i64| bson::DateTime::from_millis(day.start().as_millis() + hour * 3_600_000 + 1);
    // An id of that time, each another one.
    let id = |hour: i64, n: u8| {
        let seconds = u32::try_from(at(hour).timestamp_millis() / 1_000).expect("in this century").to_be_bytes();
        let rest = [0, 0, 0, 0, 0, 0, 0, n];
        bson::oid::ObjectId::from_bytes([&seconds[..], &rest].concat().try_into().expect("twelve bytes"))
    };
    let expert = id(0, 99);
    let message = |hour: i64, n: u8, from: &str, to: &str| {
        doc! {
            "_id": id(hour, n), "senderId": expert, "senderType": from, "senderName": "An Expert", "recipientId": "u1", "recipientType": to,
            "recipientName": "A Client", "messageType": "text", "content": "hello",
        }
    };
    let with = |mut document: Document, more: Document| {
        document.extend(more);
        document
    };
    let (yesterday, ours, both_dates) = (at(-1), doc! { "createdAt": at(5) }, doc! { "timestamp": at(5), "createdAt": at(5) });
    let messages = [
        with(message(5, 1, "astrologer", "user"), ours.clone()),
        with(message(5, 2, "astrologer", "customer"), both_dates.clone()),
        with(message(5, 3, "astrologer", "user"), doc! { "timestamp": bson::Bson::Null, "createdAt": at(23), "isDeleted": false }),
        // The timestamp decides, and lies on the day before; the next one the other way round.
        with(message(0, 4, "astrologer", "user"), doc! { "timestamp": yesterday, "createdAt": at(0) }),
        with(message(0, 5, "astrologer", "admin"), doc! { "timestamp": at(0), "createdAt": yesterday }),
        with(message(5, 6, "astrologer", "astrologer"), ours.clone()),
        with(message(5, 7, "user", "admin"), ours.clone()),
        with(message(5, 8, "astrologer", "user"), with(ours.clone(), doc! { "isDeleted": true })),
        with(message(5, 9, "astrologer", "user"), with(ours.clone(), doc! { "messageType": "call_log" })),
    ];
    theirs.collection::<Document>("directmessages").insert_many(messages).await.expect("written");
    let mut tallies = store.tally_messages(day.start(), day.end()).await.expect("counted");
    tallies.sort_by_key(|tally| (tally.hour, tally.with));
    let found: Vec<_> = tallies.iter().map(|t| (t.hour, t.with, t.count)).collect();
    // `user` and `customer` may be told apart; they are added up.
    assert_eq!(found.iter().map(|(.., count)| count).sum::<u64>(), 4, "{found:?}");
    assert_eq!((found[0], found[found.len() - 1]), ((0, With::Admins, 1), (23, With::Users, 1)), "{found:?}");
    assert!(tallies.iter().all(|t| t.astrologer == expert.to_hex() && t.name.as_deref() == Some("An Expert")), "{tallies:?}");

    let call = |n: u8, more: Document| {
        let call = doc! {
            "_id": id(7, n), "callerId": "u1", "callerType": "user", "callerName": "A Client", "recipientId": expert, "recipientType": "astrologer",
            "recipientName": "An Expert", "callType": "video",
        };
        with(call, more)
    };
    let calls = [
        call(1, doc! { "startedAt": at(7), "acceptedAt": at(7), "status": "ended", "endReason": "completed", "duration": 61.0 }),
        call(
            2,
            doc! { "initiatedAt": at(7), "startedAt": yesterday, "status": "ended", "endReason": "completed", "serverDuration": 9, "duration": 50 },
        ),
        call(3, doc! { "createdAt": at(7), "status": "missed", "endReason": "timeout" }),
        call(4, doc! { "initiatedAt": yesterday, "startedAt": at(7), "status": "missed" }),
    ];
    theirs.collection::<Document>("calls").insert_many(calls).await.expect("written");
    let mut tallies = store.tally_calls(day.start(), day.end()).await.expect("counted");
    tallies.sort_by_key(|tally| tally.outcome);
    let found: Vec<_> = tallies.iter().map(|t| (t.hour, t.outcome, t.count, t.talked, t.seconds)).collect();
    assert_eq!(found, [(7, Outcome::Completed, 2, 2, 70), (7, Outcome::Missed, 1, 0, 0)]);
    assert!(tallies.iter().all(|t| t.call_type == CallType::Video && t.astrologer == expert.to_hex()), "{tallies:?}");
    stores::drop_database(&database).await;
}
