//! When somebody counts as come or gone: the rules alone, with a clock that can be turned.

use std::sync::Arc;
use std::time::Duration;

use samvad::auth::{CurrentUser, Verifier};
use samvad::delivery::{Connection, Departure, Origin};
use samvad::models::{Pair, Participant, ProcessId, Profile, Timestamp};
use samvad::services::{Core, Rules, Services};
use samvad::store::{NewConversation, Store};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::people::{astrologer, user};
use crate::support::recorder::Recorder;
use crate::support::stores;

/// One process on a store, with a paused clock.
struct House {
    services: Services,
    verifier: Verifier,
}

impl House {
    fn start(store: &Arc<dyn Store>) -> Self {
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
            rules: Rules::default(),
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
        std::thread::sleep(Duration::from_millis(3));
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
async fn a_crowd_is_told_in_a_few_events_and_many_visits_are_few_writes() {
    let (store, _folder) = stores::sqlite();
    let expert = astrologer("a1");
    let crowd: Vec<Participant> = (0..300).map(|n| user(&format!("u{n:03}"))).collect();
    for person in &crowd {
        talk(&store, person, &expert).await;
    }
    let house = House::start(&store);
    let (connection, ear) = house.come(&expert).await;
    pass(Duration::from_secs(2)).await;
    let mut sockets = Vec::new();
    for person in &crowd {
        sockets.push(house.come(person).await);
    }
    pass(Duration::from_secs(5)).await;
    let events: Vec<_> = ear.take().into_iter().filter(|(name, _)| name == "presence:changed").collect();
    let told: usize = events.iter().map(|(_, payload)| payload["changes"].as_array().expect("a list").len()).sum();
    assert_eq!(told, 300, "each once");
    assert!(events.len() <= 5, "{} events", events.len());
    // He talks with more than a hundred, and of these the last hundred hear of him.
    for (_, recorder) in &sockets {
        recorder.take();
    }
    house.leave(&connection);
    pass(Duration::from_secs(20)).await;
    let told = sockets.iter().filter(|(_, recorder)| heard(recorder) == ["a1 offline"]).count();
    assert_eq!(told, 100);
    house.stop().await;
}
