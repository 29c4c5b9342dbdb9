//! The contract for programs, as a browser and a program get it. That what clients hear is in it, every other test checks: see
//! `support/contract.rs`.

use std::fs;

use serde_json::json;

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
