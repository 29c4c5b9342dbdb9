//! The data folder: made if need be, and held by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::OpenError;

// A process killed in the middle of an fsync keeps its lock until the disk answers.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(50);

/// Proof that this process alone uses the folder; the system lets go of the lock when the last holder drops it.
pub(super) struct FolderLock {
    _file: File,
}

/// Makes the folder, readable by its owner alone, and takes its lock. Blocks up to five seconds.
///
/// A folder that is already there keeps its mode: an operator may share it with a group on purpose.
pub(super) fn claim(dir: &Path) -> Result<FolderLock, OpenError> {
    let fail = |source| OpenError::Folder { dir: dir.to_owned(), source };
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(fail)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(fail)?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(FolderLock { _file: file }),
            Err(TryLockError::WouldBlock) if started.elapsed() < PATIENCE => thread::sleep(RETRY),
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
    }
}
