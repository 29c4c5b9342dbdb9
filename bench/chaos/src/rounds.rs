//! Rounds: two hundred clients talk while something is killed, paused or filled up; then everything is counted.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use samvad::auth::Verifier;
use samvad::models::{Participant, ParticipantKind};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::house::{Database, SECRET, Server};
use crate::line::{Transport, ready};
use crate::person::{Diary, Part, Phase, Tally, now_ms, play};
use crate::recount::{Place, compare, miscounts};

/// How long everybody may take to be acknowledged after the last fault.
const SETTLE_WITHIN: Duration = Duration::from_secs(90);
/// How long counters may take to be put right.
const REPAIR_WITHIN: Duration = Duration::from_secs(60);
/// How long `/ready` may say yes although the store is away.
const NOTICED_WITHIN: Duration = Duration::from_secs(4);
/// A call that nobody answers is missed after so long.
const RING_SECONDS: u64 = 3;

/// Which store is tormented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    Sqlite,
    Mongodb,
    /// Three mongods.
    Replicas,
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// `kill -9` of the server.
    KillServer,
    /// SIGTERM to the server, which must end with code 0.
    TerminateServer,
    /// `kill -9` of mongod, or of the primary.
    KillMongod,
    /// `kill -9` of both at once.
    KillBoth,
    /// SIGSTOP of mongod, or of the primary, for seconds.
    PauseMongod,
    /// No file of the server may grow, for seconds: as on a full disk.
    FillStore,
}

impl StoreKind {
    /// In the order of the rounds.
    fn faults(self) -> &'static [Fault] {
        match self {
            Self::Sqlite => &[Fault::KillServer, Fault::FillStore, Fault::KillServer, Fault::TerminateServer],
            Self::Mongodb => &[Fault::KillServer, Fault::KillMongod, Fault::PauseMongod, Fault::KillBoth, Fault::TerminateServer],
            Self::Replicas => &[Fault::KillMongod, Fault::KillServer, Fault::PauseMongod, Fault::KillBoth],
        }
    }
}

/// Where one run of the other modes happens.
#[derive(clap::Args, Clone)]
pub struct Stage {
    /// Which store.
    #[arg(long, value_enum)]
    pub store: StoreKind,
    /// The samvad binary.
    #[arg(long)]
    pub server: PathBuf,
    /// The mongod binary.
    #[arg(long)]
    pub mongod: Option<PathBuf>,
    /// Data and logs.
    #[arg(long)]
    pub dir: PathBuf,
}

/// The processes of one run.
pub struct House {
    pub server: Server,
    _database: Option<Database>,
}

impl Stage {
    pub fn store_name(&self) -> String {
        format!("{:?}", self.store)
    }

    /// A server that is not started yet, and an empty store.
    pub async fn set_up(&self, mut settings: Vec<(String, String)>) -> (House, Place) {
        raise_file_limit();
        let folder = self.dir.join(self.store_name().to_lowercase());
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let (database, place) = if self.store == StoreKind::Sqlite {
            (None, Place::Sqlite(folder.join("samvad.db")))
        } else {
            let binary = self.mongod.as_deref().expect("--mongod is needed for this store");
            let members = if self.store == StoreKind::Replicas { 3 } else { 1 };
            let database = Database::start(binary, &folder, members).await;
            settings.extend([("MONGODB_URI".to_owned(), database.uri.clone()), ("MONGODB_DB".to_owned(), "chaos".to_owned())]);
            let place = Place::Mongo { uri: database.uri.clone(), database: "chaos".to_owned() };
            (Some(database), place)
        };
        (House { server: Server::new(&self.server, &folder, settings), _database: database }, place)
    }
}

/// As many open files as we are allowed; the processes we start inherit it.
fn raise_file_limit() {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let hard = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().nth(1).map(str::to_owned));
    let Some(hard) = hard else { return };
    let own = std::process::id().to_string();
    let _ = std::process::Command::new("prlimit").args(["--pid", &own, &format!("--nofile={hard}:{hard}")]).status();
}

#[derive(clap::Args, Clone)]
pub struct Options {
    /// Which store.
    #[arg(long, value_enum)]
    pub store: StoreKind,
    /// Everything that is chosen comes from here and the round's number.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many rounds there are in all; those the results have already are left out.
    #[arg(long, default_value_t = 1)]
    pub rounds: u64,
    /// Only this one, again if need be.
    #[arg(long)]
    pub round: Option<u64>,
    /// Only this fault.
    #[arg(long, value_enum)]
    pub fault: Option<Fault>,
    /// Half of them users, half astrologers.
    #[arg(long, default_value_t = 200)]
    pub clients: usize,
    /// Seconds of talk around the faults.
    #[arg(long, default_value_t = 3)]
    pub seconds: u64,
    /// The samvad binary.
    #[arg(long)]
    pub server: PathBuf,
    /// The mongod binary.
    #[arg(long)]
    pub mongod: Option<PathBuf>,
    /// Data and logs; those of rounds that went well are deleted.
    #[arg(long)]
    pub dir: PathBuf,
    /// One JSON line for each round is added here.
    #[arg(long)]
    pub results: PathBuf,
}

