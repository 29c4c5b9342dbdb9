//! What an error of the MongoDB driver means to a caller: may he ask again, or is it ours to mend?

use std::fmt;

use mongodb::error::{Error as DriverError, ErrorKind, WriteFailure};

use crate::error::Error;

/// The code of a violated unique index.
pub(super) const DUPLICATE_KEY: i32 = 11000;

/// Server codes that pass by themselves: no primary, shutting down, a time limit, a lost connection between servers.
const PASSING: [i32; 17] = [6, 7, 24, 50, 64, 89, 91, 112, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436];

/// Names the attempt and sorts the error.
pub(super) fn failed(what: &'static str, id: impl fmt::Display, error: DriverError) -> Error {
    let passing = is_passing(&error);
    let source = Failed { attempt: format!("{what} {id}"), cause: error };
    if passing { Error::unavailable(source) } else { Error::internal(source) }
}

/// The time limit passed: nobody knows whether it was done.
pub(super) fn no_answer(what: &'static str, id: impl fmt::Display) -> Error {
    Error::unavailable(format!("{what} {id}: MongoDB did not answer in time"))
}

/// Whether a write failed because a unique index has the value already.
pub(super) fn is_duplicate_key(error: &DriverError) -> bool {
    code(error) == Some(DUPLICATE_KEY)
}

/// The server's code, if the server refused.
pub(super) fn code(error: &DriverError) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => Some(concern.code),
        _ => None,
    }
}

/// Whether the same request may succeed a moment later.
pub(super) fn is_passing(error: &DriverError) -> bool {
    if error.contains_label("RetryableWriteError") || error.contains_label("RetryableError") {
        return true;
    }
    match &*error.kind {
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Shutdown
        | ErrorKind::Write(WriteFailure::WriteConcernError(_)) => true,
        ErrorKind::InsertMany(many) => many.write_concern_error.is_some(),
        _ => code(error).is_some_and(|code| PASSING.contains(&code)),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{attempt}: {cause}")]
struct Failed {
    attempt: String,
    cause: DriverError,
}

/// The same error for one more of those who waited for the same thing.
pub(super) fn again(error: &Error) -> Error {
    if error.is_retryable() { Error::unavailable(story(error)) } else { Error::internal(story(error)) }
}

/// What happened, for the log; `Display` is for clients, who need not know.
pub(super) fn story(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// What is wrong with the way to MongoDB or with what it says, if that is what it is.
pub(in crate::store) fn in_words(source: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let error = &source.downcast_ref::<Failed>()?.cause;
    let words = match &*error.kind {
        ErrorKind::Authentication { .. } => "user or password are refused",
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. } | ErrorKind::DnsResolve { .. } => {
            "no server of the database can be reached"
        }
        ErrorKind::Write(WriteFailure::WriteConcernError(_)) => "the members of the database do not agree in time",
        // Unauthorized.
        _ if code(error) == Some(13) => "the user may not do what is needed",
        _ => return None,
    };
    Some(words)
}
