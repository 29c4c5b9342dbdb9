//! The `samvad` program: reads the settings, starts the server, or does one small thing and ends.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser;
use tikv_jemallocator::Jemalloc;

// Most of what is allocated here is freed on another thread, and the allocator of the C library locks for that. This one also gives back
// by itself, with a thread of its own, what nobody has needed for some seconds.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("samvad: {message}");
            ExitCode::FAILURE
        }
    }
}
