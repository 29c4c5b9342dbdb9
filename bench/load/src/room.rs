//! Mode `room`: one conversation, one socket that sends, many that listen. A conversation has two people, so each has many sockets.
//!
//! The server needs a large `MAX_SOCKETS_PER_IDENTITY`. Sockets and checks are those of `chat`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::histogram::Histogram;
use crate::ledger::{Record, Totals};
use crate::people::{Cast, Pair, Pairs};
use crate::report::{Problem, Report, shown};
use crate::seat::{Hall, Script, Seat, Waiting};
use crate::session::Session;
use crate::stage::{Common, Progress, Window, set_up};
use crate::wire;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// How many sockets listen, beside the one that sends.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    listeners: u32,
    /// Sends under way at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    outstanding: u32,
}

/// Places in `ledger::Record`: the sender's side, and that of all others, whoever's sockets they are.
const SENDER: usize = 0;
const LISTENER: usize = 1;
const PADDING: usize = 80;

/// Runs the mode.
pub async fn run(options: Options) -> Result<Report, Problem> {
    let common = &options.common;
    let listeners = options.listeners as usize;
    common.check(listeners as u64 + 1)?;
    let cast = Cast::new(&common.jwt_secret, Pairs::User);
    let pair = cast.pair(0)?;
    let joined = set_up(common, listeners + 1, |place| join(common, &pair, place)).await?;

    let hall = Arc::new(Hall {
        run: cast.run(),
        begun: Instant::now(),
        window: Window::after_warmup(common),
        listeners: listeners as u64 + 1,
        client_ids: None,
        progress: Progress::default(),
        acked_in_window: 0.into(),
        heard_in_window: 0.into(),
        to_ack: Histogram::new(),
        to_peer: Histogram::new(),
        to_sender: Histogram::new(),
        late: Histogram::new(),
    });
    let (stop, stopped) = watch::channel(false);
    let mut seats = JoinSet::new();
    for (session, record) in joined {
        let peer = &pair.sides[1];
        let script = (record.side == SENDER)
            .then(|| Script { head: wire::send_head(&pair.conversation, &peer.id, peer.kind), padding: "x".repeat(PADDING) });
        let seat = Seat { session, hall: hall.clone(), record, script, waiting: Waiting::default() };
        seats.spawn(seat.run(options.outstanding, None, stopped.clone()));
    }
    let used = hall.window.measure(&common.meter()).await;
    hall.progress.settle(Duration::from_secs(common.grace)).await;
    // A seat that was disconnected has stopped already.
    let _ = stop.send(true);
    let (senders, listeners): (Vec<_>, Vec<_>) = seats.join_all().await.into_iter().partition(|record| record.side == SENDER);
    let sender = senders.first().ok_or("the sender's seat is missing")?;
    let totals = Totals::of_room(sender, &listeners);

    let per_second = |count: u64| count as f64 / common.seconds as f64;
    let (acked, heard) = (hall.acked_in_window.load(Relaxed), hall.heard_in_window.load(Relaxed));
    let mut report = Report::new("room", common);
    report.put("listeners", options.listeners);
    report.put("outstanding", options.outstanding);
    report.put_number("durable_per_s", Some(per_second(acked)));
    report.put_number("delivered_per_s", Some(per_second(heard)));
    report.put("ack_ms", hall.to_ack.summary());
    report.put("peer_ms", hall.to_peer.summary());
    report.put_cpu(used, heard);
    report.put("acked", totals.acked);
    report.put_fault("lost", totals.lost);
    report.put_fault("lost_at_sender", totals.lost_at_sender);
    report.put_fault("doubled", totals.doubled);
    report.put_fault("out_of_order_by_number", totals.out_of_order_by_number);
    report.put_fault("out_of_order_by_id", totals.out_of_order_by_id);
    report.put_fault("refused", totals.refused);
    report.put_fault("strangers", totals.strangers);
    report.put_fault("unanswered", totals.unanswered);
    report.put_fault("disconnected", totals.disconnected);
    if acked == 0 {
        report.fault("nothing was acked in the window".to_owned());
    }
    report.say(&format!(
        " {} listeners: {:.0} messages/s, {:.0} deliveries/s; p50 {:.2} p99 {:.2} ms; CPU s: server {}, load {}",
        options.listeners,
        per_second(acked),
        per_second(heard),
        hall.to_peer.quantile_ms(0.5),
        hall.to_peer.quantile_ms(0.99),
        shown(used.server),
        shown(used.load),
    ));
    Ok(report)
}

/// The socket at place 0 sends; the others are the two people's in turn.
async fn join(common: &Common, pair: &Pair, place: usize) -> Result<(Session, Record), Problem> {
    let mut session = Session::sign_in(common.door(4 * 1024), place, &pair.sides[place % 2].token).await?;
    session.join(&pair.conversation).await?;
    Ok((session, Record::new(0, if place == 0 { SENDER } else { LISTENER }, true)))
}
