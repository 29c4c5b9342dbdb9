//! `samvad backup`: a copy of the embedded store while the server runs.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use samvad::config::{Config, StoreConfig};

/// Writes the copy, checks it, and says what is in it. Errors: a text for the person who asked; then there is no file of that name.
pub fn backup(config: &Config, to: &Path) -> Result<(), String> {
    let StoreConfig::Embedded(folder) = &config.store else {
        return Err("only the embedded store is copied by this command; for MongoDB use mongodump, or a snapshot of its disk".into());
    };
    let from = folder.join("samvad.db");
    if !from.exists() {
        return Err(format!("{} is not there: nothing was stored yet", from.display()));
    }
    if to.exists() {
        return Err(format!("{} is there already; it is not replaced", to.display()));
    }
    let part = with_ending(to, ".part");
    let outcome = copy(&from, &part).and_then(|counts| {
        std::fs::rename(&part, to).map_err(|e| format!("{}: {e}", to.display()))?;
        Ok(counts)
    });
    match outcome {
        Ok([conversations, messages, calls]) => {
            println!("{}: {conversations} conversations, {messages} messages, {calls} calls, checked", to.display());
            println!("To go back: stop the server, put this in the place of {}, and take its -wal and -shm away.", from.display());
            Ok(())
        }
        Err(why) => {
            // Whatever is there is no backup.
            let _ = std::fs::remove_file(&part);
            Err(why)
        }
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn copy(from: &Path, part: &Path) -> Result<[i64; 3], String> {
    let fail = |e: std::io::Error| format!("{}: {e}", part.display());
    // Made by us and empty, so that from its first byte on it is its owner's alone.
    let _ = std::fs::remove_file(part);
    let mut new = OpenOptions::new();
    new.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut new, 0o600);
    new.open(part).map_err(fail)?;

    let name = part.to_str().ok_or("the name of the file must be UTF-8 text")?;
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| format!("{}: {e}", from.display()))?;
    source.busy_timeout(std::time::Duration::from_secs(5)).map_err(|e| e.to_string())?;
    // Not SQLite's backup interface: that one begins anew whenever the server writes. This reads one moment, and holds nobody up.
    source.execute("VACUUM INTO ?1", [name]).map_err(|e| format!("the copy failed: {e}"))?;
    // SQLite does not wait for the disk here.
    File::open(part).and_then(|file| file.sync_all()).map_err(fail)?;

    let copy =
        Connection::open_with_flags(part, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| format!("the copy cannot be opened: {e}"))?;
    let checked: String =
        copy.query_row("PRAGMA quick_check", [], |row| row.get(0)).map_err(|e| format!("the copy cannot be read: {e}"))?;
    if checked != "ok" {
        return Err(format!("the copy is damaged, and so may be the original: {checked}"));
    }
    let count = |table: &str| copy.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).map_err(|e| e.to_string());
    Ok([count("conversation")?, count("message")?, count("call")?])
}
