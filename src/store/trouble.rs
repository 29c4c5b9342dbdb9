//! Why a store takes no writes, in words for those who look after a server. Addresses, names and passwords never appear in them.

use crate::error::Error;

use super::{mongo, sqlite};

/// Said of what has no words of its own: the log has the rest.
const REFUSED: &str = "it refuses what it is asked for";

/// What the drivers say by themselves, and how it is said here.
const TEXTS: [(&str, &str); 6] = [
    ("not prepared yet", "the database is not prepared yet"),
    ("did not answer in time", "the database does not answer in time"),
    ("is not a primary", "the server that answers is not a primary"),
    ("is closed", "the store is closed"),
    // A commit that failed is told to all who waited for it, as a text.
    ("is full", "the disk is full"),
    ("disk I/O error", "the disk fails"),
];

/// What is wrong, as far as the error tells.
pub fn in_words(error: &Error) -> &'static str {
    if matches!(error, Error::Overloaded { .. }) {
        return "too much is waiting";
    }
    let Some(source) = std::error::Error::source(error) else { return REFUSED };
    sqlite::in_words(source).or_else(|| mongo::in_words(source)).unwrap_or_else(|| {
        let text = source.to_string();
        TEXTS.iter().find(|(part, _)| text.contains(part)).map_or(REFUSED, |(_, words)| words)
    })
}
