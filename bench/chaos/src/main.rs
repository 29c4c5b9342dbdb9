//! Torments a server and its store under load, and counts what was lost, doubled or reordered.
//!
//! `rounds` kills, pauses and fills (`rounds.rs`, `theatre.rs`), `jitter` cuts lines, `avalanche` cuts all of them at once; with clients that follow the
//! documented recipe (`person.rs`, `diary.rs`, `tally.rs`) over lines that can be cut (`line.rs`); `stage.rs` says what runs, `house.rs` owns the processes; `recount.rs` reads the store past the server and compares.
//! Exit code: 0 nothing wrong, 1 something is.

mod avalanche;
mod diary;
mod house;
mod jitter;
mod line;
mod person;
mod recount;
mod report;
mod rounds;
mod stage;
mod tally;
mod theatre;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "samvad-chaos", about = "Kills servers and databases of its own under load and counts what was lost")]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Rounds of faults; see scripts/chaos.
    #[command(args_override_self = true)]
    Rounds(rounds::Options),
    /// Lines that are cut every few seconds.
    Jitter(jitter::Options),
    /// Thousands of clients that are cut at once and come back.
    Avalanche(avalanche::Options),
    /// A markdown table of a file of results.
    Summary { file: PathBuf },
}

#[tokio::main]
async fn main() -> ExitCode {
    let work = async {
        match Cli::parse().mode {
            Mode::Rounds(options) => rounds::run(options).await,
            Mode::Jitter(options) => jitter::run(options).await,
            Mode::Avalanche(options) => avalanche::run(options).await,
            Mode::Summary { file } => {
                report::summary(&file);
                true
            }
        }
    };
    // The processes we started end with us.
    let mut asked_to_end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("signals are listened for");
    let well = tokio::select! {
        well = work => well,
        _ = asked_to_end.recv() => false,
        _ = tokio::signal::ctrl_c() => false,
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
