//! Mode `history`: readers walk through seeded conversations by REST, newest page first, then what is before it.
//!
//! Each page must be whole, oldest first, and older than its cursor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use clap::Args;
use memchr::memmem;
use tokio::task::JoinSet;

use crate::client_ids::scatter;
use crate::histogram::Histogram;
use crate::http::Http;
use crate::people::Cast;
use crate::report::{Problem, Report, shown};
use crate::stage::{Common, Window};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// How many conversations the store was seeded with.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    seeded: u32,
    /// How many read at the same time, a connection each.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    readers: u32,
    /// Messages on a page.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100))]
    limit: u64,
    /// Pages of one conversation before going on to another.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    depth: u32,
}

/// What all readers share.
struct Library {
    options: Options,
    cast: Cast,
    window: Window,
    pages: AtomicU64,
    bytes: AtomicU64,
    /// Answers other than 200, and pages with fewer messages than there are.
    failed: AtomicU64,
    short: AtomicU64,
    out_of_order: AtomicU64,
    latency: Histogram,
}

/// Runs the mode.
pub async fn run(options: Options) -> Result<Report, Problem> {
    options.common.check(u64::from(options.readers))?;
    let cast = Cast::seeded(&options.common.jwt_secret);
    let library = Arc::new(Library {
        window: Window::after_warmup(&options.common),
        options,
        cast,
        pages: 0.into(),
        bytes: 0.into(),
        failed: 0.into(),
        short: 0.into(),
        out_of_order: 0.into(),
        latency: Histogram::new(),
    });
    let common = &library.options.common;
    let mut readers = JoinSet::new();
    for number in 0..library.options.readers {
        let library = library.clone();
        readers.spawn(async move { library.read_on(number).await });
    }
    let used = library.window.measure(&common.meter()).await;
    let failures: Vec<Problem> = readers.join_all().await.into_iter().filter_map(Result::err).collect();

    let pages = library.pages.load(Relaxed);
    let per_second = pages as f64 / common.seconds as f64;
    let mut report = Report::new("history", common);
    report.put("readers", library.options.readers);
    report.put("seeded", library.options.seeded);
    report.put_number("pages_per_s", Some(per_second));
    report.put_number("page_kib", (pages > 0).then(|| library.bytes.load(Relaxed) as f64 / 1024.0 / pages as f64));
    report.put("page_ms", library.latency.summary());
    report.put_cpu(used, pages);
    report.put("first_failure", failures.first().cloned());
    report.put_fault("readers_failed", failures.len() as u64);
    report.put_fault("failed", library.failed.load(Relaxed));
    report.put_fault("short", library.short.load(Relaxed));
    report.put_fault("out_of_order", library.out_of_order.load(Relaxed));
    if pages == 0 {
        report.fault("no page came within the window".to_owned());
    }
    report.say(&format!(
        " {} readers: {per_second:.0} pages/s; p50 {:.2} p99 {:.2} ms; CPU s: server {}, mongod {}, load {}",
        library.options.readers,
        library.latency.quantile_ms(0.5),
        library.latency.quantile_ms(0.99),
        shown(used.server),
        shown(used.mongod),
        shown(used.load),
    ));
    if let Some(failure) = failures.first() {
        report.say(&format!("; first failure: {failure}"));
    }
    Ok(report)
}

impl Library {
    /// Reads conversation after conversation until the window closes; ends early at the first failure of a connection.
    async fn read_on(&self, reader: u32) -> Result<(), Problem> {
        let mut http = Http::new(self.options.common.url);
        for turn in 0_u64.. {
            let index = scatter(u64::from(reader) << 40 | turn) % u64::from(self.options.seeded);
            let pair = self.cast.pair(index as usize)?;
            let token = &pair.sides[turn as usize % 2].token;
            let mut before = String::new();
            for _ in 0..self.options.depth {
                if Instant::now() >= self.window.closes {
                    return Ok(());
                }
                let cursor = if before.is_empty() { String::new() } else { format!("&before={before}") };
                let path = format!("/api/conversations/{}/messages?limit={}{cursor}", pair.conversation, self.options.limit);
                let began = Instant::now();
                let (status, body) = http.get(&path, token).await?;
                let Some(next) = self.note(began, status, body, &before) else { break };
                before = next;
            }
        }
        Ok(())
    }

    /// Checks a page; the cursor of the one before it, if there is one.
    fn note(&self, began: Instant, status: u16, body: &str, before: &str) -> Option<String> {
        if self.window.contains(Instant::now()) {
            self.pages.fetch_add(1, Relaxed);
            self.bytes.fetch_add(body.len() as u64, Relaxed);
        }
        if self.window.contains(began) {
            self.latency.record(began.elapsed());
        }
        if status != 200 {
            self.failed.fetch_add(1, Relaxed);
            return None;
        }
        let ids = ids(body);
        let has_more = memmem::find(body.as_bytes(), b"\"hasMore\":true").is_some();
        let is_whole = ids.len() as u64 == self.options.limit || (!has_more && !ids.is_empty());
        self.short.fetch_add(u64::from(!is_whole), Relaxed);
        let in_order = ids.windows(2).all(|two| two[0] < two[1]) && (before.is_empty() || ids.last().is_none_or(|last| *last < before));
        self.out_of_order.fetch_add(u64::from(!in_order), Relaxed);
        ids.first().filter(|_| has_more).map(|id| (*id).to_owned())
    }
}

/// The `_id` of every message of a page, in its order.
fn ids(body: &str) -> Vec<&str> {
    const NEEDLE: &str = "\"_id\":\"";
    memmem::find_iter(body.as_bytes(), NEEDLE).filter_map(|at| body.get(at + NEEDLE.len()..at + NEEDLE.len() + 24)).collect()
}
