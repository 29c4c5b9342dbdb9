//! The directions dependencies may take. A `use crate::…` that climbs back fails here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Each room and the rooms it may use. `error`, `models` and std are under everything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("models", &[]),
    ("error", &[]),
    ("config", &[]),
    // Any room may count.
    ("metrics", &[]),
    // Any room may make spans.
    ("traces", &[]),
    ("transport", &[]),
    ("observability", &["config", "traces"]),
    ("auth", &["config", "error", "models"]),
    ("store", &["error", "metrics", "models"]),
    ("bus", &["models"]),
    // The way out, by HTTP; knows what others answer, not who is told what.
    ("outside", &["models", "observability", "traces"]),
    ("delivery", &["bus", "error", "metrics", "models"]),
    ("files", &["error", "models"]),
    ("services", &["auth", "bus", "delivery", "error", "files", "metrics", "models", "observability", "outside", "store", "traces"]),
    // Reads and writes the shapes clients use; below the two ways in, above the rules.
    ("wire", &["delivery", "error", "models", "services", "store"]),
    ("handlers", &["auth", "delivery", "error", "metrics", "models", "services", "traces", "transport", "wire"]),
    // Describes everything clients can see; only `app` and the commands use it.
    ("contract", &["delivery", "error", "handlers", "models", "rest", "services", "wire"]),
    ("rest", &["auth", "bus", "delivery", "error", "metrics", "models", "services", "store", "traces", "transport", "wire"]),
    (
        "app",
        &[
            "auth",
            "bus",
            "config",
            "contract",
            "delivery",
            "files",
            "handlers",
            "metrics",
            "models",
            "observability",
            "outside",
            "rest",
            "server",
            "services",
            "store",
            "transport",
        ],
    ),
    ("server", &["app", "delivery", "error", "handlers", "metrics", "observability", "rest", "transport"]),
];

fn rust_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The rooms named after `crate::` in a source text, comments left out.
fn rooms_used(source: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            // `use crate::{a::X, b::Y}` names several rooms at once.
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list.split(',').collect(),
                None => vec![rest],
            };
            for name in names {
                let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                used.insert(name);
            }
        }
    }
    used
}

#[test]
fn dependencies_point_downhill_only() {
    let mut files = Vec::new();
    rust_files(Path::new("src"), &mut files);
    let mut forbidden = Vec::new();
    for path in files {
        let room = path.strip_prefix("src").expect("under src").components().next().expect("a name").as_os_str();
        let room = room.to_string_lossy().trim_end_matches(".rs").to_owned();
        if ["main", "lib", "cli"].contains(&room.as_str()) {
            continue;
        }
        let allowed = ALLOWED.iter().find(|(name, _)| *name == room);
        let allowed = allowed.unwrap_or_else(|| panic!("src/{room} is a new room: say in this test what it may use")).1;
        let source = fs::read_to_string(&path).expect("readable");
        for used in rooms_used(&source).into_iter().filter(|used| *used != room) {
            if !allowed.contains(&used.as_str()) {
                forbidden.push(format!("{} uses crate::{used}", path.display()));
            }
        }
    }
    assert!(forbidden.is_empty(), "forbidden directions:\n{}", forbidden.join("\n"));
}

#[test]
fn only_delivery_emits_only_config_reads_the_environment_only_auth_makes_a_current_user() {
    let mut files = Vec::new();
    rust_files(Path::new("src"), &mut files);
    for path in files {
        let source = fs::read_to_string(&path).expect("readable");
        let name = path.display().to_string();
        // The greeting of the program prints a line of JavaScript.
        if !name.starts_with("src/delivery") && !["src/handlers/outlet.rs", "src/cli/mod.rs"].contains(&name.as_str()) {
            assert!(!source.contains("socket.emit(") && !source.contains("io.to("), "{name} emits past delivery");
        }
        if name != "src/config/raw.rs" {
            assert!(!source.contains("std::env::") && !source.contains("env::var"), "{name} reads the environment");
        }
        if name != "src/auth/claims.rs" {
            let made = source.lines().any(|line| line.contains("CurrentUser {") && !line.contains("-> &CurrentUser {"));
            assert!(!made, "{name} makes a CurrentUser");
        }
    }
}
