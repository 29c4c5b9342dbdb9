//! Why Redis is of no use, in words for those who look after a node. Addresses and passwords never appear in them.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Said where an answer was waited for in vain.
pub const NO_ANSWER: &str = "no answer in time";

/// What is wrong, as far as the error tells.
pub fn in_words(error: &RedisError) -> &'static str {
    // Some of it has no kind in the library, only a text.
    let text = error.to_string();
    match error.kind() {
        _ if text.contains("WRONGPASS") => "user or password are refused",
        _ if text.contains("NOAUTH") => "a password is needed",
        ErrorKind::AuthenticationFailed => "user or password are refused",
        ErrorKind::Server(ServerErrorKind::NoPerm) => "the user of REDIS_URL may not do what is needed",
        ErrorKind::Io if text.contains("certificate") => {
            "the certificate is not trusted: it must be of a known authority, or of one in REDIS_CA_FILE, and name the host of REDIS_URL"
        }
        ErrorKind::Io if error.is_connection_refusal() => "the connection is refused",
        ErrorKind::Io if error.is_timeout() => NO_ANSWER,
        ErrorKind::Io => "the connection fails",
        ErrorKind::InvalidClientConfig => "it cannot be connected to as REDIS_URL says",
        _ => "it refuses what it is asked for",
    }
}

/// The last that was wrong with telling and with hearing, which use connections of their own.
#[derive(Default)]
pub(super) struct Troubles {
    pub telling: Option<&'static str>,
    pub hearing: Option<&'static str>,
}

impl Troubles {
    /// The one to say first.
    pub fn first(&self) -> Option<&'static str> {
        self.telling.or(self.hearing)
    }
}
