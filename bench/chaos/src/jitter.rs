//! Bad links: everybody's line is cut every few seconds, over websocket and polling, and in the end everybody has everything.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::line::Transport;
use crate::person::{Diary, Phase, Tally, play};
use crate::recount::{LiveOrder, compare, miscounts};
use crate::rounds::cast;
use crate::stage::Stage;

#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    pub stage: Stage,
    #[arg(long, default_value_t = 1_000)]
    pub clients: usize,
    /// Seconds of talk and cuts.
    #[arg(long, default_value_t = 12)]
    pub seconds: u64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs it. False if anybody lacks anything.
pub async fn run(options: Options) -> bool {
    let (mut stage, place) = options.stage.set_up(Vec::new()).await;
    for server in &mut stage.servers {
        server.start();
    }
    let tally = Arc::new(Tally::default());
    let (phase, phases) = watch::channel(Phase::Load);
    let mut people = JoinSet::new();
    for (n, mut part) in cast(options.clients, options.seed, &stage.ports(), "").into_iter().enumerate() {
        // In either direction a third of the pairs speaks over polling.
        part.transport = if n % 3 == 0 { Transport::Polling } else { Transport::Websocket };
        part.think_ms = Some((1_000, 4_000));
        part.cut_ms = Some((2_000, 6_000));
        (part.calls, part.reads) = (false, false);
        let (tally, phases) = (Arc::clone(&tally), phases.clone());
        people.spawn(async move {
            // Nobody begins at once with everybody.
            sleep(Duration::from_millis(4 * n as u64)).await;
            play(part, tally, phases).await
        });
    }
    let began = Instant::now();
    sleep(Duration::from_secs(options.seconds)).await;
    phase.send_replace(Phase::Drain);
    let deadline = Instant::now() + Duration::from_secs(120);
    while tally.unsettled.load(Relaxed) > 0 || tally.caught_up.load(Relaxed) < options.clients as u64 {
        if Instant::now() > deadline {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let cuts = tally.cuts.load(Relaxed);
    sleep(Duration::from_secs(2)).await;
    phase.send_replace(Phase::Final);
    let diaries: Vec<Diary> = people.join_all().await;
    let shelf = place.read().await.expect("the store can be read");
    let expected: usize = diaries.iter().map(|d| shelf.rooms.get(&d.conversation).map_or(0, |room| room.messages.len())).sum();
    let order = if options.stage.store.has_several_nodes() { LiveOrder::OfEachSender } else { LiveOrder::OfAll };
    let findings = compare(&shelf, &diaries, order);
    let missing = findings.lost.len();
    let line = json!({
        "mode": "jitter", "store": options.stage.store_name(), "clients": options.clients, "seconds": began.elapsed().as_secs(), "cuts": cuts,
        "acked": findings.acked, "stored": findings.stored, "histories": expected, "missing": missing, "missedLive": findings.missed_live,
        "delivery": if expected == 0 { 0.0 } else { 100.0 * (expected.saturating_sub(missing)) as f64 / expected as f64 },
        "slowestMs": diaries.iter().map(|d| d.slowest.as_millis()).max().unwrap_or(0) as u64,
        "doubled": first(&findings.doubled), "reordered": first(&findings.reordered), "lost": first(&findings.lost),
        "wrong": first(&findings.wrong), "miscounted": first(&miscounts(&shelf)),
    });
    println!("{line}");
    missing == 0 && expected > 0 && ["doubled", "reordered", "wrong"].iter().all(|name| line[*name] == json!([]))
}

fn first(list: &[String]) -> Value {
    json!(list.iter().take(20).collect::<Vec<_>>())
}
