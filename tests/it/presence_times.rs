//! When somebody counts as come or gone: the rules alone, with a clock that can be turned.

use std::sync::Arc;
use std::time::Duration;

use samvad::auth::{CurrentUser, Verifier};
use samvad::delivery::{Connection, Departure, Origin};
use samvad::models::{Device, DeviceKind, Pair, Participant, Platform, ProcessId, Profile, Timestamp};
use samvad::outside::Outside as Outlets;
use samvad::services::push::PushRules;
use samvad::services::{Core, Rules, Services};
use samvad::store::{NewConversation, Store};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::outside::Outside;
use crate::support::people::{admin, astrologer, user};
use crate::support::recorder::Recorder;
use crate::support::stores;
use crate::support::watched::{Watched, Written};

/// One process on a store, with a paused clock.
struct House {
    services: Services,
    verifier: Verifier,
}

impl House {
    fn start(store: &Arc<dyn Store>) -> Self {
        Self::start_with(store, Rules::default())
    }

    fn start_with(store: &Arc<dyn Store>, rules: Rules) -> Self {
        let began = tokio::time::Instant::now();
        let wall = Timestamp::now();
        let core = Core {
            process: ProcessId::random(),
            store: Arc::clone(store),
            delivery: Arc::default(),
            bus: None,
            metrics: Arc::default(),
            clock: Arc::new(move || wall.plus(began.elapsed())),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            rules,
        };
        Self { services: Services::start(core), verifier: Verifier::new("a secret of the tests", None) }
    }

    async fn as_user(&self, person: &Participant) -> CurrentUser {
        let token = self.verifier.mint(person, Some("A Name"), Duration::from_secs(365 * 86_400)).expect("signs");
        self.verifier.verify(&token).await.expect("its own token")
    }

    async fn come(&self, person: &Participant) -> (Arc<Connection>, Recorder) {
        let (connection, recorder) = Recorder::connection(person, Origin::default());
        self.services.came(&self.as_user(person).await, &connection);
        (connection, recorder)
    }

    fn leave(&self, connection: &Connection) {
        self.services.went(connection, Departure::Dropped);
    }

    async fn stop(self) {
        self.services.core().stop.cancel();
        self.services.core().tasks.close();
        self.services.core().tasks.wait().await;
    }
}

