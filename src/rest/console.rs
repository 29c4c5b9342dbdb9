//! The console: a page to try the server with and to watch it, and the people it can be tried as.
//!
//! The page is public and holds no secret: whatever it shows it asks for with the credential of whoever looks at it.
//! Its files are built from `console/` and part of the program, so that it needs neither npm nor a network.

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::auth::DEMO_TTL;
use crate::error::Error;
use crate::models::Timestamp;

use super::RestState;
use super::error::Failure;
use super::watch::is_from_here;

/// Nothing from anywhere but this server, except images: messages may name them at any `https` address.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' https: data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of a page.
pub(super) struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static [u8],
    compressed: Option<Vec<u8>>,
    etag: String,
}

impl Asset {
    pub(super) fn new(name: &'static str, content_type: &'static str, content: &'static [u8]) -> Self {
        let hash: String = digest(&SHA256, content).as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        // Weak, because it is the same for both encodings.
        Self { name, content_type, content, compressed: gzip(content).ok(), etag: format!("W/\"{hash}\"") }
    }
}

fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

macro_rules! asset {
    ($name:literal, $content_type:literal) => {
        Asset::new($name, $content_type, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/console/dist/", $name)))
    };
}

/// Made when first asked for: compressing takes some milliseconds, which a start need not wait for.
static ASSETS: LazyLock<[Asset; 5]> = LazyLock::new(|| {
    [
        asset!("index.html", "text/html; charset=utf-8"),
        asset!("console.js", "text/javascript; charset=utf-8"),
        asset!("console.css", "text/css; charset=utf-8"),
        asset!("icon.svg", "image/svg+xml"),
        asset!("licences.txt", "text/plain; charset=utf-8"),
    ]
});

/// The page and its files.
pub(super) fn pages() -> Router<RestState> {
    let page = async |headers: HeaderMap| file("index.html", &headers);
    Router::new()
        .route("/console", get(page))
        .route("/console/", get(page))
        .route("/console/{file}", get(async |Path(name): Path<String>, headers: HeaderMap| file(&name, &headers)))
}

fn file(name: &str, asked: &HeaderMap) -> Response {
    find(&*ASSETS, name, asked)
}

/// The file of this name, as far as the browser does not have it.
pub(super) fn find(assets: &'static [Asset], name: &str, asked: &HeaderMap) -> Response {
    let Some(asset) = assets.iter().find(|asset| asset.name == name) else { return Failure(Error::NotFound).into_response() };
    let headers = [
        // Their names stay the same from version to version, so browsers ask each time whether theirs is still good.
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, asset.etag.as_str()),
        (header::VARY, "accept-encoding"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    if names(asked, &header::IF_NONE_MATCH, |tag| tag == "*" || tag == asset.etag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let content_type = [(header::CONTENT_TYPE, asset.content_type)];
    match &asset.compressed {
        Some(compressed) if names(asked, &header::ACCEPT_ENCODING, takes_gzip) => {
            (headers, content_type, [(header::CONTENT_ENCODING, "gzip")], compressed.as_slice()).into_response()
        }
        _ => (headers, content_type, asset.content).into_response(),
    }
}

/// Whether a header that lists things has one of which this is true.
fn names(headers: &HeaderMap, name: &HeaderName, is_wanted: impl Fn(&str) -> bool) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|entry| is_wanted(entry.trim()))
}

fn takes_gzip(entry: &str) -> bool {
    let mut parts = entry.split(';').map(str::trim);
    let is_gzip = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
    is_gzip && !parts.any(|part| part.strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0)))
}

/// GET `/api/demo`: who the server can be tried as, with tokens; nobody unless whoever asks sits at this machine and demo tokens are offered.
pub(super) async fn demo_people(State(state): State<RestState>, parts: Parts) -> Json<Value> {
    let people = match state.settings.offers.demo && is_from_here(&parts) && is_of_own_page(&parts.headers) {
        true => state.verifier.demo_people().unwrap_or_default(),
        false => Vec::new(),
    };
    let expires_at = Timestamp::now().plus(DEMO_TTL);
    let people = people
        .iter()
        .map(|person| json!({ "type": person.kind, "id": person.id, "name": person.name, "token": person.token, "expiresAt": expires_at }));
    Json(json!({ "success": true, "data": people.collect::<Vec<_>>() }))
}

/// Whether a request from this machine was not made by a page of another site.
///
/// A browser at this machine also carries out what foreign pages tell it to. Their requests name their own origin; or, if they have made
/// the name of their site point to this machine, they name that host. Both names are therefore looked at.
fn is_of_own_page(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let own_page = match text(header::ORIGIN) {
        None => true,
        Some(origin) => origin.split_once("://").is_some_and(|(_, host)| Some(host) == text(header::HOST)),
    };
    let own_site = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none");
    own_page && own_site && text(header::HOST).is_some_and(is_loopback_host)
}

fn is_loopback_host(host: &str) -> bool {
    let port = |port: &str| port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok());
    if let Some(v6) = host.strip_prefix('[') {
        return v6.split_once(']').is_some_and(|(ip, rest)| port(rest) && ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()));
    }
    let (name, rest) = host.split_at(host.find(':').unwrap_or(host.len()));
    port(rest) && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        is_of_own_page(&map)
    }

    #[test]
    fn pages_of_other_sites_are_offered_nobody() {
        let from = |host, origin| asked(&[("host", host), ("origin", origin)]);
        assert!(from("127.0.0.1:3000", "http://127.0.0.1:3000"));
        for (host, origin) in [
            ("127.0.0.1:3000", "https://evil.example"),
            ("127.0.0.1:3000", "null"),
            ("127.0.0.1:3000", "http://127.0.0.1:3001"),
            ("evil.example:3000", "http://evil.example:3000"),
        ] {
            assert!(!from(host, origin), "{host} {origin}");
        }
        assert!(!asked(&[("host", "localhost"), ("sec-fetch-site", "cross-site")]));
        assert!(asked(&[("host", "localhost"), ("sec-fetch-site", "same-origin")]));
        for host in
            ["", "localhost.evil.example", "127.0.0.1.evil.example", "[::1].evil.example", "localhost:x", "user@localhost", "10.0.0.1"]
        {
            assert!(!asked(&[("host", host)]), "{host}");
        }
        assert!(!asked(&[]), "no host at all");
        assert!(["LOCALHOST", "[::1]:3000", "[::1]", "127.8.9.1"].iter().all(|host| asked(&[("host", host)])));
    }

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        assert!(["gzip", "GZIP;q=0.5"].into_iter().all(takes_gzip));
        assert!(!["gzip;q=0", "gzip; q=0.0", "identity", "br", ""].into_iter().any(takes_gzip));
    }
}