/// Runs what is left to run. False if a round went wrong.
pub async fn run(options: Options) -> bool {
    std::fs::create_dir_all(&options.dir).expect("a folder");
    let done = done_rounds(&options);
    let mut database = None;
    let mut all_well = true;
    let rounds: Vec<u64> = options.round.map_or_else(|| (0..options.rounds).collect(), |round| vec![round]);
    for round in rounds {
        if options.round.is_none() && done.contains(&round) {
            continue;
        }
        if database.is_none() && options.store != StoreKind::Sqlite {
            let binary = options.mongod.as_deref().expect("--mongod is needed for this store");
            let members = if options.store == StoreKind::Replicas { 3 } else { 1 };
            database = Some(Database::start(binary, &options.dir, members).await);
        }
        let line = play_round(&options, round, database.as_mut()).await;
        let well = line["ok"] == true;
        let mut file = std::fs::File::options().create(true).append(true).open(&options.results).expect("a file of results");
        writeln!(file, "{line}").expect("written");
        eprintln!("{}", told(&line));
        all_well &= well;
    }
    all_well
}

fn done_rounds(options: &Options) -> Vec<u64> {
    let lines = std::fs::read_to_string(&options.results).unwrap_or_default();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = lines.filter(|line| line["seed"] == options.seed && line["store"] == format!("{:?}", options.store) && line["ok"] == true);
    ours.filter_map(|line| line["round"].as_u64()).collect()
}

fn told(line: &Value) -> String {
    let mut text = format!(
        "{} seed {} round {} {}: {} acknowledged, {} stored, {} repeated",
        line["store"].as_str().unwrap_or("?"),
        line["seed"],
        line["round"],
        line["fault"].as_str().unwrap_or("?"),
        line["acked"],
        line["stored"],
        line["late"],
    );
    let counts = ["lost", "doubled", "reordered", "miscounted", "callsWrong", "wrong"];
    for name in counts {
        let all = line[name].as_array().map_or(0, Vec::len);
        let _ = write!(text, ", {all} {name}");
        for one in line[name].as_array().into_iter().flatten().take(3) {
            let _ = write!(text, " [{}]", one.as_str().unwrap_or("?"));
        }
    }
    text
}

/// Who talks to whom.
pub fn cast(clients: usize, seed: u64, port: u16, tag: &str) -> Vec<Part> {
    let verifier = Verifier::new(SECRET, None);
    let mut parts = Vec::new();
    for pair in 0..clients / 2 {
        let (user, astrologer) = (format!("{tag}u{pair}"), format!("{tag}a{pair}"));
        let conversation = format!("user_{user}_{astrologer}");
        for (side, (kind, id)) in [(ParticipantKind::User, &user), (ParticipantKind::Astrologer, &astrologer)].into_iter().enumerate() {
            let person = Participant::new(kind, id).expect("legal");
            let (peer_kind, peer) = if side == 0 { ("astrologer", &astrologer) } else { ("user", &user) };
            parts.push(Part {
                port,
                seed: seed ^ (parts.len() as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                place: parts.len(),
                transport: Transport::Websocket,
                token: verifier.mint(&person, None, Duration::from_secs(4 * 3600)).expect("signs"),
                id: id.clone(),
                peer_kind,
                peer_id: peer.clone(),
                conversation: conversation.clone(),
                think_ms: Some((60, 400)),
                calls: side == 0 && pair % 10 == 0,
                reads: pair % 4 == 1,
                cut_ms: None,
            });
        }
    }
    parts
}

struct Theatre<'a> {
    server: Server,
    database: Option<&'a mut Database>,
    folder: PathBuf,
    rng: StdRng,
    wrong: Vec<String>,
    faults: Vec<Value>,
    tally: Arc<Tally>,
}

