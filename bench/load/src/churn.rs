//! Mode `churn`: pairs sign in, join, exchange messages and leave, over and over, while the server's memory is watched.
//!
//! The people are few and come again: what the server keeps of them it may keep, so what still grows after the first minutes is a leak.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::people::{Cast, Pairs};
use crate::proc::Processes;
use crate::report::{Problem, Report, shown};
use crate::session::Session;
use crate::stage::Common;
use crate::wire::{self, Frame};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// How many pairs are there at the same time.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pairs: u32,
    /// How many pairs there are in all.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    people: u32,
    /// Messages a pair exchanges before it leaves.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    messages: u32,
    /// Milliseconds between two messages of a pair: so many people are not in a hurry, and the store does not fill up.
    #[arg(long, default_value_t = 100)]
    pause_ms: u64,
    /// Seconds from the start after which memory is compared.
    #[arg(long, default_value_t = 300)]
    settle: u64,
}

/// A message that takes longer to be heard counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// What all pairs share.
struct Crowd {
    options: Options,
    cast: Cast,
    ends: Instant,
    turn: AtomicU64,
    visits: AtomicU64,
    messages: AtomicU64,
}

/// Runs the mode; `--seconds` is its whole length, there is no warm-up.
pub async fn run(options: Options) -> Result<Report, Problem> {
    let common = options.common.clone();
    common.check(u64::from(options.pairs) * 2)?;
    if options.settle >= common.seconds {
        return Err("--settle must be shorter than --seconds".to_owned());
    }
    let begun = Instant::now();
    let crowd = Arc::new(Crowd {
        cast: Cast::new(&common.jwt_secret, Pairs::User),
        ends: begun + Duration::from_secs(common.seconds),
        options,
        turn: 0.into(),
        visits: 0.into(),
        messages: 0.into(),
    });
    let meter = common.meter();
    let before = meter.read();
    let watch = tokio::spawn(watch_memory(meter.server.clone(), begun, crowd.ends));
    let mut pairs = JoinSet::new();
    for _ in 0..crowd.options.pairs {
        let crowd = crowd.clone();
        pairs.spawn(async move { crowd.come_and_go().await });
    }
    let failures: Vec<Problem> = pairs.join_all().await.into_iter().filter_map(Result::err).collect();
    let used = meter.read().since(before);
    let samples = watch.await.map_err(|e| format!("watching memory failed: {e}"))?;
    let settled = samples.iter().find(|(second, _)| *second >= crowd.options.settle).map(|(_, mib)| *mib);
    let last = samples.last().map(|(_, mib)| *mib);
    let growth = settled.zip(last).map(|(settled, last)| (last / settled - 1.0) * 100.0);

    let (visits, messages) = (crowd.visits.load(Relaxed), crowd.messages.load(Relaxed));
    let mut report = Report::new("churn", &common);
    report.put("pairs", crowd.options.pairs);
    report.put("people", crowd.options.people);
    report.put("settle", crowd.options.settle);
    report.put("visits", visits);
    report.put("messages", messages);
    report.put_number("rss_settled_mib", settled);
    report.put_number("rss_end_mib", last);
    report.put_number("growth_percent", growth);
    report.put("rss_mib", json!(samples));
    report.put_cpu(used, messages);
    report.put("first_failure", failures.first().cloned());
    report.put_fault("pairs_failed", failures.len() as u64);
    if visits == 0 {
        report.fault("nobody came and left".to_owned());
    }
    report.say(&format!(
        " {visits} visits, {messages} messages in {} s: {} MiB after {} s, {} at the end ({} %)",
        common.seconds,
        shown(settled),
        crowd.options.settle,
        shown(last),
        shown(growth),
    ));
    if let Some(failure) = failures.first() {
        report.say(&format!("; first failure: {failure}"));
    }
    Ok(report)
}

/// Seconds since the start and MiB, every ten seconds and at the end.
async fn watch_memory(server: Processes, begun: Instant, ends: Instant) -> Vec<(u64, f64)> {
    let mut samples = Vec::new();
    loop {
        let now = Instant::now();
        if let Some(kib) = server.rss_kib() {
            samples.push(((now - begun).as_secs(), (kib / 10.24).round() / 100.0));
        }
        if now >= ends {
            return samples;
        }
        tokio::time::sleep_until((now + SAMPLE_EVERY).min(ends).into()).await;
    }
}

impl Crowd {
    /// One pair after the other until the time is over; ends early at the first failure.
    async fn come_and_go(&self) -> Result<(), Problem> {
        while Instant::now() < self.ends {
            let turn = self.turn.fetch_add(1, Relaxed) as usize;
            self.visit(turn).await?;
            self.visits.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    async fn visit(&self, turn: usize) -> Result<(), Problem> {
        let pair = self.cast.pair(turn % self.options.people as usize)?;
        // Always spread: closed connections keep their port for a minute.
        let mut door = self.options.common.door(4096);
        door.spread = true;
        let mut talker = Session::sign_in(door, turn * 2, &pair.sides[0].token).await?;
        let mut listener = Session::sign_in(door, turn * 2 + 1, &pair.sides[1].token).await?;
        talker.join(&pair.conversation).await?;
        listener.join(&pair.conversation).await?;
        let head = wire::send_head(&pair.conversation, &pair.sides[1].id, pair.sides[1].kind);
        for number in 0..self.options.messages {
            let note = format!("{turn}.{number}.");
            talker.ask(format!("420{head}{note} How are you today?\"}}]")).await?;
            timeout(PATIENCE, hear(&mut listener, &note)).await.map_err(|_| format!("message {note} was lost"))??;
            self.messages.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_millis(self.options.pause_ms)).await;
        }
        talker.leave().await;
        listener.leave().await;
        Ok(())
    }
}

/// Waits for the message that begins with `note`.
async fn hear(session: &mut Session, note: &str) -> Result<(), Problem> {
    loop {
        let text = session.next().await.ok_or("closed by the server")?;
        if let Frame::Event { name: "dm:message_received", body } = wire::read(&text)
            && wire::text_after(body, "\"content\":\"").is_some_and(|content| content.starts_with(note))
        {
            return Ok(());
        }
    }
}
