//! What is done to servers, mongods and Redis in a round, and what they must do about it by themselves.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::house::{Database, Redis, Server};
use crate::line::ready;
use crate::person::Tally;
use crate::recount::{Place, Shelf, miscounts};
use crate::stage::StoreKind;

/// How long everybody may take to be acknowledged after the last fault.
const SETTLE_WITHIN: Duration = Duration::from_secs(90);
/// How long counters may take to be put right.
const REPAIR_WITHIN: Duration = Duration::from_secs(60);
/// How long `/ready` may say yes although the store is away.
const NOTICED_WITHIN: Duration = Duration::from_secs(4);

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
    pub folder: PathBuf,
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
            let hears_others = self.servers.len() == 1 || (said.bus_up && said.other_nodes >= self.servers.len() as u64 - 1);
            if said.status != 200 || !hears_others {
                return false;
            }
        }
        true
    }

    /// Does it once, and puts right what does not come back by itself: processes.
    pub async fn strike(&mut self, fault: Fault) {
        let down = Duration::from_millis(self.rng.random_range(0..1_500));
        // Sometimes longer than the ten seconds after which a write is given up and its outcome unknown.
        let most = if fault == Fault::PauseMongod { 15_000 } else { 8_000 };
        let away = Duration::from_millis(self.rng.random_range(3_000..most));
        let mut told = json!({ "fault": format!("{fault:?}"), "downMs": down.as_millis() as u64, "awayMs": away.as_millis() as u64 });
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
    }

    /// Something is away: the servers say so if it is their store, and keep their clients. Afterwards they must go on by themselves.
    async fn outlast(&mut self, time: Duration, away: Away) {
        let cuts = self.tally.cuts.load(Relaxed);
        let began = Instant::now();
        let mut silent: Vec<u16> = self.servers.iter().map(|server| server.port).collect();
        let mut went_down = false;
        while began.elapsed() < time {
            for port in silent.clone() {
                if ready(port).await.status == 503 {
                    silent.retain(|one| *one != port);
                    went_down = true;
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
        if away == Away::Store && !silent.is_empty() && time > NOTICED_WITHIN {
            self.wrong.push(format!("/ready did not say 503 everywhere within {time:?}"));
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

    /// The store as it is once its counters are right, and how long that took.
    pub async fn repaired(&mut self, place: &Place) -> (Shelf, u64) {
        let began = Instant::now();
        loop {
            match place.read().await {
                Ok(shelf) => {
                    let open = shelf.calls.values().any(|(status, open)| *open || matches!(status.as_str(), "initiated" | "ringing"));
                    let settled = miscounts(&shelf).is_empty() && !open;
                    if settled || began.elapsed() > REPAIR_WITHIN {
                        return (shelf, u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
                    }
                }
                Err(e) if began.elapsed() > REPAIR_WITHIN => panic!("the store in {} cannot be read: {e}", self.folder.display()),
                Err(_) => {}
            }
            sleep(Duration::from_millis(300)).await;
        }
    }
}
