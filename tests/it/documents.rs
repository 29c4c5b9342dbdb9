//! The contract for programs, as a browser and a program get it. That what clients hear is in it, every other test checks: see
//! `support/contract.rs`.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::support::http::{get, local};
use crate::support::server::TestServer;
use crate::support::stores;

async fn server(settings: &[(&str, &str)]) -> (TestServer, tempfile::TempDir) {
    let (store, folder) = stores::sqlite();
    (TestServer::start_with(store, settings).await, folder)
}

#[tokio::test]
async fn a_server_gives_out_the_committed_documents() {
    let (server, _folder) = server(&[("CONSOLE", "off")]).await;
    for name in ["openapi.json", "asyncapi.json"] {
        let answer = get(&server.url, local(1), &format!("/{name}"), &[]).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{name}");
        assert!(answer.body == fs::read_to_string(format!("docs/{name}")).expect("committed"), "{name} is not what is committed");
    }
    let page = get(&server.url, local(1), "/docs", &[]).await;
    assert_eq!((page.status, &page.json()["code"]), (404, &json!("NOT_FOUND")), "CONSOLE=off removes the page, not the documents");
    server.stop().await;
}

#[tokio::test]
async fn the_page_loads_from_its_own_server_alone() {
    let (server, _folder) = server(&[]).await;
    for (path, content_type) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/", "text/html; charset=utf-8"),
        ("/docs/docs.js", "text/javascript; charset=utf-8"),
        ("/docs/docs.css", "text/css; charset=utf-8"),
    ] {
        let answer = get(&server.url, local(1), path, &[]).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{path}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        // Nothing inline, which the policy would forbid, and nothing from elsewhere.
        assert!(!answer.body.contains("://") && !answer.body.contains(" style=") && !answer.body.contains(" onclick="), "{path}");
    }
    let other = get(&server.url, local(1), "/docs/other.js", &[]).await;
    assert_eq!(other.status, 404);
    server.stop().await;
}

/// Served for probes and for people on the same machine: a proxy sends them nowhere, or to the old backend.
const NOT_PROXIED: [&str; 2] = ["/api/health", "/api/demo"];

/// Whether a proxy sends `path` to where it sends `prefix`: the path itself, or what is below it.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The prefixes of `docs/migration.md` that go to Samvad: those of its table, and those of its lines for nginx.
fn prefixes_of_the_guide() -> (BTreeSet<String>, BTreeSet<String>) {
    let text = fs::read_to_string("docs/migration.md").expect("committed");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (prefixes, to) = (cells.next()?, cells.next()?);
        to.starts_with("Samvad")
            .then(|| prefixes.split('`').filter(|word| word.starts_with("/api/")).map(str::to_owned).collect::<Vec<_>>())
    });
    let mut of_nginx = BTreeSet::new();
    for line in text.lines().filter(|line| line.contains("proxy_pass http://samvad")) {
        let place = line.strip_prefix("location ").expect("a location").split(" {").next().expect("before the brace").trim();
        if let Some(path) = place.strip_prefix("= ") {
            of_nginx.insert(path.to_owned());
        } else if let Some(expression) = place.strip_prefix("~ ^") {
            // All of them are written as one prefix, some words, and an end.
            let words = expression.strip_suffix(")(/|$)").expect("the end of a word").split_once('(').expect("words");
            of_nginx.extend(words.1.split('|').map(|word| format!("{}{word}", words.0)));
        }
    }
    (rows.flatten().collect(), of_nginx)
}

#[test]
fn proxies_send_every_route_here_that_is_served_here_and_nothing_else() {
    let ingress = fs::read_to_string("packaging/kubernetes/samvad.yaml").expect("committed");
    let ingress = ingress.lines().filter_map(|line| line.trim().strip_prefix("- path: ")).filter(|path| path.starts_with("/api/"));
    let (table, nginx) = prefixes_of_the_guide();
    for (place, prefixes) in [
        ("the table of docs/migration.md", table),
        ("the lines for nginx in docs/migration.md", nginx),
        ("packaging/kubernetes/samvad.yaml", ingress.map(str::to_owned).collect()),
    ] {
        let mut unused = prefixes.clone();
        for (method, path, _) in samvad::rest::operations() {
            if !path.starts_with("/api/") || NOT_PROXIED.contains(&path) {
                continue;
            }
            let found = prefixes.iter().find(|prefix| is_below(path, prefix));
            let found = found.unwrap_or_else(|| panic!("{place} sends {method} {path} elsewhere; it knows {prefixes:?}"));
            unused.remove(found);
        }
        assert!(unused.is_empty(), "{place} sends here what is not served here: {unused:?}");
    }
}

/// Whether `word` stands in `text` by itself.
fn stands_in(text: &str, word: &str) -> bool {
    let goes_on = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        !before.ends_with(goes_on) && !after.starts_with(|c| goes_on(c) || c == '/')
    })
}

/// `GET /api/calls/{id}` and `GET /api/calls/{callId}` are the same.
fn without_names(text: &str) -> String {
    let mut parts = text.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "{}" + part.split_once('}').map_or("", |(_, rest)| rest))
}

#[test]
fn the_readable_contract_has_every_word_of_the_one_for_programs() {
    let text = fs::read_to_string("docs/protocol.md").expect("committed");
    let document = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let (events, routes) = (document(samvad::contract::asyncapi()), document(samvad::contract::openapi()));

    let mut missing = Vec::new();
    let operations: Vec<&Value> = events["operations"].as_object().expect("operations").values().collect();
    let names = operations.iter().map(|operation| operation["x-event"].as_str().expect("a name"));
    missing.extend(
        names.filter(|name| !stands_in(&text, &format!("`{name}")) && !stands_in(&text, &format!("### {name}"))).map(str::to_owned),
    );
    let codes = events["x-codes"].as_object().expect("codes");
    missing.extend(codes.keys().filter(|code| !text.contains(&format!("\n| `{code}` | "))).cloned());
    let unnamed: String = text.lines().map(|line| without_names(line) + "\n").collect();
    for (path, methods) in routes["paths"].as_object().expect("paths") {
        let methods =
            methods.as_object().expect("methods").keys().map(|method| format!("{} {}", method.to_uppercase(), without_names(path)));
        missing.extend(methods.filter(|route| !stands_in(&unnamed, route)));
    }
    assert!(missing.is_empty(), "docs/protocol.md does not have {missing:?}");

    // Where the section of an event has a row of its own errors, these are the ones.
    let anywhere: BTreeSet<&str> = ["INVALID_PAYLOAD", "INVALID_ID", "OVERLOADED", "RATE_LIMITED", "UNAVAILABLE", "INTERNAL"].into();
    let mut compared = 0;
    for operation in operations.iter().filter(|operation| operation["action"] == "receive") {
        let name = operation["x-event"].as_str().expect("a name");
        let sections = text.split("\n### ").filter(|section| section.lines().next().is_some_and(|title| stands_in(title, name)));
        for row in sections.flat_map(str::lines).filter_map(|line| line.strip_prefix("| Errors | ")) {
            let said: BTreeSet<&str> = row.split('`').filter(|word| codes.contains_key(*word)).collect();
            let meant = operation["x-errors"].as_array().expect("a list").iter().filter_map(Value::as_str).collect::<BTreeSet<_>>();
            assert_eq!(said.difference(&anywhere).collect::<Vec<_>>(), meant.difference(&anywhere).collect::<Vec<_>>(), "errors of {name}");
            compared += 1;
        }
    }
    assert!(compared >= 7, "the rows of errors are not found any more");
}
