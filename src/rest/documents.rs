//! The contract for programs, `/openapi.json` and `/asyncapi.json`, and the page that shows both, `/docs`.
//!
//! The page is ours and small: the usual ones show one of the two documents each, weigh a megabyte and ask for inline styles, which the
//! policy forbids. It loads the documents from this server and nothing else.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::routing::get;

use super::RestState;
use super::console::{Asset, find};

/// Where the documents come from. Functions, because they are made when somebody first asks.
#[derive(Clone, Copy)]
pub struct Documents {
    /// OpenAPI, of the routes.
    pub openapi: fn() -> &'static str,
    /// AsyncAPI, of the events.
    pub asyncapi: fn() -> &'static str,
}

macro_rules! asset {
    ($name:literal, $content_type:literal) => {
        Asset::new($name, $content_type, include_bytes!(concat!("page/", $name)))
    };
}

static PAGE: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        asset!("docs.html", "text/html; charset=utf-8"),
        asset!("docs.js", "text/javascript; charset=utf-8"),
        asset!("docs.css", "text/css; charset=utf-8"),
    ]
});

/// The documents themselves.
pub(super) fn files(documents: Documents) -> Router<RestState> {
    static FILES: std::sync::OnceLock<[Asset; 2]> = std::sync::OnceLock::new();
    let files = move || {
        FILES.get_or_init(|| {
            [
                Asset::new("openapi.json", "application/json", (documents.openapi)().as_bytes()),
                Asset::new("asyncapi.json", "application/json", (documents.asyncapi)().as_bytes()),
            ]
        })
    };
    Router::new()
        .route("/openapi.json", get(async move |headers: HeaderMap| find(files(), "openapi.json", &headers)))
        .route("/asyncapi.json", get(async move |headers: HeaderMap| find(files(), "asyncapi.json", &headers)))
}

/// The page for people.
pub(super) fn page() -> Router<RestState> {
    let page = async |headers: HeaderMap| find(&*PAGE, "docs.html", &headers);
    Router::new()
        .route("/docs", get(page))
        .route("/docs/", get(page))
        .route("/docs/{file}", get(async |Path(name): Path<String>, headers: HeaderMap| find(&*PAGE, &name, &headers)))
}
