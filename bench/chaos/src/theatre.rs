//! What is done to servers, mongods and Redis in a round, and what they must do about it by themselves.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::house::{Database, Redis, Server};
use crate::line::ready;
use crate::person::now_ms;
use crate::stage::StoreKind;
use crate::tally::Tally;

/// How long everybody may take to be acknowledged after the last fault.
const SETTLE_WITHIN: Duration = Duration::from_secs(90);
/// How long `/ready` may say yes although the store is away.
const NOTICED_WITHIN: Duration = Duration::from_secs(4);
/// A write that mongod does not answer is given up after ten seconds, and a moment later its sender is told.
const MONGOD_GIVEN_UP_AFTER: Duration = Duration::from_secs(12);
/// A write that finds no room fails at once.
const FILE_GIVEN_UP_AFTER: Duration = Duration::from_secs(2);

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// `kill -9` of the server, or of one of them.
    KillServer,
    /// SIGTERM to the server, or one of them, which must end with code 0.
    TerminateServer,
    /// `kill -9` of mongod, or of the primary.
    KillMongod,
    /// `kill -9` of a server and a mongod at once.
    KillBoth,
    /// SIGSTOP of mongod, or of the primary, for seconds.
    PauseMongod,
    /// No file of the server may grow, for seconds: as on a full disk.
    FillStore,
    /// `kill -9` of Redis, which forgets everything; back after seconds.
    KillRedis,
    /// SIGSTOP of Redis, for seconds: no node hears another, and no connection is closed.
    PauseRedis,
}

impl Fault {
    /// Those of a store, in the order of the rounds.
    pub fn of(store: StoreKind) -> &'static [Self] {
        match store {
            StoreKind::Sqlite => &[Self::KillServer, Self::FillStore, Self::KillServer, Self::TerminateServer],
            StoreKind::Mongodb => &[Self::KillServer, Self::KillMongod, Self::PauseMongod, Self::KillBoth, Self::TerminateServer],
            StoreKind::Replicas => &[Self::KillMongod, Self::KillServer, Self::PauseMongod, Self::KillBoth],
            StoreKind::Nodes => &[
                Self::KillServer,
                Self::KillRedis,
                Self::TerminateServer,
                Self::PauseRedis,
                Self::KillBoth,
                Self::KillMongod,
                Self::PauseMongod,
            ],
            StoreKind::NodesAlone => &[Self::KillServer, Self::KillMongod, Self::TerminateServer, Self::KillBoth, Self::PauseMongod],
        }
    }
}

/// What may be away although every client must stay connected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    /// The only store: `/ready` has to say so.
    Store,
    /// One of several mongods, or Redis: `/ready` may go on.
    Helper,
}

/// The processes of a round and what was found wrong with them.
pub struct Theatre<'a> {
    pub servers: Vec<Server>,
    pub redis: Option<Redis>,
    pub database: Option<&'a mut Database>,
    pub rng: StdRng,
    pub wrong: Vec<String>,
    pub faults: Vec<Value>,
    pub tally: Arc<Tally>,
}

