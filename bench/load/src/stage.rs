//! What all modes share: the common flags, the measured window, and the progress by which a run knows that it has settled.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::proc::{Meter, Processes, Reading, open_file_limit};
use crate::report::Problem;
use crate::session::{Door, parse_loopback};

/// Files the generator needs beside its sockets.
const SPARE_FILES: u64 = 50;

/// Flags of every mode that talks to a server.
#[derive(Args, Clone)]
pub struct Common {
    /// Where the server listens; only addresses in 127.0.0.0/8 are accepted.
    #[arg(long, default_value = "http://127.0.0.1:3000", value_parser = parse_loopback)]
    pub url: SocketAddrV4,
    /// The secret the server verifies tokens with (HS256).
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: String,
    /// Length of the measured window in seconds.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Seconds of load before the window; checked for mistakes but not counted in rates and latencies.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub warmup: u64,
    /// Seconds to wait after the window for what is still under way.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub grace: u64,
    /// How many connections are set up at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub connecting: u64,
    /// How often a sign-in that fails or is not answered is tried; more than once excuses the server.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10))]
    pub sign_in_attempts: u64,
    /// Spread source addresses over 127.0.0.2-250.
    #[arg(long)]
    pub spread: bool,
    /// Process id of the server, for CPU and memory; several with commas.
    #[arg(long, value_delimiter = ',')]
    pub server_pid: Vec<u32>,
    /// Process id of the database, for CPU.
    #[arg(long, value_delimiter = ',')]
    pub mongod_pid: Vec<u32>,
    /// Put into the report as it is; the table groups by it.
    #[arg(long, default_value = "")]
    pub label: String,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
}

impl Common {
    /// The door of this run.
    pub fn door(&self, read_buffer_bytes: usize) -> Door {
        Door { address: self.url, spread: self.spread, read_buffer_bytes, attempts: self.sign_in_attempts }
    }

    /// Whose CPU is measured.
    pub fn meter(&self) -> Meter {
        Meter { server: Processes(self.server_pid.clone()), mongod: Processes(self.mongod_pid.clone()) }
    }

    /// Refuses what cannot work before the first connection: too few open files, or a process that is not there.
    pub fn check(&self, connections: u64) -> Result<(), Problem> {
        if let Some(limit) = open_file_limit().filter(|limit| connections + SPARE_FILES > *limit) {
            return Err(format!("{connections} connections need more than the {limit} open files allowed here (ulimit -n)"));
        }
        let reading = self.meter().read();
        if (!self.server_pid.is_empty() && reading.server.is_none()) || (!self.mongod_pid.is_empty() && reading.mongod.is_none()) {
            return Err("no such process: --server-pid or --mongod-pid".to_owned());
        }
        Ok(())
    }
}

/// Makes `count` things, at most `--connecting` at a time, in any order; the first failure ends it.
pub async fn set_up<T, F: Future<Output = Result<T, Problem>>>(
    common: &Common,
    count: usize,
    make: impl Fn(usize) -> F,
) -> Result<Vec<T>, Problem> {
    stream::iter(0..count).map(make).buffer_unordered(common.connecting as usize).try_collect().await
}

/// The measured part of a run.
#[derive(Clone, Copy)]
pub struct Window {
    pub opens: Instant,
    pub closes: Instant,
}

impl Window {
    /// Opens after the warm-up, counted from now.
    pub fn after_warmup(common: &Common) -> Self {
        let opens = Instant::now() + Duration::from_secs(common.warmup);
        Self { opens, closes: opens + Duration::from_secs(common.seconds) }
    }

    /// Whether something at this moment counts.
    pub fn contains(&self, at: Instant) -> bool {
        self.opens <= at && at < self.closes
    }

    /// Waits for the window to close and tells the CPU seconds used in it.
    pub async fn measure(&self, meter: &Meter) -> Reading {
        tokio::time::sleep_until(self.opens.into()).await;
        let before = meter.read();
        tokio::time::sleep_until(self.closes.into()).await;
        meter.read().since(before)
    }
}

/// How far a run has come, summed over all its sockets.
#[derive(Default)]
pub struct Progress {
    pub sent: AtomicU64,
    pub answered: AtomicU64,
    /// Deliveries the acks so far promise.
    pub promised: AtomicU64,
    pub heard: AtomicU64,
}

impl Progress {
    /// Waits until everything sent is answered and everything promised is heard, at most `grace`; then a little for what should not come.
    pub async fn settle(&self, grace: Duration) {
        let patience = Instant::now() + grace;
        while Instant::now() < patience && !self.is_settled() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Doubles arrive after the message they repeat.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    fn is_settled(&self) -> bool {
        self.answered.load(Relaxed) >= self.sent.load(Relaxed) && self.heard.load(Relaxed) >= self.promised.load(Relaxed)
    }
}