async fn play_round(options: &Options, round: u64, mut database: Option<&mut Database>) -> Value {
    let seed = options.seed.wrapping_mul(0x0100_0000_01b3).wrapping_add(round);
    let mut rng = StdRng::seed_from_u64(seed);
    let faults = options.store.faults();
    let fault = options.fault.unwrap_or(faults[usize::try_from(round).unwrap_or(0) % faults.len()]);
    let folder = options.dir.join(format!("{:?}-{}-{round}", options.store, options.seed).to_lowercase());
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let began = Instant::now();
    let mut settings = vec![("RING_TIMEOUT_SECONDS".to_owned(), RING_SECONDS.to_string())];
    let place = match &mut database {
        None => Place::Sqlite(folder.join("samvad.db")),
        Some(database) => {
            database.revive();
            database.wait().await;
            let name = format!("chaos_{}_{round}_{:08x}", options.seed, rand::random::<u32>());
            settings.extend([("MONGODB_URI".to_owned(), database.uri.clone()), ("MONGODB_DB".to_owned(), name.clone())]);
            Place::Mongo { uri: database.uri.clone(), database: name }
        }
    };
    let mut server = Server::new(&options.server, &folder, settings);
    server.start();
    let tally = Arc::new(Tally::default());
    let (phase, phases) = watch::channel(Phase::Load);
    let mut people = JoinSet::new();
    for part in cast(options.clients, seed, server.port, "") {
        people.spawn(play(part, Arc::clone(&tally), phases.clone()));
    }
    let mut theatre = Theatre {
        server,
        database,
        folder: folder.clone(),
        rng: StdRng::seed_from_u64(rng.random()),
        wrong: Vec::new(),
        faults: Vec::new(),
        tally: Arc::clone(&tally),
    };
    theatre.wait_for_all(options.clients as u64).await;

    let times = theatre.rng.random_range(1..=2);
    for _ in 0..times {
        let pause = theatre.rng.random_range(200..options.seconds * 400);
        sleep(Duration::from_millis(pause)).await;
        tally.back_ms.store(i64::MAX, Relaxed);
        theatre.strike(fault).await;
        theatre.wait_until_ready().await;
        tally.back_ms.store(now_ms(), Relaxed);
        // Everybody comes back by himself, catches up, and talks on.
        theatre.wait_for_all(options.clients as u64).await;
    }
    sleep(Duration::from_millis(options.seconds * 500)).await;
    phase.send_replace(Phase::Drain);
    theatre.settle().await;
    // What rings is missed, logs are written, and events arrive.
    sleep(Duration::from_secs(RING_SECONDS + 1)).await;
    phase.send_replace(Phase::HangUp);
    sleep(Duration::from_millis(1_500)).await;
    phase.send_replace(Phase::Final);
    let diaries: Vec<Diary> = people.join_all().await;
    let (shelf, repaired_ms) = theatre.repaired(&place).await;
    let findings = compare(&shelf, &diaries);
    let miscounted = miscounts(&shelf);
    let mut refusals: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    for (code, count) in diaries.iter().flat_map(|diary| &diary.refusals) {
        *refusals.entry(code).or_default() += count;
    }
    let wrong: Vec<String> = theatre.wrong.iter().cloned().chain(findings.wrong).collect();
    let ok = [&findings.lost, &findings.doubled, &findings.reordered, &findings.calls_wrong, &wrong, &miscounted]
        .iter()
        .all(|list| list.is_empty());
    if let (Place::Mongo { uri, database }, true) = (&place, ok)
        && let Ok(client) = mongodb::Client::with_uri_str(uri).await
    {
        let _ = client.database(database).drop().await;
    }
    let theatre_faults = std::mem::take(&mut theatre.faults);
    drop(theatre);
    if ok {
        let _ = std::fs::remove_dir_all(&folder);
    }
    let most = |list: Vec<String>| list.into_iter().take(50).collect::<Vec<_>>();
    json!({
        "store": format!("{:?}", options.store), "seed": options.seed, "round": round, "fault": format!("{fault:?}"), "ok": ok,
        "faults": theatre_faults, "clients": options.clients, "seconds": began.elapsed().as_secs(),
        "acked": findings.acked, "stored": findings.stored, "late": findings.late, "missedLive": findings.missed_live,
        "reconnects": diaries.iter().map(|d| d.reconnects).sum::<u64>(), "refusals": refusals,
        "slowestMs": diaries.iter().map(|d| d.slowest.as_millis()).max().unwrap_or(0) as u64, "repairedMs": repaired_ms,
        "calls": findings.calls,
        "lost": most(findings.lost), "doubled": most(findings.doubled), "reordered": most(findings.reordered),
        "callsWrong": most(findings.calls_wrong), "miscounted": most(miscounted), "wrong": most(wrong),
    })
}