/// Lets this much time pass. The store has threads of its own, which a turned clock does not wait for.
async fn pass(time: Duration) {
    let step = Duration::from_millis(250);
    let mut left = time;
    while !left.is_zero() {
        tokio::time::sleep(step.min(left)).await;
        left = left.saturating_sub(step);
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn talk(store: &Arc<dyn Store>, a: &Participant, b: &Participant) {
    let new = NewConversation {
        pair: Pair::new(a.clone(), b.clone()).expect("two people"),
        profiles: [Profile::default(), Profile::default()],
        context_type: "general".into(),
        context_id: None,
        alias: None,
        at: Timestamp::now(),
    };
    store.open_conversation(new).await.expect("opened");
}

/// What was heard of others' coming and going, as `id online`.
fn heard(recorder: &Recorder) -> Vec<String> {
    let events = recorder.take().into_iter().filter(|(name, _)| name == "presence:changed");
    let changes = events.flat_map(|(_, payload)| payload["changes"].as_array().cloned().expect("a list"));
    let word = |value: &Value| value.as_str().expect("text").to_owned();
    changes.map(|change| format!("{} {}", word(&change["id"]), word(&change["presence"]))).collect()
}

const NOTHING: [String; 0] = [];

#[tokio::test(start_paused = true)]
async fn a_short_absence_is_none_and_a_longer_one_is_told_once() {
    let (store, _folder) = stores::sqlite();
    let (client, expert) = (user("u1"), astrologer("a1"));
    talk(&store, &client, &expert).await;
    let house = House::start(&store);
    let (_here, ear) = house.come(&client).await;
    let (first, _) = house.come(&expert).await;
    pass(Duration::from_secs(3)).await;
    assert_eq!(heard(&ear), ["a1 online"]);
    for _ in 0..10 {
        // A lift, a tunnel, another phone.
        let (second, _) = house.come(&expert).await;
        house.leave(&second);
    }
    house.leave(&first);
    pass(Duration::from_secs(14)).await;
    let (second, _) = house.come(&expert).await;
    pass(Duration::from_secs(60)).await;
    assert_eq!(heard(&ear), NOTHING, "back within the grace");
    house.leave(&second);
    pass(Duration::from_secs(14)).await;
    assert_eq!(heard(&ear), NOTHING);
    pass(Duration::from_secs(4)).await;
    assert_eq!(heard(&ear), ["a1 offline"]);
    pass(Duration::from_secs(120)).await;
    assert_eq!(heard(&ear), NOTHING);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_after_a_restart_was_never_away_and_who_does_not_is_told_to_be_gone() {
    let (store, _folder) = stores::sqlite();
    let (client, stays, leaves) = (user("u1"), astrologer("a1"), astrologer("a2"));
    talk(&store, &client, &stays).await;
    talk(&store, &client, &leaves).await;
    let house = House::start(&store);
    for person in [&client, &stays, &leaves] {
        house.come(person).await;
    }
    pass(Duration::from_secs(8)).await;
    // It ends without a word; the next one is a new process on the same store.
    house.stop().await;
    let house = House::start(&store);
    let (_here, ear) = house.come(&client).await;
    let (_stays, _) = house.come(&stays).await;
    pass(Duration::from_secs(10)).await;
    assert_eq!(heard(&ear), NOTHING, "nobody was told that anybody had gone");
    pass(Duration::from_secs(50)).await;
    assert_eq!(heard(&ear), ["a2 offline"]);
    let asker = house.as_user(&client).await;
    let wanted = [&stays, &leaves].map(|person| samvad::services::presence_changes::Wanted::Person(person.clone()));
    let known = house.services.presence().get(&asker, &wanted).await.expect("known");
    assert_eq!(known.iter().map(|one| one.is_online).collect::<Vec<_>>(), [true, false]);
    assert!(known[1].last_seen.is_some());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crowd_is_told_in_a_few_events_and_written_in_a_few_commands() {
    let (store, _folder) = stores::sqlite();
    let watched = Arc::new(Watched::new(store));
    let store: Arc<dyn Store> = watched.clone();
    let expert = astrologer("a1");
    let crowd: Vec<Participant> = (0..300).map(|n| user(&format!("u{n:03}"))).collect();
    for person in &crowd {
        talk(&store, person, &expert).await;
    }
    let house = House::start(&store);
    let (connection, ear) = house.come(&expert).await;
    pass(Duration::from_secs(2)).await;
    assert_eq!(watched.presence_written(), Written { commands: 1, here: 1, gone: 0 });
    let mut sockets = Vec::new();
    for person in &crowd {
        sockets.push(house.come(person).await);
    }
    let (mut events, mut told) = (Vec::new(), 0);
    // On a busy machine the store's threads fall behind the turned clock.
    for _ in 0..60 {
        pass(Duration::from_secs(1)).await;
        events.extend(ear.take().into_iter().filter(|(name, _)| name == "presence:changed"));
        told = events.iter().map(|(_, payload)| payload["changes"].as_array().expect("a list").len()).sum();
        if told >= 300 {
            break;
        }
    }
    assert_eq!(told, 300, "each once");
    assert!(events.len() <= 5, "{} events", events.len());
    let written = watched.presence_written();
    assert_eq!((written.here, written.gone), (301, 0), "each once");
    assert!(written.commands <= 6, "{written:?}");
    // He talks with more than a hundred, and of these the last hundred hear of him.
    for (_, recorder) in &sockets {
        recorder.take();
    }
    house.leave(&connection);
    pass(Duration::from_secs(20)).await;
    let told = sockets.iter().filter(|(_, recorder)| heard(recorder) == ["a1 offline"]).count();
    assert_eq!(told, 100);
    let after = watched.presence_written();
    assert_eq!((after.commands - written.commands, after.here, after.gone), (1, 301, 1));
    // All of them leave at once.
    for (connection, _) in &sockets {
        house.leave(connection);
    }
    // On a busy machine the store's threads fall behind the turned clock.
    for _ in 0..60 {
        pass(Duration::from_secs(1)).await;
        if watched.presence_written().gone >= 301 {
            break;
        }
    }
    let last = watched.presence_written();
    assert_eq!((last.here, last.gone), (301, 301), "a visit is two writes");
    assert!(last.commands - after.commands <= 5, "{last:?}");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn many_visits_are_few_writes() {
    let (store, _folder) = stores::sqlite();
    let watched = Arc::new(Watched::new(store));
    let store: Arc<dyn Store> = watched.clone();
    let house = House::start(&store);
    let expert = astrologer("a1");
    // Away for less than the grace, again and again: he never left.
    for _ in 0..30 {
        let (connection, _) = house.come(&expert).await;
        pass(Duration::from_secs(3)).await;
        house.leave(&connection);
        pass(Duration::from_secs(9)).await;
    }
    assert_eq!(watched.presence_written(), Written { commands: 1, here: 1, gone: 0 });
    pass(Duration::from_secs(90)).await;
    assert_eq!(watched.presence_written(), Written { commands: 2, here: 1, gone: 1 });
    // Twenty visits in twelve minutes, each of them over before the next: of a minute one visit is written.
    for _ in 0..20 {
        let (connection, _) = house.come(&expert).await;
        pass(Duration::from_secs(10)).await;
        house.leave(&connection);
        pass(Duration::from_secs(26)).await;
    }
    pass(Duration::from_secs(90)).await;
    let written = watched.presence_written();
    assert!(written.here - 1 <= 13 && written.gone - 1 <= 13, "{written:?} for 20 visits");
    assert!(written.gone >= 2, "{written:?}: what came last is known");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_astrologer_who_left_while_no_admin_was_there_is_followed_all_the_same() {
    let (store, _folder) = stores::sqlite();
    // Nothing is sent: it only counts that something could be.
    let outside = Outlets { fcm: Some(Outside::start().await.sender()), ..Outlets::default() };
    let house = House::start_with(&store, Rules { push: PushRules { outside, ..PushRules::default() }, ..Rules::default() });
    let with = astrologer("with");
    let device = Device {
        token: "phone-of-with".into(),
        kind: DeviceKind::Fcm,
        owner: with.clone(),
        platform: Platform::Android,
        registered_at: Timestamp::now(),
    };
    store.register_device(device).await.expect("kept");
    let (connection, _) = house.come(&with).await;
    pass(Duration::from_secs(3)).await;
    house.leave(&connection);
    pass(Duration::from_secs(25)).await;
    let (_support, ear) = house.come(&admin("admin")).await;
    assert_eq!(statuses(&ear, 1).await, NOTHING, "nothing has changed since");
    assert!(store.unregister_device(&with, "phone-of-with").await.expect("forgotten"));
    assert_eq!(statuses(&ear, 1).await, ["with false offline"]);
    house.stop().await;
}

/// What an admin is told of astrologers within two minutes, as `id isOnline presence`, sorted; no longer than until there are so many.
async fn statuses(recorder: &Recorder, count: usize) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut told = Vec::new();
    for _ in 0..120 {
        pass(Duration::from_secs(1)).await;
        let events = recorder.take().into_iter().filter(|(name, _)| name == "astrologer:status_changed");
        told.extend(events.map(|(_, s)| format!("{} {} {}", text(&s["astrologerId"]), s["isOnline"], text(&s["presence"]))));
        if told.len() >= count {
            break;
        }
    }
    told.sort();
    told
}

#[tokio::test(start_paused = true)]
async fn to_admins_an_astrologer_is_online_as_long_as_his_phone_can_be_reached() {
    let (store, _folder) = stores::sqlite();
    // Nothing is sent: it only counts that something could be.
    let outside = Outlets { fcm: Some(Outside::start().await.sender()), ..Outlets::default() };
    let pushes = Rules { push: PushRules { outside, ..PushRules::default() }, ..Rules::default() };
    for (rules, is_reached) in [(pushes, true), (Rules::default(), false)] {
        let house = House::start_with(&store, rules);
        let (with, without) = (astrologer("with"), astrologer("without"));
        let device = Device {
            token: "phone-of-with".into(),
            kind: DeviceKind::Fcm,
            owner: with.clone(),
            platform: Platform::Android,
            registered_at: Timestamp::now(),
        };
        store.register_device(device).await.expect("kept");
        let (_support, ear) = house.come(&admin("admin")).await;
        let sockets = [house.come(&with).await, house.come(&without).await];
        assert_eq!(statuses(&ear, 2).await, ["with true online", "without true online"]);
        for (connection, _) in &sockets {
            house.leave(connection);
        }
        assert_eq!(statuses(&ear, 2).await, [format!("with {is_reached} offline"), "without false offline".to_owned()]);
        assert_eq!(statuses(&ear, 1).await, NOTHING, "nothing has changed");
        // He signs out on his phone, or Google says that it is gone.
        assert!(store.unregister_device(&with, "phone-of-with").await.expect("forgotten"));
        let expected = if is_reached { vec!["with false offline"] } else { Vec::new() };
        assert_eq!(statuses(&ear, 1).await, expected);
        house.stop().await;
    }
}
