//! What went wrong, in the words of the domain: a full disk passes, a broken row does not.

use rusqlite::ErrorCode;

use crate::error::{Error, Source};

impl From<rusqlite::Error> for Error {
    /// Busy, full and failing disks may pass; everything else is ours.
    fn from(error: rusqlite::Error) -> Self {
        use ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, OutOfMemory, ReadOnly, SystemIoFailure,
        };
        match error.sqlite_error_code() {
            Some(
                DatabaseBusy
                | DatabaseLocked
                | DiskFull
                | SystemIoFailure
                | CannotOpen
                | OutOfMemory
                | ReadOnly
                | FileLockingProtocolFailed,
            ) => Self::unavailable(error),
            _ => Self::internal(error),
        }
    }
}

/// A row whose cells are not what they should be.
#[derive(Debug, thiserror::Error)]
#[error("cannot decode {table} {id}: {source}")]
pub(super) struct Undecodable {
    pub(super) table: &'static str,
    pub(super) id: String,
    pub(super) source: Source,
}

/// What is wrong with the file or the disk, if that is what it is.
pub(in crate::store) fn in_words(source: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let words = match source.downcast_ref::<rusqlite::Error>()?.sqlite_error_code()? {
        ErrorCode::DiskFull => "the disk is full",
        ErrorCode::SystemIoFailure => "the disk fails",
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => "another program holds the file",
        ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => "the file may not be written to",
        ErrorCode::OutOfMemory => "there is no memory left",
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => "the file is damaged",
        _ => return None,
    };
    Some(words)
}
