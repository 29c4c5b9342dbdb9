//! Mode `typing`: one side of each pair starts and stops typing as fast as answers come; the other side counts what is relayed.
//!
//! Starts and stops alternate because a server may hold back a second start, but relays one after a stop at once. Each moment of sending
//! goes through a queue to the listener, in order: what is left in the queue at the end was lost, what comes without one was doubled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::histogram::Histogram;
use crate::people::{Cast, Pair, Pairs};
use crate::report::{Problem, Report, shown};
use crate::session::Session;
use crate::stage::{Common, Progress, Window, set_up};
use crate::wire::{self, Frame};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// How many pairs; one side of each sends.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=9000))]
    senders: u32,
    /// Indicators under way at a time, per sender.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    outstanding: u32,
}

/// What all sockets of a run share.
struct Hall {
    window: Window,
    progress: Progress,
    /// `dm:typing_*` heard within the window, and all four spellings.
    relayed: AtomicU64,
    events: AtomicU64,
    refused: AtomicU64,
    doubled: AtomicU64,
    out_of_order: AtomicU64,
    disconnected: AtomicU64,
    latency: Histogram,
}

/// When a start (true) or a stop was sent.
type Sent = (bool, Instant);

/// Runs the mode.
pub async fn run(options: Options) -> Result<Report, Problem> {
    let common = &options.common;
    common.check(u64::from(options.senders) * 2)?;
    let cast = Cast::new(&common.jwt_secret, Pairs::User);
    let pairs = set_up(common, options.senders as usize, |index| join(common, &cast, index)).await?;
    let hall = Arc::new(Hall {
        window: Window::after_warmup(common),
        progress: Progress::default(),
        relayed: 0.into(),
        events: 0.into(),
        refused: 0.into(),
        doubled: 0.into(),
        out_of_order: 0.into(),
        disconnected: 0.into(),
        latency: Histogram::new(),
    });
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for (pair, [talker, listener]) in pairs {
        let (sent, heard) = mpsc::unbounded_channel();
        let frames = ["dm:typing_start", "dm:typing_stop"].map(|event| wire::typing(event, &pair.conversation, &pair.sides[0].id));
        tasks.spawn(talk(talker, frames, sent, options.outstanding, hall.clone(), stopped.clone()));
        tasks.spawn(listen(listener, heard, hall.clone(), stopped.clone()));
    }
    let used = hall.window.measure(&common.meter()).await;
    hall.progress.settle(Duration::from_secs(common.grace)).await;
    let _ = stop.send(true);
    tasks.join_all().await;

    let mut report = Report::new("typing", common);
    let (relayed, events) = (hall.relayed.load(Relaxed), hall.events.load(Relaxed));
    let per_second = |count: u64| count as f64 / common.seconds as f64;
    let [sent, answered, promised, heard] =
        [&hall.progress.sent, &hall.progress.answered, &hall.progress.promised, &hall.progress.heard].map(|count| count.load(Relaxed));
    report.put("senders", options.senders);
    report.put("outstanding", options.outstanding);
    report.put_number("relayed_per_s", Some(per_second(relayed)));
    report.put_number("events_per_s", Some(per_second(events)));
    report.put("peer_ms", hall.latency.summary());
    report.put_cpu(used, relayed);
    report.put("sent", sent);
    report.put("refused", hall.refused.load(Relaxed));
    report.put_fault("lost", promised.saturating_sub(heard));
    report.put_fault("doubled", hall.doubled.load(Relaxed));
    report.put_fault("out_of_order", hall.out_of_order.load(Relaxed));
    report.put_fault("unanswered", sent - answered);
    report.put_fault("disconnected", hall.disconnected.load(Relaxed));
    if relayed == 0 {
        report.fault("nothing was relayed in the window".to_owned());
    }
    report.say(&format!(
        " {} senders x {}: {:.0}/s relayed ({:.0} events/s); p50 {:.2} p99 {:.2} ms; CPU s: server {}, load {}",
        options.senders,
        options.outstanding,
        per_second(relayed),
        per_second(events),
        hall.latency.quantile_ms(0.5),
        hall.latency.quantile_ms(0.99),
        shown(used.server),
        shown(used.load),
    ));
    Ok(report)
}

