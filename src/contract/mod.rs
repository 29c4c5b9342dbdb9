//! The contract for programs: OpenAPI for the routes, AsyncAPI for the events, both made of the types and tables the server works with.
//!
//! A room above all others that speak to clients, because it describes them all; nothing but `app` and the commands use it. One generator
//! of schemas (`schemars`) serves both documents: OpenAPI 3.1 and AsyncAPI 3 both write JSON Schema 2020-12, so a second derive for
//! OpenAPI would say the same twice. `docs/protocol.md` is the readable form and decides.

mod asyncapi;
mod codes;
mod events;
mod openapi;
mod routes;
mod schema;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use serde_json::Value;

/// The OpenAPI 3.1 document of the routes, as JSON. Made when first asked for.
pub fn openapi() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| written(openapi::document()));
    &DOCUMENT
}

/// The AsyncAPI 3 document of the events, as JSON. Made when first asked for.
pub fn asyncapi() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| written(asyncapi::document()));
    &DOCUMENT
}

fn written(mut document: Value) -> String {
    schema::prune(&mut document);
    format!("{document:#}\n")
}
