//! Mode `idle`: connections that are signed in, sit in one conversation and do nothing; what they cost in memory and CPU.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use clap::Args;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::people::{Cast, Pairs};
use crate::report::{Problem, Report, shown};
use crate::session::Session;
use crate::stage::{Common, Window, set_up};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// How many connections are held.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// Sign in only, without joining a conversation.
    #[arg(long)]
    no_join: bool,
}

/// Runs the mode: `--warmup` is the time to settle after the last connection, `--seconds` the time they are held.
pub async fn run(options: Options) -> Result<Report, Problem> {
    let common = &options.common;
    let connections = u64::from(options.connections);
    common.check(connections)?;
    let (server, meter) = (common.meter().server, common.meter());
    let cast = Cast::new(&common.jwt_secret, Pairs::User);
    let (stop, stopped) = watch::channel(false);
    let dropped = Arc::new(AtomicU64::new(0));

    let rss_before = server.rss_kib();
    let begun = Instant::now();
    let held = set_up(common, options.connections as usize, |place| hold(&options, &cast, place, dropped.clone(), stopped.clone())).await?;
    let connecting_seconds = begun.elapsed().as_secs_f64();
    let used = Window::after_warmup(common).measure(&meter).await;
    let rss_after = server.rss_kib();
    let lost = dropped.load(Relaxed);
    // Holders that lost their connection have ended already.
    let _ = stop.send(true);
    for holder in held {
        holder.await.map_err(|e| format!("a holder failed: {e}"))?;
    }

    let per_connection = rss_before.zip(rss_after).map(|(before, after)| (after - before) / connections as f64);
    let mut report = Report::new("idle", common);
    report.put("connections", options.connections);
    report.put("joined", !options.no_join);
    report.put_number("connecting_s", Some(connecting_seconds));
    report.put_number("rss_before_mib", rss_before.map(|kib| kib / 1024.0));
    report.put_number("rss_after_mib", rss_after.map(|kib| kib / 1024.0));
    report.put_number("rss_per_connection_kib", per_connection);
    report.put_cpu(used, connections);
    report.put_fault("dropped", lost);
    report.say(&format!(
        " {} connections held {} s: {} KiB RSS each, server CPU {} s, set up in {connecting_seconds:.1} s",
        options.connections,
        common.seconds,
        shown(per_connection),
        shown(used.server),
    ));
    Ok(report)
}

/// Signs in, joins, and leaves a task that answers pings until the end.
async fn hold(
    options: &Options,
    cast: &Cast,
    place: usize,
    dropped: Arc<AtomicU64>,
    mut stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, Problem> {
    let pair = cast.pair(place / 2)?;
    let mut session = Session::sign_in(options.common.door(1024), place, &pair.sides[place % 2].token).await?;
    if !options.no_join {
        session.join(&pair.conversation).await?;
    }
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = stop.changed() => {}
            () = async { while session.next().await.is_some() {} } => {
                dropped.fetch_add(1, Relaxed);
            }
        }
    }))
}
