//! A server process under the test's own clock: the real services on a runtime of their own, so that dropping the runtime is a
//! death without a last word.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use samvad::auth::{CurrentUser, Verifier};
use samvad::delivery::{Connection, Departure, Origin};
use samvad::models::{Participant, Timestamp};
use samvad::services::{Core, Rules, Services};
use samvad::store::Store;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call_model::state::{SOCKETS, Socket, of};
use crate::support::recorder::Recorder;
use crate::support::watched::Watched;

/// How long, in real time, the server may take over anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often everybody is asked in vain before it counts as quiet; every round lets every task run that can.
const QUIET_ROUNDS: usize = 12;

/// A running server and the sockets at it.
pub struct Process {
    runtime: Runtime,
    pub services: Services,
    pub store: Arc<Watched>,
    began: Instant,
    /// Wall clock at the beginning, plus every jump of it since.
    wall_ms: Arc<AtomicI64>,
    /// How far the test has moved the clock.
    moved: Duration,
    sockets: [[Option<Seated>; SOCKETS]; 2],
}

/// A socket that is connected, and what it hears.
type Seated = (Arc<Connection>, Recorder);

/// Who takes part.
pub struct People {
    pub users: [CurrentUser; 2],
}

impl People {
    /// A caller and a callee nobody else uses.
    pub fn of_trace(number: u64) -> Self {
        let verifier = Verifier::new("a secret of the replay", None);
        let user = |person: Participant| {
            // The clock of the replay runs years ahead.
            let token = verifier.mint(&person, Some("A Name"), Duration::from_secs(20 * 365 * 86_400)).expect("signs");
            futures_util::FutureExt::now_or_never(verifier.verify(&token)).expect("a secret waits for nothing").expect("its own token")
        };
        let people = [crate::support::people::user(&format!("u{number}")), crate::support::people::astrologer(&format!("a{number}"))];
        Self { users: people.map(user) }
    }

    pub fn of(&self, socket: Socket) -> &CurrentUser {
        &self.users[of(socket.side)]
    }
}

impl Process {
    /// Starts one at this moment of the wall clock; these sockets come before it has looked at its store.
    pub fn start(store: Arc<dyn Store>, wall_ms: i64, people: &People, early: impl IntoIterator<Item = Socket>) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let store = Arc::new(Watched::new(store));
        let wall_ms = Arc::new(AtomicI64::new(wall_ms));
        let (services, began) = {
            let _inside = runtime.enter();
            let (began, wall_ms) = (Instant::now(), wall_ms.clone());
            let elapsed = move || i64::try_from(began.elapsed().as_millis()).expect("a short test");
            let core = Core {
                process: samvad::models::ProcessId::random(),
                store: store.clone(),
                delivery: Arc::default(),
                bus: None,
                metrics: Arc::default(),
                clock: Arc::new(move || Timestamp::from_millis(wall_ms.load(Ordering::SeqCst) + elapsed())),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
                rules: Rules::default(),
            };
            (Services::start(core), began)
        };
        let mut process = Self { runtime, services, store, began, wall_ms, moved: Duration::ZERO, sockets: Default::default() };
        for socket in early {
            let connection = process.seat(people, socket);
            let _inside = process.runtime.enter();
            process.services.came(people.of(socket), &connection);
        }
        process.run(async {});
        process
    }

    /// The wall clock now.
    pub fn now_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst) + i64::try_from(self.moved.as_millis()).expect("a short test")
    }

    /// Does this, and waits until nobody has anything left to do but to wait for the clock. `None` if it is not done then.
    pub fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let result = self.runtime.block_on(async {
            let mut work = tokio::spawn(work);
            self.be_quiet().await;
            (&mut work).now_or_never().map(|done| done.expect("it does not panic"))
        });
        // A paused clock moves by itself when everybody sleeps; `be_quiet` never does.
        assert_eq!(self.runtime.block_on(async { self.began.elapsed() }), self.moved, "the clock moves only by our hand");
        result
    }

    async fn be_quiet(&self) {
        let limit = std::time::Instant::now() + PATIENCE;
        let (mut last, mut quiet) = (None, 0);
        while quiet < QUIET_ROUNDS {
            tokio::task::yield_now().await;
            let now = self.store.at_rest();
            quiet = if now.is_some() && now == last { quiet + 1 } else { 0 };
            last = now;
            if now.is_none() {
                // The store answers from a thread of its own.
                std::thread::sleep(Duration::from_micros(20));
            }
            assert!(std::time::Instant::now() < limit, "the server does not come to rest");
        }
    }

    /// Moves the clock.
    pub fn advance_to(&mut self, wall_ms: i64) {
        let by = Duration::from_millis(u64::try_from(wall_ms - self.now_ms()).expect("time goes forward"));
        self.runtime.block_on(tokio::time::advance(by));
        self.moved += by;
        self.run(async {});
    }

    /// Sets the wall clock forward, as an administrator would; nobody who sleeps wakes up from it.
    pub fn jump_to(&self, wall_ms: i64) {
        self.wall_ms.fetch_add(wall_ms - self.now_ms(), Ordering::SeqCst);
    }

    /// A socket comes.
    pub fn connect(&mut self, people: &People, socket: Socket) {
        let (services, connection, user) = (self.services.clone(), self.seat(people, socket), people.of(socket).clone());
        self.run(async move { services.came(&user, &connection) });
    }

    fn seat(&mut self, people: &People, socket: Socket) -> Arc<Connection> {
        // The first two sockets are of one browser.
        let address = IpAddr::from([10, 0, 0, if socket.number < 2 { 1 } else { 2 }]);
        let origin = Origin { address: Some(address), agent: "Mozilla/5.0".into() };
        let (connection, recorder) = Recorder::connection(people.of(socket).participant(), origin);
        self.sockets[of(socket.side)][socket.number] = Some((connection.clone(), recorder));
        connection
    }

    /// A socket goes.
    pub fn disconnect(&mut self, socket: Socket) {
        let (connection, _) = self.sockets[of(socket.side)][socket.number].take().expect("it is connected");
        let services = self.services.clone();
        self.run(async move { services.went(&connection, Departure::Dropped) });
    }

    pub fn connection(&self, socket: Socket) -> Option<Arc<Connection>> {
        self.sockets[of(socket.side)][socket.number].as_ref().map(|(connection, _)| connection.clone())
    }

    /// Takes what a socket has heard of the call; who else is there is not its business.
    pub fn heard_by(&self, socket: Socket) -> Vec<(String, Value)> {
        let heard = self.sockets[of(socket.side)][socket.number].as_ref().map(|(_, recorder)| recorder.take()).unwrap_or_default();
        heard.into_iter().filter(|(name, _)| name != "presence:changed").collect()
    }

    /// Ends it as SIGTERM would; the store is closed.
    pub fn stop(self) {
        self.runtime.block_on(self.services.close());
    }

    /// Ends it in the middle of whatever it does.
    pub fn die(self) {
        self.runtime.shutdown_background();
    }
}
