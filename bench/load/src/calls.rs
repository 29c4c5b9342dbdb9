//! Mode `calls`: the user of each pair calls the astrologer, who accepts, and hangs up; then at once the next call of that pair.
//!
//! Both sockets of a pair belong to one task. What is due, and what is wrong with what came, is decided in `cycle`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cycle::{CALLEE, CALLER, Cycle, STEPS, Tally};
use crate::histogram::Histogram;
use crate::people::{Cast, Pairs, Person};
use crate::proc::Reading;
use crate::report::{Problem, Report, shown};
use crate::session::Session;
use crate::stage::{Common, Progress, Window, set_up};
use crate::wire::{self, Frame};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// How many pairs of user and astrologer; the user of each calls, one call at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=9000))]
    callers: u32,
}

/// What all pairs of a run share.
struct Hall {
    window: Window,
    /// Counts whole calls: begun, and over or given up.
    progress: Progress,
    /// Calls that were over within the window.
    over_in_window: AtomicU64,
    /// `dm:message_received` at either side: the call logs.
    logs: AtomicU64,
    /// From the write of each request to the event at the other side.
    to_event: [Histogram; STEPS.len()],
    /// From the write of `call:initiate` to the last event or answer of the call.
    cycle: Histogram,
}

/// One pair: its sockets, and the call under way between them.
struct Line {
    sessions: [Session; 2],
    callee: Person,
    hall: Arc<Hall>,
    cycle: Cycle,
}

/// Runs the mode.
pub async fn run(options: Options) -> Result<Report, Problem> {
    let common = &options.common;
    common.check(u64::from(options.callers) * 2)?;
    let cast = Cast::new(&common.jwt_secret, Pairs::User);
    let pairs = set_up(common, options.callers as usize, |index| sign_in(common, &cast, index)).await?;
    let hall = Arc::new(Hall {
        window: Window::after_warmup(common),
        progress: Progress::default(),
        over_in_window: 0.into(),
        logs: 0.into(),
        to_event: STEPS.map(|_| Histogram::new()),
        cycle: Histogram::new(),
    });
    let (stop, stopped) = watch::channel(false);
    let mut lines = JoinSet::new();
    for (sessions, callee) in pairs {
        lines.spawn(Line { sessions, callee, hall: hall.clone(), cycle: Cycle::default() }.run(stopped.clone()));
    }
    let used = hall.window.measure(&common.meter()).await;
    let rss = common.meter().server.rss_kib();
    hall.progress.settle(Duration::from_secs(common.grace)).await;
    // A line that was disconnected has stopped already.
    let _ = stop.send(true);
    Ok(report(&options, &hall, &Tally::sum(lines.join_all().await), used, rss))
}

async fn sign_in(common: &Common, cast: &Cast, index: usize) -> Result<([Session; 2], Person), Problem> {
    let [caller, callee] = cast.pair(index)?.sides;
    let sessions = [
        Session::sign_in(common.door(16 * 1024), index * 2, &caller.token).await?,
        Session::sign_in(common.door(16 * 1024), index * 2 + 1, &callee.token).await?,
    ];
    Ok((sessions, callee))
}

impl Line {
    /// Calls until the window closes, finishes the call that is under way, and listens until told to stop or disconnected.
    async fn run(mut self, mut stop: watch::Receiver<bool>) -> Tally {
        self.begin().await;
        while self.cycle.tally.disconnected == 0 {
            let [caller, callee] = &mut self.sessions;
            let (side, text) = tokio::select! {
                _ = stop.changed() => break,
                text = caller.next() => (CALLER, text),
                text = callee.next() => (CALLEE, text),
            };
            let Some(text) = text else {
                self.cycle.tally.disconnected += 1;
                break;
            };
            self.take(side, &text).await;
            while let Some(text) = self.sessions[side].next_ready() {
                self.take(side, &text).await;
            }
        }
        self.cycle.close()
    }

    async fn begin(&mut self) {
        if Instant::now() < self.hall.window.closes {
            self.hall.progress.sent.fetch_add(1, Relaxed);
            self.ask(0).await;
        }
    }

