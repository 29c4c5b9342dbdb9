//! Bad links: everybody's line is cut every few seconds, over websocket and polling, and in the end everybody has everything.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::diary::Diary;
use crate::line::Transport;
use crate::person::{Phase, play};
use crate::recount::{compare, miscounts};
use crate::rounds::{RING_SECONDS, cast};
use crate::stage::Stage;
use crate::tally::Tally;

/// Nobody begins at once with everybody: a connection every so many milliseconds.
const APART_MS: u64 = 4;
/// How long it may take until everybody is there, beyond that; is acknowledged; has hung up.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    pub stage: Stage,
    #[arg(long, default_value_t = 1_000)]
    pub clients: usize,
    /// Seconds of talk and cuts, once everybody is there.
    #[arg(long, default_value_t = 12)]
    pub seconds: u64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs it. False if anybody lacks anything.
pub async fn run(options: Options) -> bool {
    let (mut stage, place) = options.stage.set_up(vec![("RING_TIMEOUT_SECONDS".to_owned(), RING_SECONDS.to_string())]).await;
    for server in &mut stage.servers {
        server.start();
    }
    let tally = Arc::new(Tally::default());
    let (phase, phases) = watch::channel(Phase::Arrive);
    let clients = options.clients as u64;
    let started = Instant::now();
    let mut people = JoinSet::new();
    for (n, mut part) in cast(options.clients, options.seed, &stage.ports(), "").into_iter().enumerate() {
        // In either direction a third of the pairs speaks over polling.
        part.transport = if n % 3 == 0 { Transport::Polling } else { Transport::Websocket };
        part.think_ms = Some((1_000, 4_000));
        part.cut_ms = Some((2_000, 6_000));
        part.reads = false;
        let (tally, phases) = (Arc::clone(&tally), phases.clone());
        people.spawn(async move {
            sleep(Duration::from_millis(APART_MS * n as u64)).await;
            play(part, tally, phases).await
        });
    }
    let starting = PATIENCE + Duration::from_millis(APART_MS * clients);
    let all_came = within(starting, || tally.caught_up.load(Relaxed) >= clients).await;
    let started_ms = started.elapsed().as_millis() as u64;
    phase.send_replace(Phase::Load);
    let began = Instant::now();
    sleep(Duration::from_secs(options.seconds)).await;
    phase.send_replace(Phase::Drain);
    let all_back = within(PATIENCE, || tally.unsettled.load(Relaxed) == 0 && tally.caught_up.load(Relaxed) >= clients).await;
    let cuts = tally.cuts.load(Relaxed);
    let seconds = began.elapsed().as_secs();
    // What rings is missed, and logs are written.
    sleep(Duration::from_secs(RING_SECONDS + 1)).await;
    phase.send_replace(Phase::HangUp);
    let all_silent = within(PATIENCE, || tally.hung_up.load(Relaxed) >= clients).await;
    sleep(Duration::from_millis(1_500)).await;
    phase.send_replace(Phase::Final);
    let diaries: Vec<Diary> = people.join_all().await;
    let nodes = options.stage.store.nodes();
    let (shelf, repaired_ms) = place.repaired(nodes).await;
    let expected: usize = diaries.iter().map(|d| shelf.rooms.get(&d.conversation).map_or(0, |room| room.messages.len())).sum();
    let findings = compare(&shelf, &diaries, nodes);
    let mut wrong = findings.wrong.clone();
    for (all, what) in [(all_came, "came"), (all_back, "was acknowledged and back"), (all_silent, "hung up")] {
        if !all {
            wrong.push(format!("not everybody {what} in time"));
        }
    }
    let missing = findings.lost.len();
    let line = json!({
        "mode": "jitter", "store": options.stage.store_name(), "clients": options.clients, "startedMs": started_ms, "seconds": seconds,
        "cuts": cuts, "cutAsking": diaries.iter().map(|d| d.cut_asking).sum::<u64>(),
        "pairs": options.clients / 2, "pairsThatTalked": findings.talked,
        "acked": findings.acked, "stored": findings.stored, "late": findings.late, "repeated": findings.repeated,
        "lostAnswers": findings.lost_answers, "heard": findings.heard, "orderChecked": findings.order_checked,
        "twiceChecked": findings.twice_checked, "histories": findings.histories, "calls": findings.calls, "rangAgain": findings.rang_again,
        "refusedConnects": diaries.iter().flat_map(|d| d.refused_connects.values()).sum::<u64>(), "repairedMs": repaired_ms,
        "entries": expected, "missing": missing, "missedLive": findings.missed_live,
        "delivery": if expected == 0 { 0.0 } else { 100.0 * (expected.saturating_sub(missing)) as f64 / expected as f64 },
        "slowestMs": diaries.iter().map(|d| d.slowest.as_millis()).max().unwrap_or(0) as u64,
        "doubled": first(&findings.doubled), "reordered": first(&findings.reordered), "lost": first(&findings.lost),
        "callsWrong": first(&findings.calls_wrong), "wrong": first(&wrong), "miscounted": first(&miscounts(&shelf)),
    });
    println!("{line}");
    missing == 0
        && expected > 0
        && ["doubled", "reordered", "callsWrong", "wrong", "miscounted"].iter().all(|name| line[*name] == json!([]))
}

/// False if it does not come true in that time.
async fn within(time: Duration, is_true: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while !is_true() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(50)).await;
    }
    true
}

fn first(list: &[String]) -> Value {
    json!(list.iter().take(20).collect::<Vec<_>>())
}
