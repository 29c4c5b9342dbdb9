//! The load generator: drives a server over loopback websockets, counts what comes back, and says what it cost.
//!
//! Each mode is one file (`chat`, `room`, `calls`, `typing`, `history`, `idle`, `connect`, `churn`, `attack`); `table` turns the JSON lines
//! of several runs into medians. `seed` fills a store with the messages of `stock`, and `floor` asks what a store can do without a server.
//! Below the modes: `stage` (flags and the measured window), `people` (identities and tokens), `session` (one signed-in socket), `http`,
//! `wire` (frames), `ledger`, `cycle` and `histogram` (what is counted), `proc` (what it cost), `report` (how it is told).
//! Exit code: 0 all well, 1 the run happened but something was lost, doubled, out of order or dropped, 2 wrong flags, 3 could not run.

mod attack;
mod calls;
mod chat;
mod churn;
mod client_ids;
mod connect;
mod cycle;
mod floor;
mod histogram;
mod history;
mod http;
mod idle;
mod ledger;
mod pacer;
mod people;
mod proc;
mod report;
mod room;
mod seat;
mod seed;
mod session;
mod stage;
mod stock;
mod table;
mod typing;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::report::{Problem, Report};

#[derive(Parser)]
#[command(name = "samvad-load", about = "Drives a Samvad server on this machine and reports speed, cost and mistakes")]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Pairs exchange messages: durable and delivered per second, latency, and what was lost, doubled or out of order.
    Chat(chat::Options),
    /// One conversation with many listeners: one socket sends, all hear.
    Room(room::Options),
    /// Pairs call, accept and hang up, over and over: calls per second, latency of each step, and what was lost, doubled or refused.
    Calls(calls::Options),
    /// Pairs send typing indicators: events relayed per second.
    Typing(typing::Options),
    /// Pages of stored messages by REST: pages per second, and whether each was whole and in order.
    History(history::Options),
    /// Connections that do nothing: memory and CPU per connection.
    Idle(idle::Options),
    /// Sign-in storm: connections signed in per second.
    Connect(connect::Options),
    /// People come, chat and leave, over and over: whether the server's memory grows.
    Churn(churn::Options),
    /// Fills a store with conversations and messages, faster than a server could.
    Seed(seed::Options),
    /// mongod alone: batches of messages straight from the driver, as journaled as the server's.
    FloorMongo(floor::MongoOptions),
    /// SQLite alone: batches of messages, one synchronous commit each.
    FloorSqlite(floor::SqliteOptions),
    /// Misbehaves at a fixed pace, so that a chat run beside it shows what honest clients notice.
    Attack(attack::Options),
    /// Reads JSON lines of earlier chat and calls runs and prints medians as a markdown table.
    Table(table::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().mode {
        Mode::Table(options) => return finish(table::print(&options)),
        Mode::Chat(options) => runtime(options.common.threads).and_then(|runtime| runtime.block_on(chat::run(options))),
        Mode::Room(options) => runtime(options.common.threads).and_then(|runtime| runtime.block_on(room::run(options))),
        Mode::History(options) => runtime(options.common.threads).and_then(|runtime| runtime.block_on(history::run(options))),
        Mode::Churn(options) => runtime(options.common.threads).and_then(|runtime| runtime.block_on(churn::run(options))),
        Mode::Seed(options) => runtime(1).and_then(|runtime| runtime.block_on(seed::run(options))),
        Mode::FloorMongo(options) => runtime(1).and_then(|runtime| runtime.block_on(floor::mongo(options))),
        Mode::FloorSqlite(options) => floor::sqlite(&options),
        Mode::Calls(options) => runtime(options.common.threads).and_then(|runtime| runtime.block_on(calls::run(options))),
        Mode::Typing(options) => runtime(options.common.threads).and_then(|runtime| runtime.block_on(typing::run(options))),
        Mode::Idle(options) => runtime(options.common.threads).and_then(|runtime| runtime.block_on(idle::run(options))),
        Mode::Connect(options) => runtime(options.common.threads).and_then(|runtime| runtime.block_on(connect::run(options))),
        Mode::Attack(options) => runtime(options.common.threads).and_then(|runtime| runtime.block_on(attack::run(options))),
    };
    finish(outcome.map(Report::tell))
}

/// One thread by default: the generator shares the machine with what it measures, and one thread without locks costs least.
fn runtime(threads: usize) -> Result<Runtime, Problem> {
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().map_err(|e| format!("cannot start the runtime: {e}"))
}

fn finish(outcome: Result<bool, Problem>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("samvad-load: {problem}");
            ExitCode::from(3)
        }
    }
}