async fn join(common: &Common, cast: &Cast, index: usize) -> Result<(Pair, [Session; 2]), Problem> {
    let pair = cast.pair(index)?;
    let mut sessions = [
        Session::sign_in(common.door(16 * 1024), index * 2, &pair.sides[0].token).await?,
        Session::sign_in(common.door(16 * 1024), index * 2 + 1, &pair.sides[1].token).await?,
    ];
    // Typing is silence until somebody has written.
    let peer = &pair.sides[1];
    let first = format!("420{}Hello\"}}]", wire::send_head(&pair.conversation, &peer.id, peer.kind));
    sessions[0].ask(first).await?;
    for session in &mut sessions {
        session.join(&pair.conversation).await?;
    }
    Ok((pair, sessions))
}

async fn talk(
    mut session: Session,
    frames: [String; 2],
    queue: mpsc::UnboundedSender<Sent>,
    outstanding: u32,
    hall: Arc<Hall>,
    mut stop: watch::Receiver<bool>,
) {
    let (mut number, mut credit) = (0_usize, outstanding);
    loop {
        // After the window at most one more: a start that is still open is stopped, so that no expiry of the server's comes into the count.
        while credit > 0 && (Instant::now() < hall.window.closes || number % 2 == 1) {
            let frame = format!("42{}{}", number + 1, frames[number % 2]);
            // The listener ends only with the run.
            let _ = queue.send((number.is_multiple_of(2), Instant::now()));
            number += 1;
            credit -= 1;
            hall.progress.sent.fetch_add(1, Relaxed);
            if session.feed(frame).await.is_err() {
                break;
            }
        }
        let first = tokio::select! {
            _ = stop.changed() => return,
            text = async { session.flush().await.ok()?; session.next().await } => text,
        };
        let Some(mut text) = first else {
            hall.disconnected.fetch_add(1, Relaxed);
            return;
        };
        loop {
            if let Frame::Ack { id: 1.., body } = wire::read(&text) {
                let ok = wire::is_ok(body);
                hall.progress.answered.fetch_add(1, Relaxed);
                let verdict = if ok { &hall.progress.promised } else { &hall.refused };
                verdict.fetch_add(1, Relaxed);
                credit += 1;
            }
            match session.next_ready() {
                Some(next) => text = next,
                None => break,
            }
        }
    }
}

async fn listen(mut session: Session, mut queue: mpsc::UnboundedReceiver<Sent>, hall: Arc<Hall>, mut stop: watch::Receiver<bool>) {
    let mut in_step = true;
    loop {
        let text = tokio::select! {
            _ = stop.changed() => return,
            text = session.next() => text,
        };
        let Some(text) = text else {
            hall.disconnected.fetch_add(1, Relaxed);
            return;
        };
        let Frame::Event { name, .. } = wire::read(&text) else { continue };
        let (is_start, first_spelling) = match name {
            "dm:typing_start" => (true, true),
            "dm:typing_stop" => (false, true),
            "dm:user_typing" => (true, false),
            "dm:user_stopped_typing" => (false, false),
            _ => continue,
        };
        let now = Instant::now();
        let counted = u64::from(hall.window.contains(now));
        hall.events.fetch_add(counted, Relaxed);
        if first_spelling {
            hall.relayed.fetch_add(counted, Relaxed);
            in_step = hear(&hall, queue.try_recv().ok(), is_start, now, in_step);
        }
    }
}

/// Notes a relay and tells whether it was of the kind that was due. Only falling out of step is counted: after one relay that is lost or
/// doubled all later ones look wrong.
fn hear(hall: &Hall, sent: Option<Sent>, is_start: bool, now: Instant, was_in_step: bool) -> bool {
    let Some((was_start, at)) = sent else {
        hall.doubled.fetch_add(1, Relaxed);
        return was_in_step;
    };
    let in_step = was_start == is_start;
    hall.progress.heard.fetch_add(1, Relaxed);
    hall.out_of_order.fetch_add(u64::from(was_in_step && !in_step), Relaxed);
    if hall.window.contains(at) {
        hall.latency.record(now - at);
    }
    in_step
}
