//! Mode `chat`: pairs exchange messages, closed loop (`--outstanding`) or open loop (`--rate`), and every delivery is checked.
//!
//! The sockets live in `seat`, the checking in `ledger`, the pace of the open loop in `pacer`.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::client_ids::ClientIds;
use crate::histogram::Histogram;
use crate::ledger::{Record, Totals};
use crate::pacer;
use crate::people::{Cast, Pairs};
use crate::proc::Reading;
use crate::report::{Problem, Report, shown};
use crate::seat::{Hall, Script, Seat, Waiting};
use crate::session::{Door, Session, parse_loopback};
use crate::stage::{Common, Progress, Window, set_up};
use crate::wire;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Where the peers connect, if it is another node than the senders' (`--url`).
    #[arg(long, value_parser = parse_loopback)]
    peer_url: Option<SocketAddrV4>,
    /// How many sockets send; each pair has one sender, or two with --two-way.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=9000))]
    senders: u32,
    /// Closed loop: sends under way at a time, per sender.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    outstanding: u32,
    /// Open loop: messages per second over all senders, whether answered or not.
    #[arg(long, conflicts_with = "outstanding", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Give each message a clientMessageId, ordered by time unless it says random.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "ordered")]
    client_ids: Option<ClientIds>,
    /// Talk in conversations of a seeded store that has this many, spread evenly, instead of in new ones.
    #[arg(long, conflicts_with = "pairs", value_parser = clap::value_parser!(u32).range(1..))]
    seeded: Option<u32>,
    /// Who sits opposite the astrologer.
    #[arg(long, value_enum, default_value = "user")]
    pairs: Pairs,
    /// Both sides of a pair send.
    #[arg(long)]
    two_way: bool,
    /// Senders do not join their conversation: only the peer hears a message.
    #[arg(long, conflicts_with = "two_way")]
    recv_only_one_side: bool,
    /// Characters of content.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=4000))]
    size: u64,
}

/// The longest note that `Seat` writes in front of the padding.
const NOTE_LENGTH: u64 = 40;

/// Runs the mode.
pub async fn run(options: Options) -> Result<Report, Problem> {
    let common = &options.common;
    let pairs = if options.two_way { options.senders.div_ceil(2) } else { options.senders } as usize;
    common.check(pairs as u64 * 2)?;
    if options.seeded.is_some_and(|conversations| (conversations as usize) < pairs) {
        return Err(format!("{pairs} pairs do not fit into fewer seeded conversations"));
    }
    let cast = match options.seeded {
        Some(_) => Cast::seeded(&common.jwt_secret),
        None => Cast::new(&common.jwt_secret, options.pairs),
    };
    let joined = set_up(common, pairs * 2, |place| join(&options, &cast, place)).await?;

    let begun = Instant::now();
    let hall = Arc::new(Hall {
        run: cast.run(),
        begun,
        window: Window::after_warmup(common),
        listeners: if options.recv_only_one_side { 1 } else { 2 },
        client_ids: options.client_ids,
        progress: Progress::default(),
        acked_in_window: 0.into(),
        heard_in_window: 0.into(),
        to_ack: Histogram::new(),
        to_peer: Histogram::new(),
        to_sender: Histogram::new(),
        late: Histogram::new(),
    });
    let (stop, stopped) = watch::channel(false);
    let mut paced = Vec::new();
    let mut seats = JoinSet::new();
    for (session, record, script) in joined {
        let due = (options.rate.is_some() && script.is_some()).then(|| {
            let (sender, due) = mpsc::unbounded_channel();
            paced.push(sender);
            due
        });
        let seat = Seat { session, hall: hall.clone(), record, script, waiting: Waiting::default() };
        seats.spawn(seat.run(options.outstanding, due, stopped.clone()));
    }
    let pacer = options.rate.map(|rate| pacer::start(paced, rate, hall.window.closes));

    let used = hall.window.measure(&common.meter()).await;
    let rss = common.meter().server.rss_kib();
    hall.progress.settle(Duration::from_secs(common.grace)).await;
    // Every seat holds a receiver until it stops; one that was disconnected has stopped already.
    let _ = stop.send(true);
    let totals = Totals::of(seats.join_all().await);
    if let Some(pacer) = pacer {
        pacer.join().map_err(|_| "the pacing thread failed")?;
    }
    Ok(report(&options, &hall, &totals, used, rss))
}

