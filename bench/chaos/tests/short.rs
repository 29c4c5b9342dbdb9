//! A short run of the chaos runner on both stores and on three nodes, with fewer clients and some of the faults; of bad links and of an
//! avalanche.
//!
//! `scripts/chaos`, `scripts/jitter` and `bench/avalanche` run the long ones.

use std::path::{Path, PathBuf};
use std::process::Command;

fn server() -> PathBuf {
    let server = Path::new(env!("CARGO_BIN_EXE_samvad-chaos")).with_file_name("samvad");
    assert!(server.exists(), "{} is not built: run cargo build first", server.display());
    server
}

fn mongod(command: &mut Command) {
    let path = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/mongod")).arg("path").output().expect("a script");
    assert!(path.status.success(), "{}", String::from_utf8_lossy(&path.stderr));
    command.arg("--mongod").arg(String::from_utf8(path.stdout).expect("a path").trim());
}

/// Runs it with a store, a server and a folder, which is kept if it fails.
fn play(mode: &str, store: &str, folder: tempfile::TempDir, more: &[&str]) -> tempfile::TempDir {
    let mut command = Command::new(env!("CARGO_BIN_EXE_samvad-chaos"));
    command.args([mode, "--store", store]).args(more).arg("--server").arg(server());
    if store != "sqlite" {
        mongod(&mut command);
    }
    let output = command.arg("--dir").arg(folder.path().join("data")).output().expect("it runs");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{told}");
    if !output.status.success() {
        let kept = folder.keep();
        panic!("{told}\ndata and logs are in {}", kept.display());
    }
    folder
}

fn rounds(store: &str, faults: &[&str]) {
    let mut folder = tempfile::tempdir().expect("a folder");
    for (round, fault) in faults.iter().enumerate() {
        let results = folder.path().join("results.jsonl");
        let (round, results) = (round.to_string(), results.to_str().expect("a plain path").to_owned());
        let which = ["--seed", "5", "--round", &round, "--fault", fault, "--clients", "60", "--seconds", "1", "--results", &results];
        folder = play("rounds", store, folder, &which);
    }
}

fn jitter(store: &str) {
    play("jitter", store, tempfile::tempdir().expect("a folder"), &["--clients", "200", "--seconds", "4"]);
}

fn avalanche(store: &str) {
    play("avalanche", store, tempfile::tempdir().expect("a folder"), &["--clients", "200", "--how", "kill"]);
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_reordered_on_sqlite() {
    rounds("sqlite", &["kill-server", "fill-store"]);
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_reordered_on_mongodb() {
    rounds("mongodb", &["kill-both", "kill-mongod"]);
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_reordered_on_three_nodes() {
    rounds("nodes", &["kill-server", "kill-redis"]);
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_miscounted_on_nodes_that_do_not_hear_each_other() {
    rounds("nodes-alone", &["kill-server"]);
}

#[test]
fn everybody_has_everything_over_bad_links_on_sqlite() {
    jitter("sqlite");
}

#[test]
fn everybody_has_everything_over_bad_links_on_mongodb() {
    jitter("mongodb");
}

#[test]
fn two_hundred_who_come_back_at_once_are_told_what_they_missed_on_sqlite() {
    avalanche("sqlite");
}

#[test]
fn two_hundred_who_come_back_at_once_are_told_what_they_missed_on_mongodb() {
    avalanche("mongodb");
}