impl Theatre<'_> {
    async fn wait_for_all(&mut self, clients: u64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.tally.caught_up.load(Relaxed) < clients {
            if Instant::now() > deadline {
                self.wrong.push("not everybody was there and caught up within a minute".into());
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while ready(self.server.port).await != 200 {
            if Instant::now() > deadline {
                self.wrong.push("/ready did not say 200 within a minute".into());
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn strike(&mut self, fault: Fault) {
        let down = Duration::from_millis(self.rng.random_range(0..1_500));
        // Sometimes longer than the ten seconds after which a write is given up and its outcome unknown.
        let most = if fault == Fault::PauseMongod { 15_000 } else { 8_000 };
        let away = Duration::from_millis(self.rng.random_range(3_000..most));
        self.faults.push(json!({ "fault": format!("{fault:?}"), "downMs": down.as_millis() as u64, "awayMs": away.as_millis() as u64 }));
        let victim = match &self.database {
            Some(database) => database.primary().await.unwrap_or(0),
            None => 0,
        };
        let several = self.database.as_ref().is_some_and(|database| database.members.len() > 1);
        match fault {
            Fault::KillServer => {
                self.server.kill();
                sleep(down).await;
                self.server.start();
            }
            Fault::TerminateServer => {
                let code = self.server.terminate();
                if code != Some(0) {
                    self.wrong.push(format!("after SIGTERM the server ended with {code:?}"));
                }
                sleep(down).await;
                self.server.start();
            }
            Fault::KillBoth => {
                self.server.kill();
                self.database.as_mut().expect("a database").members[victim].kill();
                sleep(down).await;
                self.database.as_mut().expect("a database").revive();
                self.server.start();
            }
            Fault::KillMongod => {
                self.database.as_mut().expect("a database").members[victim].kill();
                self.outlast(away, several).await;
                self.database.as_mut().expect("a database").revive();
            }
            Fault::PauseMongod => {
                self.database.as_mut().expect("a database").members[victim].pause();
                self.outlast(away, several).await;
                self.database.as_mut().expect("a database").revive();
            }
            Fault::FillStore => {
                // The log can grow no further than what it holds anyway; a checkpoint neither.
                self.server.limit_files(Some(16 * 1024));
                self.outlast(away, false).await;
                self.server.limit_files(None);
            }
        }
    }

    /// The store is away: the server says so and keeps its clients. Afterwards it must go on by itself.
    async fn outlast(&mut self, away: Duration, has_others: bool) {
        let cuts = self.tally.cuts.load(Relaxed);
        let began = Instant::now();
        let mut noticed = None;
        while began.elapsed() < away {
            if noticed.is_none() && ready(self.server.port).await == 503 {
                noticed = Some(began.elapsed());
            }
            sleep(Duration::from_millis(100)).await;
        }
        // A replica set elects another primary meanwhile.
        if !has_others && noticed.is_none() && away > NOTICED_WITHIN {
            self.wrong.push(format!("/ready did not say 503 within {away:?}"));
        }
        let lost = self.tally.cuts.load(Relaxed) - cuts;
        if lost > 0 {
            self.wrong.push(format!("{lost} clients were cut while only the store was away"));
        }
    }

    /// Until everything that was begun is acknowledged and the server is ready.
    async fn settle(&mut self) {
        let deadline = Instant::now() + SETTLE_WITHIN;
        while self.tally.unsettled.load(Relaxed) > 0 || ready(self.server.port).await != 200 {
            if Instant::now() > deadline {
                let left = self.tally.unsettled.load(Relaxed);
                self.wrong.push(format!("{left} sends are not acknowledged, /ready says {}", ready(self.server.port).await));
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The store as it is once its counters are right, and how long that took.
    async fn repaired(&mut self, place: &Place) -> (crate::recount::Shelf, u64) {
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

/// Prints what a file of results says, as markdown.
pub fn summary(file: &Path) {
    let lines = std::fs::read_to_string(file).expect("a file of results");
    let mut rows: std::collections::BTreeMap<(String, String), [u64; 12]> = std::collections::BTreeMap::new();
    for line in lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let text = |name: &str| line[name].as_str().unwrap_or("?").to_owned();
        let number = |name: &str| line[name].as_u64().unwrap_or(0);
        let count = |name: &str| line[name].as_array().map_or(0, |list| list.len() as u64);
        let row = rows.entry((text("store"), text("fault"))).or_default();
        let sums = [
            1,
            count("faults"),
            number("acked"),
            number("late"),
            count("lost"),
            count("doubled"),
            count("reordered"),
            count("miscounted"),
            number("calls"),
            count("callsWrong"),
            count("wrong"),
        ];
        for (sum, value) in row.iter_mut().zip(sums) {
            *sum += value;
        }
        row[11] = row[11].max(number("slowestMs"));
    }
    println!(
        "| Store | Fault | Rounds | Faults | Acknowledged | of these repeated | Lost | Doubled | Reordered | Miscounted | Calls | Calls wrong | Other faults | Slowest answer |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for ((store, fault), row) in rows {
        let cells: Vec<String> = row[..11].iter().map(u64::to_string).collect();
        println!("| {store} | {fault} | {} | {:.1} s |", cells.join(" | "), row[11] as f64 / 1000.0);
    }
}
