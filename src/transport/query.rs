//! The query of an Engine.IO request, read exactly as the library reads it.
//!
//! The library does not decode names or values. Whoever checks a request by another reading can be told one thing while the
//! library hears another: `s%69d=x` is a session to a form parser, and a new handshake to the library.

use http::Uri;

/// The first value of `name` (`sid`, `EIO`, `transport`).
pub fn engine_query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let value = |pair: &'a str| pair.strip_prefix(name)?.strip_prefix('=');
    uri.query()?.split('&').find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are_written() {
        let uri = "/socket.io/?s%69d=a&transport=polling&sid=b&sid=c&EIO=".parse().expect("a URI");
        let [session, transport, version] = ["sid", "transport", "EIO"].map(|name| engine_query(&uri, name));
        assert_eq!((session, transport, version), (Some("b"), Some("polling"), Some("")));
        assert_eq!(engine_query(&"/socket.io/?s%69d=a".parse().expect("a URI"), "sid"), None);
    }
}
