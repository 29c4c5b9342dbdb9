//! The console: its files as browsers ask for them, and to whom demo people are offered.

use std::fs;
use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::Client;
use crate::support::http::{connect_from, get, local};
use crate::support::server::TestServer;
use crate::support::stores;

const FILES: [(&str, &str, &str); 6] = [
    ("/console", "index.html", "text/html; charset=utf-8"),
    ("/console/", "index.html", "text/html; charset=utf-8"),
    ("/console/console.js", "console.js", "text/javascript; charset=utf-8"),
    ("/console/console.css", "console.css", "text/css; charset=utf-8"),
    ("/console/icon.svg", "icon.svg", "image/svg+xml"),
    ("/console/licences.txt", "licences.txt", "text/plain; charset=utf-8"),
];

async fn server(settings: &[(&str, &str)]) -> (TestServer, tempfile::TempDir) {
    let (store, folder) = stores::sqlite();
    (TestServer::start_with(store, settings).await, folder)
}

#[tokio::test]
async fn the_page_is_part_of_the_program_and_may_load_from_nowhere_else() {
    let (server, _folder) = server(&[]).await;
    for (path, file, content_type) in FILES {
        let answer = get(&server.url, local(1), path, &[]).await;
        let built = fs::read_to_string(format!("console/dist/{file}")).expect("built and committed");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{path}");
        assert!(answer.body == built, "{path} is not what was built");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    for path in ["/console/other.js", "/console/..%2Findex.html", "/console/dist/index.html", "/consoles"] {
        let answer = get(&server.url, local(1), path, &[]).await;
        assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("NOT_FOUND")), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_browser_that_has_the_page_is_told_so_and_others_get_it_compressed() {
    let (server, _folder) = server(&[]).await;
    let first = get(&server.url, local(1), "/console/console.js", &[]).await;
    let etag = first.header("etag").expect("a tag").to_owned();
    for tags in [etag.clone(), format!("\"other\", {etag}"), "*".into()] {
        let again = raw(&server.url, "GET", &format!("If-None-Match: {tags}\r\n")).await;
        let (head, body) = split(&again);
        assert!(head.starts_with("http/1.1 304 ") && head.contains(&format!("etag: {}", etag.to_lowercase())), "{tags}: {head}");
        assert!(body.is_empty(), "{tags}");
    }
    let other = get(&server.url, local(1), "/console/console.js", &[("If-None-Match", "\"other\"")]).await;
    assert_eq!(other.status, 200);
    assert_eq!((other.header("content-encoding"), other.header("vary")), (None, Some("accept-encoding")));

    let gzip = "Accept-Encoding: br;q=1, gzip;q=0.8\r\n";
    let small = raw(&server.url, "GET", gzip).await;
    let (head, body) = split(&small);
    assert!(head.starts_with("http/1.1 200 ") && head.contains("content-encoding: gzip\r\n"), "{head}");
    let mut unpacked = String::new();
    GzDecoder::new(body).read_to_string(&mut unpacked).expect("it is what it says");
    assert!(unpacked == first.body && body.len() * 2 < first.body.len(), "{} of {}", body.len(), first.body.len());
    let asked = raw(&server.url, "HEAD", gzip).await;
    assert!(split(&asked).0.starts_with("http/1.1 200 ") && split(&asked).1.is_empty());
    server.stop().await;
}

/// Everything that is sent for the largest file, as it is.
async fn raw(url: &str, method: &str, headers: &str) -> Vec<u8> {
    let mut stream = connect_from(local(1), url).await;
    let request = format!("{method} /console/console.js HTTP/1.1\r\nHost: samvad\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    answer
}

/// The headers, in lower case, and the body.
fn split(answer: &[u8]) -> (String, &[u8]) {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an end of the headers") + 4;
    (String::from_utf8_lossy(&answer[..end]).to_lowercase(), &answer[end..])
}

#[tokio::test]
async fn switched_off_there_is_no_page() {
    let (server, _folder) = server(&[("CONSOLE", "off")]).await;
    for (path, ..) in FILES {
        assert_eq!(get(&server.url, local(1), path, &[]).await.status, 404, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn demo_people_are_offered_at_this_machine_and_their_tokens_are_good() {
    let (server, _folder) = server(&[]).await;
    let host = server.url.trim_start_matches("http://").to_owned();
    let here = get(&server.url, local(1), "/api/demo", &[("Host", &host)]).await;
    assert_eq!((here.status, here.header("cache-control")), (200, Some("no-store")));
    let people = here.json()["data"].as_array().expect("a list").clone();
    let types: Vec<_> = people.iter().map(|person| person["type"].as_str().expect("a type")).collect();
    assert_eq!(types, ["admin", "astrologer", "user"]);
    for person in &people {
        let client = Client::connect(&server.url, person["token"].as_str().expect("a token")).await;
        drop(client);
    }
    let origin = format!("http://{host}");
    let own = get(&server.url, local(1), "/api/demo", &[("Host", &host), ("Origin", &origin)]).await;
    assert_eq!(own.json()["data"].as_array().map(Vec::len), Some(3));

    let foreign: [&[(&str, &str)]; 5] = [
        &[("Host", &host), ("X-Forwarded-For", "127.0.0.1")],
        &[("Host", &host), ("Forwarded", "for=127.0.0.1")],
        &[("Host", &host), ("Origin", "https://evil.example")],
        &[("Host", &host), ("Sec-Fetch-Site", "cross-site")],
        &[("Host", "evil.example")],
    ];
    for headers in foreign {
        let answer = get(&server.url, local(1), "/api/demo", headers).await;
        assert_eq!((answer.status, &answer.json()["data"]), (200, &json!([])), "{headers:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nobody_is_offered_where_the_settings_say_so_or_somebody_else_signs() {
    let settings: [&[(&str, &str)]; 3] = [&[("DEMO", "off")], &[("TRUSTED_PROXIES", "10.0.0.0/8")], &[("HOST", "0.0.0.0")]];
    for settings in settings {
        let (server, _folder) = server(settings).await;
        let host = server.url.trim_start_matches("http://").to_owned();
        let answer = get(&server.url, local(1), "/api/demo", &[("Host", &host)]).await;
        assert_eq!(answer.json()["data"], json!([]), "{settings:?}");
        server.stop().await;
    }
}