impl Theatre<'_> {
    /// Everybody is connected and caught up.
    pub async fn wait_for_all(&mut self, clients: u64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.tally.caught_up.load(Relaxed) < clients {
            if Instant::now() > deadline {
                self.wrong.push("not everybody was there and caught up within a minute".into());
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// All servers take writes, and hear each other.
    pub async fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.all_ready().await {
            if Instant::now() > deadline {
                self.wrong.push("/ready did not say 200 everywhere within a minute, or nodes did not hear each other".into());
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn all_ready(&self) -> bool {
        for server in &self.servers {
            let said = ready(server.port).await;
            let hears_others = self.redis.is_none() || (said.bus_up && said.other_nodes >= self.servers.len() as u64 - 1);
            if said.status != 200 || !hears_others {
                return false;
            }
        }
        true
    }

    /// Waits, does it once, puts right what does not come back by itself, processes, and waits until everybody is there again.
    pub async fn torment(&mut self, fault: Fault, after: Duration, clients: u64) {
        sleep(after).await;
        self.tally.back_ms.store(i64::MAX, Relaxed);
        self.tally.begin_outage();
        let without_store = self.strike(fault, after).await;
        self.wait_until_ready().await;
        self.tally.back_ms.store(now_ms(), Relaxed);
        // Everybody comes back by himself, catches up, and talks on.
        self.wait_for_all(clients).await;
        let outage = self.tally.end_outage();
        let given_up_after = if fault == Fault::FillStore { FILE_GIVEN_UP_AFTER } else { MONGOD_GIVEN_UP_AFTER };
        if without_store.is_some_and(|time| time > given_up_after) && outage.refused.is_empty() {
            self.wrong.push(format!("the store was away for {without_store:?} and no request was refused"));
        }
        let told = self.faults.last_mut().expect("struck");
        told["answers"] = json!(outage.answers);
        told["slowestMs"] = json!(outage.slowest.as_millis() as u64);
        told["refused"] = json!(outage.refused);
    }

    /// How long the only store was away, if it was that.
    async fn strike(&mut self, fault: Fault, after: Duration) -> Option<Duration> {
        let down = Duration::from_millis(self.rng.random_range(0..1_500));
        // Sometimes longer than the ten seconds after which a write is given up and its outcome unknown.
        let most = if fault == Fault::PauseMongod { 15_000 } else { 8_000 };
        let away = Duration::from_millis(self.rng.random_range(3_000..most));
        let ms = |time: Duration| time.as_millis() as u64;
        let mut told = json!({ "fault": format!("{fault:?}"), "afterMs": ms(after), "downMs": ms(down), "awayMs": ms(away) });
        let node = if self.servers.len() > 1 { self.rng.random_range(0..self.servers.len()) } else { 0 };
        if self.servers.len() > 1 {
            told["node"] = json!(node + 1);
        }
        self.faults.push(told);
        let victim = match &self.database {
            Some(database) => database.primary().await.unwrap_or(0),
            None => 0,
        };
        let without_mongod = match &self.database {
            Some(database) if database.members.len() > 1 => Away::Helper,
            _ => Away::Store,
        };
        match fault {
            Fault::KillServer => {
                self.servers[node].kill();
                sleep(down).await;
                self.servers[node].start();
            }
            Fault::TerminateServer => {
                let code = self.servers[node].terminate();
                if code != Some(0) {
                    self.wrong.push(format!("after SIGTERM the server ended with {code:?}"));
                }
                sleep(down).await;
                self.servers[node].start();
            }
            Fault::KillBoth => {
                self.servers[node].kill();
                self.database.as_mut().expect("a database").members[victim].kill();
                sleep(down).await;
                self.database.as_mut().expect("a database").revive();
                self.servers[node].start();
            }
            Fault::KillMongod => {
                self.database.as_mut().expect("a database").members[victim].kill();
                self.outlast(away, without_mongod).await;
                self.database.as_mut().expect("a database").revive();
            }
            Fault::PauseMongod => {
                self.database.as_mut().expect("a database").members[victim].pause();
                self.outlast(away, without_mongod).await;
                self.database.as_mut().expect("a database").revive();
            }
            Fault::FillStore => {
                // The log can grow no further than what it holds anyway; a checkpoint neither.
                self.servers[0].limit_files(Some(16 * 1024));
                self.outlast(away, Away::Store).await;
                self.servers[0].limit_files(None);
            }
            Fault::KillRedis => {
                self.redis.as_mut().expect("a Redis").kill();
                self.outlast(away, Away::Helper).await;
                for server in &self.servers {
                    if ready(server.port).await.bus_up {
                        self.wrong.push(format!("/ready says that Redis is there {away:?} after it was killed"));
                    }
                }
                self.redis.as_mut().expect("a Redis").start_again();
            }
            Fault::PauseRedis => {
                self.redis.as_ref().expect("a Redis").pause();
                self.outlast(away, Away::Helper).await;
                self.redis.as_ref().expect("a Redis").go_on();
            }
        }
        let mongod_away = matches!(fault, Fault::KillMongod | Fault::PauseMongod) && without_mongod == Away::Store;
        (mongod_away || fault == Fault::FillStore).then_some(away)
    }

    /// Something is away: the servers say so if it is their store, and keep their clients. Afterwards they must go on by themselves.
    async fn outlast(&mut self, time: Duration, away: Away) {
        let cuts = self.tally.cuts.load(Relaxed);
        let began = Instant::now();
        let ports: Vec<u16> = self.servers.iter().map(|server| server.port).collect();
        let mut noticed: Vec<Option<Duration>> = vec![None; ports.len()];
        let mut said_yes_again = false;
        while began.elapsed() < time {
            let asked = ports.iter().map(|port| async { (ready(*port).await.status, began.elapsed()) });
            for (noticed, (status, at)) in noticed.iter_mut().zip(join_all(asked).await) {
                if status == 503 {
                    noticed.get_or_insert(at);
                }
                said_yes_again |= status == 200 && noticed.is_some();
            }
            sleep(Duration::from_millis(100)).await;
        }
        let went_down = noticed.iter().any(Option::is_some);
        if away == Away::Store {
            // Who has not noticed yet has not had more time than this.
            let slowest = noticed.iter().map(|at| at.unwrap_or(began.elapsed())).max().unwrap_or_default();
            if slowest > NOTICED_WITHIN {
                self.wrong.push(format!("without its store /ready said 503 only after {slowest:?}, or never"));
            }
            if said_yes_again {
                self.wrong.push("/ready said 200 again although the store was still away".into());
            }
            self.faults.last_mut().expect("struck")["noticedMs"] = json!(slowest.as_millis() as u64);
        }
        // A replica set elects another primary meanwhile, so its /ready may do either.
        if away == Away::Helper && self.redis.is_some() && went_down {
            self.wrong.push("/ready said 503 while only Redis was away".into());
        }
        let lost = self.tally.cuts.load(Relaxed) - cuts;
        if lost > 0 {
            self.wrong.push(format!("{lost} clients were cut while only the store or Redis was away"));
        }
    }

    /// Until everybody has hung up.
    pub async fn wait_for_silence(&mut self, clients: u64) {
        let deadline = Instant::now() + SETTLE_WITHIN;
        while self.tally.hung_up.load(Relaxed) < clients {
            if Instant::now() > deadline {
                self.wrong.push("not everybody could hang up".into());
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Until everything that was begun is acknowledged and the server is ready.
    pub async fn settle(&mut self) {
        let deadline = Instant::now() + SETTLE_WITHIN;
        while self.tally.unsettled.load(Relaxed) > 0 || !self.all_ready().await {
            if Instant::now() > deadline {
                let left = self.tally.unsettled.load(Relaxed);
                self.wrong.push(format!("{left} sends are not acknowledged, all ready: {}", self.all_ready().await));
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}
