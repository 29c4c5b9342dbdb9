//! The `samvad` program: reads the settings, starts the server, or does one small thing and ends.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("samvad: {message}");
            ExitCode::FAILURE
        }
    }
}
