//! Mode `connect`: a storm of sign-ins. Each connection is closed as soon as it is signed in, and the next begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use clap::Args;
use tokio::task::JoinSet;

use crate::histogram::Histogram;
use crate::people::{Cast, Pairs};
use crate::report::{Problem, Report, shown};
use crate::session::{Door, Session};
use crate::stage::{Common, Window};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// How many different people sign in, over and over.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    people: u32,
}

/// What all workers share.
struct Storm {
    door: Door,
    tokens: Vec<String>,
    window: Window,
    turn: AtomicU64,
    signed_in: AtomicU64,
    latency: Histogram,
}

/// Runs the mode; `--connecting` is how many sign in at the same time.
pub async fn run(options: Options) -> Result<Report, Problem> {
    let common = &options.common;
    common.check(common.connecting)?;
    let cast = Cast::new(&common.jwt_secret, Pairs::User);
    let mut tokens = Vec::with_capacity(options.people as usize + 1);
    for index in 0..(options.people as usize).div_ceil(2) {
        tokens.extend(cast.pair(index)?.sides.map(|person| person.token));
    }
    // Always spread: closed connections keep their port for a minute, and one address would run out of ports within seconds.
    let door = Door { spread: true, ..common.door(1024) };
    let storm = Arc::new(Storm {
        door,
        tokens,
        window: Window::after_warmup(common),
        turn: 0.into(),
        signed_in: 0.into(),
        latency: Histogram::new(),
    });
    let mut workers = JoinSet::new();
    for _ in 0..common.connecting {
        workers.spawn(storm_on(storm.clone()));
    }
    let used = storm.window.measure(&common.meter()).await;
    let failures: Vec<Problem> = workers.join_all().await.into_iter().flatten().collect();

    let signed_in = storm.signed_in.load(Relaxed);
    let per_second = signed_in as f64 / common.seconds as f64;
    let mut report = Report::new("connect", common);
    report.put("connecting", common.connecting);
    report.put_number("sign_ins_per_s", Some(per_second));
    report.put("sign_in_ms", storm.latency.summary());
    report.put_cpu(used, signed_in);
    report.put("first_failure", failures.first().cloned());
    report.put_fault("workers_failed", failures.len() as u64);
    if signed_in == 0 {
        report.fault("nobody signed in within the window".to_owned());
    }
    report.say(&format!(
        " {} at a time: {per_second:.0} sign-ins/s; p50 {:.2} p99 {:.2} ms; CPU s: server {}, load {}",
        common.connecting,
        storm.latency.quantile_ms(0.5),
        storm.latency.quantile_ms(0.99),
        shown(used.server),
        shown(used.load),
    ));
    if let Some(failure) = failures.first() {
        report.say(&format!("; first failure: {failure}"));
    }
    Ok(report)
}

/// Signs in again and again until the window closes; ends early, with the reason, at the first failure.
async fn storm_on(storm: Arc<Storm>) -> Option<Problem> {
    while Instant::now() < storm.window.closes {
        let turn = storm.turn.fetch_add(1, Relaxed) as usize;
        let began = Instant::now();
        match Session::sign_in(storm.door, turn, &storm.tokens[turn % storm.tokens.len()]).await {
            Ok(session) => {
                if storm.window.contains(Instant::now()) {
                    storm.signed_in.fetch_add(1, Relaxed);
                }
                if storm.window.contains(began) {
                    storm.latency.record(began.elapsed());
                }
                session.leave().await;
            }
            Err(failure) => return Some(failure),
        }
    }
    None
}