    async fn ask(&mut self, step: usize) {
        let ack_id = self.cycle.ask(step, Instant::now());
        let frame = match step {
            0 => wire::initiate(ack_id, &self.callee.id, self.callee.kind),
            1 => wire::accept(ack_id, self.cycle.id()),
            _ => wire::end(ack_id, self.cycle.id()),
        };
        let session = &mut self.sessions[STEPS[step].asker];
        if session.feed(frame).await.is_err() || session.flush().await.is_err() {
            self.cycle.tally.disconnected = 1;
        }
    }

    async fn take(&mut self, side: usize, text: &str) {
        match wire::read(text) {
            Frame::Ack { id, body } => {
                if !self.cycle.answered(side, id, body) {
                    self.hall.progress.answered.fetch_add(1, Relaxed);
                }
            }
            Frame::Event { name: "dm:message_received", .. } => {
                self.hall.logs.fetch_add(1, Relaxed);
            }
            Frame::Event { name, body } => {
                let Some((step, asked)) = self.cycle.hear(side, name, body) else { return };
                if self.hall.window.contains(asked) {
                    self.hall.to_event[step].record(asked.elapsed());
                }
                if step + 1 < STEPS.len() {
                    self.ask(step + 1).await;
                }
            }
            Frame::Closed => self.cycle.tally.disconnected = 1,
            _ => return,
        }
        if self.cycle.finish() {
            self.finished();
            self.begin().await;
        }
    }

    fn finished(&self) {
        let (now, hall) = (Instant::now(), &self.hall);
        hall.progress.answered.fetch_add(1, Relaxed);
        if hall.window.contains(now) {
            hall.over_in_window.fetch_add(1, Relaxed);
        }
        if let Some(begun) = self.cycle.begun_at().filter(|begun| hall.window.contains(*begun)) {
            hall.cycle.record(now - begun);
        }
    }
}

fn report(options: &Options, hall: &Hall, tally: &Tally, used: Reading, rss: Option<f64>) -> Report {
    let common = &options.common;
    let over = hall.over_in_window.load(Relaxed);
    let per_second = over as f64 / common.seconds as f64;
    let mut report = Report::new("calls", common);
    report.put("callers", options.callers);
    report.put_number("calls_per_s", Some(per_second));
    for (name, histogram) in ["incoming_ms", "accepted_ms", "ended_ms"].into_iter().zip(&hall.to_event) {
        report.put(name, histogram.summary());
    }
    report.put("cycle_ms", hall.cycle.summary());
    report.put_cpu(used, over);
    report.put_number("server_rss_mib", rss.map(|kib| kib / 1024.0));

    report.put("begun", tally.begun);
    report.put("over", tally.over);
    report.put("call_logs", hall.logs.load(Relaxed));
    report.put("refusals", json!(tally.refusals));
    report.put_fault("refused", tally.refused);
    report.put_fault("lost", tally.lost);
    report.put_fault("doubled", tally.doubled);
    report.put_fault("other_call", tally.other_call);
    report.put_fault("unexpected", tally.unexpected);
    report.put_fault("unanswered", tally.unanswered);
    report.put_fault("disconnected", tally.disconnected);
    if over == 0 {
        report.fault("no call was over in the window".to_owned());
    }

    let [incoming, accepted, ended] = &hall.to_event;
    let shown_ms = |histogram: &Histogram| format!("p50 {:.2} p99 {:.2} ms", histogram.quantile_ms(0.5), histogram.quantile_ms(0.99));
    let cpu = |seconds: Option<f64>| shown(seconds.filter(|_| over > 0).map(|s| s * 1000.0 / over as f64));
    report.say(&format!(
        " {} callers: {per_second:.0} calls/s; incoming {}, accepted {}, ended {}, cycle {}; \
         CPU s per 1,000: server {}, mongod {}, load {}; {} over, {} refused",
        options.callers,
        shown_ms(incoming),
        shown_ms(accepted),
        shown_ms(ended),
        shown_ms(&hall.cycle),
        cpu(used.server),
        cpu(used.mongod),
        cpu(used.load),
        tally.over,
        tally.refused,
    ));
    report
}
