//! Rounds: two hundred clients talk while something is killed, paused or filled up; then everything is counted.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use samvad::auth::Verifier;
use samvad::models::{Participant, ParticipantKind};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::diary::Diary;
use crate::house::{Database, SECRET};
use crate::line::Transport;
use crate::person::{Part, Phase, play};
use crate::recount::{Place, compare, miscounts};
use crate::report::told;
use crate::stage::StoreKind;
use crate::tally::Tally;
use crate::theatre::{Fault, Theatre};

/// A call that nobody answers is missed after so long.
pub const RING_SECONDS: u64 = 3;

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
        if database.is_none() {
            database = options.store.database(options.mongod.as_deref(), &options.dir).await;
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

/// Who talks to whom.
pub fn cast(clients: usize, seed: u64, ports: &[u16], tag: &str) -> Vec<Part> {
    let verifier = Verifier::new(SECRET, None);
    let ports: Arc<[u16]> = ports.into();
    let mut parts = Vec::new();
    for pair in 0..clients / 2 {
        let (user, astrologer) = (format!("{tag}u{pair}"), format!("{tag}a{pair}"));
        let conversation = format!("user_{user}_{astrologer}");
        for (side, (kind, id)) in [(ParticipantKind::User, &user), (ParticipantKind::Astrologer, &astrologer)].into_iter().enumerate() {
            let person = Participant::new(kind, id).expect("legal");
            let (peer_kind, peer) = if side == 0 { ("astrologer", &astrologer) } else { ("user", &user) };
            parts.push(Part {
                ports: Arc::clone(&ports),
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

async fn play_round(options: &Options, round: u64, mut database: Option<&mut Database>) -> Value {
    let seed = options.seed.wrapping_mul(0x0100_0000_01b3).wrapping_add(round);
    let mut rng = StdRng::seed_from_u64(seed);
    let faults = Fault::of(options.store);
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
    let (mut servers, redis) = options.store.servers(&options.server, &folder, settings);
    for server in &mut servers {
        server.start();
    }
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let tally = Arc::new(Tally::default());
    let (phase, phases) = watch::channel(Phase::Load);
    let mut people = JoinSet::new();
    for part in cast(options.clients, seed, &ports, "") {
        people.spawn(play(part, Arc::clone(&tally), phases.clone()));
    }
    let mut theatre = Theatre {
        servers,
        redis,
        database,
        rng: StdRng::seed_from_u64(rng.random()),
        wrong: Vec::new(),
        faults: Vec::new(),
        tally: Arc::clone(&tally),
    };
    theatre.wait_for_all(options.clients as u64).await;

    let times = theatre.rng.random_range(1..=2);
    for _ in 0..times {
        let pause = theatre.rng.random_range(200..options.seconds * 400);
        theatre.torment(fault, Duration::from_millis(pause), options.clients as u64).await;
    }
    sleep(Duration::from_millis(options.seconds * 500)).await;
    phase.send_replace(Phase::Drain);
    theatre.settle().await;
    // What rings is missed, logs are written, and events arrive.
    sleep(Duration::from_secs(RING_SECONDS + 1)).await;
    phase.send_replace(Phase::HangUp);
    theatre.wait_for_silence(options.clients as u64).await;
    sleep(Duration::from_millis(1_500)).await;
    phase.send_replace(Phase::Final);
    let diaries: Vec<Diary> = people.join_all().await;
    let (shelf, repaired_ms) = place.repaired(options.store.nodes()).await;
    let findings = compare(&shelf, &diaries, options.store.nodes());
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
        "acked": findings.acked, "stored": findings.stored, "late": findings.late, "repeated": findings.repeated, "lostAnswers": findings.lost_answers,
        "heard": findings.heard, "orderChecked": findings.order_checked, "twiceChecked": findings.twice_checked, "histories": findings.histories,
        "refusedConnects": diaries.iter().flat_map(|d| d.refused_connects.values()).sum::<u64>(), "missedLive": findings.missed_live,
        "resyncs": diaries.iter().map(|d| d.resyncs).sum::<u64>(),
        "reconnects": diaries.iter().map(|d| d.reconnects).sum::<u64>(), "refusals": refusals,
        "slowestMs": diaries.iter().map(|d| d.slowest.as_millis()).max().unwrap_or(0) as u64, "repairedMs": repaired_ms,
        "calls": findings.calls, "rangAgain": findings.rang_again,
        "logsOutOfPlace": most(findings.logs_out_of_place),
        "lost": most(findings.lost), "doubled": most(findings.doubled), "reordered": most(findings.reordered),
        "callsWrong": most(findings.calls_wrong), "miscounted": most(miscounted), "wrong": most(wrong),
    })
}
