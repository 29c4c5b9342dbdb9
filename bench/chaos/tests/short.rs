//! A short run of the chaos runner on both stores and on three nodes, with fewer clients and some of the faults.
//!
//! `scripts/chaos` runs the long one.

use std::path::{Path, PathBuf};
use std::process::Command;

fn server() -> PathBuf {
    let server = Path::new(env!("CARGO_BIN_EXE_samvad-chaos")).with_file_name("samvad");
    assert!(server.exists(), "{} is not built: run cargo build first", server.display());
    server
}

fn rounds(store: &str, faults: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    for (round, fault) in faults.iter().enumerate() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_samvad-chaos"));
        command.args(["rounds", "--store", store, "--seed", "5", "--round", &round.to_string(), "--fault", fault]);
        command.args(["--clients", "60", "--seconds", "1", "--server"]).arg(server());
        if store != "sqlite" {
            let path = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/mongod")).arg("path").output().expect("a script");
            assert!(path.status.success(), "{}", String::from_utf8_lossy(&path.stderr));
            command.arg("--mongod").arg(String::from_utf8(path.stdout).expect("a path").trim());
        }
        command.arg("--dir").arg(folder.path().join("data")).arg("--results").arg(folder.path().join("results.jsonl"));
        let output = command.output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        println!("{told}");
        if !output.status.success() {
            let kept = folder.keep();
            panic!("{told}\ndata and logs are in {}", kept.display());
        }
    }
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