async fn join(options: &Options, cast: &Cast, place: usize) -> Result<(Session, Record, Option<Script>), Problem> {
    let (index, side) = (place / 2, place % 2);
    let apart = options.seeded.map_or(1, |conversations| conversations as usize / options.senders as usize).max(1);
    let pair = cast.pair(index * apart)?;
    let (me, peer) = (&pair.sides[side], &pair.sides[1 - side]);
    let sends = side == 0 || (options.two_way && place < options.senders as usize);
    let listens = !(sends && options.recv_only_one_side);
    let door = options.common.door(16 * 1024);
    let address = options.peer_url.filter(|_| side == 1).unwrap_or(door.address);
    let mut session = Session::sign_in(Door { address, ..door }, place, &me.token).await?;
    if listens {
        session.join(&pair.conversation).await?;
    }
    let script = sends.then(|| Script {
        head: wire::send_head(&pair.conversation, &peer.id, peer.kind),
        padding: "x".repeat(options.size.saturating_sub(NOTE_LENGTH) as usize),
    });
    Ok((session, Record::new(index as u32, side, listens), script))
}

fn report(options: &Options, hall: &Hall, totals: &Totals, used: Reading, rss: Option<f64>) -> Report {
    let common = &options.common;
    let mut report = Report::new("chat", common);
    report.put("senders", options.senders);
    report.put("two_nodes", options.peer_url.is_some());
    report.put("outstanding", options.rate.is_none().then_some(options.outstanding));
    report.put("rate", options.rate);
    report.put("client_ids", options.client_ids.map(ClientIds::name));
    report.put("seeded", options.seeded);
    report.put("two_way", options.two_way);
    report.put("one_side", options.recv_only_one_side);
    report.put("admins", options.pairs == Pairs::Admin);
    report.put("size", options.size);

    let acked = hall.acked_in_window.load(Relaxed);
    let per_second = |count: u64| count as f64 / common.seconds as f64;
    let delivered = per_second(hall.heard_in_window.load(Relaxed));
    report.put_number("durable_per_s", Some(per_second(acked)));
    report.put_number("delivered_per_s", Some(delivered));
    report.put("ack_ms", hall.to_ack.summary());
    report.put("peer_ms", hall.to_peer.summary());
    report.put("sender_ms", hall.to_sender.summary());
    report.put("late_ms", hall.late.summary());
    report.put_cpu(used, acked);
    report.put_number("server_rss_mib", rss.map(|kib| kib / 1024.0));

    report.put("sent", totals.sent);
    report.put("acked", totals.acked);
    report.put("refused", totals.refused);
    report.put("refusals", json!(totals.refusals));
    report.put("heard_at_peer", totals.heard_at_peer);
    report.put("heard_at_sender", totals.heard_at_sender);
    report.put("previews", totals.previews);
    report.put_fault("lost", totals.lost);
    report.put_fault("lost_at_sender", totals.lost_at_sender);
    report.put_fault("doubled", totals.doubled);
    report.put_fault("out_of_order_by_number", totals.out_of_order_by_number);
    report.put_fault("out_of_order_by_id", totals.out_of_order_by_id);
    report.put_fault("refused_but_heard", totals.refused_but_heard);
    report.put_fault("strangers", totals.strangers);
    report.put_fault("unanswered", totals.unanswered);
    report.put_fault("disconnected", totals.disconnected);
    if acked == 0 {
        report.fault("nothing was acked in the window".to_owned());
    }

    let cpu = |seconds: Option<f64>| shown(seconds.filter(|_| acked > 0).map(|s| s * 1000.0 / acked as f64));
    let load = options.rate.map_or_else(|| format!("x {}", options.outstanding), |rate| format!("at {rate}/s"));
    report.say(&format!(
        " {} senders {load}: {:.0}/s durable, {delivered:.0}/s delivered; ack p50 {:.2} p99 {:.2} ms, peer p50 {:.2} p99 {:.2} ms; \
         CPU s per 1,000: server {}, mongod {}, load {}; {} acked, {} refused",
        options.senders,
        per_second(acked),
        hall.to_ack.quantile_ms(0.5),
        hall.to_ack.quantile_ms(0.99),
        hall.to_peer.quantile_ms(0.5),
        hall.to_peer.quantile_ms(0.99),
        cpu(used.server),
        cpu(used.mongod),
        cpu(used.load),
        totals.acked,
        totals.refused,
    ));
    report
}

fn parse_rate(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|rate| (0.1..=1e6).contains(rate)).ok_or_else(|| "a number of messages per second, 0.1 to 1000000".to_owned())
}
